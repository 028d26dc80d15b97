//! open and connect: what a child did, compared with what the sensor tells.
use crate::common::{Watch, argument, can_observe, has_trampolines, named};
use hostward_event::Text;
use hostward_event::plan::OpenClass;
use hostward_event::raw::{Endpoint, OpenCall, RawBody, RawConnect, RawEvent, RawOpen, Rung};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

fn text(path: &Path) -> Text {
    Text::copy(path.as_os_str().as_bytes())
}

/// The opens of `pid` whose argument ends in `tail`.
fn opens(watch: &Watch, pid: u32, tail: &str) -> Vec<(RawEvent, RawOpen)> {
    let all = watch.so_far(|event| event.task.pid == pid);
    let open = |event: RawEvent| match event.body.clone() {
        RawBody::Open(open) if open.arg.as_bytes().ends_with(tail.as_bytes()) => Some((event, *open)),
        _ => None,
    };
    all.into_iter().filter_map(open).collect()
}

fn only(watch: &Watch, pid: u32, tail: &str) -> (RawEvent, RawOpen) {
    let mut found = opens(watch, pid, tail);
    assert_eq!(found.len(), 1, "opens of {tail}: {found:?}");
    found.remove(0)
}

const ALL_NAMES: [(&str, OpenClass); 1] = [("watched-dir", OpenClass::ALL)];

#[test]
fn opens_are_told_with_flags_result_and_file() {
    if !can_observe("opens_are_told_with_flags_result_and_file") {
        return;
    }
    let watch = Watch::new(&named(&ALL_NAMES));
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("watched-dir");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("present"), "x").unwrap();
    std::os::unix::fs::symlink(place.join("present"), place.join("link")).unwrap();
    let (pid, _) = crate::common::run(crate::common::child("opens", &[&place]));
    watch.exited(pid);

    let present = fs::metadata(place.join("present")).unwrap();
    let (event, read) = only(&watch, pid, "watched-dir/present");
    let rung = if has_trampolines() { Rung::Fentry } else { Rung::SyscallTracepoint };
    assert_eq!(event.source.rung, rung);
    assert_eq!((event.task.pid, event.task.ppid), (pid, std::process::id()));
    assert_ne!(event.task.tid, pid, "the test harness opens from a thread");
    assert_eq!(read.call, OpenCall::Openat);
    assert_eq!((read.flags & 3, read.dirfd), (0, -100));
    assert!(read.result >= 0 && !read.created);
    assert_eq!(read.path, text(&place.join("present")));
    assert_eq!(read.base, Text::EMPTY);
    assert_eq!((read.inode.ino, read.inode.mode, read.inode.nlink), (present.ino(), present.mode(), 1));

    let (_, link) = only(&watch, pid, "watched-dir/link");
    assert_eq!(link.path, text(&place.join("present")), "the file, not the name");

    let (_, created) = only(&watch, pid, "watched-dir/fresh");
    assert!(created.created);
    assert_eq!((created.flags & 0o101, created.mode), (0o101, 0o640));
    assert_eq!(created.path, text(&place.join("fresh")));

    let (_, absent) = only(&watch, pid, "watched-dir/absent");
    assert_eq!(absent.result, -2);
    assert_eq!((absent.path, absent.inode), (Text::EMPTY, Default::default()));

    let (_, relative) = only(&watch, pid, "sub/../present");
    assert!(relative.dirfd >= 0);
    assert_eq!(relative.base, text(&place));
    assert_eq!(relative.path, text(&place.join("present")));

    // A relative name that fails: only its base tells that it is below a watched name.
    let (_, lost) = only(&watch, pid, "not-here");
    assert_eq!((lost.result, lost.base), (-2, text(&place)));

    let (_, second) = only(&watch, pid, "watched-dir/by-openat2");
    assert_eq!((second.call, second.mode), (OpenCall::Openat2, 0o600));
    assert!(second.created);
    assert_eq!(second.flags & 0o102, 0o102);

    #[cfg(target_arch = "x86_64")]
    {
        let (_, old) = only(&watch, pid, "watched-dir/by-open");
        assert_eq!((old.call, old.result, old.flags & 3), (OpenCall::Open, -2, 0));
        let (_, creat) = only(&watch, pid, "watched-dir/by-creat");
        assert_eq!((creat.call, creat.flags, creat.mode), (OpenCall::Creat, 0o1101, 0o604));
        assert!(creat.created);
    }
}

