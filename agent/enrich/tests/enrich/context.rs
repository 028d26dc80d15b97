//! What events carry besides the record: ancestors, programs of their time, workloads.

use crate::kernel::{Proc, STEP_NS, event, feed, lineage, path};
use hostward_enrich::{Config, Enricher, Fact, Input, Lookup, MAX_LINEAGE};
use hostward_event::event::Body;
use hostward_event::fact::Notice;
use hostward_event::raw::Gap;
use hostward_event::{Event, EventKind, Text};
use std::num::NonZeroUsize;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn enricher() -> Enricher {
    Enricher::new(&Config::default())
}

/// init, and a shell that it started, both seeded.
fn with_shell(enricher: &mut Enricher) -> (Proc, Proc) {
    let init = Proc::new(1, 5);
    let shell = Proc { path: "/bin/sh".into(), ..Proc::child_of(&init, 10, STEP_NS) };
    feed(enricher, &init.seed(false));
    feed(enricher, &shell.seed(false));
    (init, shell)
}

fn answer(cgroup_id: u64, path: &str, of: &Proc) -> Input {
    Input::Fact(Fact::CgroupPath { cgroup_id, path: path.into(), pid: of.pid, start_boot_ns: of.start })
}

#[test]
fn a_daemon_keeps_its_ancestors_when_they_have_ended() {
    let mut enricher = enricher();
    let (_, shell) = with_shell(&mut enricher);
    let middle = Proc::child_of(&shell, 11, 2 * STEP_NS);
    let daemon = Proc::child_of(&middle, 12, 3 * STEP_NS);
    assert_eq!(lineage(&event(&mut enricher, &middle.fork())), [10, 1]);
    assert_eq!(lineage(&event(&mut enricher, &daemon.fork())), [11, 10, 1]);
    let daemon = Proc { path: "/usr/sbin/d".into(), ..daemon };
    event(&mut enricher, &daemon.exec(4 * STEP_NS));
    event(&mut enricher, &middle.exit(5 * STEP_NS));
    event(&mut enricher, &shell.exit(6 * STEP_NS));
    feed(&mut enricher, &Input::Tick(3_600_000_000_000));
    assert_eq!(enricher.stats().ended, 0);

    // By now the kernel says that init is the parent.
    let orphan = Proc { ppid: 1, ..daemon };
    let seen = event(&mut enricher, &orphan.open(3_600_000_000_001));
    assert_eq!(lineage(&seen), [11, 10, 1]);
    assert_eq!(seen.parent().unwrap().path.to_string(), "/bin/sh");
    assert_eq!(seen.process.as_ref().unwrap().ppid, 11);
}

#[test]
fn a_chain_of_forks_is_told_up_to_the_bound_and_no_further() {
    let mut enricher = enricher();
    let (_, mut last) = with_shell(&mut enricher);
    for n in 0..100 {
        let child = Proc::child_of(&last, 100 + n, u64::from(n + 3) * STEP_NS);
        let seen = event(&mut enricher, &child.fork());
        let nearest: Vec<u32> = (0..n).rev().map(|k| 100 + k).chain([10, 1]).take(MAX_LINEAGE).collect();
        assert_eq!(lineage(&seen), nearest);
        if n > 0 {
            event(&mut enricher, &last.exit(u64::from(n + 3) * STEP_NS + 1));
        }
        last = child;
    }
}

#[test]
fn what_the_end_of_a_process_closes_is_its_own() {
    let mut enricher = enricher();
    let (_, shell) = with_shell(&mut enricher);
    let child = Proc::child_of(&shell, 11, 2 * STEP_NS);
    event(&mut enricher, &child.fork());
    let curl = Proc { path: "/usr/bin/curl".into(), ..child };
    event(&mut enricher, &curl.exec(3 * STEP_NS));
    assert_eq!(path(&event(&mut enricher, &curl.close_write(4 * STEP_NS))), "/usr/bin/curl");
    event(&mut enricher, &curl.exit(5 * STEP_NS));
    let last = event(&mut enricher, &curl.close_write(5 * STEP_NS + 1));
    assert_eq!((path(&last).as_str(), lineage(&last)), ("/usr/bin/curl", vec![10, 1]));
    assert!(matches!(&last.body, Body::CloseWrite(close) if close.size_bytes == 9));
}

