//! What a running image should not do.

use crate::row::{Row, in_py, in_sh, in_terminal, row, sh};

pub(super) const ROWS: &[Row] = &[
    row("Package manager run in a container", in_sh("as apk add x"), in_sh("as dpkg -l")),
    row("Interactive root shell in a container", in_terminal("exit 0"), in_sh("exit 0")),
    row(
        "Program brought into a running container",
        in_sh("cp /bin/busybox /brought; /brought true"),
        in_sh("/bin/busybox true"),
    ),
    row("Container tool started in a container", in_sh("as kubectl get pods"), sh("as kubectl get pods")),
    row(
        "Network overheard in a container",
        in_py("socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)"),
        in_py("socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 0)"),
    ),
];
