//! The kernel's part: it never leaves out what a rule matches, and kills only what a rule names.

use crate::support::{O_CREAT, O_RDWR, O_TRUNC, O_WRONLY, connects, file, load, open, opens, process, rule};
use hostward_event::event::Body;
use hostward_event::plan::{KernelPlan, OpenClass, OpenPlan};
use hostward_event::raw::RawOpen;
use hostward_event::{EventKind, Text};
use hostward_policy::{Protected, Responses, plan};
use proptest::prelude::*;

fn plan_of(condition: &str) -> KernelPlan {
    let loaded = load(&rule("R", condition));
    assert!(loaded.rules.len() == 1, "{condition}: {:?}", loaded.problems);
    plan(&loaded.rules, &Responses::default(), &Protected::default())
}

fn shown(plan: &OpenPlan) -> String {
    let names: Vec<String> = plan.names.iter().map(|(name, class)| format!("{name}:{}", class.0)).collect();
    format!("all {} {}", plan.all.0, names.join(" ")).trim_end().to_owned()
}

#[test]
fn dns_is_watched_for_rules_on_it_and_on_names_of_addresses() {
    let dns = |condition: &str| {
        let kinds = plan_of(condition).kinds;
        (kinds.contains(EventKind::DnsQuestion), kinds.contains(EventKind::DnsAnswer))
    };
    assert_eq!(dns("evt.type = connect and destination.domain endswith .test"), (true, true));
    assert_eq!(dns("dns.question.name endswith .test"), (true, true));
    assert_eq!(dns("evt.type = dns_question and dns.question.type = TXT"), (true, false));
    assert_eq!(dns("evt.type = connect and fd.sport = 53"), (false, false));
    let kinds = plan_of("evt.type = udp_send and fd.sport = 123").kinds;
    assert!(kinds.contains(EventKind::UdpSend) && !kinds.contains(EventKind::Sendto));
    assert!(!plan_of("evt.type in (sendto, sendmsg)").kinds.contains(EventKind::UdpSend));
}

#[test]
fn a_condition_becomes_names_and_classes() {
    // 1 read, 2 write, 4 read refused, 8 write refused.
    let success = "evt.type in (open, openat, openat2, creat) and evt.rawres >= 0";
    for (condition, want) in [
        ("fs.path.resolved = /etc/shadow", "all 0 shadow:3"),
        ("fs.path.resolved = /etc/shadow and evt.is_open_read = true", "all 0 shadow:1"),
        ("fs.path.resolved = /etc/shadow and evt.is_open_write = true", "all 0 shadow:2"),
        (
            "fs.path.resolved = /etc/shadow and evt.is_open_write = true and evt.is_open_read = true",
            "all 0 shadow:2",
        ),
        ("fs.path.resolved startswith /etc/ and evt.is_open_write = true", "all 0 etc:2"),
        ("fs.path.resolved startswith /etc and evt.is_open_write = true", "all 2"),
        ("fd.name in (/etc/shadow, /etc/sudoers) and fd.num >= 0", "all 0 shadow:3 sudoers:3"),
        ("fd.name = /etc/shadow", "all 0 shadow:15"),
        ("fd.name = /etc/shadow and evt.failed = true", "all 0 shadow:12"),
        ("fd.name = /etc/shadow and evt.res != SUCCESS", "all 0 shadow:12"),
        ("fd.name = /etc/shadow and evt.res startswith E", "all 0 shadow:12"),
        ("fd.name pmatch (/var/run/secrets)", "all 0 secrets:15"),
        ("fd.directory = /etc/pam.d and evt.is_open_read = true and fd.num >= 0", "all 0 pam.d:1"),
        ("fd.filename in (syslog, auth.log) and evt.is_open_write = true", "all 0 auth.log:2 syslog:2"),
        ("fd.name endswith release_agent and evt.is_open_write = true and fd.num >= 0", "all 2"),
        ("fd.name contains /.ssh/ and fd.name glob /home/*/.ssh/*", "all 0 .ssh:15"),
        (
            "file.path startswith /etc/cron.d/ and evt.is_open_write = true and evt.rawres >= 0",
            "all 0 cron.d:2",
        ),
        (
            "fs.path.resolved startswith /usr/ and fs.path.resolved endswith /authorized_keys",
            "all 0 authorized_keys:3",
        ),
        ("fs.path.resolved = /a/b or evt.is_open_write = true", "all 10 b:1"),
        ("not fs.path.resolved = /a/b and evt.rawres >= 0", "all 3"),
        ("not (evt.is_open_write = true or fs.path.resolved != /a/b)", "all 5"),
        ("fs.path.resolved = /etc/x and proc.name != cat", "all 0 x:3"),
        (success, "all 3"),
        ("evt.type = open", "all 15"),
        ("evt.type = execve", "all 0"),
        ("fd.sport = 80", "all 0"),
        ("proc.name = cat", "all 15"),
        ("evt.num = 0", "all 0"),
        ("fs.path.resolved = /a/a_name_of_more_than_sixteen_bytes", "all 0 a_name_of_more_t:3"),
        ("fd.name startswith /proc/self/", "all 0 proc:15"),
    ] {
        assert_eq!(shown(&plan_of(condition).opens), want, "{condition}");
    }
}

