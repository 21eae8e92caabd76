//! A MongoDB replica set (or a standalone server) in a temporary folder.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{ClientOptions, Credential, ServerAddress};
use mongodb::{Client, Database};
use tempfile::TempDir;

use crate::{Files, Guarded, ServerError, free_port, mongod};

/// How long a server may take to do what it was asked to, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What kind of replica set to start.
#[derive(Clone, Debug)]
pub struct ReplicaSetOptions {
    /// The number of members; all can become primary.
    pub members: usize,
    /// True: one server that is no replica set, so that it has no oplog and no change streams.
    pub standalone: bool,
    /// The size of the oplog; the server's own choice if absent.
    pub oplog_megabytes: Option<u32>,
    /// A user with every right (role `root`); if given, the servers let nobody in without a login.
    pub login: Option<Login>,
    /// How long the others wait for a silent primary before they choose another.
    pub election_timeout: Duration,
    /// True: the server has its test commands, such as `configureFailPoint`.
    pub test_commands: bool,
    /// More arguments for every mongod, for example `--setParameter`, `periodicNoopIntervalSecs=1`.
    pub arguments: Vec<String>,
}

impl Default for ReplicaSetOptions {
    fn default() -> Self {
        Self {
            members: 1,
            standalone: false,
            oplog_megabytes: None,
            login: None,
            election_timeout: Duration::from_secs(5),
            test_commands: false,
            arguments: Vec::new(),
        }
    }
}

/// A user's name and password.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The password; letters and digits only, so that it needs no escape in a URI.
    pub password: String,
}

/// Running servers. When this value is dropped they are killed and their folder is removed.
#[derive(Debug)]
pub struct ReplicaSet {
    members: Vec<Member>,
    options: ReplicaSetOptions,
    program: PathBuf,
    folder: TempDir,
}

#[derive(Debug)]
struct Member {
    port: u16,
    process: Mutex<Guarded>,
}

const NAME: &str = "changeling";

impl ReplicaSet {
    /// Starts the servers and waits until there is a primary.
    ///
    /// # Errors
    /// If there is no mongod, or it does not get ready.
    pub async fn start(options: &ReplicaSetOptions) -> Result<Self, ServerError> {
        let program = mongod()?;
        let folder = tempfile::Builder::new()
            .prefix("changeling-mongod-")
            .tempdir()
            .map_err(ServerError::io("creating a folder in", std::env::temp_dir()))?;
        let mut set = Self { members: Vec::new(), options: options.clone(), program, folder };
        set.write_key()?;
        for index in 0..options.members.max(1) {
            let port = free_port();
            let process = Mutex::new(set.launch(index, port)?);
            set.members.push(Member { port, process });
        }
        try_join_all((0..set.members.len()).map(|index| set.wait_until_listening(index))).await?;
        if !options.standalone {
            set.initiate().await?;
        }
        if let Some(login) = &options.login {
            let create = doc! {"createUser": &login.user, "pwd": &login.password, "roles": ["root"]};
            // The server lets the first user be made from its own machine without a login.
            set.direct(set.primary_without_login().await?, false).await?.run_command(create).await?;
        }
        Ok(set)
    }

    /// The connection string, with the login if there is one.
    pub fn uri(&self) -> String {
        let login = self.options.login.as_ref();
        self.uri_as(login.map(|login| (login.user.as_str(), login.password.as_str())))
    }

    /// The connection string with another login, or with none.
    pub fn uri_as(&self, login: Option<(&str, &str)>) -> String {
        let login = login.map(|(user, password)| format!("{user}:{password}@")).unwrap_or_default();
        let hosts: Vec<String> = self.members.iter().map(|member| format!("127.0.0.1:{}", member.port)).collect();
        let query = if self.options.standalone { "directConnection=true" } else { "replicaSet=changeling" };
        format!("mongodb://{login}{}/?{query}", hosts.join(","))
    }

    /// A new client, which belongs to the runtime it is made in.
    ///
    /// # Errors
    /// If the client cannot be made.
    pub async fn client(&self) -> Result<Client, ServerError> {
        let mut options = ClientOptions::parse(self.uri()).await?;
        options.app_name = Some("changeling-servers".to_owned());
        Ok(Client::with_options(options)?)
    }

