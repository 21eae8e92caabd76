//! `to`: the names of the sinks that get the events of a rule, each with a topic or subject of its own if it needs one.

use std::sync::Arc;

use crate::rules::ast::Destination;
use crate::yaml::{Node, Span, Value};

use super::reader::Reader;
use super::{codes, template};

/// A destination, and where it stands.
pub(super) struct ReadDestination {
    pub(super) destination: Destination,
    /// The sink's name.
    pub(super) sink_span: Span,
    /// The topic or subject, or the sink's name where there is none.
    pub(super) address_span: Span,
}

/// Reads the value of `to`: a name, a list of names, or a mapping of names to templates.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<ReadDestination>> {
    let all = match &node.value {
        Value::Map(entries) if entries.is_empty() => return empty(reader, node),
        Value::Map(entries) => {
            let one = |reader: &mut Reader<'_>, entry: &crate::yaml::Entry| {
                let (address, address_span) = match entry.node.value {
                    Value::Null => (None, entry.key_span),
                    _ => {
                        let what = format!("the topic or subject of {:?}", entry.key);
                        (Some(template::text(reader, &entry.node, &what)?), entry.node.span)
                    }
                };
                Some(ReadDestination {
                    destination: Destination { sink: Arc::from(entry.key.as_str()), address },
                    sink_span: entry.key_span,
                    address_span,
                })
            };
            let all: Vec<_> = entries.iter().map(|entry| one(reader, entry)).collect();
            all.into_iter().collect::<Option<Vec<_>>>()?
        }
        Value::List(nodes) if nodes.is_empty() => return empty(reader, node),
        _ => {
            let of_name = |(sink, span): (&str, Span)| ReadDestination {
                destination: Destination { sink: Arc::from(sink), address: None },
                sink_span: span,
                address_span: span,
            };
            reader.texts(node, "`to`")?.into_iter().map(of_name).collect()
        }
    };
    for (index, one) in all.iter().enumerate() {
        if all[..index].iter().any(|earlier| earlier.destination.sink == one.destination.sink) {
            reader
                .error(one.sink_span, codes::CANNOT_HOLD, format!("the sink {:?} stands twice", one.destination.sink))
                .help("name every sink once");
            return None;
        }
    }
    Some(all)
}

fn empty(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<ReadDestination>> {
    reader
        .error(node.span, codes::EMPTY, "`to` is empty, so the events would go nowhere")
        .help("name at least one sink, or leave it out for all; `enabled: false` switches the rule off");
    None
}
