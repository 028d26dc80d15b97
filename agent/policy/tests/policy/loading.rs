//! Rule files: what loads, how definitions combine, and how mistakes are told.

use crate::support::{exec, file, load, matching, open, opens, problems, process, rule};
use hostward_event::event::Priority;
use hostward_policy::{RuleFile, Severity};

#[test]
fn a_rule_carries_what_its_file_says() {
    let loaded = load(
        "# comment\n\n- rule: Shell\n  desc: >\n    two\n    lines\n  condition: proc.name = bash\n  output: o\n  priority: info\n  tags: [host, mitre_execution, T1059.004]\n",
    );
    assert_eq!(loaded.problems, []);
    let rule = loaded.rules.iter().next().unwrap();
    assert!(rule.enabled);
    assert_eq!(rule.info.name.to_string(), "Shell");
    assert_eq!(rule.info.description.to_string(), "two lines");
    assert_eq!(rule.info.priority, Priority::Informational);
    assert_eq!(rule.info.source.to_string(), "rules.yaml:3");
    assert_eq!(rule.info.technique_ids[0].to_string(), "T1059.004");
    assert_eq!(rule.info.tactics[0].to_string(), "Execution");
    assert_eq!(rule.info.file_hash.to_string().len(), 16);
}

#[test]
fn lists_and_macros_are_put_in_also_from_later_documents_and_files() {
    let text = "
- list: shells
  items: [sh, bash]
- list: all
  items: [shells, 'a b', 7, 0x10]
- macro: is_shell
  condition: proc.name in (all)
---
- rule: R
  desc: d
  condition: is_shell and not later
  output: o
  priority: NOTICE
- macro: later
  condition: proc.pid = 1
";
    let loaded = hostward_policy::load(&[
        file(text),
        file("- list: shells\n  items: [fish]\n  append: true\n"),
        file("- macro: is_shell\n  condition: or proc.name = nu\n  override: {condition: append}\n"),
    ]);
    assert_eq!(loaded.problems, []);
    for name in ["sh", "bash", "fish", "nu", "7", "0x10", "a b"] {
        assert_eq!(
            matching(&loaded.rules, &exec(process(&format!("/bin/{name}"), ""), &[])),
            ["R"],
            "{name}"
        );
    }
    assert!(matching(&loaded.rules, &exec(process("/bin/zsh", ""), &[])).is_empty());
}

#[test]
fn a_later_entry_replaces_appends_and_switches_off() {
    let base = rule("A", "proc.name = a") + &rule("B", "proc.name = a") + &rule("C", "proc.name = a");
    let changes = "
- rule: A
  enabled: false
- rule: B
  condition: or proc.name = b
  tags: [extra]
  priority: CRITICAL
  override: {condition: append, tags: append, priority: replace}
- rule: C
  condition: and proc.pid = 1
  append: true
";
    let loaded = hostward_policy::load(&[file(&base), file(changes)]);
    assert_eq!(loaded.problems, []);
    assert_eq!(matching(&loaded.rules, &exec(process("/bin/a", ""), &[])), ["B"]);
    assert_eq!(matching(&loaded.rules, &exec(process("/bin/b", ""), &[])), ["B"]);
    assert_eq!(loaded.rules.find("B").unwrap().info.priority, Priority::Critical);
    assert!(!loaded.rules.find("A").unwrap().enabled);
}

#[test]
fn exceptions_take_matches_out() {
    let text = "
- list: editors
  items: [vi, nano]
- rule: R
  desc: d
  condition: evt.type = execve
  output: o
  priority: NOTICE
  exceptions:
    - name: pairs
      fields: [proc.name, proc.pname]
      comps: [=, in]
      values:
        - [ls, [bash, sh]]
        - [vi, editors]
    - name: names
      fields: proc.name
      values: [cat, editors]
    - name: prefixes
      fields: [proc.args]
      comps: [startswith]
      values:
        - ['--quiet now']
    - name: empty
      fields: proc.name
";
    let loaded = load(text);
    assert_eq!(loaded.problems, []);
    let matches = |path: &str, args: &str, parent: &str| {
        !matching(&loaded.rules, &exec(process(path, args), &[parent])).is_empty()
    };
    assert!(!matches("/bin/ls", "", "/bin/sh"));
    assert!(matches("/bin/ls", "", "/bin/zsh"));
    assert!(!matches("/bin/cat", "", "/bin/zsh"));
    assert!(!matches("/bin/nano", "", "/bin/zsh"));
    assert!(!matches("/bin/x", "--quiet now", "/bin/zsh"));
    assert!(matches("/bin/x", "", "/bin/zsh"));
    let append =
        "- rule: R\n  exceptions:\n    - name: names\n      values: [x]\n  override: {exceptions: append}\n";
    let loaded = hostward_policy::load(&[file(text), file(append)]);
    assert_eq!(loaded.problems, []);
    assert!(matching(&loaded.rules, &exec(process("/bin/x", ""), &["/bin/zsh"])).is_empty());
}

