//! What is read of programs' files comes with the exec, in time or not at all, and holds nothing else up.

use crate::kernel::{Proc, STEP_NS, event, feed};
use hostward_enrich::{Config, Enricher, Fact, Input, Lookup, Output};
use hostward_event::event::Body;
use hostward_event::process::UserTable;
use hostward_event::program::{ProgramFacts, ProgramKey};
use hostward_event::raw::RawBody;
use hostward_event::{Event, EventKind};
use std::sync::Arc;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const WAIT_NS: u64 = 500_000_000;

fn enricher(config: &Config) -> Enricher {
    let mut enricher = Enricher::new(config);
    feed(&mut enricher, &Proc::new(1, 5).seed(false));
    feed(&mut enricher, &Input::Fact(Fact::Programs { files: true, names: true }));
    enricher
}

fn child(pid: u32) -> Proc {
    Proc::child_of(&Proc::new(1, 5), pid, STEP_NS)
}

/// The exec of a file with this inode number.
fn exec(of: &Proc, ino: u64, at: u64) -> Input {
    let mut input = of.exec(at);
    if let Input::Raw(raw) = &mut input
        && let RawBody::Exec(exec) = &mut raw.body
    {
        (exec.exe.ino, exec.exe.ctime_ns) = (ino, 77);
    }
    input
}

fn answer(lookup: &Lookup, hash: &str, keep: bool) -> Input {
    let Lookup::Program { key, pid, start_boot_ns, .. } = lookup else { panic!("{lookup:?}") };
    let facts = Arc::new(ProgramFacts { sha256: hash.into(), ..ProgramFacts::default() });
    let (key, pid, start_boot_ns) = (key.clone(), *pid, *start_boot_ns);
    Input::Fact(Fact::Program { key, pid, start_boot_ns, facts, keep })
}

fn hash(event: &Event) -> Option<String> {
    event.program.as_ref().map(|program| program.sha256.to_string())
}

