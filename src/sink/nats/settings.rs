//! The settings of the NATS sink.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::pattern::Pattern;
use super::super::settings::JsonFormat;
use super::subject::{SubjectPattern, have_common_subjects, subjects_of_address, subjects_of_template};
use crate::event::Address;
use crate::quantity::{ByteCount, Period};
use crate::rules::TextTemplate;
use crate::secret::Secret;

/// One message per event in a JetStream stream, with the event's id as `Nats-Msg-Id`, so that the server drops repeats.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NatsSettings {
    /// The servers to try: `nats://host:4222`, `tls://host:4222`. An address may hold a login, `nats://user:password@host:4222`;
    /// one with characters other than letters and digits belongs under `authentication`.
    pub servers: Vec<Secret>,
    /// The stream that keeps the messages.
    pub stream: StreamSettings,
    /// The subject of each message; default: `events.{type}`. It begins with plain text. In what is filled in, characters that a
    /// subject may not hold become `_`; only in `{type}` and `{event}` a dot separates tokens.
    #[serde(default = "default_subject")]
    #[schemars(with = "String")]
    pub subject: Pattern,
    /// How `data` is written; default: `natural`.
    #[serde(default)]
    pub json: JsonFormat,
    /// How many messages may wait for their acknowledgement at once, at most one of each partition key; default: 256.
    #[serde(default = "default_window")]
    pub window: usize,
    /// How long an acknowledgement may take; default: `5s`.
    #[serde(default = "default_acknowledgement_timeout")]
    pub acknowledgement_timeout: Period,
    /// Who we are; default: nobody.
    #[serde(default)]
    pub authentication: NatsAuthentication,
    /// Encryption; default: if the server asks for it.
    #[serde(default)]
    pub tls: NatsTls,
}

impl NatsSettings {
    /// The subject pattern, if nothing contradicts.
    ///
    /// # Errors
    /// What is wrong, and the way out.
    pub(super) fn check(&self) -> Result<SubjectPattern, (String, &'static str)> {
        if self.servers.is_empty() {
            return Err(("no server is named".to_owned(), "name one under \"servers\", such as nats://localhost:4222"));
        }
        if self.window == 0 {
            return Err(("\"window\" is 0, so nothing could ever be sent".to_owned(), "set it to 1 or more"));
        }
        let NatsAuthentication { user, password, .. } = &self.authentication;
        if user.is_some() != password.is_some() {
            return Err(("\"user\" and \"password\" need each other".to_owned(), "set both, or use another way"));
        }
        if self.authentication.way_count() > 1 {
            return Err(("\"authentication\" names more than one way".to_owned(), "keep one of them"));
        }
        if self.tls.certificate_file.is_some() != self.tls.key_file.is_some() {
            let reason = "\"certificate_file\" and \"key_file\" need each other".to_owned();
            return Err((reason, "set both or none of them"));
        }
        SubjectPattern::new(&self.subject).map_err(|reason| {
            (
                format!("\"subject\" can not be used: {reason}"),
                "write it like \"events.{type}\" or \"shop.{collection}.{type}\"",
            )
        })
    }
}

impl NatsSettings {
    /// Checks a subject that a rule gives.
    ///
    /// # Errors
    /// What is wrong, and the way out.
    pub(in crate::sink) fn check_address(&self, template: &TextTemplate) -> Result<(), (String, String)> {
        let subjects = subjects_of_template(template).map_err(|reason| {
            (format!("this is no subject: {reason}"), "write it like \"shop.{$.key._id}\"".to_owned())
        })?;
        let help = |subjects: &str| {
            format!("add {subjects:?} to its `stream.subjects` in the configuration, or begin like those")
        };
        let StreamSettings { subjects: taken, .. } = &self.stream;
        let own = SubjectPattern::new(&self.subject).map(|pattern| vec![pattern.subjects()]).unwrap_or_default();
        let taken = if taken.is_empty() { &own } else { taken };
        self.check_taken(&subjects, taken).map_err(|reason| (reason, help(&subjects)))
    }

