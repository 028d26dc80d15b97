//! Files that nobody means well with: each costs bounded time and memory and gets one clear answer.

use crate::support::{load, problems, rule};
use hostward_policy::{Condition, RuleFile, Severity};
use proptest::prelude::*;

fn only(text: &[u8]) -> String {
    let loaded = hostward_policy::load(&[RuleFile { name: "f".to_owned(), text: text.to_vec() }]);
    assert_eq!(loaded.problems.len(), 1, "{:?}", loaded.problems);
    assert_eq!(loaded.problems[0].severity, Severity::Error);
    loaded.problems[0].to_string()
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = "- &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let alias = format!("*a{}", n - 1);
        text.push_str(&format!("- &a{n} [{}]\n", [alias.as_str(); 10].join(", ")));
    }
    let problems = problems(&text);
    assert!(problems.iter().any(|problem| problem.contains("aliases repeat more than")), "{problems:?}");
    let big = format!("- list: l\n  items: [&a {}, {}]\n", "x".repeat(100_000), ["*a"; 20].join(", "));
    assert!(only(big.as_bytes()).contains("aliases repeat more than"));
}

#[test]
fn deep_nesting_is_refused() {
    for text in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000)] {
        let answer = only(text.as_bytes());
        assert!(answer.contains("nest") || answer.contains("YAML"), "{answer}");
    }
}

#[test]
fn a_file_that_is_too_big_is_refused_unread() {
    let mut text = b"- list: l\n  items: [".to_vec();
    text.resize(100 << 20, b'x');
    assert_eq!(
        only(&text),
        "f:1:1: file has 104857600 bytes, at most 16777216 are read (split it into several files)"
    );
}

#[test]
fn a_long_line_within_the_limit_is_read() {
    let long = "x".repeat(4 << 20);
    let loaded = load(&format!("- list: l\n  items: [{long}]\n{}", rule("R", "proc.name in (y)")));
    assert_eq!(loaded.problems, []);
    assert_eq!(loaded.rules.len(), 1);
}

#[test]
fn names_of_any_length_are_answered_quickly() {
    let long = "x.y".repeat(300_000);
    let text = rule("A", &format!("{long} = 1")) + &rule("B", &format!("m{}", "o".repeat(500_000)));
    let loaded = load(&(text + "- list: l\n  items: []\n  " + &"k".repeat(900) + ": 1\n"));
    assert_eq!(loaded.problems.len(), 3);
    let longest = loaded.problems.iter().map(|problem| problem.to_string().len()).max();
    assert!(longest < Some(300), "{longest:?}");
}

#[test]
fn bytes_that_are_no_utf8_are_pointed_at() {
    assert_eq!(
        only(b"- list: l\n  items: [a\xff]\n"),
        "f:2:12: file is not UTF-8 from here on (save it as UTF-8; write bytes of a value as \\xHH)"
    );
}

#[test]
fn broken_yaml_keeps_what_stood_before_it() {
    let text = rule("Good", "proc.name = x") + "- rule: [unclosed\n  desc: d\n";
    let loaded = load(&text);
    assert_eq!(loaded.rules.len(), 1);
    assert!(
        loaded.problems.iter().any(|problem| problem.reason.starts_with("not valid YAML")),
        "{:?}",
        loaded.problems
    );
}

#[test]
fn a_key_that_stands_twice_is_no_choice() {
    let text = rule("R", "proc.name = x") + "  condition: proc.name = y\n";
    assert_eq!(
        problems(&text),
        ["rules.yaml:6:3: key `condition` stands twice (remove one; only one could count)"]
    );
}

