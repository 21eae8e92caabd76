//! What builds payloads and texts: the declared forms, and the reader of texts with queries in braces.

use bson::Bson;

use super::{LanguageError, Query};

/// What builds a value of an event's payload.
#[derive(Clone, Debug)]
pub enum Template {
    /// The value itself.
    Literal(Bson),
    /// What a query selects: its value if it is singular, else an array. Left out if missing.
    Path {
        /// The query.
        query: Query,
        /// Taken where the query selects nothing.
        default: Option<Bson>,
        /// A missing value is an error of the event.
        required: bool,
    },
    /// A text with queries in braces.
    Text(TextTemplate),
    /// A sub-document.
    Map(Vec<(String, Template)>),
    /// An array.
    List(Vec<Template>),
}

/// A text with queries in braces: `order {$.key._id} is paid`. `{{` and `}}` stand for braces.
#[derive(Clone, Debug)]
pub struct TextTemplate {
    /// The parts in order.
    pub parts: Vec<TextPart>,
}

/// A part of a [`TextTemplate`].
#[derive(Clone, Debug)]
pub enum TextPart {
    /// Text as it is.
    Text(String),
    /// The value that a query selects, as text.
    Query(Query),
}

const CODE: &str = "R024";

impl TextTemplate {
    /// Reads a text with queries in braces.
    ///
    /// # Errors
    ///
    /// For a brace without its partner, and for a query that is not one; offsets count from the start of the text.
    pub fn parse(text: &str) -> Result<Self, LanguageError> {
        Self::parse_with(text, Query::parse)
    }

    /// [`TextTemplate::parse`] with another reader of the queries.
    ///
    /// # Errors
    ///
    /// As [`TextTemplate::parse`].
    pub fn parse_with(text: &str, read: impl Fn(&str) -> Result<Query, LanguageError>) -> Result<Self, LanguageError> {
        let characters: Vec<char> = text.chars().collect();
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut at = 0;
        while let Some(&character) = characters.get(at) {
            let doubled = characters.get(at + 1) == Some(&character);
            match character {
                '{' | '}' if doubled => {
                    plain.push(character);
                    at += 2;
                }
                '{' => {
                    let end = closing(&characters, at)?;
                    let query: String = characters[at + 1..end].iter().collect();
                    if !plain.is_empty() {
                        parts.push(TextPart::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(TextPart::Query(query_at(&query, at + 1, &read)?));
                    at = end + 1;
                }
                '}' => {
                    return Err(LanguageError::new(
                        at,
                        CODE,
                        "a closing brace has no opening one",
                        "write `}}` for a plain brace",
                    ));
                }
                _ => {
                    plain.push(character);
                    at += 1;
                }
            }
        }
        if !plain.is_empty() {
            parts.push(TextPart::Text(plain));
        }
        Ok(Self { parts })
    }
}

fn query_at(
    text: &str,
    offset: usize,
    read: &impl Fn(&str) -> Result<Query, LanguageError>,
) -> Result<Query, LanguageError> {
    let blanks = text.chars().take_while(|character| character.is_whitespace()).count();
    read(text.trim()).map_err(|error| LanguageError { offset: error.offset + offset + blanks, ..error })
}

/// The place of the brace that closes the one at `open`; braces inside quotes belong to names.
fn closing(characters: &[char], open: usize) -> Result<usize, LanguageError> {
    let mut quote = None;
    let mut at = open + 1;
    while let Some(&character) = characters.get(at) {
        match (quote, character) {
            (Some(_), '\\') => at += 1,
            (Some(mark), _) if character == mark => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, '}') => return Ok(at),
            (None, _) => {}
        }
        at += 1;
    }
    Err(LanguageError::new(
        open,
        CODE,
        "the brace is not closed",
        "close it after the query, or write `{{` for a plain brace",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Vec<String> {
        let part = |part: TextPart| match part {
            TextPart::Text(text) => text,
            TextPart::Query(query) => format!("<{}>", query.text),
        };
        TextTemplate::parse(text).unwrap().parts.into_iter().map(part).collect()
    }

    #[test]
    fn a_text_is_split_into_plain_parts_and_queries() {
        assert_eq!(written("order {$.key._id} is paid"), ["order ", "<$.key._id>", " is paid"]);
        assert_eq!(written("{$.after['a}b']}{ $.before.x }"), ["<$.after['a}b']>", "<$.before.x>"]);
        assert_eq!(written("{{}} {{$.key}}"), ["{} {$.key}"]);
        assert_eq!(written("plain"), ["plain"]);
        assert!(written("").is_empty());
    }

    #[test]
    fn a_bad_text_says_where() {
        for (text, offset, code) in [
            ("a {$.key", 2, "R024"),
            ("a } b", 2, "R024"),
            ("ü {$.afer.x}", 5, "R021"),
            ("{  status }", 3, "R020"),
            ("{}", 1, "R020"),
        ] {
            let error = TextTemplate::parse(text).unwrap_err();
            assert_eq!((error.offset, error.code), (offset, code), "{text}: {error}");
        }
    }
}
