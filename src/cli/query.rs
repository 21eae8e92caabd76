//! `changeling query`: try a JSONPath on a document.

use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use bson::Bson;
use changeling::rules::{self, LanguageError, Query as Path};

use super::{Failure, Verdict};

/// Print what a JSONPath selects in a document
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        echo '{\"items\": [{\"sku\": \"a\", \"qty\": 3}]}' | changeling query '$.items[?@.qty > 2].sku'\n  \
        changeling query '$.total' order.json\n\n\
        The document may be Extended JSON, so that dates, ObjectIds and decimals keep their types.\n\
        Each selected value is printed as JSON on a line of its own.\n\n\
        Exit codes: 0 something was selected, 1 nothing was, 2 the path or the document can not be used")]
pub struct Query {
    /// A JSONPath (RFC 9535); $ is the document
    #[arg(value_name = "JSONPATH")]
    path: String,
    /// A file with one JSON document; standard input if absent or -
    file: Option<PathBuf>,
}

/// Why a query can not be run.
#[derive(Debug, thiserror::Error)]
enum QueryError {
    #[error("{}", DisplayPath(path, .source))]
    Path {
        path: String,
        // Told in full above: its place is shown in the path.
        source: LanguageError,
    },
    #[error("the document {name} can not be read")]
    Unreadable {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("the document {name} is not valid JSON: line {line}, column {column}")]
    Syntax { name: String, line: usize, column: usize },
    #[error("the document {name} is neither a JSON object nor an array, or holds Extended JSON that is not valid")]
    Document { name: String },
}

struct DisplayPath<'e>(&'e str, &'e LanguageError);

impl std::fmt::Display for DisplayPath<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(path, error) = self;
        write!(formatter, "{} {}\n  {path}\n  {}^", error.code, error.message, " ".repeat(error.offset))?;
        match &error.help {
            Some(help) => write!(formatter, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}

impl Query {
    /// Prints what is selected.
    pub fn run(&self) -> Result<Verdict, Failure> {
        let unusable = |error: QueryError| Failure::Unusable(Box::new(error));
        let path = Path::parse_plain(&self.path)
            .map_err(|source| unusable(QueryError::Path { path: self.path.clone(), source }))?;
        let document = self.document().map_err(unusable)?;
        let mut output = io::BufWriter::new(io::stdout().lock());
        let mut count = 0;
        for value in rules::query(&path, &document) {
            count += 1;
            serde_json::to_writer(&mut output, &value.into_relaxed_extjson()).map_err(io::Error::from)?;
            writeln!(output)?;
        }
        output.flush()?;
        if count == 0 {
            let is_of_a_rule =
                ["$.after", "$.before", "$.key", "$.item"].iter().any(|root| self.path.starts_with(root));
            let help =
                if is_of_a_rule { "; $ is the document itself here, leave out the root of the rule" } else { "" };
            writeln!(io::stderr(), "nothing is selected{help}")?;
        }
        Ok(if count > 0 { Verdict::Yes } else { Verdict::No })
    }

    fn document(&self) -> Result<Bson, QueryError> {
        let file = self.file.as_deref().filter(|file| file.as_os_str() != "-");
        let (name, text) = match file {
            Some(file) => (file.display().to_string(), std::fs::read_to_string(file)),
            None => {
                let mut text = String::new();
                ("on standard input".to_owned(), io::stdin().read_to_string(&mut text).map(|_| text))
            }
        };
        let text = match text {
            Ok(text) => text,
            Err(source) => return Err(QueryError::Unreadable { name, source }),
        };
        let json: serde_json::Value = match serde_json::from_str(&text) {
            Ok(json) => json,
            Err(error) => return Err(QueryError::Syntax { name, line: error.line(), column: error.column() }),
        };
        match Bson::try_from(json) {
            Ok(document @ (Bson::Document(_) | Bson::Array(_))) => Ok(document),
            Ok(_) | Err(_) => Err(QueryError::Document { name }),
        }
    }
}
