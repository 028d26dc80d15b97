//! The published behaviour that rule files rely on, a case each: what lists become, how values are rendered, how paths
//! are made absolute, what order binds. Operators and missing fields are in `conditions`.

use crate::support::{
    O_CREAT, O_RDWR, O_TRUNC, O_WRONLY, connects, contained, exec, load, matching, open, opens, process, rule,
};
use hostward_event::event::Body;
use hostward_event::registry::{self, Value};
use hostward_event::{Event, Text};

/// Lists, then the names of which the command `name` matches rule `R`.
fn listed(lists: &str, condition: &str, commands: &[(&str, bool)]) {
    let loaded = load(&(lists.to_owned() + &rule("R", condition)));
    assert_eq!(loaded.problems, [], "{condition}");
    for (command, want) in commands {
        let mut acts = process("/bin/x", "");
        acts.comm = Text::from(*command);
        let found = !matching(&loaded.rules, &exec(acts, &[])).is_empty();
        assert_eq!(found, *want, "{condition} on {command}");
    }
}

#[test]
fn a_list_is_text_wherever_its_name_stands_alone() {
    let lists = "- list: l\n  items: [a, b]\n";
    listed(lists, "proc.name in (l)", &[("a", true), ("b", true), ("l", false)]);
    listed(lists, "proc.name in (x, l, y)", &[("x", true), ("b", true), ("y", true)]);
    // Part of a word is no name.
    listed(lists, "proc.name in (ll, l.x, l-)", &[("a", false), ("ll", true), ("l.x", true), ("l-", true)]);
    // Inside quotes it is a name all the same.
    listed("- list: l\n  items: [a]\n", "proc.name = \"x l y\"", &[("x a y", true), ("x l y", false)]);
    listed("- list: l\n  items: [a]\n", "proc.name = l", &[("a", true), ("l", false)]);
    listed("- list: l\n  items: [a]\n", "proc.name=l", &[("a", true), ("l", false)]);
}

#[test]
fn items_with_blanks_are_quoted_and_numbers_are_text() {
    let lists = "- list: l\n  items: [two words, 7, 0x10, '1.50']\n";
    listed(
        lists,
        "proc.name in (l)",
        &[("two words", true), ("7", true), ("0x10", true), ("1.50", true), ("two", false)],
    );
}

#[test]
fn an_empty_list_takes_one_comma_along() {
    let lists = "- list: none\n  items: []\n";
    listed(lists, "proc.name in (none)", &[("none", false), ("", false)]);
    listed(lists, "proc.name in (a, none)", &[("a", true), ("none", false)]);
    listed(lists, "proc.name in (none, a)", &[("a", true), ("none", false)]);
    listed(lists, "proc.name in (a, none, b)", &[("a", true), ("b", true)]);
    listed(lists, "not proc.name in (none)", &[("a", true)]);
}

#[test]
fn a_list_nests_those_before_it_and_grows_when_appended_to() {
    let lists = "
- list: inner
  items: [a]
- list: outer
  items: [inner, b]
- list: inner
  items: [c]
  override: {items: append}
";
    listed(lists, "proc.name in (outer)", &[("a", true), ("b", true), ("c", true), ("inner", false)]);
}

#[test]
fn what_is_appended_binds_as_the_joined_text_does() {
    // The published engine joins with one blank and no parentheses.
    let text = rule("R", "proc.name = a")
        + "- rule: R\n  condition: or proc.name = b and proc.pid = 1\n  append: true\n";
    let loaded = load(&text);
    assert_eq!(loaded.problems, []);
    assert_eq!(
        loaded.rules.find("R").unwrap().expanded(),
        "proc.name = a or (proc.name = b and proc.pid = 1)"
    );
}

#[test]
fn a_macro_keeps_its_parentheses() {
    let text = "- macro: m\n  condition: proc.name = a or proc.name = b\n".to_owned()
        + &rule("R", "m and proc.pid = 1");
    assert_eq!(
        load(&text).rules.find("R").unwrap().expanded(),
        "(proc.name = a or proc.name = b) and proc.pid = 1"
    );
}

#[test]
fn a_macro_does_not_see_one_further_down() {
    let text =
        "- macro: m\n  condition: n\n- macro: n\n  condition: proc.name = a\n".to_owned() + &rule("R", "n");
    let loaded = load(&text);
    assert!(
        loaded.problems.iter().any(|problem| problem.reason == "unknown macro `n`"),
        "{:?}",
        loaded.problems
    );
    assert!(loaded.rules.find("R").is_some(), "a rule sees all");
}