#[test]
fn late_records_are_told_as_of_their_time() {
    let mut enricher = enricher();
    let (_, shell) = with_shell(&mut enricher);
    let child = Proc::child_of(&shell, 11, 2 * STEP_NS);
    event(&mut enricher, &child.fork());
    let curl = Proc { path: "/usr/bin/curl".into(), ..child.clone() };
    event(&mut enricher, &curl.exec(4 * STEP_NS));
    assert_eq!(path(&event(&mut enricher, &child.open(3 * STEP_NS))), "/bin/sh", "before the exec");
    event(&mut enricher, &curl.exit(6 * STEP_NS));
    let late = event(&mut enricher, &curl.open(5 * STEP_NS));
    assert_eq!((path(&late).as_str(), lineage(&late)), ("/usr/bin/curl", vec![10, 1]), "after the exit");
    assert!(enricher.process(11).is_none(), "a late record does not bring it back");

    // The same pid, used again at once.
    let next = Proc::child_of(&shell, 11, 7 * STEP_NS);
    event(&mut enricher, &next.fork());
    assert_eq!(path(&event(&mut enricher, &curl.open(5 * STEP_NS + 1))), "/usr/bin/curl");
    assert_eq!(path(&event(&mut enricher, &next.open(8 * STEP_NS))), "/bin/sh");
}

#[test]
fn an_exit_that_was_lost_is_noticed_when_the_pid_is_used_again() {
    let mut enricher = enricher();
    let (init, _) = with_shell(&mut enricher);
    let next = Proc::child_of(&init, 10, 9 * STEP_NS);
    assert_eq!(path(&event(&mut enricher, &next.fork())), "/bin/p1");
    assert_eq!((enricher.stats().exits_missed, enricher.stats().processes), (1, 2));
}

#[test]
fn a_setuid_is_seen_at_the_next_record_and_not_undone_by_an_earlier_one() {
    let mut enricher = enricher();
    let (_, shell) = with_shell(&mut enricher);
    let dropped = Proc { euid: 33, ..shell.clone() };
    let euid = |event: &hostward_event::Event| event.process.as_ref().unwrap().creds.euid;
    assert_eq!(euid(&event(&mut enricher, &dropped.open(5 * STEP_NS))), 33);
    event(&mut enricher, &shell.open(4 * STEP_NS));
    assert_eq!(enricher.process(10).unwrap().creds.euid, 33);
    let child = Proc::child_of(&dropped, 11, 6 * STEP_NS);
    assert_eq!(euid(&event(&mut enricher, &child.fork())), 33);
}

#[test]
fn the_session_leader_is_told_while_it_lives() {
    let mut enricher = enricher();
    let (_, shell) = with_shell(&mut enricher);
    let login = Proc::child_of(&shell, 11, 2 * STEP_NS);
    let leader = |event: &hostward_event::Event| event.session_leader.as_ref().map(|leader| leader.pid);
    event(&mut enricher, &login.fork());
    assert_eq!(
        leader(&event(&mut enricher, &login.exec(3 * STEP_NS))),
        Some(11),
        "an exec record says sid = pid"
    );
    let child = Proc::child_of(&login, 12, 4 * STEP_NS);
    assert_eq!(leader(&event(&mut enricher, &child.fork())), Some(11), "the child inherits the session");
    event(&mut enricher, &login.exit(5 * STEP_NS));
    assert_eq!(leader(&event(&mut enricher, &child.open(6 * STEP_NS))), None);
}

#[test]
fn a_process_that_nobody_told_is_asked_for_once() {
    let mut enricher = enricher();
    let stranger = Proc { euid: 1000, ..Proc::child_of(&Proc::new(1, 5), 20, STEP_NS) };
    let (events, lookups) = feed(&mut enricher, &stranger.open(2 * STEP_NS));
    assert_eq!(lookups, [Lookup::Process { pid: 20, start_boot_ns: STEP_NS }]);
    let process = events[0].process.as_ref().unwrap();
    assert_eq!((process.creds.uid, process.path.is_empty()), (1000, true), "not taken for root");
    assert_eq!(feed(&mut enricher, &stranger.open(3 * STEP_NS)).1, []);
    feed(&mut enricher, &stranger.seed(true));
    assert_eq!(path(&event(&mut enricher, &stranger.open(4 * STEP_NS))), "/bin/p1");
    assert_eq!(enricher.stats().inferred, 1);
}