    /// Checks subjects that applications choose.
    ///
    /// # Errors
    /// What is wrong, and the way out.
    pub(in crate::sink) fn check_route(&self, route: &Address) -> Result<(), (String, String)> {
        let subjects = subjects_of_address(route).map_err(|reason| {
            let help = "let the route begin with plain text and a dot, like \"outbox.event.\"";
            (format!("the route gives no subject: {reason}"), help.to_owned())
        })?;
        let taken = &self.stream.subjects;
        if taken.is_empty() {
            // Then it is created with them; one that is there already is asked when the sink is opened.
            return Ok(());
        }
        self.check_taken(&subjects, taken).map_err(|reason| {
            (reason, format!("add {subjects:?} to its `stream.subjects`, name other sinks in the relay's `to`, or set another route"))
        })
    }

    fn check_taken(&self, subjects: &str, taken: &[String]) -> Result<(), String> {
        match taken.iter().any(|taken| have_common_subjects(taken, subjects)) {
            true => Ok(()),
            false => {
                let (name, taken) = (&self.stream.name, taken.join(", "));
                Err(format!("the stream {name} of this sink takes no subject like {subjects}: only {taken}"))
            }
        }
    }
}

fn default_subject() -> Pattern {
    Pattern::events_by_type()
}

fn default_window() -> usize {
    256
}

fn default_acknowledgement_timeout() -> Period {
    Period::seconds(5)
}

/// The JetStream stream. What is set here beyond the name and subjects counts only when it is created.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamSettings {
    /// Its name.
    pub name: String,
    /// Create it if it is not there; default: true. An existing stream is never changed, only checked.
    #[serde(default = "default_create")]
    pub create: bool,
    /// The subjects it is created with; default: all that begin with the plain text of `subject` or of a relay's route.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// On how many servers it is kept; default: 1.
    #[serde(default = "default_replicas")]
    pub replicas: usize,
    /// How long the server remembers ids, to drop repeats; default: `2m`.
    #[serde(default = "default_duplicate_window")]
    pub duplicate_window: Period,
    /// How long messages are kept; default: for ever.
    #[serde(default)]
    pub age_max: Option<Period>,
    /// How many bytes are kept; default: no limit. The oldest messages go first.
    #[serde(default)]
    pub bytes_max: Option<ByteCount>,
}

fn default_create() -> bool {
    true
}

fn default_replicas() -> usize {
    1
}

fn default_duplicate_window() -> Period {
    Period::seconds(120)
}

/// Who we are. At most one way may be set: `user` with `password`, `token`, `credentials_file` or `nkey`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NatsAuthentication {
    /// A user's name; default: none.
    pub user: Option<String>,
    /// The user's password; default: none.
    pub password: Option<Secret>,
    /// A token; default: none.
    pub token: Option<Secret>,
    /// A file with a user's JWT and seed, as `nsc` writes it; default: none.
    pub credentials_file: Option<PathBuf>,
    /// The seed of a user's nkey; default: none.
    pub nkey: Option<Secret>,
}

impl NatsAuthentication {
    /// True if a way is set.
    pub(super) fn is_set(&self) -> bool {
        self.way_count() > 0
    }

    fn way_count(&self) -> usize {
        let Self { user, password: _, token, credentials_file, nkey } = self;
        let ways = [user.is_some(), token.is_some(), credentials_file.is_some(), nkey.is_some()];
        ways.into_iter().filter(|is_set| *is_set).count()
    }
}

/// Encryption of the connection.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NatsTls {
    /// Refuse a server that does not encrypt; default: false.
    pub required: bool,
    /// A file with certificates of authorities to trust beside those of the system; default: none.
    pub ca_file: Option<PathBuf>,
    /// A file with our certificate; default: none.
    pub certificate_file: Option<PathBuf>,
    /// A file with the key of our certificate; default: none.
    pub key_file: Option<PathBuf>,
}
