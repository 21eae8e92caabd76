//! Whole lines, whatever fails; old files; when the disk is waited for.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::super::envelope::EnvelopeSettings;
use super::super::samples::event;
use super::*;
use crate::failure::Disposition;
use crate::quantity::ByteCount;

fn settings(path: &Path) -> FileSettings {
    FileSettings {
        path: path.to_owned(),
        json: JsonFormat::default(),
        fsync: FileSync::default(),
        rotate: RotationSettings::default(),
    }
}

fn sink(settings: &FileSettings) -> FileSink {
    FileSink::new("facts", settings, &Envelope::new(&EnvelopeSettings::default(), "shop"))
}

fn events(numbers: std::ops::Range<u32>) -> Vec<Arc<Event>> {
    numbers.map(|number| Arc::new(event(number))).collect()
}

/// The subjects of the events in a file; panics if a line is not whole.
fn subjects(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("readable");
    assert!(text.is_empty() || text.ends_with('\n'), "a half line: {text}");
    let subject = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        event["subject"].as_str().expect("a subject").to_owned()
    };
    text.lines().map(subject).collect()
}

fn old_files(folder: &TempDir) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.path()).expect("a folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| name != "events.jsonl"));
    paths.sort();
    paths
}

#[tokio::test]
async fn a_half_line_that_a_crash_left_is_cut_off_and_whole_lines_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.jsonl");
    let mut first = sink(&settings(&path));
    first.deliver(&events(0..3)).await.expect("delivered");
    first.close().await.expect("closed");
    let whole = std::fs::read(&path).expect("readable");
    // Half lines of all lengths around the steps in which the end of the file is read.
    for length in [1, 100, 65_535, 65_536, 65_537, 200_000] {
        let half = [b"{\"specversion\":\"".as_slice(), &vec![b'x'; length]].concat();
        std::fs::write(&path, [whole.as_slice(), &half].concat()).expect("written");
        let mut second = sink(&settings(&path));
        second.open().await.expect("opened");
        assert_eq!(std::fs::read(&path).expect("readable"), whole, "{length}");
    }
    std::fs::write(&path, b"{\"half").expect("written");
    let mut third = sink(&settings(&path));
    third.deliver(&events(5..6)).await.expect("delivered");
    assert_eq!(subjects(&path), ["order/5"]);
}

#[tokio::test]
async fn a_whole_last_line_without_its_line_break_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.jsonl");
    std::fs::write(&path, r#"{"subject":"by hand"}"#).expect("written");
    let mut sink = sink(&settings(&path));
    sink.deliver(&events(1..2)).await.expect("delivered");
    assert_eq!(subjects(&path), ["by hand", "order/1"]);
}

#[tokio::test]
async fn a_delivery_that_is_given_up_half_way_leaves_no_repeat_and_no_half_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.jsonl");
    let mut file = LineFile::open(&path).await.expect("opened");
    file.append(b"1\n", true).await.expect("written");
    {
        let lines = vec![b'2'; 8 << 20];
        let mut append = Box::pin(file.append(&lines, true));
        // Polled once: the write has begun on another thread, and nobody waits for it any more.
        let waker = futures_util::task::noop_waker();
        let _ = append.as_mut().poll(&mut std::task::Context::from_waker(&waker));
    }
    file.append(b"3\n", true).await.expect("written");
    assert_eq!(std::fs::read_to_string(&path).expect("readable"), "1\n3\n");
}

#[tokio::test]
async fn the_disk_is_waited_for_as_the_policy_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let unsynced = async |fsync: FileSync| {
        let path = folder.path().join("events.jsonl");
        let _ = std::fs::remove_file(&path);
        let mut sink = sink(&FileSettings { fsync, ..settings(&path) });
        let mut unsynced = Vec::new();
        for number in 0..3 {
            sink.deliver(&events(number..number + 1)).await.expect("delivered");
            let file = sink.file.as_ref().expect("open");
            unsynced.push(file.length() > file.synced_length());
        }
        unsynced
    };
    assert_eq!(unsynced(FileSync::Batch).await, [false, false, false]);
    assert_eq!(unsynced(FileSync::Every(Period::seconds(3600))).await, [false, true, true]);
    assert_eq!(unsynced(FileSync::Every(Period(Duration::ZERO))).await, [false, false, false]);
    assert_eq!(unsynced(FileSync::Never).await, [true, true, true]);
}

