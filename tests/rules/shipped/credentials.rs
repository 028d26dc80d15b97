//! Passwords, keys and tokens.

use crate::row::{Row, in_py, in_sh, py, row, sh};

pub(super) const ROWS: &[Row] = &[
    row("Password hashes read by unexpected program", py("read('/etc/shadow')"), sh("chage -l root")),
    row(
        "Workload secret read by unexpected program",
        in_sh("cat /run/secrets/token"),
        in_py("read('/run/secrets/token')"),
    ),
    row(
        "SSH private key read by unexpected program",
        py("write('.ssh/id_ed25519')\nread('.ssh/id_ed25519')"),
        sh("mkdir .ssh; ssh-keygen -q -N '' -f .ssh/id_ed25519; ssh-keygen -y -f .ssh/id_ed25519"),
    ),
    row(
        "Cloud or cluster credentials read by a general tool",
        sh("mkdir .aws; : > .aws/credentials; cat .aws/credentials"),
        py("write('.aws/credentials')\nread('.aws/credentials')"),
    ),
    row("Environment of another process read", sh("cat /proc/$$/environ"), py("read('/proc/self/environ')")),
    row(
        "Metadata of the cloud asked by a general tool",
        sh("bash -c ': > /dev/tcp/169.254.169.254/80'"),
        sh("bash -c ': > /dev/tcp/203.0.113.7/80'"),
    ),
    row("Tool for stealing passwords started", sh("as hydra -l root"), sh("as hydrate -l root")),
    row("Keys searched", sh("find . -name id_rsa"), sh("find . -name readme")),
];