#[test]
fn opens_that_nobody_wants_stay_in_the_kernel() {
    if !can_observe("opens_that_nobody_wants_stay_in_the_kernel") {
        return;
    }
    let names = [
        ("readable", OpenClass::READ),
        ("sixteen-bytes-and-more", OpenClass::READ),
        ("refused", OpenClass::READ_FAILED),
    ];
    let watch = Watch::new(&named(&names));
    let directory = tempfile::tempdir().unwrap();
    let (pid, _) = crate::common::run(crate::common::child("unwatched", &[directory.path()]));
    watch.exited(pid);
    let seen: Vec<String> = opens(&watch, pid, "").iter().map(|(_, open)| open.arg.to_string()).collect();
    let tail = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let expected = [
        tail("readable"),
        tail("sixteen-bytes-and-more"),
        // The same first sixteen bytes: the kernel lets it pass, user space decides.
        tail("sixteen-bytes-and-less"),
        tail("refused"),
        tail("refused/deep/name"),
    ];
    assert_eq!(seen, expected);
}

/// The connect of `pid` that `wanted` likes.
fn connect(watch: &Watch, pid: u32, what: &str, wanted: impl Fn(&RawConnect) -> bool) -> RawConnect {
    let all = watch.so_far(|event| event.task.pid == pid);
    let mut found: Vec<RawConnect> = all
        .into_iter()
        .filter_map(|event| match event.body {
            RawBody::Connect(connect) if wanted(&connect) => Some(*connect),
            _ => None,
        })
        .collect();
    assert_eq!(found.len(), 1, "{what}: {found:?}");
    found.remove(0)
}

fn ip(address: &str) -> Option<Endpoint> {
    Some(Endpoint::Ip(address.parse().unwrap()))
}

