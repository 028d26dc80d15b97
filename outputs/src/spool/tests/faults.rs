//! Disks that are full, that fail, and caps.

use super::model::{Model, SECOND, config};
use super::sim::{Call, Fate, Power, Sim};
use crate::config::WhenFull;
use crate::spool::config::{Durability, LaneConfig};
use crate::spool::cursor::Outcome;
use crate::spool::log::RingReason;
use crate::{Lane, Reason};
use proptest::prelude::*;
use rustix::io::Errno;
use std::collections::BTreeSet;

fn telemetry(config: LaneConfig) -> Model {
    Model::new(Sim::new(), Lane::Telemetry, config)
}

fn batch() -> LaneConfig {
    config(Durability::Batch)
}

/// Appends and writes block by block.
fn fill(model: &mut Model, blocks: usize) {
    for _ in 0..blocks {
        model.append(6, 0b11);
        model.write();
        model.sync();
    }
}

fn degraded(model: &Model) -> Option<RingReason> {
    model.status().degraded.map(|(reason, _)| reason)
}

#[test]
fn a_full_disk_is_bridged_by_memory_and_then_drops_the_oldest_and_says_so() {
    let mut model = telemetry(LaneConfig { ring_bytes: 4_096, ..batch() });
    fill(&mut model, 10);
    let used = model.status().disk_bytes + 8_192;
    model.sim.room(usize::try_from(used).unwrap() + 300);
    fill(&mut model, 3);
    assert_eq!(degraded(&model), Some(RingReason::Full));
    assert!(model.status().counters.write_errors > 0);
    // The sinks read on, the ring as well.
    model.deliver(0, 1_000);
    assert_eq!(model.books(0).delivered, 78);
    assert!(model.dropped(1).is_empty(), "nothing is given up while the ring has room");
    // It goes on: the oldest segments go, and what they freed is used.
    for _ in 0..40 {
        fill(&mut model, 1);
        model.keep(false);
    }
    let dropped = model.dropped(1);
    assert_eq!(dropped.keys().collect::<Vec<_>>(), [&Reason::DiskFull], "{dropped:?}");
    let books = model.books(1);
    let told: u64 = books.recent_drops.iter().map(|range| range.events).sum();
    assert_eq!(told, books.dropped_events(), "each loss is in a range: {books:#?}");
    // Room again.
    model.sim.room(usize::MAX);
    model.keep(false);
    model.keep(false);
    assert_eq!(degraded(&model), None);
    model.drain();
    let missing = model.missing(1).len() as u64;
    assert!(missing <= model.books(1).dropped_events());
    assert_eq!(model.books(1).delivered + model.books(1).dropped_events(), model.books(1).accepted);
    model.restart();
}

#[test]
fn a_short_write_is_cut_off_again() {
    let mut model = telemetry(batch());
    fill(&mut model, 2);
    let mut once = true;
    model.sim.judge(move |call, name| match call {
        // Half of the block, then no room.
        Call::Write if name != "state" => {
            if std::mem::take(&mut once) {
                Fate::Short(200)
            } else {
                Fate::Fails(Errno::NOSPC)
            }
        }
        _ => Fate::Fine,
    });
    fill(&mut model, 1);
    assert_eq!(degraded(&model), Some(RingReason::Full));
    model.sim.all_fine();
    model.keep(false);
    fill(&mut model, 2);
    assert_eq!(degraded(&model), None);
    let mut back = model.crash(Power::Nothing, 1);
    assert_eq!(back.status().counters.bad_blocks, 0);
    back.drain();
    assert_eq!(back.books(1).delivered, 30);
}

