//! From records to typed events.

use crate::lean;
use bytes::Bytes;
use hostward_abi::record::{
    Body, CallBody, ConnectBody, ConnectionBody, DnsBody, ExitBody, Header, InodeFacts, OpenBody,
    ProcessBody, Record, SocketFacts, call_bit, cgroup_flag, close_bit, connection_bit, dns_bit, header_flag,
    kind, open_bit, open_call, process_flag,
};
use hostward_event::call;
use hostward_event::fact::SeedProcess;
use hostward_event::raw::{
    Args, Credentials, Endpoint, FileType, Inode, Layer, Namespaces, OpenCall, RawBody, RawCall, RawCgroup,
    RawCgroupChange, RawCloseWrite, RawConnect, RawConnectionEnd, RawDns, RawEvent, RawExec, RawFile,
    RawOpen, RawSignal, RawTask, Rung, SignalFate, Source, Usage,
};
use hostward_event::{EventKind, Text};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const EINPROGRESS: i64 = -115;
/// Which the kernel sets in every file of a 64-bit program, whatever that asked for.
#[cfg(target_arch = "x86_64")]
const O_LARGEFILE: u32 = 0o100_000;
#[cfg(target_arch = "aarch64")]
const O_LARGEFILE: u32 = 0o400_000;

/// What stands before a path whose front is missing, so that it does not pass for an absolute one.
const CUT_MARK: &[u8] = b".../";

// The ring's kinds are the event kinds' numbers.
const _: () = {
    assert!(EventKind::Exec as u8 == kind::EXEC);
    assert!(EventKind::Fork as u8 == kind::FORK);
    assert!(EventKind::Exit as u8 == kind::EXIT);
    assert!(EventKind::Open as u8 == kind::OPEN);
    assert!(EventKind::Connect as u8 == kind::CONNECT);
    assert!(EventKind::Cgroup as u8 == kind::CGROUP);
    assert!(EventKind::FIRST_CALL == kind::CALL);
    assert!(EventKind::FIRST_HOOK == kind::CONNECTION_END);
    assert!(EventKind::ConnectionEnd as u8 == kind::CONNECTION_END);
    assert!(EventKind::UdpSend as u8 == kind::UDP_SEND);
    assert!(EventKind::DnsQuestion as u8 == kind::DNS_QUESTION);
    assert!(EventKind::DnsAnswer as u8 == kind::DNS_ANSWER);
    assert!(EventKind::Signal as u8 == kind::SIGNAL);
    assert!(EventKind::CloseWrite as u8 == kind::CLOSE_WRITE);
    assert!(hostward_event::kind::KIND_NUMBERS <= kind::SEED as usize);
};

