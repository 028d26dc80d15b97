//! A row of a table: a rule, its attack, and the benign twin.

use hostward_tests::Part;
use std::path::Path;

/// Where a side of a row runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Host,
    Container,
    /// A container, with a terminal.
    Terminal,
}

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Act {
    pub(crate) place: Place,
    pub(crate) python: bool,
    pub(crate) code: &'static str,
}

/// A rule with both sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) rule: &'static str,
    pub(crate) attack: Act,
    pub(crate) twin: Act,
    /// A file that a kernel has which can do the attack.
    pub(crate) needs: Option<&'static str>,
}

/// The rule of this name.
pub(crate) const fn row(rule: &'static str, attack: Act, twin: Act) -> Row {
    Row { rule, attack, twin, needs: None }
}

impl Row {
    /// Where the kernel has this file.
    pub(crate) const fn needs(mut self, file: &'static str) -> Self {
        self.needs = Some(file);
        self
    }

    /// Why this machine cannot act it out.
    pub(crate) fn missing(&self) -> Option<(&'static str, String)> {
        if let Some(file) = self.needs.filter(|file| !Path::new(file).exists()) {
            return Some(("kernel_parts", format!("this kernel has no {file}")));
        }
        let contained = [self.attack, self.twin].iter().any(|act| act.place != Place::Host);
        contained.then(|| Part::Runc.missing()).flatten().map(|reason| (Part::Runc.name(), reason))
    }
}

/// A shell of the host; see [`SHELL`].
pub(crate) const fn sh(code: &'static str) -> Act {
    Act { place: Place::Host, python: false, code }
}

/// Python on the host; see [`PYTHON`].
pub(crate) const fn py(code: &'static str) -> Act {
    Act { place: Place::Host, python: true, code }
}

/// A shell in the container.
pub(crate) const fn in_sh(code: &'static str) -> Act {
    Act { place: Place::Container, python: false, code }
}

/// Python in the container.
pub(crate) const fn in_py(code: &'static str) -> Act {
    Act { place: Place::Container, python: true, code }
}

/// A shell in the container, with a terminal.
pub(crate) const fn in_terminal(code: &'static str) -> Act {
    Act { place: Place::Terminal, python: false, code }
}

/// What shells know: `as NAME ARG…` starts a harmless program of that name, `be NAME PROGRAM` makes one of that name.
pub(crate) const SHELL: &str = r#"
be() { cp -L "$(command -v "$2")" "$1"; }
as() { name=$1; shift; [ -e "./$name" ] || cp -L /bin/true "./$name"; "./$name" "$@"; }
"#;

/// What Python knows: files are opened and closed again, so that nothing is written.
pub(crate) const PYTHON: &str = r#"
import ctypes, mmap, os, shutil, socket, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def read(path): os.close(os.open(path, os.O_RDONLY))
def write(path, flags=0):
    if os.path.dirname(path): os.makedirs(os.path.dirname(path), exist_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644))
def call(x86_64, aarch64, *args):
    return libc.syscall(x86_64 if os.uname().machine == "x86_64" else aarch64, *args)
def be(name, program=sys.executable): return shutil.copy(shutil.which(program), name)
def serve(address="203.0.113.7", port=0):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen(64)
    return server
"#;