#[tokio::test]
async fn a_file_that_has_reached_its_size_is_put_aside_and_the_oldest_are_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.jsonl");
    let rotate = RotationSettings { size: Some(ByteCount(1)), age: None, keep: Some(2) };
    let mut sink = sink(&FileSettings { rotate, ..settings(&path) });
    for number in 0..5 {
        sink.deliver(&events(number..number + 1)).await.expect("delivered");
    }
    assert_eq!(subjects(&path), ["order/4"]);
    let old: Vec<Vec<String>> = old_files(&folder).iter().map(|path| subjects(path)).collect();
    assert_eq!(old, [["order/2"], ["order/3"]]);
}

#[tokio::test]
async fn a_file_that_is_old_enough_is_put_aside_and_an_empty_one_never() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.jsonl");
    let rotate = RotationSettings { size: None, age: Some(Period(Duration::ZERO)), keep: None };
    let mut sink = sink(&FileSettings { rotate, ..settings(&path) });
    sink.open().await.expect("opened");
    sink.open().await.expect("opened");
    assert_eq!(old_files(&folder).len(), 0);
    sink.deliver(&events(0..1)).await.expect("delivered");
    sink.deliver(&events(1..2)).await.expect("delivered");
    assert_eq!((subjects(&path), old_files(&folder).len()), (vec!["order/1".to_owned()], 1));
}

#[tokio::test]
async fn a_full_disk_is_waited_for() {
    let mut sink = sink(&settings(Path::new("/dev/full")));
    let failure = sink.deliver(&events(0..3)).await.expect_err("no space");
    assert_eq!((failure.delivered, failure.error.disposition()), (0, Disposition::Retry));
    assert_eq!(failure.error.to_string(), "the sink \"facts\" is not available: no space is left for /dev/full");
}

#[tokio::test]
async fn a_path_that_can_not_be_written_to_stops_with_the_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing").join("events.jsonl");
    for (path, reason) in [(missing.as_path(), "does not exist"), (folder.path(), "is a folder")] {
        let error = sink(&settings(path)).open().await.expect_err("not a file");
        assert_eq!(error.disposition(), Disposition::Stop);
        assert!(error.to_string().contains(reason) && error.to_string().contains("help: "), "{error}");
    }
    for kind in [std::io::ErrorKind::ReadOnlyFilesystem, std::io::ErrorKind::PermissionDenied] {
        let error = FileFault::from(std::io::Error::from(kind)).of_sink("facts", folder.path());
        assert_eq!(error.disposition(), Disposition::Stop, "{error}");
    }
}

#[tokio::test]
async fn two_sinks_never_write_to_one_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.jsonl");
    let mut first = sink(&settings(&path));
    first.open().await.expect("opened");
    let error = sink(&settings(&path)).open().await.expect_err("locked");
    assert!(error.to_string().contains("another process writes to"), "{error}");
    first.close().await.expect("closed");
    sink(&settings(&path)).open().await.expect("free again");
}

#[tokio::test]
async fn events_before_a_rejected_one_are_written_and_those_after_it_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.jsonl");
    let mut sink = sink(&settings(&path));
    let mut batch = events(0..4);
    let mut broken = event(2);
    broken.data =
        bson::RawDocumentBuf::from_bytes(vec![12, 0, 0, 0, 2, b'a', 0, 99, 0, 0, 0, 0]).expect("right length");
    batch[2] = Arc::new(broken);
    let failure = sink.deliver(&batch).await.expect_err("rejected");
    assert_eq!((failure.delivered, failure.error.disposition()), (2, Disposition::Reject));
    sink.deliver(&batch[3..]).await.expect("delivered");
    assert_eq!(subjects(&path), ["order/0", "order/1", "order/3"]);
}