fn shown(events: &[Arc<Event>]) -> Vec<(EventKind, u32, Option<String>)> {
    let pid = |event: &Event| event.process.as_ref().map_or(0, |process| process.pid);
    events.iter().map(|event| (event.kind(), pid(event), hash(event))).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn an_exec_waits_for_its_hash_and_what_its_process_does_stays_behind_it() {
    let mut enricher = enricher(&Config::default());
    let (one, other) = (child(10), child(20));
    let (events, lookups) = feed(&mut enricher, &exec(&one, 7, 2 * STEP_NS));
    let [Lookup::Program { key, pid, on_host, .. }] = lookups.as_slice() else { panic!("{lookups:?}") };
    assert_eq!((events.len(), key.ino, key.ctime_ns, *pid, *on_host), (0, 7, 77, 10, true));
    assert_eq!(key.path.to_string(), one.path);
    assert!(feed(&mut enricher, &one.open(3 * STEP_NS)).0.is_empty());
    assert_eq!(event(&mut enricher, &other.open(3 * STEP_NS)).kind(), EventKind::Open, "others do not wait");
    assert_eq!(enricher.stats().held, 2);

    let (events, _) = feed(&mut enricher, &answer(&lookups[0], "aa", true));
    assert_eq!(shown(&events), [(EventKind::Exec, 10, some("aa")), (EventKind::Open, 10, some("aa"))]);
    // Who executes it again has it at once, and so has what it does.
    let mut again = other;
    again.path.clone_from(&one.path);
    let (events, lookups) = feed(&mut enricher, &exec(&again, 7, 4 * STEP_NS));
    assert_eq!((shown(&events), lookups.len()), (vec![(EventKind::Exec, 20, some("aa"))], 0));
    assert_eq!(hash(&event(&mut enricher, &again.open(5 * STEP_NS))), some("aa"));
    assert_eq!((enricher.stats().held, enricher.stats().late, enricher.stats().programs), (0, 0, 1));
}

#[test]
fn the_wait_has_an_end_and_what_cannot_wait_sees_the_exec_at_once() {
    let mut enricher = enricher(&Config::default());
    let one = child(10);
    let mut out = Vec::new();
    enricher.handle(&exec(&one, 7, 2 * STEP_NS), &mut out);
    let early = out.iter().find_map(|output| match output {
        Output::Early(event, awaited) => {
            Some((event.kind(), awaited.runtime, awaited.names, awaited.program))
        }
        _ => None,
    });
    assert_eq!(early, Some((EventKind::Exec, false, false, true)), "only its program may be told yet");
    assert!(feed(&mut enricher, &Input::Tick(2 * STEP_NS + WAIT_NS - 1)).0.is_empty());
    let (events, lookups) = feed(&mut enricher, &Input::Tick(2 * STEP_NS + WAIT_NS));
    assert_eq!((shown(&events), lookups.len()), (vec![(EventKind::Exec, 10, None)], 0));
    assert_eq!((enricher.stats().held, enricher.stats().late), (0, 1));
    let lookup = out.iter().find_map(|output| match output {
        Output::Lookup(lookup @ Lookup::Program { .. }) => Some(lookup.clone()),
        _ => None,
    });
    let late = answer(&lookup.unwrap(), "aa", true);
    let (events, _) = feed(&mut enricher, &late);
    assert_eq!(shown(&events), [(EventKind::Agent, 10, some("aa"))], "an update says what came too late");
    let Body::Agent(notice) = &events[0].body else { panic!("{events:?}") };
    assert_eq!(notice.action.to_string(), "update");
    assert!(feed(&mut enricher, &late).0.is_empty(), "once");

    // With nothing to wait for, the second exec has it.
    let mut enricher = self::enricher(&Config { program_wait_ms: 0, ..Config::default() });
    let (events, lookups) = feed(&mut enricher, &exec(&one, 7, 2 * STEP_NS));
    assert_eq!((shown(&events), lookups.len()), (vec![(EventKind::Exec, 10, None)], 1));
    let (events, _) = feed(&mut enricher, &answer(&lookups[0], "aa", true));
    assert_eq!(shown(&events), [(EventKind::Agent, 10, some("aa"))]);
    assert_eq!(hash(&event(&mut enricher, &exec(&one, 7, 3 * STEP_NS))), some("aa"));
    // Nothing could be read: there is nothing to tell.
    let (_, lookups) = feed(&mut enricher, &exec(&one, 8, 4 * STEP_NS));
    assert!(feed(&mut enricher, &answer(&lookups[0], "", false)).0.is_empty());
}

#[test]
fn what_holds_for_one_exec_only_is_told_to_no_other() {
    let mut enricher = enricher(&Config::default());
    let one = child(10);
    let other = Proc { path: one.path.clone(), ..child(20) };
    let (_, first) = feed(&mut enricher, &exec(&one, 7, 2 * STEP_NS));
    let (_, second) = feed(&mut enricher, &exec(&other, 7, 2 * STEP_NS + 1));
    let (events, _) = feed(&mut enricher, &answer(&first[0], "aa", false));
    assert_eq!(shown(&events), [(EventKind::Exec, 10, some("aa"))]);
    assert_eq!(hash(&event(&mut enricher, &one.open(3 * STEP_NS))), some("aa"), "it runs that file still");
    let (events, _) = feed(&mut enricher, &answer(&second[0], "bb", true));
    assert_eq!(shown(&events), [(EventKind::Exec, 20, some("bb"))]);
    // Nothing could be read: no hash, and no wait.
    let (_, third) = feed(&mut enricher, &exec(&one, 8, 4 * STEP_NS));
    let (events, _) = feed(&mut enricher, &answer(&third[0], "", false));
    assert_eq!(shown(&events), [(EventKind::Exec, 10, None)]);
}

#[test]
fn a_process_that_execs_twice_keeps_its_order() {
    let mut enricher = enricher(&Config::default());
    let one = child(10);
    let (_, first) = feed(&mut enricher, &exec(&one, 7, 2 * STEP_NS));
    let (_, second) = feed(&mut enricher, &exec(&one, 8, 3 * STEP_NS));
    assert!(feed(&mut enricher, &one.exit(4 * STEP_NS)).0.is_empty());
    assert!(feed(&mut enricher, &answer(&second[0], "bb", true)).0.is_empty(), "the first comes first");
    let (events, _) = feed(&mut enricher, &answer(&first[0], "aa", true));
    assert_eq!(
        shown(&events),
        [
            (EventKind::Exec, 10, some("aa")),
            (EventKind::Exec, 10, some("bb")),
            (EventKind::Exit, 10, some("bb"))
        ]
    );
}

#[test]
fn nothing_is_asked_or_waits_unless_somebody_reads() {
    let mut enricher = Enricher::new(&Config::default());
    feed(&mut enricher, &Proc::new(1, 5).seed(false));
    let (events, lookups) = feed(&mut enricher, &exec(&child(10), 7, 2 * STEP_NS));
    assert_eq!((events.len(), lookups.len()), (1, 0), "an old capture replays as it was");
}

#[test]
fn more_than_may_wait_goes_out_and_the_end_leaves_nothing_behind() {
    let mut enricher = enricher(&Config { max_held_events: 2.try_into().unwrap(), ..Config::default() });
    assert!(feed(&mut enricher, &exec(&child(10), 7, 2 * STEP_NS)).0.is_empty());
    assert!(feed(&mut enricher, &exec(&child(11), 8, 2 * STEP_NS + 1)).0.is_empty());
    let (events, _) = feed(&mut enricher, &exec(&child(12), 9, 2 * STEP_NS + 2));
    assert_eq!(shown(&events), [(EventKind::Exec, 10, None)], "the one that waits longest");
    let mut out = Vec::new();
    enricher.finish(&mut out);
    let left = out.iter().filter(|output| matches!(output, Output::Event(_))).count();
    assert_eq!((left, enricher.stats().held), (2, 0));
}

#[test]
fn an_exec_in_a_container_waits_for_the_names_there() {
    let mut enricher = enricher(&Config::default());
    let web = child(10).with_cgroup(7_010, "docker", ID);
    let (events, lookups) = feed(&mut enricher, &exec(&web, 7, 2 * STEP_NS));
    let [program, Lookup::Names { container, pid, .. }] = lookups.as_slice() else { panic!("{lookups:?}") };
    assert!(matches!(program, Lookup::Program { on_host: false, .. }));
    assert_eq!((events.len(), container.to_string().as_str(), *pid), (0, ID, 10));
    assert!(feed(&mut enricher, &answer(program, "aa", true)).0.is_empty(), "the names are not there yet");
    let told = |names: Option<UserTable>| {
        Input::Fact(Fact::Names { container: ID.into(), names: names.map(Arc::new) })
    };
    // The runtime's own program, before it has the container's root: nobody's names, and it is asked again.
    let (events, _) = feed(&mut enricher, &told(None));
    assert_eq!(shown(&events), [(EventKind::Exec, 10, some("aa"))]);
    assert!(events[0].inside.is_none());
    let (events, lookups) = feed(&mut enricher, &exec(&web, 7, 3 * STEP_NS));
    assert!(events.is_empty() && matches!(lookups.as_slice(), [Lookup::Names { .. }]), "{lookups:?}");
    let names = UserTable { users: [(0, "inner".into())].into(), ..UserTable::default() };
    let (events, _) = feed(&mut enricher, &told(Some(names.clone())));
    assert_eq!(events[0].inside.as_deref(), Some(&names));
    // Known from now on, for another process too; asked for anew after a while, without a wait.
    let next = child(11).with_cgroup(7_010, "docker", ID);
    assert_eq!(event(&mut enricher, &next.open(4 * STEP_NS)).inside.as_deref(), Some(&names));
    let (events, lookups) = feed(&mut enricher, &exec(&web, 7, 70_000_000_000));
    assert!(events.len() == 1 && matches!(lookups.as_slice(), [Lookup::Names { .. }]), "{lookups:?}");
    assert_eq!(events[0].inside.as_deref(), Some(&names));
    // A process of the host has none of it.
    assert!(event(&mut enricher, &child(12).open(70_000_000_001)).inside.is_none());
}

#[test]
fn a_key_is_of_a_file_and_a_path() {
    let mut enricher = enricher(&Config::default());
    let one = child(10);
    let (_, lookups) = feed(&mut enricher, &exec(&one, 7, 2 * STEP_NS));
    feed(&mut enricher, &answer(&lookups[0], "aa", true));
    let linked = Proc { path: "/tmp/link".to_owned(), ..child(20) };
    let (events, lookups) = feed(&mut enricher, &exec(&linked, 7, 3 * STEP_NS));
    assert_eq!((events.len(), lookups.len()), (0, 1), "a package owns a path");
    let Lookup::Program { key, .. } = &lookups[0] else { panic!("{lookups:?}") };
    assert_eq!(*key, ProgramKey { dev: 0, ino: 7, ctime_ns: 77, path: "/tmp/link".into() });
}