#[test]
fn kinds_are_those_of_the_rules_and_of_the_process_table() {
    let kinds =
        |condition: &str| plan_of(condition).kinds.iter().map(EventKind::name).collect::<Vec<_>>().join(" ");
    assert_eq!(kinds("evt.type = execve"), "exec fork exit");
    assert_eq!(kinds("evt.type = connect"), "exec fork exit connect");
    assert_eq!(kinds("fd.name = /x and evt.type in (open, connect)"), "exec fork exit open connect");
}

#[test]
fn a_rule_that_is_off_wants_nothing() {
    let mut loaded = load(&rule("R", "evt.type = open"));
    loaded.rules.select(&["R".to_owned()], &[]);
    let plan = plan(&loaded.rules, &Responses::default(), &Protected::default());
    assert_eq!(shown(&plan.opens), "all 0");
    assert!(!plan.kinds.contains(EventKind::Open));
}

fn kills(condition: &str, response: &str, protected: &Protected) -> (Vec<String>, Vec<String>) {
    let loaded = load(&rule("R", condition));
    assert_eq!(loaded.problems, [], "{condition}");
    let (responses, problems) = Responses::load(&[file(response)], &loaded.rules);
    assert_eq!(problems, []);
    let plan = plan(&loaded.rules, &responses, protected);
    let texts = |set: std::collections::BTreeSet<Text>| set.iter().map(ToString::to_string).collect();
    (texts(plan.kill_paths), texts(plan.kill_comms))
}

const KILL: &str = "- response: k\n  rules: [R]\n  mode: enforce\n  actions: [kill]\n";

#[test]
fn the_kernel_kills_what_path_or_name_decides_alone() {
    let none = Protected::default();
    for (condition, paths, comms) in [
        ("evt.type = execve and proc.exepath = /tmp/x", "/tmp/x", ""),
        ("evt.type in (execve, execveat) and proc.exepath in (/a, /b)", "/a /b", ""),
        (
            "evt.type = execve and (proc.name in (xmrig, minerd) or proc.exepath = /tmp/x)",
            "/tmp/x",
            "minerd xmrig",
        ),
        ("proc.name = xmrig and not evt.num = 0", "", "xmrig"),
        // What more is asked for is not known to the kernel.
        ("evt.type = execve and proc.name = xmrig and user.uid = 0", "", ""),
        ("evt.type = execve and proc.name startswith xm", "", ""),
        ("evt.type = execve and not proc.name = xmrig", "", ""),
        ("evt.type = execve and proc.name != xmrig", "", ""),
        ("evt.type = execve and (proc.name = xmrig or proc.args contains stratum)", "", ""),
        ("evt.type = execve and proc.name = xmrig and proc.exepath = /tmp/xmrig", "", ""),
        ("evt.type = connect and proc.name = xmrig", "", ""),
    ] {
        let got = kills(condition, KILL, &none);
        assert_eq!((got.0.join(" "), got.1.join(" ")), (paths.to_owned(), comms.to_owned()), "{condition}");
    }
}

