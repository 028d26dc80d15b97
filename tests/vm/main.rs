//! A real Debian 12 with systemd, in QEMU: the package's life from install to purge.

use anyhow::{Result, ensure};
use hostward_tests::guest::{self, Guest};
use hostward_tests::{Feed, Part, lacks, place};

/// Installs with apt, sees the service work, breaks it, removes it; `life.sh` says `ok` or `FAIL` for each step.
#[test]
fn package_lives_from_install_to_purge() -> Result<()> {
    if lacks(Part::Vm, "package_lives_from_install_to_purge") {
        return Ok(());
    }
    let deb = guest::package()?;
    let ran = Guest::bookworm()?.run(&place::checkout().join("tests/vm/life.sh"), &[&deb], 900)?;
    let log = ran.log();
    eprintln!("{log}");
    ensure!(ran.code == 0 && !log.contains("FAIL "), "the guest's script ended with {}:\n{log}", ran.code);
    ensure!(log.lines().any(|line| line == "done"), "the guest's script did not come to its end:\n{log}");

    let feed = Feed::new(&ran.path()).records()?;
    let alerts: Vec<_> = feed.iter().filter(|record| record.text("event.kind") == Some("alert")).collect();
    let canary = alerts.iter().find(|alert| {
        alert.text("process.executable") == Some("/tmp/canary")
            || alert.text("file.path") == Some("/etc/shadow")
    });
    ensure!(canary.is_some(), "no alert among {} is about the canary: {alerts:?}", alerts.len());
    Ok(())
}
