//! What waits for its container, and what does not.

use super::*;
use crate::clock::ReplayClock;
use hostward_event::fact::Notice;
use hostward_event::mask::MaskConfig;
use hostward_event::plan::KernelPlan;
use hostward_event::raw::{RawBody, RawCgroup, RawEvent, RawExec, RawTask, Rung, Source};
use hostward_event::workload::{ContainerFacts, ImageFacts};
use hostward_policy::{Responses, RuleFile};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const RULES: &str = "
- rule: Miner
  desc: d
  condition: evt.type = execve and proc.name = xmrig
  output: miner in %container.name
  priority: CRITICAL
- rule: Miner in web
  desc: d
  condition: evt.type = execve and proc.name = xmrig and container.image.repository = nginx
  output: miner in nginx
  priority: CRITICAL
";
const RESPONSES: &str = "
- response: Stop
  rules: [Miner, Miner in web]
  mode: enforce
  actions: [kill]
";

fn file(text: &str) -> RuleFile {
    RuleFile { name: "test.yaml".into(), text: text.as_bytes().to_vec() }
}

fn policy(rules: &str, responses: &str) -> Policy {
    let loaded = hostward_policy::load(&[file(rules)]);
    let (responses, problems) = Responses::load(&[file(responses)], &loaded.rules);
    assert!(loaded.problems.is_empty() && problems.is_empty(), "{:?} {problems:?}", loaded.problems);
    Policy {
        rules: loaded.rules,
        responses,
        plan: KernelPlan::default(),
        owner_keys: vec!["team".into()],
        problems: Vec::new(),
    }
}

fn pipeline(responses: &str) -> Pipeline<ReplayClock> {
    let policy = policy(RULES, responses);
    let enricher = Enricher::new(&hostward_enrich::Config::default());
    let masker = Masker::new(&MaskConfig::default()).unwrap();
    let mut pipeline =
        Pipeline::new(ReplayClock::default(), enricher, Arc::new(policy), Telemetry::default(), masker);
    let sources = Input::Fact(Fact::Sources { answer: true });
    pipeline.handle(&sources, &mut Vec::new());
    pipeline
}

fn exec() -> Input {
    let cgroup = RawCgroup { id: 77, v1: false, leaf: ID.into(), parent: "docker".into() };
    let task = RawTask {
        pid: 10,
        tid: 10,
        start_boot_ns: 1_000,
        cgroup_id: 77,
        comm: "xmrig".into(),
        ..RawTask::default()
    };
    let exec = RawExec { path: "/xmrig".into(), filename: "/xmrig".into(), cgroup, ..RawExec::default() };
    let source = Source {
        rung: Rung::BtfTracepoint,
        cpu: 0,
        stream: 0,
        seq: 1,
        boot_ns: 2_000,
        received_boot_ns: 3_000,
    };
    Input::Raw(RawEvent { source, task, body: RawBody::Exec(Box::new(exec)) })
}

fn told() -> Input {
    Input::Fact(Fact::Container(Arc::new(ContainerFacts {
        source: hostward_event::workload::Source::Docker,
        id: ID.into(),
        runtime: "docker".into(),
        name: "web".into(),
        image: ImageFacts { reference: "nginx:1.27".into(), ..ImageFacts::default() },
        command: Vec::new(),
        labels: [("team".into(), "payments".into())].into(),
        mounts: Vec::new(),
        privileged: None,
        capabilities: Vec::new(),
        started_ns: 0,
        sandbox: false,
        sandbox_id: Text::EMPTY,
        pod_uid: Text::EMPTY,
    })))
}

fn run(pipeline: &mut Pipeline<ReplayClock>, input: &Input) -> (Vec<EventId>, Vec<Arc<Event>>) {
    let mut effects = Vec::new();
    pipeline.handle(input, &mut effects);
    let mut kills = Vec::new();
    let mut emitted = Vec::new();
    for effect in effects {
        match effect {
            Effect::Act(request) => kills.push(request.alert),
            Effect::Emit(event) => emitted.push(event),
            Effect::Look(_) => {}
        }
    }
    (kills, emitted)
}

fn alerts(events: &[Arc<Event>]) -> Vec<(String, Outcome, String, String)> {
    let alerts = events.iter().filter_map(|event| event.alert.as_ref());
    alerts
        .map(|alert| {
            let (name, message) = (alert.rule.name.to_string(), alert.message.to_string());
            (name, alert.outcome, message, alert.owner.to_string())
        })
        .collect()
}

fn result(alert: EventId) -> Input {
    let detail = Text::EMPTY;
    Input::Action(ActionResult { alert, outcome: Outcome::Killed, detail, boot_ns: 9_000 })
}

#[test]
fn a_kill_does_not_wait_for_the_container_and_its_alert_does() {
    let mut pipeline = pipeline(RESPONSES);
    let (kills, emitted) = run(&mut pipeline, &exec());
    assert_eq!((kills.len(), emitted.len()), (1, 0), "only the rule that reads nothing of the runtime");
    let (_, emitted) = run(&mut pipeline, &result(kills[0]));
    assert!(emitted.is_empty(), "the alert shows the container");

    let (more, emitted) = run(&mut pipeline, &told());
    let killed = ("Miner".to_owned(), Outcome::Killed, "miner in web".to_owned(), "payments".to_owned());
    assert_eq!(alerts(&emitted), [killed]);
    assert_eq!(more.len(), 1, "the rule that reads the image acts now, the other one not again");
    let (_, emitted) = run(&mut pipeline, &result(more[0]));
    assert_eq!(alerts(&emitted)[0].0, "Miner in web");
}

