//! One event of every kind and variant, for the tests of encoders.

use hostward_event::event::{Action, Actor, Alert, Body, Mode, Priority, RuleInfo, Signal, Surroundings};
use hostward_event::fact::{Notice, Outcome};
use hostward_event::process::{AgentFacts, CloudFacts, DomainTable, HostFacts, Process, UserTable};
use hostward_event::program::{Package, ProgramFacts};
use hostward_event::raw::{
    Args, Credentials, DnsAnswer, DnsData, DnsMessage, DnsQuestion, Endpoint, FileType, Gap, Inode, Layer,
    Namespaces, OpenCall, RawCall, RawCgroup, RawCgroupChange, RawCloseWrite, RawConnect, RawConnectionEnd,
    RawDns, RawFile, RawOpen, RawSignal, Rung, SignalFate, Source, Usage,
};
use hostward_event::workload::{
    Container, ContainerFacts, ImageFacts, Mount, Owner, PodFacts, Source as Told, Workload,
};
use hostward_event::{Event, EventKind, IdMint, Text};
use std::sync::Arc;

/// 2026-01-02T03:04:05.123456789Z
const TIME_NS: i64 = 1_767_323_045_123_456_789;
const BOOT_NS: u64 = 90_000_000_000_000;
/// What an attacker would like a reader to choke on: ends of lines and of fields, escapes, a NUL, an
/// escape sequence, Unicode's line ends, bytes that are no UTF-8.
pub(crate) const HOSTILE: &[u8] =
    b"a|b=c\\d\te\nsrc=6.6.6.6\r\nCEF:0|x\0\x1b[2J\"'{}<\xff\xfe>\xe2\x80\xa8\xc2\x85\xe2\x80\xae end\\";

fn around() -> Arc<Surroundings> {
    Arc::new(Surroundings {
        host: HostFacts {
            machine_id: "6f1c4a0e5d8b4a5e9a3f1d2c3b4a5968".to_owned(),
            boot_id: "0b2f6c1e-1111-4222-8333-444455556666".to_owned(),
            exact_starts: true,
            hostname: "web-1".to_owned(),
            architecture: "x86_64".to_owned(),
            ip: vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
            kernel: "6.1.0-18-amd64".to_owned(),
            os_id: "debian".to_owned(),
            os_name: "Debian GNU/Linux".to_owned(),
            os_version: "12".to_owned(),
            os_full: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            timezone: "Europe/Berlin".to_owned(),
            cloud: Some(Box::new(CloudFacts {
                provider: "aws".to_owned(),
                instance_id: "i-0abcd".to_owned(),
                region: "eu-west-1".to_owned(),
                availability_zone: "eu-west-1a".to_owned(),
            })),
        },
        agent: AgentFacts {
            id: "a1b2".to_owned(),
            ephemeral_id: "c3d4".to_owned(),
            version: "0.1.0".to_owned(),
            pid: 400,
        },
        domains: DomainTable::default(),
        users: UserTable {
            users: [(0, Text::from("root")), (33, Text::from("www-data")), (1000, Text::from("alice"))]
                .into(),
            groups: [(0, Text::from("root")), (33, Text::from("www-data"))].into(),
        },
    })
}

fn args(list: &[&[u8]]) -> Args {
    let mut raw = Vec::new();
    for arg in list {
        raw.extend_from_slice(arg);
        raw.push(0);
    }
    let total_bytes = u32::try_from(raw.len()).unwrap();
    Args { raw: Text::from(raw), total_bytes }
}

