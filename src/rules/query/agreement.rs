//! The fast walk over names and indices, the engine for everything else, and RFC 9535 written down as plainly as can be give the
//! same nodes of random documents.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use bson::{Bson, Document, RawBson};
use proptest::prelude::*;

use super::tree::{Segment, Selector};
use super::{Query, Root, Roots, nodes};
use crate::rules::path::{FieldPath, Path, find};

/// Names that are easily taken for something else.
const NAMES: [&str; 12] = ["a", "b", "c", "0", "1", "", "a.b", "it's", "\"q\"", "ä☺", "a b", "\n\\/"];

fn value() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        Just(Bson::Null),
        any::<bool>().prop_map(Bson::Boolean),
        (-1_i32..3).prop_map(Bson::Int32),
        (-1_i64..3).prop_map(Bson::Int64),
        Just(Bson::Double(1.5)),
        Just(Bson::Double(f64::NAN)),
        "[xy]{0,2}".prop_map(Bson::String),
        Just(Bson::DateTime(bson::DateTime::from_millis(7))),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let field = (prop::sample::select(NAMES.to_vec()), inner.clone());
        let document = prop::collection::vec(field, 0..6).prop_map(|fields| {
            Bson::Document(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Document>())
        });
        prop_oneof![prop::collection::vec(inner, 0..5).prop_map(Bson::Array), document]
    })
}

#[derive(Clone, Debug)]
enum Choice {
    Name(&'static str),
    Index(i64),
    Wildcard,
    Slice(Option<i64>, Option<i64>, Option<i64>),
    /// A filter: a singular query from `@` selects something.
    Has(Vec<Choice>),
    /// A filter: it selects this number.
    Is(Vec<Choice>, i64),
}

#[derive(Clone, Debug)]
struct Part {
    descends: bool,
    choices: Vec<Choice>,
    /// Of the ways to write it, which one.
    spelling: u8,
}

fn single() -> impl Strategy<Value = Choice> + Clone {
    prop_oneof![3 => prop::sample::select(NAMES.to_vec()).prop_map(Choice::Name), 2 => (-2_i64..4).prop_map(Choice::Index)]
}

fn choice() -> impl Strategy<Value = Choice> {
    let bound = || prop::option::of(-4_i64..5);
    let below = || prop::collection::vec(single(), 0..3);
    prop_oneof![
        4 => single(),
        2 => Just(Choice::Wildcard),
        1 => (bound(), bound(), prop::option::of(-3_i64..4)).prop_map(|(start, end, step)| Choice::Slice(start, end, step)),
        1 => below().prop_map(Choice::Has),
        1 => (below(), -1_i64..3).prop_map(|(below, number)| Choice::Is(below, number)),
    ]
}

fn singular() -> impl Strategy<Value = Vec<Part>> {
    let part = (single(), any::<u8>());
    let part = part.prop_map(|(choice, spelling)| Part { descends: false, choices: vec![choice], spelling });
    prop::collection::vec(part, 0..5)
}

fn any_path() -> impl Strategy<Value = Vec<Part>> {
    let part = (prop::bool::weighted(0.2), prop::collection::vec(choice(), 1..3), any::<u8>());
    let part = part.prop_map(|(descends, choices, spelling)| Part { descends, choices, spelling });
    prop::collection::vec(part, 0..4)
}

/// A path whose first steps are singular, as most are.
fn path() -> impl Strategy<Value = Vec<Part>> {
    (singular(), any_path()).prop_map(|(first, rest)| [first, rest].concat())
}

fn quoted(name: &str, spelling: u8) -> String {
    let quote = if spelling & 1 == 0 { '\'' } else { '"' };
    let mut text = String::from(quote);
    for character in name.chars() {
        match character {
            '\n' => text.push_str("\\n"),
            '\\' => text.push_str("\\\\"),
            character if character == quote => write!(text, "\\{character}").unwrap(),
            'ä' if spelling & 2 == 0 => text.push_str("\\u00E4"),
            plain => text.push(plain),
        }
    }
    text.push(quote);
    text
}

fn selector(choice: &Choice, spelling: u8) -> String {
    let bound = |bound: &Option<i64>| bound.map(|bound| bound.to_string()).unwrap_or_default();
    match choice {
        Choice::Name(name) => quoted(name, spelling),
        Choice::Index(index) => index.to_string(),
        Choice::Wildcard => "*".to_owned(),
        Choice::Slice(start, end, None) => format!("{}:{}", bound(start), bound(end)),
        Choice::Slice(start, end, Some(step)) => format!("{} : {}:{step}", bound(start), bound(end)),
        Choice::Has(below) => format!("?@{}", below.iter().map(|choice| segment(choice, spelling)).collect::<String>()),
        Choice::Is(below, number) => {
            format!("? @{} ==\t{number}", below.iter().map(|choice| segment(choice, spelling)).collect::<String>())
        }
    }
}

/// A child segment of one selector.
fn segment(choice: &Choice, spelling: u8) -> String {
    let shorthand = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c as u32 >= 0x80) && !name.is_empty();
    let blank = if spelling & 4 == 0 { "" } else { " " };
    match choice {
        Choice::Name(name) if shorthand(name) && spelling & 8 == 0 => format!("{blank}.{name}"),
        Choice::Wildcard if spelling & 8 == 0 => format!("{blank}.*"),
        other => format!("{blank}[{blank}{}{blank}]", selector(other, spelling)),
    }
}

