//! Subjects: filled in per event, and compared with what a stream takes.

use super::super::envelope::Envelope;
use super::super::pattern::{Field, Part, Pattern};
use crate::event::{Address, AddressPart, Event};
use crate::rules::{TextPart, TextTemplate};

/// A longer subject is refused: servers read a line of 4 KiB with everything that stands before the message.
pub(super) const SUBJECT_BYTES_MAX: usize = 2_048;

/// A pattern that always gives a valid subject.
#[derive(Clone, Debug)]
pub(super) struct SubjectPattern {
    pattern: Pattern,
}

impl SubjectPattern {
    /// Checks that the plain text of a pattern is fit for a subject.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(super) fn new(pattern: &Pattern) -> Result<Self, &'static str> {
        check(pieces(pattern))?;
        Ok(Self { pattern: pattern.clone() })
    }

    /// The subject of an event.
    pub(super) fn subject_of(&self, event: &Event, envelope: &Envelope) -> String {
        let mut subject = String::with_capacity(64);
        for part in self.pattern.parts() {
            match part {
                Part::Text(text) => subject.push_str(text),
                Part::Field(field) => {
                    let mut value = String::new();
                    envelope.each_piece_of_field(*field, event, |piece| value.push_str(piece));
                    push_value(&mut subject, &value, matches!(field, Field::Type | Field::Event));
                }
            }
        }
        subject
    }

    /// The subjects that the pattern can give, as a subject with a wildcard: what a stream for it takes.
    pub(super) fn subjects(&self) -> String {
        wildcard(pieces(&self.pattern))
    }
}

/// The subjects that the template of a rule can give, as a subject with a wildcard.
///
/// # Errors
/// A sentence that says what of it is not fit for a subject.
pub(super) fn subjects_of_template(template: &TextTemplate) -> Result<String, &'static str> {
    let pieces = || {
        template.parts.iter().map(|part| match part {
            TextPart::Text(text) => Some(text.as_str()),
            TextPart::Query(_) => None,
        })
    };
    check(pieces())?;
    Ok(wildcard(pieces()))
}

/// The subjects that addresses like this one give, as a subject with a wildcard.
///
/// # Errors
/// A sentence that says what of the text is not fit for a subject.
pub(super) fn subjects_of_address(address: &Address) -> Result<String, &'static str> {
    check(address_pieces(address))?;
    Ok(wildcard(address_pieces(address)))
}

/// The subject that a rule or a relay gave to an event.
///
/// # Errors
/// A sentence that says what of the rule's text is not fit for a subject.
pub(super) fn subject_of_address(address: &Address) -> Result<String, &'static str> {
    check(address_pieces(address))?;
    let mut subject = String::with_capacity(64);
    for part in &address.parts {
        match part {
            AddressPart::Text(text) => subject.push_str(text),
            AddressPart::Value(value) => push_value(&mut subject, value, false),
        }
    }
    Ok(subject)
}

/// The pieces of a subject: plain text, and nothing where a value is filled in.
fn pieces(pattern: &Pattern) -> impl Iterator<Item = Option<&str>> {
    pattern.parts().iter().map(|part| match part {
        Part::Text(text) => Some(text.as_str()),
        Part::Field(_) => None,
    })
}

fn address_pieces(address: &Address) -> impl Iterator<Item = Option<&str>> {
    address.parts.iter().map(|part| match part {
        AddressPart::Text(text) => Some(text.as_str()),
        AddressPart::Value(_) => None,
    })
}

fn check<'p>(pieces: impl Iterator<Item = Option<&'p str>>) -> Result<(), &'static str> {
    let tokens = tokens(pieces);
    if tokens.iter().any(Token::is_empty) {
        return Err("it has an empty token: a dot at its beginning, at its end or beside another dot");
    }
    if tokens.iter().flat_map(|token| token.text.chars()).any(|character| !is_fit(character)) {
        return Err("it holds a space, \"*\" or \">\"");
    }
    match tokens.first() {
        Some(Token { text, has_field: false }) if !text.starts_with('$') => Ok(()),
        _ => Err("it does not begin with plain text and a dot, such as \"events.\""),
    }
}

