//! Operations through io_uring that are told as the system calls that do the same.

use crate::error::ApplyError;
use crate::ladder::ProbeStatus;
use crate::layout::Layout;
use crate::net::Hook;
use crate::persist::Pinned;
use crate::rungs::{self, Object};
use aya::maps::{Array, MapData, MapError};
use aya::{Btf, Ebpf};
use hostward_abi::maps::uring_call;
use hostward_abi::offsets::ABSENT;
use hostward_abi::record::{kind, open_call};
use hostward_event::raw::Rung;
use hostward_event::{EventKind, KindSet};
use std::str::FromStr;

const MAP: &str = "URING";

/// Operation (`enum io_uring_op`, include/uapi/linux/io_uring.h), and the calls as which it may be told, the first that is
/// wanted.
const OPS: [(u32, &[EventKind], u32); 8] = [
    (16, &[EventKind::Connect], 0),
    (18, &[EventKind::Open], open_call::OPENAT),
    (28, &[EventKind::Open], open_call::OPENAT2),
    (35, &[EventKind::Renameat2, EventKind::Renameat], 0),
    (36, &[EventKind::Unlinkat], 0),
    (37, &[EventKind::Mkdirat], 0),
    (38, &[EventKind::Symlinkat], 0),
    (39, &[EventKind::Linkat], 0),
];

const SUBMIT: &str = "uring_submit";
/// What it hooks before 6.4.
const OLDER_SUBMITTED: &str = "io_uring_submit_sqe";

fn row(of: EventKind, call: u32) -> u8 {
    kind::URING | if of == EventKind::Open { kind::of_open(call) } else { of as u8 }
}

/// Where events of this kind that came through io_uring are counted.
pub(crate) fn rows(of: EventKind) -> impl Iterator<Item = u8> {
    let told = OPS.into_iter().filter(move |(_, kinds, _)| kinds.contains(&of));
    told.map(move |(.., call)| row(of, call))
}

/// Some operation is told as one of these kinds.
pub(crate) fn wanted(kinds: KindSet) -> bool {
    OPS.iter().any(|(_, told, _)| told.iter().any(|kind| kinds.contains(*kind)))
}

/// The hooks, as far as this kernel tells what is needed.
pub(crate) fn hooks(layout: &Layout) -> Vec<Hook> {
    let of_uring = rungs::of(Object::Sys).filter(|probe| probe.rung == Rung::IoUring);
    let mut hooks: Vec<Hook> = of_uring.map(Hook::of).collect();
    // Before 6.0 a request's operation has no place of its own.
    let fields =
        ["uring_opcode", "uring_flags", "uring_result", "uring_cmd", "uring_open_name", "filename_name"];
    if let Some(field) = fields.into_iter().find(|field| layout.offset(field) == ABSENT) {
        let why = format!("this kernel's requests of io_uring do not tell what is needed ({field})");
        hooks.iter_mut().for_each(|hook| hook.state.set(ProbeStatus::Refused, &why));
    }
    hooks
}

/// Goes on with what an agent before has attached.
pub(crate) fn adopt(hooks: &mut [Hook], pins: &mut Pinned) {
    for hook in hooks {
        let older = (hook.state.program == SUBMIT).then_some(OLDER_SUBMITTED);
        hook.adopt(pins, older);
    }
}

/// Loads the programs, if they are not; the verifier has much to do with them.
pub(crate) fn load(hooks: &mut [Hook], object: &mut Ebpf, btf: &Btf) {
    for hook in hooks.iter_mut().filter(|hook| hook.lacks_program()) {
        hook.load(object, btf);
        if hook.state.program == SUBMIT && hook.state.status == ProbeStatus::Refused {
            hook.state.hook = OLDER_SUBMITTED.into();
            hook.state.set(ProbeStatus::Unwanted, "");
            hook.load(object, btf);
        }
    }
}

/// Says which operations are wanted from now on.
pub(crate) fn swap(object: &mut Ebpf, kinds: KindSet) -> Result<(), ApplyError> {
    let failed = |cause| ApplyError { map: MAP, cause };
    let absent = || failed(MapError::InvalidName { name: MAP.to_owned() });
    let map = object.map_mut(MAP).ok_or_else(absent)?;
    let mut table: Array<&mut MapData, u32> = Array::try_from(map).map_err(failed)?;
    for (op, told, call) in OPS {
        let wanted = told.iter().copied().find(|kind| kinds.contains(*kind));
        let number = |kind: EventKind| match kind {
            EventKind::Open | EventKind::Connect => Some(call),
            _ => Some(syscalls::Sysno::from_str(kind.name()).ok()?.id().cast_unsigned()),
        };
        let value = wanted.and_then(|kind| Some(uring_call::told_as(row(kind, call), number(kind)?)));
        table.set(op, value.unwrap_or(uring_call::UNWANTED), 0).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostward_abi::maps::URING_OPS;

    #[test]
    fn every_operation_has_a_place_and_counts_apart() {
        for (op, kinds, call) in OPS {
            assert!(op < URING_OPS);
            for kind in kinds {
                let told = uring_call::told_as(row(*kind, call), 437);
                assert_eq!((uring_call::row(told), uring_call::number(told)), (row(*kind, call), 437));
                assert!(rows(*kind).any(|own| own == row(*kind, call)) && row(*kind, call) >= kind::URING);
            }
        }
        assert_eq!(rows(EventKind::Exec).count(), 0);
        assert!(wanted(KindSet::of(&[EventKind::Unlinkat])) && !wanted(KindSet::of(&[EventKind::Exec])));
    }
}