    /// The ports of the members.
    pub fn ports(&self) -> Vec<u16> {
        self.members.iter().map(|member| member.port).collect()
    }

    /// The id of a member's process.
    pub fn process_id(&self, member: usize) -> u32 {
        self.process(member).id()
    }

    /// Kills a member at once (SIGKILL).
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn kill(&self, member: usize) -> Result<(), ServerError> {
        self.process(member).kill()
    }

    /// Stops a member's clock (SIGSTOP): its connections stay open and silent.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn pause(&self, member: usize) -> Result<(), ServerError> {
        self.process(member).pause()
    }

    /// Lets a paused member go on.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn resume(&self, member: usize) -> Result<(), ServerError> {
        self.process(member).resume()
    }

    /// Starts a member again on the same port with the same data, whether it runs or not, and waits for a primary.
    ///
    /// # Errors
    /// If it does not get ready.
    pub async fn restart(&self, member: usize) -> Result<(), ServerError> {
        self.kill(member)?;
        let process = self.launch(member, self.members[member].port)?;
        *self.process(member) = process;
        self.wait_until_listening(member).await?;
        if !self.options.standalone {
            self.primary().await?;
        }
        Ok(())
    }

    /// Waits until a member is a primary that takes writes, and gives its index.
    ///
    /// # Errors
    /// If there is none for two minutes.
    pub async fn primary(&self) -> Result<usize, ServerError> {
        self.wait_for_primary(None).await
    }

    /// Makes the primary step down, and waits until another is chosen (the same one, in a set of one). Gives its index.
    ///
    /// # Errors
    /// If no primary is found within two minutes.
    pub async fn step_down(&self) -> Result<usize, ServerError> {
        let old = self.primary().await?;
        let alone = self.members.len() == 1;
        let command = if alone {
            doc! {"replSetStepDown": 1, "secondaryCatchUpPeriodSecs": 0, "force": true}
        } else {
            doc! {"replSetStepDown": 30, "secondaryCatchUpPeriodSecs": 10}
        };
        let deadline = Instant::now() + PATIENCE;
        // It is refused while no other member has caught up.
        while let Err(error) = self.direct(old, true).await?.run_command(command.clone()).await {
            if Instant::now() > deadline {
                return Err(error.into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.wait_for_primary(if alone { None } else { Some(old) }).await
    }

    /// The `admin` database of one member, through a connection to that member alone.
    ///
    /// # Errors
    /// If the client cannot be made.
    pub async fn admin(&self, member: usize) -> Result<Database, ServerError> {
        self.direct(member, true).await
    }

    /// Sets a fail point (needs `test_commands`) on a member, for example on `failCommand`.
    ///
    /// # Errors
    /// If the server refuses it.
    pub async fn fail_point(
        &self,
        member: usize,
        name: &str,
        mode: impl Into<Bson>,
        data: Document,
    ) -> Result<(), ServerError> {
        let command = doc! {"configureFailPoint": name, "mode": mode.into(), "data": data};
        self.direct(member, true).await?.run_command(command).await?;
        Ok(())
    }

    fn process(&self, member: usize) -> std::sync::MutexGuard<'_, Guarded> {
        self.members[member].process.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn key_path(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    fn write_key(&self) -> Result<(), ServerError> {
        let path = self.key_path();
        fs::write(&path, "aFairlyLongKeyThatOnlyTestServersEverUse").map_err(ServerError::io("writing", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(ServerError::io("protecting", &path))
    }

    fn launch(&self, index: usize, port: u16) -> Result<Guarded, ServerError> {
        let data = self.folder.path().join(index.to_string());
        fs::create_dir_all(&data).map_err(ServerError::io("creating", &data))?;
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |argument: &str| arguments.push(argument.into());
        for argument in ["--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", "--quiet"] {
            add(argument);
        }
        add("--setParameter");
        add("diagnosticDataCollectionEnabled=false");
        add("--port");
        add(&port.to_string());
        add("--dbpath");
        add(&data.to_string_lossy());
        if !self.options.standalone {
            add("--replSet");
            add(NAME);
        }
        if let Some(megabytes) = self.options.oplog_megabytes {
            add("--oplogSize");
            add(&megabytes.to_string());
        }
        if self.options.login.is_some() {
            if self.options.standalone {
                add("--auth");
            } else {
                add("--keyFile");
                add(&self.key_path().to_string_lossy());
            }
        }
        if self.options.test_commands {
            add("--setParameter");
            add("enableTestCommands=1");
        }
        self.options.arguments.iter().for_each(|argument| add(argument));
        let log = self.folder.path().join(format!("{index}.log"));
        let files = Files { stdout: log.clone(), stderr: log, folder: Some(self.folder.path().to_owned()) };
        Guarded::start(&self.program, &arguments, [], &data, &files)
    }

    /// The `admin` database of one member.
    async fn direct(&self, member: usize, with_login: bool) -> Result<Database, ServerError> {
        let mut options = ClientOptions::builder()
            .hosts(vec![ServerAddress::Tcp { host: "127.0.0.1".to_owned(), port: Some(self.members[member].port) }])
            .direct_connection(true)
            .server_selection_timeout(Duration::from_secs(5))
            .app_name("changeling-servers".to_owned())
            .build();
        if let Some(login) = self.options.login.as_ref().filter(|_| with_login) {
            options.credential =
                Some(Credential::builder().username(login.user.clone()).password(login.password.clone()).build());
        }
        Ok(Client::with_options(options)?.database("admin"))
    }

    async fn wait_until_listening(&self, member: usize) -> Result<(), ServerError> {
        let deadline = Instant::now() + PATIENCE;
        let address = ("127.0.0.1", self.members[member].port);
        loop {
            if tokio::net::TcpStream::connect(address).await.is_ok() && self.process(member).ended().is_none() {
                return Ok(());
            }
            let ended = self.process(member).ended();
            if ended.is_some() || Instant::now() > deadline {
                let reason = ended.map_or("it does not listen".to_owned(), |status| format!("it ended with {status}"));
                return Err(self.not_ready(member, reason));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn initiate(&self) -> Result<(), ServerError> {
        let members: Vec<Document> = (0i32..)
            .zip(&self.members)
            .map(|(id, member)| doc! {"_id": id, "host": format!("127.0.0.1:{}", member.port)})
            .collect();
        let election_milliseconds = i64::try_from(self.options.election_timeout.as_millis()).unwrap_or(i64::MAX);
        let settings = doc! {"electionTimeoutMillis": election_milliseconds, "heartbeatIntervalMillis": 500};
        let config = doc! {"_id": NAME, "members": members, "settings": settings};
        self.direct(0, false).await?.run_command(doc! {"replSetInitiate": config}).await?;
        self.primary_without_login().await.map(|_| ())
    }

    async fn primary_without_login(&self) -> Result<usize, ServerError> {
        self.wait_for_primary(None).await
    }

    /// Asks every member, whoever runs, until one says that it takes writes.
    async fn wait_for_primary(&self, except: Option<usize>) -> Result<usize, ServerError> {
        let deadline = Instant::now() + PATIENCE;
        let databases = try_join_all((0..self.members.len()).map(|member| self.direct(member, false))).await?;
        loop {
            for (member, database) in databases.iter().enumerate() {
                if Some(member) == except || self.process(member).ended().is_some() {
                    continue;
                }
                let hello = database.run_command(doc! {"hello": 1}).await;
                if hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false)) {
                    return Ok(member);
                }
            }
            if Instant::now() > deadline {
                return Err(self.not_ready(0, "the members chose no primary".to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn not_ready(&self, member: usize, reason: String) -> ServerError {
        ServerError::NotReady { name: "mongod", reason, log: self.process(member).last_words() }
    }
}

impl Drop for ReplicaSet {
    fn drop(&mut self) {
        // Before the folder goes; whatever fails here, the guards end the servers when our process ends.
        for member in 0..self.members.len() {
            let _ = self.kill(member);
        }
    }
}
