//! System calls of i386, which a child makes by `int 0x80`: told as the machine's own where the kernel has one function
//! for them, and else said to be unseen.
use crate::common::{Watch, argument, can_observe, child as start, has_trampolines, named, run};
use hostward_event::plan::OpenClass;
use hostward_event::raw::{Endpoint, OpenCall, RawBody, RawCall, RawConnect, RawEvent, RawOpen};
use hostward_event::{EventKind, Text};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const CWD: u32 = -100_i32 as u32;

/// The kernel takes such calls.
fn runs_ia32(test: &str) -> bool {
    let runs = Path::new("/proc/sys/abi/vsyscall32").exists();
    if !runs {
        println!("skipped {test}: this kernel takes no system calls of i386");
    }
    runs
}

#[test]
fn calls_of_i386_are_told_as_the_machines_own() {
    let test = "calls_of_i386_are_told_as_the_machines_own";
    if !can_observe(test) || !runs_ia32(test) {
        return;
    }
    let watch = Watch::new(&named(&[("real", OpenClass::ALL), ("absent", OpenClass::ALL)]));
    let place = tempfile::tempdir().unwrap();
    let (pid, said) = run(start("ia32", &[place.path()]));
    watch.exited(pid);
    let result = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("did {name} "))).unwrap();
        line.parse::<i64>().unwrap()
    };
    let at = |name: &str| Text::copy(place.path().join(name).as_os_str().as_bytes());
    let all = watch.so_far(|event| event.task.pid == pid);

    if !is_seen(&watch) {
        let seen: Vec<_> = all.iter().filter(|event| event.kind() == EventKind::Unlink).collect();
        assert!(seen.is_empty(), "told although it is said not to be: {seen:?}");
        return;
    }
    let open = |name: &str| {
        only(&all, name, |event| match &event.body {
            RawBody::Open(open) if open.arg.as_bytes().ends_with(name.as_bytes()) => {
                Some(RawOpen::clone(open))
            }
            _ => None,
        })
    };
    let old = open("link/o5");
    assert_eq!((old.call, old.result, old.created), (OpenCall::Open, result("open"), true));
    assert_eq!((old.flags & 0o101, old.mode, old.path), (0o101, 0o640, at("real/o5")));
    let creat = open("link/o8");
    assert_eq!((creat.call, creat.flags, creat.mode), (OpenCall::Creat, 0o1101, 0o604));
    assert_eq!((creat.result, creat.path), (result("creat"), at("real/o8")));
    let relative = open("o295");
    assert_eq!(
        (relative.call, relative.base, relative.path),
        (OpenCall::Openat, at("real"), at("real/o295"))
    );
    let absent = open("absent");
    assert_eq!((absent.call, absent.result, absent.dirfd), (OpenCall::Openat2, -2, -100));
    assert_eq!(absent.flags & 3, 2);

    let call = |kind: EventKind| {
        only(&all, kind.name(), |event| match &event.body {
            RawBody::Call(call) if call.kind == kind => Some(RawCall::clone(call)),
            _ => None,
        })
    };
    let unlink = call(EventKind::Unlink);
    assert_eq!((unlink.result, unlink.texts[0].as_bytes()), (0, &b"link/o5"[..]));
    assert_eq!(unlink.resolved[0], at("real/o5"), "the path is the kernel's");
    let rename = call(EventKind::Renameat2);
    assert_eq!((rename.result, rename.resolved), (0, [at("real/o8"), at("real/n8")]));
    let chown = call(EventKind::Chown);
    assert_eq!((chown.result, &chown.args[1..3]), (0, &[0xffff_ffff, 0][..]), "ids of 16 bits");
    let setuid = call(EventKind::Setuid);
    assert_eq!((setuid.result, setuid.args[0]), (0, 0), "what lies above 16 bits is no part of the id");
    let setresuid = call(EventKind::Setresuid);
    assert_eq!((setresuid.result, &setresuid.args[..3]), (0, &[0, 0xffff_ffff, 0][..]));
    let truncate = call(EventKind::Truncate);
    assert_eq!((truncate.result, truncate.args[1]), (0, 0x1_0000_0005), "in two halves");
    let times = call(EventKind::Utimensat);
    assert_eq!((times.result, &times.resolved[0]), (0, &at("own")));
    let trace = call(EventKind::Ptrace);
    assert_eq!((trace.result, trace.args[0], trace.args[1]), (-3, 0x4206, 0x3fff_fff0));
    let memfd = call(EventKind::MemfdCreate);
    assert_eq!((memfd.result, memfd.texts[0].as_bytes()), (result("memfd_create"), &b"ghost32"[..]));

    for (name, port) in [("connect", 9), ("socketcall", 10)] {
        let connect = only(&all, name, |event| match &event.body {
            RawBody::Connect(connect) if connect.remote == Some(local(port)) => {
                Some(RawConnect::clone(connect))
            }
            _ => None,
        });
        assert_eq!((connect.result, i64::from(connect.fd)), (0, result("socket")), "{name}");
    }
    // No call has these numbers, whatever they are for others.
    assert_eq!((result("none"), result("beyond")), (-38, -38));
}