#[test]
fn connects_are_told_with_addresses_and_result() {
    if !can_observe("connects_are_told_with_addresses_and_result") {
        return;
    }
    let watch = Watch::new(&named(&[]));
    let directory = tempfile::tempdir().unwrap();
    let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
    let v6 = TcpListener::bind("[::1]:0");
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let v6_port = v6.as_ref().map_or(0, port);
    // A port that nobody listens on.
    let closed = port(&TcpListener::bind("127.0.0.1:0").unwrap());
    let socket = directory.path().join("socket\u{e9}");
    let listener = UnixListener::bind(&socket).unwrap();
    let ports = format!("{} {v6_port} {closed}", port(&v4));
    let (pid, _) =
        crate::common::run(crate::common::child("connects", &[directory.path(), Path::new(&ports)]));
    watch.exited(pid);

    let to_v4 = ip(&format!("127.0.0.1:{}", port(&v4)));
    let good = connect(&watch, pid, "IPv4", |c| c.remote == to_v4 && c.result == 0 && c.family == 2);
    assert_eq!((good.sock_type, good.protocol), (1, 6));
    assert!(good.fd > 2);
    let Some(Endpoint::Ip(local)) = good.local else { panic!("{good:?}") };
    assert_eq!(local.ip(), Ipv4Addr::LOCALHOST);
    assert_ne!(local.port(), 0);

    let refused = connect(&watch, pid, "refused", |c| c.result == -111 && c.family == 2);
    assert_eq!(refused.remote, ip(&format!("127.0.0.1:{closed}")));

    let started = connect(&watch, pid, "non-blocking", |c| c.result == -115);
    assert_eq!(started.remote, ip(&format!("127.0.0.1:{}", port(&v4))));

    let udp = connect(&watch, pid, "UDP", |c| c.protocol == 17 && c.family == 2);
    assert_eq!((udp.result, udp.sock_type, udp.remote), (0, 2, ip("127.0.0.1:53")));
    let dissolved = connect(&watch, pid, "AF_UNSPEC", |c| c.family == 0 && c.sock_type == 2);
    assert_eq!((dissolved.result, dissolved.remote), (0, None));

    if v6_port == 0 {
        println!("skipped the IPv6 part: no ::1 here");
    } else {
        let to_v6 = ip(&format!("[::1]:{v6_port}"));
        let good = connect(&watch, pid, "IPv6", |c| c.family == 10 && c.remote == to_v6);
        assert_eq!((good.result, good.sock_type), (0, 1));
        let Some(Endpoint::Ip(local)) = good.local else { panic!("{good:?}") };
        assert_eq!(local.ip(), Ipv6Addr::LOCALHOST);
        // IPv4 in IPv6 does not hide an IPv4 address.
        let mapped = connect(&watch, pid, "mapped", |c| c.family == 10 && c.remote == to_v4);
        assert_eq!(mapped.result, 0);
    }

    let unix = connect(&watch, pid, "unix", |c| c.family == 1 && c.result == 0 && c.sock_type == 1);
    assert_eq!(unix.remote, Some(Endpoint::Unix(text(&socket))));
    let gone = connect(&watch, pid, "unix, absent", |c| c.family == 1 && c.result == -2);
    assert_eq!(gone.remote, Some(Endpoint::Unix(text(&directory.path().join("none")))));
    let hidden = connect(&watch, pid, "abstract", |c| c.family == 1 && c.result == -111);
    assert_eq!(hidden.remote, Some(Endpoint::Unix(Text::copy(b"\0hostward-nobody"))));
    let bound = connect(&watch, pid, "bound client", |c| c.family == 1 && c.sock_type == 2);
    assert_eq!(bound.local, Some(Endpoint::Unix(text(&directory.path().join("client")))));

    let no_socket = connect(&watch, pid, "no socket", |c| c.result == -88);
    assert_eq!((no_socket.sock_type, no_socket.remote), (0, ip("127.0.0.1:9")));
    let bad = connect(&watch, pid, "address too short", |c| c.result == -22);
    assert_eq!((bad.remote, bad.local), (None, None));
    drop(listener);
}

/// What the agent itself opens and connects to is not its business.
#[test]
fn the_agent_does_not_report_itself() {
    if !can_observe("the_agent_does_not_report_itself") {
        return;
    }
    let watch = Watch::new(&crate::common::everything());
    let own = fs::File::open("/etc/hostname").is_ok();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (pid, _) = crate::common::run(crate::common::child("nothing", &[]));
    // Not by its exit, which overtakes opens in a flood.
    watch.event("the child's start opens libraries", |event| {
        event.task.pid == pid && matches!(event.body, RawBody::Open(_))
    });
    let me = std::process::id();
    let calls = watch
        .so_far(|event| event.task.pid == me && matches!(event.body, RawBody::Open(_) | RawBody::Connect(_)));
    assert!(calls.is_empty(), "opened: {own}, told: {calls:?}");
}

/// What the children of the tests above do.
pub(crate) fn child(task: &str) {
    match task {
        "opens" => do_opens(&argument(0)),
        "unwatched" => do_unwatched(&argument(0)),
        "connects" => do_connects(&argument(0), argument(1).to_str().unwrap()),
        _ => {}
    }
}

