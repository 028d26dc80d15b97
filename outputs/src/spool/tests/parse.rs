//! Damage that the checksums do not see: each structure of the format is changed and given a checksum that fits.
//! Nothing may panic, read beyond its buffer, or make room for what is not there.

use crate::Lane;
use crate::fuzz::{Edit, damage, edits, runs};
use crate::spool::block::{Head, Packer, Raw, decode_block, entries, unpack};
use crate::spool::bytes::Seed;
use crate::spool::segment::{
    Amount, Footer, HEADER_LEN, Header, Indexed, RosterEntry, decode_roster, encode_roster,
};
use crate::spool::state::{Interval, SLOT_LEN, SinkState, State};
use proptest::prelude::*;

const SEED: Seed = Seed { uuid: [3; 16], segment: 9 };
const CASES: u32 = 4_000;

/// Lengths and counts at their ends.
const WORDS: &[&str] = &[
    "\0\0\0\0",
    "\u{7f}\u{7f}\u{7f}\u{7f}",
    "\u{1}\0",
    "\u{10}",
    "\u{11}",
    "\0\0\u{20}\0",
    "HWB1",
    "HWSEALED",
];

fn raw(records: &[Vec<u8>]) -> Raw {
    let mut raw = Raw::new(40);
    for (n, record) in records.iter().enumerate() {
        raw.push(if n % 2 == 0 { 0b1 } else { 0b101 }, 7, &[1; 16], record);
    }
    raw
}

fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..20)
}

fn changes() -> impl Strategy<Value = Vec<Edit>> {
    edits(WORDS, 4)
}

/// Puts the checksum over everything before it, `behind` bytes from the end.
fn seal(bytes: &mut [u8], behind: usize, crc: impl FnOnce(&[u8]) -> u32) {
    if let Some(at) = bytes.len().checked_sub(behind) {
        let crc = crc(&bytes[..at]);
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

proptest! {
    #![proptest_config(runs(CASES))]

    #[test]
    fn a_header(edits in changes()) {
        let header = Header { lane: Lane::Alert, uuid: SEED.uuid, id: SEED.segment, first_seq: 5, created_ns: 1 };
        let mut bytes = header.encode();
        prop_assert_eq!(Header::decode(&bytes), Some(header));
        damage(&mut bytes, &edits);
        bytes.resize(HEADER_LEN, 0);
        // The seed is in the header itself.
        let own = Seed {
            uuid: bytes[16..32].try_into().unwrap(),
            segment: u64::from_le_bytes(bytes[32..40].try_into().unwrap()),
        };
        seal(&mut bytes, 4, |covered| own.crc(0, covered));
        if let Some(header) = Header::decode(&bytes) {
            prop_assert_eq!(header.seed(), own);
        }
    }

    #[test]
    fn a_block(records in records(), edits in changes(), payload_edits in changes()) {
        let packed = Packer::new().pack(&raw(&records));
        let mut whole = Vec::new();
        packed.place(&SEED, 64, &mut whole);
        let (_, head_len) = Head::decode(&whole, &SEED, 64).unwrap();
        let mut head = whole[..head_len].to_vec();
        let mut stored = packed.stored.clone();
        damage(&mut head, &edits);
        damage(&mut stored, &payload_edits);
        seal(&mut head, 4, |covered| SEED.crc(64, covered));
        let payload_at = 64 + u64::try_from(head.len()).unwrap();
        let crc = SEED.crc(payload_at, &stored);
        let length = u32::try_from(head.len() + stored.len() + 8).unwrap();
        let bytes = [&head[..], &stored, &crc.to_le_bytes(), &length.to_le_bytes()].concat();
        if let Some(packed) = decode_block(&bytes, &SEED, 64) {
            prop_assert!(packed.stored.len() <= bytes.len() && packed.head.block_len() <= bytes.len());
            let _ = packed.head.end_seq();
            if let Some(raw) = unpack(&packed.head, &packed.stored) {
                prop_assert!(raw.len() <= 2 << 20);
                let found = entries(packed.head.first_seq, &raw).inspect(|entry| assert!(entry.end <= raw.len())).count();
                prop_assert!(found <= raw.len() / 32);
            }
        }
        // Whatever the payload says, once it is unpacked.
        let mut raw = raw(&records).bytes;
        damage(&mut raw, &payload_edits);
        for entry in entries(1, &raw) {
            prop_assert!(entry.start <= entry.end && entry.end <= raw.len());
        }
    }

    #[test]
    fn a_footer(blocks in 0_usize..6, edits in changes()) {
        let roster = vec![RosterEntry { slot: 0, name: "siem".to_owned(), since: 1 }];
        let head = Packer::new().pack(&raw(&[vec![1; 20]])).head;
        let index = (0..blocks).map(|n| Indexed::of(&head, 64 + 100 * u64::try_from(n).unwrap())).collect();
        let footer = Footer::of(index, roster, 40);
        let mut bytes = footer.encode(&SEED, 4_096);
        prop_assert_eq!(Footer::decode(&bytes, &SEED, 4_096), Some(footer));
        damage(&mut bytes, &edits);
        seal(&mut bytes, 16, |covered| SEED.crc(4_096, covered));
        if let Some(footer) = Footer::decode(&bytes, &SEED, 4_096) {
            prop_assert!(footer.index.len() * 32 <= bytes.len());
        }
    }

    #[test]
    fn a_roster(edits in changes(), bytes: Vec<u8>) {
        let mut roster = encode_roster(&[
            RosterEntry { slot: 0, name: "siem".to_owned(), since: 1 },
            RosterEntry { slot: 15, name: "bus".to_owned(), since: 9 },
        ]);
        damage(&mut roster, &edits);
        for bytes in [roster, bytes] {
            if let Some(roster) = decode_roster(&bytes) {
                prop_assert!(roster.iter().all(|entry| entry.slot < 16 && entry.name.len() < bytes.len()));
            }
        }
    }

    #[test]
    fn a_state(sinks in 0_u8..4, edits in changes(), slot in 0_u64..2) {
        let sink = |slot| SinkState {
            slot,
            name: format!("sink-{slot}"),
            since: 1,
            floor: 10,
            accepted: 50,
            delivered: 30,
            dlq: 1,
            dropped: vec![(crate::Reason::LaneFull, Amount { events: 2, bytes: 20 })],
            settled: vec![Interval { first: 12, last: 19, events: 8 }],
        };
        let state = State {
            lane: Lane::Telemetry,
            generation: slot,
            uuid: SEED.uuid,
            next_seq: 60,
            next_segment: 3,
            sinks: (0..sinks).map(sink).collect(),
            untold: Vec::new(),
        };
        let mut bytes = state.encode().unwrap();
        prop_assert_eq!(State::decode(&bytes, slot), Some(state));
        // Most of a slot is empty.
        let used = 60 + usize::from(sinks) * 140;
        let mut begin = bytes[..used].to_vec();
        damage(&mut begin, &edits);
        bytes.splice(..used, begin);
        bytes.resize(SLOT_LEN, 0);
        seal(&mut bytes, 4, |covered| crc32c::crc32c_append(crc32c::crc32c(&slot.to_le_bytes()), covered));
        if let Some(state) = State::decode(&bytes, slot) {
            prop_assert!(state.sinks.len() <= SLOT_LEN && state.untold.len() <= SLOT_LEN);
        }
    }
}
