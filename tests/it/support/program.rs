//! The real `changeling` program in a temporary folder of its own.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Instant;

use changeling_servers::{Files, Guarded};
use tempfile::TempDir;

use super::{PATIENCE, wait_for};

/// A folder with what the program needs: its configuration, rules and state. Removed when dropped.
#[derive(Debug)]
pub struct Program {
    folder: TempDir,
    environment: Vec<(String, OsString)>,
}

impl Program {
    /// An empty folder.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("changeling-it-").tempdir().expect("a temporary folder");
        Self { folder, environment: Vec::new() }
    }

    /// A folder that holds `changeling.yaml`.
    pub fn with_config(config: &str) -> Self {
        Self::new().file("changeling.yaml", config)
    }

    /// Adds a file (and the folders to it).
    pub fn file(self, name: &str, text: &str) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("creating folders");
        fs::write(path, text).expect("writing a file");
        self
    }

    /// Sets an environment variable of the program.
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The text of a file in the folder; empty if there is none.
    pub fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// Starts the program in the folder. Its output goes to files, so that it never blocks on us.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let files = Files { stdout: self.path("stdout"), stderr: self.path("stderr"), folder: None };
        let program = binary();
        let os_arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let environment = self.environment.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let process = Guarded::start(&program, &os_arguments, environment, self.folder.path(), &files)
            .unwrap_or_else(|error| panic!("starting {}: {error}", program.display()));
        let shown = format!("changeling {}", arguments.join(" "));
        Running { process, shown, folder: self.folder.path().to_owned() }
    }

    /// Runs the program to its end.
    pub async fn run(&self, arguments: &[&str]) -> Finished {
        for name in ["stdout", "stderr"] {
            fs::write(self.path(name), "").expect("emptying a file");
        }
        self.start(arguments).finished().await
    }
}

/// The program under test: `$CHANGELING_PROGRAM` (for example the release build), else the one cargo built for this test.
pub fn binary() -> PathBuf {
    std::env::var_os("CHANGELING_PROGRAM").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_changeling")),
        |path| fs::canonicalize(path).expect("$CHANGELING_PROGRAM is a file"),
    )
}

/// The program while it runs; killed when dropped.
#[derive(Debug)]
pub struct Running {
    process: Guarded,
    shown: String,
    folder: PathBuf,
}

impl Running {
    /// The process: to kill, pause, resume or terminate it.
    pub fn process(&self) -> &Guarded {
        &self.process
    }

    /// True until it has ended.
    pub fn runs(&self) -> bool {
        self.process.ended().is_none()
    }

    /// Fails with everything there is to know if it has ended.
    pub fn assert_runs(&self) {
        let ended = self.process.ended();
        assert!(ended.is_none(), "it has ended:\n{}", self.report(ended));
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        read(&self.folder, "stdout")
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.folder, "stderr")
    }

    /// Asks it to stop (SIGTERM) and waits for its end.
    pub async fn stopped(self) -> Finished {
        self.process.terminate().expect("the program still runs");
        self.finished().await
    }

    /// Waits for its end.
    pub async fn finished(self) -> Finished {
        let started = Instant::now();
        let status = wait_for("the program ends", async || {
            let ended = self.process.ended();
            if ended.is_none() && started.elapsed() > PATIENCE / 2 {
                panic!("it does not end:\n{}", self.report(None));
            }
            ended
        })
        .await;
        Finished { stdout: self.stdout(), stderr: self.stderr(), report: self.report(Some(status)), status }
    }

    fn report(&self, status: Option<ExitStatus>) -> String {
        let mut names: Vec<String> = fs::read_dir(&self.folder)
            .map(|entries| {
                entries.filter_map(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
            })
            .unwrap_or_default();
        names.sort();
        format!(
            "command: {}\nended: {}\nfiles: {}\nconfig:\n{}\nstdout:\n{}\nstderr:\n{}",
            self.shown,
            status.map_or("no".to_owned(), |status| status.to_string()),
            names.join(" "),
            read(&self.folder, "changeling.yaml"),
            self.stdout(),
            self.stderr()
        )
    }
}

/// What the program left behind.
pub struct Finished {
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
    status: ExitStatus,
    report: String,
}

impl Finished {
    /// The exit code; 128 + the signal's number if a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Checks the exit code; if it is another, the test fails with everything there is to know.
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self}");
        self
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.report)
    }
}

impl fmt::Debug for Finished {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.report)
    }
}

fn read(folder: &Path, name: &str) -> String {
    String::from_utf8_lossy(&fs::read(folder.join(name)).unwrap_or_default()).into_owned()
}