#[test]
fn the_kernel_does_not_kill_in_monitor_mode_under_a_condition_or_what_is_protected() {
    let condition = "evt.type = execve and (proc.name = sshd or proc.exepath = /usr/bin/x)";
    let nothing = (Vec::new(), Vec::new());
    let monitor = KILL.replace("enforce", "monitor");
    assert_eq!(kills(condition, &monitor, &Protected::default()), nothing);
    let when = format!("{KILL}  when: container.id != host\n");
    assert_eq!(kills(condition, &when, &Protected::default()), nothing);
    let protected = |paths: &[&str], comms: &[&str]| Protected {
        paths: paths.iter().map(|text| (*text).to_owned()).collect(),
        comms: comms.iter().map(|text| (*text).to_owned()).collect(),
    };
    assert_eq!(kills(condition, KILL, &protected(&[], &[])).1, ["sshd"]);
    for protected in [
        protected(&[], &["sshd"]),
        protected(&["/usr/sbin/sshd"], &[]),
        protected(&["/usr/sbin/*"], &[]),
        protected(&["/usr/bin/?"], &[]),
        protected(&["/{usr/,}{bin,sbin}/{x,y}"], &[]),
        protected(&["/opt/db/**"], &[]),
        protected(&["/usr/sbin/ss*"], &[]),
        protected(&["/broken/{a"], &[]),
        protected(&[], &["x"]),
    ] {
        assert_eq!(kills(condition, KILL, &protected), nothing, "{protected:?}");
    }
    let others = protected(&["/usr/{bin,sbin}/{cron,auditd}", "/usr/bin/containerd-shim*"], &["systemd"]);
    assert_eq!(kills(condition, KILL, &others), (vec!["/usr/bin/x".to_owned()], vec!["sshd".to_owned()]));
}

/// The kernel's test, as the program does it: class by flags and result; of a failed open the
/// names of the text and of the directory it starts in, else those of the resolved path.
fn kernel_passes(plan: &OpenPlan, open: &RawOpen) -> bool {
    let access = open.flags & 3;
    let mut class = 0;
    if access != 1 {
        class |= OpenClass::READ.0;
    }
    if access != 0 || open.flags & (O_CREAT | O_TRUNC) != 0 {
        class |= OpenClass::WRITE.0;
    }
    let failed = open.result < 0;
    let class = OpenClass(if failed { class << 2 } else { class });
    if !plan.all.intersection(class).is_empty() {
        return true;
    }
    let texts =
        if failed { [open.arg.as_bytes(), open.base.as_bytes()] } else { [open.path.as_bytes(), b""] };
    let key = |name: &[u8]| {
        let mut key = [0; 16];
        key.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
        key
    };
    texts.iter().flat_map(|text| text.split(|byte| *byte == b'/')).filter(|name| !name.is_empty()).any(
        |name| {
            plan.names.iter().any(|(known, wanted)| {
                key(known.as_bytes()) == key(name) && !wanted.intersection(class).is_empty()
            })
        },
    )
}

const NAMES: [&str; 9] =
    ["etc", "shadow", "usr", "bin", ".ssh", "id_rsa", "a_name_of_more_than_sixteen_bytes", "x", "proc"];

pub(crate) fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(NAMES.to_vec()), 1..4)
        .prop_map(|names| format!("/{}", names.join("/")))
}

fn check() -> impl Strategy<Value = String> {
    let field = || {
        prop::sample::select(vec![
            "fs.path.resolved",
            "fd.name",
            "fd.directory",
            "fd.filename",
            "file.path",
            "file.name",
            "file.directory",
        ])
    };
    let operator = prop::sample::select(vec![
        "=",
        "!=",
        "startswith",
        "endswith",
        "contains",
        "glob",
        "regex",
        "icontains",
    ]);
    let cut = (path(), 0_usize..12, 0_usize..6).prop_map(|(path, drop, skip)| {
        let end = path.len().saturating_sub(drop).max(1);
        path.get(skip.min(end - 1)..end).unwrap_or("/").to_owned()
    });
    let literal = prop_oneof![
        path(),
        path().prop_map(|path| path + "/"),
        cut,
        prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned),
        path().prop_map(|path| path.replacen("etc", "*", 1))
    ];
    let lists = prop::sample::select(vec![
        "in",
        "pmatch",
        "intersects",
        "contains anyof",
        "startswith allof",
        "endswith anyof",
    ]);
    let flags = prop::sample::select(vec![
        "evt.is_open_read = true",
        "evt.is_open_read = false",
        "evt.is_open_write = true",
        "evt.is_open_write != true",
        "evt.rawres >= 0",
        "evt.rawres < 0",
        "fd.num = -1",
        "fd.num > 2",
        "fd.num in (3, -13)",
        "evt.res = SUCCESS",
        "evt.res != SUCCESS",
        "evt.res = EACCES",
        "evt.res != EACCES",
        "evt.res startswith E",
        "evt.res in (SUCCESS, EACCES)",
        "evt.failed = true",
        "evt.type = open",
        "evt.type in (openat, openat2)",
        "evt.type != openat",
        "evt.type = execve",
        "fd.sport = 1",
        "proc.name = cat",
        "file.inode exists",
        "evt.num = 0",
        "fd.name exists",
    ])
    .prop_map(str::to_owned);
    prop_oneof![
        (field(), operator, literal.clone())
            .prop_map(|(field, operator, literal)| format!("{field} {operator} \"{literal}\"")),
        (field(), lists, prop::collection::vec(literal, 1..3)).prop_map(
            |(field, operator, literals)| format!("{field} {operator} (\"{}\")", literals.join("\", \""))
        ),
        flags,
    ]
}

