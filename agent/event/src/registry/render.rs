//! Renderings that rules compare against to the letter, and what several fields share.

use super::{Value, flags, spare};
use crate::event::Body;
use crate::process::Process;
use crate::raw::{
    Args, Endpoint, FileType, OpenCall, RawCloseWrite, RawConnect, RawConnectionEnd, RawDns, RawOpen,
};
use crate::{Event, EventKind};
use std::borrow::Cow;
use std::fmt::Write;
use std::net::SocketAddr;

/// The open of this event.
pub(super) fn open(event: &Event) -> Option<&RawOpen> {
    if let Body::Open(open) = &event.body { Some(open) } else { None }
}

/// The close of this event.
pub(super) fn closed(event: &Event) -> Option<&RawCloseWrite> {
    if let Body::CloseWrite(close) = &event.body { Some(close) } else { None }
}

/// The socket of this event: of a connect, or of another call on one.
pub(super) fn connect(event: &Event) -> Option<&RawConnect> {
    match &event.body {
        Body::Connect(connect) => Some(connect),
        Body::ConnectionEnd(end) => Some(&end.socket),
        Body::UdpSend(socket) => Some(socket),
        Body::Dns(dns) => Some(&dns.socket),
        Body::Call(call) => call.socket.as_deref(),
        _ => None,
    }
}

/// The end of a connection.
pub(super) fn connection_end(event: &Event) -> Option<&RawConnectionEnd> {
    if let Body::ConnectionEnd(end) = &event.body { Some(end) } else { None }
}

/// The DNS datagram of this event.
pub(super) fn dns(event: &Event) -> Option<&RawDns> {
    if let Body::Dns(dns) = &event.body { Some(dns) } else { None }
}

/// The published name of the event: of the system call, as `evt.type` has it.
pub(super) fn event_type(event: &Event) -> &'static str {
    match (&event.body, event.kind()) {
        (Body::Open(open), _) => match open.call {
            OpenCall::Open | OpenCall::Openat | OpenCall::Openat2 | OpenCall::Creat => open.call.name(),
        },
        (_, EventKind::Exec) => "execve",
        (_, EventKind::Fork) => "clone",
        (_, EventKind::Exit) => "procexit",
        (_, EventKind::Connect) => "connect",
        (_, EventKind::ConnectionEnd | EventKind::CloseWrite) => "close",
        (Body::Cgroup(change), _) => {
            if change.removed {
                "cgroup_rmdir"
            } else {
                "cgroup_mkdir"
            }
        }
        (_, kind) => kind.name(),
    }
}

/// Result of the call, for events that have one.
pub(super) fn raw_result(event: &Event) -> Option<i64> {
    match &event.body {
        Body::Open(open) => Some(open.result),
        Body::Connect(connect) => Some(connect.result),
        Body::Call(call) => Some(call.result),
        // The hook sits behind the point of no return: what is reported has succeeded.
        Body::Exec { .. } | Body::Fork | Body::Cgroup(_) | Body::ConnectionEnd(_) => Some(0),
        // What the call gives says nothing of that: the file is closed in any case.
        Body::CloseWrite(_) => Some(0),
        // These hooks sit before the end of the call.
        Body::UdpSend(_) | Body::Dns(_) | Body::Signal(_) => None,
        Body::Exit { .. } | Body::Gap(_) | Body::Agent(_) => None,
    }
}

/// True for flags of an open that asks for writing. O_TRUNC alone does not make a file writable.
pub(super) const fn opens_for_write(open: u64) -> bool {
    matches!(open & flags::O_ACCMODE, 1 | 2)
}

/// True for flags of an open that asks for reading.
pub(super) const fn opens_for_read(open: u64) -> bool {
    matches!(open & flags::O_ACCMODE, 0 | 2)
}

/// True for an open that may create an executable file.
pub(super) const fn opens_for_exec(open: &RawOpen) -> bool {
    open.flags & (flags::O_CREAT | flags::O_TMPFILE_BIT) != 0 && open.mode & 0o111 != 0
}

