//! The sensor's own tests on the kernels of Debian 11 to the coming one, where programs at functions work.

use anyhow::{Context, Result, ensure};
use hostward_tests::guest::Guest;
use hostward_tests::{Part, binary, child, lacks, place};
use serde_json::Value;
use std::path::PathBuf;

/// Seconds until a guest is given up.
const LIMIT_S: u32 = 600;

#[test]
#[ignore = "takes a guest of each kernel some minutes; the rung is off by default"]
fn calls_are_seen_at_their_functions_on_5_10() -> Result<()> {
    seen_at_functions("calls_are_seen_at_their_functions_on_5_10", "bullseye", "")
}

#[test]
#[ignore = "takes a guest of each kernel some minutes; the rung is off by default"]
fn calls_are_seen_at_their_functions_on_6_1() -> Result<()> {
    seen_at_functions("calls_are_seen_at_their_functions_on_6_1", "bookworm", "")
}

/// Fully preemptible: another task may come in between in the middle of a program.
#[test]
#[ignore = "takes a guest of each kernel some minutes; the rung is off by default"]
fn calls_are_seen_at_their_functions_on_6_12_preemptible() -> Result<()> {
    seen_at_functions("calls_are_seen_at_their_functions_on_6_12_preemptible", "trixie", "preempt=full")
}

#[test]
#[ignore = "takes a guest of each kernel some minutes; the rung is off by default"]
fn calls_are_seen_at_their_functions_on_the_newest() -> Result<()> {
    seen_at_functions("calls_are_seen_at_their_functions_on_the_newest", "sid", "")
}

fn seen_at_functions(test: &str, suite: &str, words: &str) -> Result<()> {
    if lacks(Part::Vm, test) {
        return Ok(());
    }
    let _alone = crate::alone();
    let guest = Guest::with_kernel(suite)?.kernel_words(words);
    let tests = sensor_tests()?;
    let ran = guest.run(&place::checkout().join("tests/vm/kernels.sh"), &[&tests], LIMIT_S)?;
    let log = ran.log();
    eprintln!("{log}");
    ensure!(ran.code == 0 && !log.contains("FAIL "), "the guest's script ended with {}", ran.code);
    ensure!(log.lines().any(|line| line == "done"), "the guest's script did not come to its end");
    Ok(())
}

/// The sensor's test program, compiled if need be, under a name of our own.
fn sensor_tests() -> Result<PathBuf> {
    let mut cargo = binary::cargo();
    cargo.args(["test", "--locked", "--package", "hostward-sensor", "--test", "kernel", "--no-run"]);
    cargo.args(["--message-format", "json"]).env("CARGO_TARGET_DIR", place::target()?);
    let output = child::output(&mut cargo)?;
    let built = output
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "kernel")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo names no test program of hostward-sensor")?;
    let named = place::target()?.join("vm/sensor-tests");
    std::fs::copy(&built, &named).with_context(|| built.display().to_string())?;
    Ok(named)
}