#[test]
fn a_failed_fdatasync_writes_the_blocks_again_over_two_segments() {
    let mut model = telemetry(batch());
    fill(&mut model, 3);
    // Blocks in more than one file wait for their sync; the first of the files fails.
    for _ in 0..6 {
        model.append(6, 0b11);
        model.write();
    }
    let files = model.sim.names().iter().filter(|name| name.ends_with(".open")).count();
    assert!(files >= 2, "{:?}", model.sim.names());
    let mut once = true;
    model.sim.judge(move |call, name| {
        let fails = call == Call::Sync && name != "state" && std::mem::take(&mut once);
        if fails { Fate::Fails(Errno::IO) } else { Fate::Fine }
    });
    model.sync();
    assert_eq!(model.status().counters.sync_errors, 1);
    assert_eq!(degraded(&model), None, "one failure is no reason to give the disk up");
    model.deliver(0, 1_000);
    assert_eq!(model.books(0).delivered, 54, "a sink sees each record once");
    model.sync();
    model.persist();
    let mut back = model.crash(Power::Nothing, 1);
    assert_eq!(back.oracle.durable.len(), 54);
    back.drain();
    assert_eq!(back.missing(1), BTreeSet::new());
    assert_eq!((back.books(1).delivered, back.books(0).delivered), (54, 54));
    back.keep(false);
    back.keep(false);
    assert!(back.sim.names().iter().any(|name| name.starts_with("quarantine/")), "{:?}", back.sim.names());
}

#[test]
fn fdatasync_that_keeps_failing_leaves_memory_and_is_tried_again() {
    let mut model = telemetry(LaneConfig { ring_bytes: 8_192, ..batch() });
    fill(&mut model, 2);
    model.sim.judge(|call, name| match call {
        Call::Sync if name != "state" => Fate::Fails(Errno::IO),
        _ => Fate::Fine,
    });
    fill(&mut model, 5);
    assert_eq!(degraded(&model), Some(RingReason::SyncFailed));
    let errors = model.status().counters.sync_errors;
    for _ in 0..20 {
        model.keep(false);
    }
    assert_eq!(model.status().counters.sync_errors, errors, "it is left alone for a while");
    model.deliver(0, 1_000);
    assert_eq!(model.books(0).delivered, 42);
    model.sim.all_fine();
    for _ in 0..12 {
        model.keep(false);
    }
    assert_eq!(degraded(&model), None);
    model.sync();
    model.persist();
    let mut back = model.crash(Power::Nothing, 3);
    back.drain();
    assert_eq!(back.books(1).delivered, 42);
}

#[test]
fn a_directory_that_cannot_be_synced_makes_nothing_durable() {
    let mut model = telemetry(batch());
    model.sim.judge(|call, _| if call == Call::SyncDir { Fate::Fails(Errno::IO) } else { Fate::Fine });
    fill(&mut model, 2);
    assert!(model.oracle.durable.is_empty());
    fill(&mut model, 2);
    assert_eq!(degraded(&model), Some(RingReason::SyncFailed));
    model.sim.all_fine();
    for _ in 0..31 {
        model.keep(false);
        model.sync();
    }
    assert_eq!(model.oracle.durable.len(), 24);
    let mut back = model.crash(Power::Nothing, 4);
    back.drain();
    assert_eq!(back.missing(1), BTreeSet::new());
}

#[test]
fn a_state_that_cannot_be_stored_keeps_the_segments_and_the_good_slot() {
    let mut model = telemetry(batch());
    fill(&mut model, 12);
    model.keep(false);
    let files = model.sim.names().len();
    let mut dice = fastrand::Rng::with_seed(9);
    model.sim.judge(move |call, name| match call {
        Call::Write if name == "state" && dice.bool() => Fate::Short(dice.usize(1..600)),
        Call::Sync if name == "state" => Fate::Fails(Errno::IO),
        _ => Fate::Fine,
    });
    model.deliver(0, 1_000);
    model.deliver(1, 1_000);
    for round in 0..20 {
        model.keep(false);
        assert_eq!(model.sim.names().len(), files, "no segment goes that the stored state needs");
        for power in [Power::Nothing, Power::Some, Power::All] {
            let image = model.sim.crash(power, round);
            let back = Model::resume(image, Lane::Telemetry, batch(), model.oracle.clone(), model.next());
            assert_eq!(back.status().counters.state_rebuilt, 0, "{power:?}");
        }
    }
    assert!(model.status().counters.state_errors >= 20);
    model.sim.all_fine();
    model.keep(false);
    assert!(model.sim.names().len() < files);
}

