//! What each operator does with each type, and with a field that is missing.

use crate::support::{connects, exec, open, opens, process};
use hostward_event::Event;
use hostward_event::Text;
use hostward_event::event::Body;
use hostward_event::raw::{Endpoint, FileType};
use hostward_policy::Condition;

fn holds(condition: &str, event: &Event) -> bool {
    Condition::parse(condition).unwrap_or_else(|problem| panic!("{condition}: {problem}")).matches(event)
}

fn check(event: &Event, cases: &[(&str, bool)]) {
    for (condition, want) in cases {
        assert_eq!(holds(condition, event), *want, "{condition}");
    }
}

fn curl() -> Event {
    exec(process("/usr/bin/curl", "-o /tmp/x HTTP://Example"), &["/usr/bin/bash", "/usr/sbin/sshd"])
}

#[test]
fn operators_on_text() {
    check(
        &curl(),
        &[
            ("proc.name = curl", true),
            ("proc.name == curl", true),
            ("proc.name=curl", true),
            ("proc.name = 'curl'", true),
            ("proc.name = \"cur\\x6c\"", true),
            ("proc.name = CURL", false),
            ("proc.name != curl", false),
            ("proc.name != wget", true),
            ("process.name = curl", true),
            ("proc.cmdline contains /tmp", true),
            ("proc.cmdline contains /TMP", false),
            ("proc.cmdline icontains http://example", true),
            ("proc.cmdline bcontains 2F746D70", true),
            ("proc.cmdline bstartswith 6375726C", true),
            ("proc.cmdline startswith \"curl -o\"", true),
            ("proc.cmdline endswith Example", true),
            ("proc.exepath glob /usr/*/c?rl", true),
            ("proc.exepath glob /usr/*/CURL", false),
            ("proc.exepath iglob /usr/*/C?RL", true),
            ("proc.exepath glob /usr", false),
            ("proc.exepath regex '/usr/(s?bin)/[a-z]+'", true),
            ("proc.exepath regex 'bin'", false),
            ("proc.exepath pmatch (/opt, /usr/bin)", true),
            ("proc.exepath pmatch (/usr/b)", false),
            ("proc.exepath pmatch (/usr/*/curl)", true),
            ("proc.name in (wget, curl)", true),
            ("proc.name in (wget)", false),
            ("proc.name in ()", false),
            ("proc.name in wget, curl", true),
            ("proc.name intersects (wget, curl)", true),
            ("proc.name exists", true),
            ("proc.cmdline contains anyof (nothing, curl)", true),
            ("proc.cmdline contains oneof (nothing, curl)", true),
            ("proc.cmdline contains allof (nothing, curl)", false),
            ("proc.cmdline contains allof (curl, Example)", true),
            ("proc.cmdline contains oneof", false),
        ],
    );
}

#[test]
fn operators_on_numbers_booleans_and_results() {
    check(
        &curl(),
        &[
            ("proc.pid = 100", true),
            ("proc.pid = 0x64", true),
            ("proc.pid = 1e2", true),
            ("proc.pid = 100.0", true),
            ("proc.pid != 100", false),
            ("proc.pid < 100", false),
            ("proc.pid <= 100", true),
            ("proc.pid > 99", true),
            ("proc.pid>=100", true),
            ("proc.pid in (1, 100)", true),
            ("proc.pid in ('1')", false),
            ("user.loginuid = -1", true),
            ("proc.pid exists", true),
            ("proc.is_exe_from_memfd = false", true),
            ("proc.is_exe_from_memfd != false", false),
            ("evt.num = 0", false),
            ("evt.num >= 0", true),
            ("not evt.num = 0", true),
            ("evt.res = SUCCESS and evt.rawres >= 0", true),
        ],
    );
}

#[test]
fn a_missing_field_makes_every_check_false() {
    // An exec has no file and no address.
    let checks = [
        "fd.name = x",
        "fd.name != x",
        "fd.name exists",
        "fd.name contains x",
        "fd.name in (x)",
        "fd.name pmatch (/)",
        "fd.sport = 1",
        "fd.sport != 1",
        "fd.sport < 1",
        "fd.ip = 1.1.1.1",
        "fd.ip != 1.1.1.1",
        "fd.net != 10.0.0.0/8",
        "evt.is_open_read = true",
        "evt.is_open_read != true",
        "proc.sname != x",
        "proc.name = val(fd.name)",
        "proc.name != val(fd.name)",
        "toupper(fd.name) != X",
        "proc.aname[9] != x",
        "user.name != root",
    ];
    let mut event = curl();
    event.around = std::sync::Arc::default();
    for condition in checks {
        assert!(!holds(condition, &event), "{condition}");
        assert!(holds(&format!("not {condition}"), &event), "not {condition}");
    }
}