#[test]
fn a_seed_that_comes_late_reaches_the_children_too() {
    let mut enricher = enricher();
    let shell = Proc { path: "/bin/sh".into(), ..Proc::child_of(&Proc::new(1, 5), 10, STEP_NS) };
    let child = Proc::child_of(&shell, 11, 2 * STEP_NS);
    let grandchild = Proc::child_of(&child, 12, 3 * STEP_NS);
    event(&mut enricher, &child.fork());
    event(&mut enricher, &grandchild.fork());
    let python = Proc { path: "/usr/bin/python3".into(), ..shell.clone() };
    event(&mut enricher, &python.exec(4 * STEP_NS));
    feed(&mut enricher, &shell.seed(false));
    assert_eq!(path(&event(&mut enricher, &grandchild.open(5 * STEP_NS))), "/bin/sh", "as at the fork");
    assert_eq!(path(&event(&mut enricher, &python.open(5 * STEP_NS))), "/usr/bin/python3");
}

#[test]
fn a_full_table_forgets_who_did_nothing_and_asks_anew() {
    let config = Config { max_processes: NonZeroUsize::new(4).unwrap(), ..Config::default() };
    let mut enricher = Enricher::new(&config);
    let (_, shell) = with_shell(&mut enricher);
    let idle = Proc::child_of(&shell, 11, 2 * STEP_NS);
    event(&mut enricher, &idle.fork());
    for n in 0..20 {
        event(&mut enricher, &shell.open(u64::from(n) * STEP_NS + 1));
        event(&mut enricher, &Proc::child_of(&shell, 100 + n, u64::from(n + 3) * STEP_NS).fork());
    }
    let stats = enricher.stats();
    assert_eq!((stats.processes, stats.processes_evicted), (4, 19));
    assert!(enricher.process(10).is_some() && enricher.process(11).is_none());
    let (events, lookups) = feed(&mut enricher, &idle.open(99 * STEP_NS));
    assert_eq!(lookups, [Lookup::Process { pid: 11, start_boot_ns: 2 * STEP_NS }]);
    assert_eq!(lineage(&events[0]), [10, 1]);
}

#[test]
fn a_container_named_by_its_leaf_needs_no_question() {
    let mut enricher = enricher();
    let (_, shell) = with_shell(&mut enricher);
    let child = Proc { path: "/bin/web".into(), ..Proc::child_of(&shell, 11, 2 * STEP_NS) }.with_cgroup(
        77,
        "system.slice",
        &format!("docker-{ID}.scope"),
    );
    event(&mut enricher, &Proc::child_of(&shell, 11, 2 * STEP_NS).fork());
    let (events, lookups) = feed(&mut enricher, &child.exec(3 * STEP_NS));
    assert_eq!(lookups, []);
    let process = events[0].process.as_ref().unwrap();
    let container = process.workload.container.as_ref().unwrap();
    assert_eq!((container.id.to_string().as_str(), container.short_id()), (ID, &b"0123456789ab"[..]));
    assert_eq!(container.runtime.to_string(), "docker");
    let (events, lookups) = feed(&mut enricher, &child.exit(4 * STEP_NS));
    assert_eq!((lookups, &events[0].process.as_ref().unwrap().workload), (vec![], &process.workload));
}

/// On v1 nobody tells of a cgroup before a record with its bare id, which does not say of which hierarchy it is.
#[test]
fn a_cgroup_of_v1_that_was_met_by_its_bare_id_gets_the_names_of_the_first_exec() {
    let mut enricher = enricher();
    let (_, shell) = with_shell(&mut enricher);
    let inside = |pid: u32, at: u64| {
        let leaf = format!("cri-containerd-{ID}.scope");
        let mut process = Proc::child_of(&shell, pid, at * STEP_NS).with_cgroup(79, "kubepods.slice", &leaf);
        process.cgroup.v1 = true;
        process
    };
    let contained = |seen: &Event| {
        let container = seen.process.as_ref().unwrap().workload.container.as_ref();
        container.map(|container| container.id.to_string())
    };
    let (first, second) = (inside(11, 2), inside(12, 4));
    assert_eq!(contained(&feed(&mut enricher, &first.fork()).0[0]), None);
    assert_eq!(contained(&feed(&mut enricher, &first.exec(3 * STEP_NS)).0[0]).as_deref(), Some(ID));
    assert_eq!(contained(&feed(&mut enricher, &second.fork()).0[0]).as_deref(), Some(ID));
}

