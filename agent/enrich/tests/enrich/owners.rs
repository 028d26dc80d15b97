//! Events of containers: complete when somebody tells in time, and honest when nobody does.

use crate::kernel::{Proc, STEP_NS, event, feed};
use hostward_enrich::{Config, Enricher, Fact, Input, Lookup, Output};
use hostward_event::event::Body;
use hostward_event::workload::{ContainerFacts, ImageFacts, Owner, PodFacts, Source};
use hostward_event::{Event, EventKind, Text};
use std::collections::BTreeMap;
use std::sync::Arc;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
const POD: &str = "f4bcdb5f-4b5b-4b5b-9d5c-0a1b2c3d4e5f";
const SECOND: u64 = 1_000_000_000;

pub(crate) fn facts(source: Source, id: &str, name: &str) -> ContainerFacts {
    ContainerFacts {
        source,
        id: id.into(),
        runtime: "docker".into(),
        name: name.into(),
        image: ImageFacts { reference: "nginx:1.27".into(), ..ImageFacts::default() },
        command: Vec::new(),
        labels: BTreeMap::new(),
        mounts: Vec::new(),
        privileged: Some(false),
        capabilities: Vec::new(),
        started_ns: 1,
        sandbox: false,
        sandbox_id: Text::EMPTY,
        pod_uid: Text::EMPTY,
    }
}

fn told(id: &str, name: &str) -> Input {
    Input::Fact(Fact::Container(Arc::new(facts(Source::Docker, id, name))))
}

fn askable(answer: bool) -> Input {
    Input::Fact(Fact::Sources { answer })
}

fn enricher(config: &Config) -> Enricher {
    let mut enricher = Enricher::new(config);
    feed(&mut enricher, &Proc::new(1, 5).seed(false));
    feed(&mut enricher, &askable(true));
    enricher
}

fn inside(pid: u32, id: &str) -> Proc {
    Proc::child_of(&Proc::new(1, 5), pid, STEP_NS).with_cgroup(7_000 + u64::from(pid), "docker", id)
}

fn name(event: &Event) -> Option<String> {
    let container = event.process.as_ref()?.workload.container.as_ref()?;
    Some(container.facts.as_ref()?.name.to_string())
}

/// Kind of what an event tells, and the container's name.
fn shown(events: &[Arc<Event>]) -> Vec<(EventKind, Option<String>, bool)> {
    events.iter().map(|event| (event.kind(), name(event), event.partial)).collect()
}

#[test]
fn the_first_events_wait_for_their_container_and_keep_their_order() {
    let mut enricher = enricher(&Config::default());
    let web = inside(10, ID);
    let (events, lookups) = feed(&mut enricher, &web.exec(2 * STEP_NS));
    assert!(events.is_empty());
    let [Lookup::Container { id, runtime, pid, .. }] = lookups.as_slice() else { panic!("{lookups:?}") };
    assert_eq!((id.to_string().as_str(), runtime.to_string().as_str(), *pid), (ID, "docker", 10));

    // Others do not wait with it, and nobody is asked twice.
    let host = Proc::child_of(&Proc::new(1, 5), 20, STEP_NS);
    assert!(!event(&mut enricher, &host.exec(3 * STEP_NS)).partial);
    let (events, lookups) = feed(&mut enricher, &web.open(4 * STEP_NS));
    assert_eq!((events.len(), lookups.len()), (0, 0));

    let (events, _) = feed(&mut enricher, &told(ID, "web"));
    let web_named = || Some("web".to_owned());
    assert_eq!(
        shown(&events),
        [(EventKind::Exec, web_named(), false), (EventKind::Open, web_named(), false)]
    );
    assert_eq!(name(&event(&mut enricher, &web.open(5 * STEP_NS))), web_named(), "from now on at once");
    let stats = enricher.stats();
    assert_eq!((stats.complete, stats.partial, stats.held), (3, 0, 0));
}

#[test]
fn what_cannot_wait_sees_an_event_at_once() {
    let mut enricher = enricher(&Config::default());
    let mut out = Vec::new();
    enricher.handle(&inside(10, ID).exec(2 * STEP_NS), &mut out);
    let early = out
        .iter()
        .find_map(|output| if let Output::Early(event, _) = output { Some(event.id) } else { None });
    let (events, _) = feed(&mut enricher, &told(ID, "web"));
    assert_eq!(early, Some(events[0].id), "the same event, so that nothing is done twice");
}