#[test]
fn a_lane_that_is_full_gives_up_the_oldest_in_exact_ranges() {
    let mut model = telemetry(LaneConfig { max_bytes: Some(10_000), ..batch() });
    // One sink takes nothing; of the other some records fly while their segment goes.
    fill(&mut model, 2);
    model.take(0, 8);
    for _ in 0..30 {
        fill(&mut model, 1);
        model.keep(false);
    }
    assert!(model.status().disk_bytes <= 10_000);
    let flown = model.books(0).in_flight;
    assert_eq!(flown, 8);
    // Half of what flew arrived; the rest finds its segment gone.
    model.settle(0, |id| if id % 2 == 0 { Outcome::Delivered } else { Outcome::Again });
    assert_eq!((model.books(0).delivered, model.books(0).in_flight), (4, 0));
    model.drain();
    for sink in 0..2 {
        let books = model.books(sink);
        let missing = model.missing(sink);
        assert_eq!(missing.len() as u64, books.dropped_events(), "{books:#?}");
        assert_eq!(model.dropped(sink).keys().collect::<Vec<_>>(), [&Reason::LaneFull]);
        let told: u64 = books.recent_drops.iter().map(|range| range.events).sum();
        assert_eq!(told, books.dropped_events());
        // Numbers are ids here: what is missing lies in the ranges, and what lies in one sink's only range is missing.
        for id in &missing {
            let inside =
                |range: &&crate::DropRange| (range.first_sequence..=range.last_sequence).contains(id);
            assert!(books.recent_drops.iter().any(|range| inside(&range)), "{id}: {books:#?}");
        }
    }
    let books = model.books(1);
    let [range] = books.recent_drops[..] else { panic!("one run of losses is one range: {books:#?}") };
    assert_eq!(range.last_sequence - range.first_sequence + 1, range.events);
    // Told once, also over a restart.
    let told = model.log.take_losses(model.now);
    assert!(!told.is_empty());
    assert_eq!(model.log.take_losses(model.now), []);
    let model = model.restart();
    assert_eq!(model.log.take_losses(model.now), []);
}

#[test]
fn a_loss_that_was_not_told_before_a_crash_is_told_after_it() {
    let mut model = telemetry(LaneConfig { max_bytes: Some(10_000), ..batch() });
    for _ in 0..30 {
        fill(&mut model, 1);
        model.keep(false);
    }
    let told = model.books(1).dropped_events();
    let model = model.crash(Power::Nothing, 5);
    let losses = model.log.take_losses(model.now);
    let of_two: u64 = losses.iter().filter(|(sink, _)| sink == "two").map(|(_, range)| range.events).sum();
    assert_eq!(of_two, told);
}

#[test]
fn a_sink_that_lags_loses_its_own_share_and_no_other_does() {
    let mut model = telemetry(LaneConfig { sink_max_bytes: 4_000, ..batch() });
    // Some of the lagging sink's records are given back, one flies.
    fill(&mut model, 2);
    model.take(1, 5);
    model.settle(1, |id| if id == 2 { Outcome::Delivered } else { Outcome::Again });
    model.take(1, 1);
    for _ in 0..20 {
        fill(&mut model, 1);
        model.deliver(0, 100);
        model.keep(false);
    }
    let books = model.books(1);
    assert!(books.in_spool_bytes <= 4_000, "{books:#?}");
    assert_eq!(model.dropped(1).keys().collect::<Vec<_>>(), [&Reason::SinkLag]);
    assert_eq!((model.books(0).delivered, model.books(0).dropped_events()), (132, 0));
    // The one in flight is still there when it comes back, now and after a restart.
    model.settle(1, |_| Outcome::Again);
    let dropped = model.books(1).dropped_events();
    let mut model = model.restart();
    assert_eq!(model.books(1).dropped_events(), dropped);
    assert_eq!(model.books(1).accepted, 132);
    model.drain();
    assert_eq!(model.missing(1).len() as u64, model.books(1).dropped_events());
    assert_eq!(model.books(1).accepted, 132);
}

#[test]
fn a_restart_with_one_in_flight_does_not_bring_back_what_was_given_up() {
    let mut model = telemetry(batch());
    fill(&mut model, 6);
    model.take(1, 1);
    assert_eq!(model.log.drop_waiting(1, Reason::Operator, model.now), 35);
    model.persist();
    let mut model = model.crash(Power::All, 0);
    let books = model.books(1);
    assert_eq!((books.accepted, books.in_spool, books.dropped_events()), (36, 1, 35), "{books:#?}");
    model.drain();
    assert_eq!((model.books(1).delivered, model.books(1).accepted), (1, 36));
}