/// Whether calls of i386 are seen here, as the sensor says. Of Debian, 6.1 and 6.12 let a program see them.
fn is_seen(watch: &Watch) -> bool {
    let (ladder, notes) = (watch.sensor.ladder(), watch.sensor.notes());
    let is_attached = ladder.iter().any(|probe| probe.program == "call_ia32" && probe.attached());
    let is_unseen = notes.iter().any(|note| note.contains("int 0x80 of others") && note.contains("not seen"));
    assert_ne!(is_attached, is_unseen, "it is the one or the other: {notes:?}");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let must = ["6.1.", "6.12."].iter().any(|of| release.starts_with(of));
    assert!(is_attached || !has_trampolines() || !must, "{notes:?}");
    println!("calls of i386 are {}", if is_attached { "seen" } else { "not seen" });
    is_attached
}

fn local(port: u16) -> Endpoint {
    Endpoint::Ip(([127, 0, 0, 1], port).into())
}

/// The one event that `of` likes: a call that two programs told would be there twice.
fn only<T: std::fmt::Debug>(all: &[RawEvent], what: &str, of: impl Fn(&RawEvent) -> Option<T>) -> T {
    let mut found: Vec<T> = all.iter().filter_map(of).collect();
    assert_eq!(found.len(), 1, "{what}: {found:?}");
    found.remove(0)
}

/// Memory that addresses of 32 bits reach.
struct Low {
    at: u32,
    used: u32,
}

impl Low {
    const BYTES: usize = 1 << 16;

    #[expect(unsafe_code, reason = "no safe wrapper maps memory that low")]
    fn new() -> Self {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: new memory at no address that we choose.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), Self::BYTES, access, kind | libc::MAP_32BIT, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED);
        Self { at: u32::try_from(at as usize).unwrap(), used: 0 }
    }

    /// Puts bytes there, for as long as the process lives.
    #[expect(unsafe_code, reason = "memory that only its address tells of")]
    fn put(&mut self, bytes: &[u8]) -> u32 {
        let to = self.at + self.used;
        // At places of eight bytes, as structures want them.
        self.used += u32::try_from(bytes.len().next_multiple_of(8)).unwrap();
        assert!(self.used as usize <= Self::BYTES);
        // SAFETY: inside of the mapping, which is never unmapped, and behind all that was put there before.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to as usize as *mut u8, bytes.len()) };
        to
    }

    fn text(&mut self, text: &str) -> u32 {
        self.put(&[text.as_bytes(), b"\0"].concat())
    }
}

/// Makes a call of i386 and says what it gave.
#[expect(unsafe_code, reason = "calls that no library of this machine makes")]
fn make(name: &str, number: u32, arguments: &[u32]) -> u32 {
    let word = |at: usize| u64::from(arguments.get(at).copied().unwrap_or_default());
    let result: u64;
    // SAFETY: every pointer is of `Low`, which lives, and what is asked for is done to this child alone. rbx, which the
    // compiler keeps for itself, is put back; the kernel leaves nothing in r8 to r11.
    unsafe {
        std::arch::asm!(
            "xchg {first}, rbx",
            "int 0x80",
            "xchg {first}, rbx",
            first = inout(reg) word(0) => _,
            inlateout("rax") u64::from(number) => result,
            in("rcx") word(1),
            in("rdx") word(2),
            in("rsi") word(3),
            in("rdi") word(4),
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
        );
    }
    println!("did {name} {}", result as u32 as i32);
    result as u32
}

fn calls() {
    // The harness has begun a line.
    println!();
    std::env::set_current_dir(argument(0)).unwrap();
    fs::create_dir("real").unwrap();
    fs::write("own", "x").unwrap();
    std::os::unix::fs::symlink("real", "link").unwrap();
    let directory = File::open("real").unwrap();
    let dir = directory.as_raw_fd().cast_unsigned();
    let mut low = Low::new();
    let (o5, o8, own) = (low.text("link/o5"), low.text("link/o8"), low.text("own"));
    make("open", 5, &[o5, 0o101, 0o640]);
    make("creat", 8, &[o8, 0o604]);
    make("openat", 295, &[dir, low.text("o295"), 0o101, 0o600]);
    let how: Vec<u8> = [2_u64, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
    make("openat2", 437, &[CWD, low.text("absent"), low.put(&how), 24]);
    make("unlink", 10, &[o5]);
    make("renameat2", 353, &[CWD, o8, dir, low.text("n8"), 0]);
    make("chown", 182, &[own, 0x1_ffff, 0x1_0000]);
    make("setuid", 23, &[0x1_0000]);
    make("setresuid32", 208, &[0, u32::MAX, 0]);
    make("truncate64", 193, &[own, 5, 1]);
    make("utimensat_time64", 412, &[CWD, own, 0, 0]);
    make("ptrace", 26, &[0x4206, 0x3fff_fff0, 0, 0]);
    make("memfd_create", 356, &[low.text("ghost32"), 1]);
    let address = |port: u8| [2, 0, 0, port, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let fd = make("socket", 359, &[2, 2, 0]);
    make("connect", 362, &[fd, low.put(&address(9)), 16]);
    let words = [fd, low.put(&address(10)), 16].map(u32::to_ne_bytes).concat();
    make("socketcall", 102, &[3, low.put(&words)]);
    // 87 is unlink(2) of this machine, whose table is as long as a number may be made to reach round.
    make("none", 87_u32.wrapping_sub(512), &[own]);
    make("beyond", 512 + 10, &[own]);
}

/// What the child of the test above does.
pub(crate) fn child(task: &str) {
    if task == "ia32" {
        calls();
    }
}