/// The text of a field as rules compare it.
fn text(event: &Event, name: &str, bracket: Option<&str>) -> String {
    let (field, arg) = registry::resolve(name, bracket).unwrap();
    match field.value(event, &arg) {
        Value::Missing => "<NA>".to_owned(),
        Value::Text(text) => String::from_utf8(text.into_owned()).unwrap(),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn flags_of_an_open_are_rendered_to_the_letter() {
    for (flags, created, want) in [
        (0, false, "O_RDONLY"),
        (O_WRONLY, false, "O_WRONLY"),
        (O_RDWR, false, "O_RDWR"),
        (O_WRONLY | O_CREAT | O_TRUNC, true, "O_WRONLY|O_CREAT|O_TRUNC|O_F_CREATED"),
        (O_RDWR | O_CREAT, false, "O_RDWR|O_CREAT"),
    ] {
        let event =
            opens(process("/bin/x", ""), &[], hostward_event::raw::RawOpen { created, ..open("/a", flags) });
        assert_eq!(text(&event, "evt.arg", Some("flags")), want);
        assert_eq!(text(&event, "evt.arg.flags", None), want);
    }
}

#[test]
fn a_path_is_made_absolute_by_text() {
    for (base, path, name, directory, filename) in [
        ("/home/a", "x", "/home/a/x", "/home/a", "x"),
        ("/home/a", "../b/./c", "/home/b/c", "/home/b", "c"),
        ("/", "../../etc/passwd", "/etc/passwd", "/etc", "passwd"),
        ("", "/etc//shadow", "/etc/shadow", "/etc", "shadow"),
        ("", "/proc/self/root/etc/shadow", "/proc/self/root/etc/shadow", "/proc/self/root/etc", "shadow"),
        ("", "/vmlinuz", "/vmlinuz", "/", "vmlinuz"),
    ] {
        let mut opened = open(path, 0);
        opened.base = Text::from(base);
        opened.path = Text::from("/resolved");
        let event = opens(process("/bin/x", ""), &[], opened);
        assert_eq!(text(&event, "fd.name", None), name);
        assert_eq!(text(&event, "fd.directory", None), directory);
        assert_eq!(text(&event, "fd.filename", None), filename);
        assert_eq!(text(&event, "fd.nameraw", None), path);
        assert_eq!(text(&event, "fs.path.resolved", None), "/resolved");
    }
}

#[test]
fn of_a_failed_open_the_name_is_known_and_no_file() {
    let mut refused = open("/etc/shadow", 0);
    refused.result = -13;
    let event = opens(process("/bin/x", ""), &[], refused);
    for (field, want) in [
        ("evt.res", "EACCES"),
        ("evt.rawres", "-13"),
        ("fd.num", "-1"),
        ("fd.name", "/etc/shadow"),
        ("fd.directory", "/etc"),
        ("fd.filename", "<NA>"),
        ("fd.typechar", "f"),
    ] {
        assert_eq!(text(&event, field, None), want, "{field}");
    }
}

#[test]
fn processes_are_rendered_to_the_letter() {
    let mut acts = process("/usr/bin/a-name-that-is-longer", "-v x");
    acts.cwd = Text::from("/tmp");
    acts.tty = 34816;
    let event = exec(acts, &["/bin/bash"]);
    for (field, want) in [
        ("proc.name", "a-name-that-is-"),
        ("proc.exe", "a-name-that-is-longer"),
        ("proc.exepath", "/usr/bin/a-name-that-is-longer"),
        ("proc.args", "-v x"),
        ("proc.cmdline", "a-name-that-is- -v x"),
        ("proc.cwd", "/tmp/"),
        ("proc.tty", "34816"),
        ("proc.pname", "bash"),
        ("user.loginuid", "-1"),
        ("user.name", "root"),
        ("container.id", "host"),
        ("evt.type", "execve"),
        ("evt.res", "SUCCESS"),
        ("evt.dir", "<"),
    ] {
        assert_eq!(text(&event, field, None), want, "{field}");
    }
    let silent = exec(contained(process("/bin/x", "")), &[]);
    assert_eq!(text(&silent, "proc.args", None), "", "empty, not missing");
    assert_eq!(text(&silent, "proc.cmdline", None), "x");
    assert_eq!(text(&silent, "container.id", None), "0123456789ab");
}

#[test]
fn capabilities_are_joined_by_blanks() {
    let mut acts = process("/bin/x", "");
    acts.creds.cap_effective = 1 << 21 | 1;
    let event = exec(acts, &[]);
    assert_eq!(text(&event, "thread.cap_effective", None), "CAP_CHOWN CAP_SYS_ADMIN");
    assert_eq!(text(&event, "thread.cap_permitted", None), "");
}

#[test]
fn a_connection_is_named_by_both_ends() {
    let mut event = connects(process("/bin/x", ""), &[], "93.184.216.34:443");
    assert_eq!(text(&event, "fd.name", None), "10.0.0.5:40000->93.184.216.34:443");
    assert_eq!(text(&event, "fd.l4proto", None), "tcp");
    assert_eq!(text(&event, "fd.type", None), "ipv4");
    assert_eq!(text(&event, "fd.sockfamily", None), "ip");
    assert_eq!(text(&event, "fd.connected", None), "true");
    if let Body::Connect(connect) = &mut event.body {
        connect.result = -115;
    }
    assert_eq!(text(&event, "evt.res", None), "EINPROGRESS");
    assert_eq!(text(&event, "fd.connected", None), "true");
    if let Body::Connect(connect) = &mut event.body {
        connect.result = -111;
    }
    assert_eq!(text(&event, "fd.connected", None), "false");
}

#[test]
fn the_old_direction_of_an_event_is_always_out() {
    let event = exec(process("/bin/x", ""), &[]);
    let loaded = load(
        &(rule("out", "evt.type = execve and evt.dir = <")
            + &rule("in", "evt.type = execve and evt.dir = >")),
    );
    assert_eq!(matching(&loaded.rules, &event), ["out"]);
}

#[test]
fn an_output_is_filled_in_to_the_letter() {
    let text = "- rule: R\n  desc: d\n  condition: evt.type = execve\n  priority: NOTICE\n  output: >-\n    \
                x (%proc.name|%5proc.name|%toupper(proc.name)|%fd.name|%evt.arg.flags|%proc.args|100%%)\n";
    let loaded = load(text);
    let message = loaded.rules.find("R").unwrap().message(&exec(process("/bin/abc", "1"), &[]));
    assert_eq!(message.to_string(), "x (abc|abc  |ABC|<NA>|EXE_WRITABLE|1|100%)");
}
