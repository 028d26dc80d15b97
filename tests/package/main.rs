//! What is packaged, without installing it: the unit, the default configuration, the package's lists.

use anyhow::{Result, ensure};
use hostward_tests::{Part, binary, child, lacks, need, place};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// Every key that the commented file shows exists, and has the default's type: a wrong one would be refused.
#[test]
fn each_commented_key_of_the_default_configuration_is_accepted() -> Result<()> {
    let text = fs::read_to_string(place::checkout().join("etc/hostward.toml"))?;
    // `#key = value` and `#[section]` are keys; `# text` is prose.
    let shown: Vec<&str> =
        text.lines().map(|line| line.strip_prefix('#').filter(|key| is_key(key)).unwrap_or(line)).collect();
    let keys = shown.iter().filter(|line| is_key(line)).count();
    ensure!(keys > 20, "only {keys} keys are shown: is the file's style another now?");
    let dir = tempfile::tempdir()?;
    let etc = place::checkout().join("etc");
    for folder in ["rules.d", "responses.d"] {
        std::os::unix::fs::symlink(etc.join(folder), dir.path().join(folder))?;
    }
    for (name, text) in [("as-shipped.toml", &text), ("all-keys.toml", &shown.join("\n"))] {
        let path = dir.path().join(name);
        fs::write(&path, text)?;
        child::output(Command::new(binary::hostward()?).args(["config", "check", "--config"]).arg(&path))?;
    }
    Ok(())
}

fn is_key(line: &str) -> bool {
    line.starts_with(|c: char| c == '[' || c.is_ascii_lowercase())
}

/// systemd itself reads the unit; it warns of unknown directives and of missing programs.
#[test]
fn systemd_finds_no_fault_in_the_unit() -> Result<()> {
    if !need::in_path("systemd-analyze") {
        need::skip("systemd", "systemd_finds_no_fault_in_the_unit", "systemd-analyze is not installed");
        return Ok(());
    }
    let unit = fs::read_to_string(place::checkout().join("packaging/systemd/hostward.service"))?;
    let dir = tempfile::tempdir()?;
    // The programs are those of this build, not of a host where the package may not be installed.
    let here = unit.replace("/usr/bin/hostward", &binary::hostward()?.display().to_string());
    let path = dir.path().join("hostward.service");
    fs::write(&path, here)?;
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("hostward")).collect();
    ensure!(ours.is_empty(), "systemd-analyze: {}", ours.join("\n"));
    Ok(())
}

/// Programs that outlive the agent do not outlive the package, but an upgrade.
#[test]
fn removal_ends_pinned_programs_and_an_upgrade_does_not() -> Result<()> {
    if lacks(Part::Mount, "removal_ends_pinned_programs_and_an_upgrade_does_not") {
        return Ok(());
    }
    let script = place::checkout().join("packaging/deb/postrm");
    let steps = r#"set -e
        mount -t bpf bpf /sys/fs/bpf
        mkdir -p /sys/fs/bpf/hostward/set
        sh "$0" upgrade
        test -d /sys/fs/bpf/hostward/set
        sh "$0" remove
        test ! -e /sys/fs/bpf/hostward
        test -d /sys/fs/bpf"#;
    let output = Command::new("unshare").args(["--mount", "sh", "-c", steps]).arg(&script).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The codes after which a restart cannot help are those that the operator's guide says so of.
#[test]
fn unit_and_guide_agree_on_exit_codes() -> Result<()> {
    let unit = fs::read_to_string(place::checkout().join("packaging/systemd/hostward.service"))?;
    let guide = fs::read_to_string(place::checkout().join("docs/operations.md"))?;
    let unit =
        unit.lines().find_map(|line| line.strip_prefix("RestartPreventExitStatus=")).unwrap_or_default();
    let unit: BTreeSet<&str> = unit.split_whitespace().collect();
    let rows = guide.lines().filter(|line| line.starts_with('|') && line.contains("not restarted"));
    let guide: BTreeSet<&str> = rows.filter_map(|row| row.split('|').nth(1).map(str::trim)).collect();
    ensure!(!unit.is_empty() && unit == guide, "unit {unit:?}, guide {guide:?}");
    Ok(())
}
