//! The types of events, by number.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::TypeFigures;
use crate::event::Event;

/// How many types are told apart.
const TYPES_MAX: usize = 500;
/// What the others are counted as.
const OTHERS: &str = "(others)";

/// The types of events.
#[derive(Debug, Default)]
pub(super) struct Types {
    /// What the rules call an explicit type.
    aliases: BTreeMap<String, String>,
    types: Vec<Type>,
    numbers: HashMap<Arc<str>, usize>,
    /// The types that rules may make; absent if that is not known.
    expected: Option<HashSet<Arc<str>>>,
}

#[derive(Debug)]
struct Type {
    name: Arc<str>,
    explicit_count: u64,
    inferred_count: u64,
}

impl Types {
    pub(super) fn new(aliases: &BTreeMap<String, String>) -> Self {
        Self { aliases: aliases.clone(), ..Self::default() }
    }

    pub(super) fn expect<'n>(&mut self, names: impl IntoIterator<Item = &'n Arc<str>>) {
        self.expected = Some(names.into_iter().cloned().collect());
    }

    pub(super) fn count(&mut self, event: &Event) {
        let is_explicit = event.explicit.is_some();
        let alias =
            if is_explicit { self.aliases.get(&*event.name).map(|name| Arc::from(name.as_str())) } else { None };
        let number = self.number(&alias.unwrap_or_else(|| event.name.clone()));
        let Some(one) = self.types.get_mut(number) else { return };
        *(if is_explicit { &mut one.explicit_count } else { &mut one.inferred_count }) += 1;
    }

    fn number(&mut self, name: &Arc<str>) -> usize {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        if self.types.len() >= TYPES_MAX && &**name != OTHERS {
            return self.number(&Arc::from(OTHERS));
        }
        self.types.push(Type { name: name.clone(), explicit_count: 0, inferred_count: 0 });
        self.numbers.insert(name.clone(), self.types.len() - 1);
        self.types.len() - 1
    }

    pub(super) fn figures(&self) -> Vec<TypeFigures> {
        let is_inferred = |name: &Arc<str>| self.expected.as_ref().is_none_or(|expected| expected.contains(name));
        let figures = self.types.iter().map(|one| TypeFigures {
            name: one.name.to_string(),
            is_compared: one.explicit_count > 0,
            is_inferred: is_inferred(&one.name),
            explicit_count: one.explicit_count,
            inferred_count: one.inferred_count,
            ..TypeFigures::default()
        });
        let mut figures: Vec<TypeFigures> = figures.collect();
        figures.sort_by(|one, other| one.name.cmp(&other.name));
        figures
    }
}
