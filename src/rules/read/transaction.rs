//! `transaction` and `absorbs`: the members, their names, and the JSONPaths that start from them.

use std::sync::Arc;

use crate::rules::ast::{self, Member, Transaction};
use crate::rules::path::Step;
use crate::rules::query::{Root, Segment};
use crate::rules::transaction::visit_reads;
use crate::rules::{LanguageError, NamespacePattern, Query};
use crate::yaml::{Entry, Node, Span, nearest};

use super::reader::{Reader, one_of};
use super::rule::{self, Fields, ReadRule};
use super::{codes, operations};

/// The keys of a member.
pub(super) const KEYS: [&str; 8] = ["collection", "on", "when", "where", "enters", "leaves", "many", "optional"];
/// Names that can not be those of members: they are roots already.
const TAKEN: [&str; 8] = ["before", "after", "key", "change", "meta", "item", "itemBefore", "index"];
const FORM: &str = "write transaction: {order: {collection: shop.orders, on: insert}, stock: {collection: shop.stock, on: update, many: true}}";

/// The name of a member, and whether it stands for a list of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alias {
    name: Arc<str>,
    is_many: bool,
}

/// What was read of a rule's `transaction`.
pub(super) struct ReadTransaction {
    /// The members without errors.
    members: Vec<Member>,
    /// The names of all members, those with errors included: a query on one of them is not wrong too.
    pub(super) aliases: Arc<[Alias]>,
    /// The members as rules, for checks of their conditions.
    pub(super) as_rules: Vec<ReadRule>,
}

/// Reads the value of `transaction`. A member without a collection has that of the file's defaults.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node, default_collection: Option<&Node>) -> ReadTransaction {
    let mut read = ReadTransaction { members: Vec::new(), aliases: Arc::default(), as_rules: Vec::new() };
    let Some(entries) = node.as_map() else {
        reader.wrong_type(node, "`transaction`", "a mapping of members").help(FORM);
        return read;
    };
    if entries.is_empty() {
        reader.error(node.span, codes::EMPTY, "`transaction` has no members").help(FORM);
    }
    let mut aliases = Vec::new();
    for entry in entries {
        let flag = |key: &str| entry.node.get(key).and_then(Node::as_bool).unwrap_or_default();
        aliases.push(Alias { name: entry.key.as_str().into(), is_many: flag("many") });
        if is_name(reader, entry)
            && let Some((member, as_rule)) = member(reader, entry, default_collection)
        {
            read.members.push(member);
            read.as_rules.push(as_rule);
        }
    }
    if !entries.is_empty() && read.members.len() == entries.len() && read.members.iter().all(|one| one.is_optional) {
        reader
            .error(
                node.span,
                codes::CANNOT_FIRE,
                "every member is optional, so that nothing says when the event has happened",
            )
            .help("remove `optional` from the member that is always there");
    }
    read.aliases = aliases.into();
    read
}

fn is_name(reader: &mut Reader<'_>, entry: &Entry) -> bool {
    let name = entry.key.as_str();
    if KEYS.contains(&name) || matches!(name, "event" | "data" | "subject" | "each" | "members") {
        reader
            .error(entry.key_span, codes::BAD_NAME, format!("`{name}` can not be the name of a member"))
            .help(format!("`transaction` maps names of your own to members: {}", &FORM[6..]));
        return false;
    }
    if TAKEN.contains(&name) {
        reader
            .error(
                entry.key_span,
                codes::BAD_NAME,
                format!("`{name}` can not be the name of a member: `$.{name}` means something else"),
            )
            .help("name it after the document, for example `order`");
        return false;
    }
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !is_name || !name.chars().all(is_word) {
        reader.error(entry.key_span, codes::BAD_NAME, format!("{name:?} can not be the name of a member")).help(
            "a name has letters, digits and `_`, and starts with a letter: JSONPaths start from it, as `$.order`",
        );
        return false;
    }
    true
}

