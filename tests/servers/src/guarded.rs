//! A process that cannot outlive the one that started it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process};

use crate::ServerError;

/// Runs its arguments and says the process id. It holds the reading end of a pipe whose writing end only our process has: when
/// that closes, for whatever reason, it kills the child and removes the folder. It ends as the child ends.
const GUARD: &str = r#"
folder=$1; out=$2; err=$3; shift 3
exec 3<&0
"$@" </dev/null >>"$out" 2>>"$err" 3<&- &
child=$!
echo "$child"
exec >/dev/null
(
    read -r word <&3
    trap "" TERM
    kill -KILL "$child"
    while kill -0 "$child"; do sleep 0.02; done
    [ -z "$folder" ] || rm -rf "$folder"
) &
watcher=$!
exec 3<&-
wait "$child"
code=$?
kill "$watcher"
exit "$code"
"#;

/// Where a guarded process writes, and what is removed if this process dies before it.
#[derive(Clone, Debug)]
pub struct Files {
    /// Its standard output is appended here.
    pub stdout: PathBuf,
    /// Its standard error is appended here.
    pub stderr: PathBuf,
    /// A folder to remove if our process dies; after an orderly end its owner removes it.
    pub folder: Option<PathBuf>,
}

/// A running process, in a process group of its own (so that Ctrl-C reaches it only through us), that is killed when this
/// value is dropped and when our process dies, also by SIGKILL.
#[derive(Debug)]
pub struct Guarded {
    guard: Mutex<Child>,
    /// Not left in `guard`, which would close it before it waits.
    pipe: Mutex<Option<ChildStdin>>,
    process: Pid,
    stderr: PathBuf,
}

impl Guarded {
    /// Starts `program`.
    ///
    /// # Errors
    /// If there is no shell, or the log files cannot be written.
    pub fn start<'a>(
        program: &Path,
        arguments: &[OsString],
        environment: impl IntoIterator<Item = (&'a str, OsString)>,
        current_dir: &Path,
        files: &Files,
    ) -> Result<Self, ServerError> {
        for path in [&files.stdout, &files.stderr] {
            File::options().create(true).append(true).open(path).map_err(ServerError::io("writing", path))?;
        }
        let folder = files.folder.as_deref().unwrap_or(Path::new(""));
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(folder)
            .args([&files.stdout, &files.stderr])
            .arg(program)
            .args(arguments)
            .envs(environment)
            .current_dir(current_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(ServerError::io("starting", program))?;
        let mut line = String::new();
        if let Some(stdout) = guard.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(ServerError::io("starting", program))?;
        }
        let process = line.trim().parse().ok().and_then(Pid::from_raw).ok_or_else(|| ServerError::Io {
            doing: "starting",
            path: program.to_owned(),
            source: std::io::Error::other("the guard did not say a process id"),
        })?;
        let pipe = Mutex::new(guard.stdin.take());
        Ok(Self { guard: Mutex::new(guard), pipe, process, stderr: files.stderr.clone() })
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.process.as_raw_nonzero().get().unsigned_abs()
    }

    /// How it ended, or `None` while it runs. A process ended by a signal has the code 128 + signal.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.guard().try_wait().unwrap_or(Some(ExitStatus::from_raw(-1)))
    }

    /// Kills it at once (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn kill(&self) -> Result<(), ServerError> {
        if self.ended().is_none() {
            self.signal(Signal::KILL)?;
            let path = &self.stderr;
            self.guard().wait().map_err(ServerError::io("waiting for", path))?;
        }
        Ok(())
    }

    /// Asks it to stop (SIGTERM).
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn terminate(&self) -> Result<(), ServerError> {
        self.signal(Signal::TERM)
    }

    /// Asks it to stop as Ctrl-C does (SIGINT).
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn interrupt(&self) -> Result<(), ServerError> {
        self.signal(Signal::INT)
    }

    /// Sends it SIGHUP.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn hang_up(&self) -> Result<(), ServerError> {
        self.signal(Signal::HUP)
    }

    /// Stops its clock: it does nothing, and keeps its connections, until [`Guarded::resume`].
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused process go on.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.signal(Signal::CONT)
    }

    /// The last lines of its standard error.
    pub fn last_words(&self) -> String {
        last_lines(&self.stderr)
    }

    /// Does what the system does when our process dies: closes the pipe to the guard, and no more.
    pub fn abandon(&self) {
        drop(self.pipe.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
    }

    fn signal(&self, signal: Signal) -> Result<(), ServerError> {
        kill_process(self.process, signal).map_err(|source| ServerError::Signal { process_id: self.id(), source })
    }

    fn guard(&self) -> std::sync::MutexGuard<'_, Child> {
        self.guard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Whatever goes wrong here, the guard's pipe closes with us.
        let _ = self.kill();
    }
}

fn last_lines(path: &Path) -> String {
    const LINES: usize = 15;
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
