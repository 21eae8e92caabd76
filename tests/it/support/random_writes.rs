//! Random writes with every kind of update that MongoDB knows, alone and in transactions.

use bson::{Bson, Document, bson, doc};
use mongodb::options::UpdateModifications;
use mongodb::{Client, ClientSession, Collection, Database};

use super::chance::Chance;

/// Top-level fields of the documents; one of them has a dot in its name.
pub const FIELDS: [&str; 6] = ["s", "n", "o", "a", "e", "t"];
/// The collections that are written to. The last keeps no images.
pub const COLLECTIONS: [&str; 4] = ["one", "two", "three", "plain"];
/// Documents of each collection.
const IDS: usize = 6;

/// Makes the collections in a database.
pub async fn prepare(database: &Database) {
    for name in COLLECTIONS {
        let images = doc! {"enabled": name != "plain"};
        database.run_command(doc! {"create": name, "changeStreamPreAndPostImages": images}).await.expect("it is new");
    }
}

/// Writes, one write in six as a transaction of several.
pub async fn write(client: &Client, database: &Database, chance: &mut Chance, count: usize) {
    let mut session = client.start_session().await.expect("a replica set has sessions");
    for _ in 0..count {
        if !chance.happens(16) {
            one(database, chance, None).await;
            continue;
        }
        session.start_transaction().await.expect("none is open");
        for _ in 0..1 + chance.below(5) {
            one(database, chance, Some(&mut session)).await;
        }
        session.commit_transaction().await.expect("nobody else writes");
    }
}

async fn one(database: &Database, chance: &mut Chance, session: Option<&mut ClientSession>) {
    let collection: Collection<Document> = database.collection(COLLECTIONS[chance.below(COLLECTIONS.len())]);
    let filter = doc! {"_id": chance.below(IDS) as i32};
    // A write that does not fit the document is refused, and is no change: it would end a transaction, so none is tried in one.
    let is_alone = session.is_none();
    let written = match chance.below(20) {
        0 | 1 => match session {
            Some(session) => collection.delete_one(filter).session(session).await.map(drop),
            None => collection.delete_one(filter).await.map(drop),
        },
        2..=4 => {
            let document = document(chance);
            let replace = collection.replace_one(filter, document).upsert(true);
            match session {
                Some(session) => replace.session(session).await.map(drop),
                None => replace.await.map(drop),
            }
        }
        _ => {
            let how = if is_alone { update(chance) } else { sure_update(chance).into() };
            let update = collection.update_one(filter, how).upsert(true);
            match session {
                Some(session) => update.session(session).await.map(drop),
                None => update.await.map(drop),
            }
        }
    };
    if let Err(error) = written {
        assert!(
            is_alone
                && matches!(*error.kind, mongodb::error::ErrorKind::Write(_) | mongodb::error::ErrorKind::Command(_)),
            "{error}"
        );
    }
}

fn word(chance: &mut Chance) -> Bson {
    Bson::from(*chance.pick(&["new", "paid", "sent"]))
}

fn number(chance: &mut Chance) -> Bson {
    let number = chance.below(4) as i32;
    match chance.below(4) {
        0 => Bson::Int64(number.into()),
        1 => Bson::Double(number.into()),
        _ => Bson::Int32(number),
    }
}

fn element(chance: &mut Chance) -> Bson {
    bson!({"k": number(chance), "q": number(chance)})
}

fn array(chance: &mut Chance, one: fn(&mut Chance) -> Bson) -> Bson {
    Bson::Array((0..chance.below(4)).map(|_| one(chance)).collect())
}

fn value_of(field: &str, chance: &mut Chance) -> Bson {
    match field {
        "s" => word(chance),
        "n" => number(chance),
        "o" => bson!({"p": number(chance), "q": {"r": word(chance)}, "0": number(chance)}),
        "a" => array(chance, number),
        "e" => array(chance, element),
        // Large, and mostly read by nobody: past the size at which descriptions are cut.
        _ => Bson::from("t".repeat(chance.below(3_000))),
    }
}

/// A document without its `_id`.
fn document(chance: &mut Chance) -> Document {
    let mut document = Document::new();
    for field in FIELDS {
        if chance.happens(80) {
            document.insert(field, if chance.happens(5) { Bson::Null } else { value_of(field, chance) });
        }
    }
    document
}

/// An update that fits every document.
fn sure_update(chance: &mut Chance) -> Document {
    let field = *chance.pick(&FIELDS);
    match chance.below(4) {
        0 => doc! {"$unset": {field: ""}},
        1 => doc! {"$set": {field: value_of(field, chance), "t": value_of("t", chance)}},
        2 => doc! {"$rename": {"s": "n"}},
        _ => doc! {"$set": {field: value_of(field, chance)}},
    }
}

/// Any update; not every one fits every document.
fn update(chance: &mut Chance) -> UpdateModifications {
    let any = match chance.below(24) {
        0 => doc! {"$inc": {"n": number(chance)}},
        1 => doc! {"$mul": {"n": number(chance)}},
        2 => doc! {"$min": {"n": number(chance)}, "$set": {"s": word(chance)}},
        3 => doc! {"$max": {"o.p": number(chance)}},
        4 => doc! {"$set": {"o.q.r": word(chance)}},
        5 => doc! {"$unset": {"o.q.r": ""}},
        6 => doc! {"$set": {"o.0": number(chance)}},
        7 => doc! {"$rename": {"o.p": "o.x"}},
        8 => doc! {"$currentDate": {"o.at": true}},
        9 => doc! {"$bit": {"n": {"xor": 1}}},
        10 => doc! {"$setOnInsert": {"s": "new"}, "$set": {"t": value_of("t", chance)}},
        11 => doc! {"$push": {"e": element(chance)}},
        12 => doc! {"$push": {"e": {"$each": [element(chance), element(chance)], "$position": 0}}},
        13 => doc! {"$push": {"e": {"$each": [element(chance)], "$slice": -3, "$sort": {"q": 1}}}},
        14 => doc! {"$pop": {"a": if chance.happens(50) { 1 } else { -1 }}},
        15 => doc! {"$pull": {"e": {"q": number(chance)}}},
        16 => doc! {"$pullAll": {"a": [number(chance)]}},
        17 => doc! {"$addToSet": {"a": number(chance)}},
        18 => doc! {"$set": {"e.0.q": number(chance)}},
        19 => doc! {"$set": {"e.$[].q": number(chance)}},
        20 => return vec![doc! {"$set": {"a": {"$slice": [{"$ifNull": ["$a", []]}, 1]}}}].into(),
        21 => return vec![doc! {"$set": {"o": {"$setField": {"field": "p.q", "input": {"$ifNull": ["$o", {}]}, "value": number(chance)}}}}].into(),
        22 => return vec![doc! {"$unset": *chance.pick(&FIELDS)}].into(),
        _ => sure_update(chance),
    };
    any.into()
}
