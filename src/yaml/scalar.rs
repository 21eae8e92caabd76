//! What a plain scalar means: the core schema of YAML 1.2.2, section 10.3.2.

use super::Value;

/// The value of a plain scalar; `None` for a whole number outside `i64`.
pub(super) fn resolve(text: &str) -> Option<Value> {
    Some(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Value::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => Value::Float(f64::NAN),
        _ => return number(text),
    })
}

fn number(text: &str) -> Option<Value> {
    let radix = |digits: &str, radix: u32| i64::from_str_radix(digits, radix).ok().map(Value::Int);
    if let Some(digits) = text.strip_prefix("0x").filter(|digits| all(digits, |digit| digit.is_ascii_hexdigit())) {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o").filter(|digits| all(digits, |digit| matches!(digit, '0'..='7'))) {
        return radix(digits, 8);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if all(unsigned, |digit| digit.is_ascii_digit()) {
        return text.parse().ok().map(Value::Int);
    }
    let looks_like_number = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && unsigned.contains(|digit: char| digit.is_ascii_digit())
        && all(unsigned, |digit| matches!(digit, '0'..='9' | '.' | 'e' | 'E' | '+' | '-'));
    match text.parse() {
        Ok(value) if looks_like_number => Some(Value::Float(value)),
        _ => Some(Value::Text(text.to_owned())),
    }
}

fn all(text: &str, test: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(test)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_yaml_1_2_says() {
        let text = |text: &str| Some(Value::Text(text.to_owned()));
        for (written, meant) in [
            ("", Some(Value::Null)),
            ("~", Some(Value::Null)),
            ("True", Some(Value::Bool(true))),
            ("0", Some(Value::Int(0))),
            ("-12", Some(Value::Int(-12))),
            ("+7", Some(Value::Int(7))),
            ("0x1F", Some(Value::Int(31))),
            ("0o17", Some(Value::Int(15))),
            ("017", Some(Value::Int(17))),
            ("9223372036854775807", Some(Value::Int(i64::MAX))),
            ("9223372036854775808", None),
            ("0xFFFFFFFFFFFFFFFFF", None),
            ("1.5", Some(Value::Float(1.5))),
            (".5", Some(Value::Float(0.5))),
            ("1.", Some(Value::Float(1.0))),
            ("1e3", Some(Value::Float(1000.0))),
            ("-1.5E-3", Some(Value::Float(-0.0015))),
            ("-.inf", Some(Value::Float(f64::NEG_INFINITY))),
            ("yes", text("yes")),
            ("on", text("on")),
            ("off", text("off")),
            ("inf", text("inf")),
            ("nan", text("nan")),
            ("1.2.3", text("1.2.3")),
            ("12:30", text("12:30")),
            ("2026-01-01", text("2026-01-01")),
            ("1_000", text("1_000")),
            ("-", text("-")),
            (".", text(".")),
            ("e5", text("e5")),
            ("0x", text("0x")),
        ] {
            assert_eq!(resolve(written), meant, "{written}");
        }
    }
}