/// Turns a record around `bytes` into an event; none for a seed.
pub(crate) fn event(
    record: &Record<'_>,
    bytes: &Bytes,
    rung: Rung,
    received_boot_ns: u64,
) -> Option<RawEvent> {
    let header = &record.header;
    let body = match &record.body {
        Body::Process { body, texts } if header.kind == kind::EXEC => {
            RawBody::Exec(Box::new(exec(header, body, *texts, bytes)))
        }
        Body::Process { .. } => return None,
        Body::Fork(body) => RawBody::Fork {
            parent_start_boot_ns: body.parent_start_boot_ns,
            vpid: body.vpid,
            pid_ns: body.pid_ns,
        },
        Body::Exit(body) => {
            let (utime_ns, stime_ns) = cpu_times(body);
            let usage = Usage {
                max_rss_bytes: body.max_rss_pages.saturating_mul(rustix::param::page_size() as u64),
                minor_faults: body.minor_faults,
                major_faults: body.major_faults,
            };
            RawBody::Exit { status: body.status, utime_ns, stime_ns, usage }
        }
        Body::Open { body, texts } => RawBody::Open(Box::new(open(header, body, *texts, bytes))),
        Body::Close { body, texts } => RawBody::CloseWrite(Box::new(RawCloseWrite {
            fd: body.fd,
            flags: u64::from(body.flags & !O_LARGEFILE),
            path: walked(texts[0], body.bits & close_bit::PATH_CUT != 0),
            inode: inode(&body.inode),
            size_bytes: body.size_bytes,
            created: body.bits & close_bit::CREATED != 0,
        })),
        Body::Cgroup { body, texts } => RawBody::Cgroup(RawCgroupChange {
            id: body.id,
            path: share(bytes, texts[0]),
            v1: body.flags & cgroup_flag::V1 != 0,
            removed: body.flags & cgroup_flag::REMOVED != 0,
        }),
        Body::Connect { body, texts } => {
            let mut connect = connect(body, *texts, bytes);
            if header.flags & header_flag::LEAN != 0 {
                // The port was not chosen yet.
                connect.local = None;
            }
            RawBody::Connect(Box::new(connect))
        }
        Body::Connection(body) => RawBody::ConnectionEnd(Box::new(connection_end(header, body))),
        Body::Udp(body) => RawBody::UdpSend(Box::new(udp(&body.socket))),
        Body::Signal(body) => RawBody::Signal(Box::new(RawSignal {
            number: body.number,
            code: body.code,
            fate: SignalFate::from_number(body.result),
            target_pid: body.target_pid,
            target_start_boot_ns: body.target_start_boot_ns,
            target_comm: Text::copy(until_nul(&body.target_comm)),
        })),
        Body::Dns { body, payload } => RawBody::Dns(Box::new(dns(header, body, payload))),
        Body::Call { body, texts } => {
            let kind = EventKind::from_number(header.kind)?;
            RawBody::Call(Box::new(call(kind, header, body, *texts, bytes)))
        }
    };
    let rung = match (header.kind, header.flags) {
        (kind::UDP_SEND | kind::DNS_QUESTION | kind::DNS_ANSWER, _) => Rung::Cgroup,
        (_, flags) if flags & header_flag::URING != 0 => Rung::IoUring,
        (_, flags) if flags & header_flag::FEXIT != 0 => Rung::Fentry,
        _ => rung,
    };
    let source = Source {
        rung,
        cpu: header.cpu,
        stream: stream(row(header)),
        seq: header.seq,
        boot_ns: header.boot_ns,
        received_boot_ns,
    };
    Some(RawEvent { source, task: task(header, bytes), body })
}

/// Where the programs count a record.
pub(crate) const fn row(header: &Header) -> u8 {
    if header.flags & header_flag::URING == 0 { header.kind } else { header.kind | kind::URING }
}

/// [`Source::stream`] of what is counted there: 0 where a kind's own number is the row.
pub(crate) const fn stream(row: u8) -> u8 {
    match row {
        kind::OPEN_APART..=kind::OPEN_LAST | kind::OPEN_SAMPLED | kind::CONNECT_SAMPLED => row,
        row if row & kind::URING != 0 => row,
        _ => 0,
    }
}

/// Turns a record around `bytes` into a seed; none for an event.
pub(crate) fn seed(record: &Record<'_>, bytes: &Bytes) -> Option<SeedProcess> {
    let header = &record.header;
    let Body::Process { body, texts } = &record.body else {
        return None;
    };
    if header.kind != kind::SEED {
        return None;
    }
    let [_, path, _, cwd, leaf, parent, ..] = *texts;
    let kernel_thread = body.flags & process_flag::KERNEL_THREAD != 0;
    let program =
        if kernel_thread { Text::EMPTY } else { walked(path, body.flags & process_flag::PATH_CUT != 0) };
    Some(SeedProcess {
        pid: header.pid,
        ppid: header.ppid,
        start_boot_ns: header.start_boot_ns,
        comm: comm(header, bytes),
        path: program,
        args: Args::default(),
        cwd: walked(cwd, body.flags & process_flag::CWD_CUT != 0),
        exe: inode(&body.exe),
        creds: credentials(body),
        ns: namespaces(body),
        tty: body.tty,
        loginuid: body.loginuid,
        audit_session: body.audit_session,
        sid: body.sid,
        pgid: body.pgid,
        vpid: body.vpid,
        cgroup: cgroup(header, leaf, parent, bytes),
        cgroup_path: Text::EMPTY,
    })
}

fn share(bytes: &Bytes, part: &[u8]) -> Text {
    if part.is_empty() { Text::EMPTY } else { Text::new(bytes.slice_ref(part)) }
}

