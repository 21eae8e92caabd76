//! `changeling explain`: why each rule fired on a change, did not, or could not be decided.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use bson::{Bson, RawBson};
use changeling::app::Images;
use changeling::change::value::{Numbers, equal};
use changeling::change::{Batch, Change, Entry, Image};
use changeling::config;
use changeling::explicit::Relays;
use changeling::namespace::Namespace;
use changeling::rules::explain::{Explainer, Explanation, RuleVerdict};
use changeling::rules::{self, RuleSet};
use changeling::yaml::SourceFile;

use super::explanation::{self, Told};
use super::history::{self, HistoryArguments, Origin};
use super::relayed::Relayed;
use super::{Failure, Verdict, account, findings, logging, replay};

/// Show why each rule fires on a change, does not, or can not be decided
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A change is taken from a tape, from the recent history of the database, or from a file in the form of the tests in rule\n\
        files. Every rule that looks at it is shown, condition by condition. Of documents only the types of values are shown,\n\
        unless --show-values is given. Nothing is delivered.\n\n\
        Examples:\n  \
        changeling explain --collection shop.orders --id 17 --since 1h    what happened to this order in the last hour\n  \
        changeling explain --tape shop.tape --rule OrderPaid --last 3     the last three changes on a tape, for one rule\n  \
        changeling explain --change change.yaml --show-values             a change that was typed in:\n    \
        {update: shop.orders, before: {_id: 1, status: pending}, after: {_id: 1, status: paid}}\n\n\
        Exit codes: 0 a change was explained, 1 there is no such change, 2 the rules, the configuration or the arguments can not be\n\
        used, 3 the tape or the database could not be read to the end"
)]
pub struct Explain {
    #[command(flatten)]
    history: HistoryArguments,
    /// Explain the change in a file, in the form of the tests in rule files; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tape", "since", "from", "collection", "id", "last"])]
    change: Option<PathBuf>,
    /// Only changes of this collection
    #[arg(long, value_name = "DATABASE.COLLECTION", value_parser = parse_collection)]
    collection: Option<Namespace>,
    /// Only changes of the document with this _id: a text, an ObjectId, or Extended JSON
    #[arg(long, value_name = "ID", requires = "collection")]
    id: Option<String>,
    /// How many changes to explain: the last ones
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    last: usize,
    /// Only this rule, by its id
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    /// Also say of every other rule in one line why it does not look at the change
    #[arg(long)]
    all: bool,
    /// Show the values of documents, and not only their types
    #[arg(long)]
    show_values: bool,
    /// Print the explanations as JSON on standard output
    #[arg(long)]
    json: bool,
}

/// Who looks at changes.
struct Looking {
    explainer: Explainer,
    relays: Relays,
}

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
enum ExplainError {
    #[error("the change in {name} can not be read")]
    Unreadable {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("there is no rule {rule:?}\nhelp: `changeling check` counts the rules; their ids are in the rule files")]
    NoRule { rule: String },
}

/// The change that was explained.
pub struct Explained {
    pub header: Header,
    /// What relays make of it, where it is for one.
    pub relayed: Option<Relayed>,
    pub rules: Vec<Explanation>,
}

/// What a change is, without what is in it.
pub struct Header {
    pub operation: &'static str,
    pub collection: String,
    pub key: RawBson,
    pub time: String,
    pub before: &'static str,
    pub after: &'static str,
}

impl Explain {
    /// Explains what is found.
    pub fn run(&self) -> Result<Verdict, Failure> {
        logging::start(&config::LogSettings::default(), Some("warn"))
            .map_err(|error| Failure::Unusable(Box::new(error)))?;
        let rules = self.history.read_rules()?.rules;
        if let Some(wanted) = &self.rule
            && !rules.iter().any(|rule| *rule.id == **wanted)
        {
            return Err(Failure::Unusable(Box::new(ExplainError::NoRule { rule: wanted.clone() })));
        }
        let mut looking = Looking { explainer: Explainer::new(rules.clone()), relays: self.history.read_relays()? };
        let (explained, ended) = match &self.change {
            Some(path) => (self.typed_in(path, &mut looking)?, Ok(())),
            None => self.found(&Arc::new(RuleSet::compile(rules.clone())), RuleSet::compile(rules), &mut looking)?,
        };
        let told = Told { all: self.all || self.rule.is_some(), show_values: self.show_values };
        if self.json {
            let all: Vec<_> = explained.iter().map(|one| explanation::Report::new(one, &told)).collect();
            findings::print_json(&all)?;
        } else {
            self.print(&explained, &told)?;
        }
        ended?;
        Ok(if explained.is_empty() { Verdict::No } else { Verdict::Yes })
    }

    fn print(&self, explained: &[Explained], told: &Told) -> io::Result<()> {
        let mut text = String::new();
        for one in explained {
            explanation::write(&mut text, one, told);
        }
        if explained.is_empty() {
            let _ = writeln!(text, "there is no such change");
        }
        let mut output = anstream::stdout().lock();
        output.write_all(text.as_bytes())?;
        output.flush()
    }