#[test]
fn a_full_lane_may_refuse_the_newest_instead() {
    let mut model =
        telemetry(LaneConfig { max_bytes: Some(6_000), when_full: WhenFull::DropNewest, ..batch() });
    for _ in 0..20 {
        fill(&mut model, 1);
        model.keep(false);
    }
    let books = model.books(1);
    assert!(books.dropped_events() > 0);
    assert_eq!(books.floor, 1, "the oldest stay");
    assert_eq!(model.dropped(1).keys().collect::<Vec<_>>(), [&Reason::LaneFull]);
    model.drain();
    let missing = model.books(1).accepted - model.books(1).delivered;
    assert_eq!(missing, model.books(1).dropped_events());
}

#[test]
fn what_is_too_old_goes_but_not_by_a_clock_that_was_never_set() {
    let mut model = telemetry(LaneConfig { max_age_s: 600, ..batch() });
    fill(&mut model, 8);
    model.now += 601 * SECOND;
    model.keep(false);
    model.now += 601 * SECOND;
    fill(&mut model, 1);
    model.keep(false);
    assert_eq!(model.dropped(1).get(&Reason::TooOld), Some(&48));
    assert_eq!(model.books(1).in_spool, 6);

    let mut young = telemetry(LaneConfig { max_age_s: 600, ..batch() });
    young.now = 1_000 * SECOND;
    fill(&mut young, 8);
    young.now += 601 * SECOND;
    young.keep(false);
    young.keep(false);
    assert!(young.dropped(1).is_empty());
}

#[test]
fn the_filesystems_reserve_is_left_alone() {
    let sim = Sim::new();
    let lane = LaneConfig { ring_bytes: 2_048, ..batch() };
    let mut model = Model::new(sim.clone(), Lane::Telemetry, lane);
    model.min_free(1 << 20);
    fill(&mut model, 10);
    sim.room((1 << 20) + 10_000);
    let mut low = 0;
    for _ in 0..20 {
        fill(&mut model, 1);
        model.keep(false);
        low += u32::from(degraded(&model) == Some(RingReason::LowSpace));
    }
    assert!(low > 3, "{low}");
    assert_eq!(model.dropped(1).keys().collect::<Vec<_>>(), [&Reason::LowSpace]);
    sim.room(usize::MAX);
    model.keep(false);
    model.keep(false);
    assert_eq!(degraded(&model), None);
    model.drain();
    assert_eq!(model.books(1).delivered + model.books(1).dropped_events(), 180);
}

#[test]
fn memory_alone_keeps_the_law_and_its_bound() {
    let mut model = telemetry(LaneConfig { ring_bytes: 4_096, ..config(Durability::Memory) });
    fill(&mut model, 30);
    assert_eq!(degraded(&model), Some(RingReason::NoDisk));
    assert!(model.status().ring_bytes <= 4_096 + 1_024);
    assert_eq!(model.sim.names(), Vec::<String>::new());
    model.drain();
    assert_eq!(model.books(1).delivered + model.books(1).dropped_events(), 180);
}

#[test]
fn a_new_sink_begins_now_and_a_removed_one_is_told() {
    let mut model = telemetry(batch());
    fill(&mut model, 4);
    model.deliver(0, 10);
    model.persist();
    let image = model.sim.crash(Power::All, 0);
    let names = ["one".to_owned(), "three".to_owned()];
    let log = Model::open_for(&image, &names, model.now);
    let status = log.status(model.now);
    let by_name = |name: &str| status.sinks.iter().find(|sink| sink.sink == name);
    assert!(by_name("two").is_none());
    assert_eq!(by_name("one").map(|sink| sink.in_spool), Some(14));
    assert_eq!(by_name("three").map(|sink| (sink.accepted, sink.in_spool)), Some((0, 0)));
    let losses = log.take_losses(model.now);
    let told: Vec<_> =
        losses.iter().map(|(sink, range)| (sink.as_str(), range.reason, range.events)).collect();
    assert_eq!(told, [("two", Reason::SinkRemoved, 24)]);
}

