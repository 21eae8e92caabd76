//! An error of MongoDB reduced to what may be told: the driver's own errors quote the server's reply, and with it documents.

use bson::Document;
use mongodb::error::{Error, ErrorKind, WriteFailure};

/// Server errors after which the same attempt may succeed: elections, restarts, killed cursors and operations, expired times.
///
/// Sources: `error_codes.yml` of MongoDB; the lists of the specifications for server discovery, retryable reads and change
/// streams.
const TRANSIENT_CODES: [i32; 34] = [
    6,     // HostUnreachable
    7,     // HostNotFound
    24,    // LockTimeout
    43,    // CursorNotFound
    46,    // LockBusy
    50,    // MaxTimeMSExpired
    63,    // StaleShardVersion
    64,    // WriteConcernTimeout
    89,    // NetworkTimeout
    91,    // ShutdownInProgress
    112,   // WriteConflict
    133,   // FailedToSatisfyReadPreference
    134,   // ReadConcernMajorityNotAvailableYet
    150,   // StaleEpoch
    175,   // QueryPlanKilled
    189,   // PrimarySteppedDown
    202,   // NetworkInterfaceExceededTimeLimit
    211,   // KeyNotFound, while the keys of the cluster time are made
    234,   // RetryChangeStream
    237,   // CursorKilled
    246,   // SnapshotUnavailable
    251,   // NoSuchTransaction
    262,   // ExceededTimeLimit
    290,   // TransactionExceededLifetimeLimitSeconds
    391,   // ReauthenticationRequired
    462,   // IngressRequestRateLimitExceeded
    9001,  // SocketException
    10058, // LegacyNotPrimary
    10107, // NotWritablePrimary
    11600, // InterruptedAtShutdown
    11601, // Interrupted
    11602, // InterruptedDueToReplStateChange
    13435, // NotPrimaryNoSecondaryOk
    13436, // NotPrimaryOrSecondary
];

/// Labels by which server or driver say that the attempt may be repeated.
const TRANSIENT_LABELS: [&str; 4] =
    ["ResumableChangeStreamError", "RetryableWriteError", "TransientTransactionError", "RetryableError"];

/// What an error of MongoDB means for whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// No fitting server can be reached, or the connection broke.
    Unreachable,
    /// A server answered that it can not do it just now: no primary, shutting down, killed, too late.
    Interrupted,
    /// User or password are wrong, or the user does not exist.
    Authentication,
    /// The user lacks a permission.
    Unauthorized,
    /// A server refused, for a reason of its own; see [`DatabaseError::code`].
    Refused,
    /// The driver refused to send it, or could not read the reply.
    Client,
}

/// A failed operation on MongoDB. Its text holds host names, codes and names of errors, never a value of a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct DatabaseError {
    class: ErrorClass,
    code: Option<i32>,
    name: String,
    is_reply: bool,
    text: String,
}

