//! The trace context that an application's tracer left in a document: a text of `java.util.Properties`, as Debezium takes it.

use std::iter::Peekable;
use std::str::Chars;

/// The properties of a text, in their order, unescaped (the form of `java.util.Properties.load`).
pub(super) fn properties(text: &str) -> impl Iterator<Item = (String, String)> {
    let mut rest = text.chars().peekable();
    std::iter::from_fn(move || property(&mut rest))
}

fn is_blank(character: &char) -> bool {
    matches!(character, ' ' | '\t' | '\u{c}')
}

fn is_line_end(character: &char) -> bool {
    matches!(character, '\n' | '\r')
}

fn property(rest: &mut Peekable<Chars<'_>>) -> Option<(String, String)> {
    loop {
        while rest.next_if(|character| is_blank(character) || is_line_end(character)).is_some() {}
        match rest.peek()? {
            '#' | '!' => while rest.next_if(|character| !is_line_end(character)).is_some() {},
            _ => break,
        }
    }
    let name = word(rest, |character| is_blank(character) || matches!(character, '=' | ':'));
    while rest.next_if(is_blank).is_some() {}
    if rest.next_if(|character| matches!(character, '=' | ':')).is_some() {
        while rest.next_if(is_blank).is_some() {}
    }
    Some((name, word(rest, |_| false)))
}

/// The characters up to the end of the line or to one that ends the word.
fn word(rest: &mut Peekable<Chars<'_>>, ends: impl Fn(&char) -> bool) -> String {
    let mut word = String::new();
    while let Some(character) = rest.next_if(|character| !is_line_end(character) && !ends(character)) {
        if character != '\\' {
            word.push(character);
            continue;
        }
        match rest.next() {
            // The line goes on after the blanks that the next one begins with.
            Some('\r') => {
                rest.next_if_eq(&'\n');
                while rest.next_if(is_blank).is_some() {}
            }
            Some('\n') => while rest.next_if(is_blank).is_some() {},
            Some('t') => word.push('\t'),
            Some('n') => word.push('\n'),
            Some('r') => word.push('\r'),
            Some('f') => word.push('\u{c}'),
            Some('u') => word.extend(unit(rest)),
            Some(plain) => word.push(plain),
            None => {}
        }
    }
    word
}

/// Four hexadecimal digits.
fn unit(rest: &mut Peekable<Chars<'_>>) -> Option<char> {
    let mut number = 0;
    for _ in 0..4 {
        number = number * 16 + rest.next_if(char::is_ascii_hexdigit)?.to_digit(16)?;
    }
    char::from_u32(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        properties(text).collect()
    }

    #[test]
    fn properties_are_read_as_java_reads_them() {
        let text = "#Tue Nov 24 12:00:00 UTC 2026\ntraceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
                    tracestate=vendor\\=1,other\\:2\n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            read(text),
            [
                pair("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                pair("tracestate", "vendor=1,other:2"),
            ]
        );
        assert_eq!(
            read("a b\n c : d\n\n! no\ne=f \\\n   g\nh"),
            [pair("a", "b"), pair("c", "d"), pair("e", "f g"), pair("h", "")]
        );
        assert_eq!(read("\\u0061\\tb\\ c=\\u00fc\\"), [pair("a\tb c", "ü")]);
        assert_eq!(read(""), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_makes_it_panic_or_go_on_for_ever(text in "[a=:\\\\ \n\r#u0f]{0,24}") {
            prop_assert!(read(&text).len() <= text.len());
        }
    }
}
