//! Real OpenSearch and Elasticsearch: setup, counting by id, blocks, mapping errors, 413, kill -9, logins.

use crate::common::{telemetry_of, wait};
use crate::feed::{config, counter, events, push, start, within};
use crate::samples;
use crate::support::service::Service;
use hostward_event::Event;
use hostward_outputs::config::{Config, ElasticConfig};
use hostward_outputs::elastic::setup::{SetupOptions, SetupResult};
use hostward_outputs::{Outputs, Reason, SinkStatus, State, elastic};
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A node and its JVM at a time: several would starve each other.
static ONE_NODE: Mutex<()> = Mutex::new(());
const LONG: Duration = Duration::from_secs(180);

fn turn() -> MutexGuard<'static, ()> {
    ONE_NODE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server as its administrator sees it.
struct Node {
    service: Service,
    url: String,
    ca: Option<String>,
    users: String,
}

impl Node {
    fn start(part: &str, version: &str, test: &str, settings: &str) -> Option<Self> {
        let service = Service::start_version(part, version, test, |data| {
            if !settings.is_empty() {
                std::fs::write(data.join("extra.yml"), settings).unwrap();
            }
        })?;
        let url = service.fact("url").to_owned();
        let users = service.data().join("users");
        let ca = users.is_file().then(|| service.fact("ca").to_owned());
        let users = std::fs::read_to_string(users).unwrap_or_default();
        Some(Self { service, url, ca, users })
    }

    /// Name and password of a role.
    fn user(&self, role: &str) -> (String, String) {
        let line = self.users.lines().find(|line| line.starts_with(role)).unwrap();
        let mut words = line.split(' ').skip(1);
        (words.next().unwrap().to_owned(), words.next().unwrap().to_owned())
    }

