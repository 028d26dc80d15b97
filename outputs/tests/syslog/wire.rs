//! What a server gets, by each transport.

use crate::feed::{Count, Feed, id};
use crate::server::Server;
use hostward_outputs::syslog;

/// Scheme, input of the server, further keys.
fn transports(server: &Server) -> Vec<(&'static str, &'static str, String)> {
    let ca = format!("ca_file = {:?}\n", server.service.fact("ca"));
    vec![
        ("udp", "udp", String::new()),
        ("tcp", "tcp", String::new()),
        ("tcp", "tcp_lf", "framing = \"lf\"\n".to_owned()),
        ("tls", "tls", ca),
        ("tls", "mtls", server.identity()),
        ("relp", "relp", String::new()),
        ("relps", "relp_tls", server.identity()),
        ("unix", "unix", String::new()),
    ]
}

#[test]
fn each_transport_brings_every_event_once_to_rsyslog() {
    let Some(server) = Server::start("rsyslog", "each_transport_brings_every_event_once_to_rsyslog") else {
        return;
    };
    for (scheme, input, keys) in transports(&server) {
        let feed = Feed::start("syslog", &(server.keys(scheme, input) + &keys));
        // Few at a time: UDP loses what its reader is too slow for.
        for _ in 0..8 {
            feed.send(20, 100);
            let count = server.wait_all(&feed, input);
            assert_eq!(count, Count::once(feed.sent()), "{scheme} {input}");
        }
        let messages = server.messages(input);
        let first = messages.iter().find(|message| message.id == id(1).to_string()).unwrap();
        // Facility 13, severity 6.
        let header = ["pri", "version", "host", "app", "procid", "msgid", "sd"].map(|name| first.part(name));
        assert_eq!(header, ["110", "1", "host_one", "hostward", "0", "hostward.process", "-"], "{input}");
        let time = jiff::Timestamp::from_millisecond(feed.time_ms).unwrap();
        let told: jiff::Timestamp = first.part("time").parse().unwrap();
        assert_eq!(told.as_millisecond(), time.as_millisecond(), "{input}");
        assert_eq!(first.record()["event"]["sequence"], 1, "{input}");
        assert_eq!(feed.status().dropped_events(), 0);
    }
}

#[test]
fn syslog_ng_gets_every_event_once() {
    let Some(server) = Server::start("syslog-ng", "syslog_ng_gets_every_event_once") else { return };
    let ca = format!("ca_file = {:?}\n", server.service.fact("ca"));
    for (scheme, input, keys) in [
        ("udp", "udp", ""),
        ("tcp", "tcp", ""),
        ("tcp", "tcp_lf", "framing = \"lf\"\n"),
        ("tls", "tls", ca.as_str()),
    ] {
        let keys = server.keys(scheme, input) + keys + "structured_data = true\n";
        let feed = Feed::start("syslog", &keys);
        for _ in 0..10 {
            feed.send(20, 100);
            assert_eq!(server.wait_all(&feed, input), Count::once(feed.sent()), "{scheme} {input}");
        }
        let messages = server.messages(input);
        assert_eq!(messages[0].part("app"), "hostward");
        assert_eq!(messages[0].part("msgid"), "hostward.process");
        let data = &messages[0].parts["sd"].to_string();
        assert!(data.contains(&messages[0].id), "{input}: {data}");
    }
}

#[test]
fn an_alert_has_its_urgency_and_its_data() {
    let Some(server) = Server::start("rsyslog", "an_alert_has_its_urgency_and_its_data") else { return };
    let keys = server.keys("relp", "relp")
        + "structured_data = true\nfacility = 16\nenterprise_id = 4242\nencoding = \"cef\"\n";
    let feed = Feed::start("syslog", &keys);
    feed.send_alert("one\ntwo \"]\\ =|");
    feed.wait_delivered();
    let messages = server.messages("relp");
    let [message] = &messages[..] else { panic!("{messages:?}") };
    // Facility 16, severity 2.
    assert_eq!((message.part("pri"), message.part("msgid")), ("130", "hostward.alert"));
    let data = message.part("sd");
    let wanted = format!("[hostward@4242 event.id=\"{}\" event.action=\"", id(1));
    assert!(data.starts_with(&wanted) && data.ends_with("lane=\"alert\"]"), "{data}");
    let text = message.part("msg");
    assert!(text.starts_with("CEF:0|Hostward|Hostward|") && text.contains(r"msg=one\ntwo"), "{text}");
    assert!(!message.part("raw").contains('\n'), "no line end inside: {}", message.part("raw"));
}

