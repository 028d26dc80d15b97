//! Bad input: every problem is named with its place, and the documented code is returned.

use anyhow::{Context, Result};
use hostward_tests::{binary, place};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn check(verb: &[&str], path: &Path) -> Result<Output> {
    Ok(Command::new(binary::hostward()?).args(verb).arg(path).stdin(Stdio::null()).output()?)
}

fn refused(verb: &[&str], name: &str, text: impl AsRef<[u8]>) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join(name);
    std::fs::write(&path, text)?;
    let output = check(verb, &path)?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    Ok(stderr)
}

const CONFIG: [&str; 3] = ["config", "check", "--config"];
const RULES: [&str; 2] = ["rules", "check"];

#[test]
fn the_shipped_configuration_and_rules_are_sound() -> Result<()> {
    let root = place::checkout();
    let output = check(&CONFIG, &root.join("etc/hostward.toml"))?;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let output = check(&RULES, &root.join("etc/rules.d"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let rules: usize = stdout
        .lines()
        .find_map(|line| line.strip_prefix("ok: ")?.split(' ').next()?.parse().ok())
        .context("a count of rules")?;
    assert!(rules >= 10, "{rules} rules");
    Ok(())
}

#[test]
fn every_problem_of_a_configuration_is_told_at_once() -> Result<()> {
    let text = "[agent]\nstate_dri = \"/x\"\nrecent_events = \"many\"\n\n[[sink]]\ntype = \"pigeon\"\n";
    let told = refused(&CONFIG, "h.toml", text)?;
    for place in ["h.toml:2:1:", "h.toml:3:1:", "h.toml:6:1:"] {
        assert!(told.contains(place), "{place} is missing:\n{told}");
    }
    Ok(())
}

#[test]
fn every_fault_of_what_is_to_be_ignored_is_told_with_its_block() -> Result<()> {
    let text = "[[sensor.ignore]]\nexe = [\"mysqld\"]\nport = [0]\n\n[[sensor.ignore]]\nname = \"x\"\nevents = [\"execve\"]\n";
    let told = refused(&CONFIG, "h.toml", text)?;
    for fault in ["ignore 1: exe: \"mysqld\"", "ignore 1: port: 0", "ignore x: events: \"execve\""] {
        assert!(told.contains(fault), "{fault} is missing:\n{told}");
    }
    Ok(())
}

#[test]
fn a_filter_that_is_no_condition_is_refused() -> Result<()> {
    let told = refused(&CONFIG, "h.toml", "[[sink]]\ntype = \"file\"\nfilter = \"event.knid = alert\"\n")?;
    assert!(told.contains("event.knid") && told.contains("event.kind"), "{told}");
    Ok(())
}

#[test]
fn a_rule_file_tells_line_and_column_and_suggests() -> Result<()> {
    let told = refused(
        &RULES,
        "r.yaml",
        "- rule: A\n  desc: a\n  condition: evt.type = execve and proc.nmae = x\n  output: a\n  priority: Notice\n\
         - rule: B\n  desc: b\n  condition: proc.name =\n  output: b\n  priority: Loud\n",
    )?;
    assert!(told.contains("r.yaml:3:"), "{told}");
    assert!(told.contains("did you mean `proc.name`"), "{told}");
    assert!(told.contains("r.yaml:8:"), "the second rule is told too:\n{told}");
    Ok(())
}

#[test]
fn hostile_rule_files_are_refused_and_do_no_harm() -> Result<()> {
    let bomb = {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for n in 1..30 {
            text.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(",")));
        }
        text
    };
    refused(&RULES, "bomb.yaml", bomb)?;
    refused(&RULES, "bytes.yaml", b"- rule: \xff\xfe\n")?;
    refused(&RULES, "deep.yaml", "[".repeat(100_000))?;
    let parens = format!(
        "- rule: P\n  desc: p\n  condition: {}proc.name = x{}\n  output: p\n  priority: Notice\n",
        "(".repeat(50_000),
        ")".repeat(50_000)
    );
    refused(&RULES, "parens.yaml", parens)?;
    refused(
        &RULES,
        "keys.yaml",
        "- rule: K\n  desc: k\n  condition: proc.name = x\n  output: k\n  priority: Notice\n  colour: red\n",
    )?;
    Ok(())
}

#[test]
fn a_file_of_a_gigabyte_is_not_read() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("giant.yaml");
    std::fs::File::create(&path)?.set_len(1 << 30)?;
    let output = check(&RULES, &path)?;
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("at most"), "the limit is named");
    let path = dir.path().join("giant.toml");
    std::fs::File::create(&path)?.set_len(1 << 30)?;
    assert_eq!(check(&CONFIG, &path)?.status.code(), Some(78));
    Ok(())
}

#[test]
fn a_response_file_is_checked_with_the_configuration() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let responses = dir.path().join("r.yaml");
    std::fs::write(&responses, "- response: x\n  rules: [\"*\"]\n  mode: enfroce\n  actions: [kil]\n")?;
    let told = refused(
        &CONFIG,
        "h.toml",
        format!("[responses]\nfiles = [{:?}]\n", responses.display().to_string()),
    )?;
    assert!(told.contains("r.yaml:3:") && told.contains("r.yaml:4:"), "{told}");
    assert!(told.contains("enforce"), "{told}");
    Ok(())
}

#[test]
fn missing_files_are_named() -> Result<()> {
    let output = check(&RULES, Path::new("/nonexistent/rules.yaml"))?;
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/rules.yaml"));
    Ok(())
}
