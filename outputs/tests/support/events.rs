//! Events as a web server's host makes them: shells, compilers, cron, connections, and the alerts among
//! them. The same seed gives the same events.

use hostward_event::event::{Action, Actor, Alert, Body, Mode, Priority, RuleInfo, Surroundings};
use hostward_event::fact::Outcome;
use hostward_event::process::{AgentFacts, HostFacts, Process, UserTable};
use hostward_event::raw::{
    Args, Credentials, Endpoint, Inode, Namespaces, OpenCall, RawCgroup, RawConnect, RawOpen, Rung, Source,
    Usage,
};
use hostward_event::workload::{Container, Workload};
use hostward_event::{Event, EventKind, IdMint, Text};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// 2026-01-01.
const TIME_NS: i64 = 1_767_225_600_000_000_000;

const PROGRAMS: [(&str, &str, &[&str]); 10] = [
    (
        "/usr/bin/dash",
        "sh",
        &["sh", "-c", "test -x /usr/sbin/anacron || run-parts --report /etc/cron.hourly"],
    ),
    ("/usr/bin/python3.11", "python3", &["python3", "-m", "gunicorn", "app:main", "--workers", "4"]),
    ("/usr/bin/curl", "curl", &["curl", "-fsS", "--max-time", "10", "https://example.com/health"]),
    ("/usr/sbin/nginx", "nginx", &["nginx: worker process"]),
    ("/usr/bin/git", "git", &["git", "fetch", "--prune", "origin"]),
    ("/usr/bin/gcc", "cc1", &["cc1", "-quiet", "-I", "include", "-O2", "main.c", "-o", "main.s"]),
    ("/usr/bin/ls", "ls", &["ls", "-la", "--color=auto"]),
    ("/usr/lib/postgresql/15/bin/postgres", "postgres", &["postgres: checkpointer"]),
    ("/usr/bin/node", "node", &["node", "/srv/app/server.js"]),
    ("/usr/sbin/sshd", "sshd", &["sshd: deploy [priv]"]),
];

const FILES: [&str; 8] = [
    "/etc/passwd",
    "/etc/ld.so.cache",
    "/usr/lib/x86_64-linux-gnu/libc.so.6",
    "/proc/self/status",
    "/srv/app/config/production.json",
    "/var/log/nginx/access.log",
    "/home/deploy/.ssh/authorized_keys",
    "/tmp/build-cache/objects.db",
];

const RULES: [(&str, &str, &str); 4] = [
    ("Shell spawned by web server", "A web server starts a shell, as after an exploit", "T1059.004"),
    ("Read of a credential file", "A process outside the list reads /etc/shadow or keys", "T1003.008"),
    ("Outbound connection of a shell", "A shell connects to an address outside the host's networks", "T1071"),
    ("Binary dropped and executed", "A file that was written a moment ago is executed", "T1105"),
];

/// See the module.
pub(crate) struct Events {
    dice: fastrand::Rng,
    mint: IdMint,
    around: Arc<Surroundings>,
    rules: Vec<Arc<RuleInfo>>,
    sequence: u64,
}

fn args(list: &[&str]) -> Args {
    let mut raw = Vec::new();
    for arg in list {
        raw.extend_from_slice(arg.as_bytes());
        raw.push(0);
    }
    let total_bytes = u32::try_from(raw.len()).unwrap_or(u32::MAX);
    Args { raw: Text::from(raw), total_bytes }
}

