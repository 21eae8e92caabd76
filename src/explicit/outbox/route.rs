//! The route of an event of the layout `debezium`: a regular expression and a replacement, as Java takes them.
//!
//! Debezium hands both to Kafka Connect's `RegexRouter`: where the expression matches the whole value, what `Matcher.replaceFirst`
//! makes of it is the topic; otherwise the value is.

use regex::Regex;

/// An expression and its replacement.
#[derive(Debug)]
pub(super) struct Router {
    expression: Regex,
    /// The same, for whole values.
    whole: Regex,
    replacement: Vec<Piece>,
}

/// A piece of a replacement.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// What the group with this number matched.
    Group(usize),
}

/// What is wrong with an expression or a replacement.
#[derive(Debug, thiserror::Error)]
pub(super) enum RouterError {
    #[error("the regular expression can not be read: {reason}")]
    Expression { reason: String },
    #[error("the replacement can not be read: {reason}")]
    Replacement { reason: String },
}

impl Router {
    pub(super) fn new(expression: &str, replacement: &str) -> Result<Self, RouterError> {
        let compile = |text: &str| {
            let unreadable = |error: regex::Error| RouterError::Expression { reason: reason_of(&error) };
            Regex::new(text).map_err(unreadable)
        };
        let (expression, whole) = (compile(expression)?, compile(&format!(r"\A(?:{expression})\z"))?);
        let replacement = pieces(replacement, &expression).map_err(|reason| RouterError::Replacement { reason })?;
        Ok(Self { expression, whole, replacement })
    }

    /// The topic for a value.
    pub(super) fn topic(&self, value: &str) -> String {
        // Whether the whole matches is one question; what is replaced is the first match, which may be a part.
        let groups = self.whole.is_match(value).then(|| self.expression.captures(value)).flatten();
        let Some((groups, first)) = groups.and_then(|groups| groups.get(0).map(|first| (groups, first))) else {
            return value.to_owned();
        };
        let mut topic = String::with_capacity(value.len() + 16);
        topic.push_str(&value[..first.start()]);
        for piece in &self.replacement {
            match piece {
                Piece::Text(text) => topic.push_str(text),
                Piece::Group(number) => topic.push_str(groups.get(*number).map_or("", |group| group.as_str())),
            }
        }
        topic.push_str(&value[first.end()..]);
        topic
    }
}

/// The last line of the message; those before show the expression.
fn reason_of(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// Takes a replacement apart by the rules of Java's `Matcher.appendReplacement`.
fn pieces(replacement: &str, expression: &Regex) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = replacement.chars().peekable();
    while let Some(character) = rest.next() {
        let group = match character {
            '\\' => {
                text.push(rest.next().ok_or("there is nothing after the last \\")?);
                continue;
            }
            '$' if rest.next_if_eq(&'{').is_some() => named_group(&mut rest, expression)?,
            '$' => numbered_group(&mut rest, expression)?,
            plain => {
                text.push(plain);
                continue;
            }
        };
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        pieces.push(Piece::Group(group));
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

type Characters<'t> = std::iter::Peekable<std::str::Chars<'t>>;

fn named_group(rest: &mut Characters<'_>, expression: &Regex) -> Result<usize, String> {
    let mut name = String::new();
    while let Some(character) = rest.next_if(char::is_ascii_alphanumeric) {
        name.push(character);
    }
    if name.is_empty() || rest.next() != Some('}') {
        return Err("${ must be followed by the name of a group, of letters and digits, and }".to_owned());
    }
    let number = expression.capture_names().position(|known| known == Some(&name));
    number.ok_or_else(|| format!("the regular expression has no group {name:?}"))
}

/// The number is as long as there are so many groups: with one group, `$12` is the group 1 and a 2.
fn numbered_group(rest: &mut Characters<'_>, expression: &Regex) -> Result<usize, String> {
    let digit = |character: char| character.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
    let known = |number: &usize| *number < expression.captures_len();
    let first =
        rest.next().and_then(digit).ok_or("$ must be followed by the number of a group, or its name in braces")?;
    let mut number = Some(first).filter(known).ok_or_else(|| format!("the regular expression has no group {first}"))?;
    while let Some(longer) = rest.peek().copied().and_then(digit).map(|next| number * 10 + next).filter(known) {
        number = longer;
        rest.next();
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(expression: &str, replacement: &str, value: &str) -> String {
        Router::new(expression, replacement).unwrap().topic(value)
    }

    #[test]
    fn a_topic_is_what_java_makes_of_it() {
        const ANY: &str = "(?<routedByValue>.*)";
        for (expression, replacement, value, wanted) in [
            (ANY, "outbox.event.${routedByValue}", "Order", "outbox.event.Order"),
            (ANY, "outbox.event.${routedByValue}", "sales.order-1", "outbox.event.sales.order-1"),
            (ANY, "outbox.event.${routedByValue}", "", "outbox.event."),
            (ANY, "outbox.event.$1", "größe", "outbox.event.größe"),
            (ANY, "$0/$1", "x", "x/x"),
            // Not the whole value: it stays as it is.
            ("[a-z]+", "events.$0", "Order", "Order"),
            ("order", "events.$0", "orders", "orders"),
            ("(.*)Order", "$1", "SalesOrder", "Sales"),
            ("(?<first>[^-]*)-(?<second>.*)", "${second}.${first}.x", "a-b", "b.a.x"),
            // The number of a group is as long as there are so many groups.
            ("(a)(b)", "$12", "ab", "a2"),
            ("(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)(k)(l)", "$12$1", "abcdefghijkl", "la"),
            // A group that took no part gives nothing.
            ("(a)|(b)", "<$1$2>", "b", "<b>"),
            // A backslash takes the next character as it is.
            ("(.*)", r"\$1\\$1", "x", r"$1\x"),
            // The first match is replaced, although the whole value was asked for.
            ("a|ab", "X", "ab", "Xb"),
            (".*?", "X", "ab", "Xab"),
        ] {
            assert_eq!(topic(expression, replacement, value), wanted, "{expression} {replacement} {value}");
        }
    }

    #[test]
    fn what_java_refuses_is_refused() {
        for (expression, replacement, wanted) in [
            ("(a", "x", "unclosed group"),
            ("a(?=b)", "x", "look-around"),
            ("(.*)", "$", "must be followed by the number"),
            ("(.*)", "$x", "must be followed by the number"),
            ("(.*)", "$2", "no group 2"),
            ("(.*)", "${x", "must be followed by the name"),
            ("(.*)", "${}", "must be followed by the name"),
            ("(.*)", "${x}", "no group \"x\""),
            ("(.*)", "x\\", "nothing after"),
        ] {
            let error = Router::new(expression, replacement).unwrap_err().to_string();
            assert!(error.contains(wanted), "{expression} {replacement}: {error}");
        }
    }
}
