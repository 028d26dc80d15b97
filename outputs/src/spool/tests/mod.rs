//! The spool under simulated disks: power losses, kills, failing calls, damage.

mod crash;
mod damage;
mod faults;
mod golden;
mod model;
mod sim;
mod storm;

use proptest::test_runner::{Config, RngSeed};

/// The same cases in every run; with HOSTWARD_SOAK=N, N cases that no run had before.
fn runs(cases: u32) -> Config {
    let soak = std::env::var("HOSTWARD_SOAK").ok().and_then(|cases| cases.parse().ok());
    let rng_seed = if soak.is_some() { RngSeed::Random } else { RngSeed::Fixed(1) };
    Config { cases: soak.unwrap_or(cases), rng_seed, failure_persistence: None, ..Config::default() }
}