fn wildcard<'p>(pieces: impl Iterator<Item = Option<&'p str>>) -> String {
    let tokens = tokens(pieces);
    let plain: Vec<&str> =
        tokens.iter().take_while(|token| !token.has_field).map(|token| token.text.as_str()).collect();
    if plain.len() == tokens.len() { plain.join(".") } else { format!("{}.>", plain.join(".")) }
}

#[derive(Default)]
struct Token {
    text: String,
    has_field: bool,
}

impl Token {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && !self.has_field
    }
}

fn tokens<'p>(pieces: impl Iterator<Item = Option<&'p str>>) -> Vec<Token> {
    let mut tokens = vec![Token::default()];
    for piece in pieces {
        let Some(text) = piece else {
            if let Some(token) = tokens.last_mut() {
                token.has_field = true;
            }
            continue;
        };
        for (place, piece) in text.split('.').enumerate() {
            if place > 0 {
                tokens.push(Token::default());
            }
            if let Some(token) = tokens.last_mut() {
                token.text.push_str(piece);
            }
        }
    }
    tokens
}

/// True for a character that may stand in a token.
fn is_fit(character: char) -> bool {
    !(character.is_whitespace() || character.is_control() || matches!(character, '.' | '*' | '>'))
}

/// Appends a value; what a subject may not hold becomes `_`, so that the number of tokens is as the pattern says.
fn push_value(subject: &mut String, value: &str, may_have_dots: bool) {
    let push_token = |subject: &mut String, token: &str| {
        if token.is_empty() {
            subject.push('_');
        }
        subject.extend(token.chars().map(|character| if is_fit(character) { character } else { '_' }));
    };
    if !may_have_dots {
        return push_token(subject, value);
    }
    for (place, token) in value.split('.').enumerate() {
        if place > 0 {
            subject.push('.');
        }
        push_token(subject, token);
    }
}

/// The subjects without those that another one of them takes already: a stream refuses subjects that overlap.
pub(super) fn without_overlaps(subjects: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for subject in subjects {
        let covers = |one: &str, other: &str| {
            one == other || one.strip_suffix('>').is_some_and(|start| other.starts_with(start))
        };
        if !kept.iter().any(|one| covers(one, subject)) {
            kept.retain(|one| !covers(subject, one));
            kept.push(subject.clone());
        }
    }
    kept
}