pub(crate) fn condition() -> impl Strategy<Value = String> {
    check().prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" and "))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" or "))),
            inner.prop_map(|part| format!("not ({part})")),
        ]
    })
}

/// An open as a program makes it. Text and resolved path differ as they do where a directory is a
/// link (`/bin` is `/usr/bin`); a file that is itself a link is the exception that the plan names.
fn any_open() -> impl Strategy<Value = RawOpen> {
    let flags =
        prop::sample::select(vec![0, O_WRONLY, O_RDWR, 3, O_CREAT, O_TRUNC, O_WRONLY | O_CREAT | O_TRUNC]);
    (path(), flags, prop::sample::select(vec![3_i64, 0, -13, -2]), any::<bool>(), any::<bool>()).prop_map(
        |(text, flags, result, link, relative)| {
            let mut made = open(&text, flags);
            made.result = result;
            if link && text.matches('/').count() > 1 {
                made.path = Text::from(format!("/elsewhere{text}"));
            }
            if relative && let Some((base, arg)) = text.rsplit_once('/').filter(|(base, _)| !base.is_empty())
            {
                (made.base, made.arg) = (Text::from(base), Text::from(arg));
            }
            if result < 0 {
                made.path = Text::EMPTY;
                made.inode = Default::default();
            }
            made
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever a rule matches in user space passes the kernel's filter.
    #[test]
    fn the_kernel_never_leaves_out_what_a_rule_matches(condition in condition(), made in prop::collection::vec(any_open(), 12)) {
        let loaded = load(&rule("R", &format!("'{}'", condition.replace('\'', "''"))));
        prop_assert_eq!(loaded.rules.len(), 1, "{}: {:?}", condition, loaded.problems);
        let plan = plan(&loaded.rules, &Responses::default(), &Protected::default());
        for open in made {
            let event = opens(process("/bin/cat", ""), &[], open.clone());
            let rule = loaded.rules.iter().next().unwrap();
            if rule.matches(&event) {
                prop_assert!(kernel_passes(&plan.opens, &open), "{} is left out by {} for {:?}", condition, shown(&plan.opens), open);
            }
        }
    }
}

/// What is wanted of one call: `S`ucceeded, `F`ailed, chosen values, names.
fn call_of(condition: &str, kind: EventKind) -> String {
    let plan = plan_of(condition);
    if !plan.kinds.contains(kind) {
        return "nothing".to_owned();
    }
    let call = plan.calls[&kind];
    let mut out = String::new();
    out.push_str(if call.succeeded { "S" } else { "-" });
    out.push_str(if call.failed { "F" } else { "-" });
    if let Some(chosen) = call.chosen {
        out.push_str(&format!(" {}={:#x}{}", chosen.at, chosen.values, if chosen.above { "+" } else { "" }));
    }
    if call.named {
        let names =
            plan.opens.names.iter().filter(|(_, class)| !class.intersection(OpenClass::CALL).is_empty());
        out.push_str(&names.map(|(name, _)| format!(" {name}")).collect::<String>());
    }
    out
}

#[test]
fn of_a_call_the_kernel_tests_result_argument_and_names() {
    for (kind, condition, want) in [
        (EventKind::Ptrace, "evt.type = ptrace", "SF"),
        (EventKind::Ptrace, "evt.type = ptrace and evt.res = SUCCESS", "S-"),
        (EventKind::Ptrace, "evt.type = ptrace and evt.res in (SUCCESS, EPERM)", "SF"),
        (EventKind::Ptrace, "evt.type = ptrace and not evt.failed = true", "S-"),
        (EventKind::Ptrace, "evt.type = ptrace and evt.res startswith E", "-F"),
        (
            EventKind::Ptrace,
            "evt.type = ptrace and evt.arg.request in (PTRACE_POKETEXT, PTRACE_POKEDATA)",
            "SF 0=0x30",
        ),
        (EventKind::Ptrace, "evt.type = ptrace and evt.arg.request = PTRACE_SETREGSET", "SF 0=0x0+"),
        (EventKind::Ptrace, "evt.type = ptrace and not evt.arg.request = PTRACE_CONT", "SF"),
        (EventKind::Ptrace, "evt.type in (ptrace, setns) and evt.arg.nstype = 0", "nothing"),
        (EventKind::Ptrace, "evt.type = setns", "nothing"),
        (
            EventKind::Bpf,
            "evt.type = bpf and (evt.arg.cmd = 5 or evt.arg.cmd = BPF_PROG_ATTACH)",
            "SF 0=0x120",
        ),
        (EventKind::Socket, "evt.type = socket and evt.arg.domain = AF_PACKET", "SF 0=0x20000"),
        (EventKind::Socket, "evt.type = socket and evt.arg.type = SOCK_RAW", "SF"),
        (EventKind::Unlinkat, "evt.type = unlinkat and evt.arg.name = /var/log/wtmp", "SF wtmp"),
        (
            EventKind::Unlinkat,
            "evt.type = unlinkat and fs.path.name startswith /var/log/ and evt.failed = false",
            "S- log",
        ),
        (
            EventKind::Rename,
            "evt.type = rename and (evt.arg.oldpath = /a/b or evt.arg.newpath = /c/d)",
            "SF b d",
        ),
        (EventKind::Rename, "evt.type = rename and (evt.arg.oldpath = /a/b or proc.name = x)", "SF"),
    ] {
        assert_eq!(call_of(condition, kind), want, "{condition}");
    }
}

fn ports_of(condition: &str) -> String {
    let plan = plan_of(condition);
    match (plan.kinds.contains(EventKind::Connect), plan.connect_ports) {
        (false, _) => "nothing".to_owned(),
        (true, None) => "all".to_owned(),
        (true, Some(ports)) => ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" "),
    }
}

#[test]
fn of_a_connect_the_kernel_tests_the_port() {
    for (condition, want) in [
        ("evt.type = connect and fd.sport = 4444", "4444"),
        ("evt.type = connect and fd.sport in (4444, 1337) and proc.name = nc", "1337 4444"),
        ("evt.type = connect and (fd.sport = 1 or fd.rport = 2)", "1 2"),
        ("evt.type = connect and fd.sport in (1, 2) and fd.rport in (2, 3)", "2"),
        ("evt.type = connect and (fd.sport = 1 or proc.name = nc)", "all"),
        ("evt.type = connect and not fd.sport = 1", "all"),
        ("evt.type = connect and not (fd.sport != 1 or proc.name = nc)", "all"),
        ("evt.type = connect and fd.sport > 1024", "all"),
        ("evt.type = connect and fd.port = 1", "all"),
        ("evt.type in (connect, openat) and not evt.type = connect", "nothing"),
    ] {
        assert_eq!(ports_of(condition), want, "{condition}");
    }
}

fn connect_condition() -> impl Strategy<Value = String> {
    let checks = prop::sample::select(vec![
        "fd.sport = 1",
        "fd.sport = 2",
        "fd.rport in (1, 3)",
        "fd.sport != 1",
        "fd.sport > 1",
        "fd.sport <= 2",
        "fd.port = 3",
        "fd.port != 1",
        "fd.lport = 40000",
        "fd.sport exists",
        "fd.sip = 192.0.2.1",
        "evt.type = connect",
        "evt.type != connect",
        "evt.type = openat",
        "proc.name = cat",
        "proc.name = dog",
        "fs.path.resolved = /x",
        "evt.failed = true",
    ]);
    checks.prop_map(str::to_owned).prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" and "))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" or "))),
            inner.prop_map(|part| format!("not ({part})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever a rule matches in user space passes the kernel's filter; 0 stands for a connect without a far end.
    #[test]
    fn the_kernel_never_leaves_out_a_connect_that_a_rule_matches(condition in connect_condition()) {
        let loaded = load(&rule("R", &format!("'{}'", condition.replace('\'', "''"))));
        prop_assert_eq!(loaded.rules.len(), 1, "{}: {:?}", condition, loaded.problems);
        let plan = plan(&loaded.rules, &Responses::default(), &Protected::default());
        let rule = loaded.rules.iter().next().unwrap();
        for port in 0..5_u16 {
            let mut event = connects(process("/bin/cat", ""), &[], &format!("192.0.2.1:{port}"));
            if let (0, Body::Connect(connect)) = (port, &mut event.body) {
                connect.remote = None;
            }
            let passes = plan.kinds.contains(EventKind::Connect)
                && plan.connect_ports.as_ref().is_none_or(|ports| ports.contains(&port));
            prop_assert!(passes || !rule.matches(&event), "{} is left out for port {}: {:?}", condition, port, plan);
        }
    }
}
