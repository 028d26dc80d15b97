//! Files that are not what was written.

use super::model::{Model, config};
use super::sim::Sim;
use crate::spool::config::Durability;
use crate::spool::cursor::Outcome;
use crate::{Lane, Reason};

/// Some segments, sealed and open, of which one sink has read a part in patches.
fn filled() -> Model {
    let mut model = Model::new(Sim::new(), Lane::Telemetry, config(Durability::Batch));
    for _ in 0..12 {
        model.append(6, 0b11);
        model.write();
        model.sync();
    }
    model.take(0, 40);
    model.settle(0, |id| if id % 5 == 0 { Outcome::Again } else { Outcome::Delivered });
    model.keep(false);
    model
}

fn again(model: &Model, sim: Sim) -> Model {
    let mut oracle = model.oracle.clone();
    oracle.durable.extend(&oracle.written);
    Model::resume(sim, Lane::Telemetry, config(Durability::Batch), oracle, model.next())
}

#[test]
fn a_flipped_bit_anywhere_costs_what_it_hits_and_is_told() {
    let model = filled();
    let kill = super::sim::Power::All;
    let mut hurt = 0;
    for name in model.sim.names() {
        let length = model.sim.bytes(&name).len();
        // A prime stride meets every kind of field.
        for at in (0..length).step_by(23) {
            let sim = model.sim.crash(kill, 0);
            sim.damage(&name, |bytes| bytes[at] ^= 1 << (at % 8));
            let mut back = again(&model, sim);
            back.drain();
            back.nothing_is_lost_unsaid();
            let missing = back.missing(0).len() + back.missing(1).len();
            hurt += usize::from(missing > 0);
            let counters = back.status().counters;
            let told = counters.bad_blocks + counters.quarantined + counters.torn_bytes;
            assert!(missing == 0 || told > 0, "{name} at {at}: {counters:?}");
            // One flip costs a segment at most: those of its header and of its footer's place.
            assert!(missing <= 60, "{name} at {at}: {missing} are missing");
            back.restart();
        }
    }
    assert!(hurt > 20, "the flips that hit a record: {hurt}");
}

#[test]
fn a_file_cut_anywhere_keeps_what_is_whole() {
    let model = filled();
    let names: Vec<String> = model.sim.names().into_iter().filter(|name| name != "state").collect();
    let last = names.last().unwrap();
    let length = model.sim.bytes(last).len();
    let mut before = usize::MAX;
    for cut in (0..=length).step_by(11) {
        let sim = model.sim.crash(super::sim::Power::All, 0);
        sim.damage(last, |bytes| bytes.truncate(cut));
        let mut back = again(&model, sim);
        back.drain();
        back.nothing_is_lost_unsaid();
        let missing = back.missing(1).len();
        assert!(missing <= before, "more is there when less is cut");
        assert_eq!(back.dropped(1).get(&Reason::Damaged).copied().unwrap_or(0), missing as u64);
        before = missing;
    }
    assert!(before <= 12, "a last block is the most that a cut near the end takes: {before}");
}

#[test]
fn a_bad_stretch_inside_a_segment_is_skipped_and_the_file_kept_for_a_look() {
    let model = filled();
    let sim = model.sim.crash(super::sim::Power::All, 0);
    let first = sim.names().into_iter().find(|name| name.ends_with(".seg")).unwrap();
    // Footer gone, and some bytes in the middle: the scan has to find the next good block.
    sim.damage(&first, |bytes| {
        let length = bytes.len();
        bytes.truncate(length - 8);
        bytes[300..340].fill(0);
    });
    let mut back = again(&model, sim);
    assert!(back.status().counters.bad_blocks > 0);
    back.drain();
    back.nothing_is_lost_unsaid();
    back.keep(false);
    back.keep(false);
    let names = back.sim.names();
    assert!(names.iter().any(|name| name.starts_with("quarantine/")), "{names:?}");
    assert_eq!(back.status().counters.quarantined, 1);
}

#[test]
fn one_bad_slot_costs_duplicates_and_both_a_replay() {
    let model = filled();
    for (slots, rebuilt) in [(vec![0], 0), (vec![1], 0), (vec![0, 1], 1)] {
        let sim = model.sim.crash(super::sim::Power::All, 0);
        for slot in &slots {
            sim.damage("state", |bytes| bytes[slot * 4_096 + 100] ^= 1);
        }
        let mut back = again(&model, sim);
        let counters = back.status().counters;
        assert_eq!((counters.state_slots_bad, counters.state_rebuilt), (slots.len() as u64, rebuilt));
        if rebuilt > 0 {
            // Everything that is still there waits for everyone.
            assert_eq!(back.books(1).in_spool, 72);
            assert_eq!(back.books(0).delivered, 0);
        }
        back.drain();
        assert_eq!((back.missing(0).len(), back.missing(1).len()), (0, 0));
        assert_eq!((back.books(0).dropped_events(), back.books(1).dropped_events()), (0, 0));
        back.restart();
    }
}

#[test]
fn a_state_file_that_is_gone_is_a_replay_and_strange_files_are_left_alone() {
    let model = filled();
    let sim = model.sim.crash(super::sim::Power::All, 0);
    sim.unlink("state");
    let file = crate::spool::storage::Storage::create(&sim, "00000000000000ff.seg").unwrap();
    file.write_at(0, b"not ours").unwrap();
    crate::spool::storage::Storage::create(&sim, "notes.txt").unwrap();
    let mut back = again(&model, sim);
    assert_eq!(back.status().counters.state_rebuilt, 1);
    back.drain();
    assert_eq!((back.missing(0).len(), back.missing(1).len()), (0, 0));
    let names = back.sim.names();
    assert!(names.contains(&"notes.txt".to_owned()), "{names:?}");
    assert!(names.contains(&"quarantine/00000000000000ff.seg".to_owned()), "{names:?}");
    // Its number is not given again.
    back.append(3, 0b11);
    back.write();
    assert!(back.sim.names().contains(&"0000000000000100.open".to_owned()), "{:?}", back.sim.names());
}

#[test]
fn a_disk_that_cannot_be_read_costs_what_is_asked_for_and_ends() {
    let mut model = filled();
    // What was written last is still in memory: begin anew.
    model = model.restart();
    model.sim.judge(|call, name| {
        let fails = call == super::sim::Call::Read && name.starts_with("0000000000000002");
        if fails { super::sim::Fate::Fails(rustix::io::Errno::IO) } else { super::sim::Fate::Fine }
    });
    model.drain();
    model.nothing_is_lost_unsaid();
    let counters = model.status().counters;
    assert!(counters.read_errors >= 3 && counters.bad_blocks > 0, "{counters:?}");
    assert!(!model.missing(1).is_empty());
    model.keep(false);
    model.keep(false);
    assert!(model.sim.names().contains(&"quarantine/0000000000000002.seg".to_owned()));
}
