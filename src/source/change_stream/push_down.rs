//! What the rules can do without, as stages of the server's pipeline.
//!
//! All figures were measured on MongoDB 6.0 with updates of documents of 1.6 KB, as CPU of the server per change:
//! - A filter on the operation, or on the value that an update gives to a top-level field, is evaluated on the oplog, before
//!   an event is made (source: `change_stream_rewrite_helpers.cpp` of MongoDB). A change left out saves 4 us of 9, or 26 of 34
//!   with both images, which are then not fetched.
//! - A filter on the fields that an update touches, at any depth, is an expression on the finished event: it costs every change
//!   5 us and saves 26 us where images are fetched. Without images it would cost more than it saves, and is not used.
//! - A projection costs 1 us, and with images nothing measurable; it cut the bytes of such an event from 3.9 KB to 0.5 KB.
//! - With relays, every insert and replacement passes, and updates also where a relay reads them. To take apart by namespace what
//!   rules and what relays read cost every change 2 to 7 us of 18, in transactions and outside, and saves only deletes and what no
//!   rule asked for. A relay reads whole documents, and so there is no projection: one for each collection would be an expression
//!   that builds every document anew.
//! - Cutting an update's description to the fields that are read costs 1 us, and 3 us where it is done: only past 1 KB.

use bson::{Bson, Document, doc};

use super::scope::{FILTERED_NAMESPACES_MAX, document_of};
use crate::explicit::{RelayReads, UpdatesRead};
use crate::rules::ast::Operations;
use crate::rules::{ImageNeeds, PushDown, TouchedField};

/// What ends a stream or renames a collection must come through.
const NOTICES: [&str; 4] = ["drop", "rename", "dropDatabase", "invalidate"];

/// A description of fewer bytes is not worth being cut.
const DESCRIPTION_BYTES_MIN: i32 = 1_024;

/// What we read of a change beside its documents and its description. The resume token, `_id`, is always kept.
const READ: [&str; 7] = ["operationType", "ns", "documentKey", "clusterTime", "wallTime", "lsid", "txnNumber"];

/// The stages that leave out what neither rules nor relays read; none if that is not worth it. They never touch the resume token.
pub(super) fn stages(push_down: &PushDown, relays: &[RelayReads], images: ImageNeeds) -> Vec<Document> {
    let (filter, projection) = match relays {
        [] => (filter(push_down, images), projection(push_down, images)),
        relays if relays.len() <= FILTERED_NAMESPACES_MAX => (filter_with_relays(push_down, relays, images), None),
        // So many namespaces cost more to tell apart than their changes cost.
        _ => {
            let deletes = relays.iter().any(|relay| relay.deletes);
            let operations = Operations { insert: true, update: true, delete: push_down.operations.delete || deletes };
            (filter(&PushDown { operations, ..PushDown::NOTHING }, images), None)
        }
    };
    let filter = filter.map(|filter| doc! {"$match": filter});
    filter.into_iter().chain(projection.map(|projection| doc! {"$project": projection})).collect()
}

/// What passes for rules or for relays. Every insert and every replacement does: to ask of each to which collection it belongs would
/// cost more than to send those that nobody asked for.
fn filter_with_relays(push_down: &PushDown, relays: &[RelayReads], images: ImageNeeds) -> Option<Document> {
    let Operations { update, delete, .. } = push_down.operations;
    let touched = push_down.touched.as_ref().filter(|_| update).and_then(|touched| touches(touched, images));
    let deletes = delete || relays.iter().any(|relay| relay.deletes);
    let mut words = NOTICES.to_vec();
    words.extend(["insert", "replace"]);
    words.extend(deletes.then_some("delete"));
    if update && touched.is_none() {
        words.push("update");
        return (!deletes).then(|| doc! {"operationType": {"$in": words}});
    }
    let mut any = vec![doc! {"operationType": {"$in": words}}];
    any.extend(touched.into_iter().flatten());
    for RelayReads { collection, updates, .. } in relays {
        let mut condition = match updates {
            UpdatesRead::All => Document::new(),
            UpdatesRead::NotSetting(field) => {
                doc! {format!("updateDescription.updatedFields.{field}"): {"$exists": false}}
            }
            UpdatesRead::Touching(path) => doc! {"$expr": touches_at_any_depth(&[UpdatesRead::top_level(path)])},
        };
        condition.insert("operationType", "update");
        condition.insert("ns", document_of(collection));
        any.push(condition);
    }
    Some(doc! {"$or": any})
}

