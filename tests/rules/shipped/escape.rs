//! Ways out of a container, and into the kernel.

use crate::row::{Row, in_py, in_sh, py, row, sh};

pub(super) const ROWS: &[Row] = &[
    row("Cgroup release agent set", in_py("write('release_agent')"), in_py("write('release_agent.txt')")),
    row(
        "Cgroup told to run its release agent",
        in_py("write('notify_on_release')"),
        py("write('notify_on_release')"),
    ),
    row(
        "Kernel told to run a program",
        py("write('/proc/sys/kernel/core_pattern')"),
        py("read('/proc/sys/kernel/core_pattern')"),
    ),
    row("Kernel memory opened", in_py("write('/dev/mem')"), in_py("read('/dev/null')")),
    // Never the real one: a place of that name, whatever the kernel has.
    row(
        "Magic key pressed by a program",
        sh("unshare --mount sh -c 'mount -t tmpfs tmpfs /proc; : >> /proc/sysrq-trigger'"),
        sh("unshare --mount sh -c 'mount -t tmpfs tmpfs /proc; : >> /proc/sysrq'"),
    ),
    row(
        "Disk of the host opened in a container",
        in_py("write('/dev/sdb1')"),
        in_py("write('/dev/shm/sdb1.txt')"),
    ),
    row(
        "Disk mounted in a container",
        in_py("libc.mount(b'/dev/sdhw', b'/mnt', b'ext4', 0, None)"),
        in_py("libc.mount(b'none', b'/no-such-place', b'tmpfs', 0, None)"),
    ),
    row(
        "Socket of a container runtime used in a container",
        in_py(
            "s = socket.socket(socket.AF_UNIX)\ns.bind('docker.sock')\ns.listen()\nsocket.socket(socket.AF_UNIX).connect('docker.sock')",
        ),
        in_py(
            "s = socket.socket(socket.AF_UNIX)\ns.bind('app.sock')\ns.listen()\nsocket.socket(socket.AF_UNIX).connect('app.sock')",
        ),
    ),
    row(
        "Namespaces of the first process entered",
        sh("nsenter --target 1 --uts true"),
        sh("nsenter --target $$ --uts true"),
    ),
    row(
        "Namespace entered from a container",
        in_sh("nsenter --target 1 --uts true"),
        in_sh("unshare --uts true"),
    ),
    row(
        "Ids mapped into a user namespace",
        sh("unshare --user --map-root-user true"),
        sh("unshare --uts true"),
    ),
    row(
        "Kernel module loaded by unexpected program",
        py("call(175, 105, 0, 0, b'')"),
        sh("command -v lsmod && lsmod"),
    )
    .needs("/proc/modules"),
    row(
        "Kernel module removed by unexpected program",
        py("call(176, 106, b'hw_none', os.O_NONBLOCK)"),
        sh("rmmod hw_none"),
    )
    .needs("/proc/modules"),
    row(
        "BPF program loaded by unexpected program",
        py("call(321, 280, 5, bytes(128), 128)"),
        py("call(321, 280, 0, bytes(128), 128)"),
    ),
    row(
        "Kernel function probed",
        py("write('tracing/kprobe_events')"),
        py("write('tracing/kprobe_events.txt')"),
    ),
    row(
        "Kernel replaced at run time",
        // More segments than there may be.
        py("call(246, 104, 0, 99, 0, 0)"),
        py("read('/sys/kernel/kexec_loaded')"),
    )
    .needs("/sys/kernel/kexec_loaded"),
    row(
        "Protection of the kernel changed",
        py("write('/proc/sys/kernel/kptr_restrict')"),
        py("read('/proc/sys/kernel/kptr_restrict')"),
    ),
];