#[test]
fn logic_binds_as_written() {
    let cases = [
        ("proc.pid=100 or proc.pid=1 and proc.pid=2", true),
        ("(proc.pid=100 or proc.pid=1) and proc.pid=2", false),
        ("not proc.pid=1 and proc.pid=100", true),
        ("not not proc.pid=100", true),
        ("not(proc.pid=1)", true),
        ("not (proc.pid=1 or proc.pid=100)", false),
        ("proc.pid=1 or(proc.pid=100)", true),
        ("((proc.pid=100))and(proc.name=curl)", true),
        ("proc.pid=100\n\tand\nproc.name=curl", true),
    ];
    check(&curl(), &cases);
}

#[test]
fn addresses_and_networks() {
    let v4 = connects(process("/usr/bin/curl", ""), &[], "93.184.216.34:443");
    check(
        &v4,
        &[
            ("fd.sip = 93.184.216.34", true),
            ("fd.sip = 93.184.0.0/16", true),
            ("fd.ip = 10.0.0.5", true),
            ("fd.ip = 93.184.216.34", true),
            ("fd.ip != 10.0.0.5", false),
            ("fd.ip != 9.9.9.9", true),
            ("fd.net = 10.0.0.0/8", true),
            ("fd.net != 10.0.0.0/8", false),
            ("fd.net != 172.16.0.0/12", true),
            ("fd.net = ::/0", false),
            ("fd.net != ::/0", true),
            ("fd.snet in (10.0.0.0/8, 93.0.0.0/8)", true),
            ("not fd.snet in (\"10.0.0.0/8\")", true),
            ("fd.sport in (80, 443)", true),
            ("fd.typechar = 4", true),
            ("fd.name = 10.0.0.5:40000->93.184.216.34:443", true),
            ("fd.sip = val(fd.rip)", true),
            ("fd.sip = val(fd.cip)", false),
        ],
    );
    let v6 = connects(process("/usr/bin/curl", ""), &[], "[2001:db8::1]:443");
    check(
        &v6,
        &[
            ("fd.net != 127.0.0.0/8", true),
            ("fd.ip != 0.0.0.0", true),
            ("fd.snet in (2001:db8::/32)", true),
            ("fd.typechar = 6", true),
        ],
    );
    let mut unix = v4.clone();
    if let Body::Connect(connect) = &mut unix.body {
        connect.family = 1;
        connect.remote = Some(Endpoint::Unix(Text::from("/run/x.sock")));
        connect.local = None;
    }
    check(&unix, &[("fd.ip != 1.1.1.1", false), ("fd.name = /run/x.sock", true), ("fd.sport exists", false)]);
}

#[test]
fn domains_stand_for_what_they_resolve_to() {
    let mut event = connects(process("/usr/bin/curl", ""), &[], "93.184.216.34:443");
    let mut around = hostward_event::event::Surroundings::default();
    let names = ["example.org", "www.example.org"].map(Text::from).to_vec();
    around.domains.names.insert("93.184.216.34".parse().unwrap(), names);
    event.around = std::sync::Arc::new(around);
    check(
        &event,
        &[
            ("fd.sip.name = example.org", true),
            ("fd.sip.name in (other.org, www.example.org)", true),
            ("fd.sip.name != example.org", false),
            ("fd.sip.name != other.org", true),
            ("fd.rip.name = example.org", true),
            // The client's address is known and is none of those that rules name.
            ("fd.cip.name in (example.org)", false),
            ("not fd.cip.name in (example.org)", true),
            ("fd.lip.name != example.org", true),
            ("fd.port = 443", true),
            ("fd.port in (1, 40000)", true),
            ("fd.port != 443", false),
            ("fd.port != 80", true),
            ("fd.port > 1000", true),
            ("fd.port < 443", false),
        ],
    );
    check(&curl(), &[("fd.sip.name != x", false), ("fd.port != 1", false)]);
    let problem = Condition::parse("fd.sip.name contains example").unwrap_err();
    assert_eq!(problem.reason, "operator `contains` does not work on a domain field");
}

