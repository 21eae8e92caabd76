//! Rules that no change can make fire, and parts of them that are never there.

use crate::rules::ast::{ElementChange, Rule, State, When, Where};
use crate::rules::query::Root;
use crate::rules::{Query, Template, TextPart, TextTemplate};
use crate::yaml::{FileDiagnostics, Span};

use super::rule::ReadRule;
use super::{codes, implies, possible};

/// What a rule can be asked to fire on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occasion {
    Insert,
    Update,
    Delete,
}

impl Occasion {
    fn of(rule: &Rule) -> impl Iterator<Item = Self> {
        let operations = rule.operations;
        [(operations.insert, Self::Insert), (operations.update, Self::Update), (operations.delete, Self::Delete)]
            .into_iter()
            .filter_map(|(is_asked, occasion)| is_asked.then_some(occasion))
    }

    fn word(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// The document that is absent.
    fn absent(self) -> Option<Root> {
        match self {
            Self::Insert => Some(Root::Before),
            Self::Update => None,
            Self::Delete => Some(Root::After),
        }
    }
}

/// Why a rule never fires on an occasion.
struct Obstacle {
    span: Span,
    message: String,
    help: String,
}

/// A rule that says nothing about changes it could hold on, or that contradicts itself.
pub(super) fn cannot_fire(notes: &mut FileDiagnostics<'_>, read: &ReadRule) {
    let rule = &read.rule;
    // A rule on transactions has no conditions of its own: its members have.
    if rule.transaction.is_some() {
        return;
    }
    if let (Some(enters), Some(leaves)) = (&rule.enters, &rule.leaves)
        && (is_part(enters, leaves) || is_part(leaves, enters))
    {
        let message = "a document can not start and stop to satisfy the same conditions at once";
        notes
            .error(read.event_span, codes::CANNOT_HOLD, message)
            .help("write two rules, or different conditions under `enters` and `leaves`");
        return;
    }
    if is_added(rule) && asks_what_was_added(notes, read) {
        return;
    }
    let obstacles: Vec<Vec<Obstacle>> = Occasion::of(rule).map(|occasion| obstacles(read, occasion)).collect();
    if obstacles.iter().any(Vec::is_empty) {
        return;
    }
    for Obstacle { span, message, help } in obstacles.into_iter().flatten() {
        notes.error(span, codes::CANNOT_FIRE, message).help(help);
    }
}

fn obstacles(read: &ReadRule, occasion: Occasion) -> Vec<Obstacle> {
    let rule = &read.rule;
    let word = occasion.word();
    let mut found = Vec::new();
    let mut add = |span, what: &str, help: String| {
        let message = format!("the rule can not fire: its `{what}` never holds on {word}");
        found.push(Obstacle { span, message, help });
    };
    let can_hold = |when: &When| match occasion {
        Occasion::Insert => possible::can_hold_on_insert(when),
        Occasion::Update => true,
        Occasion::Delete => possible::can_hold_on_delete(when),
    };
    if rule.when.as_ref().is_some_and(|when| !can_hold(when)) {
        let help = match occasion {
            Occasion::Insert => "an inserted document has no value before: leave out `from`, or use `on: update`",
            _ => "a deleted document has no value after: leave out `to`, or use `on: update`",
        };
        add(read.event_span, "when", help.to_owned());
    }
    for (key, state, never_on, side) in [
        ("enters", &rule.enters, Occasion::Delete, "after a delete"),
        ("leaves", &rule.leaves, Occasion::Insert, "before an insert"),
    ] {
        let Some(state) = state else { continue };
        if occasion == never_on {
            add(read.event_span, key, format!("there is no document {side}: remove {word:?} from `on`"));
        } else if occasion == Occasion::Update && rule.when.as_ref().is_some_and(|when| keeps_still(when, state)) {
            add(read.event_span, key, "`when` says that all of its paths stay unchanged: remove one of the two".into());
        }
    }
    if let Some((is, why)) = rule.each.as_ref().and_then(|each| never_happens(each.is, occasion)) {
        add(read.event_span, "each", format!("{why}: write another `on`, or leave it out beside `is: {is}`"));
    }
    if let Some(missing) = occasion.absent() {
        if rule.filter.as_ref().is_some_and(|filter| needs(filter, missing)) {
            let root = missing.as_str();
            let help = format!("`$.{root}` is absent on {word}: ask the other document, or another operation");
            add(read.event_span, "where", help);
        }
        if let Some(path) = required(&rule.data, missing) {
            let message = format!("no event can be built: `{path}` is required, and absent on {word}");
            let help = "leave out `required`, or read the other document".to_owned();
            found.push(Obstacle { span: read.data_span, message, help });
        }
    }
    found
}

/// Finds what a rule on added elements needs of them before the change; true if there is something.
fn asks_what_was_added(notes: &mut FileDiagnostics<'_>, read: &ReadRule) -> bool {
    let rule = &read.rule;
    let needs_it = rule.filter.as_ref().is_some_and(|filter| needs(filter, Root::ItemBefore));
    if needs_it {
        let message = "the rule can not fire: its `where` never holds of an element that was added";
        notes
            .error(read.event_span, codes::CANNOT_FIRE, message)
            .help("there is no `$.itemBefore` of such an element: ask `$.item`");
    }
    let path = required(&rule.data, Root::ItemBefore);
    if let Some(path) = &path {
        let message = format!("no event can be built: `{path}` is required, and absent of an element that was added");
        notes.error(read.data_span, codes::CANNOT_FIRE, message).help("read it from `$.item`");
    }
    needs_it || path.is_some()
}

fn is_added(rule: &Rule) -> bool {
    rule.each.as_ref().is_some_and(|each| each.is == ElementChange::Added)
}

/// Why no change of a kind does this to an element, with the word for it.
fn never_happens(is: ElementChange, occasion: Occasion) -> Option<(&'static str, &'static str)> {
    match (is, occasion) {
        (ElementChange::Added, Occasion::Delete) => Some(("added", "a deleted document gets no elements")),
        (ElementChange::Removed, Occasion::Insert) => Some(("removed", "an inserted document loses no elements")),
        (ElementChange::Changed, Occasion::Insert | Occasion::Delete) => {
            Some(("changed", "an element changes where the document is there before and after"))
        }
        _ => None,
    }
}

/// True if every condition of one state stands in the other: where the other holds, the one does.
fn is_part(one: &State, other: &State) -> bool {
    let (one, other) = (implies::texts(one), implies::texts(other));
    one.iter().all(|text| other.contains(text))
}

/// True if the transitions leave every path of the state unchanged.
fn keeps_still(when: &When, State(all): &State) -> bool {
    all.iter().all(|(path, _)| possible::still_paths(when).iter().any(|still| path.steps.starts_with(&still.steps)))
}

/// True if the condition can only hold with a node under a root that is absent.
pub(super) fn needs(filter: &Where, absent: Root) -> bool {
    match filter {
        Where::All(all) => all.iter().any(|one| needs(one, absent)),
        Where::Exists(query) => query.root() == absent,
        Where::Matches(query, matcher) => query.root() == absent && !possible::holds_for_missing(matcher),
    }
}

/// A path that the payload requires under a root that is absent.
fn required(data: &Template, absent: Root) -> Option<String> {
    let mut required = None;
    visit(data, &mut |query, is_required| {
        if is_required && query.root() == absent {
            required = Some(query.text.clone());
        }
    });
    required
}

/// Paths of the payload that never hold a value, because what they look into is never there.
pub(super) fn never_there(notes: &mut FileDiagnostics<'_>, read: &ReadRule) {
    let operations = read.rule.operations;
    let of_document = match (operations.insert, operations.update, operations.delete) {
        (true, false, false) => Some((Root::Before, "on insert", "$.after")),
        (false, false, true) => Some((Root::After, "on delete", "$.before")),
        _ => None,
    };
    let of_element = is_added(&read.rule).then_some((Root::ItemBefore, "of an element that was added", "$.item"));
    for (missing, occasion, other) in of_document.into_iter().chain(of_element) {
        let mut paths = Vec::new();
        visit(&read.rule.data, &mut |query, is_required| {
            if !is_required && query.root() == missing {
                paths.push(query.text.clone());
            }
        });
        let texts = [&read.rule.key, &read.rule.subject].into_iter().flatten();
        paths.extend(texts.flat_map(queries).filter(|query| query.root() == missing).map(|query| query.text.clone()));
        if let Some(path) = paths.first() {
            notes
                .warning(read.data_span, codes::NEVER_THERE, format!("`{path}` is never there {occasion}"))
                .help(format!("read it from `{other}`"));
        }
    }
}

fn queries(text: &TextTemplate) -> impl Iterator<Item = &Query> {
    text.parts.iter().filter_map(|part| match part {
        TextPart::Query(query) => Some(query),
        TextPart::Text(_) => None,
    })
}

/// Shows every query of a template, and whether its value is required.
fn visit(template: &Template, show: &mut dyn FnMut(&Query, bool)) {
    match template {
        Template::Literal(_) => {}
        Template::Path { query, required, .. } => show(query, *required),
        Template::Text(text) => queries(text).for_each(|query| show(query, false)),
        Template::Map(fields) => fields.iter().for_each(|(_, field)| visit(field, show)),
        Template::List(elements) => elements.iter().for_each(|element| visit(element, show)),
    }
}
