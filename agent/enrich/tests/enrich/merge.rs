//! Seeds and live records come in any order; what stands in the end is the machine as it is.

use crate::kernel::{Proc, STEP_NS, event, feed};
use hostward_enrich::{Config, Enricher, Fact, Input, Lookup};
use hostward_event::process::HostFacts;
use hostward_event::raw::{RawBody, RawEvent, RawTask};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};

/// A machine that ran for a while: the agent attached at the start of `records`, and took its seeds
/// at some moment in between.
#[derive(Debug, Default)]
struct History {
    living: Vec<Proc>,
    records: Vec<Input>,
    seeds: Vec<Input>,
    end_ns: u64,
    starts: Starts,
}

/// How starts are told.
#[derive(Clone, Copy, Debug, Default)]
enum Starts {
    /// Seeds and answers have what /proc tells.
    #[default]
    Ticks,
    /// As `Ticks`, but seeds are of the task iterator, and finer than what ids are made of.
    FineSeeds,
    /// By ns, and a pid is used again within a tick.
    Exact,
}

impl Starts {
    /// No two processes start within such a time.
    const fn step_ns(self) -> u64 {
        if matches!(self, Self::Exact) { 1_000 } else { STEP_NS }
    }

    /// As a seed tells a process.
    fn seed(self, process: &Proc) -> Input {
        process.seed(matches!(self, Self::Ticks))
    }
}

fn starts() -> impl Strategy<Value = Starts> {
    prop_oneof![Just(Starts::Ticks), Just(Starts::FineSeeds), Just(Starts::Exact)]
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Fork,
    /// As `Fork`, with the pid of one that has ended, if there is one.
    ForkOldPid,
    Exec,
    SetUid,
    Open,
    Exit,
}

fn history(before: usize, seeds_after: usize, steps: &[(Step, u16)], starts: Starts) -> History {
    let mut now = 5 * STEP_NS + 123_456;
    let mut history = History { living: vec![Proc::new(1, 77)], starts, ..History::default() };
    let (mut next_pid, mut ended, mut execs) = (2, Vec::new(), BTreeMap::new());
    for (index, (step, who)) in steps.iter().enumerate() {
        now += starts.step_ns();
        let who = usize::from(*who) % history.living.len();
        let mut record = None;
        match step {
            Step::Fork | Step::ForkOldPid => {
                let old = if matches!(step, Step::ForkOldPid) { ended.pop() } else { None };
                let pid = old.unwrap_or(next_pid);
                next_pid += u32::from(old.is_none());
                let child = Proc::child_of(&history.living[who], pid, now);
                record = Some(child.fork());
                history.living.push(child);
            }
            Step::Exec => {
                let process = &mut history.living[who];
                // More former images than the table keeps need a lookup; see the crate's head.
                let count: &mut u32 = execs.entry((process.pid, process.start)).or_default();
                if *count < 2 {
                    *count += 1;
                    process.path = format!("/bin/x{index}");
                    record = Some(process.exec(now));
                }
            }
            Step::SetUid => {
                history.living[who].euid = u32::try_from(1000 + index).unwrap();
                record = Some(history.living[who].open(now));
            }
            Step::Open => record = Some(history.living[who].open(now)),
            Step::Exit if who > 0 => {
                let gone = history.living.remove(who);
                record = Some(gone.exit(now));
                ended.push(gone.pid);
            }
            Step::Exit => {}
        }
        history.records.extend(record.filter(|_| index >= before));
        if index == before.max(seeds_after) {
            history.seeds = history.living.iter().map(|p| starts.seed(p)).collect();
        }
    }
    if steps.len() <= before.max(seeds_after) {
        history.seeds = history.living.iter().map(|p| starts.seed(p)).collect();
    }
    history.end_ns = now + starts.step_ns();
    history
}

fn steps() -> impl Strategy<Value = Vec<(Step, u16)>> {
    let step = prop_oneof![
        4 => Just(Step::Fork),
        1 => Just(Step::ForkOldPid),
        3 => Just(Step::Exec),
        2 => Just(Step::SetUid),
        2 => Just(Step::Open),
        3 => Just(Step::Exit),
    ];
    prop::collection::vec((step, any::<u16>()), 1..60)
}

