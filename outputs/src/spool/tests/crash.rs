//! Crash images: at every call of a fixed run, and at random moments of random runs.

use super::model::{Id, Model, Oracle, config};
use super::sim::{Power, Sim};
use crate::Lane;
use crate::spool::config::Durability;
use crate::spool::cursor::Outcome;
use proptest::prelude::*;

/// A run that begins, fills, seals and lets go of segments, with a sink that keeps up and one that lags.
fn script(model: &mut Model, mut before: impl FnMut(&Model)) {
    for round in 0..30_u64 {
        for half in 0..2 {
            before(model);
            model.append(3 + round % 4, if round % 3 == 2 { 0b10 } else { 0b11 });
            before(model);
            model.write();
            if half == 0 || round % 2 == 0 {
                before(model);
                model.sync();
            }
        }
        before(model);
        model.deliver(0, 7);
        if round % 3 == 1 {
            before(model);
            model.take(1, 9);
            model.settle(1, |id| match id % 4 {
                0 => Outcome::Again,
                1 => Outcome::DeadLetter,
                _ => Outcome::Delivered,
            });
        }
        before(model);
        model.keep(false);
    }
    before(model);
}

#[test]
fn after_a_crash_at_any_call_no_durable_event_is_lost_and_the_books_are_exact() {
    let lane = Lane::Telemetry;
    let sim = Sim::new();
    let mut model = Model::new(sim.clone(), lane, config(Durability::Batch));
    sim.remember();
    let mut known: Vec<(Oracle, Id)> = Vec::new();
    script(&mut model, |model| {
        model.sim.step(known.len());
        known.push((model.oracle.clone(), model.next()));
    });
    // What the destination got during the very step of a crash counts, too.
    let after = |step: usize| known.get(step + 1).map_or(&model.oracle, |(oracle, _)| oracle);
    let changes = sim.changes();
    assert!(changes > 200, "{changes} calls changed the disk");
    let mut images = 0;
    for change in 0..changes {
        let modes = [Power::Nothing, Power::All, Power::Some, Power::Some, Power::Some];
        for (seed, mode) in (0..).zip(modes) {
            let (step, image) = sim.crash_at(change, mode, seed * 1_000_003 + change as u64);
            let mut oracle = known[step].0.clone();
            oracle.delivered = after(step).delivered.clone();
            oracle.letters = after(step).letters.clone();
            oracle.accepted = after(step).accepted.clone();
            if mode == Power::All {
                oracle.durable.extend(&oracle.written);
            }
            let next = known.get(step + 1).map_or(model.next(), |(_, next)| *next);
            let mut back = Model::resume(image, lane, config(Durability::Batch), oracle, next);
            let status = back.status();
            assert_eq!(status.counters.state_rebuilt, 0, "a state is always there: {status:#?}");
            back.drain();
            for sink in 0..2 {
                assert_eq!(back.missing(sink), [].into(), "change {change}, {mode:?}, sink {sink}");
            }
            if mode == Power::All {
                assert_eq!((back.books(0).dropped_events(), back.books(1).dropped_events()), (0, 0));
            }
            back.accepted_is_exact();
            // And it goes on.
            back.append(5, 0b11);
            back.drain();
            let back = back.restart();
            assert_eq!((back.books(0).in_spool, back.books(1).in_spool), (0, 0));
            images += 1;
        }
    }
    assert!(images > 1_000);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Append(u8, u8),
    Write,
    Sync,
    Persist,
    Keep,
    Take(u8, u8),
    Settle(u8, u64),
    Restart,
    Crash(Power, u64),
}

fn steps(crashes: bool) -> impl Strategy<Value = Vec<Step>> {
    let power = prop_oneof![Just(Power::Nothing), Just(Power::Some), Just(Power::All)];
    let step = prop_oneof![
        6 => (1..9_u8, 1..4_u8).prop_map(|(count, sinks)| Step::Append(count, sinks)),
        5 => Just(Step::Write),
        3 => Just(Step::Sync),
        2 => Just(Step::Persist),
        1 => Just(Step::Keep),
        4 => (0..2_u8, 1..20_u8).prop_map(|(sink, most)| Step::Take(sink, most)),
        4 => (0..2_u8, any::<u64>()).prop_map(|(sink, seed)| Step::Settle(sink, seed)),
        1 => Just(Step::Restart),
        u32::from(crashes) => (power, any::<u64>()).prop_map(|(power, seed)| Step::Crash(power, seed)),
    ];
    prop::collection::vec(step, 1..120)
}

/// Any verdict, most of them good.
fn verdicts(seed: u64) -> impl FnMut(Id) -> Outcome {
    let mut dice = fastrand::Rng::with_seed(seed);
    move |_| match dice.u8(..8) {
        0 | 1 => Outcome::Again,
        2 => Outcome::DeadLetter,
        _ => Outcome::Delivered,
    }
}

fn run(mut model: Model, steps: &[Step]) -> Model {
    for step in steps {
        match *step {
            Step::Append(count, sinks) => model.append(count.into(), sinks.into()),
            Step::Write => model.write(),
            Step::Sync => model.sync(),
            Step::Persist => model.persist(),
            Step::Keep => model.keep(false),
            Step::Take(sink, most) => model.take(sink.into(), most.into()),
            Step::Settle(sink, seed) => model.settle(sink.into(), verdicts(seed)),
            Step::Restart => model = model.restart(),
            Step::Crash(power, seed) => model = model.crash(power, seed),
        }
    }
    model
}

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn without_a_crash_every_event_is_settled_once(steps in steps(false)) {
        let mut model = run(Model::new(Sim::new(), Lane::Telemetry, config(Durability::Batch)), &steps);
        model.drain();
        let model = model.restart();
        for sink in 0..2 {
            let books = model.books(sink);
            let oracle = &model.oracle;
            prop_assert_eq!(books.accepted, oracle.accepted[sink].len() as u64);
            prop_assert_eq!(books.delivered, oracle.delivered[sink].len() as u64);
            prop_assert_eq!(books.dlq, oracle.letters[sink].len() as u64);
            prop_assert_eq!(books.dropped_events(), 0);
            prop_assert!(oracle.delivered[sink].is_disjoint(&oracle.letters[sink]));
        }
        // What everybody has goes: the open segment of the start is all there may be.
        prop_assert!(model.status().segments <= 1, "{:?}", model.sim.names());
    }

    #[test]
    fn whatever_crashes_come_no_durable_event_is_lost(steps in steps(true), alert: bool) {
        let (lane, durability) =
            if alert { (Lane::Alert, Durability::Sync) } else { (Lane::Telemetry, Durability::Batch) };
        let mut model = run(Model::new(Sim::new(), lane, config(durability)), &steps);
        model.drain();
        for sink in 0..2 {
            prop_assert_eq!(model.missing(sink), [].into());
        }
        model.accepted_is_exact();
        model.restart();
    }
}
