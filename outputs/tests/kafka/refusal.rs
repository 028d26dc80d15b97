//! What a real broker refuses, and which events pay for it.

use crate::feed::{Count, Feed};
use crate::reader::{count, read};
use crate::server::Broker;
use hostward_outputs::{Reason, State};

#[test]
fn of_a_refused_batch_only_the_event_at_fault_is_given_up() {
    let Some(broker) = Broker::borrow("of_a_refused_batch_only_the_event_at_fault_is_given_up") else {
        return;
    };
    broker.create_topic("small", &["max.message.bytes=40000"]);
    let feed = Feed::start("kafka", &format!("brokers = [{:?}]\ntopic = \"small\"\n", broker.plain()));
    feed.send(30, 200);
    feed.send(1, 120_000);
    feed.send(30, 200);
    let status = feed.wait("all has an end", |status| status.queued + status.in_flight == 0);
    assert_eq!(
        (status.delivered, status.dropped[0].reason, status.dropped[0].events),
        (60, Reason::Rejected, 1)
    );
    let said = status.last_error.unwrap().message;
    assert!(said.contains("topic small") && said.contains("max.message.bytes"), "{said}");
    let counted = count(&feed, &read(broker.plain(), "small"));
    assert_eq!((counted.received, counted.duplicated, counted.missing), (60, 0, vec![31]));
    assert_eq!(feed.counter("batch_bytes_limit"), 1_000_000, "the batches were not at fault");
    drop(feed);

    // Each event would do, but not so many at once.
    broker.create_topic("narrow", &["max.message.bytes=100000"]);
    let feed = Feed::start("kafka", &format!("brokers = [{:?}]\ntopic = \"narrow\"\n", broker.plain()));
    for _ in 0..5 {
        feed.send(200, 5_000);
        feed.wait_delivered();
    }
    assert!(feed.counter("batch_bytes_limit") < 1_000_000, "the batches were at fault");
    assert_eq!(count(&feed, &read(broker.plain(), "narrow")), Count::once(1_000));
}

#[test]
fn a_topic_that_is_not_there_holds_until_it_is() {
    let settings = "auto.create.topics.enable=false\n";
    let Some(broker) = Broker::start("a_topic_that_is_not_there_holds_until_it_is", settings) else { return };
    let feed = Feed::start("kafka", &broker.plain_keys());
    feed.send(100, 200);
    let status = feed.wait("it is an alarm", |status| status.health.state == State::Failed);
    assert!(status.health.reason.contains("create the topic"), "{}", status.health.reason);
    broker.create_topic(&broker.topic, &[]);
    feed.wait_delivered();
    assert_eq!(count(&feed, &read(broker.plain(), &broker.topic)), Count::once(100));
}

#[test]
fn a_right_that_is_missing_holds_until_it_is_given() {
    let Some(broker) = Broker::borrow("a_right_that_is_missing_holds_until_it_is_given") else { return };
    broker.create_topic(&broker.topic, &[]);
    let (name, password) = broker.user("SCRAM-SHA-512");
    let acl = |verb: &str| {
        let principal = format!("User:{name}");
        let words = [
            verb,
            "--force",
            "--deny-principal",
            &principal,
            "--operation",
            "Write",
            "--topic",
            &broker.topic,
        ];
        broker.tool("org.apache.kafka.tools.AclCommand", &words);
    };
    acl("--add");
    let feed = Feed::start(
        "kafka",
        &format!(
            "{}ca_file = {:?}\nusername = {name:?}\npassword = {password:?}\n",
            broker.keys("sasl_ssl"),
            broker.service().fact("ca"),
        ),
    );
    feed.send(100, 200);
    let status = feed.wait("it is an alarm", |status| status.health.state == State::Failed);
    assert!(status.health.reason.contains("let the user write"), "{}", status.health.reason);
    acl("--remove");
    let status = feed.wait_delivered();
    assert_eq!(status.dropped_events(), 0);
    assert_eq!(count(&feed, &read(broker.plain(), &broker.topic)), Count::once(100));
}