#[test]
fn what_is_redacted_is_in_no_part_of_the_message() {
    let Some(server) = Server::start("rsyslog", "what_is_redacted_is_in_no_part_of_the_message") else {
        return;
    };
    let keys = server.keys("relp", "relp")
        + "structured_data = true\nredact = [\"host.name\", \"process.name\", \"process.args\"]\n";
    let feed = Feed::start("syslog", &keys);
    feed.send_alert("program hush-hush was started");
    feed.wait_delivered();
    let messages = server.messages("relp");
    let [message] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((message.part("host"), message.part("app")), ("-", "hostward"));
    assert_eq!(message.record()["message"], "a rule [output redacted]");
    let raw = message.part("raw");
    assert!(!raw.contains("hush") && !raw.contains("host one") && !raw.contains("host_one"), "{raw}");
}

#[test]
fn a_long_record_is_trimmed_and_stays_json() {
    let Some(server) = Server::start("rsyslog", "a_long_record_is_trimmed_and_stays_json") else { return };
    let feed = Feed::start("syslog", &(server.keys("relp", "relp") + "max_message = 2048\n"));
    feed.send(1, 100);
    feed.send(1, 3_000);
    feed.send(1, 30_000);
    feed.wait_delivered();
    assert_eq!(server.count(&feed, "relp"), Count::once(3));
    for message in server.messages("relp") {
        assert!(message.part("raw").len() <= 2_048, "{}", message.part("raw").len());
        let trimmed = &message.record()["hostward"]["trimmed"];
        if message.id == id(1).to_string() {
            assert!(trimmed.is_null(), "{trimmed}");
        } else {
            assert!(trimmed.as_array().unwrap().contains(&"process.args".into()), "{trimmed}");
        }
    }
    assert_eq!(feed.counter("trimmed_messages"), 2);
}

#[test]
fn a_check_names_the_step_that_fails() {
    let Some(server) = Server::start("rsyslog", "a_check_names_the_step_that_fails") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let check = |keys: &str| {
        let config: syslog::SyslogConfig = toml::from_str(keys).unwrap();
        let steps = runtime.block_on(syslog::check(&config));
        assert!(steps.iter().rev().skip(1).all(|step| step.ok), "{steps:?}");
        let last = steps.last().unwrap();
        (last.ok, format!("{}: {}", last.what, last.why))
    };
    for (scheme, input, keys) in transports(&server) {
        let (ok, told) = check(&(server.keys(scheme, input) + &keys.replace("framing = \"lf\"\n", "")));
        assert!(ok, "{scheme} {input}: {told}");
        assert_eq!(server.messages(input).len(), 0, "a check leaves nothing behind");
    }
    let (ok, told) = check(&server.keys("tls", "tls"));
    assert!(!ok && told.contains("set ca_file to the authority"), "{told}");
    let ca = format!("ca_file = {:?}\n", server.service.fact("ca"));
    let (ok, told) = check(&(server.keys("relps", "relp_tls") + &ca));
    assert!(!ok, "the server wants a certificate: {told}");
    let (ok, told) = check(&server.keys("relp", "tcp"));
    assert!(!ok, "no RELP there: {told}");
    let (ok, told) = check("address = \"tcp://no-such-host.invalid\"");
    assert!(!ok && told.starts_with("resolve no-such-host.invalid"), "{told}");
    let (ok, told) = check("address = \"unix:///nowhere/log\"");
    assert!(!ok && told.contains("No such file"), "{told}");
}
