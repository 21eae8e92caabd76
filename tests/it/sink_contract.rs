//! What every sink promises, checked for each of them against the real thing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use changeling::event::Event;
use changeling::failure::Disposition;
use changeling::sink::{Sink, Undelivered};

use crate::sink_stands::{FileStand, MongodbStand, NatsStand, Stand, StdoutStand, event, events};
use crate::support::PATIENCE;

/// What the lane of the pipeline does: again from the first event that is not settled, until all are.
async fn deliver_until_settled(sink: &mut dyn Sink, events: &[Arc<Event>]) {
    let deadline = Instant::now() + PATIENCE;
    let mut settled = 0;
    while settled < events.len() {
        let delivered = tokio::time::timeout(Duration::from_secs(20), sink.deliver(&events[settled..])).await;
        match delivered {
            Ok(Ok(())) => settled = events.len(),
            Ok(Err(Undelivered { delivered, error })) => {
                assert_eq!(error.disposition(), Disposition::Retry, "{error}");
                settled += delivered;
            }
            Err(_) => {}
        }
        if settled < events.len() {
            assert!(Instant::now() < deadline, "not settled within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            let _ = sink.open().await;
        }
    }
}

fn all_up_to(count: i64) -> Vec<i64> {
    (0..count).collect()
}

/// The order of arrival without the later copies of repeats.
fn first_arrivals(mut numbers: Vec<i64>) -> Vec<i64> {
    let mut seen = std::collections::HashSet::new();
    numbers.retain(|number| seen.insert(*number));
    numbers
}

/// The events of one customer in their order of arrival.
fn of_key(numbers: &[i64], key: i64) -> Vec<i64> {
    numbers.iter().copied().filter(|number| number % 3 == key).collect()
}

/// Every event is there, and those of each key are in order.
fn assert_complete(received: Vec<i64>, count: i64, drops_repeats: bool) {
    if drops_repeats {
        assert_eq!(received.len() as i64, count, "an event is missing or repeated: {received:?}");
    }
    let arrived = first_arrivals(received);
    let mut sorted = arrived.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, all_up_to(count));
    for key in 0..3 {
        assert!(of_key(&arrived, key).is_sorted(), "the order of key {key} is broken: {arrived:?}");
    }
}

async fn events_arrive_in_the_order_of_their_key<S: Stand>(stand: S) {
    let mut sink = stand.sink();
    sink.open().await.expect("opened");
    sink.open().await.expect("opening again does no harm");
    sink.deliver(&[]).await.expect("nothing to do");
    for start in (0..60).step_by(20) {
        sink.deliver(&events(start..start + 20)).await.expect("delivered");
    }
    sink.close().await.expect("closed");
    assert_complete(stand.received().await, 60, true);
}

async fn a_restart_goes_on_and_repeats_are_dropped_where_that_is_promised<S: Stand>(stand: S) {
    let mut sink = stand.sink();
    sink.open().await.expect("opened");
    sink.deliver(&events(0..20)).await.expect("delivered");
    sink.close().await.expect("closed");
    drop(sink);
    // After a crash the same events come again, mixed with new ones.
    let mut sink = stand.sink();
    sink.open().await.expect("opened");
    sink.deliver(&events(10..30)).await.expect("delivered");
    sink.deliver(&events(0..40)).await.expect("delivered");
    sink.close().await.expect("closed");
    assert_complete(stand.received().await, 40, S::DROPS_REPEATS);
}

async fn an_event_that_is_refused_holds_up_no_other<S: Stand>(stand: S) {
    let mut sink = stand.sink();
    sink.open().await.expect("opened");
    let mut batch = events(0..9);
    batch.insert(5, Arc::new(stand.unacceptable_event(1_000)));
    let mut rest = batch.as_slice();
    let mut refused = 0;
    while let Err(Undelivered { delivered, error }) = sink.deliver(rest).await {
        assert_eq!(error.disposition(), Disposition::Reject, "{error}");
        assert!(!error.to_string().contains("a value"), "a value of a document is told: {error}");
        assert_eq!(rest[delivered].id, event(1_000, "").id, "another event was refused");
        refused += 1;
        rest = &rest[delivered + 1..];
    }
    assert_eq!(refused, 1);
    sink.close().await.expect("closed");
    assert_complete(stand.received().await, 9, true);
}