    /// Status and JSON of a call by the administrator.
    fn call(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let mut curl = Command::new("curl");
        curl.args([
            "-s",
            "-m",
            "60",
            "-X",
            method,
            "-w",
            "\n%{http_code}",
            "-H",
            "Content-Type: application/json",
        ]);
        if let Some(ca) = &self.ca {
            let (name, password) = self.user("admin");
            curl.args(["--cacert", ca, "-u", &format!("{name}:{password}")]);
        }
        if !body.is_empty() {
            curl.args(["--data-binary", "@-"]);
        }
        let mut child = curl
            .arg(format!("{}{path}", self.url))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
        let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let (body, status) = output.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(serde_json::Value::Null))
    }

    fn put(&self, path: &str, body: &str) {
        let (status, said) = self.call("PUT", path, body);
        assert_eq!(status, 200, "PUT {path}: {said}");
    }

    /// Every `_id` of our streams in this namespace, and how many documents there are.
    fn ids(&self, namespace: &str) -> (BTreeSet<String>, usize) {
        let streams = format!("/logs-hostward.*-{namespace}");
        let (status, said) = self.call("POST", &format!("{streams}/_refresh"), "");
        assert_eq!(status, 200, "{said}");
        let (mut ids, mut count) = (BTreeSet::new(), 0);
        let mut after = String::new();
        loop {
            // By event.sequence and event.id: the sort is on what the mapping must have as numbers and keywords.
            let query =
                format!(r#"{{"size":5000,"_source":false,"sort":["event.sequence","event.id"]{after}}}"#);
            let (status, said) = self.call("POST", &format!("{streams}/_search"), &query);
            assert_eq!(status, 200, "{said}");
            let hits = said["hits"]["hits"].as_array().unwrap();
            let Some(last) = hits.last() else { return (ids, count) };
            after = format!(r#","search_after":{}"#, last["sort"]);
            count += hits.len();
            ids.extend(hits.iter().map(|hit| hit["_id"].as_str().unwrap().to_owned()));
        }
    }

    /// A sink for this server.
    fn block(&self, more: &str) -> String {
        let ca = self.ca.as_ref().map_or(String::new(), |ca| format!("ca_file = \"{ca}\"\n"));
        format!("[[sink]]\ntype = \"elastic\"\nurls = [\"{}\"]\nproxy = \"\"\n{ca}{more}\n", self.url)
    }

    fn elastic(&self, more: &str) -> ElasticConfig {
        match config(&self.block(more)).remove(0) {
            Config::Elastic(config) => *config,
            other => panic!("{other:?}"),
        }
    }

    fn login(&self, role: &str) -> String {
        if self.ca.is_none() {
            return String::new();
        }
        let (name, password) = self.user(role);
        format!("username = \"{name}\"\npassword = \"{password}\"\n")
    }

    /// Setup by the administrator; gives what was skipped.
    fn set_up(&self, more: &str) -> Vec<String> {
        let config = self.elastic(&format!("{}{more}", self.login("admin")));
        let steps = block_on(elastic::setup(&config, &SetupOptions::default())).unwrap();
        let skipped = steps.iter().filter(|step| matches!(step.result, SetupResult::Skipped(_)));
        skipped.map(|step| step.what.clone()).collect()
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn ids(events: &[Arc<Event>]) -> BTreeSet<String> {
    events.iter().map(|event| event.id.to_string()).collect()
}

fn settled(outputs: &Outputs, accepted: u64) -> SinkStatus {
    within(outputs, LONG, "all are settled", |status| {
        status.accepted == accepted && status.delivered + status.dropped_events() == accepted
    })
}

/// Sends all kinds of events that there are, with hostile content, and counts what came.
fn round_trip(node: &Node, namespace: &str, more: &str) {
    let outputs = start(&node.block(&format!("namespace = \"{namespace}\"\n{more}")));
    let mut sent = events(1..=3_000);
    sent.extend(samples::all().into_iter().map(|(_, event)| Arc::new(event)));
    let distinct = ids(&sent);
    push(&outputs, &sent);
    let status = settled(&outputs, sent.len() as u64);
    assert_eq!((status.dropped_events(), status.health.state), (0, State::Ok), "{status:#?}");
    let (came, documents) = node.ids(namespace);
    assert_eq!(distinct.difference(&came).count(), 0, "missing");
    assert_eq!((came.len(), documents), (distinct.len(), distinct.len()), "twice");
}

#[test]
fn opensearch_3_blocks_refuses_and_dies_and_nothing_is_lost() {
    let _turn = turn();
    let name = "opensearch_3_blocks_refuses_and_dies_and_nothing_is_lost";
    let Some(node) = Node::start("opensearch", "", name, "http.max_content_length: 300kb\n") else { return };

    // Before setup there is no stream to write to, and the check says so.
    let steps = block_on(elastic::check(&node.elastic("")));
    assert!(steps.last().unwrap().why.contains("hostward setup elastic"), "{steps:?}");
    let skipped = node.set_up("");
    assert_eq!(skipped, ["PUT /_plugins/_ism/policies/hostward"]);
    assert_eq!(node.set_up("").len(), 1, "a second run does no harm");
    let steps = block_on(elastic::check(&node.elastic("")));
    assert!(steps.iter().all(|step| step.ok), "{steps:?}");
    let (_, mapping) = node.call("GET", "/logs-hostward.process-default/_mapping", "");
    let mapping = mapping.as_object().unwrap().values().next().unwrap().clone();
    let pointer = "/mappings/properties/process/properties/pid/type";
    assert_eq!(mapping.pointer(pointer).unwrap(), "long", "the template was applied");
    assert_eq!(node.ids("default").1, 0, "the check wrote nothing");

    node.set_up("namespace = \"a\"");
    round_trip(&node, "a", "");
    too_large(&node);
    bad_mapping(&node);
    flood(&node);
    killed(&node);
}

/// 300 kB are the server's limit, counted after gunzip.
fn too_large(node: &Node) {
    node.set_up("namespace = \"large\"");
    for (nth, compression) in ["gzip", "none"].into_iter().enumerate() {
        let first = 100_000 + 1_000 * nth as u64;
        // All in one request, however long a busy machine takes to make them.
        let queue = "queue = { linger_ms = 5000 }";
        let block = format!("namespace = \"large\"\ncompression = \"{compression}\"\n{queue}");
        let outputs = start(&node.block(&block));
        let sent: Vec<_> = (first..first + 600).map(|sequence| telemetry_of(sequence, 2_000)).collect();
        push(&outputs, &sent);
        let status = settled(&outputs, 600);
        assert_eq!((status.delivered, status.dropped_events()), (600, 0), "{compression}: {status:#?}");
        assert!(counter(&status, "split_requests") > 0 && counter(&status, "request_bytes_limit") < 4 << 20);
        let came = node.ids("large").0;
        assert_eq!(ids(&sent).difference(&came).count(), 0);
    }
}

/// A stream whose mapping takes no process: those events are dead letters, the others flow.
fn bad_mapping(node: &Node) {
    let template = r#"{"index_patterns":["logs-hostward.*-odd"],"data_stream":{},"priority":900,
        "template":{"mappings":{"properties":{"process":{"properties":{"pid":{"type":"ip"}}}}}}}"#;
    node.put("/_index_template/odd", template);
    let outputs = start(&node.block("namespace = \"odd\""));
    let (with, without): (Vec<_>, Vec<_>) = samples::all()
        .into_iter()
        .map(|(_, event)| Arc::new(event))
        .partition(|event| event.process.is_some());
    let all: Vec<_> = with.iter().chain(&without).cloned().collect();
    push(&outputs, &all);
    let status = settled(&outputs, all.len() as u64);
    let refused: u64 =
        status.dropped.iter().filter(|lost| lost.reason == Reason::Rejected).map(|lost| lost.events).sum();
    assert!(!with.is_empty() && !without.is_empty());
    assert_eq!((refused, status.delivered), (with.len() as u64, without.len() as u64), "{status:#?}");
    assert!(status.last_error.unwrap().message.contains("process.pid"));
}

/// The disk's flood stage: 429 per item, until there is room.
fn flood(node: &Node) {
    let watermarks = |value: &str| {
        let keys = ["low", "high", "flood_stage"];
        let key = |key: &str| format!(r#""cluster.routing.allocation.disk.watermark.{key}":{value}"#);
        let all = keys.map(key).join(",");
        node.put("/_cluster/settings", &format!(r#"{{"persistent":{{{all}}}}}"#));
    };
    let outputs = start(&node.block("namespace = \"a\"\nqueue = { linger_ms = 10 }"));
    watermarks(r#""999999gb""#);
    let start = Instant::now();
    let mut sequence = 200_000;
    let mut sent = Vec::new();
    // Until the node has noticed, events go through.
    let status = loop {
        let more = events(sequence..=sequence + 9);
        sequence += 10;
        push(&outputs, &more);
        sent.extend(more);
        std::thread::sleep(Duration::from_millis(300));
        let status = crate::common::status(&outputs);
        if status.failed_sends > 0 {
            break status;
        }
        assert!(start.elapsed() < LONG, "no block in sight: {status:#?}");
    };
    assert!(status.last_error.unwrap().message.contains("cluster_block_exception"));
    watermarks("null");
    let status = settled(&outputs, sent.len() as u64);
    assert_eq!((status.delivered, status.dropped_events()), (sent.len() as u64, 0));
    assert_eq!(ids(&sent).difference(&node.ids("a").0).count(), 0);
}

/// kill -9 in the middle of bulks, twice.
fn killed(node: &Node) {
    let outputs = start(&node.block("namespace = \"a\"\nrequest_events = 50\nrequest_timeout_s = 5\nqueue = { linger_ms = 10, max_events = 100000, max_bytes = 268435456 }"));
    let sent = events(300_000..=305_999);
    for (nth, part) in sent.chunks(3_000).enumerate() {
        push(&outputs, part);
        let before = 3_000 * nth as u64;
        within(&outputs, LONG, "some are delivered", |status| status.delivered > before + 500);
        node.service.kill();
        wait(&outputs, "the sink noticed", |status| status.health.state != State::Ok);
        node.service.start_again();
    }
    let status = settled(&outputs, 6_000);
    assert_eq!((status.delivered, status.dropped_events()), (6_000, 0));
    let (came, documents) = node.ids("a");
    assert_eq!(ids(&sent).difference(&came).count(), 0, "missing");
    assert_eq!(came.len(), documents, "twice");
}

/// TLS, a password that is wrong and later mended, rights, and the round trip.
fn secured(part: &str, version: &str, name: &str) {
    let _turn = turn();
    let Some(node) = Node::start(part, version, name, "") else { return };
    let skipped = node.set_up("");
    assert!(
        skipped
            .iter()
            .all(|what| what.contains("_ilm") || what.contains("_ism") || what.contains("_data_stream")),
        "{skipped:?}"
    );
    if part == "elasticsearch" {
        // This distribution has no call that makes a stream; the first event does.
        assert!(skipped.iter().any(|what| what.contains("_ilm")), "{skipped:?}");
    }

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "wrong").unwrap();
    let (user, password) = node.user("shipper");
    let login = format!("username = \"{user}\"\npassword_file = \"{}\"\n", file.display());
    let outputs = start(&node.block(&login));
    let sent = events(1..=200);
    push(&outputs, &sent);
    let held = within(&outputs, LONG, "held", |status| status.health.state == State::Failed);
    assert!(held.health.reason.contains("401"), "{}", held.health.reason);
    let steps = block_on(elastic::check(&node.elastic(&login)));
    assert!(!steps.last().unwrap().ok && steps.last().unwrap().what.starts_with("log in"), "{steps:?}");
    std::fs::write(&file, format!("{password}\n")).unwrap();
    assert_eq!(settled(&outputs, 200).dropped_events(), 0);
    assert_eq!(node.ids("default").0, ids(&sent));

    // Who may not write holds, by the server's verdict on items or on the request.
    let reader = start(&node.block(&node.login("reader")));
    push(&reader, &events(500..=503));
    let held = within(&reader, LONG, "held", |status| status.health.state == State::Failed);
    assert_eq!((held.dropped_events(), held.delivered), (0, 0), "{held:#?}");
    if part == "elasticsearch" {
        let steps = block_on(elastic::check(&node.elastic(&login)));
        assert!(steps.iter().all(|step| step.ok), "{steps:?}");
        let steps = block_on(elastic::check(&node.elastic(&node.login("reader"))));
        assert!(!steps.last().unwrap().ok && steps.last().unwrap().why.contains("create_doc"), "{steps:?}");
    }

    // Another authority than the server's.
    let other = crate::support::certs::Authority::new("other");
    std::fs::write(dir.path().join("other.pem"), other.pem()).unwrap();
    let stranger = node
        .block(&login)
        .replace(node.ca.as_ref().unwrap(), &dir.path().join("other.pem").display().to_string());
    let stranger = start(&stranger);
    push(&stranger, &events(600..=601));
    let held = within(&stranger, LONG, "held", |status| status.health.state == State::Failed);
    assert!(
        held.health.reason.contains("TLS") && held.health.reason.contains("ca_file"),
        "{}",
        held.health.reason
    );

    node.set_up("namespace = \"b\"");
    round_trip(&node, "b", &login);
}

#[test]
fn opensearch_3_with_security() {
    secured("opensearch", "3.4.0", "opensearch_3_with_security");
}

#[test]
fn opensearch_2_with_security() {
    secured("opensearch", "2.19.4", "opensearch_2_with_security");
}

#[test]
fn elasticsearch_9_with_security() {
    secured("elasticsearch", "9.5.3", "elasticsearch_9_with_security");
}

#[test]
fn elasticsearch_8_with_security() {
    secured("elasticsearch", "8.19.21", "elasticsearch_8_with_security");
}
