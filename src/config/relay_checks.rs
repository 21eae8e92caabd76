//! What only the meaning of a configuration shows of the relays of explicit events.
//!
//! Codes: `C020` two relays on one collection, `C021` a rule that names a collection whose changes are for a relay alone, `C022` a
//! warning: parity that has nothing to compare, or settings of it that take no effect, `C023` a pattern for a collection. `C013`, `C017` and `C018` are those of rules.

use super::Config;
use super::semantics::{Semantics, written};
use crate::explicit::{RelayError, RelaySettings, Relays};
use crate::namespace::Namespace;
use crate::rules::FieldPath;
use crate::rules::ast::Rule;
use crate::yaml::did_you_mean;

impl Semantics<'_, '_> {
    /// Everything about relays but what depends on the rules.
    pub(super) fn check_relays(&mut self) {
        for fault in Relays::faults(&self.config.explicit) {
            self.check_part(Err::<(), RelayError>(fault));
        }
        let config = self.config;
        for (number, relay) in config.explicit.iter().enumerate() {
            self.check_collection(number, relay);
            self.check_sinks(number, relay);
        }
        self.check_ignored();
        if config.parity.is_some() && (config.explicit.is_empty() || config.rules.is_empty()) {
            let (missing, help) = match config.explicit.is_empty() {
                true => ("explicit events", "name where the application writes its events, under \"explicit\""),
                false => ("inferred events", "name rule files under \"rules\""),
            };
            let span = self.key_span(&["parity"]);
            let message = format!("there are no {missing} for `parity` to compare");
            self.diagnostics.warning(span, "C022", message).help(help);
        }
    }

    /// `C022`: paths of data that are none.
    fn check_ignored(&mut self) {
        let ignored = self.config.parity.iter().flat_map(|parity| &parity.ignore).enumerate();
        for (number, path) in ignored {
            let Err(found) = FieldPath::parse(path) else { continue };
            let span = self.span(&["parity", "ignore", &number.to_string()]);
            let message = format!("\"ignore\": {}", found.message);
            self.diagnostics
                .warning(span, "C022", message)
                .help("write the dotted path of a field of the data, such as total or address.city");
        }
    }

    /// `C022`: types that no rule makes.
    fn check_types(&mut self, rules: &[Rule]) {
        let types = self.config.parity.iter().flat_map(|parity| &parity.types);
        for (explicit, inferred) in types.filter(|_| !rules.is_empty()) {
            if rules.iter().any(|rule| &*rule.event == inferred.as_str()) {
                continue;
            }
            let keys = ["parity", "types", explicit];
            let (span, told) = (self.span(&keys), self.told(&keys, inferred));
            let help = did_you_mean(inferred, rules.iter().map(|rule| &*rule.event))
                .unwrap_or_else(|| "name the event of a rule".to_owned());
            self.diagnostics.warning(span, "C022", format!("no rule makes events of the type {told}")).help(help);
        }
    }

    /// `C020`, `C023` and `C013`: what a relay reads must be one collection, its own, and nothing that this connector writes.
    fn check_collection(&mut self, number: usize, relay: &RelaySettings) {
        let (collection, place) = (relay.collection(), number.to_string());
        let keys = ["explicit", &place, relay.kind(), "collection"];
        if [&collection.database, &collection.collection].iter().any(|name| name.contains(['*', '?', '[', '{'])) {
            let span = self.span(&keys);
            let message = format!("the relay {number} would read a collection that is called {collection}");
            self.diagnostics
                .error(span, "C023", message)
                .help("a relay takes no patterns: list one relay for each collection");
        }
        let before = &self.config.explicit[..number];
        if let Some(first) = before.iter().position(|other| other.collection() == collection) {
            let span = self.span(&keys);
            let message = format!("the relay {number} reads {collection}, as the relay {first} does");
            self.diagnostics.error(span, "C020", message).help("keep one of them: each would publish every event");
        }
        for written in written(self.config).into_iter().filter(|written| written.collection == *collection) {
            let span = self.span(&written.keys);
            let message = format!(
                "{} {collection} is read by the relay {number} under \"explicit\": what is written there would make events without end",
                written.what
            );
            self.diagnostics.error(span, "C013", message).help("use a collection that no relay reads");
        }
    }

    /// `C017`, `C018`: the sinks that a relay names are there, and take the topics or subjects that the application chooses.
    fn check_sinks(&mut self, number: usize, relay: &RelaySettings) {
        let config = self.config;
        let number = number.to_string();
        for (place, name) in relay.sinks().iter().enumerate() {
            let is_there = config.sinks.contains_key(name) || config.other_sinks.contains(name);
            if is_there || self.may_lack_sinks {
                continue;
            }
            let span = self.span(&["explicit", &number, relay.kind(), "to", &place.to_string()]);
            let told = self.told(&["explicit", &number, relay.kind(), "to", &place.to_string()], name);
            let known = || config.sinks.keys().map(String::as_str);
            let names: Vec<&str> = known().collect();
            let help = did_you_mean(name, known()).unwrap_or_else(|| format!("the sinks are {}", names.join(", ")));
            self.diagnostics.error(span, "C017", format!("there is no sink {told}")).help(help);
        }
        let Some(route) = relay.route() else { return };
        for (name, sink) in &config.sinks {
            if !relay.sinks().is_empty() && !relay.sinks().contains(name) {
                continue;
            }
            if let Err((reason, help)) = sink.check_route(&route) {
                let span = self.key_span(&["explicit", &number, relay.kind()]);
                self.diagnostics.error(span, "C018", format!("the sink {name:?}: {reason}")).help(help);
            }
        }
    }

    /// `C021`: what is for a relay alone, no rule ever sees. A glob that covers it as well is fine. And what parity says of rules.
    pub(super) fn check_against_rules(&mut self, rules: &[Rule]) {
        self.check_types(rules);
        for (number, relay) in self.config.explicit.iter().enumerate().filter(|(_, relay)| relay.is_alone()) {
            let collection = relay.collection();
            let Some(rule) = naming(rules, collection) else { continue };
            let span = self.span(&["explicit", &number.to_string(), relay.kind(), "collection"]);
            let message = format!(
                "the rule {:?} names {collection}, whose changes this relay takes: the rule would never see one",
                rule.id
            );
            self.diagnostics
                .error(span, "C021", message)
                .help("take the collection out of the rule, or out of \"explicit\"");
        }
    }
}

fn naming<'r>(rules: &'r [Rule], collection: &Namespace) -> Option<&'r Rule> {
    let names_it = |rule: &&Rule| {
        let mut patterns = rule.collections.iter();
        patterns.any(|one| one.is_exact() && one.matches(&collection.database, &collection.collection))
    };
    rules.iter().find(names_it)
}

/// A rule that names a collection whose changes are for a relay alone, and that collection.
pub(super) fn reserved(config: &Config, rules: &[Rule]) -> Option<(String, Namespace)> {
    let alone = config.explicit.iter().filter(|relay| relay.is_alone()).map(RelaySettings::collection);
    alone.into_iter().find_map(|collection| Some((naming(rules, collection)?.id.to_string(), collection.clone())))
}
