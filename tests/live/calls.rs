//! System calls: rules of the published language on real ones, and the telemetry streams.

use anyhow::{Context, Result, ensure};
use hostward_tests::{Part, Record, Setup, child, lacks};
use std::process::Command;

/// What the attacker does, in a program that exists on every test machine. Each line is another thing.
const ATTACK: &str = r#"
import ctypes, os, signal, socket, sys
place = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
os.symlink("/etc/shadow", place + "/hw-link")
open(place + "/hw-tool", "w").close()
os.chmod(place + "/hw-tool", 0o4755)
os.rename(place + "/hw-tool", place + "/hw-renamed")
os.mkdir(place + "/hw-dir", 0o700)
os.unlink(place + "/hw-renamed")
try:
    os.unlink(place + "/hw-nothing")
except FileNotFoundError:
    pass
libc.ptrace(16, 0x3ffffff0, 0, 0)
os.memfd_create("hw-ghost")
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen(1)
client = socket.socket()
client.connect(server.getsockname())
peer, _ = server.accept()
os.dup2(peer.fileno(), 0)
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
os.kill(os.getpid(), signal.SIGURG)
if os.fork() == 0:
    os.setresuid(65534, 65534, 65534)
    os._exit(0)
os.wait()
try:
    os.execv(place + "/hw-no-program", ["x"])
except FileNotFoundError:
    pass
"#;

/// Name, condition, and what the alert says in its message.
const RULES: [(&str, &str, &str); 14] = [
    ("link", "evt.type in (symlink, symlinkat) and evt.arg.target in (/etc/shadow)", "%evt.arg.linkpath"),
    (
        "setuid bit",
        "evt.type in (chmod, fchmod, fchmodat) and evt.arg.mode contains S_ISUID",
        "%evt.arg.mode",
    ),
    (
        "rename",
        "evt.type in (rename, renameat, renameat2) and fs.path.name endswith /hw-renamed",
        "%fs.path.source",
    ),
    ("mkdir", "evt.type in (mkdir, mkdirat) and evt.arg.path endswith /hw-dir", "%evt.type"),
    (
        "removed",
        "evt.type in (unlink, unlinkat) and evt.res = SUCCESS and fs.path.name endswith /hw-renamed",
        "%evt.res",
    ),
    (
        "in vain",
        "evt.type in (unlink, unlinkat) and evt.failed = true and fs.path.name endswith /hw-nothing",
        "%evt.res",
    ),
    (
        "attach",
        "evt.type = ptrace and evt.arg.request in (PTRACE_ATTACH, PTRACE_SEIZE)",
        "%evt.arg.request %evt.res",
    ),
    ("ghost", "evt.type = memfd_create and evt.arg.name = hw-ghost", "%evt.args"),
    ("listen", "evt.type = listen and fd.type = ipv4", "%fd.name"),
    ("accept", "evt.type in (accept, accept4) and fd.sip = 127.0.0.1", "%fd.name %fd.l4proto"),
    (
        "dup",
        "evt.type in (dup, dup2, dup3) and evt.rawres in (0, 1, 2) and fd.type in (ipv4, ipv6)",
        "%fd.num",
    ),
    ("raw", "evt.type = socket and evt.arg.domain contains AF_PACKET", "%evt.arg.domain %evt.arg.type"),
    ("signal", "evt.type = kill and evt.arg.sig = SIGURG", "%evt.arg.sig"),
    ("user", "evt.type = setresuid and evt.arg.ruid = nobody", "%evt.arg.ruid %evt.arg.euid"),
];

fn rules() -> String {
    let mut text = String::new();
    for (name, condition, output) in RULES {
        text.push_str(&format!(
            "- rule: {name}\n  desc: A call of the test.\n  condition: {condition} and proc.name = hw-attack\n  \
             output: \"{output}\"\n  priority: Warning\n  tags: [T1059]\n"
        ));
    }
    text.push_str(
        "- rule: not started\n  desc: A start that fails.\n  condition: evt.type in (execve, execveat) and \
         evt.res = ENOENT and proc.name = hw-attack\n  output: \"%evt.arg.filename\"\n  priority: Warning\n",
    );
    text
}

