//! What a real broker goes through, and what is in the topic afterwards.

use crate::feed::{Count, Feed};
use crate::proxy::Fault;
use crate::reader::{count, read};
use crate::server::Broker;
use hostward_outputs::State;
use std::time::Duration;

/// Feeds while `fault` goes on.
fn during(feed: &Feed, fault: impl FnOnce()) {
    std::thread::scope(|scope| {
        let feeding = scope.spawn(|| {
            for _ in 0..40 {
                feed.send(50, 400);
                std::thread::sleep(Duration::from_millis(25));
            }
        });
        std::thread::sleep(Duration::from_millis(200));
        fault();
        feeding.join().unwrap();
    });
}

#[test]
fn restart_kill_and_pause_leave_every_event_once() {
    let Some(broker) = Broker::borrow("restart_kill_and_pause_leave_every_event_once") else { return };
    let feed = Feed::start("kafka", &broker.plain_keys());
    feed.send(500, 400);
    feed.wait_delivered();

    during(&feed, || {
        broker.service().stop();
        broker.service().start_again();
    });
    feed.wait_delivered();

    during(&feed, || broker.service().kill());
    let status = feed.wait("the outage is told", |status| status.health.state == State::Degraded);
    assert!(status.health.reason.contains("no broker can be reached"), "{}", status.health.reason);
    broker.service().start_again();
    feed.wait_delivered();

    during(&feed, || broker.service().pause());
    let status =
        feed.wait("the silence is told", |status| status.health.reason.contains("no delivery report"));
    assert_eq!(status.health.state, State::Degraded);
    broker.service().resume();
    let status = feed.wait_delivered();
    feed.wait("it is well again", |status| status.health.state == State::Ok);

    assert_eq!(count(&feed, &read(broker.plain(), &broker.topic)), Count::once(6_500));
    assert_eq!(
        (feed.counter("producers"), feed.counter("unsure_events"), status.dropped_events()),
        (1, 0, 0)
    );
}

#[test]
fn killed_again_and_again_under_load_the_broker_has_every_event_once() {
    let Some(broker) = Broker::borrow("killed_again_and_again_under_load_the_broker_has_every_event_once")
    else {
        return;
    };
    let feed = Feed::start("kafka", &format!("{}key = \"process.entity_id\"\n", broker.plain_keys()));
    for _ in 0..3 {
        during(&feed, || {
            broker.service().kill();
            broker.service().start_again();
        });
    }
    feed.wait_delivered();
    assert_eq!(count(&feed, &read(broker.plain(), &broker.topic)), Count::once(6_000));
}

#[test]
fn a_reply_that_is_lost_after_the_write_doubles_nothing() {
    let name = "a_reply_that_is_lost_after_the_write_doubles_nothing";
    let Some((broker, proxy)) = Broker::start_behind_proxy(name) else { return };
    let feed = Feed::start("kafka", &format!("brokers = [{:?}]\n", proxy.address().to_string()));
    feed.send(100, 400);
    feed.wait_delivered();

    // The network loses it.
    proxy.set(Fault::LoseReply);
    feed.send(100, 400);
    feed.wait("the failure is told", |status| status.health.state == State::Degraded);
    proxy.set(Fault::None);
    feed.wait_delivered();

    // The broker dies with it, and is back with what it wrote.
    proxy.set(Fault::LoseReply);
    feed.send(100, 400);
    feed.wait("the failure is told", |status| status.health.state == State::Degraded);
    broker.service().kill();
    proxy.set(Fault::None);
    broker.service().start_again();
    feed.wait_delivered();

    // Half open, one byte after the other, cut in the middle.
    for fault in [Fault::ResetAfter(20_000), Fault::Slow(2_000), Fault::Silence, Fault::Refuse] {
        proxy.set(fault);
        feed.send(200, 400);
        std::thread::sleep(Duration::from_secs(3));
        proxy.cut();
        proxy.set(Fault::None);
        feed.wait_delivered();
    }
    assert!(proxy.resets() > 3, "the faults happened");
    assert_eq!(count(&feed, &read(&proxy.address().to_string(), "hostward")), Count::once(1_100));
    assert_eq!((feed.counter("producers"), feed.counter("unsure_events")), (1, 0));
}
