//! Random rule files over the documents of `random_writes`.

use changeling::rules::{self, RuleSet};
use changeling::yaml::SourceFile;

use super::chance::Chance;
use super::random_writes::COLLECTIONS;

const PATHS: [&str; 11] = ["s", "n", "o", "o.p", "o.q", "o.q.r", "o.0", "a", "a.0", "e.0.q", "t"];
const QUERIES: [&str; 18] = [
    "$.after.s",
    "$.before.s",
    "$.after.n",
    "$.before.o.p",
    "$.after.o",
    "$.after.e[*].q",
    "$.after.e[?@.q > 1].k",
    "$.after.a[-1]",
    "$.before.a[?@ == $.after.n]",
    "$.key._id",
    "$.after.t",
    "$.change.operation",
    "$.change.updated",
    "$.change.removed",
    "$.meta.evidence",
    "$.after",
    "$",
    "$.after..q",
];
const TRANSITIONS: [&str; 14] = [
    "paid",
    "{from: new}",
    "{from: [new, paid], to: sent}",
    "{to: [paid, 1]}",
    "{to: {gte: 2}}",
    "changed",
    "unchanged",
    "appears",
    "disappears",
    "increased",
    "decreased",
    "{crosses: {below: 2}}",
    "{to: {type: [array, object]}}",
    "{to: {not: paid}}",
];
const MATCHERS: [&str; 8] =
    ["paid", "[new, 1]", "1", "{gte: 2}", "{exists: true}", "{exists: false}", "{not: sent}", "{type: string}"];
const EACH: [&str; 6] = [
    "{path: e, key: k, is: added}",
    "{path: e, key: k, is: removed}",
    "{path: e, key: k, is: changed, when: {q: increased}}",
    "{path: e, is: added, where: {q: {gt: 0}}}",
    "{path: a, is: removed}",
    "{path: a, is: added}",
];

/// A rule set of a few rules, and its text.
pub fn rule_set(database: &str, chance: &mut Chance) -> (RuleSet, String) {
    loop {
        let count = 1 + chance.below(6);
        // Whatever one rule reads as a whole is read whole for all: mostly no rule does.
        let queries = if chance.happens(60) { &QUERIES[..12] } else { &QUERIES[..] };
        let mut text = "version: 1\nrules:\n".to_owned();
        for number in 0..count {
            let new = |chance: &mut Chance| match chance.happens(10) {
                true => transaction(number, database, chance),
                false => rule(number, database, queries, chance),
            };
            let rule = (0..100).map(|_| new(chance)).find(|rule| is_good(rule));
            text.push_str(&rule.unwrap_or_default());
        }
        let read = rules::read(&[SourceFile { name: "rules".to_owned(), text: text.clone() }]);
        if !read.diagnostics.has_errors() && !read.rules.is_empty() {
            return (RuleSet::compile(read.rules), text);
        }
    }
}

fn is_good(rule: &str) -> bool {
    let text = format!("version: 1\nrules:\n{rule}");
    !rules::read(&[SourceFile { name: "rules".to_owned(), text }]).diagnostics.has_errors()
}

/// Rules of which those on one collection need images, and those on the others none: they can be read by two streams.
pub fn parted_rule_set(database: &str, chance: &mut Chance) -> (RuleSet, String) {
    let mut text = "version: 1\nrules:\n".to_owned();
    let place = "collection: ".to_owned() + database + ".one";
    for number in 0..1 + chance.below(3) {
        let on_one = |chance: &mut Chance| {
            let (path, transition) = (chance.pick(&PATHS), chance.pick(&TRANSITIONS));
            let data = format!("{{d: {}, b: $.before.n}}", chance.pick(&QUERIES[..12]));
            format!("  - {{event: R{number}, {place}, when: {{{path}: {transition}}}, data: {data}}}\n")
        };
        text.push_str(&(0..100).map(|_| on_one(chance)).find(|rule| is_good(rule)).unwrap_or_default());
    }
    for (number, name) in COLLECTIONS.iter().enumerate().skip(1) {
        let on = chance.pick(&["insert", "update", "[insert, delete]", "[insert, update, delete]"]);
        text.push_str(&format!(
            "  - {{event: O{number}, collection: {database}.{name}, on: {on}, data: {{k: $.key._id, c: $.change.updated}}}}\n"
        ));
    }
    let read = rules::read(&[SourceFile { name: "rules".to_owned(), text: text.clone() }]);
    assert!(!read.diagnostics.has_errors(), "{}", read.diagnostics.render());
    (RuleSet::compile(read.rules), text)
}

/// A rule on a transaction.
fn transaction(number: usize, database: &str, chance: &mut Chance) -> String {
    let [first, second] = [(); 2].map(|()| COLLECTIONS[chance.below(COLLECTIONS.len())]);
    let (path, transition) = (*chance.pick(&PATHS), *chance.pick(&TRANSITIONS));
    let unknown = *chance.pick(&["skip", "assume"]);
    format!(
        "  - event: R{number}\n    unknown: {unknown}\n    transaction:\n      one: {{collection: {database}.{first}, on: [insert, update], many: true}}\n      \
         other: {{collection: {database}.{second}, when: {{{path}: {transition}}}, optional: {}}}\n    \
         data: {{keys: \"$.one[*].key._id\", after: $.other.after.s, before: $.other.before.n}}\n",
        chance.happens(50)
    )
}

fn rule(number: usize, database: &str, queries: &[&str], chance: &mut Chance) -> String {
    let collection = match chance.below(6) {
        0 => format!("'{database}.*'"),
        1 => format!("'{database}.t*'"),
        _ => format!("{database}.{}", chance.pick(&COLLECTIONS)),
    };
    let mut keys = vec![format!("event: R{number}"), format!("collection: {collection}")];
    let map = |entries: Vec<String>| format!("{{{}}}", entries.join(", "));
    let state = |chance: &mut Chance| {
        map((0..1 + chance.below(2)).map(|_| format!("{}: {}", chance.pick(&PATHS), chance.pick(&MATCHERS))).collect())
    };
    match chance.below(8) {
        0..=3 => {
            let when: Vec<String> = (0..1 + chance.below(2))
                .map(|_| format!("{}: {}", chance.pick(&PATHS), chance.pick(&TRANSITIONS)))
                .collect();
            let when = if chance.happens(20) {
                format!("{{any: [{}]}}", when.iter().map(|one| format!("{{{one}}}")).collect::<Vec<_>>().join(", "))
            } else {
                map(when)
            };
            keys.push(format!("when: {when}"));
        }
        4 => keys.push(format!("enters: {}", state(chance))),
        5 => keys.push(format!("leaves: {}", state(chance))),
        6 => keys.push(format!("each: {}", chance.pick(&EACH))),
        _ => keys.push(format!("on: {}", chance.pick(&["insert", "update", "delete", "[insert, update, delete]"]))),
    }
    if chance.happens(40) {
        keys.push(format!("where: {{{}: {}}}", chance.pick(queries), chance.pick(&MATCHERS)));
    }
    if chance.happens(20) {
        keys.push(format!("evidence: {}", chance.pick(&["exact", "delta", "lookup"])));
    }
    if chance.happens(20) {
        keys.push(format!("unknown: {}", chance.pick(&["assume", "dead_letter", "skip"])));
    }
    let data: Vec<String> = (0..chance.below(4)).map(|field| format!("d{field}: {}", chance.pick(queries))).collect();
    keys.push(format!("data: {}", map(data)));
    if chance.happens(20) {
        keys.push("key: \"{$.after.s}\"".to_owned());
    }
    format!("  - {}\n", map(keys))
}
