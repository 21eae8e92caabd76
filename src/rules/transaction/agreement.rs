//! Random rules and transactions: whatever the order of the changes, the verdict is that of counting them all at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bson::{Document, Timestamp, doc};
use proptest::prelude::*;

use crate::rules::sample::{change, see, update, with_images};
use crate::rules::{Outcome, RuleSet, Translation, read};
use crate::yaml::SourceFile;

const COLLECTIONS: usize = 3;

#[derive(Clone, Copy, Debug)]
struct Member {
    collection: usize,
    is_many: bool,
    is_optional: bool,
}

/// What a change is to the members that look at its collection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Sure,
    Doubtful,
    Other,
}

#[derive(Clone, Copy, Debug)]
struct Written {
    collection: usize,
    kind: Kind,
    /// 0 is outside of any.
    transaction: i64,
}

#[derive(Clone, Debug)]
struct Case {
    members: Vec<Member>,
    absorbed: BTreeSet<usize>,
    /// In the order of the log.
    changes: Vec<Written>,
}

impl Case {
    fn rules(&self) -> Arc<RuleSet> {
        let mut text = "version: 1\nrules:\n".to_owned();
        for collection in 0..COLLECTIONS {
            text += &format!("  - {{event: R{collection}, collection: shop.c{collection}, on: update}}\n");
        }
        text += "  - event: All\n    transaction:\n";
        for (number, Member { collection, is_many, is_optional }) in self.members.iter().enumerate() {
            text += &format!(
                "      m{number}: {{collection: shop.c{collection}, when: {{s: {{from: a, to: b}}}}, many: {is_many}, optional: {is_optional}}}\n"
            );
        }
        text += "    data:\n";
        for (number, member) in self.members.iter().enumerate() {
            let choice = if member.is_many { "[*]" } else { "" };
            text += &format!("      m{number}: \"$.m{number}{choice}.key._id\"\n");
        }
        if !self.absorbed.is_empty() {
            let absorbed: Vec<String> = self.absorbed.iter().map(|collection| format!("R{collection}")).collect();
            text += &format!("    absorbs: [{}]\n", absorbed.join(", "));
        }
        let reading = read(&[SourceFile { name: "rules.yaml".to_owned(), text }]);
        assert!(!reading.diagnostics.has_errors(), "{}", reading.diagnostics.render());
        Arc::new(RuleSet::compile(reading.rules))
    }

    fn documents(&self) -> Vec<Document> {
        let document = |(id, written): (usize, &Written)| {
            let update = update(doc! {"s": "b"}, &[]);
            let images = |before: &str| with_images(update.clone(), Some(doc! {"s": before}), Some(doc! {"s": "b"}));
            let mut document = match written.kind {
                Kind::Sure => images("a"),
                Kind::Doubtful => update,
                Kind::Other => images("c"),
            };
            document.insert("ns", doc! {"db": "shop", "coll": format!("c{}", written.collection)});
            document.insert("documentKey", doc! {"_id": i32::try_from(id).unwrap()});
            document.insert("clusterTime", Timestamp { time: 5, increment: 1 });
            if written.transaction > 0 {
                document.insert("lsid", doc! {"id": 1});
                document.insert("txnNumber", written.transaction);
            }
            document
        };
        self.changes.iter().enumerate().map(document).collect()
    }

    fn of_member(&self, member: Member, transaction: i64, kind: Kind) -> Vec<usize> {
        let is_its = |written: &Written| {
            written.transaction == transaction && written.collection == member.collection && written.kind == kind
        };
        self.changes.iter().enumerate().filter(|(_, written)| is_its(written)).map(|(id, _)| id).collect()
    }

    /// What must come of each transaction: nothing, a case of doubt, or the event's data.
    fn verdict(&self, transaction: i64) -> Verdict {
        let mut data = Document::new();
        let mut is_doubtful = false;
        for (number, member) in self.members.iter().enumerate() {
            let sure = self.of_member(*member, transaction, Kind::Sure);
            let doubtful = self.of_member(*member, transaction, Kind::Doubtful);
            if (!member.is_many && sure.len() > 1) || (!member.is_optional && sure.is_empty() && doubtful.is_empty()) {
                return Verdict::No;
            }
            is_doubtful |= !doubtful.is_empty();
            let ids: Vec<i32> = sure.into_iter().map(|id| i32::try_from(id).unwrap()).collect();
            match ids.as_slice() {
                ids if member.is_many => drop(data.insert(format!("m{number}"), ids)),
                [id] => drop(data.insert(format!("m{number}"), *id)),
                _ => {}
            }
        }
        if is_doubtful { Verdict::Undecided } else { Verdict::Fires(data) }
    }

