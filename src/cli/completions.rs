//! `changeling completions`: a script that lets a shell complete the commands.

use std::io::Write as _;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Arguments, Failure, Verdict};

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  changeling completions bash > /etc/bash_completion.d/changeling")]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub fn run(&self) -> Result<Verdict, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "changeling", &mut script);
        let mut output = std::io::stdout().lock();
        output.write_all(&script)?;
        output.flush()?;
        Ok(Verdict::Yes)
    }
}
