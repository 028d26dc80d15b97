//! What exec and the task iterator tell alike about a process.

use hostward_abi::record::{ProcessBody, process_flag};
use hostward_ebpf::kernel::cgroup::Cgroup;
use hostward_ebpf::kernel::task::Task;
use hostward_ebpf::kernel::{Access, Probe, Typed, copy, cred, namespace};
use hostward_ebpf::mem::Slot;
use hostward_ebpf::{off, path, record};

/// Fills the fixed part but for the program's file.
///
/// # Safety
/// `body` is map memory, `task` a typed group leader.
#[inline(always)]
pub unsafe fn fixed(body: *mut ProcessBody, task: Task) {
    (*body).flags = 0;
    (*body).args_bytes = 0;
    (*body).reserved = 0;
    cred::all(task.cred::<Typed>(), body);
    let inner = task.thread_pid::<Typed>().inner::<Typed>();
    namespace::fill(task, inner.namespace_inode(), body);
    (*body).init_start_boot_ns = inner.init_start();
    let signal = task.signal::<Typed>();
    (*body).tty = signal.tty();
    (*body).vpid = inner.nr;
    let (sid, pgid) = (signal.sid::<Typed>(), signal.pgid::<Typed>());
    (*body).sid = sid.global();
    (*body).pgid = pgid.global();
    (*body).vsid = sid.beside::<Typed>(inner);
    (*body).vpgid = pgid.beside::<Typed>(inner);
    let (loginuid, session) = task.audit::<Typed>();
    (*body).loginuid = loginuid;
    (*body).audit_session = session;
    (*body).stdin_mode = task.file::<Typed>(0).inode::<Probe>().mode::<Probe>();
    (*body).stdout_mode = task.file::<Typed>(1).inode::<Probe>().mode::<Probe>();
    // One by one: LLVM makes a slow loop of an array's assignment.
    let texts = (&raw mut (*body).text_bytes).cast::<u32>();
    texts.write(0);
    texts.add(1).write(0);
    texts.add(2).write(0);
    texts.add(3).write(0);
}

/// The program's file: inode, memfd, and its path as text 1.
///
/// # Safety
/// `slot` is claimed, `body` its record's, `task` typed.
#[inline(always)]
pub unsafe fn program(slot: *mut Slot, body: *mut ProcessBody, task: Task) {
    let file = task.mm::<Typed>().exe_file::<Typed>();
    let inode = file.inode::<Typed>();
    inode.fill::<Typed>(&raw mut (*body).exe);
    match inode.overlay_upper::<Typed>() {
        Some(true) => (*body).flags |= process_flag::UPPER_LAYER,
        Some(false) => (*body).flags |= process_flag::LOWER_LAYER,
        None => {}
    }
    let location = file.location();
    let (bytes, cut) = path::append(slot, location, task.root::<Typed>());
    (*body).text_bytes[1] = bytes;
    if cut {
        (*body).flags |= process_flag::PATH_CUT;
    }
    // A memfd's entry is in no directory and its name is made by the kernel. The name alone proves
    // nothing: anybody may call a file so.
    let parent: *const u8 = Typed::load(location.dentry, off!(dentry_parent));
    if parent == location.dentry {
        let name: *const u8 = Typed::load(location.dentry, off!(dentry_name));
        let mut front = [0u8; 8];
        copy(front.as_mut_ptr(), 8, name);
        if u64::from_ne_bytes(front) & 0xffff_ffff_ffff == u64::from_ne_bytes(*b"memfd:\0\0") {
            (*body).flags |= process_flag::MEMFD;
        }
    }
}

/// Texts 4 and 5.
///
/// # Safety
/// `slot` is claimed, `body` its record's.
#[inline(always)]
pub unsafe fn cgroup_names(slot: *mut Slot, body: *mut ProcessBody, cgroup: Cgroup) {
    let (leaf, parent) = cgroup.names();
    (*body).text_bytes[4] = record::append_kernel_str::<256>(slot, leaf);
    (*body).text_bytes[5] = record::append_kernel_str::<256>(slot, parent);
}
