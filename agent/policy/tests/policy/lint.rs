//! What `hostward rules check` and `explain` say.

use crate::support::{exec, file, process, rule};
use hostward_policy::{Condition, Severity};

fn told(text: &str) -> Vec<String> {
    let loaded = hostward_policy::check(&[file(text)]);
    loaded.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn what_nothing_uses_is_told() {
    let text = "
- list: used
  items: [nested]
- list: nested
  items: [a]
- list: idle
  items: [b]
- macro: idle_too
  condition: proc.name = x
- macro: asked
  condition: proc.name in (used)
"
    .to_owned()
        + &rule("R", "asked");
    let told = told(&text);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("list `idle` is not used"), "{told:?}");
    assert!(told[1].contains("macro `idle_too` is not used"), "{told:?}");
    assert!(hostward_policy::load(&[file(&text)]).problems.is_empty(), "the agent's log has none of it");
}

#[test]
fn a_list_hides_a_macro_of_its_name() {
    let text = "- list: x\n  items: [a]\n- macro: x\n  condition: proc.name = a\n".to_owned()
        + &rule("R", "proc.name in (x)");
    assert!(told(&text).iter().any(|line| line.contains("list `x` hides the macro")), "{:?}", told(&text));
}

#[test]
fn a_condition_that_contradicts_itself_is_told() {
    for (condition, contradicts) in [
        ("evt.type = execve and proc.name = a and proc.name = b", true),
        ("evt.type = execve and proc.name in (a, b) and proc.name = c", true),
        ("evt.type = execve and (proc.name = a and (user.uid > 1 and proc.name = b))", true),
        ("evt.type = execve and proc.name in (a, b) and proc.name = b", false),
        ("evt.type = execve and (proc.name = a or proc.name = b)", false),
        ("evt.type = execve and proc.aname = a and proc.aname = b", false),
        ("evt.type = execve and proc.name = a and not proc.name = b", false),
        ("evt.type = execve and proc.name = a and proc.pname = b", false),
        ("evt.type = execve and proc.env[A] = a and proc.env[B] = b", false),
    ] {
        let loaded = hostward_policy::check(&[file(&rule("R", condition))]);
        let warned = loaded.problems.iter().any(|problem| {
            problem.severity == Severity::Warning && problem.reason.starts_with("rule can never match")
        });
        assert_eq!(warned, contradicts, "{condition}: {:?}", loaded.problems);
    }
}

#[test]
fn a_sequence_with_a_step_that_is_off_is_told() {
    let step = rule("first", "evt.type = execve and proc.name = a");
    let text = |more: &str| {
        format!(
            "{step}{more}{}- rule: both\n  desc: d\n  sequence: [first, second]\n  by: proc.pid\n  within: 10s\n  \
             output: o\n  priority: NOTICE\n",
            rule("second", "evt.type = connect")
        )
    };
    assert_eq!(told(&text("")), Vec::<String>::new());
    let off = told(&text("  enabled: false\n"));
    assert_eq!(off.len(), 1, "{off:?}");
    assert!(off[0].contains("sequence is never whole: its step `first` is turned off"), "{off:?}");
}

#[test]
fn an_expanded_condition_means_the_same() {
    let text = "
- list: shells
  items: [sh, \"a b\"]
- macro: shell
  condition: (proc.name in (shells) or proc.pid = 0x10)
"
    .to_owned()
        + &rule(
            "R",
            "shell and not (proc.cmdline contains anyof (a, 'q\"x') and toupper(proc.name) = SH) \
             and proc.exepath pmatch (/usr, /bin) and not proc.name = val(proc.pname) \
             and proc.args[0] exists and evt.arg.flags contains \"\\xff,\" and proc.name endswith allof (h)",
        );
    let loaded = hostward_policy::load(&[file(&text)]);
    assert_eq!(loaded.problems, []);
    let expanded = loaded.rules.find("R").unwrap().expanded();
    assert_eq!(
        expanded,
        "(proc.name in (sh, \"a b\") or proc.pid = 0x10) and not (proc.cmdline contains anyof (a, \"q\\\"x\") \
         and toupper(proc.name) = SH) and proc.exepath pmatch (/usr, /bin) and not proc.name = val(proc.pname) \
         and proc.args[0] exists and evt.arg[flags] contains \"\\xFF,\" and proc.name endswith allof (h)"
    );
    Condition::parse(&expanded).unwrap();
}

#[test]
fn matches_are_counted_by_rule() {
    let text = rule("A", "evt.type = execve and proc.name = a") + &rule("B", "evt.type = execve");
    let mut set = hostward_policy::load(&[file(&text)]).rules;
    let mut out = Vec::new();
    for name in ["/bin/a", "/bin/b", "/bin/c"] {
        set.matches(&exec(process(name, ""), &[]), &mut out);
    }
    assert_eq!(out.len(), 4);
    assert_eq!((set.counted("A"), set.counted("B"), set.counted("C")), (Some((3, 1)), Some((3, 3)), None));
    set.match_first();
    let mut out = Vec::new();
    set.matches(&exec(process("/bin/a", ""), &[]), &mut out);
    assert_eq!(out.iter().map(|rule| rule.info.name.to_string()).collect::<Vec<_>>(), ["A"]);
}
