//! What is done through io_uring, told as the calls that do the same.
use crate::common::{Watch, argument, can_observe, named};
use hostward_event::plan::OpenClass;
use hostward_event::raw::{Endpoint, OpenCall, RawBody, RawCall, RawEvent, RawOpen, Rung};
use hostward_event::{EventKind, Text};
use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, opcode, types};
use std::ffi::CString;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub(crate) const CWD: types::Fd = types::Fd(-100);

/// All events of `pid` that came through io_uring.
fn through_uring(watch: &Watch, pid: u32) -> Vec<RawEvent> {
    watch.so_far(|event| event.task.pid == pid && event.source.rung == Rung::IoUring)
}

fn open(events: &[RawEvent], tail: &str) -> RawOpen {
    let opens = events.iter().filter_map(|event| match &event.body {
        RawBody::Open(open) if open.arg.as_bytes().ends_with(tail.as_bytes()) => Some(open),
        _ => None,
    });
    let found: Vec<_> = opens.collect();
    assert_eq!(found.len(), 1, "opens of {tail}: {events:#?}");
    RawOpen::clone(found[0])
}

fn only(events: &[RawEvent], kind: EventKind) -> RawCall {
    let calls = events.iter().filter(|event| event.kind() == kind).filter_map(|event| match &event.body {
        RawBody::Call(call) => Some(RawCall::clone(call)),
        _ => None,
    });
    let found: Vec<_> = calls.collect();
    assert_eq!(found.len(), 1, "{}: {events:#?}", kind.name());
    found[0].clone()
}

fn text(path: &Path) -> Text {
    Text::copy(path.as_os_str().as_bytes())
}

#[test]
fn what_is_done_through_io_uring_is_told_as_the_calls_that_do_the_same() {
    let test = "what_is_done_through_io_uring_is_told_as_the_calls_that_do_the_same";
    if !can_observe(test) {
        return;
    }
    if let Err(why) = IoUring::new(2) {
        println!("skipped {test}: this kernel has no io_uring for us: {why}");
        return;
    }
    // The opens of a busy host would leave the ring no room for these.
    let names = ["present", "made", "asynchronous", "silent", "absent"];
    let watch = Watch::new(&named(&names.map(|name| (name, OpenClass::ALL))));
    let hooks: Vec<_> =
        watch.sensor.ladder().into_iter().filter(|probe| probe.program.starts_with("uring")).collect();
    if let Some(refused) = hooks.iter().find(|hook| !hook.attached()) {
        assert!(refused.why.contains("requests of io_uring do not tell"), "{refused:?}");
        println!("skipped {test}: {}", refused.why);
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    for name in ["present", "silent", "asynchronous", "gone", "old"] {
        std::fs::write(place.join(name), "x").unwrap();
    }
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    let (pid, _) = crate::common::run(crate::common::child("uring", &[place, Path::new(&port)]));
    watch.exited(pid);
    let events = through_uring(&watch, pid);

    let present = open(&events, "/present");
    assert!(present.result >= 0 && present.call == OpenCall::Openat && present.flags & 3 == 2, "{present:?}");
    assert_eq!((&present.arg, &present.path), (&text(&place.join("present")), &text(&place.join("present"))));
    assert_ne!(present.inode.ino, 0);
    let made = open(&events, "made");
    assert_eq!(made.arg, "made".into());
    assert_eq!(made.base, text(place), "where a relative path starts");
    assert!(made.created && made.mode == 0o640 && made.path == text(&place.join("made")), "{made:?}");
    assert!(open(&events, "/asynchronous").result >= 0, "by a thread of the kernel's");
    assert_eq!(open(&events, "/silent").result, 0, "its program does not want to hear of the end");
    assert_eq!(open(&events, "/absent").result, -2);

    let values = |call: &RawCall| call.texts.clone();
    assert_eq!(values(&only(&events, EventKind::Unlinkat))[0], text(&place.join("gone")));
    let renamed = only(&events, EventKind::Renameat2);
    assert_eq!(renamed.texts[..2], [text(&place.join("old")), text(&place.join("new"))]);
    assert_eq!(only(&events, EventKind::Mkdirat).texts[0], text(&place.join("dir")));
    let link = only(&events, EventKind::Symlinkat);
    assert_eq!(link.texts[..2], ["/etc/shadow".into(), text(&place.join("link"))]);
    let hard = only(&events, EventKind::Linkat);
    assert_eq!((hard.result, &hard.texts[1]), (-2, &text(&place.join("hard"))));
    assert!(events.iter().all(|event| event.task.pid == pid && !event.task.comm.is_empty()));

    let connects = events.iter().filter_map(|event| match &event.body {
        RawBody::Connect(connect) => Some(connect),
        _ => None,
    });
    let connects: Vec<_> = connects.collect();
    assert_eq!(connects.len(), 1, "{events:#?}");
    let remote = Endpoint::Ip(server.local_addr().unwrap());
    assert_eq!((connects[0].result, connects[0].remote.as_ref()), (0, Some(&remote)));

    let losses = watch.sensor.counters().unwrap();
    assert!(losses.iter().all(|kind| kind.starved == 0), "{losses:?}");
}

/// Hands in one request and waits for its end, if there is one.
#[expect(unsafe_code, reason = "what a request points to has to live until its end")]
pub(crate) fn submit(ring: &mut IoUring, request: Entry, waits: bool) {
    // SAFETY: every pointer is of memory that lives until the child ends.
    unsafe { ring.submission().push(&request).unwrap() };
    ring.submit_and_wait(usize::from(waits)).unwrap();
    let ended = ring.completion().count();
    assert_eq!(ended, usize::from(waits));
}

pub(crate) fn child(task: &str) {
    if task != "uring" {
        return;
    }
    let place = argument(0);
    let port: u16 = argument(1).to_str().unwrap().parse().unwrap();
    std::env::set_current_dir(&place).unwrap();
    // A pointer to a string that lives as long as the child.
    let s = |text: &[u8]| CString::new(text).unwrap().into_raw().cast_const();
    let at = |name: &str| s(place.join(name).as_os_str().as_bytes());
    let mut ring = IoUring::new(8).unwrap();
    let open = |name| opcode::OpenAt::new(CWD, name);
    let ring = &mut ring;
    submit(ring, open(at("present")).flags(libc::O_RDWR).build(), true);
    submit(ring, open(s(b"made")).flags(libc::O_CREAT | libc::O_WRONLY).mode(0o640).build(), true);
    submit(ring, open(at("asynchronous")).build().flags(Flags::ASYNC), true);
    submit(ring, open(at("silent")).build().flags(Flags::SKIP_SUCCESS), false);
    submit(ring, open(at("absent")).build(), true);
    submit(ring, opcode::UnlinkAt::new(CWD, at("gone")).build(), true);
    submit(ring, opcode::RenameAt::new(CWD, at("old"), CWD, at("new")).build(), true);
    submit(ring, opcode::MkDirAt::new(CWD, at("dir")).mode(0o700).build(), true);
    submit(ring, opcode::SymlinkAt::new(CWD, s(b"/etc/shadow"), at("link")).build(), true);
    submit(ring, opcode::LinkAt::new(CWD, at("nothing"), CWD, at("hard")).build(), true);
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    let address = Box::leak(Box::new(libc::sockaddr_in {
        sin_family: 2,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    }));
    let length = size_of::<libc::sockaddr_in>() as u32;
    let address = std::ptr::from_ref(address).cast();
    submit(ring, opcode::Connect::new(types::Fd(socket.as_raw_fd()), address, length).build(), true);
    drop(TcpStream::from(socket));
}
