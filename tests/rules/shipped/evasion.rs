//! Traces that are removed, and things that are not what they seem.

use crate::row::{Row, row, sh};

pub(super) const ROWS: &[Row] = &[
    row("Hidden program started", sh("as .tool"), sh("as tool.d")),
    row(
        "Program that poses as a kernel thread",
        sh("bash -c 'exec -a \"[kworker/0:1]\" true'"),
        sh("/usr/bin/[ x = x ]"),
    ),
    row("Program with two file name endings", sh("as invoice.pdf.sh"), sh("as invoice.sh")),
    row("Shell history cleared", sh(": > .bash_history; rm .bash_history"), sh(": > history; rm history")),
    row(
        "Log removed",
        sh(": > /var/log/kern.log; rm /var/log/kern.log"),
        sh(": > /var/log/kern.log.1; rm /var/log/kern.log.1"),
    ),
    row("File overwritten before it is removed", sh(": > x; shred -u x"), sh(": > x; rm x")),
    row(
        "Time of a system file set",
        sh(": > /usr/local/sbin/hw; touch -d 2001-01-01 /usr/local/sbin/hw"),
        sh(": > hw; touch -d 2001-01-01 hw"),
    ),
    row(
        "Encoded command run by a shell",
        sh("sh -c 'echo dHJ1ZQ== | base64 -d | sh'"),
        sh("sh -c 'echo dHJ1ZQ== | base64 -d'"),
    ),
    row("Security service stopped", sh("as systemctl stop auditd"), sh("as systemctl status auditd")),
    row("Firewall flushed", sh("as iptables -F"), sh("as iptables -L")),
];