fn filter(push_down: &PushDown, images: ImageNeeds) -> Option<Document> {
    let operations = push_down.operations;
    let touched = push_down.touched.as_ref().filter(|_| operations.update);
    let touched = touched.and_then(|touched| touches(touched, images));
    if touched.is_none() && operations.insert && operations.update && operations.delete {
        return None;
    }
    let mut passing: Vec<&str> = NOTICES.to_vec();
    let words = [("insert", operations.insert), ("replace", operations.update), ("delete", operations.delete)];
    passing.extend(words.into_iter().filter(|(_, is_taken)| *is_taken).map(|(word, _)| word));
    let Some(touched) = touched else {
        passing.extend(operations.update.then_some("update"));
        return Some(doc! {"operationType": {"$in": passing}});
    };
    let mut any = vec![doc! {"operationType": {"$in": passing}}];
    any.extend(touched);
    Some(doc! {"$or": any})
}

/// The conditions of which an update must meet one; nothing if they cost more than they save.
fn touches(touched: &[TouchedField], images: ImageNeeds) -> Option<Vec<Document>> {
    let mut conditions = Vec::new();
    let mut at_any_depth: Vec<&str> = Vec::new();
    for TouchedField { name, values } in touched {
        match values {
            // Where something is written below the field, it gets no plain value.
            Some(values) => {
                conditions.push(doc! {format!("updateDescription.updatedFields.{name}"): {"$in": values.clone()}})
            }
            None => at_any_depth.push(name),
        }
    }
    if !at_any_depth.is_empty() {
        if images == ImageNeeds::default() {
            return None;
        }
        conditions.push(doc! {"$expr": touches_at_any_depth(&at_any_depth)});
    }
    Some(conditions)
}

fn touches_at_any_depth(fields: &[&str]) -> Document {
    let description = |part: &str| format!("$updateDescription.{part}");
    let each = |input: Bson, part: &str| doc! {"$map": {"input": input, "in": format!("$$this.{part}")}};
    let or_none = |part: &str| Bson::from(doc! {"$ifNull": [description(part), []]});
    let updated = doc! {"$objectToArray": {"$ifNull": [description("updatedFields"), {}]}};
    let names = doc! {"$concatArrays": [
        each(updated.into(), "k"),
        or_none("removedFields"),
        each(or_none("truncatedArrays"), "field"),
    ]};
    doc! {"$anyElementTrue": [{"$map": {"input": names, "in": {"$in": [first_step("$$this"), {"$literal": fields}]}}}]}
}

/// What stands before the first dot.
fn first_step(name: &str) -> Document {
    doc! {"$arrayElemAt": [{"$split": [name, "."]}, 0]}
}

fn projection(push_down: &PushDown, images: ImageNeeds) -> Option<Document> {
    // Without images, only inserts and replacements bring a document along.
    if images == ImageNeeds::default() && !push_down.operations.insert {
        return None;
    }
    let fields = push_down.fields.as_ref()?;
    let mut projection: Document = READ.into_iter().map(|field| (field.to_owned(), Bson::Int32(1))).collect();
    for image in ["fullDocument", "fullDocumentBeforeChange"] {
        projection.extend(fields.iter().map(|field| (format!("{image}.{field}"), Bson::Int32(1))));
    }
    let description = match push_down.reads_description {
        true => Bson::Int32(1),
        false => Bson::from(description_of(fields)),
    };
    projection.insert("updateDescription", description);
    Some(projection)
}

