//! What of the changes no rule can make anything of: the server may leave it out, and nothing is different but what crosses the wire.
//!
//! It follows from the very same facts by which the index picks the rules of a change, so that a change that is left out is one
//! for which no rule would have been looked at.

use std::collections::BTreeMap;

use bson::Bson;

use super::ast::Operations;
use super::rule::CompiledRule;
use super::{NamespacePattern, RuleSet};

/// Above so many fields, a list of them costs the server more than it saves.
const FIELDS_MAX: usize = 64;

/// What the rules can do without.
#[derive(Clone, Debug, PartialEq)]
pub struct PushDown {
    /// The operations that some rule takes.
    pub operations: Operations,
    /// The fields of which an update must touch one for a rule to fire; absent if some rule may fire on any update.
    pub touched: Option<Vec<TouchedField>>,
    /// The top-level fields that are read of documents, of both images and of updates' descriptions; absent if some rule reads them
    /// whole.
    pub fields: Option<Vec<String>>,
    /// True if some rule reads what updates say of fields that are not among `fields`.
    pub reads_description: bool,
}

/// A top-level field that an update must touch.
#[derive(Clone, Debug, PartialEq)]
pub struct TouchedField {
    /// Its name, up to the first dot.
    pub name: String,
    /// The values of which it must get one, if rules wait for no others.
    pub values: Option<Vec<Bson>>,
}

impl PushDown {
    /// Nothing is left out.
    pub const NOTHING: Self = Self {
        operations: Operations { insert: true, update: true, delete: true },
        touched: None,
        fields: None,
        reads_description: true,
    };

    fn of<'r>(rules: impl Iterator<Item = &'r CompiledRule> + Clone) -> Self {
        let mut operations = Operations::default();
        for rule in rules.clone() {
            operations.insert |= rule.operations.insert;
            operations.update |= rule.operations.update;
            operations.delete |= rule.operations.delete;
        }
        Self {
            operations,
            touched: touched(rules.clone().filter(|rule| rule.operations.update)),
            fields: fields(rules.clone()),
            reads_description: rules.clone().any(|rule| rule.reads_description || rule.keeps_changes),
        }
    }
}

impl RuleSet {
    /// True if some rule reads how well a change is known as a whole (`$.meta.evidence`): that depends on the images that are asked
    /// for, also by other rules.
    pub fn reads_evidence(&self) -> bool {
        self.rules.iter().any(|rule| rule.reads_evidence)
    }

    /// What the rules that look at one of the collections can do without; `covers` says which those are.
    pub fn push_down(&self, covers: &dyn Fn(&NamespacePattern) -> bool) -> PushDown {
        PushDown::of(self.rules.iter().filter(|rule| rule.collections.iter().any(covers)))
    }
}

fn touched<'r>(rules: impl Iterator<Item = &'r CompiledRule>) -> Option<Vec<TouchedField>> {
    let mut touched: BTreeMap<&str, Option<Vec<Bson>>> = BTreeMap::new();
    for rule in rules {
        for name in rule.touched.as_ref()? {
            let values = rule.becomes.as_ref().map(|guard| guard.values().collect::<Vec<Bson>>());
            match (touched.get_mut(name.as_str()), values) {
                (Some(Some(known)), Some(values)) => known.extend(values),
                (Some(known), None) => *known = None,
                (Some(None), Some(_)) => {}
                (None, values) => drop(touched.insert(name, values)),
            }
        }
    }
    let is_good = touched.len() <= FIELDS_MAX && touched.keys().all(|name| can_be_named(name));
    is_good.then(|| {
        let field = |(name, values): (&str, _)| TouchedField { name: name.to_owned(), values };
        touched.into_iter().map(field).collect()
    })
}

fn fields<'r>(rules: impl Iterator<Item = &'r CompiledRule>) -> Option<Vec<String>> {
    // Every document has it: what holds nothing else is still a document.
    let mut fields = vec!["_id".to_owned()];
    for rule in rules {
        if rule.keeps_changes {
            return None;
        }
        for read in &rule.reads {
            let name = &*read.path.steps.first()?.text;
            if !can_be_named(name) {
                return None;
            }
            if !fields.iter().any(|field| field == name) {
                fields.push(name.to_owned());
            }
        }
    }
    fields.sort();
    (fields.len() <= FIELDS_MAX).then_some(fields)
}