/// Makes `path` absolute below `base` and takes out `//`, `.` and `..` by text alone; symbolic
/// links are not followed (see `fs.path.resolved` for the truth).
pub(super) fn normalise<'a>(base: &'a [u8], path: &'a [u8]) -> Cow<'a, [u8]> {
    let clean = path.starts_with(b"/") && !has_odd_component(path);
    if clean {
        return Cow::Borrowed(path);
    }
    if !path.starts_with(b"/") && base.is_empty() {
        // Nothing tells where a relative path starts.
        return Cow::Borrowed(path);
    }
    let from: &[u8] = if path.starts_with(b"/") { b"" } else { base };
    let mut out = spare::text();
    for part in from.split(|b| *b == b'/').chain(path.split(|b| *b == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => out.truncate(out.iter().rposition(|b| *b == b'/').unwrap_or(0)),
            part => {
                out.push(b'/');
                out.extend_from_slice(part);
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    Cow::Owned(out)
}

fn has_odd_component(path: &[u8]) -> bool {
    let mut parts = path.split(|b| *b == b'/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last_of_root = part.is_empty() && parts.peek().is_none() && path.len() == 1;
        if matches!(part, b"." | b"..") || (part.is_empty() && !last_of_root) {
            return true;
        }
    }
    false
}

/// Path of an open as the program gave it, absolute and normalised: `fd.name`.
pub(super) fn open_name(open: &RawOpen) -> Cow<'_, [u8]> {
    normalise(open.base.as_bytes(), open.arg.as_bytes())
}

/// The path an analyst wants: the kernel's where the file was opened, else the text.
pub(super) fn open_path(open: &RawOpen) -> Cow<'_, [u8]> {
    if open.path.is_empty() { open_name(open) } else { Cow::Borrowed(open.path.as_bytes()) }
}

/// What stands behind the last slash; none for a path that ends in one.
pub(super) fn file_name(path: &[u8]) -> Option<&[u8]> {
    path.rsplit(|b| *b == b'/').next().filter(|name| !name.is_empty())
}

/// What stands before the last slash; `/` for a file of the root.
pub(super) fn directory(path: &[u8]) -> Option<&[u8]> {
    let slash = path.iter().rposition(|b| *b == b'/')?;
    path.get(..slash.max(1))
}

/// Applies a slicing function to a path that is borrowed or made.
pub(super) fn part<'e>(path: Cow<'e, [u8]>, take: fn(&[u8]) -> Option<&[u8]>) -> Option<Cow<'e, [u8]>> {
    match path {
        Cow::Borrowed(path) => take(path).map(Cow::Borrowed),
        Cow::Owned(path) => {
            let part = take(&path).map(|part| {
                let mut out = spare::text();
                out.extend_from_slice(part);
                Cow::Owned(out)
            });
            Value::owned(path).recycle();
            part
        }
    }
}

/// Everything behind argv\[0\], joined by blanks; empty when there is nothing.
pub(super) fn arguments(args: &Args) -> Vec<u8> {
    let mut out = spare::text();
    for (n, arg) in args.iter().skip(1).enumerate() {
        if n > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(arg);
    }
    out
}

/// Command name and arguments: `proc.cmdline`.
pub(super) fn command_line(process: &Process) -> Vec<u8> {
    let mut out = spare::text();
    out.extend_from_slice(process.comm.as_bytes());
    for arg in process.args.iter().skip(1) {
        out.push(b' ');
        out.extend_from_slice(arg);
    }
    out
}

/// One-letter type of a file.
pub(super) const fn type_char(file: FileType) -> Option<&'static str> {
    Some(match file {
        FileType::File | FileType::Symlink | FileType::CharDevice | FileType::BlockDevice => "f",
        FileType::Dir => "d",
        FileType::Fifo => "p",
        FileType::Socket => "u",
        FileType::Unknown => return None,
    })
}

/// The address, when the endpoint is one.
pub(super) const fn socket_address(endpoint: Option<&Endpoint>) -> Option<SocketAddr> {
    if let Some(Endpoint::Ip(address)) = endpoint { Some(*address) } else { None }
}

/// `cip:cport->sip:sport` of a connect; for a unix socket its path.
pub(super) fn connection_name(connect: &RawConnect) -> Option<Vec<u8>> {
    let (near, far) = (connect.local.as_ref(), connect.remote.as_ref());
    // Where nobody is connected there is the name that the socket waits at.
    let (client, server) = match far {
        Some(_) if connect.server => (far, near),
        Some(_) => (near, far),
        None => (None, near.filter(|_| connect.server)),
    };
    let named = |end: &&Endpoint| !matches!(end, Endpoint::Unix(path) if path.is_empty());
    match server.filter(named).or(client.filter(named))? {
        Endpoint::Unix(path) => {
            let mut out = spare::text();
            out.extend_from_slice(path.as_bytes());
            Some(out)
        }
        Endpoint::Ip(server) => {
            let mut out = spare::string();
            // Writing to a string does not fail.
            if let Some(client) = socket_address(client) {
                let _ = write!(out, "{}:{}->", client.ip(), client.port());
            }
            let _ = write!(out, "{}:{}", server.ip(), server.port());
            Some(out.into_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_absolute_by_text() {
        let cases: [(&str, &str, &str); 9] = [
            ("/home/a", "x", "/home/a/x"),
            ("/home/a", "../b//c/.", "/home/b/c"),
            ("/", "../../etc", "/etc"),
            ("/home", "/etc/../etc/shadow", "/etc/shadow"),
            ("/home", "/etc/shadow", "/etc/shadow"),
            ("/home", "/", "/"),
            ("/home", "/..", "/"),
            ("", "x", "x"),
            ("/home", "//etc", "/etc"),
        ];
        for (base, path, want) in cases {
            let got = normalise(base.as_bytes(), path.as_bytes());
            assert_eq!(String::from_utf8_lossy(&got), want, "{base} + {path}");
        }
    }

    #[test]
    fn a_path_has_a_directory_and_a_name() {
        assert_eq!(directory(b"/etc/shadow"), Some(&b"/etc"[..]));
        assert_eq!(directory(b"/vmlinuz"), Some(&b"/"[..]));
        assert_eq!(file_name(b"/etc/shadow"), Some(&b"shadow"[..]));
        assert_eq!(file_name(b"/etc/"), None);
    }
}
