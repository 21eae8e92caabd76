//! The roots that are no documents of the database: `$.change`, `$.meta`, and `$` itself. One field of them is found without
//! building anything.

use std::cell::OnceCell;

use bson::raw::cstr;
use bson::{RawBsonRef, RawDocument, RawDocumentBuf};

use super::path::{Path, find};
use super::text;
use super::view::{Known, View};
use crate::change::Image;
use crate::event::Evidence;

/// The virtual documents of one change, built only if something asks for one as a whole.
#[derive(Default)]
pub(super) struct VirtualDocuments {
    change: OnceCell<RawDocumentBuf>,
    meta: OnceCell<RawDocumentBuf>,
    whole: OnceCell<RawDocumentBuf>,
    transaction: OnceCell<String>,
}

impl View<'_> {
    pub(super) fn about_change(&self, path: &Path) -> Known<'_> {
        let Some((first, rest)) = path.steps.split_first() else {
            return Known::Value(RawBsonRef::Document(
                self.virtual_documents.change.get_or_init(|| self.build_about_change()),
            ));
        };
        Known::of(self.change_field(&first.text).and_then(|value| find(value, rest)))
    }

    fn change_field(&self, name: &str) -> Option<RawBsonRef<'_>> {
        let description = self.change.description.as_ref();
        match name {
            "operation" => Some(RawBsonRef::String(self.change.operation.as_str())),
            "database" => Some(RawBsonRef::String(self.change.database)),
            "collection" => Some(RawBsonRef::String(self.change.collection)),
            "updated" => description.map(|description| RawBsonRef::Document(description.updated)),
            "removed" => description.map(|description| RawBsonRef::Array(description.removed)),
            "truncated" => description.and_then(|description| description.truncated).map(RawBsonRef::Array),
            _ => None,
        }
    }

    pub(super) fn about_meta(&self, path: &Path) -> Known<'_> {
        let Some((first, rest)) = path.steps.split_first() else {
            return Known::Value(RawBsonRef::Document(
                self.virtual_documents.meta.get_or_init(|| self.build_about_meta()),
            ));
        };
        Known::of(self.meta_field(&first.text).and_then(|value| find(value, rest)))
    }

    fn meta_field(&self, name: &str) -> Option<RawBsonRef<'_>> {
        match name {
            "clusterTime" => Some(RawBsonRef::Timestamp(self.change.cluster_time.into())),
            "wallTime" => self.change.wall_time.map(RawBsonRef::DateTime),
            "transaction" => self.transaction().map(RawBsonRef::String),
            "source" => Some(RawBsonRef::String(if self.change.token.is_some() { "change_stream" } else { "oplog" })),
            "evidence" => Some(RawBsonRef::String(self.evidence_at_hand().as_str())),
            _ => None,
        }
    }

    /// The change's transaction as text: `<logical session>:<number>`.
    pub(super) fn transaction(&self) -> Option<&str> {
        let transaction = self.change.transaction.as_ref()?;
        Some(self.virtual_documents.transaction.get_or_init(|| text::transaction(transaction)))
    }

    /// How well the change as a whole is known.
    pub(super) fn evidence_at_hand(&self) -> Evidence {
        match (self.change.before, self.change.after) {
            (_, Image::LookedUp(_)) | (Image::LookedUp(_), _) => Evidence::LookUp,
            (Image::Unknown, _) | (_, Image::Unknown) => Evidence::Delta,
            _ => Evidence::Exact,
        }
    }

    fn build_about_change(&self) -> RawDocumentBuf {
        let mut document = RawDocumentBuf::new();
        let names = [
            cstr!("operation"),
            cstr!("database"),
            cstr!("collection"),
            cstr!("updated"),
            cstr!("removed"),
            cstr!("truncated"),
        ];
        for name in names {
            if let Some(value) = self.change_field(name.as_str()) {
                document.append(name, value);
            }
        }
        document
    }

    fn build_about_meta(&self) -> RawDocumentBuf {
        let mut document = RawDocumentBuf::new();
        for name in [cstr!("clusterTime"), cstr!("wallTime"), cstr!("transaction"), cstr!("source"), cstr!("evidence")]
        {
            if let Some(value) = self.meta_field(name.as_str()) {
                document.append(name, value);
            }
        }
        document
    }

    /// `$.meta` of the change's transaction, whose members are known so well.
    pub(super) fn about_transaction(&self, evidence: Evidence) -> RawDocumentBuf {
        let mut document = RawDocumentBuf::new();
        for name in [cstr!("clusterTime"), cstr!("wallTime"), cstr!("transaction"), cstr!("source")] {
            if let Some(value) = self.meta_field(name.as_str()) {
                document.append(name, value);
            }
        }
        document.append(cstr!("evidence"), evidence.as_str());
        document
    }

    /// Every root together.
    pub(super) fn whole(&self) -> &RawDocument {
        self.virtual_documents.whole.get_or_init(|| self.build_whole())
    }

    fn build_whole(&self) -> RawDocumentBuf {
        let mut document = RawDocumentBuf::new();
        for (name, image) in [(cstr!("before"), self.change.before), (cstr!("after"), self.change.after)] {
            if let Image::Exact(image) | Image::LookedUp(image) = image {
                document.append(name, image);
            }
        }
        document.append(cstr!("key"), self.change.key);
        document.append(cstr!("change"), self.build_about_change());
        document.append(cstr!("meta"), self.build_about_meta());
        if let Some(element) = &self.element {
            for (name, value) in [(cstr!("item"), element.item), (cstr!("itemBefore"), element.before)] {
                if let Known::Value(value) = value {
                    document.append(name, value);
                }
            }
            document.append(cstr!("index"), element.index_value());
        }
        document
    }
}
