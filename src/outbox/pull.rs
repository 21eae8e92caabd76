//! Takes elements that have been relayed out of the arrays of business documents.

use std::collections::HashMap;

use bson::{Bson, Document, RawDocumentBuf, doc};

use crate::explicit::Done;

/// The updates that take out these elements: one for each document, in the order in which they come first.
///
/// A document that has no such array any more is left alone.
pub(super) fn updates(path: &str, id_fields: &[String], done: &[&Done]) -> Vec<Document> {
    let mut documents: Vec<(Bson, Vec<Bson>)> = Vec::new();
    let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
    for one in done {
        let (document, element) = (Bson::try_from(one.document.clone()), one.element.clone().map(Bson::try_from));
        let (Ok(document), Some(Ok(element))) = (document, element) else { continue };
        let mut key = RawDocumentBuf::new();
        key.append(bson::cstr!("_id"), one.document.clone());
        let place = *places.entry(key.into_bytes()).or_insert_with(|| {
            documents.push((document, Vec::new()));
            documents.len() - 1
        });
        if let Some((_, elements)) = documents.get_mut(place) {
            elements.push(element);
        }
    }
    let update = |(document, elements): (Bson, Vec<Bson>)| {
        doc! {
            "q": {"_id": document, path: {"$type": "array"}},
            "u": {"$pull": {path: with_ids(id_fields, &elements)}},
            "multi": false,
        }
    };
    documents.into_iter().map(update).collect()
}

/// Selects the elements with these ids. The id of an element is in the first of the fields that holds more than nothing.
fn with_ids(id_fields: &[String], ids: &[Bson]) -> Document {
    let alternative = |place: usize| {
        let mut alternative = Document::new();
        for before in &id_fields[..place] {
            alternative.insert(before.clone(), doc! {"$in": [Bson::Null, ""]});
        }
        alternative.insert(id_fields[place].clone(), doc! {"$in": ids});
        alternative
    };
    let mut alternatives: Vec<Document> = (0..id_fields.len()).map(alternative).collect();
    match alternatives.len() {
        1 => alternatives.remove(0),
        _ => doc! {"$or": alternatives},
    }
}

#[cfg(test)]
mod tests {
    use bson::RawBson;

    use super::*;

    #[test]
    fn the_elements_of_one_document_are_taken_out_by_one_update() {
        let done = |document: i32, element: &str| Done {
            relay: 0,
            document: RawBson::Int32(document),
            element: Some(RawBson::String(element.to_owned())),
        };
        let done = [done(7, "a"), done(8, "b"), done(7, "c")];
        let done: Vec<&Done> = done.iter().collect();
        let update = |document: i32, ids: &[&str]| {
            doc! {
                "q": {"_id": document, "meta.events": {"$type": "array"}},
                "u": {"$pull": {"meta.events": {"id": {"$in": ids}}}},
                "multi": false,
            }
        };
        let ids = ["id".to_owned()];
        assert_eq!(updates("meta.events", &ids, &done), [update(7, &["a", "c"]), update(8, &["b"])]);
    }

    #[test]
    fn of_several_fields_for_the_id_the_first_that_is_there_counts() {
        let fields = ["id".to_owned(), "_id".to_owned()];
        let wanted = doc! {"$or": [
            {"id": {"$in": [1]}},
            {"id": {"$in": [Bson::Null, ""]}, "_id": {"$in": [1]}},
        ]};
        assert_eq!(with_ids(&fields, &[Bson::Int32(1)]), wanted);
    }
}