impl Events {
    /// Begins with number 1.
    pub(crate) fn new(seed: u64) -> Self {
        let around = Surroundings {
            domains: Default::default(),
            host: HostFacts {
                machine_id: "6f1c4a0e5d8b4a5e9a3f1d2c3b4a5968".to_owned(),
                boot_id: "0b2f6c1e-1111-4222-8333-444455556666".to_owned(),
                hostname: "web-1".to_owned(),
                architecture: "x86_64".to_owned(),
                ip: vec![Ipv4Addr::new(192, 0, 2, 7).into()],
                kernel: "6.1.0-18-amd64".to_owned(),
                os_id: "debian".to_owned(),
                os_name: "Debian GNU/Linux".to_owned(),
                os_version: "12".to_owned(),
                os_full: "Debian GNU/Linux 12 (bookworm)".to_owned(),
                ..HostFacts::default()
            },
            agent: AgentFacts {
                id: "a1b2c3d4e5f60718293a4b5c6d7e8f90".to_owned(),
                ephemeral_id: "0f1e2d3c4b5a69788796a5b4c3d2e1f0".to_owned(),
                version: "0.1.0".to_owned(),
                pid: 400,
            },
            users: UserTable {
                users: [(0, "root"), (33, "www-data"), (1000, "deploy")].map(|(id, n)| (id, n.into())).into(),
                groups: [(0, "root"), (33, "www-data"), (1000, "deploy")]
                    .map(|(id, n)| (id, n.into()))
                    .into(),
            },
        };
        let rule = |(name, description, technique): (&str, &str, &str)| RuleInfo {
            name: name.into(),
            description: description.into(),
            priority: Priority::Critical,
            tags: ["host", "container", "mitre_execution", technique].map(Text::from).into(),
            technique_ids: vec![technique.into()],
            tactics: vec!["execution".into()],
            source: "rules.d/10-host.yaml:12".into(),
            file_hash: "1f0e2d3c4b5a6978".into(),
            output_fields: [
                "proc.name",
                "proc.cmdline",
                "proc.pname",
                "user.name",
                "container.id",
                "fd.name",
            ]
            .map(Text::from)
            .into(),
        };
        Self {
            dice: fastrand::Rng::with_seed(seed),
            mint: IdMint::new("6f1c4a0e5d8b4a5e9a3f1d2c3b4a5968", "0b2f6c1e"),
            around: Arc::new(around),
            rules: RULES.map(rule).map(Arc::new).into(),
            sequence: 0,
        }
    }

    fn process(&mut self, pid: u32, ppid: u32) -> Process {
        let (path, comm, list) = self.dice.choice(PROGRAMS).unwrap_or_default();
        let uid = self.dice.choice([0, 33, 1000]).unwrap_or_default();
        let start_boot_ns = 90_000_000_000_000 + self.dice.u64(..1 << 40);
        let inside = self.dice.bool();
        let id = format!("{:064x}", self.dice.u128(..));
        Process {
            entity_id: self.mint.entity(pid, start_boot_ns),
            pid,
            ppid,
            start_boot_ns,
            comm: comm.into(),
            path: path.into(),
            filename: path.into(),
            args: args(list),
            cwd: "/srv/app".into(),
            exe: Inode {
                ino: self.dice.u64(1_000..1 << 24),
                dev: 8 << 20 | 1,
                mode: 0o100_755,
                nlink: 1,
                uid: 0,
                gid: 0,
                ctime_ns: TIME_NS - self.dice.i64(0..1 << 50),
                mtime_ns: TIME_NS - self.dice.i64(0..1 << 50),
            },
            creds: Credentials {
                uid,
                gid: uid,
                suid: uid,
                sgid: uid,
                euid: uid,
                egid: uid,
                fsuid: uid,
                fsgid: uid,
                ..Credentials::default()
            },
            ns: Namespaces {
                mnt: 4_026_531_840 + self.dice.u32(..40),
                pid: 4_026_531_836,
                net: 4_026_531_992,
                uts: 4_026_531_838,
                ipc: 4_026_531_839,
                cgroup: 4_026_531_835,
                user: 4_026_531_837,
            },
            loginuid: u32::MAX,
            audit_session: u32::MAX,
            sid: 700,
            pgid: pid,
            vpid: pid,
            vpgid: pid,
            vsid: 700,
            workload: Arc::new(Workload {
                cgroup: RawCgroup {
                    id: self.dice.u64(..1 << 16),
                    v1: false,
                    leaf: "app.service".into(),
                    parent: "system.slice".into(),
                },
                path: "/system.slice/app.service".into(),
                container: inside.then(|| Container {
                    id: id.as_str().into(),
                    runtime: "docker".into(),
                    ..Container::default()
                }),
                unit: "app.service".into(),
                slice: "system.slice".into(),
            }),
            ..Process::default()
        }
    }