fn enricher(starts: Starts) -> Enricher {
    let mut enricher = Enricher::new(&Config::default());
    let host = HostFacts {
        machine_id: "m".into(),
        boot_id: "b".into(),
        exact_starts: matches!(starts, Starts::Exact),
        ..HostFacts::default()
    };
    feed(&mut enricher, &Input::Fact(Fact::Host(host)));
    enricher
}

/// Feeds all; every record must give one event with an id of its own, in the order of records.
fn run(enricher: &mut Enricher, inputs: &[Input]) -> Vec<Lookup> {
    let mut ids = HashSet::new();
    let (mut sequence, mut asked) = (0, Vec::new());
    for input in inputs {
        let (events, lookups) = feed(enricher, input);
        asked.extend(lookups);
        match input {
            Input::Raw(raw) => {
                let [event] = events.as_slice() else { panic!("one event of {raw:?}") };
                assert!(ids.insert(event.id), "doubled id of {raw:?}");
                sequence += 1;
                assert_eq!(event.sequence, sequence);
                let process = event.process.as_ref().unwrap();
                assert_eq!((event.kind(), process.pid), (raw.kind(), raw.task.pid));
            }
            _ => assert!(events.is_empty(), "a fact gave an event: {input:?}"),
        }
    }
    asked
}

/// Processes whose program somebody told: they were seeded, or their exec came.
fn told(history: &History) -> HashSet<(u32, u64)> {
    let inputs = history.seeds.iter().chain(&history.records);
    let told = inputs.filter_map(|input| match input {
        Input::Fact(Fact::Process(seed)) => Some((seed.pid, seed.start_boot_ns)),
        Input::Raw(RawEvent { task, body: RawBody::Exec(_), .. }) => Some((task.pid, task.start_boot_ns)),
        _ => None,
    });
    told.map(|(pid, start)| (pid, start / history.starts.step_ns())).collect()
}

/// The table must be the machine: the same processes, with their programs (of all that are in
/// `programs`), ids and creators.
fn assert_true(enricher: &mut Enricher, history: &History, programs: Option<&HashSet<(u32, u64)>>) {
    let program = |pid: u32, start: u64, path: String| {
        let known = programs.is_none_or(|known| known.contains(&(pid, start / history.starts.step_ns())));
        if known { path } else { String::new() }
    };
    let mut table: Vec<(u32, String, u32)> = enricher
        .processes()
        .map(|p| (p.pid, program(p.pid, p.start_boot_ns, p.path.to_string()), p.creds.euid))
        .collect();
    table.sort();
    let mut truth: Vec<(u32, String, u32)> =
        history.living.iter().map(|p| (p.pid, program(p.pid, p.start, p.path.clone()), p.euid)).collect();
    truth.sort();
    assert_eq!(table, truth);
    let forked: HashSet<(u32, u64)> = history
        .records
        .iter()
        .filter_map(|input| match input {
            Input::Raw(RawEvent { task: RawTask { pid, start_boot_ns, .. }, body, .. }) => {
                matches!(body, RawBody::Fork { .. }).then_some((*pid, *start_boot_ns))
            }
            _ => None,
        })
        .collect();
    for (n, process) in history.living.iter().enumerate() {
        let seen = event(enricher, &process.open(history.end_ns + u64::try_from(n).unwrap()));
        if forked.contains(&(process.pid, process.start)) {
            let parent = seen.lineage.first().expect("the creator is known, alive or not");
            assert_eq!((parent.pid, seen.process.as_ref().unwrap().ppid), (process.ppid, process.ppid));
            assert_eq!(parent.entity_id, enricher.mint().entity(process.ppid, process.parent_start));
        }
    }
}

/// Answers questions about processes as /proc does after all that is in the history.
fn answer(enricher: &mut Enricher, history: &History, asked: Vec<Lookup>) {
    for lookup in asked {
        let Lookup::Process { pid, start_boot_ns } = lookup else { continue };
        let alive = history.living.iter().find(|p| (p.pid, p.start) == (pid, start_boot_ns));
        run(
            enricher,
            &alive
                .map(|p| if matches!(history.starts, Starts::Exact) { p.seed(false) } else { p.seed(true) })
                .into_iter()
                .collect::<Vec<_>>(),
        );
    }
}