impl DatabaseError {
    /// Keeps of a driver's error what may be told.
    pub fn new(error: &Error) -> Self {
        let (code, name) = code_and_name(error);
        let labelled = TRANSIENT_LABELS.iter().any(|label| error.contains_label(label));
        let class = match (error.kind.as_ref(), code) {
            // The server was asked to let us in while it shut down: that says nothing about the password.
            (ErrorKind::Authentication { .. }, Some(code)) if TRANSIENT_CODES.contains(&code) => {
                ErrorClass::Interrupted
            }
            (_, Some(18)) | (ErrorKind::Authentication { .. }, _) => ErrorClass::Authentication,
            (_, Some(13)) => ErrorClass::Unauthorized,
            (ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. }, _) => ErrorClass::Unreachable,
            (ErrorKind::ServerSelection { .. } | ErrorKind::DnsResolve { .. }, _) => ErrorClass::Unreachable,
            (_, Some(code)) if labelled || TRANSIENT_CODES.contains(&code) => ErrorClass::Interrupted,
            (_, Some(_)) => ErrorClass::Refused,
            (_, None) if labelled => ErrorClass::Interrupted,
            (_, None) => ErrorClass::Client,
        };
        let is_reply = matches!(error.kind.as_ref(), ErrorKind::InvalidResponse { .. } | ErrorKind::Bson(_));
        let text = text(error, code, &name);
        Self { class, code, name, is_reply, text }
    }

    /// An error of our own making, for a reply that does not hold what it must.
    pub fn unusable_reply(what: &'static str) -> Self {
        Self {
            class: ErrorClass::Client,
            code: None,
            name: String::new(),
            is_reply: true,
            text: format!("the reply of the server has no usable \"{what}\""),
        }
    }

    /// The first failure that the reply to a command of several writes tells of: such a command succeeds whatever becomes of them.
    pub fn of_writes(reply: &Document) -> Option<Self> {
        let writes = reply.get_array("writeErrors").ok().and_then(|errors| errors.first()?.as_document());
        let failure = writes.or_else(|| reply.get_document("writeConcernError").ok())?;
        let code = failure.get_i32("code").unwrap_or_default();
        let name = failure.get_str("codeName").unwrap_or_default().to_owned();
        let class = match code {
            18 => ErrorClass::Authentication,
            13 => ErrorClass::Unauthorized,
            code if TRANSIENT_CODES.contains(&code) => ErrorClass::Interrupted,
            _ => ErrorClass::Refused,
        };
        let text = match name.is_empty() {
            true => format!("server error {code}"),
            false => format!("server error {code} {name}"),
        };
        Some(Self { class, code: Some(code), name, is_reply: false, text })
    }

    /// What it means for whoever asked.
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// The server's error code, if a server refused.
    pub fn code(&self) -> Option<i32> {
        self.code
    }

    /// The server's name for its code; empty if it gave none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True if a reply arrived and could not be read.
    pub fn is_reply(&self) -> bool {
        self.is_reply
    }

    /// True if the same attempt may succeed later without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        match self.class {
            ErrorClass::Unreachable | ErrorClass::Interrupted => true,
            ErrorClass::Authentication | ErrorClass::Unauthorized | ErrorClass::Refused | ErrorClass::Client => false,
        }
    }
}

fn code_and_name(error: &Error) -> (Option<i32>, String) {
    let own = match error.kind.as_ref() {
        ErrorKind::Command(command) => Some((command.code, command.code_name.clone())),
        ErrorKind::Write(WriteFailure::WriteError(write)) => {
            Some((write.code, write.code_name.clone().unwrap_or_default()))
        }
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => Some((concern.code, concern.code_name.clone())),
        ErrorKind::InsertMany(many) => {
            let write = many.write_errors.as_ref().and_then(|errors| errors.first());
            let write = write.map(|write| (write.code, write.code_name.clone().unwrap_or_default()));
            write.or_else(|| many.write_concern_error.as_ref().map(|concern| (concern.code, concern.code_name.clone())))
        }
        ErrorKind::BulkWrite(bulk) => {
            let write = bulk.write_errors.values().next();
            write.map(|write| (write.code, write.code_name.clone().unwrap_or_default()))
        }
        _ => None,
    };
    // The driver boxes the cause, and what it gives is the box.
    let cause = std::error::Error::source(error).and_then(|source| match source.downcast_ref::<Box<Error>>() {
        Some(boxed) => Some(&**boxed),
        None => source.downcast_ref::<Error>(),
    });
    match (own, cause) {
        (Some((code, name)), _) => (Some(code), name),
        (None, Some(cause)) => code_and_name(cause),
        (None, None) => (None, String::new()),
    }
}

