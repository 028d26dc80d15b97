//! What the operator wants left out: counted, and told where rules go blind by it.

use anyhow::{Context, Result, ensure};
use hostward_tests::{Part, Setup, child, lacks, wait};
use std::fs;
use std::process::Command;
use std::time::Duration;

#[test]
fn what_is_ignored_is_counted_and_blind_rules_are_named() -> Result<()> {
    if lacks(Part::Kernel, "what_is_ignored_is_counted_and_blind_rules_are_named") {
        return Ok(());
    }
    let dir = tempfile::Builder::new().prefix("hw-ignored-").tempdir()?;
    let place = dir.path().canonicalize()?;
    let known = child::copy_of("/bin/cat", &place, "known")?;
    let other = child::copy_of("/bin/cat", &place, "other")?;
    let (target, text) = (place.join("watched"), place.to_str().context("a path of UTF-8")?);
    fs::write(&target, "x")?;
    let rules = format!(
        "- rule: Watched\n  desc: A file of this test is read.\n  condition: evt.type = openat and \
         fs.path.resolved = {text}/watched\n  output: \"read by %proc.exepath\"\n  priority: Notice\n\
         - rule: Blind\n  desc: It can see nothing.\n  condition: evt.type = ptrace\n  output: o\n  priority: Notice\n"
    );
    let config = format!(
        "[[sensor.ignore]]\nname = \"known program\"\nexe = [\"{text}/known\"]\n\n\
         [[sensor.ignore]]\nevents = [\"ptrace\"]\n"
    );
    let mut agent = Setup::new()?.config(&config)?.rules(&rules)?.start()?;
    for program in [&known, &other] {
        ensure!(Command::new(program).arg(&target).output()?.status.success());
    }
    let counted = wait::until("the count of what is ignored", Duration::from_secs(20), || {
        let status = agent.ask(&["status", "--json"])?;
        let report: serde_json::Value = serde_json::from_slice(&status.stdout)?;
        Ok(report.get("ignored").filter(|all| all[0]["events"] == 1).cloned())
    })?;
    let expected = serde_json::json!([{"block": "known program", "events": 1}, {"block": "2", "events": 0}]);
    ensure!(counted == expected, "{counted}");
    let told = String::from_utf8(agent.ask(&["status"])?.stdout)?;
    ensure!(told.contains("ignored by block known program: 1 events"), "{told}");
    ensure!(told.contains("leaves out every ptrace") && told.contains("Blind"), "{told}");
    ensure!(agent.stop()?.success(), "{}", agent.log());
    let feed = agent.feed().records()?;
    let alerts: Vec<_> = feed.iter().filter(|record| record.text("event.kind") == Some("alert")).collect();
    let by: Vec<_> = alerts.iter().filter_map(|record| record.text("message")).collect();
    ensure!(by == [format!("read by {}", other.display())], "{by:?}");
    // Starts are told all the same.
    let starts = feed.iter().filter(|record| record.text("process.executable") == known.to_str());
    ensure!(starts.count() > 0, "no start of the ignored program");
    Ok(())
}
