//! Why a server can not be had or used.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a server can not be had or used.
#[derive(thiserror::Error)]
pub enum ServerError {
    /// There is none on this machine and none could be fetched.
    #[error("no usable {name} was found, and fetching one failed: {reason}\nhelp: {help}")]
    NotFound {
        /// The server's name.
        name: &'static str,
        /// What went wrong.
        reason: String,
        /// The ways out, with the exact command.
        help: String,
    },
    /// It ended, or never got ready.
    #[error("{name} did not get ready: {reason}\nits last words:\n{log}")]
    NotReady {
        /// The server's name.
        name: &'static str,
        /// What went wrong.
        reason: String,
        /// The end of its log.
        log: String,
    },
    /// A file or process could not be used.
    #[error("{doing} {path}")]
    Io {
        /// What was tried, for example "starting".
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A signal could not be sent.
    #[error("signalling process {process_id}")]
    Signal {
        /// To whom.
        process_id: u32,
        /// The system's error.
        #[source]
        source: rustix::io::Errno,
    },
    /// MongoDB answered with an error.
    #[error("a command failed on the test's mongod")]
    Mongo(#[from] mongodb::error::Error),
}

/// As `Display`, with the causes: this is what a test that unwraps shows.
impl fmt::Debug for ServerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl ServerError {
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}
