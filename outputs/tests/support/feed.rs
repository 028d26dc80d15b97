//! Events for the sink under test, and waiting for what becomes of them.

use hostward_event::event::{Action, Actor, Alert, Body, Mode, Priority, RuleInfo, Surroundings};
use hostward_event::fact::Outcome;
use hostward_event::process::Process;
use hostward_event::raw::Args;
use hostward_event::{Event, EventKind, IdMint, Text};
use hostward_outputs::{Config, Outputs, SinkSpec, SinkStatus};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One agent with one sink. The ids of what it sends are those of 1, 2, 3 …
pub(crate) struct Feed {
    pub(crate) outputs: Outputs,
    around: Arc<Surroundings>,
    sent: AtomicU64,
    /// `@timestamp` of all events. A broker forgets a producer whose last record is a day old by its
    /// timestamp, and with it which batches it has: old events would not be the same test.
    pub(crate) time_ms: i64,
}

impl Feed {
    /// From the keys of a `[[sink]]` of type `kind`.
    pub(crate) fn start(kind: &str, keys: &str) -> Self {
        let keys = format!("type = {kind:?}\n{keys}");
        let config: Config = toml::from_str(&keys).unwrap_or_else(|error| panic!("{error}\n{keys}"));
        assert_eq!(Config::validate(std::slice::from_ref(&config)), []);
        let mut around = Surroundings::default();
        around.host.machine_id = "machine-1".to_owned();
        around.host.hostname = "host one".to_owned();
        Self {
            outputs: Outputs::start(vec![SinkSpec { config, filter: None }]).unwrap(),
            around: Arc::new(around),
            sent: AtomicU64::new(0),
            time_ms: i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis())
                .unwrap(),
        }
    }

    /// Sends so many events with arguments of about so many bytes that do not compress.
    pub(crate) fn send(&self, count: u64, filler_bytes: usize) {
        for _ in 0..count {
            let filler = std::iter::repeat_with(|| fastrand::alphanumeric() as u8).take(filler_bytes);
            self.push(filler.collect(), None);
        }
    }

    /// Sends an alert of a rule named `a rule`, of priority Critical, with this message.
    pub(crate) fn send_alert(&self, message: &str) {
        let rule = RuleInfo {
            name: Text::from("a rule"),
            description: Text::EMPTY,
            priority: Priority::Critical,
            tags: Vec::new(),
            technique_ids: Vec::new(),
            tactics: Vec::new(),
            source: Text::EMPTY,
            file_hash: Text::EMPTY,
            output_fields: vec!["proc.name".into()],
        };
        let alert = Alert {
            trigger: id(0),
            rule: Arc::new(rule),
            message: Text::from(message),
            response: Text::EMPTY,
            owner: Text::EMPTY,
            mode: Mode::Monitor,
            action: Action::Alert,
            actor: Actor::None,
            outcome: Outcome::Alerted,
            detail: Text::EMPTY,
            matched_ns: 0,
            responded_ns: 0,
        };
        self.push(b"x".to_vec(), Some(Arc::new(alert)));
    }

    fn push(&self, args: Vec<u8>, alert: Option<Arc<Alert>>) {
        let sequence = self.sent.fetch_add(1, Ordering::SeqCst) + 1;
        let args = Args { total_bytes: u32::try_from(args.len()).unwrap(), raw: Text::from(args) };
        let entity_id = IdMint::new("m", "b").entity(7, sequence % 5 * 1_000_000_000);
        let process = Process { pid: 7, entity_id, args, ..Process::default() };
        self.outputs.push(&Arc::new(Event {
            id: id(sequence),
            sequence,
            time_ns: self.time_ms * 1_000_000 + 999_999,
            created_ns: 0,
            source: None,
            tid: 7,
            process: Some(Arc::new(process)),
            lineage: Arc::default(),
            session_leader: None,
            around: Arc::clone(&self.around),
            body: Body::Fork,
            partial: false,
            program: None,
            inside: None,
            domain: None,
            alert,
        }));
    }

    /// How many were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// The law is asserted at every reading.
    pub(crate) fn status(&self) -> SinkStatus {
        let status = self.outputs.status().into_iter().next().unwrap();
        assert!(status.law_holds(), "the law is broken: {status:#?}");
        status
    }

    /// A counter of the sink.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let counters = self.status().counters;
        counters.iter().find(|(key, _)| *key == name).unwrap_or_else(|| panic!("no {name}: {counters:?}")).1
    }

    /// Waits until `is` holds, a minute and a half at most.
    pub(crate) fn wait(&self, what: &str, is: impl Fn(&SinkStatus) -> bool) -> SinkStatus {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let status = self.status();
            if is(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "waited in vain until {what}: {status:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until all that was sent is delivered.
    pub(crate) fn wait_delivered(&self) -> SinkStatus {
        let sent = self.sent();
        self.wait("all is delivered", |status| status.delivered == sent)
    }
}

/// `event.id` of the event with this sequence.
pub(crate) fn id(sequence: u64) -> hostward_event::EventId {
    IdMint::new("m", "b").event(EventKind::Fork, 0, sequence, 0)
}

/// What became of the ids that were sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) sent: u64,
    pub(crate) received: usize,
    pub(crate) duplicated: usize,
    pub(crate) missing: Vec<u64>,
}

impl Count {
    /// All once.
    pub(crate) fn once(sent: u64) -> Self {
        Self { sent, received: usize::try_from(sent).unwrap(), duplicated: 0, missing: Vec::new() }
    }

    /// Of the ids that arrived.
    pub(crate) fn of<'i>(feed: &Feed, received: impl Iterator<Item = &'i str>) -> Self {
        let all: Vec<&str> = received.collect();
        let ids: BTreeSet<&str> = all.iter().copied().collect();
        Self {
            sent: feed.sent(),
            received: all.len(),
            duplicated: all.len() - ids.len(),
            missing: (1..=feed.sent()).filter(|n| !ids.contains(id(*n).to_string().as_str())).collect(),
        }
    }
}
