//! Three real brokers that keep a topic three times: one of them dies, then there are too few.

use crate::feed::{Count, Feed};
use crate::reader::{count, read};
use crate::server::{free_ports, vacant};
use crate::service::Service;
use hostward_outputs::State;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::path::Path;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

const NODES: u16 = 3;
/// Ports of one node, the last is its controller's.
const PORTS: u16 = 4;
const TOPIC: &str = "kept-three-times";

/// Each node is a broker and a voter. They end with this process, as the lent broker does.
struct Cluster {
    nodes: Vec<Service>,
    _turn: MutexGuard<'static, Option<Service>>,
}

/// What makes a node of what the script would start alone. The identity is written here, since the script
/// would make up one per node.
fn prepare(data: &Path, node: u16, first: u16) {
    let port = first + node * PORTS;
    let voters: Vec<String> = (0..NODES)
        .map(|node| format!("{}@127.0.0.1:{}", node + 1, first + node * PORTS + PORTS - 1))
        .collect();
    let settings = format!(
        "node.id={}\ncontroller.quorum.voters={}\ndefault.replication.factor=3\nmin.insync.replicas=2\n\
         num.partitions=3\nunclean.leader.election.enable=false\nbroker.session.timeout.ms=2000\nlog.cleaner.dedupe.buffer.size=4194304\ncontroller.quorum.election.timeout.ms=500\n\
         controller.quorum.fetch.timeout.ms=1500\n",
        node + 1,
        voters.join(",")
    );
    let identity = format!(
        "version=1\ncluster.id=hostwardKafkaCluster1A\nnode.id={0}\ndirectory.id=hostwardKafkaNode{0}000A\n",
        node + 1
    );
    std::fs::write(data.join("port"), format!("{port}\n")).unwrap();
    std::fs::write(data.join("extra.properties"), settings).unwrap();
    std::fs::write(data.join("jvm-opts"), "-Xms128m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1")
        .unwrap();
    std::fs::create_dir(data.join("log")).unwrap();
    std::fs::write(data.join("log/meta.properties"), identity).unwrap();
}

impl Cluster {
    /// Running. None: skipped by name.
    fn start(test: &str) -> Option<Self> {
        let turn = vacant();
        let first = free_ports(NODES * PORTS);
        // Two of three have to run before one can serve.
        let nodes: Vec<Option<Service>> = std::thread::scope(|scope| {
            let start =
                |node| scope.spawn(move || Service::start("kafka", test, |data| prepare(data, node, first)));
            let starting: Vec<_> = (0..NODES).map(start).collect();
            starting.into_iter().map(|node| node.join().unwrap()).collect()
        });
        let cluster = Self { nodes: nodes.into_iter().collect::<Option<_>>()?, _turn: turn };
        cluster.wait("all brokers are known", |client| {
            let known = client.fetch_metadata(None, Duration::from_secs(5)).ok()?.brokers().len();
            (known == usize::from(NODES)).then_some(())
        });
        Some(cluster)
    }

    fn brokers(&self) -> String {
        self.nodes.iter().map(|node| node.fact("plaintext")).collect::<Vec<_>>().join(",")
    }

    fn keys(&self) -> String {
        let brokers: Vec<String> =
            self.nodes.iter().map(|node| format!("{:?}", node.fact("plaintext"))).collect();
        format!("brokers = [{}]\ntopic = {TOPIC:?}\n", brokers.join(","))
    }

    fn wait<T>(&self, what: &str, is: impl Fn(&BaseConsumer) -> Option<T>) -> T {
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.brokers()).create().unwrap();
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            if let Some(found) = is(&client) {
                return found;
            }
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Of each partition its leader, when all replicas of all are in sync with it.
    fn leaders(&self, in_sync: usize) -> Vec<usize> {
        self.wait("all replicas are in sync", |client| {
            let metadata = client.fetch_metadata(Some(TOPIC), Duration::from_secs(5)).ok()?;
            let partitions = metadata.topics().first()?.partitions();
            let whole = |it: &rdkafka::metadata::MetadataPartition| {
                it.leader() > 0 && it.replicas().len() == usize::from(NODES) && it.isr().len() == in_sync
            };
            let leader =
                |it: &rdkafka::metadata::MetadataPartition| usize::try_from(it.leader() - 1).unwrap();
            (partitions.len() == 3 && partitions.iter().all(whole))
                .then(|| partitions.iter().map(leader).collect())
        })
    }
}

#[test]
fn with_a_topic_kept_three_times_the_loss_of_its_leader_costs_nothing() {
    let name = "with_a_topic_kept_three_times_the_loss_of_its_leader_costs_nothing";
    let Some(cluster) = Cluster::start(name) else { return };
    let feed = Feed::start("kafka", &format!("{}key = \"process.entity_id\"\n", cluster.keys()));
    feed.send(500, 400);
    feed.wait_delivered();

    // One of three dies while it leads and is written to: the rest is enough.
    let leader = cluster.leaders(3)[0];
    std::thread::scope(|scope| {
        let feeding = scope.spawn(|| {
            for _ in 0..60 {
                feed.send(50, 400);
                std::thread::sleep(Duration::from_millis(25));
            }
        });
        std::thread::sleep(Duration::from_millis(300));
        cluster.nodes[leader].kill();
        feeding.join().unwrap();
    });
    feed.wait_delivered();
    let next = cluster.leaders(2)[0];
    assert_ne!(next, leader, "another leads");

    // Two of three: nobody may call anything kept.
    cluster.nodes[next].kill();
    feed.send(500, 400);
    let status = feed.wait("the outage is told", |status| status.health.state == State::Degraded);
    assert!(status.delivered < feed.sent(), "one replica of three acknowledges: {status:#?}");
    std::thread::scope(|scope| {
        for node in [leader, next] {
            let node = &cluster.nodes[node];
            scope.spawn(|| node.start_again());
        }
    });
    let status = feed.wait_delivered();

    let Count { sent, received, duplicated, missing } = count(&feed, &read(&cluster.brokers(), TOPIC));
    assert_eq!(missing, Vec::<u64>::new(), "of {sent}");
    assert_eq!((sent, received), (4_000, 4_000 + duplicated));
    // Idempotence holds as long as it is the same producer that repeats.
    if (feed.counter("producers"), feed.counter("unsure_events")) == (1, 0) {
        assert_eq!(duplicated, 0);
    }
    assert_eq!(status.dropped_events(), 0);
    eprintln!("{name}: {sent} sent, {received} read, {duplicated} twice, 0 missing");
}
