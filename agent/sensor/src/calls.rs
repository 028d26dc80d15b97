//! The kernel's table of system calls, made of the descriptions and of the plan.

use crate::error::ApplyError;
use crate::{checks, ia32, plan};
use aya::Ebpf;
use aya::maps::{Array, MapData, MapError};
use hostward_abi::maps::{
    BASE_CWD, CALL_DATA_BYTES, CALL_NUMBERS, CallSpec, NO_ARGUMENT, call_flag, call_when,
};
use hostward_event::call::{self, Base, Form, Spec, When};
use hostward_event::plan::{CallPlan, KernelPlan};
use std::collections::BTreeMap;
use std::str::FromStr;

/// [`CallSpec`] as the map has it.
const WORDS: usize = size_of::<CallSpec>() / 8;
const MAP: &str = "CALLS";

/// The table as the program holds it: what is wanted of each call, by its number on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls(BTreeMap<u32, [u64; WORDS]>);

impl Calls {
    /// `attached`: those of `path_check` that are. `ia32`: calls of i386 are told too.
    pub(crate) fn new(plan: &KernelPlan, attached: u32, ia32: bool) -> Self {
        let wanted = call::TABLE.iter().filter(|spec| plan.kinds.contains(spec.kind));
        let rows = |spec: &Spec| {
            let all = CallPlan::default();
            let row = of(spec, plan.calls.get(&spec.kind).unwrap_or(&all), attached);
            let number =
                syscalls::Sysno::from_str(spec.kind.name()).ok().map(|call| call.id().cast_unsigned());
            let own = number.filter(|number| *number < CALL_NUMBERS).map(|number| (number, words(&row)));
            let of_i386 = ia32.then(|| ia32::rows(spec.kind)).into_iter().flatten().map(move |other| {
                let ia32::Row { number, short_ids, wide } = other;
                (number, words(&CallSpec { short_ids, wide, ..row }))
            });
            own.into_iter().chain(of_i386)
        };
        Self(wanted.flat_map(rows).collect())
    }

    /// What lies in the map of programs that another agent has loaded.
    pub(crate) fn in_force(object: &Ebpf) -> Result<Self, ApplyError> {
        let table: Array<&MapData, [u64; WORDS]> = plan::found(object, MAP)?;
        let row = |number| Ok((number, table.get(&number, 0)?));
        let rows = (0..2 * CALL_NUMBERS)
            .map(row)
            .filter(|row| !matches!(row, Ok((_, words)) if *words == [0; WORDS]));
        let rows = rows.collect::<Result<_, MapError>>();
        rows.map(Self).map_err(|cause| ApplyError { map: MAP, cause })
    }
}

fn of(spec: &Spec, plan: &CallPlan, attached: u32) -> CallSpec {
    let mut texts = [NO_ARGUMENT; call::TEXTS];
    let mut bases = [NO_ARGUMENT; 2];
    for (n, (place, param)) in texts.iter_mut().zip(spec.texts()).enumerate() {
        *place = param.at;
        if let (Form::Path(base), Some(to)) = (param.form, bases.get_mut(n)) {
            *to = match base {
                Base::Cwd => BASE_CWD,
                Base::Dir(argument) => argument,
            };
        }
    }
    let (mut data, mut data_bytes, mut data_length) = (NO_ARGUMENT, 0, NO_ARGUMENT);
    for param in spec.params {
        match param.form {
            Form::Bytes(bytes) | Form::Chars(bytes) => (data, data_bytes) = (param.at, bytes),
            Form::Address(length) => {
                (data, data_bytes, data_length) = (param.at, CALL_DATA_BYTES as u8, length)
            }
            _ => {}
        }
    }
    let mut when = match spec.when {
        When::Returned => call_when::SUCCEEDED | call_when::FAILED,
        When::Succeeded => call_when::SUCCEEDED,
        When::Failed => call_when::FAILED,
    };
    if !plan.succeeded {
        when &= !call_when::SUCCEEDED;
    }
    if !plan.failed {
        when &= !call_when::FAILED;
    }
    let mut flags = 0;
    let mut flag = |set: bool, bit: u8| flags |= if set { bit } else { 0 };
    flag(spec.socket_only, call_flag::SOCKET_ONLY);
    flag(plan.named, call_flag::NAMED_ONLY);
    flag(!spec.group.is_bulk(), call_flag::URGENT);
    flag(spec.test.is_some_and(|test| test.differs), call_flag::TEST_DIFFERS);
    flag(plan.chosen.is_some_and(|chosen| chosen.above), call_flag::CHOSEN_ABOVE);
    CallSpec {
        test_mask: spec.test.map_or(0, |test| test.mask),
        test_value: spec.test.map_or(0, |test| test.value),
        chosen_values: plan.chosen.map_or(0, |chosen| chosen.values),
        kind: spec.kind as u8,
        when,
        flags,
        test_at: spec.test.map_or(NO_ARGUMENT, |test| test.at),
        chosen_at: plan.chosen.map_or(NO_ARGUMENT, |chosen| chosen.at),
        fd: spec.descriptor().map_or(NO_ARGUMENT, |param| param.at),
        data,
        data_bytes,
        data_length,
        texts,
        bases,
        short_ids: 0,
        wide: NO_ARGUMENT,
        checks: checks::of_call(spec.kind) & attached,
        reserved: 0,
    }
}