#[test]
fn rules_are_selected_by_name_glob_and_tag() {
    let text = rule("Write below etc", "proc.name = a")
        + &rule("Write below bin", "proc.name = a")
        + "- rule: Tagged\n  desc: d\n  condition: proc.name = a\n  output: o\n  priority: NOTICE\n  tags: [T1496]\n";
    let mut rules = load(&text).rules;
    let strings = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let idle =
        rules.select(&strings(&["Write below *", "tag=t1496", "Nothing"]), &strings(&["Write below bin"]));
    assert_eq!(idle, ["Nothing"]);
    assert_eq!(matching(&rules, &exec(process("/bin/a", ""), &[])), ["Write below bin"]);
}

#[test]
fn rules_are_indexed_by_the_events_they_can_match() {
    let kinds = |condition: &str| {
        let loaded = load(&rule("R", condition));
        assert!(
            loaded.problems.iter().all(|problem| problem.severity == Severity::Note),
            "{:?}",
            loaded.problems
        );
        loaded.rules.kinds().iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" ")
    };
    for (condition, want) in [
        ("evt.type = execve", "exec"),
        ("evt.type in (open, openat, connect)", "open connect"),
        ("evt.type = execve and proc.name = x", "exec"),
        ("evt.type = execve or evt.type = connect", "exec connect"),
        ("not evt.type = execve", "fork exit open connect"),
        ("not (evt.type = execve or evt.type = connect)", "fork exit open"),
        ("evt.type != open", "exec fork exit open connect"),
        ("evt.type = dup", "dup"),
        ("evt.type in (ptrace, open, semop)", "open ptrace"),
        ("evt.type in (unlink, unlinkat) and fd.name = /x", ""),
        // Failed starts of programs are for rules that read the result.
        ("evt.type in (execve, execveat) and evt.res = EACCES", "exec execve execveat"),
        ("evt.type = execve and evt.type = connect", ""),
        ("proc.name = x", "exec fork exit open connect"),
        ("fs.path.resolved = /x", "open"),
        ("not fs.path.resolved = /x", "exec fork exit open connect"),
        ("fd.sport = 1 or evt.is_open_read = true", "open connect"),
        ("evt.num = 0", ""),
        ("hostward.gap.count > 10", "gap"),
    ] {
        assert_eq!(kinds(condition), want, "{condition}");
    }
}

#[test]
fn an_output_is_formatted_and_cannot_drive_a_terminal() {
    let message = |output: &str, event: &hostward_event::Event| {
        let text = format!(
            "- rule: R\n  desc: d\n  condition: proc.pid = 100\n  output: '{output}'\n  priority: NOTICE\n"
        );
        let loaded = load(&text);
        loaded.rules.iter().next().unwrap().message(event).as_bytes().to_vec()
    };
    let event = exec(process("/bin/sh", "-c id"), &["/bin/bash", "/bin/login"]);
    for (output, want) in [
        ("*%proc.name (pid=%proc.pid)", "sh (pid=100)"),
        ("%proc.aname[2] %proc.aname[7]", "login <NA>"),
        ("%toupper(proc.name).%proc.name.", "SH.sh."),
        ("[%5proc.name][%1proc.name]", "[sh   ][s]"),
        ("100%% %proc.args[0]", "100% -c"),
        ("%fd.name %evt.type", "<NA> execve"),
        ("%nothing.known end", "<NA> end"),
        ("100% sure", "100% sure"),
        ("%evt.time.iso8601", "2023-11-14T22:13:20.000000000Z"),
        ("%process.args", "(sh,-c,id)"),
    ] {
        assert_eq!(String::from_utf8(message(output, &event)).unwrap(), want, "{output}");
    }
    let hostile = exec(process("/bin/x\u{1b}[2J\n", ""), &[]);
    let text = message("%proc.exepath", &hostile);
    assert_eq!(String::from_utf8(text).unwrap(), "/bin/x\\u{1b}[2J\\n");
}

