//! The sensor's own tests on the kernels of Debian 11 to the coming one, where programs at functions work.

use anyhow::{Context, Result, ensure};
use hostward_tests::guest::Guest;
use hostward_tests::{Part, binary, child, lacks, place};
use serde_json::Value;
use std::path::PathBuf;

/// Seconds until a guest is given up.
const LIMIT_S: u32 = 900;

#[test]
fn calls_are_seen_at_their_functions_on_5_10() -> Result<()> {
    seen_at_functions("calls_are_seen_at_their_functions_on_5_10", "bullseye", "")
}

#[test]
fn calls_are_seen_at_their_functions_on_6_1() -> Result<()> {
    seen_at_functions("calls_are_seen_at_their_functions_on_6_1", "bookworm", "")
}

/// Fully preemptible: another task may come in between in the middle of a program.
#[test]
fn calls_are_seen_at_their_functions_on_6_12_preemptible() -> Result<()> {
    seen_at_functions("calls_are_seen_at_their_functions_on_6_12_preemptible", "trixie", "preempt=full")
}

#[test]
fn calls_are_seen_at_their_functions_on_the_newest() -> Result<()> {
    seen_at_functions("calls_are_seen_at_their_functions_on_the_newest", "sid", "")
}

/// On a processor whose clocks count its instructions.
#[test]
fn an_untouched_call_has_no_more_instructions() -> Result<()> {
    let test = "an_untouched_call_has_no_more_instructions";
    if lacks(Part::Vm, test) {
        return Ok(());
    }
    let _alone = crate::alone();
    passes(&Guest::with_kernel("trixie")?.counting(), "counted.sh")
}

fn seen_at_functions(test: &str, suite: &str, words: &str) -> Result<()> {
    if lacks(Part::Vm, test) {
        return Ok(());
    }
    let _alone = crate::alone();
    passes(&Guest::with_kernel(suite)?.kernel_words(words), "kernels.sh")
}

/// The script of this folder ends well in the guest, beside the sensor's tests.
fn passes(guest: &Guest, script: &str) -> Result<()> {
    let [tests, attacks] =
        [sensor_tests("kernel", "sensor-tests")?, sensor_tests("attacks", "sensor-attacks")?];
    let ran = guest.run(&place::checkout().join("tests/vm").join(script), &[&tests, &attacks], LIMIT_S)?;
    let log = ran.log();
    eprintln!("{log}");
    ensure!(ran.code == 0 && !log.contains("FAIL "), "the guest's script ended with {}", ran.code);
    ensure!(log.lines().any(|line| line == "done"), "the guest's script did not come to its end");
    Ok(())
}

/// A test program of the sensor's, compiled if need be, under a name of our own.
pub(crate) fn sensor_tests(program: &str, name: &str) -> Result<PathBuf> {
    let mut cargo = binary::cargo();
    cargo.args(["test", "--locked", "--package", "hostward-sensor", "--test", program, "--no-run"]);
    cargo.args(["--message-format", "json"]).env("CARGO_TARGET_DIR", place::target()?);
    let output = child::output(&mut cargo)?;
    let built = output
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == program)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo names no test program of hostward-sensor")?;
    let place = place::target()?.join("vm");
    std::fs::create_dir_all(&place)?;
    let named = place.join(name);
    std::fs::copy(&built, &named).with_context(|| built.display().to_string())?;
    Ok(named)
}