fn do_opens(place: &Path) {
    let read = OFlags::RDONLY | OFlags::CLOEXEC;
    let plain = Mode::empty();
    fs::File::open(place.join("present")).unwrap();
    rustix::fs::open(place.join("link"), read, plain).unwrap();
    rustix::fs::open(place.join("fresh"), OFlags::WRONLY | OFlags::CREATE, Mode::from_raw_mode(0o640))
        .unwrap();
    rustix::fs::open(place.join("absent"), read, plain).unwrap_err();
    fs::create_dir(place.join("sub")).unwrap();
    let base = rustix::fs::open(place, OFlags::PATH, plain).unwrap();
    rustix::fs::openat(&base, "sub/../present", read, plain).unwrap();
    rustix::fs::openat(&base, "not-here", read, plain).unwrap_err();
    let create = OFlags::RDWR | OFlags::CREATE;
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::openat2(&base, place.join("by-openat2"), create, mode, ResolveFlags::empty()).unwrap();
    #[cfg(target_arch = "x86_64")]
    {
        let name = |file: &str| std::ffi::CString::new(place.join(file).as_os_str().as_bytes()).unwrap();
        assert_eq!(old_call(2, &name("by-open"), 0, 0), -2);
        assert!(old_call(85, &name("by-creat"), 0o604, 0) >= 0);
    }
}

/// open(2) and creat(2), which no library calls any more.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "a system call that no library makes")]
fn old_call(number: i64, path: &std::ffi::CStr, second: u64, third: u64) -> i64 {
    let result: i64;
    // SAFETY: open and creat read the string, which lives, and touch no other memory.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") path.as_ptr(),
            in("rsi") second,
            in("rdx") third,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

fn do_unwatched(place: &Path) {
    for name in ["readable", "unrelated", "readable-not", "sixteen-bytes-and-more", "sixteen-bytes-and-less"]
    {
        fs::write(place.join(name), "x").unwrap();
    }
    for name in ["readable", "unrelated", "readable-not", "sixteen-bytes-and-more", "sixteen-bytes-and-less"]
    {
        fs::File::open(place.join(name)).unwrap();
    }
    // Reading is wanted of it, writing is not.
    fs::OpenOptions::new().write(true).open(place.join("readable")).unwrap();
    for name in ["refused", "refused/deep/name", "other", "deep/other"] {
        fs::File::open(place.join(name)).unwrap_err();
    }
}

fn do_connects(place: &Path, ports: &str) {
    let ports: Vec<u16> = ports.split(' ').map(|port| port.parse().unwrap()).collect();
    let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect(local(ports[0])).unwrap();
    TcpStream::connect(local(ports[2])).unwrap_err();
    let waiting =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None)
            .unwrap();
    assert_eq!(rustix::net::connect(&waiting, &local(ports[0])), Err(rustix::io::Errno::INPROGRESS));
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.connect(local(53)).unwrap();
    rustix::net::connect_unspec(&udp).unwrap();
    if ports[1] != 0 {
        TcpStream::connect((Ipv6Addr::LOCALHOST, ports[1])).unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), ports[0])).unwrap();
    }
    UnixStream::connect(place.join("socket\u{e9}")).unwrap();
    UnixStream::connect(place.join("none")).unwrap_err();
    UnixStream::connect_addr(&UnixAddr::from_abstract_name("hostward-nobody").unwrap()).unwrap_err();
    let _server = UnixDatagram::bind(place.join("server")).unwrap();
    let client = UnixDatagram::bind(place.join("client")).unwrap();
    client.connect(place.join("server")).unwrap();
    let file = fs::File::open("/dev/null").unwrap();
    assert_eq!(rustix::net::connect(&file, &local(9)), Err(rustix::io::Errno::NOTSOCK));
    let short = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    too_short(&short);
}

/// connect with an address of one byte.
#[expect(unsafe_code, reason = "no library makes so wrong a call")]
fn too_short(socket: &impl std::os::fd::AsRawFd) {
    unsafe extern "C" {
        fn connect(fd: i32, address: *const u8, bytes: u32) -> i32;
    }
    // SAFETY: the kernel reads one byte, which is there.
    assert_eq!(unsafe { connect(socket.as_raw_fd(), [2].as_ptr(), 1) }, -1);
}