fn written(parts: &[Part]) -> String {
    let mut text = String::from("$");
    for Part { descends, choices, spelling } in parts {
        match (choices.as_slice(), descends) {
            ([only], false) => text.push_str(&segment(only, *spelling)),
            _ => {
                let selectors: Vec<String> = choices.iter().map(|choice| selector(choice, *spelling)).collect();
                write!(text, "{}[{}]", if *descends { ".." } else { "" }, selectors.join(" ,")).unwrap();
            }
        }
    }
    text
}

/// What RFC 9535 says, section by section, with lists of nodes.
mod reference {
    use super::*;

    pub fn select<'d>(document: &'d Bson, parts: &[Part]) -> Vec<&'d Bson> {
        parts.iter().fold(vec![document], |nodes, part| nodes.into_iter().flat_map(|node| below(node, part)).collect())
    }

    fn below<'d>(node: &'d Bson, part: &Part) -> Vec<&'d Bson> {
        let start = if part.descends { descendants(node) } else { vec![node] };
        let chosen = |node| part.choices.iter().flat_map(move |choice| chosen(node, choice));
        start.into_iter().flat_map(chosen).collect()
    }

    fn descendants(node: &Bson) -> Vec<&Bson> {
        std::iter::once(node).chain(children(node).into_iter().flat_map(descendants)).collect()
    }

    fn children(node: &Bson) -> Vec<&Bson> {
        match node {
            Bson::Array(array) => array.iter().collect(),
            Bson::Document(document) => document.values().collect(),
            _ => Vec::new(),
        }
    }

    fn chosen<'d>(node: &'d Bson, choice: &Choice) -> Vec<&'d Bson> {
        match (choice, node) {
            (Choice::Name(name), Bson::Document(document)) => document.get(name).into_iter().collect(),
            (Choice::Index(index), Bson::Array(array)) => {
                let length = i64::try_from(array.len()).unwrap();
                let index = if *index < 0 { length + index } else { *index };
                usize::try_from(index).ok().and_then(|index| array.get(index)).into_iter().collect()
            }
            (Choice::Wildcard, node) => children(node),
            (Choice::Slice(start, end, step), Bson::Array(array)) => sliced(array, *start, *end, step.unwrap_or(1)),
            (Choice::Has(below), node) => {
                children(node).into_iter().filter(|child| !single(child, below).is_empty()).collect()
            }
            (Choice::Is(below, wanted), node) => {
                let is = |found: &&Bson| match found {
                    Bson::Int32(number) => i64::from(*number) == *wanted,
                    Bson::Int64(number) => number == wanted,
                    _ => false,
                };
                children(node).into_iter().filter(|child| single(child, below).iter().any(is)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn single<'d>(node: &'d Bson, steps: &[Choice]) -> Vec<&'d Bson> {
        steps.iter().fold(vec![node], |nodes, step| nodes.into_iter().flat_map(|node| chosen(node, step)).collect())
    }

    /// Section 2.3.4.2.2, as it stands there.
    fn sliced(array: &[Bson], start: Option<i64>, end: Option<i64>, step: i64) -> Vec<&Bson> {
        let length = i64::try_from(array.len()).unwrap();
        let normalize = |index: i64| if index >= 0 { index } else { length + index };
        let mut selected = Vec::new();
        let element = |index: i64| &array[usize::try_from(index).unwrap()];
        if step > 0 {
            let lower = normalize(start.unwrap_or(0)).max(0).min(length);
            let upper = normalize(end.unwrap_or(length)).max(0).min(length);
            let mut index = lower;
            while index < upper {
                selected.push(element(index));
                index += step;
            }
        } else if step < 0 {
            let upper = normalize(start.unwrap_or(length - 1)).max(-1).min(length - 1);
            let lower = normalize(end.unwrap_or(-length - 1)).max(-1).min(length - 1);
            let mut index = upper;
            while lower < index {
                selected.push(element(index));
                index += step;
            }
        }
        selected
    }
}

