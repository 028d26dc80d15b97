//! Random runs on a disk of which any call may fail, with crashes in between.

use super::model::{Model, SECOND, config};
use super::sim::{Call, Fate, Power, Sim};
use crate::Lane;
use crate::spool::config::{Durability, LaneConfig};
use crate::spool::cursor::Outcome;
use proptest::prelude::*;
use rustix::io::Errno;

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
    #![proptest_config(super::runs(200))]

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