fn process(pid: u32, ppid: u32, comm: &str, path: &str, list: &[&[u8]]) -> Process {
    let mint = IdMint::new("m", "b");
    let start_boot_ns = BOOT_NS - 5_000_000_000 - u64::from(1000 - pid);
    Process {
        entity_id: mint.entity(pid, start_boot_ns),
        pid,
        ppid,
        start_boot_ns,
        comm: Text::from(comm),
        path: Text::from(path),
        filename: Text::from(path),
        args: args(list),
        cwd: Text::from("/srv/www"),
        exe: inode(4711),
        creds: Credentials {
            uid: 1000,
            gid: 33,
            suid: 33,
            sgid: 33,
            euid: 33,
            egid: 33,
            fsuid: 33,
            fsgid: 33,
            cap_effective: 1 << 10 | 1 << 21,
            cap_permitted: 1 << 10,
            ..Credentials::default()
        },
        ns: Namespaces { mnt: 11, pid: 12, net: 13, uts: 14, ipc: 15, cgroup: 16, user: 17 },
        tty: 34816,
        loginuid: 1000,
        audit_session: 3,
        sid: 700,
        pgid: pid,
        vpid: 7,
        vpgid: 7,
        vsid: 1,
        stdin: FileType::Socket,
        stdout: FileType::Fifo,
        layer: Some(Layer::Upper),
        script: true,
        environment: Text::from("LD_PRELOAD=/tmp/x.so\0"),
        init_start_boot_ns: BOOT_NS - 9_000_000_000,
        ..Process::default()
    }
}

fn inode(ino: u64) -> Inode {
    Inode {
        ino,
        dev: 8 << 20 | 1,
        mode: 0o100_755,
        nlink: 1,
        uid: 0,
        gid: 0,
        ctime_ns: TIME_NS,
        mtime_ns: TIME_NS,
    }
}

fn container_facts() -> ContainerFacts {
    ContainerFacts {
        source: Told::Docker,
        id: Text::from("3f4e1dd9b0c2a1d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c"),
        runtime: Text::from("docker"),
        name: Text::from("web"),
        image: ImageFacts {
            reference: Text::from("docker.io/library/nginx:1.27"),
            id: Text::from("sha256:aa"),
            digests: vec![Text::from("sha256:bb")],
        },
        command: vec![Text::from("nginx"), Text::from("-g")],
        labels: [("com.example.tier", "front"), ("team", "web")].map(|(k, v)| (k.into(), v.into())).into(),
        mounts: vec![Mount {
            source: "/srv/www".into(),
            destination: "/usr/share/nginx".into(),
            writable: false,
            propagation: "rprivate".into(),
        }],
        privileged: Some(true),
        capabilities: vec![Text::from("CAP_NET_RAW")],
        started_ns: 1_760_000_000_000_000_000,
        sandbox: false,
        sandbox_id: Text::EMPTY,
        pod_uid: Text::from("4ff79cf0-1111-2222-3333-444455556666"),
    }
}

fn pod_facts() -> PodFacts {
    PodFacts {
        name: "web-7d4b9c-x2x4z".into(),
        namespace: "prod".into(),
        labels: [("app.kubernetes.io/name".into(), "web".into())].into(),
        annotations: [("hostward.io/owner".into(), "team-web".into())].into(),
        namespace_labels: [("tier".into(), "gold".into())].into(),
        node: "node-a".into(),
        service_account: "web".into(),
        owners: vec![
            Owner { kind: "ReplicaSet".into(), name: "web-7d4b9c".into(), uid: "1".into() },
            Owner { kind: "Deployment".into(), name: "web".into(), uid: "2".into() },
        ],
        cluster_name: "east".into(),
        cluster_id: "5ff79cf0-1111-2222-3333-444455556666".into(),
        ..PodFacts::new(Told::KubernetesApi, "4ff79cf0-1111-2222-3333-444455556666".into())
    }
}

fn container() -> Arc<Workload> {
    Arc::new(Workload {
        cgroup: RawCgroup { id: 99, v1: false, leaf: Text::from("docker-1.scope"), parent: Text::EMPTY },
        path: Text::from("/system.slice/docker-1.scope"),
        container: Some(Container {
            id: Text::from("3f4e1dd9b0c2a1d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c"),
            runtime: Text::from("docker"),
            pod_uid: Text::from("4ff79cf0-1111-2222-3333-444455556666"),
            facts: Some(Arc::new(container_facts())),
            pod: Some(Arc::new(pod_facts())),
        }),
        unit: Text::from("docker-1.scope"),
        slice: Text::from("system.slice"),
    })
}

