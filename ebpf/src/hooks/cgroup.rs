//! A cgroup was made or removed.

use crate::PROCESS;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use hostward_abi::record::{CgroupBody, TEXT_BYTES_MAX, cgroup_flag, kind};
use hostward_ebpf::kernel::{Current, Typed, cgroup, task};
use hostward_ebpf::mem::{claim, release};
use hostward_ebpf::{out, record, setting};

/// `TP_PROTO(struct cgroup *cgrp, const char *path)`, include/trace/events/cgroup.h; the same from 5.10 to
/// 6.18. It runs in the caller of mkdir, after the directory is there and before anything is in it.
#[btf_tracepoint(function = "cgroup_mkdir")]
pub fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the verifier checks every access; arguments are as the prototype says.
    unsafe { report(ctx.arg(0), ctx.arg(1), 0) }
}

/// As [`cgroup_mkdir`], in the caller of rmdir.
#[btf_tracepoint(function = "cgroup_rmdir")]
pub fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: as above.
    unsafe { report(ctx.arg(0), ctx.arg(1), cgroup_flag::REMOVED) }
}

#[inline(always)]
unsafe fn report(directory: *const u8, path: *const u8, flags: u32) -> i32 {
    let Some((hierarchy, id)) = cgroup::place::<Typed>(directory) else {
        return 0;
    };
    // Runtimes make the same directory in each v1 hierarchy, and in the unified one as well where it is mounted.
    if hierarchy != setting!(cgroup_hierarchy) {
        return 0;
    }
    let flags = if hierarchy == 0 { flags } else { flags | cgroup_flag::V1 };
    let Some(ticket) = out::attempt(kind::CGROUP) else {
        return 0;
    };
    let Some(slot) = claim() else {
        ticket.starve();
        return 0;
    };
    let (header, body) = record::begin::<CgroupBody>(slot);
    record::header::<Current>(header, task::current(), kind::CGROUP, ticket.seq);
    (*body).id = id;
    (*body).flags = flags;
    (*body).text_bytes = [0, 0];
    (*body).text_bytes[0] = record::append_kernel_str::<TEXT_BYTES_MAX>(slot, path);
    ticket.output(&PROCESS, slot);
    release(slot);
    0
}
