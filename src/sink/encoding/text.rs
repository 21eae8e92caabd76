//! The small pieces of JSON: strings, numbers, times.

use std::fmt::Display;
use std::io::Write;

use time::OffsetDateTime;

/// Appends `text` as a JSON string with its quotation marks.
pub(in crate::sink) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_text(out, text);
    out.push(b'"');
}

/// Appends `text`, escaped for the inside of a JSON string.
pub(in crate::sink) fn write_text(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    // Without a way out of the loop the compiler looks at many bytes at once; hardly any text needs an escape.
    if !bytes.iter().fold(false, |found, byte| found | needs_escape(*byte)) {
        return out.extend_from_slice(bytes);
    }
    for byte in bytes {
        match ESCAPES[usize::from(*byte)] {
            0 => out.push(*byte),
            b'u' => {
                out.extend_from_slice(b"\\u00");
                super::write_hexadecimal(out, &[*byte]);
            }
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
    }
}

/// The same as `ESCAPES[byte] != 0`, in a form that needs no table.
fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\' || byte == 0x7f
}

/// For each byte: 0 if it stands for itself, `u` if it needs `\u00xx`, else the letter after the backslash.
const ESCAPES: [u8; 256] = {
    let mut escapes = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        escapes[control] = b'u';
        control += 1;
    }
    escapes[0x08] = b'b';
    escapes[0x09] = b't';
    escapes[0x0a] = b'n';
    escapes[0x0c] = b'f';
    escapes[0x0d] = b'r';
    escapes[b'"' as usize] = b'"';
    escapes[b'\\' as usize] = b'\\';
    // Not needed by JSON, but a terminal that shows the line must not obey it.
    escapes[0x7f] = b'u';
    escapes
};

/// Appends what `Display` prints; for numbers and other values that need no escaping.
pub(in crate::sink) fn write_number(out: &mut Vec<u8>, number: impl Display) {
    // Writing into memory can not fail.
    let _ = write!(out, "{number}");
}

/// Appends a finite double in the fewest digits that give the same double back.
pub(super) fn write_double(out: &mut Vec<u8>, double: f64) {
    // `Debug` writes an exponent for very large and very small numbers, and `1.0` for whole ones.
    let _ = write!(out, "{double:?}");
}

/// The word for a double that JSON has no number for.
pub(super) fn double_word(double: f64) -> Option<&'static str> {
    if double.is_nan() {
        Some("NaN")
    } else if double == f64::INFINITY {
        Some("Infinity")
    } else if double == f64::NEG_INFINITY {
        Some("-Infinity")
    } else {
        None
    }
}

/// Whether the time of a day is written with its milliseconds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Milliseconds {
    Always,
    IfNotZero,
}

/// Appends a date as a JSON string in RFC 3339 in UTC with milliseconds; where RFC 3339 has no such year, as the number of
/// milliseconds since 1970.
pub(in crate::sink) fn write_time(out: &mut Vec<u8>, date: bson::DateTime) {
    let start = out.len();
    out.push(b'"');
    if write_rfc3339(out, date, Milliseconds::Always) {
        out.push(b'"');
    } else {
        out.truncate(start);
        write_number(out, date.timestamp_millis());
    }
}

/// Appends a date in RFC 3339 in UTC; false, with nothing appended, if RFC 3339 has no such year.
pub(super) fn write_rfc3339(out: &mut Vec<u8>, date: bson::DateTime, milliseconds: Milliseconds) -> bool {
    let millis = date.timestamp_millis();
    let Ok(moment) = OffsetDateTime::from_unix_timestamp(millis.div_euclid(1_000)) else { return false };
    let (year, month, day) = moment.to_calendar_date();
    let Ok(year) = u16::try_from(year) else { return false };
    let (hour, minute, second) = moment.to_hms();
    let fraction = millis.rem_euclid(1_000) as u16;
    let mut text = *b"0000-00-00T00:00:00.000Z";
    write_two_digits(&mut text[0..2], (year / 100) as u8);
    write_two_digits(&mut text[2..4], (year % 100) as u8);
    write_two_digits(&mut text[5..7], u8::from(month));
    write_two_digits(&mut text[8..10], day);
    write_two_digits(&mut text[11..13], hour);
    write_two_digits(&mut text[14..16], minute);
    write_two_digits(&mut text[17..19], second);
    text[20] += (fraction / 100) as u8;
    write_two_digits(&mut text[21..23], (fraction % 100) as u8);
    if fraction == 0 && milliseconds == Milliseconds::IfNotZero {
        out.extend_from_slice(&text[..19]);
        out.push(b'Z');
    } else {
        out.extend_from_slice(&text);
    }
    true
}

fn write_two_digits(place: &mut [u8], number: u8) {
    place[0] = b'0' + number / 10;
    place[1] = b'0' + number % 10;
}
