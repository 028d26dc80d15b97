//! Attaching to a system call's tracepoint.
//!
//! Not by aya's `TracePoint::attach`, as it needs tracefs at one of two places. A minimal host or a
//! container has none mounted, and an agent should not change the host's mounts; so where it is
//! missing we open an instance of our own, which is in nobody's file tree.
#![expect(unsafe_code, reason = "perf_event_open, its ioctls and links of it have no safe wrapper")]

use rustix::fs::{Mode, OFlags, open, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The tracepoint at the end of a system call.
pub(crate) fn exit_of(call: &str) -> String {
    format!("sys_exit_{call}")
}

const PLACES: [&str; 2] =
    ["/sys/kernel/tracing/events/syscalls", "/sys/kernel/debug/tracing/events/syscalls"];

/// include/uapi/linux/perf_event.h.
const PERF_TYPE_TRACEPOINT: u64 = 2;
const PERF_ATTR_SIZE_VER0: u64 = 64;
const PERF_FLAG_FD_CLOEXEC: u64 = 8;
const PERF_EVENT_IOC_ENABLE: u64 = 0x2400;
const PERF_EVENT_IOC_SET_BPF: u64 = 0x4004_2408;

/// The tracepoints of system calls.
pub(crate) struct Tracepoints {
    directory: OwnedFd,
    /// Keeps an instance of our own alive.
    _mount: Option<OwnedFd>,
}

impl Tracepoints {
    pub(crate) fn find() -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        for place in PLACES {
            if let Ok(directory) = open(place, flags, Mode::empty()) {
                return Ok(Self { directory, _mount: None });
            }
        }
        let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV;
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        let directory = openat(&mount, "events/syscalls", flags, Mode::empty())?;
        Ok(Self { directory, _mount: Some(mount) })
    }

    /// Number of a tracepoint, e.g. `sys_exit_openat`.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when this kernel has no such system call.
    pub(crate) fn id(&self, hook: &str) -> io::Result<u64> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(&self.directory, format!("{hook}/id"), flags, Mode::empty())?;
        let mut text = String::new();
        File::from(file).take(32).read_to_string(&mut text)?;
        text.trim().parse().map_err(io::Error::other)
    }
}

/// include/uapi/linux/bpf.h.
const BPF_LINK_CREATE: u32 = 28;
const BPF_PERF_EVENT: u32 = 41;

/// Runs `program` at the tracepoint `id`, on all CPUs, until the result is dropped.
pub(crate) fn attach(program: BorrowedFd<'_>, id: u64) -> io::Result<OwnedFd> {
    let event = event(id)?;
    control(event.as_fd(), PERF_EVENT_IOC_SET_BPF, program.as_raw_fd())?;
    control(event.as_fd(), PERF_EVENT_IOC_ENABLE, 0)?;
    Ok(event)
}

/// The same by a link, which can be pinned; since 5.15. It keeps the event.
pub(crate) fn link(program: BorrowedFd<'_>, id: u64) -> io::Result<OwnedFd> {
    let event = event(id)?;
    let descriptor = |fd: BorrowedFd<'_>| fd.as_raw_fd().cast_unsigned();
    // union bpf_attr for BPF_LINK_CREATE: program, target, kind of attachment, flags.
    let attributes: [u32; 4] = [descriptor(program), descriptor(event.as_fd()), BPF_PERF_EVENT, 0];
    let bytes = size_of_val(&attributes);
    // SAFETY: the kernel reads `bytes` of `attributes`, which live, and writes nothing.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_CREATE, attributes.as_ptr(), bytes) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel just gave it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens a tracepoint's event.
fn event(id: u64) -> io::Result<OwnedFd> {
    // struct perf_event_attr: type and size, config, and six words that stay zero, as we want the
    // program to run and no samples.
    let attributes: [u64; 8] = [PERF_TYPE_TRACEPOINT | PERF_ATTR_SIZE_VER0 << 32, id, 0, 0, 0, 0, 0, 0];
    const { assert!(cfg!(target_endian = "little"), "type and size share a word") };
    // SAFETY: the kernel reads 64 bytes of `attributes`, which live; any process (-1), CPU 0 (the
    // program runs on all), no group.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), -1, 0, -1, PERF_FLAG_FD_CLOEXEC)
    };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel just gave it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn control(event: BorrowedFd<'_>, request: u64, argument: i32) -> io::Result<()> {
    // SAFETY: both requests take a number and touch no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_ioctl, event.as_raw_fd(), request, argument) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