    /// Telemetry: half of it opens, the rest execs, exits and connects.
    pub(crate) fn telemetry(&mut self) -> Event {
        self.sequence += 1;
        let sequence = self.sequence;
        let pid = self.dice.u32(1_000..32_768);
        let boot_ns = 90_000_000_000_000 + sequence * 1_000_000 + self.dice.u64(..1_000_000);
        let process = Arc::new(self.process(pid, 701));
        let parent = Arc::new(self.process(701, 700));
        let leader = Arc::new(self.process(700, 1));
        let (kind, body) = match self.dice.u8(..8) {
            0 => (EventKind::Exec, Body::Exec { killed: false }),
            1 => (EventKind::Fork, Body::Fork),
            2 => {
                let utime_ns = self.dice.u64(..1 << 32);
                (
                    EventKind::Exit,
                    Body::Exit { status: 0, utime_ns, stime_ns: utime_ns / 3, usage: Usage::default() },
                )
            }
            3 => {
                let [_, _, _, last] = self.dice.u32(..).to_le_bytes();
                let remote = SocketAddr::from((Ipv4Addr::new(203, 0, 113, last), 443));
                let local = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 7), self.dice.u16(32_768..61_000)));
                let connect = RawConnect {
                    fd: self.dice.i32(3..200),
                    result: -115,
                    family: 2,
                    sock_type: 1,
                    protocol: 6,
                    remote: Some(Endpoint::Ip(remote)),
                    local: Some(Endpoint::Ip(local)),
                    server: false,
                };
                (EventKind::Connect, Body::Connect(Box::new(connect)))
            }
            _ => {
                let path = self.dice.choice(FILES).unwrap_or_default();
                let open = RawOpen {
                    call: OpenCall::Openat,
                    flags: 0o2_000_000,
                    mode: 0,
                    result: self.dice.i64(3..100),
                    dirfd: -100,
                    arg: path.into(),
                    base: Text::EMPTY,
                    path: path.into(),
                    inode: Inode {
                        ino: self.dice.u64(1_000..1 << 24),
                        mode: 0o100_644,
                        nlink: 1,
                        ..process.exe
                    },
                    created: false,
                    shared_memory: false,
                };
                (EventKind::Open, Body::Open(Box::new(open)))
            }
        };
        let cpu = self.dice.u16(..8);
        Event {
            id: self.mint.event(kind, cpu, sequence, boot_ns),
            sequence,
            time_ns: TIME_NS + i64::try_from(boot_ns).unwrap_or(0),
            created_ns: TIME_NS + i64::try_from(boot_ns).unwrap_or(0) + 800_000,
            source: Some(Source {
                rung: Rung::BtfTracepoint,
                cpu,
                stream: 0,
                seq: sequence,
                boot_ns,
                received_boot_ns: boot_ns + 700_000,
            }),
            tid: pid,
            process: Some(process),
            lineage: [parent, Arc::clone(&leader)].into(),
            session_leader: Some(leader),
            around: Arc::clone(&self.around),
            body,
            partial: false,
            program: None,
            inside: None,
            domain: None,
            alert: None,
        }
    }

    /// An alert.
    pub(crate) fn alert(&mut self) -> Event {
        let event = self.telemetry();
        let Some(rule) = self.dice.choice(&self.rules).map(Arc::clone) else { return event };
        let name = String::from_utf8_lossy(rule.name.as_bytes()).into_owned();
        let alert = Alert {
            trigger: event.id,
            message: format!("{name} (pid {}, parent nginx, user www-data)", event.tid).into(),
            rule,
            response: "alert-all".into(),
            owner: "security".into(),
            mode: Mode::Enforce,
            action: Action::Alert,
            actor: Actor::Agent,
            outcome: Outcome::Alerted,
            detail: Text::EMPTY,
            matched_ns: event.created_ns + 40_000,
            responded_ns: event.created_ns + 90_000,
        };
        Event { id: self.mint.derived(event.id, b"alert"), alert: Some(Arc::new(alert)), ..event }
    }
}