#[test]
fn rules_see_every_call_of_an_attack() -> Result<()> {
    if lacks(Part::Kernel, "rules_see_every_call_of_an_attack") {
        return Ok(());
    }
    let agent = Setup::new()?.rules(&rules())?.start()?;
    let dir = tempfile::tempdir()?;
    let place = dir.path().to_str().context("a path of UTF-8")?;
    // A program of a name that nobody else has, so that no other process of the host is meant.
    let interpreter = std::fs::canonicalize(child::output(
        Command::new("python3").args(["-c", "import sys; print(sys.executable, end='')"]),
    )?)?;
    let program = child::copy_of(interpreter.to_str().context("UTF-8")?, dir.path(), "hw-attack")?;
    let mut attack = Command::new(&program);
    attack.args(["-c", ATTACK, place]);
    child::output(&mut attack)?;

    let feed = agent.feed();
    let alert =
        |rule: &str| feed.wait(rule, |r| r.is_alert_of(rule) && r.text("process.name") == Some("hw-attack"));
    let message =
        |rule: &str| -> Result<String> { Ok(alert(rule)?.text("message").context("a message")?.to_owned()) };
    let at = |name: &str| format!("{place}/{name}");
    assert_eq!(message("link")?, at("hw-link"));
    assert_eq!(message("setuid bit")?, "S_ISUID|S_IRUSR|S_IWUSR|S_IXUSR|S_IRGRP|S_IXGRP|S_IROTH|S_IXOTH");
    assert_eq!(message("rename")?, at("hw-tool"));
    assert!(message("mkdir")?.starts_with("mkdir"));
    assert_eq!(message("removed")?, "SUCCESS");
    assert_eq!(message("in vain")?, "ENOENT");
    assert_eq!(message("attach")?, "PTRACE_ATTACH ESRCH");
    assert!(message("ghost")?.contains("name=hw-ghost flags=MFD_CLOEXEC"), "{}", message("ghost")?);
    assert!(message("listen")?.starts_with("127.0.0.1:"));
    let accepted = message("accept")?;
    ensure!(accepted.ends_with(" tcp") && accepted.matches("127.0.0.1:").count() == 2, "{accepted}");
    assert_eq!(message("dup")?, "0");
    assert_eq!(message("raw")?, "AF_PACKET SOCK_RAW");
    assert_eq!(message("signal")?, "SIGURG");
    assert_eq!(message("user")?, "nobody nobody");
    assert_eq!(message("not started")?, at("hw-no-program"));

    let link = alert("link")?;
    assert_eq!(link.text("file.path"), Some(at("hw-link").as_str()));
    assert_eq!(link.text("file.target_path"), Some("/etc/shadow"));
    assert_eq!(link.text("hostward.source.rung"), Some("syscall_tracepoint"));
    let accept = alert("accept")?;
    assert_eq!(accept.text("network.direction"), Some("ingress"));
    assert_eq!(accept.text("destination.ip"), Some("127.0.0.1"));

    // Privileged calls are telemetry by default; changes of files are not, and are seen in alerts only.
    let of = |r: &Record, action: &str| r.is(action) && r.text("process.name") == Some("hw-attack");
    let ids = feed.wait("the change of ids", |r| of(r, "setresuid"))?;
    assert_eq!(ids.text("hostward.call.arguments.ruid"), Some("nobody"));
    assert_eq!(ids.texts("event.type"), ["change"]);
    assert_eq!(ids.text("event.dataset"), Some("hostward.privilege"));
    let files = feed.records()?.into_iter().filter(|r| of(r, "mkdir") || of(r, "unlink") || of(r, "kill"));
    assert_eq!(files.count(), 0);
    Ok(())
}