fn until_nul(name: &[u8]) -> &[u8] {
    name.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn comm(header: &Header, bytes: &Bytes) -> Text {
    let end = until_nul(&header.comm).len();
    // The name is the header's last field.
    let start = size_of::<Header>() - header.comm.len();
    share(bytes, bytes.get(start..start + end).unwrap_or_default())
}

fn task(header: &Header, bytes: &Bytes) -> RawTask {
    RawTask {
        pid: header.pid,
        tid: header.tid,
        ppid: header.ppid,
        start_boot_ns: header.start_boot_ns,
        euid: header.euid,
        egid: header.egid,
        cgroup_id: header.cgroup_id,
        comm: comm(header, bytes),
    }
}

/// Turns components, the file's own first and each with its NUL, into a path.
fn walked(components: &[u8], cut: bool) -> Text {
    let whole = components.strip_suffix(b"\0").unwrap_or(components);
    let mut path = Vec::with_capacity(components.len() + CUT_MARK.len());
    path.extend_from_slice(if cut { CUT_MARK } else { b"/" });
    let mut first = true;
    for component in whole.rsplit(|byte| *byte == 0).filter(|component| !component.is_empty()) {
        if !first {
            path.push(b'/');
        }
        first = false;
        // A file in no directory may have a name like a path: `memfd:x`, `/memfd:x`.
        path.extend_from_slice(component.strip_prefix(b"/").unwrap_or(component));
    }
    Text::from(path)
}

/// A path as the kernel wrote it, of a file with `links`. Of one without a name the kernel says so in the text.
fn written(path: &[u8], links: u32, bytes: &Bytes) -> Text {
    let bare = path.strip_suffix(b" (deleted)").filter(|_| links == 0);
    share(bytes, bare.unwrap_or(path))
}

fn inode(facts: &InodeFacts) -> Inode {
    let time = |seconds: i64, nanoseconds: u32| {
        // Since 6.13 the upper bits of the change time's ns are flags.
        seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(nanoseconds & 0x3fff_ffff))
    };
    Inode {
        ino: facts.ino,
        dev: facts.dev,
        mode: facts.mode,
        nlink: facts.nlink,
        uid: facts.uid,
        gid: facts.gid,
        ctime_ns: time(facts.ctime_s, facts.ctime_ns),
        mtime_ns: time(facts.mtime_s, facts.mtime_ns),
    }
}

fn credentials(body: &ProcessBody) -> Credentials {
    let [uid, gid, suid, sgid, euid, egid, fsuid, fsgid] = body.ids;
    let [cap_inheritable, cap_permitted, cap_effective, cap_bounding, cap_ambient] = body.caps;
    Credentials {
        uid,
        gid,
        suid,
        sgid,
        euid,
        egid,
        fsuid,
        fsgid,
        cap_inheritable,
        cap_permitted,
        cap_effective,
        cap_bounding,
        cap_ambient,
    }
}

const fn namespaces(body: &ProcessBody) -> Namespaces {
    let [mnt, pid, net, uts, ipc, cgroup, user] = body.namespaces;
    Namespaces { mnt, pid, net, uts, ipc, cgroup, user }
}

fn cgroup(header: &Header, leaf: &[u8], parent: &[u8], bytes: &Bytes) -> RawCgroup {
    let v1 = header.flags & header_flag::CGROUP_V1 != 0;
    RawCgroup { id: header.cgroup_id, v1, leaf: share(bytes, leaf), parent: share(bytes, parent) }
}

fn exec(header: &Header, body: &ProcessBody, texts: [&[u8]; 8], bytes: &Bytes) -> RawExec {
    let [filename, path, args, cwd, leaf, parent, environment, _] = texts;
    let flag = |flag: u32| body.flags & flag != 0;
    let is_lean = header.flags & header_flag::LEAN != 0;
    let after = if is_lean {
        lean::after_start(header)
    } else {
        let total_bytes = u32::try_from(body.args_bytes).unwrap_or(u32::MAX);
        (Args { raw: share(bytes, args), total_bytes }, walked(cwd, flag(process_flag::CWD_CUT)))
    };
    // No directory has it, so a file of that name is told by having no other.
    let is_memfd = is_lean && body.exe.nlink == 0 && path.starts_with(b"/memfd:");
    RawExec {
        filename: share(bytes, filename),
        path: if is_lean {
            written(path, body.exe.nlink, bytes)
        } else {
            walked(path, flag(process_flag::PATH_CUT))
        },
        args: after.0,
        cwd: after.1,
        exe: inode(&body.exe),
        memfd: is_memfd || flag(process_flag::MEMFD),
        layer: if flag(process_flag::UPPER_LAYER) {
            Some(Layer::Upper)
        } else {
            flag(process_flag::LOWER_LAYER).then_some(Layer::Lower)
        },
        script: flag(process_flag::SCRIPT),
        environment: share(bytes, environment),
        init_start_boot_ns: body.init_start_boot_ns,
        creds: credentials(body),
        ns: namespaces(body),
        tty: body.tty,
        loginuid: body.loginuid,
        audit_session: body.audit_session,
        sid: body.sid,
        pgid: body.pgid,
        vpid: body.vpid,
        vpgid: body.vpgid,
        vsid: body.vsid,
        cgroup: cgroup(header, leaf, parent, bytes),
        stdin: FileType::from_mode(u32::from(body.stdin_mode)),
        stdout: FileType::from_mode(u32::from(body.stdout_mode)),
        killed: flag(process_flag::KILLED),
    }
}

