//! Who owns a checkpoint: a process, described so that another one on the same machine can see whether it still lives.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};

use bson::{Document, doc};

/// What the system answers when a process ends while its folder in `/proc` is read (ESRCH).
const NO_SUCH_PROCESS: i32 = 3;

/// A process. Fields that this system does not tell are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) host: String,
    pub(super) id: u32,
    /// What process ids mean something in: the boot of the machine, the namespace of process ids, the user who may see them.
    scope: String,
    /// When it started, in clock ticks after the boot: process ids are used again.
    started: String,
}

impl Process {
    /// The process we are.
    pub(super) fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let boot = read("/proc/sys/kernel/random/boot_id");
        let namespace = fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default();
        let scope = match boot.is_empty() || namespace.is_empty() {
            true => String::new(),
            false => format!("{boot} {namespace} {}", user()),
        };
        let started = stat("self").ok().flatten().map(|(_, started)| started).unwrap_or_default();
        let host = std::env::var("HOSTNAME").unwrap_or_default();
        let kernel_host = read("/proc/sys/kernel/hostname");
        let host = if kernel_host.is_empty() { host } else { kernel_host };
        Self { host, id: std::process::id(), scope, started }
    }

    /// True if we can see that the process does not run any more. False if it runs, or if we can not see it.
    pub(super) fn is_dead(&self) -> bool {
        let this = Self::this();
        if self.scope.is_empty() || self.scope != this.scope || self.host != this.host {
            return false;
        }
        match stat(&self.id.to_string()) {
            // A zombie is dead; only its parent has not looked yet.
            Ok(Some((state, started))) => started != self.started || matches!(state.as_str(), "Z" | "X"),
            Ok(None) => false,
            // Any other error (too many open files, say) tells nothing of the process. It may end while we read.
            Err(error) => error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(NO_SUCH_PROCESS),
        }
    }

    pub(super) fn document(&self) -> Document {
        doc! {"host": &self.host, "pid": i64::from(self.id), "scope": &self.scope, "started": &self.started}
    }

    pub(super) fn from_document(document: &Document) -> Self {
        let text = |field: &str| document.get_str(field).unwrap_or_default().to_owned();
        let id = document.get_i64("pid").ok().and_then(|id| u32::try_from(id).ok()).unwrap_or_default();
        Self { host: text("host"), id, scope: text("scope"), started: text("started") }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "process {} on host \"{}\"", self.id, self.host)
    }
}

/// State and start of a process, from `/proc/<id>/stat` (see proc(5)): its fields after the name, which may hold anything.
fn stat(id: &str) -> io::Result<Option<(String, String)>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    Ok(state_and_start(&text))
}

fn state_and_start(stat: &str) -> Option<(String, String)> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?.to_owned();
    // The state is field 3, the start field 22.
    Some((state, fields.nth(18)?.to_owned()))
}

#[cfg(unix)]
fn user() -> String {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").map(|metadata| metadata.uid().to_string()).unwrap_or_default()
}

#[cfg(not(unix))]
fn user() -> String {
    String::new()
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_dead_only_if_we_can_see_it_is() {
        let this = Process::this();
        assert!(!this.is_dead(), "{this:?}");
        assert_eq!(Process::from_document(&this.document()), this);
        let elsewhere = Process { host: "elsewhere".to_owned(), id: u32::MAX, ..this.clone() };
        assert!(!elsewhere.is_dead());
        let other_boot = Process { scope: "another boot".to_owned(), id: u32::MAX, ..this.clone() };
        assert!(!other_boot.is_dead());
        assert!(Process { id: u32::MAX, ..this.clone() }.is_dead());
        assert!(Process { started: "1".to_owned(), ..this }.is_dead(), "its id is used by another one now");
    }

    #[test]
    fn a_killed_process_is_dead_even_before_its_parent_has_looked() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let (_, started) = stat(&child.id().to_string()).unwrap().unwrap();
        let process = Process { id: child.id(), started, ..Process::this() };
        assert!(!process.is_dead());
        child.kill().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !process.is_dead() {
            assert!(std::time::Instant::now() < deadline, "a killed process does not die");
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(process.is_dead());
    }
}