#[test]
fn ancestors_and_lists() {
    check(
        &curl(),
        &[
            ("proc.pname = bash", true),
            ("proc.aname[1] = bash", true),
            ("proc.aname[2] = sshd", true),
            ("proc.aname[3] = sshd", false),
            ("proc.aname = sshd", true),
            ("proc.aname in (x, sshd)", true),
            ("proc.aname = curl", false),
            // Any ancestor that differs is enough.
            ("proc.aname != sshd", true),
            ("proc.aname startswith ssh", true),
            ("proc.args[0] = -o", true),
            ("proc.args[\"1\"] = /tmp/x", true),
            ("process.args intersects (-o, zzz)", true),
            ("process.args in (curl, -o, /tmp/x, HTTP://Example)", true),
            ("process.args in (curl, -o)", false),
            ("process.args = -o", true),
            ("process.args != -o", false),
            ("event.category = process", true),
        ],
    );
}

#[test]
fn transformers_and_values_of_the_event() {
    check(
        &curl(),
        &[
            ("toupper(proc.name) = CURL", true),
            ("tolower(proc.cmdline) contains http", true),
            ("basename(proc.exepath) = curl", true),
            ("basename(proc.exepath) = val(proc.name)", true),
            ("toupper(basename(proc.exepath)) = toupper(proc.name)", true),
            ("len(proc.name) = 4", true),
            ("len(process.args) > 3", true),
            ("concat(proc.name, \"-\", proc.pname) = curl-bash", true),
            ("join(\",\", process.args) startswith \"curl,-o\"", true),
            ("getopt(process.args, \"-o\") = /tmp/x", true),
            ("getopt(process.args, \"-z\") exists", false),
            ("proc.pname = val(proc.aname[1])", true),
            ("proc.pid = val(proc.vpid)", true),
            ("proc.pname in val(proc.name)", false),
        ],
    );
    let encoded = exec(process("/usr/bin/sh", "aGVsbG8="), &[]);
    check(&encoded, &[("b64(proc.args) = hello", true), ("b64(proc.cmdline) exists", false)]);
}

#[test]
fn every_name_of_a_system_call_means_the_kind_of_event() {
    check(
        &curl(),
        &[
            ("evt.type in (execve, execveat)", true),
            ("evt.type = execveat", true),
            ("evt.type != execve", false),
            ("evt.type = open", false),
            ("evt.type = dup", false),
        ],
    );
    let opened = opens(process("/bin/cat", ""), &[], open("/etc/passwd", 0));
    check(
        &opened,
        &[
            ("evt.type = openat", true),
            ("evt.type = open", false),
            ("evt.type in (open, openat)", true),
            ("evt.type != open", true),
            ("evt.type startswith open", true),
        ],
    );
    let forked = crate::support::event(process("/bin/sh", ""), &[], Body::Fork);
    check(
        &forked,
        &[("evt.type = vfork", true), ("evt.type = clone3", true), ("evt.type = procexit", false)],
    );
}

#[test]
fn bytes_that_are_no_utf8_are_matched_as_they_are() {
    let mut strange = process("/bin/x", "");
    strange.comm = Text::copy(b"a\xffb\nc");
    check(
        &exec(strange, &[]),
        &[
            ("proc.name contains \"\\xff\"", true),
            ("proc.name contains \"\\n\"", true),
            ("proc.name glob a?b*", true),
            ("proc.name regex \"(?s)a.b.c\"", true),
            ("proc.name regex \"(?i)A\u{fffd}B\\nC\"", true),
            ("len(proc.name) = 5", true),
        ],
    );
}

#[test]
fn descriptors_say_what_they_are() {
    let mut shell = process("/bin/bash", "");
    shell.stdin = FileType::Socket;
    check(&exec(shell, &[]), &[("proc.stdin.type = socket", true), ("proc.stdout.type = char_device", true)]);
}

