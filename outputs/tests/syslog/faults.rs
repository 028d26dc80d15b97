//! Servers that die, hang and come back, and networks that break: which ids arrive.

use crate::feed::{Count, Feed};
use crate::proxy::{Fault, FaultProxy};
use crate::server::Server;
use hostward_outputs::State;
use std::time::Duration;

/// Feeds 40 times so many events while `fault` goes on.
fn during(feed: &Feed, events: u64, fault: impl FnOnce()) {
    std::thread::scope(|scope| {
        let feeding = scope.spawn(|| {
            for _ in 0..40 {
                feed.send(events, 200);
                std::thread::sleep(Duration::from_millis(25));
            }
        });
        std::thread::sleep(Duration::from_millis(200));
        fault();
        feeding.join().unwrap();
    });
}

/// None is missing, and not more came twice than the sink says may have.
fn assert_complete(count: &Count, sent: u64, unsure: u64) {
    assert_eq!((count.missing.len(), count.sent), (0, sent), "{count:?}");
    assert!(count.duplicated as u64 <= unsure, "{} came twice, {unsure} may have", count.duplicated);
    assert_eq!(count.received as u64, sent + count.duplicated as u64);
}

/// A restart in order and one by SIGKILL, each while 40 times so many events come.
fn restarts(server: &Server, feed: &Feed, input: &str, events: u64) {
    feed.send(200, 200);
    feed.wait_delivered();
    server.wait_all(feed, input);
    during(feed, events, || {
        server.service.stop();
        server.service.start_again();
    });
    feed.wait_delivered();
    server.wait_all(feed, input);
    during(feed, events, || {
        server.service.kill();
        feed.wait("the outage is told", |status| status.health.state == State::Degraded);
        server.service.start_again();
    });
    feed.wait_delivered();
    assert_eq!(feed.status().dropped_events(), 0);
}

#[test]
fn relp_loses_nothing_when_the_server_restarts_or_is_killed() {
    let name = "relp_loses_nothing_when_the_server_restarts_or_is_killed";
    let Some(server) = Server::start("rsyslog", name) else { return };
    let feed = Feed::start("syslog", &server.keys("relp", "relp"));
    restarts(&server, &feed, "relp", 50);
    assert_complete(&server.count(&feed, "relp"), 4_200, feed.counter("unsure_messages"));
}

#[test]
fn relp_over_tls_loses_nothing_when_the_server_restarts_or_is_killed() {
    let name = "relp_over_tls_loses_nothing_when_the_server_restarts_or_is_killed";
    let Some(server) = Server::start("rsyslog", name) else { return };
    let feed = Feed::start("syslog", &(server.keys("relps", "relp_tls") + &server.identity()));
    restarts(&server, &feed, "relp_tls", 50);
    assert_complete(&server.count(&feed, "relp_tls"), 4_200, feed.counter("unsure_messages"));
}

#[test]
fn the_tail_that_tcp_and_tls_keep_covers_a_restart() {
    let name = "the_tail_that_tcp_and_tls_keep_covers_a_restart";
    let Some(server) = Server::start("rsyslog", name) else { return };
    for (scheme, input, keys) in [("tcp", "tcp", String::new()), ("tls", "mtls", server.identity())] {
        let feed = Feed::start("syslog", &(server.keys(scheme, input) + &keys));
        // Less than the tail in all: a server that reads slowly must not make a difference.
        restarts(&server, &feed, input, 8);
        let count = server.wait_all(&feed, input);
        assert_complete(&count, 840, feed.counter("resent_messages"));
        assert!(feed.counter("resent_messages") > 0, "something was sent again");
    }
}

#[test]
fn a_server_that_hangs_is_noticed_by_relp_and_nothing_is_lost() {
    let name = "a_server_that_hangs_is_noticed_by_relp_and_nothing_is_lost";
    let Some(server) = Server::start("rsyslog", name) else { return };
    let feed = Feed::start("syslog", &(server.keys("relp", "relp") + "send_timeout_s = 2\n"));
    feed.send(200, 200);
    feed.wait_delivered();
    server.service.pause();
    feed.send(500, 200);
    let told = "no acknowledgement within 2 s";
    let status = feed.wait("the silence is told", |status| status.health.reason.contains(told));
    assert_eq!(status.health.state, State::Degraded);
    server.service.resume();
    feed.wait_delivered();
    feed.wait("it is well again", |status| status.health.state == State::Ok);
    let count = server.wait_all(&feed, "relp");
    assert_eq!(count.missing, [0; 0]);
    assert!(count.duplicated as u64 <= feed.counter("unsure_messages"), "{count:?}");
}

#[test]
fn whatever_the_network_does_relp_brings_every_event() {
    let name = "whatever_the_network_does_relp_brings_every_event";
    let Some(server) = Server::start("rsyslog", name) else { return };
    let proxy = FaultProxy::start(server.service.fact("relp").parse().unwrap());
    let keys = format!("address = \"relp://{}\"\nsend_timeout_s = 2\n", proxy.address());
    let feed = Feed::start("syslog", &keys);
    feed.send(100, 200);
    feed.wait_delivered();
    for fault in [Fault::LoseReply, Fault::ResetAfter(5_000), Fault::Slow(500), Fault::Silence, Fault::Refuse]
    {
        proxy.set(fault);
        feed.send(200, 200);
        std::thread::sleep(Duration::from_secs(3));
        proxy.cut();
        proxy.set(Fault::None);
        feed.wait_delivered();
    }
    assert!(proxy.resets() > 3, "the faults happened");
    let count = server.count(&feed, "relp");
    assert_eq!((count.missing.len(), count.sent), (0, 1_100), "{count:?}");
    assert!(count.duplicated as u64 <= feed.counter("unsure_messages"), "{count:?}");
}

#[test]
fn a_local_socket_that_comes_back_gets_what_waited() {
    let name = "a_local_socket_that_comes_back_gets_what_waited";
    let Some(server) = Server::start("rsyslog", name) else { return };
    let feed = Feed::start("syslog", &server.keys("unix", "unix"));
    feed.send(100, 200);
    feed.wait_delivered();
    server.service.stop();
    feed.send(100, 200);
    feed.wait("the outage is told", |status| status.health.state == State::Degraded);
    server.service.start_again();
    feed.wait_delivered();
    assert_eq!(server.wait_all(&feed, "unix"), Count::once(200));
}

#[test]
fn the_end_does_not_wait_for_a_server_that_is_gone() {
    // A port where nobody listens.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for scheme in ["tcp", "relp"] {
        let feed = Feed::start("syslog", &format!("address = \"{scheme}://{free}\"\n"));
        feed.send(10, 100);
        feed.wait("the outage is told", |status| status.health.state == State::Degraded);
        let closed = feed.outputs.close(Duration::from_secs(1));
        assert_eq!((closed[0].left, closed[0].status.law_holds()), (10, true), "{scheme}");
    }
}
