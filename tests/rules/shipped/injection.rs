//! Code that is put into programs of others.

use crate::row::{Row, py, row, sh};

pub(super) const ROWS: &[Row] = &[
    row(
        "Process attached by another",
        py("p = subprocess.Popen(['sleep', '5'])\nlibc.ptrace(0x4206, p.pid, 0, 0)\np.kill()"),
        py("if os.fork() == 0:\n    libc.ptrace(0, 0, 0, 0)\n    os._exit(0)\nos.wait()"),
    ),
    row(
        "Memory of another process written",
        py("libc.process_vm_writev(os.getppid(), None, 0, None, 0, 0)"),
        py("libc.process_vm_readv(os.getppid(), None, 0, None, 0, 0)"),
    ),
    row(
        "Memory file of a process opened for writing",
        py("write('/proc/self/mem')"),
        py("read('/proc/self/mem')"),
    ),
    row(
        "Library injected by the environment",
        sh("LD_PRELOAD=/tmp/hw.so /bin/true"),
        sh("LD_PRELOAD=libc.so.6 /bin/true"),
    ),
    row("Program loader changed", py("write('/etc/ld.so.cache')"), sh("ldconfig -X")),
    row(
        "Memory writable and executable",
        // A program of its own: repeats of one program are folded.
        py("subprocess.run([be('./tool'), '-c', 'import mmap; mmap.mmap(-1, 4096, prot=7)'])"),
        py("subprocess.run([be('./tool'), '-c', 'import mmap; mmap.mmap(-1, 4096, prot=3)'])"),
    ),
];
