//! The published rule file is read as it is, and every field that it uses is known.

use hostward_event::registry;
use hostward_policy::{RuleFile, Severity, load};
use std::path::Path;

/// A file beside the repository; none, and a line that says what is skipped, when it is not there.
#[expect(
    clippy::disallowed_methods,
    reason = "the crate is pure, its tests read the files that they are about"
)]
fn beside(name: &str, test: &str) -> Option<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    let text = std::fs::read(path).ok();
    if text.is_none() {
        eprintln!("skipped: {test}: ../shared/data/{name} is not there");
    }
    text
}

/// The published rules, if they are there.
pub(crate) fn rules(test: &str) -> Option<RuleFile> {
    Some(RuleFile { name: "falco_rules.yaml".to_owned(), text: beside("falco_rules.yaml", test)? })
}

#[test]
fn the_published_rules_load_unmodified() {
    let Some(text) = beside("falco_rules.yaml", "the_published_rules_load_unmodified") else { return };
    let written = String::from_utf8_lossy(&text).lines().filter(|line| line.starts_with("- rule:")).count();
    let loaded = load(&[RuleFile { name: "falco_rules.yaml".to_owned(), text }]);
    let worth: Vec<_> = loaded.problems.iter().filter(|problem| problem.severity != Severity::Note).collect();
    assert!(worth.is_empty(), "{worth:#?}");
    assert_eq!(loaded.rules.len(), written);
    // What `hostward rules explain` shows of each can be written in a file again, and means the same.
    for rule in &loaded.rules {
        let expanded = rule.expanded();
        let text =
            format!("- rule: R\n  desc: d\n  output: o\n  priority: INFO\n  condition: >-\n    {expanded}\n");
        let again = load(&[RuleFile { name: "again.yaml".to_owned(), text: text.into() }]);
        let again = again.rules.find("R").unwrap_or_else(|| panic!("{expanded}: {:?}", again.problems));
        assert_eq!(again.expanded(), expanded);
    }
    assert!(written >= 20, "{written} rules in the file");
}

#[test]
fn every_field_of_the_published_rules_is_known() {
    let Some(table) = beside("falco-fields.tsv", "every_field_of_the_published_rules_is_known") else {
        return;
    };
    let table = String::from_utf8(table).unwrap();
    let names: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split('\t').next()).collect();
    assert!(names.len() > 90, "{} fields in the table", names.len());
    let besides = "evt.dir container.info container.name container.image.tag proc.pid proc.ppid proc.sid \
                   proc.vpgid proc.exe_ino";
    for name in names.into_iter().chain(besides.split_whitespace()) {
        // The table names a family of parameters by its head.
        let bracket = matches!(name, "evt.arg" | "container.mount.dest").then_some("x");
        if let Err(why) = registry::resolve(name, bracket) {
            panic!("{name}: {why}");
        }
    }
}
