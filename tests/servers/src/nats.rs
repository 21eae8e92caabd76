//! A NATS server with JetStream in a temporary folder.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Files, Guarded, ServerError, free_port, nats_server};

/// A running NATS server. When this value is dropped it is killed and its folder is removed.
#[derive(Debug)]
pub struct Nats {
    process: Mutex<Guarded>,
    port: u16,
    program: PathBuf,
    folder: TempDir,
}

impl Nats {
    /// Starts a server and waits until it listens.
    ///
    /// # Errors
    /// If there is no nats-server, or it does not get ready.
    pub async fn start() -> Result<Self, ServerError> {
        let program = nats_server()?;
        let folder = tempfile::Builder::new()
            .prefix("changeling-nats-")
            .tempdir()
            .map_err(ServerError::io("creating a folder in", std::env::temp_dir()))?;
        let port = free_port();
        let process = Mutex::new(launch(&program, &folder, port)?);
        let nats = Self { process, port, program, folder };
        nats.wait_until_listening().await?;
        Ok(nats)
    }

    /// The address that clients connect to.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills the server at once (SIGKILL).
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn kill(&self) -> Result<(), ServerError> {
        self.process().kill()
    }

    /// Stops the server's clock (SIGSTOP): its connections stay open and silent.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.process().pause()
    }

    /// Lets a paused server go on.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.process().resume()
    }

    /// Starts the server again on the same port with the same streams, whether it runs or not.
    ///
    /// # Errors
    /// If it does not get ready.
    pub async fn restart(&self) -> Result<(), ServerError> {
        self.kill()?;
        let process = launch(&self.program, &self.folder, self.port)?;
        *self.process() = process;
        self.wait_until_listening().await
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Guarded> {
        self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn wait_until_listening(&self) -> Result<(), ServerError> {
        const PATIENCE: Duration = Duration::from_secs(60);
        let deadline = Instant::now() + PATIENCE;
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            let ended = self.process().ended();
            if ended.is_some() || Instant::now() > deadline {
                let reason = ended.map_or("it does not listen".to_owned(), |status| format!("it ended with {status}"));
                return Err(ServerError::NotReady { name: "nats-server", reason, log: self.process().last_words() });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

fn launch(program: &std::path::Path, folder: &TempDir, port: u16) -> Result<Guarded, ServerError> {
    let mut arguments: Vec<OsString> =
        ["--addr", "127.0.0.1", "--jetstream", "--port"].into_iter().map(OsString::from).collect();
    arguments.push(port.to_string().into());
    arguments.push("--store_dir".into());
    arguments.push(folder.path().join("streams").into());
    let log = folder.path().join("nats.log");
    let files = Files { stdout: log.clone(), stderr: log, folder: Some(folder.path().to_owned()) };
    Guarded::start(program, &arguments, [], folder.path(), &files)
}

impl Drop for Nats {
    fn drop(&mut self) {
        // Before the folder goes; whatever fails here, the guard ends the server when our process ends.
        let _ = self.kill();
    }
}
