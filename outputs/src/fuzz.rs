//! Fuzzing on a stable compiler: property tests with thousands of cases in every run.
//!
//! A parser of what a destination or a disk hands us is given arbitrary bytes and, more often, valid input that was
//! damaged, which gets past its first checks. The cases are the same in every run; `HOSTWARD_SOAK=N` makes it N cases
//! that no run had before. Coverage-guided fuzzers need a nightly compiler, which this project does not ask for.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed};

/// So many cases, or as many as `HOSTWARD_SOAK` says.
pub(crate) fn runs(cases: u32) -> Config {
    let soak = std::env::var("HOSTWARD_SOAK").ok().and_then(|cases| cases.parse().ok());
    let rng_seed = if soak.is_some() { RngSeed::Random } else { RngSeed::Fixed(1) };
    Config { cases: soak.unwrap_or(cases), rng_seed, failure_persistence: None, ..Config::default() }
}

/// A change to some bytes.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Overwrite(Index, Vec<u8>),
    Remove(Index, usize),
    Double(Index, usize),
    Insert(Index, Vec<u8>),
    Cut(Index),
}

/// Up to `most` changes. Insertions are often one of `words`, which mean something to the parser.
pub(crate) fn edits(words: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<Edit>> {
    let bytes = || prop::collection::vec(any::<u8>(), 1..8);
    let word = prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
    let edit = prop_oneof![
        3 => (any::<Index>(), bytes()).prop_map(|(at, bytes)| Edit::Overwrite(at, bytes)),
        2 => (any::<Index>(), 1_usize..80).prop_map(|(at, length)| Edit::Remove(at, length)),
        2 => (any::<Index>(), 1_usize..80).prop_map(|(at, length)| Edit::Double(at, length)),
        1 => (any::<Index>(), bytes()).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        3 => (any::<Index>(), word.clone()).prop_map(|(at, word)| Edit::Insert(at, word)),
        3 => (any::<Index>(), word).prop_map(|(at, word)| Edit::Overwrite(at, word)),
        1 => any::<Index>().prop_map(Edit::Cut),
    ];
    prop::collection::vec(edit, 0..=most)
}

/// Makes the changes, one after the other.
pub(crate) fn damage(bytes: &mut Vec<u8>, edits: &[Edit]) {
    for edit in edits {
        let spot = |at: &Index| at.index(bytes.len() + 1);
        match edit {
            Edit::Overwrite(at, with) => {
                let start = spot(at);
                let end = (start + with.len()).min(bytes.len());
                bytes.splice(start..end, with.iter().copied());
            }
            Edit::Remove(at, length) => {
                let start = spot(at);
                bytes.drain(start..(start + length).min(bytes.len()));
            }
            Edit::Double(at, length) => {
                let start = spot(at);
                let piece = bytes[start..(start + length).min(bytes.len())].to_vec();
                bytes.splice(start..start, piece);
            }
            Edit::Insert(at, with) => {
                let start = spot(at);
                bytes.splice(start..start, with.iter().copied());
            }
            Edit::Cut(at) => bytes.truncate(spot(at)),
        }
    }
}