fn member(reader: &mut Reader<'_>, entry: &Entry, default_collection: Option<&Node>) -> Option<(Member, ReadRule)> {
    let mark = reader.errors();
    let alias = entry.key.as_str();
    let Some(own) = entry.node.as_map() else {
        reader
            .wrong_type(&entry.node, &format!("the member `{alias}`"), "a mapping")
            .help("write {collection: shop.orders, on: insert}");
        return None;
    };
    for key in own.iter().filter(|key| !KEYS.contains(&key.key.as_str())) {
        unknown_key(reader, key);
    }
    let known: Vec<Entry> = own.iter().filter(|key| KEYS.contains(&key.key.as_str())).cloned().collect();
    let fields = Fields { own: &known, defaults: &[] };
    let collections = collections(reader, alias, entry, fields.get("collection").or(default_collection));
    let conditions = rule::conditions(reader, &fields);
    let operations = operations::read(reader, fields.get("on"), conditions.implied, entry.key_span);
    let mut flag =
        |key: &str| fields.get(key).is_some_and(|node| reader.boolean(node, &format!("`{key}`")).unwrap_or_default());
    let (is_many, is_optional) = (flag("many"), flag("optional"));
    if reader.errors() > mark {
        return None;
    }
    let as_rule = ast::Rule {
        when: conditions.when.clone(),
        filter: conditions.filter.clone(),
        enters: conditions.enters.clone(),
        leaves: conditions.leaves.clone(),
        ..ast::Rule::new(alias, collections.clone()?, operations?)
    };
    let member = Member {
        alias: Arc::from(alias),
        collections: collections?,
        operations: operations?,
        when: conditions.when,
        filter: conditions.filter,
        enters: conditions.enters,
        leaves: conditions.leaves,
        is_many,
        is_optional,
    };
    Some((member, ReadRule::of_member(as_rule, entry.key_span)))
}

fn unknown_key(reader: &mut Reader<'_>, entry: &Entry) {
    let help = match entry.key.as_str() {
        "each" => "a member is a change of a document: ask for the array as a whole, under `when`",
        "event" | "data" | "subject" | "key" | "absorbs" | "unknown" | "evidence" | "to" | "tags" | "description" => {
            "it is a key of the rule: write it beside `transaction`"
        }
        "count" | "multiple" | "list" => "did you mean `many: true`?",
        "required" => "a member is required unless it says `optional: true`",
        _ => return reader.unknown_key(entry, &KEYS, "a member of a transaction"),
    };
    let message = format!("unknown key {:?} in a member of a transaction", entry.key);
    reader.error(entry.key_span, codes::UNKNOWN_KEY, message).help(help);
}

fn collections(
    reader: &mut Reader<'_>,
    alias: &str,
    entry: &Entry,
    node: Option<&Node>,
) -> Option<Vec<NamespacePattern>> {
    let Some(node) = node else {
        reader
            .error(entry.key_span, codes::MISSING_KEY, format!("the member `{alias}` has no `collection`"))
            .help("write `collection: database.collection` here, or in the `defaults` of the file");
        return None;
    };
    rule::patterns(reader, node)
}

impl ReadTransaction {
    /// The transaction of a rule without errors.
    pub(super) fn finish(self, absorbs: &[(Arc<str>, Span)]) -> Transaction {
        Transaction { members: self.members, absorbs: absorbs.iter().map(|(id, _)| Arc::clone(id)).collect() }
    }
}

/// Reads `absorbs`: the ids of rules, each with its place. Whether there are such rules is seen when all are read.
pub(super) fn absorbs(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<(Arc<str>, Span)>> {
    let texts = reader.texts(node, "`absorbs`")?;
    Some(texts.into_iter().map(|(text, span)| (Arc::from(text), span)).collect())
}

/// Reads a JSONPath of a rule with `transaction`: it starts from a member or from `$.meta`, or is `$` alone.
pub(super) fn query(text: &str, aliases: &[Alias]) -> Result<Query, LanguageError> {
    let query = Query::parse_plain(text)?;
    let mut error = None;
    visit_reads(&query, &mut |steps, rest| {
        if error.is_none() {
            error = Check { text, aliases, rest }.path(steps).err();
        }
    });
    error.map_or(Ok(query), Err)
}

/// One path of a query.
struct Check<'q> {
    text: &'q str,
    aliases: &'q [Alias],
    /// What follows its singular prefix.
    rest: &'q [Segment],
}

const UNKNOWN_ROOT: &str = "R021";
const ROOT_ELSEWHERE: &str = "R022";