#[test]
fn a_cgroup_is_asked_for_until_it_is_told_and_its_path_reaches_all_in_it() {
    let mut enricher = enricher();
    let (_, shell) = with_shell(&mut enricher);
    let unit = |pid: u32, at: u64| {
        Proc::child_of(&shell, pid, at * STEP_NS).with_cgroup(78, "app.slice", "app-x.scope")
    };
    let (first, second) = (unit(11, 2), unit(12, 60));
    let (events, lookups) = feed(&mut enricher, &first.exec(3 * STEP_NS));
    assert_eq!(events[0].process.as_ref().unwrap().workload.unit.to_string(), "app-x.scope");
    let asked = |of: &Proc| Lookup::CgroupPath { cgroup_id: 78, pid: of.pid, start_boot_ns: of.start };
    assert_eq!(lookups, [asked(&first)]);
    assert_eq!(feed(&mut enricher, &first.exec(4 * STEP_NS)).1, [], "one question at a time");
    assert_eq!(feed(&mut enricher, &second.exec(61 * STEP_NS)).1, [asked(&second)], "the first may be gone");

    let path = String::from("/lxc.payload.web/user.slice/app.slice/app-x.scope");
    feed(&mut enricher, &answer(78, &path, &second));
    let workload = &enricher.process(11).unwrap().workload;
    assert_eq!(
        workload.container.as_ref().unwrap().id.to_string(),
        "web",
        "names alone would take it for the host's"
    );
    assert_eq!((workload.path.to_string(), workload.unit.to_string()), (path, "app-x.scope".into()));
    assert_eq!(feed(&mut enricher, &unit(13, 200).exec(201 * STEP_NS)).1, []);
}

#[test]
fn in_the_root_cgroup_each_process_is_asked_for_and_children_have_it_from_there() {
    let mut enricher = Enricher::new(&Config { root_lookups: true, ..Config::default() });
    let (_, shell) = with_shell(&mut enricher);
    let entry = Proc::child_of(&shell, 11, 2 * STEP_NS);
    event(&mut enricher, &entry.fork());
    let (_, lookups) = feed(&mut enricher, &entry.exec(3 * STEP_NS));
    assert_eq!(lookups, [Lookup::CgroupPath { cgroup_id: 1, pid: 11, start_boot_ns: entry.start }]);
    let child = Proc::child_of(&entry, 12, 4 * STEP_NS);
    event(&mut enricher, &child.fork());
    feed(&mut enricher, &answer(1, &format!("/docker/{ID}"), &entry));
    for (process, contained) in [(&entry, true), (&child, true), (&shell, false)] {
        let seen = event(&mut enricher, &process.open(5 * STEP_NS));
        let container = seen.process.as_ref().unwrap().workload.container.as_ref();
        assert_eq!(container.map(|container| container.id.to_string()), contained.then(|| ID.to_string()));
    }
    let again = Proc::child_of(&child, 13, 6 * STEP_NS);
    assert!(event(&mut enricher, &again.fork()).process.as_ref().unwrap().workload.container.is_some());
}

#[test]
fn losses_and_notices_are_events_too() {
    let mut enricher = enricher();
    feed(&mut enricher, &Input::Fact(Fact::Clock { offset_ns: 1_000_000_000_000 }));
    let lost = |lost| Input::Gap(Gap { lost, cpu: 1, stream: 0, first: 5, last: 9, count: 5, boot_ns: 42 });
    let open = event(&mut enricher, &lost(EventKind::Open));
    let exec = event(&mut enricher, &lost(EventKind::Exec));
    assert_ne!(open.id, exec.id);
    assert_eq!((open.sequence, exec.sequence, exec.time_ns), (1, 2, 1_000_000_000_042));
    assert!(matches!(exec.body, Body::Gap(gap) if gap.count == 5));
    let notice =
        Notice { action: Text::from("agent_started"), message: Text::from("up"), success: true, boot_ns: 43 };
    let told = event(&mut enricher, &Input::Fact(Fact::Notice(notice.clone())));
    assert_eq!((told.kind(), &told.body), (EventKind::Agent, &Body::Agent(notice)));
    let seen = event(&mut enricher, &Proc::new(9, STEP_NS).open(2 * STEP_NS));
    assert_eq!((seen.sequence, seen.time_ns, seen.created_ns - seen.time_ns), (4, 1_000_040_000_000, 1_000));
}