#[test]
fn every_mistake_is_told_and_the_rest_loads() {
    let text = "\
- rule: Bad field
  desc: d
  condition: >
    evt.type = execve
    and (proc.nmae = x or
         proc.pid = many)
  output: o
  priority: NOTICE
- rule: Good
  desc: d
  condition: proc.name = x
  output: '%proc.nmae'
  priority: NOTICE
- rule: Keys
  desc: d
  conditon: proc.name = x
  output: o
  priority: URGENT
  capture: true
- rule: Kinds
  desc: [d]
  condition: proc.name = x
  output: o
  priority: NOTICE
  enabled: maybe
  tags: host
- macro: m
  condition: proc.name = 'x
- rule: Uses
  desc: d
  condition: m and n
  output: o
  priority: NOTICE
- ruel: Misspelt
- list: l
- 5
- rule: Other source
  desc: d
  condition: ka.verb = create
  output: o
  priority: NOTICE
  source: k8s_audit
- rule: Never defined
  condition: and proc.name = x
  override: {condition: append}
- required_engine_version: 0.99.0
- required_plugin_versions: [{name: json, version: 0.1.0}]
";
    let want = "\
rules.yaml:5:10: unknown field `proc.nmae` (did you mean `proc.name`?)
rules.yaml:6:21: `many` is no whole number (write e.g. 443, -1, 0x1bb or 1e9; the fields are whole numbers)
rules.yaml:12:13: warning: output: unknown field `proc.nmae`, did you mean `proc.name`? (it prints <NA>)
rules.yaml:16:3: unknown key `conditon` (did you mean `condition`?)
rules.yaml:18:13: unknown priority `URGENT` (priorities are Emergency, Alert, Critical, Error, Warning, Notice, Informational, Debug)
rules.yaml:19:3: warning: key `capture` is not supported and has no effect (remove it if it is not needed elsewhere)
rules.yaml:21:9: `desc` is a list, not text (give `desc` text)
rules.yaml:25:12: `enabled` is `maybe`, neither true nor false (write true or false)
rules.yaml:26:9: `tags` is text, not a list (give `tags` a list)
rules.yaml:28:26: quote is not closed (add the closing ')
rules.yaml:31:14: macro `m` did not load (correct the macro first)
rules.yaml:31:20: unknown macro `n` (did you mean `m`?)
rules.yaml:34:3: entry that begins with `ruel` is no rule, macro or list (did you mean `rule`?)
rules.yaml:35:3: entry has no `items` (add `items:`)
rules.yaml:36:3: entry is text, not a map (write `- rule: NAME`, `- macro: NAME` or `- list: NAME`)
rules.yaml:42:11: warning: rule is for the event source `k8s_audit`, which is not observed (the rule is skipped)
rules.yaml:43:3: there is no rule `Never defined` to change (define the rule before the entry that changes it, or load its file first)
rules.yaml:46:28: warning: file asks for language version 0.99.0, this agent knows 0.63.0 (rules that use something newer are reported one by one)
rules.yaml:47:37: warning: plugin `json` is not known (rules that need its fields are reported one by one)";
    assert_eq!(problems(text).join("\n"), want);
    let names: Vec<String> = load(text).rules.iter().map(|rule| rule.info.name.to_string()).collect();
    assert_eq!(names, ["Good"]);
}

#[test]
fn a_place_inside_a_condition_survives_quoting_lists_and_appending() {
    let place = |text: &str| {
        let problem = load(text).problems.into_iter().next().unwrap();
        (problem.line, problem.column)
    };
    let head =
        "- list: l\n  items: [aaaaaaaa, bbbbbbbb]\n- rule: R\n  desc: d\n  output: o\n  priority: NOTICE\n";
    for (condition, want) in [
        ("  condition: proc.name in (l) and proc.xx = 1\n", (7, 35)),
        ("  condition: \"proc.name = \\\"a b\\\" and proc.xx = 1\"\n", (7, 39)),
        ("  condition: 'proc.name = ''a b'' and proc.xx = 1'\n", (7, 39)),
        ("  condition: |\n    proc.name in (l)\n\n    and proc.xx = 1\n", (10, 9)),
        ("  condition:\n    proc.name in (l) and\n    # not a comment of the scalar\n", (8, 25)),
    ] {
        assert_eq!(place(&format!("{head}{condition}")), want, "{condition}");
    }
    let appended = format!(
        "{head}  condition: proc.name = x\n- rule: R\n  condition: and\n    proc.xx = 1\n  append: true\n"
    );
    assert_eq!(place(&appended), (10, 5));
}

#[test]
fn macros_that_use_each_other_are_refused() {
    let text = "
- macro: a
  condition: proc.name = x
- macro: b
  condition: a or proc.name = y
- macro: a
  condition: or b
  append: true
- rule: R
  desc: d
  condition: b
  output: o
  priority: NOTICE
";
    let problems = problems(text);
    assert!(problems[0].contains("uses itself through"), "{problems:?}");
    assert!(problems.iter().any(|problem| problem.contains("macro `b` did not load")), "{problems:?}");
}

#[test]
fn a_macro_sees_only_what_stands_before_it() {
    let text = "- macro: a\n  condition: b\n- macro: b\n  condition: proc.name = x\n";
    assert_eq!(
        problems(text),
        ["rules.yaml:2:14: unknown macro `b` (`b` is defined further down; move its definition up)"]
    );
}

#[test]
fn a_name_that_no_command_can_have_is_worth_a_warning() {
    let problems = problems(&rule("R", "proc.name in (unattended-upgrade, x)"));
    assert_eq!(
        problems,
        [
            "rules.yaml:3:28: warning: `unattended-upgrade` never equals proc.name: the kernel cuts command names at 15 bytes (write `unattended-upgr`)"
        ]
    );
}

#[test]
fn a_rule_for_events_that_are_not_observed_stays_and_says_so() {
    let loaded = load(&rule("R", "evt.type in (semop, semget) and proc.name = x"));
    assert_eq!(loaded.rules.len(), 1);
    assert_eq!(loaded.problems[0].severity, Severity::Note);
    assert!(loaded.problems[0].reason.contains("semget, semop"), "{}", loaded.problems[0]);
}

#[test]
fn an_unknown_field_may_be_declared_tolerable() {
    let text = rule("R", "some.field = 1") + "  skip-if-unknown-filter: true\n";
    let loaded = load(&text);
    assert_eq!(loaded.problems.len(), 1);
    assert_eq!(loaded.problems[0].severity, Severity::Note);
    assert!(loaded.rules.is_empty());
}

#[test]
fn all_rules_that_match_are_given_in_file_order() {
    let text = rule("Second", "fs.path.resolved = /etc/x")
        + &rule("Third", "evt.type = openat")
        + &rule("No", "evt.type = execve");
    let loaded = hostward_policy::load(&[file(&rule("First", "proc.name = cat")), file(&text)]);
    let event = opens(process("/bin/cat", ""), &[], open("/etc/x", 0));
    assert_eq!(matching(&loaded.rules, &event), ["First", "Second", "Third"]);
}

#[test]
fn files_are_named_as_they_were_handed_in() {
    let files = [
        RuleFile { name: "a.yaml".to_owned(), text: rule("A", "proc.name = x").into_bytes() },
        RuleFile { name: "b.yaml".to_owned(), text: rule("B", "proc.nmae = x").into_bytes() },
    ];
    let loaded = hostward_policy::load(&files);
    assert_eq!(loaded.rules.find("A").unwrap().info.source.to_string(), "a.yaml:1");
    assert_eq!((loaded.problems[0].file.as_str(), loaded.problems[0].rule.as_deref()), ("b.yaml", Some("B")));
}