struct Whole<'v>(bson::RawBsonRef<'v>);

impl<'v> Roots<'v> for Whole<'v> {
    fn value(&self, _: Root, path: &Path) -> Option<bson::RawBsonRef<'v>> {
        find(self.0, &path.steps)
    }
}

/// What the engine selects after a walk along `steps`, written as text: NaN equals itself there.
fn engine(document: &RawBson, steps: &Path, rest: &[Segment]) -> Vec<String> {
    let root = document.as_raw_bson_ref();
    let mut selected = Vec::new();
    if let Some(start) = find(root, &steps.steps) {
        let _ = nodes(&Whole(root), start, rest, &mut |node| {
            selected.push(format!("{:?}", Bson::try_from(node).unwrap()));
            ControlFlow::Continue(())
        });
    }
    selected
}

/// The same query with no step left for the walk.
fn without_walk(query: &Query) -> Vec<Segment> {
    let walked = query.path().steps.iter().map(|step| {
        Segment::Child(vec![match step.index {
            Some(index) => Selector::Index(i64::try_from(index).unwrap()),
            None => Selector::Name((*step.text).to_owned()),
        }])
    });
    walked.chain(query.rest().iter().cloned()).collect()
}

fn shown(nodes: Vec<&Bson>) -> Vec<String> {
    nodes.into_iter().map(|node| format!("{node:?}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn walk_and_engine_select_what_the_rfc_says(document in value(), parts in path()) {
        let text = written(&parts);
        let query = match Query::parse_plain(&text) {
            Ok(query) => query,
            Err(error) => return Err(TestCaseError::fail(format!("{text}: {error}"))),
        };
        let raw = RawBson::try_from(document.clone()).unwrap();
        let wanted = shown(reference::select(&document, &parts));
        let walked = engine(&raw, query.path(), query.rest());
        prop_assert_eq!(&walked, &wanted, "{} of {}, after a walk of {}", text, document, query.path().steps.len());
        let searched = engine(&raw, &Path::new(Vec::new()), &without_walk(&query));
        prop_assert_eq!(&searched, &wanted, "{} of {}, without a walk", text, document);
    }

    #[test]
    fn a_dotted_path_finds_what_the_same_jsonpath_selects(document in value(), names in prop::collection::vec(prop::sample::select(NAMES.to_vec()), 1..5)) {
        // Digits are an index in an array and a name in a document: the JSONPath is written as the document needs it.
        let mut at = Some(&document);
        let mut parts = Vec::new();
        for name in &names {
            let choice = match (at, name.parse()) {
                (Some(Bson::Array(_)), Ok(index)) => Choice::Index(index),
                _ => Choice::Name(name),
            };
            let part = Part { descends: false, choices: vec![choice], spelling: 0 };
            at = at.and_then(|node| reference::select(node, std::slice::from_ref(&part)).first().copied());
            parts.push(part);
        }
        let dotted: Vec<String> = names.iter().map(|name| quoted_step(name)).collect();
        let field = FieldPath::parse(&dotted.concat()).unwrap();
        let raw = RawBson::try_from(document.clone()).unwrap();
        let found = engine(&raw, &Path::from(&field), &[]);
        prop_assert_eq!(found, shown(reference::select(&document, &parts)), "{} of {}", field.text, document);
    }
}

fn quoted_step(name: &str) -> String {
    format!("[\"{}\"]", name.replace('\\', "\\\\").replace('"', "\\\""))
}
