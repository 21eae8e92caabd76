//! What rules ask of the pipeline: to stop, to keep what can not be decided, and to deliver to some sinks only.

use std::sync::Arc;

use changeling::event::Event;
use changeling::pipeline::{LaneParts, PipelineError, RuleSlot, StopSignal};
use changeling::rules::{self, RuleSet, UnknownReason};
use changeling::yaml::SourceFile;

use crate::pipeline::Stage;
use crate::simulated::{Act, Durable, ScriptedSink, Then};

/// The rules of a text. Every change of an order writes `n`, the number of the change, and shows no document.
fn rule_slot(text: &str) -> RuleSlot {
    let text = format!("defaults: {{collection: shop.orders, on: update}}\nrules:\n{text}");
    let reading = rules::read(&[SourceFile { name: "orders.yaml".to_owned(), text }]);
    assert!(!reading.diagnostics.has_errors(), "{}", reading.diagnostics.render());
    RuleSlot::from(Arc::new(RuleSet::compile(reading.rules)))
}

/// `OrderTouched` for every change, and a rule that can not be decided for change 3.
fn guarded(policy: &str) -> RuleSlot {
    rule_slot(&format!(
        "  - event: OrderTouched\n  \
         - {{event: OrderGuarded, where: {{$.change.updated.n: 3, $.before.x: 1}}, unknown: {policy}}}\n"
    ))
}

fn names(durable: &Durable) -> Vec<String> {
    durable.events.lock().unwrap().iter().map(|event| event.name.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_says_stop_stops_before_the_change_and_a_restart_meets_the_same_change() {
    let stage = Stage::with_orders(6);
    for start in 1..=2 {
        let mut pipeline = stage.pipeline(Act::well);
        pipeline.rules = guarded("stop");
        let error = stage.run(pipeline).await.unwrap().unwrap_err();
        let PipelineError::Undecided { rule, reason, subject, .. } = &error else { panic!("{error:?}") };
        assert_eq!(
            (&**rule, *reason, subject.as_str()),
            ("OrderGuarded", UnknownReason::NoPreImage, "a change of shop.orders")
        );
        assert!(error.to_string().contains("\nhelp: "), "{error}");
        assert_eq!(stage.saved(), Some(3), "the position is before the change");
        assert_eq!(stage.durable.count(), 3, "what was before it is delivered, and once");
        let counted = stage.metrics.rule_unknown.with_label_values(&["OrderGuarded", "no_pre_image"]).get();
        assert_eq!(counted, start);
    }
    let mut pipeline = stage.pipeline(Act::well);
    pipeline.rules = guarded("skip");
    let stop = StopSignal::new();
    let task = tokio::spawn(pipeline.run(stop.clone()));
    stage.until_saved(6).await;
    stop.request();
    task.await.unwrap().unwrap();
    assert_eq!((stage.durable.count(), stage.durable.ids().len()), (6, 6), "nothing is lost and nothing repeated");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_can_not_be_decided_is_kept_or_assumed_and_the_stream_goes_on() {
    for (policy, letter_count, guarded_count) in [("dead_letter", 1, 0), ("assume", 0, 1), ("skip", 0, 0)] {
        let stage = Stage::with_orders(6);
        let mut pipeline = stage.pipeline(Act::well);
        pipeline.rules = guarded(policy);
        let task = stage.run(pipeline);
        stage.until_saved(6).await;
        stage.stop.request();
        task.await.unwrap().unwrap();
        let letters = stage.letters.letters.lock().unwrap();
        assert_eq!(letters.len(), letter_count, "{policy}");
        for letter in letters.iter() {
            assert_eq!((letter.rule.as_deref(), letter.sink.as_deref()), (Some("OrderGuarded"), None));
            assert!(letter.reason.contains("the document before the change is not known"), "{}", letter.reason);
            assert!(letter.change.as_ref().is_some_and(|change| change.get_document("updateDescription").is_ok()));
        }
        let guarded = names(&stage.durable).into_iter().filter(|name| name == "OrderGuarded").count();
        assert_eq!((guarded, stage.durable.count()), (guarded_count, 6 + guarded_count), "{policy}");
        assert_eq!(stage.metrics.rule_unknown.with_label_values(&["OrderGuarded", "no_pre_image"]).get(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn events_go_to_the_sinks_that_their_rule_names_and_hold_up_no_other() {
    let stage = Stage::with_orders(20);
    let (other, idle) = (Arc::new(Durable::default()), Arc::new(Durable::default()));
    let mut pipeline = stage.pipeline(Act::well);
    pipeline.rules = rule_slot(
        "  - {event: OrderTouched, to: [out, other]}\n  - {event: OrderTold, to: {other: \"orders.{$.key._id}\", out: }}\n  \
         - {event: OrderKept, to: out}\n",
    );
    pipeline.lanes.push(LaneParts { name: "other".to_owned(), sink: Box::new(ScriptedSink::new(&other, Act::well)) });
    let never = |_: &[Arc<Event>]| Act::nothing(Then::Hang);
    pipeline.lanes.push(LaneParts { name: "idle".to_owned(), sink: Box::new(ScriptedSink::new(&idle, never)) });
    let task = stage.run(pipeline);
    stage.until_saved(20).await;
    stage.stop.request();
    let report = task.await.unwrap().unwrap();
    assert_eq!((report.events_count, report.unsettled_events_count), (60, 0));
    assert_eq!(names(&stage.durable).len(), 60);
    let of_other = names(&other);
    assert_eq!(of_other.len(), 40);
    assert!(!of_other.contains(&"OrderKept".to_owned()));
    assert_eq!(idle.count(), 0);
    let told = other.events.lock().unwrap().iter().find(|event| &*event.name == "OrderTold").cloned().unwrap();
    assert_eq!(told.address_at("other").map(ToString::to_string).as_deref(), Some("orders.0"));
    assert_eq!(told.address_at("out"), None);
    assert_eq!(stage.metrics.events.with_label_values(&["OrderKept", "out"]).get(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_rule_on_transactions_that_says_stop_stops_before_the_whole_transaction() {
    let guarded = |policy: &str| {
        rule_slot(&format!(
            "  - event: OrderTouched\n  \
             - event: OrderGuarded\n    \
               transaction: {{order: {{on: update, where: {{$.change.updated.n: 5, $.before.x: 1}}}}}}\n    \
               unknown: {policy}\n"
        ))
    };
    let stage = Stage::with_orders(0);
    stage.log.transaction(0..3);
    stage.log.change_order(3);
    stage.log.transaction(4..7);
    let mut pipeline = stage.pipeline(Act::well);
    pipeline.rules = guarded("stop");
    let error = stage.run(pipeline).await.unwrap().unwrap_err();
    let PipelineError::Undecided { rule, subject, .. } = &error else { panic!("{error:?}") };
    assert_eq!((&**rule, subject.as_str()), ("OrderGuarded", "a transaction"));
    assert_eq!(stage.saved(), Some(4), "the position is before the transaction");
    let mut pipeline = stage.pipeline(Act::well);
    pipeline.rules = guarded("skip");
    let stop = StopSignal::new();
    let task = tokio::spawn(pipeline.run(stop.clone()));
    stage.until_saved(7).await;
    stop.request();
    task.await.unwrap().unwrap();
    assert_eq!(stage.durable.ids().len(), 7, "nothing is lost, and what came twice has one id");
}