#[test]
fn mistakes_are_told_with_place_cause_and_remedy() {
    let cases = [
        ("proc.nmae = x", "1:1: unknown field `proc.nmae` (did you mean `proc.name`?)"),
        ("proc.name = x and\n  fd.nmae = y", "2:3: unknown field `fd.nmae` (did you mean `fd.name`?)"),
        ("proc.name contians x", "1:11: expected an operator, found `contians` (did you mean `contains`?)"),
        (
            "proc.name =",
            "1:12: expected a value, found the end (quote a value that is empty or has blanks, parentheses, commas or `=`)",
        ),
        (
            "proc.name = a b",
            "1:15: expected `and`, `or` or the end, found `b` (quote a value that has blanks, parentheses or commas)",
        ),
        (
            "proc.name = a nad proc.pid = 1",
            "1:15: expected `and`, `or` or the end, found `nad` (did you mean `and`?)",
        ),
        ("(proc.name = a", "1:1: parenthesis is not closed (add the closing one)"),
        ("proc.name = a)", "1:14: closing parenthesis without an opening one (remove it)"),
        ("proc.name = 'a", "1:13: quote is not closed (add the closing ')"),
        ("proc.name = (a, b)", "1:13: operator `=` takes one value, found a list (use `in` for a list)"),
        (
            "proc.name contains (a)",
            "1:20: operator `contains` takes one value, found a list (write `contains anyof (…)` or `allof`)",
        ),
        (
            "proc.name in (a b)",
            "1:17: expected `,` or `)` in a list, found `b)` (separate values by commas; quote a value that has blanks)",
        ),
        (
            "proc.name < a",
            "1:11: operator `<` does not work on a text field (a text field has: exists = == != contains icontains bcontains startswith bstartswith endswith glob iglob regex in intersects pmatch)",
        ),
        (
            "proc.pid contains 1",
            "1:10: operator `contains` does not work on a number field (a number field has: exists = == != < <= > >= in intersects)",
        ),
        (
            "proc.pid = many",
            "1:12: `many` is no whole number (write e.g. 443, -1, 0x1bb or 1e9; the fields are whole numbers)",
        ),
        (
            "proc.pid = 1.5",
            "1:12: `1.5` is no whole number (write e.g. 443, -1, 0x1bb or 1e9; the fields are whole numbers)",
        ),
        (
            "fd.sip = 10.0.0",
            "1:10: `10.0.0` is no address and no network (write e.g. 10.1.2.3, 10.0.0.0/8 or fe80::/10)",
        ),
        (
            "evt.is_open_read = maybe",
            "1:20: `maybe` is neither true nor false (a boolean field compares with true or false)",
        ),
        (
            "proc.name regex '['",
            "1:17: invalid regular expression `[`: unclosed character class (the syntax is RE2's: no look-around, no back-reference)",
        ),
        (
            "proc.name regex 'a)(b'",
            "1:17: invalid regular expression `a)(b`: unopened group (the syntax is RE2's: no look-around, no back-reference)",
        ),
        (
            "proc.name bcontains xyz",
            "1:21: `xyz` is no sequence of hex digit pairs (bcontains and bstartswith take bytes, e.g. CAFEBABE)",
        ),
        ("toupepr(proc.name) = A", "1:1: unknown transformer `toupepr` (did you mean `toupper`?)"),
        (
            "toupper(proc.pid) = A",
            "1:1: transformer `toupper` does not work on a number (it wants a text field)",
        ),
        (
            "proc.name = val(proc.pid)",
            "1:11: a text field is compared with a number field (both sides must have one type)",
        ),
        ("proc.name[1] = x", "1:1: field `proc.name` takes no argument, found `[1]`"),
        (
            "proc.name = \"\\q\"",
            "1:14: unknown escape `\\q` (write `\\\\` for a backslash; known are \\b \\f \\n \\r \\t \\\\ \\/ \\xHH and the quotes)",
        ),
        ("shell_procs", "1:1: unknown macro `shell_procs` (macros can be used in rule files only)"),
        ("", "1:1: expected a field, a macro or `(`, found the end (a check is e.g. `proc.name = bash`)"),
        (
            "proc.name = a and",
            "1:18: expected a field, a macro or `(`, found the end (a check is e.g. `proc.name = bash`)",
        ),
        ("not", "1:4: expected a field, a macro or `(`, found the end (a check is e.g. `proc.name = bash`)"),
    ];
    for (condition, want) in cases {
        let problem = Condition::parse(condition).unwrap_err().to_string();
        assert_eq!(problem.strip_prefix("condition:").unwrap(), want, "{condition}");
    }
}
