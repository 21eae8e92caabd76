//! One rule: from its mapping, and the defaults of its file, to an [`ast::Rule`].

use std::sync::Arc;

use crate::event::Evidence;
use crate::rules::ast::{self, Each, Numbers, Operations, State, UnknownPolicy, When, Where};
use crate::rules::query::Root;
use crate::rules::{NamespacePattern, Template, TextTemplate};
use crate::yaml::{Entry, Node, Span};

use super::destination::ReadDestination;
use super::reader::{Reader, Scope};
use super::transaction::ReadTransaction;
use super::{can_fire, codes, destination, each, filter, operations, state, template, transaction, when};

/// Every key that a rule may have in this version.
pub(super) const KEYS: &[&str] = &[
    "event",
    "id",
    "description",
    "tags",
    "enabled",
    "collection",
    "on",
    "when",
    "where",
    "enters",
    "leaves",
    "each",
    "transaction",
    "absorbs",
    "first_of",
    "data",
    "key",
    "subject",
    "to",
    "unknown",
    "evidence",
];
/// Keys that say which rule it is: they can not be shared by all rules of a file.
pub(super) const OWN_KEYS: [&str; 4] = ["event", "id", "transaction", "absorbs"];
/// Keys that speak of one change: they have no meaning beside `transaction`, and as defaults they do not reach such a rule.
const OF_ONE_CHANGE: [&str; 7] = ["collection", "on", "when", "enters", "leaves", "each", "first_of"];
/// Defaults that speak of one change by their JSONPaths.
const TEMPLATES: [&str; 4] = ["where", "data", "key", "subject"];

/// A rule as it was read, and where its parts stand, for findings that need the other rules.
pub(super) struct ReadRule {
    pub(super) rule: ast::Rule,
    pub(super) enabled: bool,
    /// False once it is known that no change can make it fire.
    pub(super) can_fire: bool,
    /// Where the event's name stands.
    pub(super) event_span: Span,
    /// Where the id stands, or the event's name where it has none of its own.
    pub(super) id_span: Span,
    /// Where `data` stands, or the event's name.
    pub(super) data_span: Span,
    /// The sinks that it names, with their places.
    pub(super) destinations: Vec<ReadDestination>,
    /// The members of its transaction, as rules.
    pub(super) members: Vec<ReadRule>,
    /// The rules that it absorbs, with their places.
    pub(super) absorbs: Vec<(Arc<str>, Span)>,
}

impl ReadRule {
    /// A member of a transaction as a rule, whose name stands at `span`.
    pub(super) fn of_member(rule: ast::Rule, span: Span) -> Self {
        Self {
            rule,
            enabled: true,
            can_fire: true,
            event_span: span,
            id_span: span,
            data_span: span,
            destinations: Vec::new(),
            members: Vec::new(),
            absorbs: Vec::new(),
        }
    }
}

/// What the rules of a file have in common.
#[derive(Default)]
pub(super) struct Defaults<'n> {
    entries: Vec<&'n Entry>,
    /// How numbers are compared in the whole file.
    pub(super) numbers: Numbers,
}

impl<'n> Defaults<'n> {
    /// Those that reach a rule: on one change, or with `transaction`.
    fn reaching(&self, is_of_transaction: bool) -> Vec<&'n Entry> {
        let reaches = |entry: &&Entry| !is_of_transaction || !speaks_of_one_change(&entry.key);
        self.entries.iter().copied().filter(reaches).collect()
    }
}

/// Reads `defaults`.
pub(super) fn defaults<'n>(reader: &mut Reader<'_>, node: &'n Node) -> Defaults<'n> {
    let mut defaults = Defaults::default();
    let Some(entries) = reader.map(node, "`defaults`") else { return defaults };
    let mut known: Vec<&str> = KEYS.iter().copied().filter(|key| !OWN_KEYS.contains(key)).collect();
    known.push("numbers");
    for entry in entries {
        let key = entry.key.as_str();
        if OWN_KEYS.contains(&key) {
            reader
                .error(entry.key_span, codes::UNKNOWN_KEY, format!("`{key}` can not be a default"))
                .help("it says which rule it is: write it in every rule");
        } else if key == "numbers" {
            defaults.numbers = numbers(reader, &entry.node);
        } else if known.contains(&key) {
            defaults.entries.push(entry);
        } else {
            reader.unknown_key(entry, &known, "`defaults`");
        }
    }
    defaults
}