proptest! {
    /// The agent's own order: attach, seeds, then the rings, in which some of what the seeds tell
    /// comes again.
    #[test]
    fn seeds_first(steps in steps(), before in 0usize..20, after in 0usize..30, starts in starts()) {
        let history = history(before, after, &steps, starts);
        let mut enricher = enricher(starts);
        run(&mut enricher, &history.seeds);
        run(&mut enricher, &history.records);
        assert_true(&mut enricher, &history, None);
    }

    /// All seeds at once, in any order, anywhere in the stream; what was asked for is answered
    /// after it.
    #[test]
    fn seeds_in_between(
        steps in steps(), before in 0usize..20, after in 0usize..30, starts in starts(), place in 0usize..60, turn in 0usize..9,
    ) {
        let history = history(before, after, &steps, starts);
        let mut seeds = history.seeds.clone();
        let turn = turn % seeds.len();
        seeds.rotate_left(turn);
        let (early, late) = history.records.split_at(place.min(history.records.len()));
        let inputs = [early, &seeds, late].concat();
        let mut enricher = enricher(starts);
        let asked = run(&mut enricher, &inputs);
        answer(&mut enricher, &history, asked);
        assert_true(&mut enricher, &history, None);
    }

    /// Seeds scattered over the stream. One that tells the program of after an exec, and comes
    /// before that exec and before a fork between both, misleads what the child inherits, unless
    /// somebody tells the child; all else must be true.
    #[test]
    fn seeds_scattered(
        steps in steps(), before in 0usize..20, after in 0usize..30, starts in starts(),
        places in prop::collection::vec(0usize..200, 64),
    ) {
        let history = history(before, after, &steps, starts);
        let mut inputs: Vec<Input> = history.records.clone();
        for (seed, place) in history.seeds.iter().zip(&places) {
            inputs.insert(*place % (inputs.len() + 1), seed.clone());
        }
        let mut enricher = enricher(starts);
        let asked = run(&mut enricher, &inputs);
        answer(&mut enricher, &history, asked);
        assert_true(&mut enricher, &history, Some(&told(&history)));
    }

    /// Records no kernel makes: no panic, every bound kept, and a replay gives the same.
    #[test]
    fn nonsense_is_survived_and_replayed(
        records in prop::collection::vec((0u8..6, 0u32..9, 0u64..5, 0u32..9, 0u64..5, 0u64..100, 0u64..4), 0..200),
    ) {
        let one = |n| std::num::NonZeroUsize::new(n).unwrap();
        let config = Config { max_processes: one(4), max_ended: one(3), max_cgroups: one(2), ended_ttl_s: 1, root_lookups: true, ..Config::default() };
        let inputs: Vec<Input> = records.iter().map(|&(what, pid, start, ppid, parent_start, at, cgroup)| {
            let process = Proc {
                pid, start: start * STEP_NS, ppid, parent_start: parent_start * STEP_NS,
                path: format!("/bin/{at}"), euid: ppid, ..Proc::new(pid, 0)
            }.with_cgroup(cgroup, "system.slice", "a.service");
            match what {
                0 => process.fork(),
                1 => process.exec(at * STEP_NS),
                2 => process.open(at * STEP_NS),
                3 => process.exit(at * STEP_NS),
                4 => process.seed(at % 2 == 0),
                _ => Input::Fact(Fact::CgroupPath { cgroup_id: cgroup, path: "/a/b.service".into(), pid, start_boot_ns: start * STEP_NS }),
            }
        }).collect();
        let play = || {
            let mut enricher = Enricher::new(&config);
            let mut outputs = Vec::new();
            for input in &inputs {
                enricher.handle(input, &mut outputs);
                let stats = enricher.stats();
                assert!(stats.processes <= 4 && stats.ended <= 3 && stats.cgroups <= 2, "{stats:?}");
            }
            outputs
        };
        let outputs = play();
        let raws = inputs.iter().filter(|input| matches!(input, Input::Raw(_))).count();
        let events = outputs.iter().filter(|output| matches!(output, hostward_enrich::Output::Event(_))).count();
        prop_assert_eq!(events, raws);
        prop_assert!(outputs == play(), "a replay differs");
    }
}
