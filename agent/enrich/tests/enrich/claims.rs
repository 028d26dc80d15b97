//! Containers whose cgroups may have any name: the files of their runtime tell which is theirs.

use crate::kernel::{Proc, STEP_NS, event, feed};
use crate::owners::facts;
use hostward_enrich::{Config, Enricher, Fact, Input};
use hostward_event::fact::Lookup;
use hostward_event::workload::Source;
use hostward_event::{Event, Text};
use std::sync::Arc;

const CGROUP: u64 = 7_100;

fn enricher() -> Enricher {
    let mut enricher = Enricher::new(&Config::default());
    feed(&mut enricher, &Proc::new(1, 5).seed(false));
    feed(&mut enricher, &Input::Fact(Fact::Sources { answer: true }));
    enricher
}

fn claim(path: &str, id: &str) -> Input {
    let (path, container, runtime) = (path.into(), id.into(), "runc".into());
    Input::Fact(Fact::CgroupContainer { cgroup_id: CGROUP, path, container, runtime })
}

fn told(id: &str) -> Input {
    Input::Fact(Fact::Container(Arc::new(facts(Source::Oci, id, id))))
}

fn path_of(pid: u32, cgroup_id: u64, path: &str) -> Input {
    Input::Fact(Fact::CgroupPath { cgroup_id, path: path.into(), pid, start_boot_ns: STEP_NS })
}

fn within(pid: u32, cgroup: u64, parent: &str, leaf: &str) -> Proc {
    Proc::child_of(&Proc::new(1, 5), pid, STEP_NS).with_cgroup(cgroup, parent, leaf)
}

/// Id, runtime and name of the container that an event tells.
fn container(event: &Event) -> Option<(String, String, String)> {
    let container = event.process.as_ref()?.workload.container.as_ref()?;
    let name = container.facts.as_ref().map_or(Text::EMPTY, |facts| facts.name.clone());
    Some((container.id.to_string(), container.runtime.to_string(), name.to_string()))
}

fn web() -> Option<(String, String, String)> {
    Some(("web".into(), "runc".into(), "web".into()))
}

#[test]
fn the_first_program_in_a_claimed_cgroup_has_its_container_at_once() {
    let mut enricher = enricher();
    feed(&mut enricher, &claim("/srv/web", "web"));
    feed(&mut enricher, &told("web"));
    let first = event(&mut enricher, &within(10, CGROUP, "srv", "web").exec(2 * STEP_NS));
    assert_eq!((container(&first), first.partial), (web(), false));
}

#[test]
fn a_claim_counts_for_what_runs_already_and_for_all_below() {
    let mut enricher = enricher();
    let first = within(10, CGROUP, "srv", "web");
    let below = within(11, CGROUP + 1, "web", "worker");
    let beside = within(12, CGROUP + 2, "srv", "web-2");
    for process in [&first, &below, &beside] {
        let (events, _) = feed(&mut enricher, &process.exec(2 * STEP_NS));
        assert_eq!(container(&events[0]), None);
    }
    feed(&mut enricher, &path_of(11, CGROUP + 1, "/srv/web/worker"));
    feed(&mut enricher, &path_of(12, CGROUP + 2, "/srv/web-2"));
    feed(&mut enricher, &told("web"));
    feed(&mut enricher, &claim("/srv/web", "web"));
    assert_eq!(container(&event(&mut enricher, &first.open(3 * STEP_NS))), web());
    assert_eq!(container(&event(&mut enricher, &below.open(3 * STEP_NS))), web());
    assert_eq!(container(&event(&mut enricher, &beside.open(3 * STEP_NS))), None);
}

#[test]
fn names_that_tell_a_container_are_believed_before_a_claim() {
    let mut enricher = enricher();
    let id = "0123456789abcdef".repeat(4);
    feed(&mut enricher, &claim("/docker", "web"));
    feed(&mut enricher, &told("web"));
    feed(&mut enricher, &told(&id));
    let inner = event(&mut enricher, &within(10, CGROUP + 1, "docker", &id).exec(2 * STEP_NS));
    assert_eq!(container(&inner).map(|found| found.0), Some(id));
}