    fn typed_in(&self, path: &std::path::Path, looking: &mut Looking) -> Result<Vec<Explained>, Failure> {
        let name = path.display().to_string();
        let text = match name.as_str() {
            "-" => io::read_to_string(io::stdin()),
            _ => std::fs::read_to_string(path),
        };
        let text = text
            .map_err(|source| Failure::Unusable(Box::new(ExplainError::Unreadable { name: name.clone(), source })))?;
        let (changes, diagnostics) = rules::read_changes(&SourceFile { name, text });
        findings::print(&diagnostics);
        if diagnostics.has_errors() {
            return Err(Failure::Said { exit_code: 2 });
        }
        let batch = Batch::from_documents(changes.iter().map(|change| &**change), None);
        let changes = batch.entries().filter_map(|entry| match entry {
            Ok(Entry::Change(change)) => Some(self.explained(&change, looking)),
            Ok(Entry::Notice(_)) | Err(_) => None,
        });
        Ok(changes.collect())
    }

    fn found(
        &self,
        set: &Arc<RuleSet>,
        rules: RuleSet,
        looking: &mut Looking,
    ) -> Result<(Vec<Explained>, Result<(), Failure>), Failure> {
        let wanted = self.id.as_deref().map(ids);
        let mut kept: VecDeque<Explained> = VecDeque::new();
        let ended = history::block_on(async |stop| {
            // As a run does it, though the document may have changed much since.
            let images = |_: &RuleSet| Images::NeededAndLookedUp(Arc::clone(set));
            let opened = self.history.open(rules, images, stop).await?;
            if !self.json && matches!(opened.origin, Origin::Tape { .. }) {
                let mut output = anstream::stderr().lock();
                account::print_origin(&mut output, &opened.origin, set.image_needs_of_all().after)?;
            }
            let ended = replay::read(opened, stop, |batch, _| {
                for entry in batch.entries() {
                    let Ok(Entry::Change(change)) = entry else { continue };
                    if self.is_meant(&change, wanted.as_deref()) {
                        kept.push_back(self.explained(&change, looking));
                    }
                    while kept.len() > self.last.max(1) {
                        kept.pop_front();
                    }
                }
                Ok(())
            })
            .await;
            Ok(ended)
        })?;
        Ok((kept.into(), ended.result.map_err(history::failure)))
    }

    fn is_meant(&self, change: &Change<'_>, ids: Option<&[RawBson]>) -> bool {
        let collection = self.collection.as_ref();
        let is_there =
            collection.is_none_or(|one| one.database == change.database && one.collection == change.collection);
        let is_it = ids.is_none_or(|ids| {
            change.id().is_some_and(|id| ids.iter().any(|wanted| equal(wanted.as_raw_bson_ref(), id, Numbers::ByValue)))
        });
        is_there && is_it
    }

    fn explained(&self, change: &Change<'_>, Looking { explainer, relays }: &mut Looking) -> Explained {
        let relayed = Relayed::of(change, relays);
        let is_withheld = relayed.as_ref().is_some_and(|relayed| relayed.is_withheld);
        let mut rules = if is_withheld { Vec::new() } else { explainer.explain(change) };
        if let Some(wanted) = &self.rule {
            rules.retain(|one| *one.rule == **wanted);
        }
        Explained { header: header(change), relayed, rules }
    }
}

fn parse_collection(text: &str) -> Result<Namespace, String> {
    Namespace::parse(text).ok_or_else(|| "expected a database and a collection such as shop.orders".to_owned())
}

/// The values that a text may stand for as an `_id`.
fn ids(text: &str) -> Vec<RawBson> {
    let mut ids = vec![RawBson::String(text.to_owned())];
    if let Ok(id) = bson::oid::ObjectId::parse_str(text) {
        ids.push(RawBson::ObjectId(id));
    }
    if let Ok(uuid) = bson::Uuid::parse_str(text) {
        ids.push(RawBson::Binary(bson::Binary::from(uuid)));
    }
    let json = serde_json::from_str::<serde_json::Value>(text).ok().and_then(|json| Bson::try_from(json).ok());
    ids.extend(json.and_then(|value| RawBson::try_from(value).ok()));
    ids
}

fn header(change: &Change<'_>) -> Header {
    let known = |image: Image<'_>| match image {
        Image::Exact(_) => "known",
        Image::LookedUp(_) => "looked up later",
        Image::Absent => "absent",
        Image::Unknown => "not known",
    };
    let time = change.time();
    Header {
        operation: change.operation.as_str(),
        collection: format!("{}.{}", change.database, change.collection),
        key: change.id().map_or(RawBson::Null, RawBson::from),
        time: time.try_to_rfc3339_string().unwrap_or_else(|_| time.timestamp_millis().to_string()),
        before: known(change.before),
        after: known(change.after),
    }
}

/// True for a rule that looks at the change.
pub fn is_candidate(explanation: &Explanation) -> bool {
    !matches!(explanation.verdict, RuleVerdict::NoCandidate(_))
}