fn numbers(reader: &mut Reader<'_>, node: &Node) -> Numbers {
    match reader.text(node, "`numbers`") {
        Some("strict") => Numbers::Strict,
        Some("by_value") | None => Numbers::ByValue,
        Some(word) => {
            reader.unknown_word(word, node.span, "`numbers`", &["by_value", "strict"]);
            Numbers::ByValue
        }
    }
}

/// The keys of a rule, or of a member of a transaction, with the defaults that reach it.
pub(super) struct Fields<'n> {
    pub(super) own: &'n [Entry],
    pub(super) defaults: &'n [&'n Entry],
}

impl<'n> Fields<'n> {
    fn entry(&self, key: &str) -> Option<&'n Entry> {
        let own = self.own.iter().find(|entry| entry.key == key);
        own.or_else(|| self.defaults.iter().copied().find(|entry| entry.key == key))
    }

    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|entry| &entry.node)
    }
}

/// Reads one rule. A rule with any error is not returned, but read to its end, so that all of its errors are reported.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node, defaults: &Defaults<'_>) -> Option<ReadRule> {
    let mark = reader.errors();
    let own = reader.map(node, "a rule")?;
    reader.known_keys(own, KEYS, "a rule");
    let transaction = members(reader, &Fields { own, defaults: &defaults.entries });
    let reaching = defaults.reaching(transaction.is_some());
    let fields = Fields { own, defaults: &reaching };
    reader.scope = match &transaction {
        Some(transaction) => Scope::Transaction(Arc::clone(&transaction.aliases)),
        None if fields.get("each").is_some() => Scope::Element,
        None => Scope::Change,
    };
    let (event, id) = names(reader, &fields, node.span);
    let (collections, operations, conditions) = match &transaction {
        Some(_) => (Some(Vec::new()), Some(Operations::default()), of_a_transaction(reader, &fields)),
        None => of_a_change(reader, &fields, node.span),
    };
    let absorbs = absorbs(reader, &fields, transaction.is_some());
    let description = fields.get("description").and_then(|node| reader.text(node, "`description`"));
    let tags = fields.get("tags").and_then(|node| reader.texts(node, "`tags`")).unwrap_or_default();
    let enabled = fields.get("enabled").is_none_or(|node| reader.boolean(node, "`enabled`").unwrap_or(true));
    let first_of = name(reader, &fields, "first_of");
    let made = made(reader, &fields);
    if reader.errors() > mark {
        return None;
    }
    let place = fields.entry("event").map_or(node.span, |entry| entry.key_span);
    let event_span = fields.get("event").map_or(node.span, |node| node.span);
    let (transaction, members) = transaction.map_or_else(Default::default, |mut read| {
        let members = std::mem::take(&mut read.as_rules);
        (Some(read.finish(&absorbs)), members)
    });
    let rule = ast::Rule {
        description: description.map(str::to_owned),
        tags: tags.into_iter().map(|(tag, _)| tag.to_owned()).collect(),
        event: Arc::from(event?),
        when: conditions.when,
        filter: conditions.filter,
        enters: conditions.enters,
        leaves: conditions.leaves,
        each: conditions.each,
        transaction,
        first_of: first_of.map(Arc::from),
        to: made.to.as_ref().map(|to| to.iter().map(|one| one.destination.clone()).collect()),
        data: made.data?,
        key: made.key,
        subject: made.subject,
        numbers: defaults.numbers,
        unknown: made.unknown,
        evidence: made.evidence,
        origin: format!("{}:{}:{}", reader.file_name(), place.line, place.column),
        ..ast::Rule::new(id?, collections?, operations?)
    };
    Some(ReadRule {
        rule,
        enabled,
        can_fire: true,
        event_span,
        id_span: fields.get("id").map_or(event_span, |node| node.span),
        data_span: fields.entry("data").map_or(event_span, |entry| entry.key_span),
        destinations: made.to.unwrap_or_default(),
        members,
        absorbs,
    })
}

