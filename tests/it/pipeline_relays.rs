//! What relays find beside events, in the pipeline: counted and passed over, or what stops it.

use changeling::explicit::{DebeziumSettings, InvalidOperations, Layout, OutboxSettings, RelaySettings, Relays};
use changeling::namespace::Namespace;
use changeling::pipeline::PipelineError;

use crate::pipeline::Stage;
use crate::simulated::Act;

/// An outbox in the collection whose documents the stage updates.
fn outbox(invalid_operations: InvalidOperations) -> Relays {
    let mut settings = OutboxSettings::new(Namespace::parse("shop.orders").unwrap(), Layout::Debezium);
    settings.debezium = Some(DebeziumSettings { invalid_operations, ..DebeziumSettings::default() });
    Relays::new(&[RelaySettings::Outbox(Box::new(settings))]).unwrap()
}

#[tokio::test(start_paused = true)]
async fn updates_in_an_outbox_are_counted_and_the_stream_goes_on() {
    let stage = Stage::with_orders(6);
    let mut pipeline = stage.pipeline(Act::well);
    pipeline.relays = outbox(InvalidOperations::Warn);
    let task = stage.run(pipeline);
    stage.until_saved(6).await;
    stage.stop.request();
    task.await.unwrap().unwrap();
    assert_eq!(stage.metrics.relays.ignored.with_label_values(&["shop.orders", "update"]).get(), 6);
    assert_eq!((stage.durable.count(), stage.letters.letters.lock().unwrap().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_update_that_an_outbox_calls_fatal_stops_before_it_and_a_restart_meets_it_again() {
    let stage = Stage::with_orders(6);
    for _ in 0..2 {
        let mut pipeline = stage.pipeline(Act::well);
        pipeline.relays = outbox(InvalidOperations::Fatal);
        let error = stage.run(pipeline).await.unwrap().unwrap_err();
        let PipelineError::InvalidOperation { relay, what, .. } = &error else { panic!("{error:?}") };
        assert_eq!((relay.as_str(), *what), ("shop.orders", "update"));
        assert!(error.to_string().contains("\nhelp: "), "{error}");
        assert!(stage.saved().is_none_or(|position| position == 0), "the position is before it");
    }
}
