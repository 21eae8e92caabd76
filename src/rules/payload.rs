//! Templates, compiled, and the payloads and texts they build. Values are copied as bytes, so that they keep their types.

use std::ops::ControlFlow;

use bson::raw::{CStr, CString};
use bson::{RawArrayBuf, RawBson, RawBsonRef, RawDocumentBuf};

use super::condition::prepared;
use super::query;
use super::view::{Known, View};
use super::{Query, Template, TextPart, TextTemplate, text};
use crate::event::{Address, AddressPart, Evidence};

/// A compiled [`Template`].
#[derive(Debug)]
pub(super) enum Payload {
    Literal(RawBson),
    Path { query: Query, default: Option<RawBson>, required: bool },
    Text(TextTemplate),
    Map(Vec<(CString, Payload)>),
    List(Vec<Payload>),
}

/// Why a payload could not be built; names the query, never a value.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) reason: String,
}

/// What a template gives.
enum Given<'v> {
    Nothing,
    Borrowed(RawBsonRef<'v>),
    Built(RawBson),
}

impl Payload {
    pub(super) fn new(template: &Template) -> Self {
        match template {
            Template::Literal(value) => Self::Literal(text::raw(value)),
            Template::Path { query, default, required } => {
                Self::Path { query: query.clone(), default: default.as_ref().map(text::raw), required: *required }
            }
            Template::Text(template) => Self::Text(template.clone()),
            Template::Map(fields) => Self::Map(
                // A name with a NUL is no name of BSON; the reader of rule files refuses it.
                fields
                    .iter()
                    .filter_map(|(name, template)| Some((CString::try_from(name.as_str()).ok()?, Self::new(template))))
                    .collect(),
            ),
            Template::List(elements) => Self::List(elements.iter().map(Self::new).collect()),
        }
    }

    /// Builds the payload of an event. What is not a document comes as the field `value` of one.
    pub(super) fn build(&self, view: &View<'_>, evidence: &mut Evidence) -> Result<RawDocumentBuf, Missing> {
        if let Self::Map(fields) = self {
            return map(fields, view, evidence);
        }
        let mut document = RawDocumentBuf::new();
        match self.give(view, evidence)? {
            Given::Nothing => {}
            Given::Borrowed(RawBsonRef::Document(whole)) => return Ok(whole.to_owned()),
            Given::Built(RawBson::Document(whole)) => return Ok(whole),
            Given::Borrowed(value) => document.append(bson::raw::cstr!("value"), value),
            Given::Built(value) => document.append(bson::raw::cstr!("value"), value),
        }
        Ok(document)
    }

    fn give<'v>(&'v self, view: &'v View<'_>, evidence: &mut Evidence) -> Result<Given<'v>, Missing> {
        Ok(match self {
            Self::Literal(value) => Given::Borrowed(value.as_raw_bson_ref()),
            Self::Text(template) => {
                text_of(template, view, evidence).map_or(Given::Nothing, |text| Given::Built(RawBson::String(text)))
            }
            Self::Map(fields) => Given::Built(RawBson::Document(map(fields, view, evidence)?)),
            Self::List(elements) => {
                let mut array = RawArrayBuf::new();
                for element in elements {
                    match element.give(view, evidence)? {
                        Given::Nothing => {}
                        Given::Borrowed(value) => array.push(value),
                        Given::Built(value) => array.push(value),
                    }
                }
                Given::Built(RawBson::Array(array))
            }
            Self::Path { query, default, required } => {
                let given = selected(query, view, evidence);
                match (given, default) {
                    (Selected::Value(value), _) => Given::Borrowed(value),
                    (Selected::Nodes(nodes), _) if !nodes.is_empty() => Given::Built(RawBson::Array(nodes)),
                    (Selected::Unknown | Selected::Missing | Selected::Nodes(_), _) if *required => {
                        return Err(Missing {
                            reason: format!("the required value at `{}` is missing or not known", query.text),
                        });
                    }
                    (Selected::Missing | Selected::Nodes(_), Some(default)) => {
                        Given::Borrowed(default.as_raw_bson_ref())
                    }
                    (Selected::Nodes(nodes), None) => Given::Built(RawBson::Array(nodes)),
                    // A value that is not known is not the default: it may be another.
                    (Selected::Unknown, _) | (Selected::Missing, None) => Given::Nothing,
                }
            }
        })
    }

    /// True if a value in it is required, so that it can not always be built.
    pub(super) fn may_lack(&self) -> bool {
        match self {
            Self::Path { required, .. } => *required,
            Self::Map(fields) => fields.iter().any(|(_, payload)| payload.may_lack()),
            Self::List(elements) => elements.iter().any(Self::may_lack),
            Self::Literal(_) | Self::Text(_) => false,
        }
    }

    /// Shows every query that the template reads.
    pub(super) fn visit_queries<'q>(&'q self, visit: &mut dyn FnMut(&'q Query)) {
        match self {
            Self::Literal(_) => {}
            Self::Path { query, .. } => visit(query),
            Self::Text(template) => template.visit_queries(visit),
            Self::Map(fields) => fields.iter().for_each(|(_, payload)| payload.visit_queries(visit)),
            Self::List(elements) => elements.iter().for_each(|payload| payload.visit_queries(visit)),
        }
    }
}

