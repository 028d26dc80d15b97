//! Looking around, going to other machines, and carrying data out.

use crate::row::{Act, Row, py, row, sh};

/// A tool of its own sends to the internet, which is the loopback.
const fn sends(code: &'static str) -> Act {
    py(code)
}

pub(super) const ROWS: &[Row] = &[
    row(
        "Burst of discovery",
        sh("for tool in id whoami uname hostname ps df mount lsblk; do as $tool; done"),
        sh("for tool in id uname df; do as $tool; done"),
    ),
    row("Network scanner started", sh("as nmap 203.0.113.0/24"), sh("as nmapview 203.0.113.0/24")),
    row(
        "Burst of refused connections",
        py("for port in range(100, 145): socket.socket().connect_ex(('127.0.0.1', port))"),
        py("for port in range(100, 105): socket.socket().connect_ex(('127.0.0.1', port))"),
    ),
    row(
        "Much data sent out",
        sends(
            "s = serve()\nhost, port = s.getsockname()\np = subprocess.Popen([be('./tool'), '-c', f'import socket; s = socket.create_connection((\"{host}\", {port}))\\nfor n in range(260): s.sendall(bytes(1 << 20))'])\nc, _ = s.accept()\nwhile c.recv(1 << 20): pass\np.wait()",
        ),
        sends(
            "s = serve()\nhost, port = s.getsockname()\np = subprocess.Popen([be('./tool'), '-c', f'import socket; s = socket.create_connection((\"{host}\", {port}))\\ns.sendall(bytes(1 << 20))'])\nc, _ = s.accept()\nwhile c.recv(1 << 20): pass\np.wait()",
        ),
    ),
    row(
        "Data sent out in pieces",
        sends(
            "s = serve()\nhost, port = s.getsockname()\nsubprocess.run([be('./tool', 'bash'), '-c', f'for n in {{1..22}}; do echo x > /dev/tcp/{host}/{port}; done'])",
        ),
        sends(
            "s = serve()\nhost, port = s.getsockname()\nsubprocess.run([be('./tool', 'bash'), '-c', f'for n in {{1..5}}; do echo x > /dev/tcp/{host}/{port}; done'])",
        ),
    ),
    row("Tunnel started", sh("as ssh -R 1:h:1 host"), sh("as ssh -L 1:h:1 host")),
    row("Tool for going to other machines started", sh("as sshpass -p x ssh host"), sh("as ssh host")),
    row(
        "Shell or general tool listens",
        py("subprocess.run([be('./socat'), '-c', 'import socket; s = socket.socket(); s.listen()'])"),
        py("serve()"),
    ),
    row(
        "Standard streams bound to a connection",
        py("s = serve()\nc = socket.create_connection(s.getsockname())\nos.dup2(c.fileno(), 0)"),
        py("s = serve('127.0.0.1')\nc = socket.create_connection(s.getsockname())\nos.dup2(c.fileno(), 0)"),
    ),
];