#[test]
fn a_container_that_nobody_tells_of_goes_out_marked_and_an_update_follows() {
    let mut enricher = enricher(&Config::default());
    let web = inside(10, ID);
    feed(&mut enricher, &web.exec(2 * STEP_NS));
    let (events, _) = feed(&mut enricher, &Input::Tick(2 * STEP_NS + SECOND));
    assert!(events.is_empty(), "the wait is two seconds");
    let (events, _) = feed(&mut enricher, &Input::Tick(2 * STEP_NS + 2 * SECOND));
    assert_eq!(shown(&events), [(EventKind::Exec, None, true)]);
    assert!(event(&mut enricher, &web.open(3 * SECOND)).partial, "nothing waits twice for the same");
    let (_, lookups) = feed(&mut enricher, &web.open(70 * SECOND));
    assert_eq!(lookups.len(), 1, "asked about again after a minute");

    let (events, _) = feed(&mut enricher, &told(ID, "web"));
    let [update] = events.as_slice() else { panic!("{events:?}") };
    let Body::Agent(notice) = &update.body else { panic!("{update:?}") };
    assert_eq!((notice.action.to_string().as_str(), name(update)), ("update", Some("web".to_owned())));
    assert!(notice.message.to_string().contains("3 of its events"), "{}", notice.message);
    assert_eq!(name(&event(&mut enricher, &web.open(71 * SECOND))).as_deref(), Some("web"));
    assert_eq!((enricher.stats().complete, enricher.stats().partial), (1, 3));
}

#[test]
fn a_no_ends_the_wait() {
    let mut enricher = enricher(&Config::default());
    feed(&mut enricher, &inside(10, ID).exec(2 * STEP_NS));
    let (events, _) = feed(&mut enricher, &Input::Fact(Fact::ContainerUnknown { id: ID.into() }));
    assert_eq!(shown(&events), [(EventKind::Exec, None, true)]);
}

#[test]
fn nothing_waits_while_nobody_can_be_asked() {
    let mut enricher = Enricher::new(&Config::default());
    feed(&mut enricher, &Proc::new(1, 5).seed(false));
    let web = inside(10, ID);
    assert!(!event(&mut enricher, &web.exec(2 * STEP_NS)).partial, "there is nothing that it lacks");
    feed(&mut enricher, &askable(true));
    assert!(feed(&mut enricher, &web.open(3 * STEP_NS)).0.is_empty());
    let (events, _) = feed(&mut enricher, &askable(false));
    assert_eq!(shown(&events), [(EventKind::Open, None, true)]);
    let next = event(&mut enricher, &web.open(4 * STEP_NS));
    assert!(next.partial, "somebody could be asked once, and may come back");
    assert_eq!(feed(&mut enricher, &told(ID, "web")).0.len(), 1, "the update");
    let config = Config { context_wait_ms: 0, ..Config::default() };
    let mut hasty = self::enricher(&config);
    assert!(event(&mut hasty, &web.exec(2 * STEP_NS)).partial);
}

#[test]
fn a_pod_is_put_together_from_what_several_tell() {
    let mut enricher = enricher(&Config::default());
    let app = Proc::child_of(&Proc::new(1, 5), 10, STEP_NS).with_cgroup(77, &format!("pod{POD}"), ID);
    feed(&mut enricher, &app.exec(2 * STEP_NS));
    let container = ContainerFacts { source: Source::Cri, ..facts(Source::Cri, ID, "app") };
    let (events, _) = feed(&mut enricher, &Input::Fact(Fact::Container(Arc::new(container))));
    assert!(events.is_empty(), "its pod is not known yet");
    let cri = PodFacts {
        name: "app-1".into(),
        namespace: "prod".into(),
        labels: [("app".into(), "x".into())].into(),
        ..PodFacts::new(Source::Cri, POD.into())
    };
    let (events, _) = feed(&mut enricher, &Input::Fact(Fact::Pod(Arc::new(cri))));
    assert_eq!(shown(&events), [(EventKind::Exec, Some("app".to_owned()), false)]);
    let owner = Owner { kind: "Deployment".into(), name: "app".into(), uid: Text::EMPTY };
    let api = PodFacts {
        service_account: "robot".into(),
        owners: vec![owner.clone()],
        ..PodFacts::new(Source::KubernetesApi, POD.into())
    };
    feed(&mut enricher, &Input::Fact(Fact::Pod(Arc::new(api))));
    let seen = event(&mut enricher, &app.open(3 * STEP_NS));
    let pod = seen.process.as_ref().unwrap().workload.container.as_ref().unwrap().pod.clone().unwrap();
    assert_eq!(
        (&pod.name, &pod.service_account, &pod.owners),
        (&"app-1".into(), &"robot".into(), &vec![owner])
    );
    assert_eq!(pod.labels.len(), 1, "what the API did not tell stays");

    let gone = Fact::PodGone { uid: POD.into(), source: Source::KubernetesApi };
    feed(&mut enricher, &Input::Fact(gone));
    feed(&mut enricher, &Input::Tick(120 * SECOND));
    assert_eq!(enricher.stats().pods, 1, "the other source still knows it");
}