/// The description without what it says of other fields, if it is large.
fn description_of(fields: &[String]) -> Document {
    const WHOLE: &str = "$updateDescription";
    let updated = doc! {"$arrayToObject": {"$filter": {
        "input": {"$objectToArray": "$updateDescription.updatedFields"},
        "cond": {"$in": [first_step("$$this.k"), {"$literal": fields}]},
    }}};
    let cut = doc! {
        "updatedFields": updated,
        "removedFields": "$updateDescription.removedFields",
        "truncatedArrays": "$updateDescription.truncatedArrays",
        "disambiguatedPaths": "$updateDescription.disambiguatedPaths",
    };
    doc! {"$cond": [{"$gt": [{"$bsonSize": WHOLE}, DESCRIPTION_BYTES_MIN]}, cut, WHOLE]}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::Namespace;

    const BOTH: ImageNeeds = ImageNeeds { before: true, after: true };
    const NONE: ImageNeeds = ImageNeeds { before: false, after: false };

    fn on_update(touched: Vec<TouchedField>) -> PushDown {
        PushDown {
            operations: Operations { update: true, ..Operations::default() },
            touched: Some(touched),
            ..PushDown::NOTHING
        }
    }

    fn field(name: &str, values: Option<Vec<Bson>>) -> TouchedField {
        TouchedField { name: name.to_owned(), values }
    }

    #[test]
    fn nothing_is_left_out_where_rules_take_everything() {
        assert_eq!(stages(&PushDown::NOTHING, &[], BOTH), Vec::<Document>::new());
    }

    #[test]
    fn operations_that_no_rule_takes_are_left_out_and_notices_never() {
        let push_down =
            PushDown { operations: Operations { delete: true, ..Operations::default() }, ..PushDown::NOTHING };
        let wanted =
            doc! {"$match": {"operationType": {"$in": ["drop", "rename", "dropDatabase", "invalidate", "delete"]}}};
        assert_eq!(stages(&push_down, &[], NONE), [wanted]);
    }

    #[test]
    fn a_value_is_filtered_always_and_a_touched_field_only_where_images_are_fetched() {
        let paid = || field("status", Some(vec!["paid".into()]));
        let value = doc! {"updateDescription.updatedFields.status": {"$in": ["paid"]}};
        let conditions = |touched: Vec<TouchedField>, images| {
            let stages = stages(&on_update(touched), &[], images);
            stages[0].get_document("$match").unwrap().get_array("$or").ok().cloned()
        };
        let any = conditions(vec![paid()], NONE).unwrap();
        assert!(any[0].to_string().contains("replace") && !any[0].to_string().contains("\"update\""));
        assert_eq!(any[1..], [value.clone().into()]);
        assert_eq!(conditions(vec![paid(), field("total", None)], NONE), None);
        let any = conditions(vec![paid(), field("total", None)], BOTH).unwrap();
        assert_eq!(any[1], value.into());
        assert!(any[2].to_string().contains("$expr") && any.len() == 3);
    }

    fn relay(name: &str, updates: UpdatesRead) -> RelayReads {
        RelayReads { collection: Namespace::parse(name).expect("a namespace"), is_alone: true, updates, deletes: false }
    }

    #[test]
    fn every_insert_passes_for_relays_and_updates_where_a_relay_reads_them() {
        let deletes = Operations { delete: true, ..Operations::default() };
        let push_down = PushDown { operations: deletes, fields: Some(vec!["_id".to_owned()]), ..PushDown::NOTHING };
        let outbox = relay("shop.outbox", UpdatesRead::All);
        let marked = relay("shop.marked", UpdatesRead::NotSetting("relayedAt".to_owned()));
        let embedded = relay("shop.orders", UpdatesRead::Touching("_events".to_owned()));
        let stages_of = |push_down: &PushDown, relays: &[RelayReads]| stages(push_down, relays, BOTH);
        let words = |more: &[&str]| {
            let common = ["drop", "rename", "dropDatabase", "invalidate", "insert", "replace"];
            let all = [&common, more].concat();
            doc! {"operationType": {"$in": all}}
        };
        let of_outbox = || doc! {"operationType": "update", "ns": {"db": "shop", "coll": "outbox"}};
        let expected = doc! {"$match": {"$or": [
            words(&["delete"]),
            of_outbox(),
            {
                "updateDescription.updatedFields.relayedAt": {"$exists": false}, "operationType": "update",
                "ns": {"db": "shop", "coll": "marked"},
            },
        ]}};
        assert_eq!(stages_of(&push_down, &[outbox.clone(), marked]), [expected]);
        let no_rules = PushDown { operations: Operations::default(), ..push_down.clone() };
        let one = std::slice::from_ref(&outbox);
        assert_eq!(stages_of(&no_rules, one), [doc! {"$match": {"$or": [words(&[]), of_outbox()]}}]);
        let store = RelayReads { deletes: true, ..outbox.clone() };
        assert_eq!(stages_of(&no_rules, &[store]), [doc! {"$match": {"$or": [words(&["delete"]), of_outbox()]}}]);
        let paid = on_update(vec![field("status", Some(vec!["paid".into()]))]);
        let of_rules = doc! {"updateDescription.updatedFields.status": {"$in": ["paid"]}};
        assert_eq!(stages_of(&paid, one), [doc! {"$match": {"$or": [words(&[]), of_rules, of_outbox()]}}]);
        let any_update = PushDown { touched: None, ..paid };
        assert_eq!(stages_of(&any_update, one), [doc! {"$match": words(&["update"])}]);
        let with_embedded = stages_of(&push_down, std::slice::from_ref(&embedded));
        assert!(with_embedded[0].to_string().contains("_events") && with_embedded.len() == 1, "{with_embedded:?}");
        assert_eq!(stages_of(&PushDown::NOTHING, &[embedded]), Vec::<Document>::new(), "rules take everything");
        let many: Vec<RelayReads> = (0..9).map(|_| outbox.clone()).collect();
        assert_eq!(stages_of(&no_rules, &many), [doc! {"$match": words(&["update"])}]);
    }

    #[test]
    fn a_projection_keeps_what_is_read_and_never_names_the_token() {
        let push_down = PushDown { fields: Some(vec!["_id".to_owned(), "total".to_owned()]), ..PushDown::NOTHING };
        let stages = stages(&push_down, &[], BOTH);
        let projection = stages[0].get_document("$project").unwrap();
        assert!(
            projection.contains_key("fullDocument.total") && projection.contains_key("fullDocumentBeforeChange._id")
        );
        assert!(!projection.contains_key("_id") && projection.get_i32("updateDescription").is_ok());
    }
}