impl Check<'_> {
    /// An error at the first place of a name in the text.
    fn error(&self, name: &str, code: &'static str, message: &str, help: &str) -> LanguageError {
        let byte = self.text.find(name).unwrap_or(0);
        LanguageError::new(self.text[..byte].chars().count(), code, message, help)
    }

    /// The text from a name on, as far as it is the same path.
    fn from<'n>(&'n self, name: &'n str) -> &'n str {
        let rest = self.text.find(name).map_or(name, |start| &self.text[start..]);
        rest.find(|character: char| character.is_whitespace() || "=<>!&|)?]".contains(character))
            .map_or(rest, |end| rest[..end].trim_end_matches('['))
    }

    fn names(&self) -> Vec<&str> {
        self.aliases.iter().map(|alias| &*alias.name).chain(["meta"]).collect()
    }

    /// A member to show how it is written: one that stands for one change, if there is one.
    fn example(&self) -> String {
        let one = self.aliases.iter().find(|alias| !alias.is_many).or_else(|| self.aliases.first());
        one.map_or_else(|| "$.order".to_owned(), |alias| format!("$.{}{}", alias.name, alias.choice()))
    }

    fn path(&self, steps: &[Step]) -> Result<(), LanguageError> {
        let Some((first, below)) = steps.split_first() else {
            let help = one_of(&self.names(), "name one after $:");
            let message = "the JSONPath does not say which member it starts from";
            return if self.rest.is_empty() { Ok(()) } else { Err(self.error("$", UNKNOWN_ROOT, message, &help)) };
        };
        let name = &*first.text;
        if name == "meta" {
            return Ok(());
        }
        let Some(alias) = self.aliases.iter().find(|alias| &*alias.name == name) else {
            return Err(self.unknown_root(name));
        };
        if alias.is_many { self.below_many(alias, below) } else { self.below_one(alias, below) }
    }

    fn unknown_root(&self, name: &str) -> LanguageError {
        if ["item", "itemBefore", "index"].contains(&name) {
            let message = format!("`$.{name}` has a meaning only inside a rule with `each`");
            let help = format!("read the array itself, for example `{}.after.items[*]`", self.example());
            return self.error(name, ROOT_ELSEWHERE, &message, &help);
        }
        if TAKEN.contains(&name) {
            let message = format!("`$.{name}` has no meaning in a rule with `transaction`: it has several changes");
            let help = format!("name the member: write `{}.{}`", self.example(), self.from(name));
            return self.error(name, ROOT_ELSEWHERE, &message, &help);
        }
        let help = match nearest(name, self.names()) {
            Some(known) => format!("did you mean `$.{known}`?"),
            None => one_of(&self.names(), "name one after $:"),
        };
        self.error(name, UNKNOWN_ROOT, &format!("the rule has no member `{name}`"), &help)
    }

    fn below_one(&self, alias: &Alias, steps: &[Step]) -> Result<(), LanguageError> {
        let name = &alias.name;
        match (steps.first(), self.rest.first()) {
            (Some(step), _) if step.named => self.root(&step.text, &format!("$.{name}")),
            (None, None) => Ok(()),
            _ => Err(self.error(
                name,
                UNKNOWN_ROOT,
                &format!("`{name}` is one change, not a list of them"),
                &format!("write `$.{name}.key._id`, or give the member `many: true`"),
            )),
        }
    }

    fn below_many(&self, alias: &Alias, steps: &[Step]) -> Result<(), LanguageError> {
        let name = &alias.name;
        let all = format!("$.{name}[*]");
        match (steps, self.rest) {
            ([], []) => Ok(()),
            ([step, ..], _) if step.named => Err(self.error(
                name,
                UNKNOWN_ROOT,
                &format!("`{name}` is a list of changes: it has `many: true`"),
                &format!("write `{all}.{}`", self.from(&step.text)),
            )),
            ([_, step, ..], _) => self.root(&step.text, &all),
            ([_], rest) | ([], [_, rest @ ..]) => match rest.first().and_then(Segment::only_name) {
                Some(below) => self.root(below, &all),
                None => Ok(()),
            },
        }
    }

    fn root(&self, name: &str, before: &str) -> Result<(), LanguageError> {
        if Root::NAMED.iter().any(|root| root.as_str() == name) {
            return Ok(());
        }
        let help = match nearest(name, Root::NAMED.map(Root::as_str)) {
            Some(root) => format!("did you mean `{before}.{root}`?"),
            None => format!("write `{before}.after.{name}`, or name before, after, key, change or meta"),
        };
        let message = format!("the change of a member has no `{name}`");
        Err(self.error(name, UNKNOWN_ROOT, &message, &help))
    }
}

impl Alias {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn choice(&self) -> &'static str {
        if self.is_many { "[*]" } else { "" }
    }
}