#[test]
fn a_container_that_is_gone_names_its_late_records_for_a_minute() {
    let mut enricher = enricher(&Config::default());
    feed(&mut enricher, &told(ID, "short"));
    let gone = |source| Input::Fact(Fact::ContainerGone { id: ID.into(), source });
    feed(&mut enricher, &gone(Source::KubernetesApi));
    feed(&mut enricher, &Input::Tick(61 * SECOND));
    assert_eq!(enricher.stats().containers, 1, "the one that is believed still knows it");
    feed(&mut enricher, &gone(Source::Docker));
    assert_eq!(name(&event(&mut enricher, &inside(10, ID).exec(120 * SECOND))).as_deref(), Some("short"));
    feed(&mut enricher, &Input::Tick(122 * SECOND));
    assert_eq!(enricher.stats().containers, 0);
}

#[test]
fn a_lesser_source_does_not_talk_over_a_better_one() {
    let mut enricher = enricher(&Config::default());
    feed(&mut enricher, &told(ID, "web"));
    let lesser = Fact::Container(Arc::new(facts(Source::Oci, ID, "liar")));
    feed(&mut enricher, &Input::Fact(lesser));
    assert_eq!(name(&event(&mut enricher, &inside(10, ID).exec(2 * STEP_NS))).as_deref(), Some("web"));
}

#[test]
fn at_the_bound_those_that_wait_longest_go_out() {
    let config = Config { max_held_events: 2.try_into().unwrap(), ..Config::default() };
    let mut enricher = enricher(&config);
    let (first, second) = (inside(10, ID), inside(11, OTHER));
    assert!(feed(&mut enricher, &first.exec(2 * STEP_NS)).0.is_empty());
    assert!(feed(&mut enricher, &second.exec(3 * STEP_NS)).0.is_empty());
    let (events, _) = feed(&mut enricher, &second.open(4 * STEP_NS));
    assert_eq!(shown(&events), [(EventKind::Exec, None, true)]);
    assert_eq!(events[0].process.as_ref().unwrap().pid, 10);
    let mut rest = Vec::new();
    enricher.finish(&mut rest);
    assert_eq!(rest.len(), 2, "the agent stops: nothing is kept back");
    assert_eq!(enricher.stats().held, 0);
}

#[test]
fn a_process_that_leaves_its_container_stays_behind_its_own_events() {
    let mut enricher = enricher(&Config::default());
    let web = inside(10, ID);
    feed(&mut enricher, &web.exec(2 * STEP_NS));
    let left = web.with_cgroup(99, "system.slice", "out.service");
    assert!(feed(&mut enricher, &left.exec(3 * STEP_NS)).0.is_empty());
    let (events, _) = feed(&mut enricher, &told(ID, "web"));
    assert_eq!(
        shown(&events),
        [(EventKind::Exec, Some("web".into()), false), (EventKind::Exec, None, false)]
    );
}

#[test]
fn a_cgroup_is_known_from_its_making_until_a_minute_after_its_end() {
    known_while_it_is_there(false);
    known_while_it_is_there(true);
}

fn known_while_it_is_there(v1: bool) {
    let mut enricher = enricher(&Config::default());
    let mut runtime = Proc::child_of(&Proc::new(1, 5), 9, STEP_NS);
    runtime.cgroup.v1 = v1;
    // crun's level `container` hides the id from a record of leaf and parent alone; the path does not.
    let path = format!("/machine.slice/libpod-{ID}.scope/container");
    event(&mut enricher, &runtime.cgroup(7_010, &path, false, STEP_NS));
    feed(&mut enricher, &told(ID, "web"));
    let mut web = Proc::child_of(&runtime, 10, 2 * STEP_NS).with_cgroup(7_010, "x", "container");
    web.cgroup.v1 = v1;
    let seen = event(&mut enricher, &web.open(3 * STEP_NS));
    assert_eq!(name(&seen).as_deref(), Some("web"), "by the id alone");
    assert_eq!(seen.process.as_ref().unwrap().workload.path.to_string(), path);

    event(&mut enricher, &runtime.cgroup(7_010, &path, true, 4 * STEP_NS));
    feed(&mut enricher, &Input::Tick(60 * SECOND));
    assert_eq!(enricher.stats().cgroups, 1);
    feed(&mut enricher, &Input::Tick(61 * SECOND));
    assert_eq!(enricher.stats().cgroups, 0);
}
