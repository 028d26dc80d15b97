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
    let about = |field: &str, value: &str| alerts.iter().any(|alert| alert.text(field) == Some(value));
    ensure!(about("process.executable", "/tmp/canary"), "no alert of {} is about the canary", alerts.len());
    ensure!(about("file.path", "/etc/shadow"), "no alert of {} is about the password file", alerts.len());
    Ok(())
}