#[test]
fn parentheses_nest_a_thousand_deep_and_no_deeper() {
    let nested = |depth: usize, inner: &str| format!("{}{inner}{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Condition::parse(&nested(999, "proc.name = x")).is_ok());
    let problem = Condition::parse(&nested(1_000_000, "proc.name = x")).unwrap_err();
    assert_eq!((problem.column, problem.reason.as_str()), (1000, "nested deeper than 1000 levels"));
    // A depth that brackets cannot fold away: not(a and not(a and …)).
    let mut deep = "proc.name = x".to_owned();
    for _ in 0..480 {
        deep = format!("not (proc.pid = 1 and {deep})");
    }
    let condition = Condition::parse(&deep).unwrap();
    drop(condition.clone());
    assert!(!condition.kinds().is_empty());
    // The whole way of a deep rule, plan included, fits the stack of a thread.
    let loaded = load(&rule("Deep", &deep));
    assert_eq!(loaded.problems, []);
    let plan = hostward_policy::plan(&loaded.rules, &Default::default(), &Default::default());
    assert!(plan.kill_comms.is_empty());
    assert!(Condition::parse(&"not ".repeat(100_000)).is_err());
}

#[test]
fn macros_that_double_each_other_are_refused() {
    let mut text = "- macro: m0\n  condition: proc.name = x\n".to_owned();
    for n in 1..60 {
        text.push_str(&format!("- macro: m{n}\n  condition: m{0} or m{0}\n", n - 1));
    }
    text.push_str(&rule("R", "m59"));
    let problems = problems(&text);
    assert!(problems.iter().any(|problem| problem.contains("more than 100000 checks")), "{problems:?}");
    assert!(load(&text).rules.is_empty());
}

#[test]
fn lists_that_double_each_other_are_refused() {
    let mut text = "- list: l0\n  items: [abcdefgh, ijklmnop]\n".to_owned();
    for n in 1..60 {
        text.push_str(&format!("- list: l{n}\n  items: [l{0}, l{0}]\n", n - 1));
    }
    let problems = problems(&(text + &rule("R", "proc.name in (l59)")));
    assert!(problems.iter().any(|problem| problem.contains("bytes together")), "{problems:?}");
}

#[test]
fn a_regular_expression_has_a_size() {
    let problem = Condition::parse("proc.name regex '(a{500}){500}'").unwrap_err();
    assert!(problem.reason.contains("takes more than"), "{problem}");
}

#[test]
fn control_characters_of_a_file_are_not_echoed() {
    let shown = problems("- \"ru\\x1b[2Jle\": x\n").join("\n");
    assert!(!shown.contains('\u{1b}') && shown.contains("\\u{1b}"), "{shown}");
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text: String) {
        let _ = Condition::parse(&text);
    }

    /// Words of the language in any order reach deeper than arbitrary text.
    #[test]
    fn any_words_are_parsed_or_refused(words in prop::collection::vec(prop::sample::select(vec![
        "and", "or", "not", "(", ")", "proc.name", "proc.aname[2]", "evt.num", "=", "!=", "in", "contains", "anyof",
        "regex", "glob", "pmatch", "exists", "val(", "toupper(", "join(", "\"", "'", "\\", ",", "x", "0", "1e9", "-",
        "fd.ip", "10.0.0.0/8", "a*b[", "evt.arg.flags", "é", "\u{0}",
    ]), 0..40)) {
        let _ = Condition::parse(&words.join(" "));
        let _ = Condition::parse(&words.concat());
    }

    #[test]
    fn any_file_is_loaded_or_refused(bytes: Vec<u8>) {
        let _ = hostward_policy::load(&[RuleFile { name: "f".to_owned(), text: bytes }]);
    }

    #[test]
    fn any_lines_are_loaded_or_refused(lines in prop::collection::vec(prop::sample::select(vec![
        "- rule: R\n", "- macro: m\n", "- list: l\n", "  desc: d\n", "  condition: m and proc.name in (l)\n",
        "  condition: >\n    proc.name = x\n", "  output: '%proc.name %20fd.name %toupper(x'\n", "  priority: INFO\n",
        "  items: [a, l, \"b c\"]\n", "  items:\n    - x\n", "  tags: [t]\n", "  append: true\n", "  enabled: no\n",
        "  override: {condition: append}\n", "  exceptions:\n    - name: e\n      fields: [proc.name]\n      values: [[l]]\n",
        "---\n", "  condition: m\n", "  source: x\n", "  - : [", "  &a x: *a\n", "- *a\n",
    ]), 0..30)) {
        let loaded = load(&lines.concat());
        for problem in &loaded.problems {
            prop_assert!(problem.line >= 1 && problem.column >= 1 && !problem.reason.is_empty());
        }
    }
}
