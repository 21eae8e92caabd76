//! Why a command could not do its work: one error chain, printed once, and an exit code.

use std::error::Error;
use std::fmt::Write as _;
use std::io;

use changeling::source::{Finding, Grade};
use owo_colors::OwoColorize as _;

/// What ends a command before it could say yes or no.
#[derive(Debug)]
pub enum Failure {
    /// The arguments or the configuration can not be used. Exit code 2.
    Unusable(Box<dyn Error + Send + Sync>),
    /// It stopped while running. Exit code 3.
    Stopped(Box<dyn Error + Send + Sync>),
    /// Nobody reads our output any more, or it can not be written.
    Output(io::Error),
    /// Everything has been said already.
    Said {
        /// What the process exits with.
        exit_code: u8,
    },
}

impl Failure {
    /// The exit code: 2 for bad usage or configuration, 3 for stopped while running. A reader that went away is no failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unusable(_) => 2,
            Self::Stopped(_) => 3,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) => 3,
            Self::Said { exit_code } => *exit_code,
        }
    }

    /// Prints the chain to standard error.
    pub fn print(&self) {
        match self {
            Self::Unusable(error) | Self::Stopped(error) => anstream::eprint!("{}", chain(error.as_ref())),
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Self::Output(error) => anstream::eprint!("{}", chain(error)),
            Self::Said { .. } => {}
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// The chain as text: what happened, each cause on a line of its own, the ways out at the end.
fn chain(error: &dyn Error) -> String {
    let (layers, helps) = layers(error);
    let mut text = String::new();
    for (depth, layer) in layers.iter().enumerate() {
        // Writing to a string can not fail.
        let _ = match depth {
            0 => writeln!(text, "{} {layer}", "error:".red().bold()),
            _ => writeln!(text, "  caused by: {layer}"),
        };
    }
    for help in &helps {
        let _ = writeln!(text, "{} {help}", "help:".cyan());
    }
    text
}

/// The same as one finding of a check.
pub fn finding(error: &dyn Error) -> Finding {
    let (layers, helps) = layers(error);
    let help = (!helps.is_empty()).then(|| helps.join("; "));
    Finding { grade: Grade::Problem, text: layers.join(": "), help, collection: None }
}

/// What every layer says, and the ways out. Some libraries repeat their cause in their own text; such a cause is left out.
fn layers(error: &dyn Error) -> (Vec<String>, Vec<String>) {
    let (mut layers, mut helps) = (Vec::<String>::new(), Vec::<String>::new());
    let mut next = Some(error);
    while let Some(error) = next {
        let mut said = Vec::new();
        for line in error.to_string().lines() {
            match line.strip_prefix("help: ") {
                Some(help) if !helps.iter().any(|told| told == help) => helps.push(help.to_owned()),
                Some(_) => {}
                None => said.push(line.to_owned()),
            }
        }
        let said = said.join("\n");
        if !said.is_empty() && !layers.iter().any(|layer| layer.contains(&said)) {
            layers.push(said);
        }
        next = error.source();
    }
    (layers, helps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        #[source]
        source: Option<Box<Layer>>,
    }

    #[test]
    fn every_layer_is_said_once_and_the_help_comes_last() {
        let cause = Layer { text: "connection refused", source: None };
        let library = Layer { text: "i/o error: connection refused", source: Some(Box::new(cause)) };
        let ours = Layer { text: "the server can not be reached\nhelp: start it", source: Some(Box::new(library)) };
        let text = anstream::adapter::strip_str(&chain(&ours)).to_string();
        assert_eq!(
            text,
            "error: the server can not be reached\n  caused by: i/o error: connection refused\nhelp: start it\n"
        );
    }
}