/// User and system time as getrusage tells them: the exact sum from the scheduler, split as the
/// tick samples were (cputime_adjust, kernel/sched/cputime.c).
fn cpu_times(body: &ExitBody) -> (u64, u64) {
    let (utime, stime, total) = (body.utime_ns, body.stime_ns, body.runtime_ns);
    if stime == 0 {
        return (total, 0);
    }
    if utime == 0 {
        return (0, total);
    }
    let system = u128::from(stime) * u128::from(total) / (u128::from(stime) + u128::from(utime));
    let system = u64::try_from(system).unwrap_or(total);
    (total.saturating_sub(system), system)
}

fn open(header: &Header, body: &OpenBody, texts: [&[u8]; 4], bytes: &Bytes) -> RawOpen {
    let [arg, base, path, _] = texts;
    let bit = |bit: u32| body.bits & bit != 0;
    let of_file = bit(open_bit::FILE);
    RawOpen {
        call: match body.call {
            open_call::OPEN => OpenCall::Open,
            open_call::OPENAT2 => OpenCall::Openat2,
            open_call::CREAT => OpenCall::Creat,
            _ => OpenCall::Openat,
        },
        flags: body.flags,
        mode: body.mode,
        result: body.result,
        dirfd: body.dirfd,
        arg: share(bytes, arg),
        base: if bit(open_bit::BASE) { walked(base, bit(open_bit::BASE_CUT)) } else { Text::EMPTY },
        path: match of_file {
            true if header.flags & header_flag::LEAN != 0 => written(path, body.inode.nlink, bytes),
            true => walked(path, bit(open_bit::PATH_CUT)),
            false => Text::EMPTY,
        },
        inode: if of_file { inode(&body.inode) } else { Inode::default() },
        created: bit(open_bit::CREATED),
        shared_memory: header.flags & header_flag::SHARED_MEMORY != 0,
    }
}