fn text(error: &Error, code: Option<i32>, name: &str) -> String {
    match (error.kind.as_ref(), code) {
        (ErrorKind::Authentication { .. }, Some(code)) if TRANSIENT_CODES.contains(&code) => {
            format!("server error {code} {name}")
        }
        (ErrorKind::Authentication { .. }, _) | (_, Some(18)) => "authentication failed".to_owned(),
        (ErrorKind::Io(io), _) => io.to_string(),
        (ErrorKind::ServerSelection { message, .. }, _) => server_selection(message),
        (ErrorKind::ConnectionPoolCleared { .. }, _) => {
            "the connection was closed because another one failed".to_owned()
        }
        (ErrorKind::DnsResolve { message, .. }, _) => format!("name resolution failed: {message}"),
        (ErrorKind::InvalidTlsConfig { message, .. }, _) => format!("the TLS settings can not be used: {message}"),
        (ErrorKind::IncompatibleServer { message, .. }, _) => message.clone(),
        (_, Some(code)) if name.is_empty() => format!("server error {code}"),
        (_, Some(code)) => format!("server error {code} {name}"),
        (ErrorKind::InvalidResponse { .. } | ErrorKind::Bson(_), None) => {
            "the reply of the server can not be read".to_owned()
        }
        (ErrorKind::Shutdown, None) => "the client was shut down".to_owned(),
        (_, None) => "the driver refused the operation".to_owned(),
    }
}

/// `Server selection timeout: No available servers. Topology: {..., Servers: [{ Address: a:1, ..., Error: Kind: I/O error:
/// Connection refused (os error 111), labels: {...} }]}` in readable form.
fn server_selection(message: &str) -> String {
    let servers: Vec<String> = message.split("Address: ").skip(1).filter_map(server).collect();
    if servers.is_empty() {
        return "no fitting server was found in time".to_owned();
    }
    format!("no fitting server was found in time ({})", servers.join("; "))
}

fn server(part: &str) -> Option<String> {
    let address = part.split([',', ' ', '}']).next().filter(|address| !address.is_empty())?;
    let error = part.split_once("Error: Kind: ").map(|(_, error)| error.split(", labels:").next().unwrap_or(error));
    let kind = part.split_once("Type: ").and_then(|(_, kind)| kind.split([',', ' ', '}']).next());
    Some(match (error, kind) {
        (Some(error), _) => format!("{address}: {}", error.strip_prefix("I/O error: ").unwrap_or(error)),
        (None, Some(kind)) => format!("{address}: {kind}"),
        (None, None) => address.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_selection_message_is_reduced_to_hosts_and_reasons() {
        let message = "Server selection timeout: No available servers. Topology: { Type: Unknown, Set Name: rs0, Servers: [ { \
                       Address: a.example:1, Type: Unknown, Error: Kind: I/O error: Connection refused (os error 111), labels: \
                       {}, source: None, server response: None }, { Address: b:2, Type: RsSecondary } ] }";
        assert_eq!(
            server_selection(message),
            "no fitting server was found in time (a.example:1: Connection refused (os error 111); b:2: RsSecondary)"
        );
        assert_eq!(server_selection("whatever"), "no fitting server was found in time");
    }

    #[test]
    fn a_broken_connection_is_unreachable_and_transient() {
        let error = Error::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        let error = DatabaseError::new(&error);
        assert_eq!(error.class(), ErrorClass::Unreachable);
        assert!(error.is_transient());
        assert_eq!(error.to_string(), "connection reset");
    }

    #[test]
    fn a_reply_to_several_writes_is_as_bad_as_the_first_that_failed() {
        use bson::doc;
        assert_eq!(DatabaseError::of_writes(&doc! {"ok": 1, "n": 3}), None);
        let late = doc! {"ok": 1, "writeConcernError": {"code": 64, "codeName": "WriteConcernTimeout", "errmsg": "x"}};
        let late = DatabaseError::of_writes(&late).unwrap();
        assert_eq!((late.is_transient(), late.to_string().as_str()), (true, "server error 64 WriteConcernTimeout"));
        let invalid = doc! {"ok": 1, "writeErrors": [{"index": 0, "code": 121, "errmsg": "a value"}]};
        let invalid = DatabaseError::of_writes(&invalid).unwrap();
        assert_eq!((invalid.class(), invalid.to_string().as_str()), (ErrorClass::Refused, "server error 121"));
    }

    #[test]
    fn an_error_of_the_driver_tells_nothing_of_its_content() {
        let error = DatabaseError::new(&Error::custom("a value"));
        assert_eq!(error.class(), ErrorClass::Client);
        assert!(!error.is_transient());
        assert_eq!(error.to_string(), "the driver refused the operation");
    }
}