/// The fields as they lie in memory.
fn words(spec: &CallSpec) -> [u64; WORDS] {
    let CallSpec { kind, when, flags, test_at, chosen_at, fd, data, data_bytes, data_length, .. } = *spec;
    let CallSpec { short_ids, wide, .. } = *spec;
    let [first, second, third] = spec.texts;
    let [base, second_base] = spec.bases;
    [
        spec.test_mask,
        spec.test_value,
        spec.chosen_values,
        u64::from_ne_bytes([kind, when, flags, test_at, chosen_at, fd, data, data_bytes]),
        u64::from_ne_bytes([data_length, first, second, third, base, second_base, short_ids, wide]),
        u64::from(spec.checks),
    ]
}

/// Puts `new` in force in the place of `old`: call by call, each of which is told by the one or the other.
pub(crate) fn swap(object: &mut Ebpf, old: &Calls, new: &Calls) -> Result<(), ApplyError> {
    let failed = |cause| ApplyError { map: MAP, cause };
    let absent = || failed(MapError::InvalidName { name: MAP.to_owned() });
    let map = object.map_mut(MAP).ok_or_else(absent)?;
    let mut table: Array<&mut MapData, [u64; WORDS]> = Array::try_from(map).map_err(failed)?;
    for (number, row) in &new.0 {
        if old.0.get(number) != Some(row) {
            table.set(*number, row, 0).map_err(failed)?;
        }
    }
    for number in old.0.keys().filter(|number| !new.0.contains_key(number)) {
        table.set(*number, [0; WORDS], 0).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostward_abi::maps::path_check;
    use hostward_event::{EventKind, KindSet};

    #[test]
    fn a_row_says_what_its_description_says() {
        let spec = call::find(EventKind::Symlinkat).unwrap();
        let row = of(spec, &CallPlan::default(), u32::MAX);
        assert_eq!(row.texts, [0, 2, NO_ARGUMENT]);
        assert_eq!(row.bases, [NO_ARGUMENT, 1], "the target is no path of ours");
        assert_eq!(row.checks, path_check::SYMLINK);
        assert_eq!(words(&row)[5].to_ne_bytes()[..4], path_check::SYMLINK.to_ne_bytes());
        let bind = of(call::find(EventKind::Bind).unwrap(), &CallPlan::default(), 0);
        assert_eq!((bind.fd, bind.data, bind.data_length, bind.flags & call_flag::URGENT), (0, 1, 2, 0));
        let failed = of(call::find(EventKind::ExecveFailed).unwrap(), &CallPlan::default(), 0);
        assert_eq!(failed.when, call_when::FAILED);
    }

    #[test]
    fn only_what_is_wanted_has_a_row() {
        let kinds = KindSet::of(&[EventKind::Ptrace, EventKind::Open]);
        let calls = Calls::new(&KernelPlan { kinds, ..KernelPlan::default() }, u32::MAX, false);
        assert_eq!(
            calls.0.keys().copied().collect::<Vec<_>>(),
            [syscalls::Sysno::ptrace.id().cast_unsigned()]
        );
    }
}