impl TextTemplate {
    /// Shows every query that the template reads.
    pub(super) fn visit_queries<'q>(&'q self, visit: &mut dyn FnMut(&'q Query)) {
        for part in &self.parts {
            if let TextPart::Query(query) = part {
                visit(query);
            }
        }
    }
}

fn map(fields: &[(CString, Payload)], view: &View<'_>, evidence: &mut Evidence) -> Result<RawDocumentBuf, Missing> {
    let mut document = with_room();
    for (name, payload) in fields {
        let name: &CStr = name;
        match payload.give(view, evidence)? {
            Given::Nothing => {}
            Given::Borrowed(value) => document.append(name, value),
            Given::Built(value) => document.append(name, value),
        }
    }
    Ok(document)
}

/// An empty document with memory for a payload of the common size.
fn with_room() -> RawDocumentBuf {
    const EMPTY: [u8; 5] = [5, 0, 0, 0, 0];
    let mut bytes = Vec::with_capacity(192);
    bytes.extend_from_slice(&EMPTY);
    RawDocumentBuf::from_bytes(bytes).unwrap_or_default()
}

enum Selected<'v> {
    Unknown,
    Missing,
    Value(RawBsonRef<'v>),
    Nodes(RawArrayBuf),
}

fn selected<'v>(query: &Query, view: &'v View<'_>, evidence: &mut Evidence) -> Selected<'v> {
    let start = match prepared(view, query, evidence) {
        Known::Unknown(_) => {
            *evidence = (*evidence).max(Evidence::Delta);
            return Selected::Unknown;
        }
        Known::Missing if query.is_singular() => return Selected::Missing,
        Known::Missing => return Selected::Nodes(RawArrayBuf::new()),
        Known::Value(start) => start,
    };
    if query.is_path() {
        return Selected::Value(start);
    }
    if query.is_singular() {
        let mut only = None;
        let _ = query::nodes(&view, start, query.rest(), &mut |node| {
            only = Some(node);
            ControlFlow::Break(())
        });
        return only.map_or(Selected::Missing, Selected::Value);
    }
    let mut nodes = RawArrayBuf::new();
    let _ = query::nodes(&view, start, query.rest(), &mut |node| {
        nodes.push(node);
        ControlFlow::Continue(())
    });
    Selected::Nodes(nodes)
}

/// The topic or subject that a template gives, or the query whose value is missing or not known.
pub(super) fn address_of<'t>(
    template: &'t TextTemplate,
    view: &View<'_>,
    evidence: &mut Evidence,
) -> Result<Address, &'t Query> {
    let mut parts = Vec::with_capacity(template.parts.len());
    for part in &template.parts {
        parts.push(match part {
            TextPart::Text(text) => AddressPart::Text(text.clone()),
            TextPart::Query(query) => {
                let mut out = String::new();
                match selected(query, view, evidence) {
                    Selected::Unknown | Selected::Missing => return Err(query),
                    Selected::Value(value) => text::write(&mut out, value),
                    Selected::Nodes(nodes) => text::write_json(&mut out, RawBsonRef::Array(&nodes)),
                }
                AddressPart::Value(out)
            }
        });
    }
    Ok(Address { parts })
}

/// The text of a template; nothing if a value in it is missing or not known.
pub(super) fn text_of(template: &TextTemplate, view: &View<'_>, evidence: &mut Evidence) -> Option<String> {
    // Most subjects and keys are a word and an id.
    let mut out = String::with_capacity(40);
    for part in &template.parts {
        match part {
            TextPart::Text(text) => out.push_str(text),
            TextPart::Query(query) => match selected(query, view, evidence) {
                Selected::Unknown | Selected::Missing => return None,
                Selected::Value(value) => text::write(&mut out, value),
                Selected::Nodes(nodes) => text::write_json(&mut out, RawBsonRef::Array(&nodes)),
            },
        }
    }
    Some(out)
}