/// An address; IPv4 in IPv6 is told as the IPv4 that it is, so that a rule on an IPv4 network
/// cannot be passed by.
fn endpoint(family: u16, address: [u8; 16], port: u16) -> Option<Endpoint> {
    let ip = match family {
        AF_INET => {
            let [a, b, c, d, ..] = address;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        AF_INET6 => Ipv6Addr::from(address).to_canonical(),
        _ => return None,
    };
    Some(Endpoint::Ip(SocketAddr::new(ip, port)))
}

/// A unix name: a path ends at its first NUL, an abstract name begins with one and has its length.
fn unix_name(name: &[u8], bytes: &Bytes) -> Option<Endpoint> {
    let end = match name.first() {
        None => return None,
        Some(0) => name.len(),
        Some(_) => name.iter().position(|byte| *byte == 0).unwrap_or(name.len()),
    };
    Some(Endpoint::Unix(share(bytes, name.get(..end).unwrap_or_default())))
}

fn connect(body: &ConnectBody, texts: [&[u8]; 4], bytes: &Bytes) -> RawConnect {
    let [remote_name, local_name, ..] = texts;
    let socket = &body.socket;
    let went_out = body.result == 0 || body.result == EINPROGRESS;
    let far = |family| endpoint(family, socket.remote, u16::from_be(socket.remote_port));
    let remote = if body.family == AF_UNIX {
        unix_name(remote_name, bytes)
    } else if went_out && matches!(socket.family, AF_INET | AF_INET6) {
        // The program took it from the socket. AF_UNSPEC dissolves an association: no remote.
        let known = matches!(body.family, AF_INET | AF_INET6);
        known.then(|| far(socket.family)).flatten()
    } else {
        far(body.family)
    };
    RawConnect {
        fd: body.fd,
        result: body.result,
        family: body.family,
        sock_type: socket.socket_type,
        protocol: socket.protocol,
        remote,
        local: near(socket, local_name, bytes),
        server: false,
    }
}

fn connection_end(header: &Header, body: &ConnectionBody) -> RawConnectionEnd {
    let socket = &body.socket;
    let bit = |bit: u32| body.bits & bit != 0;
    let counted = |bytes| bit(connection_bit::BYTES).then_some(bytes);
    RawConnectionEnd {
        socket: RawConnect {
            fd: -1,
            result: 0,
            family: socket.family,
            sock_type: socket.socket_type,
            protocol: socket.protocol,
            remote: endpoint(socket.family, socket.remote, u16::from_be(socket.remote_port)),
            local: endpoint(socket.family, socket.local, socket.local_port),
            server: bit(connection_bit::SERVER),
        },
        duration_ns: bit(connection_bit::SINCE).then(|| header.boot_ns.saturating_sub(body.since_boot_ns)),
        sent_bytes: counted(body.sent_bytes),
        received_bytes: counted(body.received_bytes),
        owned: bit(connection_bit::OWNER),
    }
}

/// A UDP socket of a hook; the far end is the one that the hook has.
fn udp(socket: &SocketFacts) -> RawConnect {
    RawConnect {
        fd: -1,
        result: 0,
        family: socket.family,
        sock_type: socket.socket_type,
        protocol: socket.protocol,
        remote: endpoint(socket.family, socket.remote, u16::from_be(socket.remote_port)),
        local: near(socket, &[], &Bytes::new()),
        server: false,
    }
}

fn dns(header: &Header, body: &DnsBody, payload: &[u8]) -> RawDns {
    let (message, whole) = crate::dns::message(payload);
    RawDns {
        socket: udp(&body.socket),
        answer: header.kind == kind::DNS_ANSWER,
        owned: body.bits & dns_bit::OWNER != 0,
        message,
        complete: whole,
    }
}

/// The near end of a socket; none when it has no address.
fn near(socket: &SocketFacts, name: &[u8], bytes: &Bytes) -> Option<Endpoint> {
    if socket.family == AF_UNIX {
        unix_name(name, bytes)
    } else if socket.local_port == 0 && socket.local == [0; 16] {
        None
    } else {
        endpoint(socket.family, socket.local, socket.local_port)
    }
}

fn call(kind: EventKind, header: &Header, body: &CallBody, texts: [&[u8]; 10], bytes: &Bytes) -> RawCall {
    let [first, second, third, base, second_base, path, data, name, resolved, second_resolved] = texts;
    let bit = |bit: u32| body.bits & bit != 0;
    let text = |text: &[u8]| share(bytes, text.strip_suffix(b"\0").unwrap_or(text));
    let known =
        |path: &[u8], known: u32, cut: u32| if bit(known) { walked(path, bit(cut)) } else { Text::EMPTY };
    let file = || {
        let path = walked(path, bit(call_bit::PATH_CUT));
        Box::new(RawFile { path, inode: inode(&body.inode) })
    };
    let is_socket = bit(call_bit::SOCKET);
    let file = (bit(call_bit::FILE) && !is_socket).then(file);
    let (file, opened) = if kind == EventKind::OpenTree { tree(body.args[2], file) } else { (file, None) };
    let first_resolved =
        opened.unwrap_or_else(|| known(resolved, call_bit::RESOLVED, call_bit::RESOLVED_CUT));
    RawCall {
        kind,
        result: body.result,
        args: body.args,
        texts: [text(first), text(second), text(third)],
        bases: [
            known(base, call_bit::BASE, call_bit::BASE_CUT),
            known(second_base, call_bit::SECOND_BASE, call_bit::SECOND_BASE_CUT),
        ],
        resolved: [
            first_resolved,
            known(second_resolved, call_bit::SECOND_RESOLVED, call_bit::SECOND_RESOLVED_CUT),
        ],
        file,
        socket: is_socket.then(|| Box::new(socket(kind, body, name, data, bytes))),
        data: share(bytes, data),
        shared_memory: header.flags & header_flag::SHARED_MEMORY != 0,
    }
}

/// The file that open_tree gave, and its path, which is the one that the call is about. But what it gives of a copy
/// (`OPEN_TREE_CLONE`, `OPEN_TREE_NAMESPACE`, include/uapi/linux/mount.h) has its root where the path leads, and is in
/// no tree that has a name.
fn tree(flags: u64, file: Option<Box<RawFile>>) -> (Option<Box<RawFile>>, Option<Text>) {
    const COPIES: u64 = 1 | 2;
    let file = file.filter(|_| flags & COPIES == 0);
    let path = file.as_ref().map(|file| file.path.clone());
    (file, path)
}

/// `TCP_ESTABLISHED`, which every connected protocol's sockets have for their state.
const ESTABLISHED: u32 = 1;

/// The socket of a call, and the address that the call was given.
fn socket(kind: EventKind, body: &CallBody, name: &[u8], data: &[u8], bytes: &Bytes) -> RawConnect {
    let facts = &body.socket;
    let fd = call::find(kind).and_then(call::Spec::descriptor).map_or(-1, |param| {
        body.args
            .get(usize::from(param.at))
            .map_or(body.result, |argument| i64::from(*argument as u32 as i32))
    });
    let given = given_address(data, bytes);
    let far = (facts.state == ESTABLISHED && matches!(facts.family, AF_INET | AF_INET6))
        .then(|| endpoint(facts.family, facts.remote, u16::from_be(facts.remote_port)))
        .flatten();
    let near = near(facts, name, bytes);
    let (remote, local) = match kind {
        EventKind::Bind => (None, given.or(near)),
        EventKind::Sendto => (given.or(far), near),
        _ => (far, near),
    };
    RawConnect {
        fd: i32::try_from(fd).unwrap_or(-1),
        result: body.result,
        family: facts.family,
        sock_type: facts.socket_type,
        protocol: facts.protocol,
        remote,
        local,
        server: matches!(kind, EventKind::Bind | EventKind::Listen | EventKind::Accept | EventKind::Accept4),
    }
}

/// A `struct sockaddr` of the caller's memory.
fn given_address(data: &[u8], bytes: &Bytes) -> Option<Endpoint> {
    let family = u16::from_ne_bytes(data.get(..2)?.try_into().ok()?);
    if family == AF_UNIX {
        return unix_name(data.get(2..)?, bytes);
    }
    let port = u16::from_be_bytes(data.get(2..4)?.try_into().ok()?);
    let mut address = [0; 16];
    let (at, length) = if family == AF_INET { (4, 4) } else { (8, 16) };
    address.get_mut(..length)?.copy_from_slice(data.get(at..at + length)?);
    endpoint(family, address, port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostward_abi::Wire;
    use hostward_abi::record::{CloseBody, DNS_ANSWER_BYTES, DNS_QUESTION_BYTES, SignalBody, UdpBody};
    use hostward_abi::record::{Malformed, NAME_BYTES_MAX};
    use proptest::prelude::*;

    #[test]
    fn a_walk_is_turned_round() {
        assert_eq!(walked(b"passwd\0etc\0", false), Text::from("/etc/passwd"));
        assert_eq!(walked(b"", false), Text::from("/"));
        assert_eq!(walked(b"x\0deep\0", true), Text::from(".../deep/x"));
        assert_eq!(walked(b"memfd:run\0", false), Text::from("/memfd:run"));
        assert_eq!(walked(b"a\xff\0b\0", false), Text::copy(b"/b/a\xff"));
    }

    #[test]
    fn cpu_time_is_split_as_the_ticks_were() {
        let body = |utime_ns, stime_ns, runtime_ns| ExitBody {
            utime_ns,
            stime_ns,
            runtime_ns,
            status: 0,
            max_rss_pages: 0,
            minor_faults: 0,
            major_faults: 0,
            reserved: 0,
        };
        assert_eq!(cpu_times(&body(0, 0, 700)), (700, 0));
        assert_eq!(cpu_times(&body(0, 4_000_000, 900)), (0, 900));
        assert_eq!(cpu_times(&body(3_000_000, 1_000_000, 8_000_000)), (6_000_000, 2_000_000));
        assert_eq!(cpu_times(&body(u64::MAX, u64::MAX, u64::MAX)).0, u64::MAX - u64::MAX / 2);
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_that_it_is() {
        let mapped = Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped().octets();
        let expected: SocketAddr = "192.0.2.7:443".parse().unwrap();
        assert_eq!(endpoint(AF_INET6, mapped, 443), Some(Endpoint::Ip(expected)));
    }

    /// Where a kind's `text_bytes` begin in a record, and how many they are.
    const TEXTS: [(u8, usize, usize); 12] = [
        (kind::EXEC, Header::BYTES + ProcessBody::BYTES - 16, 8),
        (kind::SEED, Header::BYTES + ProcessBody::BYTES - 16, 8),
        (kind::OPEN, Header::BYTES + OpenBody::BYTES - 8, 4),
        (kind::CONNECT, Header::BYTES + ConnectBody::BYTES - 8, 4),
        (EventKind::Bind as u8, Header::BYTES + CallBody::BYTES - 20, 10),
        (EventKind::Renameat2 as u8, Header::BYTES + CallBody::BYTES - 20, 10),
        (kind::CONNECTION_END, Header::BYTES + ConnectionBody::BYTES, 0),
        (kind::UDP_SEND, Header::BYTES + UdpBody::BYTES, 0),
        (kind::SIGNAL, Header::BYTES + SignalBody::BYTES, 0),
        (kind::CLOSE_WRITE, Header::BYTES + CloseBody::BYTES - 4, 2),
        (kind::DNS_QUESTION, Header::BYTES + DnsBody::BYTES - 12, 0),
        (kind::DNS_ANSWER, Header::BYTES + DnsBody::BYTES - 12, 0),
    ];

    /// A record that only a program could have written: any values, lengths that add up.
    fn record() -> impl Strategy<Value = Vec<u8>> {
        let texts = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..NAME_BYTES_MAX as usize), 10);
        (prop::sample::select(TEXTS.to_vec()), prop::collection::vec(any::<u8>(), 1200), texts).prop_map(
            |((kind, at, count), noise, texts)| {
                let fixed = match kind {
                    kind::OPEN => OpenBody::BYTES,
                    kind::CONNECT => ConnectBody::BYTES,
                    kind::CONNECTION_END => ConnectionBody::BYTES,
                    kind::UDP_SEND => UdpBody::BYTES,
                    kind::SIGNAL => SignalBody::BYTES,
                    kind::CLOSE_WRITE => CloseBody::BYTES,
                    kind::DNS_QUESTION => DnsBody::BYTES + DNS_QUESTION_BYTES,
                    kind::DNS_ANSWER => DnsBody::BYTES + DNS_ANSWER_BYTES,
                    kind::CALL..kind::SEED => CallBody::BYTES,
                    _ => ProcessBody::BYTES,
                };
                let mut record = noise[..Header::BYTES + fixed].to_vec();
                for (index, text) in texts.iter().take(count).enumerate() {
                    record[at + index * 2..][..2].copy_from_slice(&(text.len() as u16).to_ne_bytes());
                    record.extend_from_slice(text);
                }
                if matches!(kind, kind::DNS_QUESTION | kind::DNS_ANSWER) {
                    // How much was taken: at most all of the room.
                    let taken = u32::from(noise[0]) + 1;
                    record[at..at + 4].copy_from_slice(&taken.to_ne_bytes());
                }
                let len = record.len() as u32;
                record[..4].copy_from_slice(&len.to_ne_bytes());
                (record[4], record[5]) = (kind, hostward_abi::VERSION);
                record
            },
        )
    }

    fn decode(bytes: Vec<u8>) -> Result<(), Malformed> {
        let bytes = Bytes::from(bytes);
        let record = Record::parse(&bytes)?;
        let told = event(&record, &bytes, Rung::BtfTracepoint, 0).is_some();
        assert_eq!(told, seed(&record, &bytes).is_none(), "a record is an event or a seed");
        Ok(())
    }

    proptest! {
        #[test]
        fn any_record_of_a_program_is_decoded(record in record()) {
            prop_assert_eq!(decode(record), Ok(()));
        }

        #[test]
        fn a_changed_record_does_no_harm(
            mut record in record(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            for (at, byte) in changes {
                let at = at.index(record.len());
                record[at] = byte;
            }
            let _ = decode(record.clone());
            record.truncate(cut.index(record.len()));
            prop_assert!(decode(record).is_err(), "its length is no more what it says");
        }

        #[test]
        fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = decode(bytes);
        }
    }
}