    /// The ordinary events that must come, by the ids of their changes.
    fn ordinary(&self) -> Vec<usize> {
        let gives_way = |(id, written): (usize, &Written)| {
            let is_member = |member: &Member| self.of_member(*member, written.transaction, Kind::Sure).contains(&id);
            written.transaction > 0
                && self.absorbed.contains(&written.collection)
                && self.members.iter().any(is_member)
                && matches!(self.verdict(written.transaction), Verdict::Fires(_))
        };
        (0..self.changes.len()).filter(|&id| !gives_way((id, &self.changes[id]))).collect()
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    No,
    Undecided,
    Fires(Document),
}

fn member() -> impl Strategy<Value = Member> {
    (0..COLLECTIONS, any::<bool>(), any::<bool>()).prop_map(|(collection, is_many, is_optional)| Member {
        collection,
        is_many,
        is_optional,
    })
}

fn written() -> impl Strategy<Value = Written> {
    let kind = prop_oneof![8 => Just(Kind::Sure), 1 => Just(Kind::Doubtful), 3 => Just(Kind::Other)];
    (0..COLLECTIONS, kind, 0..3_i64).prop_map(|(collection, kind, transaction)| Written {
        collection,
        kind,
        transaction,
    })
}

fn case() -> impl Strategy<Value = Case> {
    let members = prop::collection::vec(member(), 1..4).prop_map(|mut members| {
        members[0].is_optional = false;
        members
    });
    let absorbed = prop::collection::btree_set(0..COLLECTIONS, 0..COLLECTIONS);
    // A vector of random changes is every order of them.
    (members, absorbed, prop::collection::vec(written(), 0..8)).prop_map(|(members, absorbed, changes)| Case {
        members,
        absorbed,
        changes,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_verdict_is_that_of_counting_and_what_gives_way_is_what_the_members_made(case in case()) {
        let rules = case.rules();
        let mut translation = Translation::new(1 << 20);
        let mut outcome = Outcome::default();
        for document in case.documents() {
            see(&document, |change| translation.apply(&rules, change, &mut outcome));
        }
        translation.end(&mut outcome);
        prop_assert!(!translation.is_open() && outcome.failed.is_empty());
        let mut fired = BTreeMap::new();
        let mut ordinary = Vec::new();
        for event in &outcome.events {
            if &*event.rule == "All" {
                let transaction = event.transaction.clone().unwrap();
                let number: i64 = transaction.rsplit(':').next().unwrap().parse().unwrap();
                fired.insert(number, Document::try_from(&*event.data).unwrap());
            } else {
                prop_assert!(fired.is_empty(), "the events of changes come first");
                ordinary.push(event.partition_key.parse::<usize>().unwrap());
            }
        }
        let verdicts = [1, 2].map(|transaction| case.verdict(transaction));
        for (number, verdict) in (1_i64..).zip(&verdicts) {
            let wanted = if let Verdict::Fires(data) = verdict { Some(data) } else { None };
            prop_assert_eq!(fired.get(&number), wanted, "{:?}", case);
        }
        let undecided = verdicts.iter().filter(|verdict| **verdict == Verdict::Undecided).count();
        prop_assert_eq!(outcome.undecided.len(), undecided);
        prop_assert_eq!(ordinary, case.ordinary());
    }
}

#[test]
fn a_change_that_is_no_transaction_opens_nothing() {
    let case = Case {
        members: vec![Member { collection: 0, is_many: false, is_optional: false }],
        absorbed: BTreeSet::new(),
        changes: Vec::new(),
    };
    let rules = case.rules();
    let mut translation = Translation::new(0);
    let mut insert = change("insert");
    insert.insert("ns", doc! {"db": "shop", "coll": "c0"});
    see(&insert, |change| translation.apply(&rules, change, &mut Outcome::default()));
    assert!(!translation.is_open());
}
