//! A change as a test writes it, turned into the document that a change stream would send (form: MongoDB manual, "Change
//! events").

use bson::{Bson, DateTime, Document, RawDocumentBuf, Timestamp, doc};

use super::difference;
use crate::change::Operation;

/// The time of the first change of a test; every further one is a second later. Fixed, so that a test gives the same every day.
const FIRST_SECOND: u32 = 1_767_225_600; // 2026-01-01T00:00:00Z

/// A change as a test writes it.
#[derive(Clone, Debug)]
pub struct WrittenChange {
    /// What happens to the document.
    pub operation: Operation,
    /// The database of the document.
    pub database: String,
    /// The collection of the document.
    pub collection: String,
    /// The document key.
    pub key: Document,
    /// The document before the change, where it is known.
    pub before: Option<Document>,
    /// The document after the change, where it is known.
    pub after: Option<Document>,
    /// What an update says of itself; computed from before and after where it is absent.
    pub description: Option<WrittenDescription>,
}

/// What an update says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenDescription {
    /// Path to new value.
    pub updated: Document,
    /// Paths of removed fields.
    pub removed: Vec<String>,
    /// Path of an array to its new size.
    pub truncated: Vec<(String, i32)>,
    /// Path to its steps, where dots or digits in names make a path ambiguous.
    pub disambiguated: Document,
}

impl WrittenChange {
    /// The change document. `index` counts the changes of the test from 0; in a transaction they share one cluster time.
    ///
    /// # Errors
    ///
    /// If the documents are no valid BSON, for example because a name holds a zero byte.
    pub fn encode(&self, index: u32, in_transaction: bool) -> Result<RawDocumentBuf, bson::error::Error> {
        let (time_index, operation_index) = if in_transaction { (0, index) } else { (index, 0) };
        let seconds = FIRST_SECOND + time_index;
        let mut document = doc! {
            "_id": {"_data": token(seconds, operation_index)},
            "operationType": self.operation.as_str(),
            "clusterTime": Timestamp { time: seconds, increment: 1 },
            "wallTime": DateTime::from_millis(i64::from(seconds) * 1_000),
            "ns": {"db": &self.database, "coll": &self.collection},
            "documentKey": &self.key,
        };
        if let Some(after) = &self.after {
            document.insert("fullDocument", after);
        }
        if let Some(before) = &self.before {
            document.insert("fullDocumentBeforeChange", before);
        }
        if self.operation == Operation::Update {
            let description = self.description.clone().unwrap_or_else(|| self.computed_description());
            document.insert("updateDescription", description.into_document());
        }
        if in_transaction {
            document.insert("lsid", doc! {"id": bson::Uuid::from_bytes([7; 16]), "uid": Bson::Null});
            document.insert("txnNumber", 1_i64);
        }
        RawDocumentBuf::try_from(&document)
    }

    fn computed_description(&self) -> WrittenDescription {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => difference::between(before, after),
            _ => WrittenDescription::default(),
        }
    }
}

impl WrittenDescription {
    fn into_document(self) -> Document {
        let truncated =
            self.truncated.into_iter().map(|(field, size)| Bson::from(doc! {"field": field, "newSize": size}));
        let mut document = doc! {
            "updatedFields": self.updated,
            "removedFields": self.removed,
            "truncatedArrays": truncated.collect::<Vec<_>>(),
        };
        if !self.disambiguated.is_empty() {
            document.insert("disambiguatedPaths", self.disambiguated);
        }
        document
    }
}

/// A resume token of version 1, as far as anything reads it: cluster time and index in the transaction.
fn token(seconds: u32, operation_index: u32) -> String {
    let index = match operation_index {
        0 => "29".to_owned(),
        index if index < 128 => format!("2B{:02X}", index * 2),
        index => format!("2D{:06X}", index * 2),
    };
    format!("82{seconds:08X}000000012B022C0100{index}6E")
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::change::{Batch, Entry, Image};

    #[test]
    fn a_written_change_reads_like_one_of_a_change_stream() {
        let written = WrittenChange {
            operation: Operation::Update,
            database: "shop".to_owned(),
            collection: "orders".to_owned(),
            key: doc! {"_id": 1},
            before: Some(doc! {"_id": 1, "status": "pending"}),
            after: Some(doc! {"_id": 1, "status": "paid"}),
            description: None,
        };
        for (index, in_transaction, operation_index) in [(0, false, 0), (3, false, 0), (3, true, 3), (300, true, 300)] {
            let document = written.encode(index, in_transaction).unwrap();
            let batch = Batch::from_documents([document.as_ref()], None);
            let Ok(Entry::Change(change)) = batch.entries().next().unwrap() else { panic!("no change") };
            assert_eq!(change.operation_index, operation_index);
            assert_eq!(change.transaction.is_some(), in_transaction);
            assert_eq!(change.id().and_then(|id| id.as_i32()), Some(1));
            assert!(matches!((change.before, change.after), (Image::Exact(_), Image::Exact(_))));
            let description = change.description.unwrap();
            assert_eq!(description.updated, rawdoc! {"status": "paid"}.as_ref());
            assert!(description.removed.is_empty() && description.truncated.is_none());
        }
    }

    #[test]
    fn what_is_not_written_is_not_known() {
        let written = WrittenChange {
            operation: Operation::Delete,
            database: "shop".to_owned(),
            collection: "orders".to_owned(),
            key: doc! {"_id": 1},
            before: None,
            after: None,
            description: None,
        };
        let document = written.encode(0, false).unwrap();
        let batch = Batch::from_documents([document.as_ref()], None);
        let Ok(Entry::Change(change)) = batch.entries().next().unwrap() else { panic!("no change") };
        assert!(matches!((change.before, change.after), (Image::Unknown, Image::Absent)));
    }
}
