//! The regular expressions of `match` and `search`: those of RFC 9485, run by the `regex` crate, which reads them all.

use std::fmt::Write as _;

/// The regular expression of `match` (the whole text) or `search`; nothing if it does not compile.
///
/// Of what both languages have, they differ in the dot only: RFC 9485 lets it stand for every character but the two that end a
/// line, `\n` and `\r`. Beyond it, `^`, `$` and the classes of the `regex` crate (`\d`, `\w`) have their usual meaning.
pub(super) fn regular_expression(text: &str, whole: bool) -> Option<regex::Regex> {
    let mut pattern = String::with_capacity(text.len() + 8);
    if whole {
        pattern.push_str("^(?:");
    }
    write_with_dots(&mut pattern, text);
    if whole {
        pattern.push_str(")$");
    }
    regex::Regex::new(&pattern).ok()
}

/// Appends an expression, its dots outside of character classes written out.
fn write_with_dots(out: &mut String, text: &str) {
    let mut characters = text.chars().peekable();
    // How many character classes are open around here: they may be nested.
    let mut depth = 0_usize;
    while let Some(character) = characters.next() {
        match character {
            '.' if depth == 0 => out.push_str(r"[^\n\r]"),
            '\\' => {
                out.push('\\');
                out.extend(characters.next());
            }
            '[' => {
                depth += 1;
                out.push('[');
                out.extend(characters.next_if_eq(&'^'));
                // Right at the start a bracket stands for itself.
                if characters.next_if_eq(&']').is_some() {
                    let _ = write!(out, r"\]");
                }
            }
            ']' => {
                depth = depth.saturating_sub(1);
                out.push(']');
            }
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_is_no_end_of_a_line_and_in_a_class_it_is_a_dot() {
        for (pattern, text, matches) in [
            (".", "x", true),
            (".", "\u{2028}", true),
            (".", "\n", false),
            (".", "\r", false),
            ("a.c", "abc", true),
            ("a\\.c", "abc", false),
            ("a\\.c", "a.c", true),
            ("a\\\\.", "a\\x", true),
            ("[.]", "x", false),
            ("[^.]", "x", true),
            ("[].]", ".", true),
            ("[].]", "]", true),
            ("[^].]", "]", false),
            ("[a[.]b].", ".x", true),
            ("[a[.]b]", "x", false),
            ("[\\].]", "]", true),
            ("[a]|.", "b", true),
            ("a|b", "ab", false),
            ("\\p{Lu}+", "ÄB", true),
        ] {
            let regex = regular_expression(pattern, true).unwrap_or_else(|| panic!("{pattern}"));
            assert_eq!(regex.is_match(text), matches, "{pattern} {text:?}");
        }
        assert!(regular_expression("b.", false).unwrap().is_match("abc"));
        for pattern in ["(", "[a", "a{2", "\\"] {
            assert!(regular_expression(pattern, true).is_none(), "{pattern}");
        }
    }
}