/// An event in a container, with parent and session leader.
fn event(n: u64, body: Body) -> Event {
    let mut shell = process(702, 701, "sh", "/usr/bin/dash", &[b"sh", b"-c", b"id; echo 'a b' > /tmp/x"]);
    shell.workload = container();
    // The rest was cut.
    shell.args.total_bytes = 6_000;
    let parent = Arc::new(process(701, 700, "nginx", "/usr/sbin/nginx", &[b"nginx: worker process"]));
    let leader = Arc::new(process(700, 1, "bash", "/usr/bin/bash", &[b"-bash"]));
    let mut event = Event {
        id: IdMint::new("m", "b").event(EventKind::Exec, 1, n, BOOT_NS),
        sequence: n,
        time_ns: TIME_NS,
        created_ns: TIME_NS + 1_000_000,
        source: Some(Source {
            rung: Rung::BtfTracepoint,
            cpu: 1,
            // Some are of a call or way that counts apart.
            stream: if n.is_multiple_of(2) { 0 } else { 11 },
            seq: n,
            boot_ns: BOOT_NS,
            received_boot_ns: BOOT_NS + 1_000_000,
        }),
        tid: 702,
        process: Some(Arc::new(shell)),
        lineage: [parent, Arc::clone(&leader)].into(),
        session_leader: Some(leader),
        around: around(),
        program: Some(Arc::new(ProgramFacts {
            sha256: Text::from("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            packaged: Some(true),
            package: Some(Package {
                name: "dash".into(),
                version: "0.5.12-2".into(),
                architecture: "amd64".into(),
            }),
        })),
        inside: Some(Arc::new(UserTable {
            users: [(33, Text::from("www-data")), (1000, Text::from("alice"))].into(),
            groups: [(33, Text::from("www-data"))].into(),
        })),
        domain: matches!(body, Body::Connect(_)).then(|| Text::from("www.example.com")),
        body,
        partial: n % 2 == 1,
        alert: None,
    };
    if matches!(event.body, Body::Gap(_) | Body::Agent(_)) {
        (event.source, event.tid, event.process) = (None, 0, None);
        (event.program, event.inside) = (None, None);
        (event.lineage, event.session_leader) = (Arc::default(), None);
    }
    event
}

pub(crate) fn open(arg: &[u8], path: &[u8], result: i64, created: bool) -> Body {
    let inode = if result < 0 { Inode::default() } else { inode(1234) };
    Body::Open(Box::new(RawOpen {
        call: OpenCall::Openat,
        flags: if created { 0o101 } else { 0 },
        mode: 0o644,
        result,
        dirfd: -100,
        arg: Text::copy(arg),
        base: Text::from("/srv/www"),
        path: Text::copy(path),
        inode,
        created,
        shared_memory: true,
    }))
}

fn close_write(fd: i32, path: &[u8], created: bool) -> Body {
    let (path, inode) = (Text::copy(path), inode(1234));
    Body::CloseWrite(Box::new(RawCloseWrite { fd, flags: 1, path, inode, size_bytes: 4_711, created }))
}

fn connect(remote: Option<Endpoint>, local: Option<Endpoint>, family: u16, result: i64) -> Body {
    let (sock_type, protocol) = if family == 1 { (1, 0) } else { (1, 6) };
    Body::Connect(Box::new(RawConnect {
        fd: 3,
        result,
        family,
        sock_type,
        protocol,
        remote,
        local,
        server: false,
    }))
}

fn ended(remote: &str, local: &str, server: bool, duration_ns: Option<u64>) -> Body {
    let family = if remote.starts_with('[') { 10 } else { 2 };
    let (remote, local) = (ip(remote), ip(local));
    let socket = RawConnect { fd: -1, result: 0, family, sock_type: 1, protocol: 6, remote, local, server };
    let bytes = duration_ns.map(|_| 5_000);
    Body::ConnectionEnd(Box::new(RawConnectionEnd {
        socket,
        duration_ns,
        sent_bytes: Some(700),
        received_bytes: bytes,
        owned: true,
    }))
}

fn datagram(remote: &str, body: impl Fn(RawConnect) -> Body) -> Body {
    let (remote, local) = (ip(remote), ip("192.0.2.7:50000"));
    body(RawConnect {
        fd: -1,
        result: 0,
        family: 2,
        sock_type: 2,
        protocol: 17,
        remote,
        local,
        server: false,
    })
}

fn no_dns(socket: RawConnect) -> Body {
    Body::Dns(Box::new(RawDns { socket, answer: false, owned: true, message: None, complete: false }))
}

fn dns(answer: bool, name: Text) -> Body {
    let record = |kind, data| DnsAnswer { name: name.clone(), kind, class: 1, ttl_s: 300, data };
    let answers = vec![
        record(5, DnsData::Name(name.clone())),
        record(1, DnsData::Address([192, 0, 2, 1].into())),
        record(28, DnsData::Address("2001:db8::1".parse().unwrap())),
        record(16, DnsData::Text(name.clone())),
        record(999, DnsData::Other(12)),
    ];
    let question = DnsQuestion { name: name.clone(), kind: 28, class: 1 };
    let (flags, answers) = if answer { (0x8183, answers) } else { (0x0100, Vec::new()) };
    let message = DnsMessage { id: 4711, flags, question: Some(question), answers };
    datagram("192.0.2.53:53", |socket| {
        let message = Some(message.clone());
        Body::Dns(Box::new(RawDns { socket, answer, owned: true, message, complete: true }))
    })
}

fn raw_call(kind: EventKind, result: i64) -> RawCall {
    RawCall {
        kind,
        result,
        args: [16, 1000, 33, 9, u64::MAX, 0],
        texts: Default::default(),
        bases: Default::default(),
        resolved: Default::default(),
        file: None,
        socket: None,
        data: Text::EMPTY,
        shared_memory: true,
    }
}

fn call(kind: EventKind, result: i64, texts: [&[u8]; 2]) -> Body {
    let [first, second] = texts.map(Text::copy);
    let bases = [Text::from("/srv/www"), Text::EMPTY];
    Body::Call(Box::new(RawCall { texts: [first, second, Text::EMPTY], bases, ..raw_call(kind, result) }))
}

fn signal(number: u32, target: &[u8]) -> Body {
    let sent = RawSignal {
        number,
        code: -6,
        fate: SignalFate::Delivered,
        target_pid: 4_242,
        target_start_boot_ns: BOOT_NS / 2,
        target_comm: Text::copy(target),
    };
    Body::Signal(Box::new(Signal { sent, target_path: Text::from("/usr/sbin/sshd"), ..Signal::default() }))
}

fn on_file(kind: EventKind, args: [u64; 6]) -> Body {
    let file = Some(Box::new(RawFile { path: Text::from("/usr/bin/tool"), inode: inode(77) }));
    Body::Call(Box::new(RawCall { args, file, ..raw_call(kind, 0) }))
}

fn on_socket(kind: EventKind, result: i64, local: &str, remote: Option<&str>) -> Body {
    let family = if local.starts_with('[') { 10 } else { 2 };
    let socket = RawConnect {
        fd: 3,
        result,
        family,
        sock_type: 1,
        protocol: 6,
        remote: remote.and_then(ip),
        local: ip(local),
        server: true,
    };
    Body::Call(Box::new(RawCall { socket: Some(Box::new(socket)), ..raw_call(kind, result) }))
}

fn ip(text: &str) -> Option<Endpoint> {
    Some(Endpoint::Ip(text.parse().unwrap()))
}

fn notice(action: &str, success: bool) -> Body {
    Body::Agent(Notice {
        action: Text::from(action),
        message: Text::from("the rules were read: 12 rules, 1 problem\nsecond line"),
        success,
        boot_ns: BOOT_NS,
    })
}

pub(crate) fn alert(mut event: Event, outcome: Outcome) -> Event {
    let fields = [
        "proc.name",
        "proc.cmdline",
        "proc.pid",
        "evt.arg[flags]",
        "fd.name",
        "toupper(user.name)",
        "proc.nmae",
    ];
    let alert = Alert {
        trigger: event.id,
        rule: Arc::new(RuleInfo {
            name: Text::from("Shell spawned by web server"),
            description: Text::from("A web server starts a shell | as after an exploit"),
            priority: Priority::Critical,
            tags: ["host", "mitre_execution", "T1059.004"].map(Text::from).into(),
            technique_ids: ["T1059.004", "T1059.006", "T1505"].map(Text::from).into(),
            tactics: vec![Text::from("execution")],
            source: Text::from("rules.d/10-host.yaml:12"),
            file_hash: Text::from("00000000deadbeef"),
            output_fields: fields.map(Text::from).into(),
        }),
        message: Text::from("shell sh started by nginx (sh -c id)"),
        response: Text::from("kill-web-shells"),
        owner: Text::from("web team"),
        mode: if outcome == Outcome::WouldHave { Mode::Monitor } else { Mode::Enforce },
        action: Action::Kill,
        actor: Actor::Agent,
        outcome,
        detail: Text::from("pid 702"),
        matched_ns: TIME_NS + 2_000_000,
        responded_ns: TIME_NS + 3_000_000,
    };
    event.id = IdMint::new("m", "b").derived(event.id, b"alert");
    event.alert = Some(Arc::new(alert));
    event
}

/// Every text of the event that a process chooses is [`HOSTILE`].
fn hostile(mut event: Event) -> Event {
    let text = || Text::copy(HOSTILE);
    if let Some(process) = event.process.as_deref() {
        let mut process = process.clone();
        (process.comm, process.path, process.filename, process.cwd) = (text(), text(), text(), text());
        process.args = args(&[HOSTILE, HOSTILE]);
        event.lineage = [Arc::new(process.clone())].into();
        event.process = Some(Arc::new(process));
    }
    if let Some(alert) = event.alert.as_deref() {
        let mut alert = alert.clone();
        alert.message = text();
        let mut rule = RuleInfo::clone(&alert.rule);
        (rule.name, rule.description, rule.tags) = (text(), text(), vec![text()]);
        rule.output_fields.push(text());
        alert.rule = Arc::new(rule);
        event.alert = Some(Arc::new(alert));
    }
    event
}

/// What was seen of a process of which only its pid is known.
fn bare(mut event: Event) -> Event {
    event.process = Some(Arc::new(Process { pid: 1, ..Process::default() }));
    (event.lineage, event.session_leader, event.tid) = (Arc::default(), None, 0);
    (event.program, event.inside) = (None, None);
    event
}

/// Name and event of every kind and variant.
pub(crate) fn all() -> Vec<(String, Event)> {
    let socket = Some(Endpoint::Unix(Text::from("/run/docker.sock")));
    let nameless = Some(Endpoint::Unix(Text::copy(b"\0abstract")));
    let hostile_socket = Some(Endpoint::Unix(Text::copy(HOSTILE)));
    let gap =
        Gap { lost: EventKind::Open, cpu: 3, stream: 9, first: 10, last: 19, count: 10, boot_ns: BOOT_NS };
    let usage = Usage { max_rss_bytes: 4_096_000, minor_faults: 200, major_faults: 3 };
    let exit = |status| Body::Exit { status, utime_ns: 1, stime_ns: 2, usage };
    let bodies = [
        ("exec", Body::Exec { killed: false }),
        ("exec_killed", Body::Exec { killed: true }),
        ("fork", Body::Fork),
        ("exit", exit(3 << 8)),
        ("exit_signal", exit(0x8b)),
        (
            "cgroup",
            Body::Cgroup(RawCgroupChange { id: 4_711, path: "/docker/x".into(), v1: false, removed: false }),
        ),
        (
            "cgroup_removed",
            Body::Cgroup(RawCgroupChange { id: 4_711, path: Text::copy(HOSTILE), v1: true, removed: true }),
        ),
        ("open", open(b"/etc/../etc/passwd", b"/etc/passwd", 3, false)),
        ("open_created", open(b"new.tar.gz", b"/srv/www/new.tar.gz", 3, true)),
        ("open_failed", open(b"../secret", b"", -13, false)),
        ("open_root", open(b"/", b"/", 3, false)),
        ("open_nothing", open(b"", b"", -2, false)),
        ("open_hostile", open(HOSTILE, HOSTILE, 3, true)),
        ("close_write", close_write(-1, b"/srv/www/new.tar.gz", true)),
        ("close_write_hostile", close_write(3, HOSTILE, false)),
        ("connect_ipv4", connect(ip("203.0.113.9:443"), ip("192.0.2.7:50000"), 2, 0)),
        ("connect_ipv6", connect(ip("[2001:db8::9]:53"), ip("[2001:db8::7]:50000"), 10, -115)),
        ("connect_mapped", connect(ip("[::ffff:203.0.113.9]:80"), None, 10, 0)),
        ("connect_refused", connect(ip("127.0.0.1:1"), None, 2, -111)),
        ("connect_failed", connect(ip("203.0.113.9:443"), None, 2, -101)),
        ("connect_unix", connect(socket, None, 1, 0)),
        ("connect_abstract", connect(nameless, None, 1, -13)),
        ("connect_hostile", connect(hostile_socket, None, 1, 0)),
        ("connection_end", ended("203.0.113.9:443", "192.0.2.7:50000", false, Some(1_500_000_000))),
        ("connection_end_accepted", ended("[2001:db8::9]:40000", "[2001:db8::7]:22", true, None)),
        ("udp_send", datagram("203.0.113.9:123", |socket| Body::UdpSend(Box::new(socket)))),
        ("dns_question", dns(false, Text::from("www.example.com"))),
        ("dns_answer", dns(true, Text::from("www.example.com"))),
        ("dns_answer_hostile", dns(true, Text::copy(HOSTILE))),
        ("dns_nothing", datagram("203.0.113.9:53", no_dns)),
        ("connect_netlink", connect(None, None, 16, 0)),
        ("rename", call(EventKind::Renameat2, 0, [b"old", b"/srv/www/new.html"])),
        ("symlink_hostile", call(EventKind::Symlinkat, 0, [HOSTILE, HOSTILE])),
        ("unlink_failed", call(EventKind::Unlink, -13, [b"/etc/passwd", b""])),
        ("chmod_descriptor", on_file(EventKind::Fchmod, [3, 0o4755, 0, 0, 0, 0])),
        ("accept", on_socket(EventKind::Accept4, 7, "127.0.0.1:22", Some("203.0.113.9:40000"))),
        ("listen", on_socket(EventKind::Listen, 0, "[::]:80", None)),
        ("setresuid", call(EventKind::Setresuid, 0, [b"", b""])),
        ("ptrace", call(EventKind::Ptrace, -1, [b"", b""])),
        ("module", call(EventKind::InitModule, 0, [HOSTILE, b""])),
        ("signal", signal(9, b"sshd")),
        ("signal_hostile", signal(64, HOSTILE)),
        ("kill", call(EventKind::Kill, 0, [b"", b""])),
        ("exec_failed", call(EventKind::ExecveFailed, -2, [b"bin/x", b""])),
        ("gap", Body::Gap(gap)),
        ("agent_started", notice("agent_started", true)),
        ("rules_reloaded", notice("rules_reloaded", true)),
        ("rules_refused", notice("rules_refused", false)),
    ];
    let outcomes = [
        Outcome::Alerted,
        Outcome::WouldHave,
        Outcome::Killed,
        Outcome::AlreadyGone,
        Outcome::Protected,
        Outcome::Failed,
        Outcome::TimedOut,
    ];
    let mut all = Vec::new();
    for (n, (name, body)) in bodies.into_iter().enumerate() {
        let event = event(n as u64 + 1, body);
        let outcome = outcomes[n % outcomes.len()];
        all.push((format!("{name}/alert"), alert(event.clone(), outcome)));
        all.push((format!("{name}/hostile"), hostile(event.clone())));
        all.push((format!("{name}/hostile_alert"), hostile(alert(event.clone(), outcome))));
        if event.process.is_some() {
            all.push((format!("{name}/bare"), bare(event.clone())));
        }
        all.push((name.to_owned(), event));
    }
    all
}