/// True if a path of the server's own can name the field: a dot in it would be taken for a step, a dollar for an expression.
fn can_be_named(field: &str) -> bool {
    !field.is_empty() && !field.starts_with('$') && !field.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::ast::{Direction, Rule, Transition, UnknownPolicy};
    use crate::rules::sample::{becomes, equals, rule, rule_when, rule_where, value_of};
    use crate::rules::{Query, Template};

    fn push_down(rules: &[Rule]) -> PushDown {
        RuleSet::compile(rules.to_vec()).push_down(&|_| true)
    }

    fn paid() -> Rule {
        rule_when("status", becomes(None, Some("paid".into())))
    }

    #[test]
    fn only_operations_that_a_rule_takes_are_wanted() {
        assert_eq!(push_down(&[paid()]).operations, Operations { update: true, ..Operations::default() });
        let other = Rule { operations: Operations { delete: true, ..Operations::default() }, ..rule("R") };
        assert_eq!(push_down(&[paid(), other]).operations, Operations { insert: false, update: true, delete: true });
    }

    #[test]
    fn updates_must_touch_a_field_if_every_rule_asks_for_one_and_get_a_value_if_all_rules_of_the_field_do() {
        let touched = |rules: &[Rule]| {
            let field = |field: TouchedField| (field.name, field.values.map(|values| values.len()));
            push_down(rules).touched.map(|fields| fields.into_iter().map(field).collect::<Vec<_>>())
        };
        let sent = || Rule { id: "sent".into(), ..rule_when("status", becomes(None, Some("sent".into()))) };
        let moves = || Transition::Moves { direction: Direction::Up, by: None, by_percent: None };
        assert_eq!(touched(&[paid(), sent()]), Some(vec![("status".to_owned(), Some(2))]));
        let rules = [paid(), rule_when("status", Transition::Changed), rule_when("a.b", moves())];
        assert_eq!(touched(&rules), Some(vec![("a".to_owned(), None), ("status".to_owned(), None)]));
        assert_eq!(touched(&[paid(), rule_where("$.after.total", equals(1))]), None);
        assert_eq!(touched(&[rule_when("[\"$x\"]", Transition::Changed)]), None);
        let on_insert = Rule { operations: Operations { insert: true, ..Operations::default() }, ..rule("R") };
        assert_eq!(touched(&[paid(), on_insert]), Some(vec![("status".to_owned(), Some(1))]));
    }

    #[test]
    fn the_fields_are_all_that_is_read_or_absent_if_something_is_read_whole() {
        let fields = |rules: &[Rule]| push_down(rules).fields.map(|fields| fields.join(" "));
        let with = |query: &str| Rule { data: Template::Map(vec![("x".into(), value_of(query))]), ..paid() };
        assert_eq!(fields(&[rule("R")]).unwrap(), "_id");
        assert_eq!(fields(&[paid(), with("$.before.total"), with("$.key._id")]).unwrap(), "_id status total");
        assert_eq!(fields(&[with("$.after.items[?@.x == $.before.y].z")]).unwrap(), "_id items status y");
        for whole in ["$.after", "$", "$.after.*", "$.before..x", "$.after['a.b']"] {
            assert_eq!(fields(&[paid(), with(whole)]), None, "{whole}");
        }
        let required = Template::Path { query: Query::parse("$.after.x").unwrap(), default: None, required: true };
        assert_eq!(fields(&[Rule { data: required, ..paid() }]), None, "a dead letter holds the whole change");
        assert_eq!(fields(&[Rule { unknown: UnknownPolicy::DeadLetter, ..paid() }]), None);
        let description = |query: &str| push_down(&[with(query)]).reads_description;
        assert!(description("$.change.updated") && description("$.change") && description("$"));
        assert!(!description("$.change.operation") && !description("$.after.x"));
    }
}
