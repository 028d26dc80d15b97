//! Files that decide how the system behaves, and ways to be started again.

use crate::row::{Row, py, row, sh};

pub(super) const ROWS: &[Row] = &[
    row("Write below /etc", py("write('/etc/hw.conf')"), py("write('etc/hw.conf')\nread('/etc/hostname')")),
    row("Write below a binary directory", py("write('/usr/local/sbin/hw')"), py("write('/opt/sbin/hw')")),
    row("Scheduled job or service planted", py("write('/etc/cron.d/hw')"), py("write('/etc/cron.notes')")),
    row("Library preload changed", py("write('/etc/ld.so.preload')"), py("write('/etc/ld.so.preload.old')")),
    row("Login rules changed", py("write('/etc/sudoers.d/hw')"), py("write('/etc/sudo.notes')")),
    row("Keys for ssh logins changed", py("write('.ssh/authorized_keys')"), py("write('.ssh/known_hosts')")),
    row(
        "Log emptied",
        py("write('/var/log/auth.log', os.O_TRUNC)"),
        py("write('/var/log/auth.log', os.O_APPEND)"),
    ),
    row("Start script planted", py("write('/etc/init.d/hw')"), py("write('/etc/init.notes')")),
    row("Start file of a shell changed", sh(": >> .bashrc"), sh("touch .bashrc.old; cat .bashrc")),
    row("Login module planted", py("write('security/pam_hw.so')"), py("write('security/hw.so')")),
    row("Program made to run as its owner", sh(": > tool; chmod u+s tool"), sh(": > tool; chmod u+x tool")),
    row(
        "Capabilities given to a program",
        py("write('tool')\nos.setxattr('tool', 'security.capability', bytes([1, 0, 0, 2]) + bytes(16))"),
        py("write('tool')\nos.setxattr('tool', 'user.note', b'x')"),
    ),
    row("Account made", sh("as useradd hw"), sh("as usermod --shell /bin/sh hw")),
    row(
        "Link put over a sensitive file",
        py("os.symlink('/etc/shadow', 'x')"),
        py("os.symlink('/etc/hostname', 'x')"),
    ),
];
