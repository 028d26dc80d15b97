//! What a shipped rule must bring along.

use crate::shipped;
use anyhow::{Context, Result, ensure};
use hostward_tests::place;
use std::collections::BTreeSet;

/// A rule of a file, as its text stands there: from its first line to the next item.
struct Written {
    name: String,
    text: String,
}

fn written() -> Result<Vec<Written>> {
    let mut files: Vec<_> = std::fs::read_dir(place::checkout().join("etc/rules.d"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    let mut found: Vec<Written> = Vec::new();
    for file in files {
        let mut inside = false;
        for line in std::fs::read_to_string(file)?.lines() {
            if let Some(name) = line.strip_prefix("- rule: ") {
                found.push(Written { name: name.to_owned(), text: String::new() });
                inside = true;
            } else if line.starts_with("- ") || line.starts_with('#') {
                inside = false;
            } else if inside {
                let rule = found.last_mut().context("a rule")?;
                // Folded as YAML folds it, so that a phrase is found across lines.
                rule.text.push(' ');
                rule.text.push_str(line.trim());
                if !line.starts_with("    ") {
                    rule.text.push('\n');
                }
            }
        }
    }
    Ok(found)
}

fn is_technique(tag: &str) -> bool {
    let Some(number) = tag.strip_prefix('T') else { return false };
    let (base, sub) = number.split_once('.').unwrap_or((number, "000"));
    let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(base, 4) && digits(sub, 3)
}

#[test]
fn every_shipped_rule_says_what_it_may_mistake_and_which_technique_it_is() -> Result<()> {
    let rules = written()?;
    ensure!(rules.len() > 50, "only {} rules were found", rules.len());
    for rule in rules {
        ensure!(rule.text.contains("False positives: "), "{}: what may it mistake?", rule.name);
        let tags = rule.text.rsplit_once("tags: [").and_then(|(_, tags)| tags.split_once(']'));
        let (tags, _) = tags.with_context(|| format!("{}: no tags", rule.name))?;
        ensure!(tags.split(", ").any(is_technique), "{}: no technique among {tags}", rule.name);
    }
    Ok(())
}

#[test]
fn every_shipped_rule_has_an_attack() -> Result<()> {
    let rules: BTreeSet<String> = written()?.into_iter().map(|rule| rule.name).collect();
    let rows = shipped::rows();
    let tested: BTreeSet<String> = rows.iter().map(|row| row.rule.to_owned()).collect();
    ensure!(tested.len() == rows.len(), "a rule has two rows");
    let differ: Vec<_> = rules.symmetric_difference(&tested).collect();
    ensure!(differ.is_empty(), "rules without a row, or rows without a rule: {differ:?}");
    Ok(())
}