#[test]
fn a_cgroup_of_the_same_name_is_no_containers_once_that_is_gone() {
    let mut enricher = enricher();
    feed(&mut enricher, &claim("/srv/web", "web"));
    feed(&mut enricher, &told("web"));
    let old = within(10, CGROUP, "srv", "web");
    assert_eq!(container(&event(&mut enricher, &old.exec(2 * STEP_NS))), web());
    let gone = |source| Input::Fact(Fact::ContainerGone { id: "web".into(), source });
    feed(&mut enricher, &gone(Source::Cri));
    feed(&mut enricher, &gone(Source::Oci));
    // Files are read before events of the same moment come.
    let late = within(12, CGROUP, "srv", "web");
    assert_eq!(container(&event(&mut enricher, &late.exec(3 * STEP_NS))), web());
    feed(&mut enricher, &Proc::new(1, 5).cgroup(CGROUP, "/srv/web", true, 3 * STEP_NS));
    let new = within(11, CGROUP + 1, "srv", "web");
    feed(&mut enricher, &new.exec(3 * STEP_NS));
    feed(&mut enricher, &path_of(11, CGROUP + 1, "/srv/web"));
    assert_eq!(container(&event(&mut enricher, &new.open(4 * STEP_NS))), None);
    assert_eq!(container(&event(&mut enricher, &old.open(4 * STEP_NS))), web(), "its last words are its own");
}

/// The same in a pid namespace of its own, where it is the first.
fn first(pid: u32, cgroup: u64, parent: &str, leaf: &str) -> Proc {
    Proc { vpid: 1, ..within(pid, cgroup, parent, leaf) }
}

type Fed = (Vec<Arc<Event>>, Vec<Lookup>);

fn asked(fed: &Fed) -> Vec<String> {
    let claims = fed.1.iter().filter_map(|lookup| match lookup {
        Lookup::Claim { leaf } => Some(leaf.to_string()),
        _ => None,
    });
    claims.collect()
}

fn sent(fed: &Fed) -> &[Arc<Event>] {
    &fed.0
}

#[test]
fn a_process_apart_waits_until_its_cgroup_is_claimed() {
    let mut enricher = enricher();
    let process = first(10, CGROUP, "srv", "web");
    let out = feed(&mut enricher, &process.exec(2 * STEP_NS));
    assert_eq!((asked(&out), sent(&out).len()), (vec!["web".to_owned()], 0));
    let out = feed(&mut enricher, &process.open(3 * STEP_NS));
    assert_eq!((asked(&out).len(), sent(&out).len()), (0, 0), "asked once, in order behind the first");
    assert_eq!(sent(&feed(&mut enricher, &told("web"))).len(), 0);
    let out = feed(&mut enricher, &claim("/srv/web", "web")).0;
    assert_eq!(out.iter().map(|event| event.kind().name()).collect::<Vec<_>>(), ["exec", "open"]);
    assert!(out.iter().all(|event| container(event) == web() && !event.partial), "{out:?}");
    // What comes after it knows at once.
    let later = event(&mut enricher, &process.exit(4 * STEP_NS));
    assert_eq!(container(&later), web());
}

#[test]
fn a_process_apart_in_no_container_goes_on_when_that_is_known() {
    let mut enricher = enricher();
    let process = first(10, CGROUP, "user.slice", "bubble");
    assert_eq!(sent(&feed(&mut enricher, &process.exec(2 * STEP_NS))).len(), 0);
    let unknown = Input::Fact(Fact::ContainerUnknown { id: "bubble".into() });
    let out = feed(&mut enricher, &unknown).0;
    assert_eq!(out.len(), 1);
    assert_eq!((container(&out[0]), out[0].partial), (None, false));
    let out = feed(&mut enricher, &process.open(3 * STEP_NS));
    assert_eq!((asked(&out).len(), sent(&out).len()), (0, 1), "not asked again");
    // And when nobody answers it does not wait for ever.
    let silent = first(11, CGROUP + 1, "user.slice", "silent");
    assert_eq!(sent(&feed(&mut enricher, &silent.exec(4 * STEP_NS))).len(), 0);
    let out = feed(&mut enricher, &Input::Tick(4 * STEP_NS + 2_000_000_001)).0;
    assert_eq!(out.len(), 1);
}

#[test]
fn units_and_processes_of_the_host_do_not_wait() {
    let mut enricher = enricher();
    for (n, process) in [
        first(10, CGROUP, "system.slice", "sandboxed.service"),
        first(11, CGROUP + 1, "user-0.slice", "session-4.scope"),
        Proc { vpid: 12, ..within(12, CGROUP + 2, "srv", "web") },
        within(13, CGROUP + 3, "srv", "web"),
    ]
    .iter()
    .enumerate()
    {
        let out = feed(&mut enricher, &process.exec((2 + n as u64) * STEP_NS));
        assert_eq!((asked(&out).len(), sent(&out).len()), (0, 1), "{process:?}");
    }
}