/// True if some subject is taken by both; each may hold wildcards.
pub(super) fn have_common_subjects(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(left), Some(right)) if left == right || left == "*" || right == "*" => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::EnvelopeSettings;
    use crate::sink::samples::event;

    fn pattern(text: &str) -> Result<SubjectPattern, &'static str> {
        SubjectPattern::new(&Pattern::parse(text).expect("a pattern"))
    }

    #[test]
    fn a_subject_begins_with_plain_text_and_has_no_empty_token() {
        for good in ["events.{type}", "shop.{collection}.{type}", "shop.v1-{event}", "fixed", "shop.a{rule}{key}b.x"] {
            assert!(pattern(good).is_ok(), "{good}");
        }
        for wrong in [
            "",
            ".{type}",
            "events.",
            "events..{type}",
            "{type}",
            "{name}.{type}",
            "a b.{type}",
            "a.*",
            "a.>",
            "$JS.{type}",
        ] {
            assert!(pattern(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_subject_may_not_hold_is_replaced() {
        let settings = EnvelopeSettings { type_prefix: "com.example.".into(), ..EnvelopeSettings::default() };
        let envelope = Envelope::new(&settings, "shop");
        let mut event = event(1);
        event.collection = "fs.chunks".into();
        event.partition_key = "a b*c>d.e\n\u{7f}é".into();
        let subject = |text: &str| pattern(text).expect("good").subject_of(&event, &envelope);
        assert_eq!(subject("shop.{collection}.{type}"), "shop.fs_chunks.com.example.OrderPaid");
        assert_eq!(subject("shop.{key}"), "shop.a_b_c_d_e__é");
        event.name = ".Order..Paid.".into();
        event.partition_key = String::new();
        let subject = |text: &str| pattern(text).expect("good").subject_of(&event, &envelope);
        assert_eq!(subject("shop.{event}.{key}"), "shop._.Order._.Paid._._");
    }

    #[test]
    fn the_subject_of_a_rule_keeps_its_dots_and_no_dot_of_a_value() {
        let address = |parts: Vec<AddressPart>| subject_of_address(&Address { parts });
        let text = |text: &str| AddressPart::Text(text.to_owned());
        let value = |text: &str| AddressPart::Value(text.to_owned());
        assert_eq!(address(vec![text("shop."), value("a.b c"), text(".x")]).as_deref(), Ok("shop.a_b_c.x"));
        assert_eq!(address(vec![text("shop."), value("")]).as_deref(), Ok("shop._"));
        assert!(address(vec![value("shop"), text(".x")]).is_err());
        let subjects = |text: &str| subjects_of_template(&TextTemplate::parse(text).expect("a template"));
        assert_eq!(subjects("shop.{$.key._id}.x").as_deref(), Ok("shop.>"));
        for wrong in ["{$.key._id}", "shop..{$.key._id}", "shop.*.x", "a b.{$.key._id}", "$SYS.{$.key._id}"] {
            assert!(subjects(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_an_application_chooses_is_cleaned_as_what_a_rule_gives() {
        let route = |value: &str| {
            let parts = vec![AddressPart::Text("outbox.event.".to_owned()), AddressPart::Value(value.to_owned())];
            Address { parts }
        };
        assert_eq!(subject_of_address(&route("Order")).as_deref(), Ok("outbox.event.Order"));
        assert_eq!(subject_of_address(&route("a *.> b\r\n")).as_deref(), Ok("outbox.event.a_____b__"));
        assert_eq!(subject_of_address(&route("")).as_deref(), Ok("outbox.event._"));
        assert_eq!(subjects_of_address(&route("")).as_deref(), Ok("outbox.event.>"));
        let whole = Address { parts: vec![AddressPart::Value("anything".to_owned())] };
        assert!(subjects_of_address(&whole).is_err() && subject_of_address(&whole).is_err());
    }

    #[test]
    fn a_stream_is_never_created_with_subjects_that_overlap() {
        let kept = |subjects: &[&str]| {
            let subjects: Vec<String> = subjects.iter().map(|one| (*one).to_owned()).collect();
            without_overlaps(&subjects).join(" ")
        };
        assert_eq!(kept(&["events.>", "outbox.event.>", "events.>"]), "events.> outbox.event.>");
        assert_eq!(kept(&["events.orders.>", "events.>", "events.x", "eventsx"]), "events.> eventsx");
    }

    #[test]
    fn a_stream_takes_all_that_begins_with_the_plain_text() {
        let subjects = |text: &str| pattern(text).expect("good").subjects();
        assert_eq!(subjects("events.{type}"), "events.>");
        assert_eq!(subjects("shop.v1.x{type}.y"), "shop.v1.>");
        assert_eq!(subjects("fixed.subject"), "fixed.subject");
    }

    #[test]
    fn subjects_with_wildcards_are_compared_token_by_token() {
        for (one, other, common) in [
            ("events.>", "events.OrderPaid", true),
            ("events.*", "events.>", true),
            ("events.*.x", "events.>", true),
            (">", "events.>", true),
            ("events", "events.>", false),
            ("events.a", "events.b", false),
            ("other.>", "events.>", false),
            ("*.a.>", "events.>", true),
        ] {
            assert_eq!(have_common_subjects(one, other), common, "{one} {other}");
            assert_eq!(have_common_subjects(other, one), common, "{other} {one}");
        }
    }
}
