//! Programs that should not start where or how they did, and miners.

use crate::row::{Row, py, row, sh};

pub(super) const ROWS: &[Row] = &[
    row(
        "Reverse shell",
        py("a, b = socket.socketpair()\nsubprocess.run(['sh', '-c', 'exit 0'], stdin=a)"),
        py("subprocess.run(['sh', '-c', 'exit 0'], stdin=subprocess.PIPE)"),
    ),
    row(
        "Network tool told to run a program",
        sh("as nc -e /bin/sh 127.0.0.1 9"),
        sh("as nc -w 1 127.0.0.1 9"),
    ),
    row("Execution from a world-writable directory", sh("as tool"), sh("be /opt/tool /bin/true; /opt/tool")),
    row(
        "Execution from memory",
        py(
            "fd = os.memfd_create('x')\nos.write(fd, open('/bin/true', 'rb').read())\nos.execve(fd, ['x'], {})",
        ),
        py("os.execve(os.open('/bin/true', os.O_RDONLY), ['true'], {})"),
    ),
    row(
        "Execution of a deleted program",
        py("fd = os.open(be('tool', 'true'), os.O_RDONLY)\nos.unlink('tool')\nos.execve(fd, ['tool'], {})"),
        py(
            "p = subprocess.Popen([be('./tool', 'sleep'), '0.2'])\ntime.sleep(0.1)\nos.unlink('tool')\np.wait()",
        ),
    ),
    row(
        "Shell started by a web server",
        sh("be nginx sh; ./nginx -c 'sh -c :; :'"),
        sh("be nginx sh; ./nginx -c '/bin/true; :'"),
    ),
    row("Miner started", sh("as xmrig"), sh("as xmlgrep")),
    row(
        "Miner connects to its pool",
        sh("be xmrig bash; ./xmrig -c ': > /dev/tcp/203.0.113.7/3333'"),
        sh("bash -c ': > /dev/tcp/203.0.113.7/3333'"),
    ),
    row(
        "Connection by a program without a home",
        sh("be tool bash; ./tool -c ': > /dev/tcp/203.0.113.7/9'"),
        sh("be tool bash; ./tool -c ': > /dev/tcp/127.0.0.1/9'"),
    ),
];