async fn what_is_behind_goes_down_and_comes_back<S: Stand>(stand: S) {
    let mut sink = stand.sink();
    sink.open().await.expect("opened");
    sink.deliver(&events(0..10)).await.expect("delivered");
    stand.take_down().await;
    let failure = sink.deliver(&events(10..30)).await.expect_err("nothing is there");
    assert_eq!(failure.error.disposition(), Disposition::Retry, "{}", failure.error);
    assert_eq!(failure.delivered, 0);
    stand.bring_up().await;
    deliver_until_settled(&mut *sink, &events(10..30)).await;
    deliver_until_settled(&mut *sink, &events(30..40)).await;
    assert_complete(stand.received().await, 40, S::DROPS_REPEATS);
}

async fn a_kill_in_the_middle_of_deliveries_loses_nothing<S: Stand>(stand: S) {
    let mut sink = stand.sink();
    sink.open().await.expect("opened");
    let all = events(0..600);
    let deliveries = async {
        for batch in all.chunks(50) {
            deliver_until_settled(&mut *sink, batch).await;
        }
    };
    let outage = async {
        crate::support::wait_until("the first events arrive", async || stand.received().await.len() >= 50).await;
        stand.take_down().await;
        stand.bring_up().await;
    };
    tokio::join!(deliveries, outage);
    assert_complete(stand.received().await, 600, S::DROPS_REPEATS);
}

async fn a_delivery_that_is_given_up_is_repeated_without_a_gap<S: Stand>(stand: S) {
    let mut sink = stand.sink();
    sink.open().await.expect("opened");
    sink.deliver(&events(0..10)).await.expect("delivered");
    stand.pause().await;
    let late = tokio::time::timeout(Duration::from_millis(500), sink.deliver(&events(10..30))).await;
    assert!(late.is_err(), "a paused server answered");
    stand.resume().await;
    deliver_until_settled(&mut *sink, &events(10..30)).await;
    deliver_until_settled(&mut *sink, &events(30..40)).await;
    assert_complete(stand.received().await, 40, S::DROPS_REPEATS);
}

macro_rules! contract {
    ($kind:ident, $stand:ident: $($promise:ident)*) => {
        mod $kind {
            use super::*;

            $(
                #[tokio::test]
                async fn $promise() {
                    super::$promise($stand::start().await).await;
                }
            )*
        }
    };
}

contract!(file, FileStand:
    events_arrive_in_the_order_of_their_key
    a_restart_goes_on_and_repeats_are_dropped_where_that_is_promised
    an_event_that_is_refused_holds_up_no_other
);

contract!(stdout, StdoutStand:
    events_arrive_in_the_order_of_their_key
    a_restart_goes_on_and_repeats_are_dropped_where_that_is_promised
    an_event_that_is_refused_holds_up_no_other
);

contract!(mongodb, MongodbStand:
    events_arrive_in_the_order_of_their_key
    a_restart_goes_on_and_repeats_are_dropped_where_that_is_promised
    an_event_that_is_refused_holds_up_no_other
    what_is_behind_goes_down_and_comes_back
    a_kill_in_the_middle_of_deliveries_loses_nothing
    a_delivery_that_is_given_up_is_repeated_without_a_gap
);

contract!(nats, NatsStand:
    events_arrive_in_the_order_of_their_key
    a_restart_goes_on_and_repeats_are_dropped_where_that_is_promised
    an_event_that_is_refused_holds_up_no_other
    what_is_behind_goes_down_and_comes_back
    a_kill_in_the_middle_of_deliveries_loses_nothing
    a_delivery_that_is_given_up_is_repeated_without_a_gap
);