#[test]
fn the_alert_lanes_empty_segment_does_not_pile_up() {
    let mut model = Model::new(Sim::new(), Lane::Alert, config(Durability::Sync));
    for _ in 0..5 {
        model = model.restart();
        let segments: Vec<String> = model.sim.names().into_iter().filter(|name| name != "state").collect();
        assert_eq!(segments.len(), 1, "{segments:?}");
    }
    fill(&mut model, 1);
    assert_eq!(model.oracle.durable.len(), 6);
}

#[derive(Clone, Debug)]
enum Step {
    Fill(u8, u8),
    Sync,
    Keep(bool),
    Persist,
    Take(u8, u8),
    Settle(u8, u64),
    Faults(u64, u8),
    Fine,
    Room(Option<u16>),
    Crash(Power, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let power = prop_oneof![Just(Power::Nothing), Just(Power::Some), Just(Power::All)];
    let step = prop_oneof![
        8 => (1..9_u8, 1..4_u8).prop_map(|(count, sinks)| Step::Fill(count, sinks)),
        4 => Just(Step::Sync),
        3 => any::<bool>().prop_map(Step::Keep),
        2 => Just(Step::Persist),
        4 => (0..2_u8, 1..20_u8).prop_map(|(sink, most)| Step::Take(sink, most)),
        4 => (0..2_u8, any::<u64>()).prop_map(|(sink, seed)| Step::Settle(sink, seed)),
        2 => (any::<u64>(), 1..30_u8).prop_map(|(seed, percent)| Step::Faults(seed, percent)),
        2 => Just(Step::Fine),
        1 => prop::option::of(any::<u16>()).prop_map(Step::Room),
        1 => (power, any::<u64>()).prop_map(|(power, seed)| Step::Crash(power, seed)),
    ];
    prop::collection::vec(step, 1..150)
}

/// Any call fails with this chance; reads do not, since they cost records by themselves.
fn faults(seed: u64, percent: u8) -> impl FnMut(Call, &str) -> Fate {
    let mut dice = fastrand::Rng::with_seed(seed);
    move |call, _| {
        let error = [Errno::NOSPC, Errno::IO, Errno::DQUOT, Errno::FBIG][dice.usize(..4)];
        match call {
            Call::Read => Fate::Fine,
            _ if dice.u8(..100) >= percent => Fate::Fine,
            Call::Write if dice.bool() => Fate::Short(dice.usize(1..500)),
            _ => Fate::Fails(error),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_the_law_holds_and_no_durable_event_is_lost_unsaid(steps in steps(), alert: bool, capped: bool) {
        let durability = if alert { Durability::Sync } else { Durability::Batch };
        let lane = if alert { Lane::Alert } else { Lane::Telemetry };
        let lane_config = LaneConfig {
            ring_bytes: 2_048,
            max_bytes: Some(if capped { 8_192 } else { 1 << 30 }),
            sink_max_bytes: if capped { 3_000 } else { 0 },
            ..config(durability)
        };
        let mut model = Model::new(Sim::new(), lane, lane_config);
        for step in steps {
            match step {
                Step::Fill(count, sinks) => {
                    model.append(count.into(), sinks.into());
                    model.write();
                }
                Step::Sync => model.sync(),
                Step::Keep(relieve) => model.keep(relieve),
                Step::Persist => model.persist(),
                Step::Take(sink, most) => model.take(sink.into(), most.into()),
                Step::Settle(sink, seed) => {
                    let mut dice = fastrand::Rng::with_seed(seed);
                    model.settle(sink.into(), |_| match dice.u8(..4) {
                        0 => Outcome::Again,
                        1 => Outcome::DeadLetter,
                        _ => Outcome::Delivered,
                    });
                }
                Step::Faults(seed, percent) => model.sim.judge(faults(seed, percent)),
                Step::Fine => model.sim.all_fine(),
                Step::Room(room) => model.sim.room(room.map_or(usize::MAX, |room| 10_000 + usize::from(room))),
                Step::Crash(power, seed) => model = model.crash(power, seed),
            }
        }
        model.sim.all_fine();
        model.sim.room(usize::MAX);
        model.now += 60 * SECOND;
        model.keep(false);
        model.drain();
        model.nothing_is_lost_unsaid();
        let model = model.restart();
        model.nothing_is_lost_unsaid();
    }
}