/// The names of the event and of the rule.
fn names<'n>(reader: &mut Reader<'_>, fields: &Fields<'n>, place: Span) -> (Option<&'n str>, Option<&'n str>) {
    let event = name(reader, fields, "event");
    if fields.get("event").is_none() {
        reader
            .error(place, codes::MISSING_KEY, "the rule has no `event`")
            .help("name the business event, a fact in the past tense: `event: OrderPaid`");
    }
    (event, name(reader, fields, "id").or(event))
}

/// What is made of a change that matches, and where it goes.
struct Made {
    data: Option<Template>,
    key: Option<TextTemplate>,
    subject: Option<TextTemplate>,
    to: Option<Vec<ReadDestination>>,
    unknown: UnknownPolicy,
    evidence: Evidence,
}

fn made(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Made {
    let data = fields.get("data").map_or_else(|| Some(Template::Map(Vec::new())), |node| template::data(reader, node));
    let key = fields.get("key").and_then(|node| template::text(reader, node, "`key`"));
    let subject = fields.get("subject").and_then(|node| template::text(reader, node, "`subject`"));
    let to = fields.get("to").map(|node| destination::read(reader, node).unwrap_or_default());
    let (unknown, evidence) = what_is_not_known(reader, fields);
    Made { data, key, subject, to, unknown, evidence }
}

fn speaks_of_one_change(key: &str) -> bool {
    OF_ONE_CHANGE.contains(&key) || TEMPLATES.contains(&key)
}

/// Reads `transaction`, and refuses what has no meaning beside it.
fn members(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<ReadTransaction> {
    let node = fields.get("transaction")?;
    for entry in fields.own.iter().filter(|entry| OF_ONE_CHANGE.contains(&entry.key.as_str())) {
        let help = match entry.key.as_str() {
            "first_of" => "such a rule fires when its transaction has ended: it belongs to no group",
            "each" => "write a rule of its own for the elements",
            _ => "write it in the members that it is meant for",
        };
        let message = format!("`{}` has no meaning beside `transaction`", entry.key);
        reader.error(entry.key_span, codes::UNKNOWN_KEY, message).help(help);
    }
    reader.scope = Scope::Change;
    let collection = fields.defaults.iter().find(|entry| entry.key == "collection").map(|entry| &entry.node);
    Some(transaction::read(reader, node, collection))
}

/// What a rule looks at, and what it asks of a change there.
fn of_a_change(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    place: Span,
) -> (Option<Vec<NamespacePattern>>, Option<Operations>, ReadConditions) {
    let collections = collections(reader, fields, place);
    let conditions = conditions(reader, fields);
    let operations = operations::read(reader, fields.get("on"), conditions.implied, place);
    (collections, operations, conditions)
}

/// What a rule with `transaction` asks beyond its members.
fn of_a_transaction(reader: &mut Reader<'_>, fields: &Fields<'_>) -> ReadConditions {
    let filter = fields.get("where").and_then(|node| filter::read(reader, node));
    ReadConditions { when: None, filter, enters: None, leaves: None, each: None, implied: None }
}

fn absorbs(reader: &mut Reader<'_>, fields: &Fields<'_>, has_transaction: bool) -> Vec<(Arc<str>, Span)> {
    let Some(entry) = fields.entry("absorbs") else { return Vec::new() };
    if !has_transaction {
        reader
            .error(entry.key_span, codes::UNKNOWN_KEY, "`absorbs` has no meaning without `transaction`")
            .help("it names rules whose events that of a whole transaction takes the place of");
    }
    transaction::absorbs(reader, &entry.node).unwrap_or_default()
}

/// The conditions of a rule on one change.
pub(super) struct ReadConditions {
    pub(super) when: Option<When>,
    pub(super) filter: Option<Where>,
    pub(super) enters: Option<State>,
    pub(super) leaves: Option<State>,
    pub(super) each: Option<Each>,
    /// What all of them can hold on, if there is one that says.
    pub(super) implied: Option<Operations>,
}

/// Reads the conditions of a rule, or of a member of a transaction.
pub(super) fn conditions(reader: &mut Reader<'_>, fields: &Fields<'_>) -> ReadConditions {
    let when = fields.get("when").and_then(|node| when::read(reader, node));
    let filter = fields.get("where").and_then(|node| filter::read(reader, node));
    let mut state = |key: &str| fields.get(key).and_then(|node| state::read(reader, node, &format!("`{key}`")));
    let (enters, leaves) = (state("enters"), state("leaves"));
    let narrowing = [
        ("when", operations::UPDATE),
        ("enters", operations::INSERT_OR_UPDATE),
        ("leaves", operations::UPDATE_OR_DELETE),
    ];
    let each = fields.get("each").and_then(|node| each::read(reader, node));
    let of_each = fields.get("each").map(each::implied);
    let written = narrowing.into_iter().filter(|(key, _)| fields.get(key).is_some());
    let mut implied = operations::common(written.map(|(_, operations)| operations).chain(of_each));
    if let (Some(implied), Some(filter)) = (&mut implied, &filter) {
        implied.insert &= !can_fire::needs(filter, Root::Before);
        implied.delete &= !can_fire::needs(filter, Root::After);
    }
    ReadConditions { when, filter, enters, leaves, each, implied }
}

/// The text of `event` or `id`, if it can be a name.
fn name<'n>(reader: &mut Reader<'_>, fields: &Fields<'n>, key: &str) -> Option<&'n str> {
    let node = fields.get(key)?;
    let text = reader.text(node, &format!("`{key}`"))?;
    let problem = if text.is_empty() {
        Some("is empty")
    } else if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
        Some("holds a blank")
    } else if text.contains("{$") {
        Some("is no template: a rule makes one kind of event")
    } else if text.starts_with("changeling.") {
        Some("starts with \"changeling.\", which is kept for events about the connector itself")
    } else {
        None
    };
    if let Some(problem) = problem {
        reader.error(node.span, codes::BAD_NAME, format!("`{key}` {problem}")).help(match key {
            "first_of" => "write one word, for example closing",
            _ => "write one word, for example OrderPaid or shop.order.paid",
        });
        return None;
    }
    Some(text)
}

fn collections(reader: &mut Reader<'_>, fields: &Fields<'_>, place: Span) -> Option<Vec<NamespacePattern>> {
    let Some(node) = fields.get("collection") else {
        reader
            .error(place, codes::MISSING_KEY, "the rule has no `collection`")
            .help("write `collection: database.collection` here, or in the `defaults` of the file");
        return None;
    };
    patterns(reader, node)
}

/// Reads the value of `collection`.
pub(super) fn patterns(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<NamespacePattern>> {
    let texts = reader.texts(node, "`collection`")?;
    let patterns: Vec<_> =
        texts.into_iter().map(|(text, span)| reader.language(span, NamespacePattern::parse(text))).collect();
    patterns.into_iter().collect()
}

/// `unknown` and `evidence`.
fn what_is_not_known(reader: &mut Reader<'_>, fields: &Fields<'_>) -> (UnknownPolicy, Evidence) {
    const POLICIES: [(&str, UnknownPolicy); 4] = [
        ("skip", UnknownPolicy::Skip),
        ("assume", UnknownPolicy::Assume),
        ("dead_letter", UnknownPolicy::DeadLetter),
        ("stop", UnknownPolicy::Stop),
    ];
    let policy = fields.get("unknown").and_then(|node| one_of_words(reader, node, "`unknown`", &POLICIES));
    let all = [Evidence::Exact, Evidence::Delta, Evidence::LookUp].map(|evidence| (evidence.as_str(), evidence));
    let evidence = fields.get("evidence").and_then(|node| one_of_words(reader, node, "`evidence`", &all));
    if let (Some(UnknownPolicy::Assume), Some(Evidence::Exact)) = (policy, evidence)
        && let Some(entry) = fields.entry("unknown")
    {
        let message = "`unknown: assume` has no effect beside `evidence: exact`: what is assumed is not exact";
        reader
            .warning(entry.key_span, codes::NO_EFFECT, message)
            .help("leave out `unknown`, or write `evidence: delta`");
    }
    (policy.unwrap_or_default(), evidence.unwrap_or(Evidence::LookUp))
}

fn one_of_words<T: Copy>(reader: &mut Reader<'_>, node: &Node, what: &str, all: &[(&str, T)]) -> Option<T> {
    let word = reader.text(node, what)?;
    let found = all.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning);
    if found.is_none() {
        let words: Vec<&str> = all.iter().map(|(word, _)| *word).collect();
        reader.unknown_word(word, node.span, what, &words);
    }
    found
}
