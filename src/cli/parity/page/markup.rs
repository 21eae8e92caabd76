//! Pieces of HTML. Every text that is not ours goes through [`escaped`].

use changeling::parity::{Tone, Verdict};

/// The text as it stands between tags, and in attributes within quotes.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // HTML has no way to write them.
            one if one.is_control() => escaped.push(' '),
            one => escaped.push(one),
        }
    }
    escaped
}

/// A name that may be broken where a word of it begins.
pub fn name(name: &str) -> String {
    let mut parts = vec![String::new()];
    let mut last = ' ';
    for one in name.chars() {
        let begins_word = one.is_uppercase() && last.is_lowercase() || matches!(last, '.' | '_' | '-' | ':' | '/');
        match parts.last_mut() {
            Some(part) if !begins_word => part.push(one),
            Some(_) | None => parts.push(one.into()),
        }
        last = one;
    }
    let parts: Vec<String> = parts.iter().map(|part| escaped(part)).collect();
    parts.join("<wbr>")
}

/// An element that holds a text.
pub fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escaped(text))
}

/// A list of items that are HTML already.
pub fn list(items: impl Iterator<Item = String>) -> String {
    let items: String = items.map(|item| format!("<li>{item}</li>\n")).collect();
    format!("<ul>\n{items}</ul>\n")
}

/// A verdict.
pub fn badge(verdict: Verdict) -> String {
    format!("<span class=\"badge {}\">{}</span>", class(verdict.tone()), verdict.as_str())
}

/// The class of a tone.
pub fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Heading => "heading",
        Tone::Good => "good",
        Tone::Warning => "warning",
        Tone::Bad => "bad",
        Tone::Faint => "faint",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_markup() {
        let text = "<script>alert(\"1\")</script> & 'x'\u{7}";
        assert_eq!(escaped(text), "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &#39;x&#39; ");
        assert_eq!(name("OrderPaid.<i>"), "Order<wbr>Paid.<wbr>&lt;i&gt;");
        assert_eq!(element("code", "a<b"), "<code>a&lt;b</code>");
    }
}
