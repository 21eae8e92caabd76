//! `to`, compiled: the sinks that get the events of a rule.

use std::sync::Arc;

use super::TextTemplate;
use super::ast;
use super::payload::{Missing, address_of};
use super::view::View;
use crate::event::{Destination, Evidence};

/// Where the events of a rule go.
#[derive(Debug)]
pub(super) enum Route {
    /// To every sink.
    Everywhere,
    /// The same for all events.
    Fixed(Arc<[Destination]>),
    /// With topics or subjects that are filled in for every event.
    PerEvent(Vec<ast::Destination>),
}

impl Route {
    pub(super) fn new(to: Option<&[ast::Destination]>) -> Self {
        let Some(to) = to else { return Self::Everywhere };
        if to.iter().any(|one| one.address.is_some()) {
            return Self::PerEvent(to.to_vec());
        }
        Self::Fixed(to.iter().map(|one| Destination { sink: Arc::clone(&one.sink), address: None }).collect())
    }

    /// Where one event goes.
    ///
    /// # Errors
    ///
    /// If a topic or subject names a value that is missing or not known: the event would go astray.
    pub(super) fn of(&self, view: &View<'_>, evidence: &mut Evidence) -> Result<Option<Arc<[Destination]>>, Missing> {
        let to = match self {
            Self::Everywhere => return Ok(None),
            Self::Fixed(to) => return Ok(Some(Arc::clone(to))),
            Self::PerEvent(to) => to,
        };
        let one = |one: &ast::Destination| {
            let address = one.address.as_ref().map(|template| address_of(template, view, evidence)).transpose();
            let address = address.map_err(|query| Missing {
                reason: format!(
                    "the value at `{}`, which leads to the sink {:?}, is missing or not known",
                    query.text, one.sink
                ),
            })?;
            Ok(Destination { sink: Arc::clone(&one.sink), address })
        };
        to.iter().map(one).collect::<Result<_, _>>().map(Some)
    }

    /// The names of the sinks, where not all of them are meant.
    pub(super) fn sinks(&self) -> impl Iterator<Item = &Arc<str>> {
        let (fixed, per_event): (&[Destination], &[ast::Destination]) = match self {
            Self::Everywhere => (&[], &[]),
            Self::Fixed(to) => (to, &[]),
            Self::PerEvent(to) => (&[], to),
        };
        fixed.iter().map(|one| &one.sink).chain(per_event.iter().map(|one| &one.sink))
    }

    /// Every template of a topic or subject.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &TextTemplate> {
        let to = match self {
            Self::PerEvent(to) => to.as_slice(),
            Self::Everywhere | Self::Fixed(_) => &[],
        };
        to.iter().filter_map(|one| one.address.as_ref())
    }
}
