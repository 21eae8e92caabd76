//! What every event is wrapped in, whatever the sink: the CloudEvents attributes that the configuration decides.

use schemars::JsonSchema;
use serde::Deserialize;

use super::pattern::{Field, Part, Pattern};
use crate::event::{Address, Event};

/// The CloudEvents attributes that are the same for all sinks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EnvelopeSettings {
    /// Put before the name of every event to make its `type`, for example `com.example.shop.`; default: nothing. Events about the
    /// connector itself, whose names start with `changeling.`, get no prefix.
    pub type_prefix: String,
    /// The `source` of events; default: `/changeling/{name}/{database}.{collection}`. For events about the connector itself
    /// it ends before the database.
    #[schemars(with = "String")]
    pub source: Pattern,
}

impl Default for EnvelopeSettings {
    fn default() -> Self {
        let parts = [
            Part::Text("/changeling/".into()),
            Part::Field(Field::Name),
            Part::Text("/".into()),
            Part::Field(Field::Database),
            Part::Text(".".into()),
            Part::Field(Field::Collection),
        ];
        Self { type_prefix: String::new(), source: Pattern::from_parts(parts.into()) }
    }
}

/// The settings, ready to be applied to events.
#[derive(Clone, Debug)]
pub struct Envelope {
    name: String,
    type_prefix: String,
    source: Pattern,
    connector_source: String,
    routes: Vec<Route>,
}

/// Topics or subjects that the application chooses for its own events, beside those that a sink's settings give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The names of the sinks that get the events; all of them where empty.
    pub sinks: Vec<String>,
    /// What they have in common: a value stands for anything.
    pub address: Address,
}

impl Envelope {
    /// The envelope of the events of the connector `name`.
    pub fn new(settings: &EnvelopeSettings, name: &str) -> Self {
        let mut connector_source = String::new();
        for part in settings.source.parts() {
            match part {
                Part::Text(text) => connector_source.push_str(text),
                Part::Field(Field::Name) => connector_source.push_str(name),
                Part::Field(_) => break,
            }
        }
        connector_source.truncate(connector_source.trim_end_matches('/').len());
        if connector_source.is_empty() {
            connector_source = format!("/changeling/{name}");
        }
        Self {
            name: name.to_owned(),
            type_prefix: settings.type_prefix.clone(),
            source: settings.source.clone(),
            connector_source,
            routes: Vec::new(),
        }
    }

    /// The same where the application chooses topics or subjects, too: a sink can see to it that they are taken.
    pub fn with_routes(self, routes: Vec<Route>) -> Self {
        Self { routes, ..self }
    }

    /// The topics or subjects that the application chooses for the sink of this name.
    pub(super) fn routes_to(&self, sink: &str) -> impl Iterator<Item = &Address> {
        let goes_there = move |route: &&Route| route.sinks.is_empty() || route.sinks.iter().any(|one| one == sink);
        self.routes.iter().filter(goes_there).map(|route| &route.address)
    }

    /// The name of the connector.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What stands before the event's name in its CloudEvents `type`.
    pub fn type_prefix(&self, event: &Event) -> &str {
        if event.name.starts_with("changeling.") { "" } else { &self.type_prefix }
    }

    /// The CloudEvents `source`, handed out piece by piece.
    pub(super) fn each_piece_of_source(&self, event: &Event, mut piece: impl FnMut(&str)) {
        if event.database.is_empty() {
            return piece(&self.connector_source);
        }
        for part in self.source.parts() {
            match part {
                Part::Text(text) => piece(text),
                Part::Field(field) => self.each_piece_of_field(*field, event, &mut piece),
            }
        }
    }

    /// What fills the place of `field` in a [`Pattern`].
    pub(super) fn each_piece_of_field(&self, field: Field, event: &Event, mut piece: impl FnMut(&str)) {
        match field {
            Field::Name => piece(&self.name),
            Field::Database => piece(&event.database),
            Field::Collection => piece(&event.collection),
            Field::Type => {
                piece(self.type_prefix(event));
                piece(&event.name);
            }
            Field::Event => piece(&event.name),
            Field::Rule => piece(&event.rule),
            Field::Key => piece(&event.partition_key),
        }
    }

    /// The CloudEvents `type`.
    pub fn event_type(&self, event: &Event) -> String {
        format!("{}{}", self.type_prefix(event), event.name)
    }

    /// The CloudEvents `source`.
    pub fn source(&self, event: &Event) -> String {
        let mut text = String::new();
        self.each_piece_of_source(event, |piece| text.push_str(piece));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::samples::event;

    #[test]
    fn the_source_names_connector_and_collection_and_the_type_has_its_prefix() {
        let envelope = Envelope::new(&EnvelopeSettings::default(), "shop");
        assert_eq!(envelope.source(&event(1)), "/changeling/shop/shop.orders");
        assert_eq!(envelope.event_type(&event(1)), "OrderPaid");
        let settings: EnvelopeSettings =
            serde_json::from_str(r#"{"type_prefix": "com.example.", "source": "urn:{database}:{event}"}"#)
                .expect("good");
        let envelope = Envelope::new(&settings, "shop");
        assert_eq!(envelope.source(&event(1)), "urn:shop:OrderPaid");
        assert_eq!(envelope.event_type(&event(1)), "com.example.OrderPaid");
    }

    #[test]
    fn events_about_the_connector_have_no_prefix_and_no_collection() {
        let mut gap = event(1);
        gap.name = "changeling.gap".into();
        gap.database = "".into();
        gap.collection = "".into();
        let settings = EnvelopeSettings { type_prefix: "com.example.".into(), ..EnvelopeSettings::default() };
        let envelope = Envelope::new(&settings, "shop");
        assert_eq!(envelope.source(&gap), "/changeling/shop");
        assert_eq!(envelope.event_type(&gap), "changeling.gap");
    }
}