#[test]
fn a_result_that_comes_after_the_container_is_told_then() {
    let mut pipeline = pipeline(RESPONSES);
    let (kills, _) = run(&mut pipeline, &exec());
    let (_, emitted) = run(&mut pipeline, &told());
    assert!(alerts(&emitted).is_empty());
    let (_, emitted) = run(&mut pipeline, &result(kills[0]));
    assert_eq!(alerts(&emitted)[0].2, "miner in web");
}

#[test]
fn a_response_that_depends_on_the_container_waits_for_it() {
    let when = RESPONSES.replace("  mode:", "  when: container.image.repository != nginx\n  mode:");
    let mut pipeline = pipeline(&when);
    let (kills, _) = run(&mut pipeline, &exec());
    assert!(kills.is_empty(), "what is not told yet is no reason to kill");
    let (kills, emitted) = run(&mut pipeline, &told());
    assert!(kills.is_empty());
    assert_eq!(alerts(&emitted).iter().map(|alert| alert.1).collect::<Vec<_>>(), [Outcome::Alerted; 2]);
}

#[test]
fn what_waits_goes_out_when_the_agent_stops_and_that_it_does_is_its_last_word() {
    let mut pipeline = pipeline(RESPONSES);
    run(&mut pipeline, &exec());
    let stopped = Notice {
        action: Text::from_static(Notice::STOPPED),
        message: Text::from_static("told to"),
        success: true,
        boot_ns: 9_000,
    };
    let (_, emitted) = run(&mut pipeline, &Input::Fact(Fact::Notice(stopped)));
    assert!(emitted.is_empty());
    let mut effects = Vec::new();
    pipeline.finish(&mut effects);
    let mut emitted: Vec<Arc<Event>> = effects
        .into_iter()
        .filter_map(|effect| if let Effect::Emit(event) = effect { Some(event) } else { None })
        .collect();
    assert!(emitted.is_sorted_by_key(|event| event.sequence));
    let last = emitted.pop().unwrap();
    assert!(matches!(&last.body, Body::Agent(notice) if notice.is_last()), "{last:?}");
    assert_eq!(emitted.len(), 2, "the exec and its alert");
    assert_eq!(alerts(&emitted)[0].1, Outcome::TimedOut);
    assert!(emitted.iter().all(|event| event.partial));
}

/// The same program again, `second` seconds after the start.
fn exec_at(second: u64) -> Input {
    let mut input = exec();
    if let Input::Raw(raw) = &mut input {
        raw.source.seq = second;
        raw.source.boot_ns = second * 1_000_000_000;
    }
    input
}

const FOLDED: &str = "
- rule: Often
  desc: d
  condition: evt.type = execve
  output: often
  priority: NOTICE
  dedup: {by: proc.name, window: 10s}
";

/// Rule, message and detail of the alerts.
fn details(events: &[Arc<Event>]) -> Vec<String> {
    events.iter().filter_map(|event| event.alert.as_ref()).map(|alert| alert.detail.to_string()).collect()
}

#[test]
fn repeats_are_told_by_one_summary_also_when_rules_are_swapped() {
    let mut pipeline = pipeline("");
    pipeline.swap(Arc::new(policy(FOLDED, "")));
    run(&mut pipeline, &told());
    let counts: Vec<usize> = (1..=3).map(|n| details(&run(&mut pipeline, &exec_at(n)).1).len()).collect();
    assert_eq!(counts, [1, 0, 0]);
    assert!(details(&run(&mut pipeline, &Input::Tick(10_000_000_000)).1).is_empty(), "the window is open");
    let (_, emitted) = run(&mut pipeline, &Input::Tick(12_000_000_000));
    assert_eq!(details(&emitted), ["2 more within 10000 ms were folded into this one"]);
    assert!(details(&run(&mut pipeline, &Input::Tick(30_000_000_000)).1).is_empty());

    run(&mut pipeline, &exec_at(31));
    run(&mut pipeline, &exec_at(32));
    pipeline.swap(Arc::new(policy(RULES, "")));
    let (_, emitted) = run(&mut pipeline, &Input::Tick(33_000_000_000));
    assert_eq!(details(&emitted), ["1 more within 10000 ms were folded into this one"]);
}

#[test]
fn a_kill_is_carried_out_each_time_though_alerts_are_folded() {
    let mut pipeline = pipeline("");
    let kill = "- response: Stop\n  rules: [Often]\n  mode: enforce\n  actions: [kill]\n";
    pipeline.swap(Arc::new(policy(FOLDED, kill)));
    run(&mut pipeline, &told());
    let kills: Vec<usize> = (1..=3).map(|n| run(&mut pipeline, &exec_at(n)).0.len()).collect();
    assert_eq!(kills, [1, 1, 1]);
}
