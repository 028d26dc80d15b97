//! What the programs must know of the running kernel: offsets, helpers, system call numbers.

use crate::btf::{BtfError, FieldError, KernelBtf};
use crate::{cast, cgroup};
use aya::util::KernelVersion;
use hostward_abi::maps::Settings;
use hostward_abi::offsets::{ABSENT, SPECS};
use std::path::Path;
use thiserror::Error;

/// Where the kernel shows its own types.
pub(crate) const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// Kernel stack size without the helper that knows it (before 5.15); x86-64 and arm64 with 4 KiB pages.
const STACK_BYTES: u32 = 16 * 1024;
/// Bytes that one read takes of a dentry, from its parent field on (`LINK_BYTES` in the programs).
const LINK_BYTES: u32 = 64;

/// Registers that carry the first six arguments of a system call, as `struct pt_regs` names them,
/// and what to add to the field.
#[cfg(target_arch = "x86_64")]
const ARGUMENTS: [(&str, u32); 6] = [("di", 0), ("si", 0), ("dx", 0), ("r10", 0), ("r8", 0), ("r9", 0)];
#[cfg(target_arch = "aarch64")]
const ARGUMENTS: [(&str, u32); 6] =
    [("orig_x0", 0), ("regs", 8), ("regs", 16), ("regs", 24), ("regs", 32), ("regs", 40)];

/// The same of a call of i386; nothing asks for them elsewhere.
#[cfg(target_arch = "x86_64")]
const IA32_ARGUMENTS: [(&str, u32); 6] = [("bx", 0), ("cx", 0), ("dx", 0), ("si", 0), ("di", 0), ("bp", 0)];
#[cfg(target_arch = "aarch64")]
const IA32_ARGUMENTS: [(&str, u32); 6] = ARGUMENTS;

/// Numbers of open, openat2, creat, close.
#[cfg(target_arch = "x86_64")]
const CALLS: [u32; 4] = [2, 437, 85, 3];
/// Of the opens arm64 has only openat and openat2.
#[cfg(target_arch = "aarch64")]
const CALLS: [u32; 4] = [u32::MAX, 437, u32::MAX, 57];

/// Why the running kernel's layout cannot be used.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// The BTF cannot be read.
    #[error("{BTF_PATH}: {0}")]
    Read(#[source] std::io::Error),
    /// The BTF makes no sense.
    #[error("{BTF_PATH}: {0}")]
    Parse(#[from] BtfError),
    /// A field that no kernel we know lacks.
    #[error("{0}")]
    Field(#[from] FieldError),
    /// Fields that belong together are apart: a kernel with randomised struct layouts.
    #[error("struct {of} has its fields in an unknown order")]
    Order {
        /// The struct.
        of: &'static str,
    },
}

/// The running kernel's layout.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// In the order of [`SPECS`].
    pub(crate) offsets: [u32; SPECS.len()],
    /// Optional fields that are missing: specification and reason.
    pub(crate) missing: Vec<String>,
    /// But for the agent's process id.
    pub(crate) settings: Settings,
    /// All of a socket that the connect program needs is there.
    pub(crate) has_sockets: bool,
    /// Type of [`cast::FUNCTION`], where it takes any address.
    pub(crate) cast: Option<u32>,
}

impl Layout {
    /// Of the running kernel. About 2 ms and, for that time, the size of the kernel's BTF.
    pub(crate) fn running() -> Result<Self, LayoutError> {
        let bytes = std::fs::read(BTF_PATH).map_err(LayoutError::Read)?;
        let mut layout = Self::from_btf(&bytes)?;
        // Types do not tell either.
        let is_new = KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 17, 0));
        layout.settings.group_dead = u32::from(is_new);
        layout.cast = layout.cast.filter(|_| is_new);
        layout.settings.loads = u32::from(layout.cast.is_some());
        layout.settings.cgroup_hierarchy = cgroup::v1_hierarchy(Path::new("/proc"));
        Ok(layout)
    }

    pub(crate) fn from_btf(bytes: &[u8]) -> Result<Self, LayoutError> {
        let mut names: Vec<&str> =
            SPECS.iter().flat_map(|(_, spec)| spec.split('|')).filter_map(owner).collect();
        names.extend(["pt_regs", "bpf_func_id", cast::FUNCTION]);
        let btf = KernelBtf::parse(bytes, &names)?;
        let mut offsets = [ABSENT; SPECS.len()];
        let mut missing = Vec::new();
        for (offset, (_, spec)) in offsets.iter_mut().zip(SPECS) {
            match resolve(&btf, spec) {
                Ok(found) => *offset = found,
                Err(why) if spec.starts_with('?') => missing.push(why.to_string()),
                Err(why) => return Err(why.into()),
            }
        }
        let helper = |name| u32::from(btf.enumerator("bpf_func_id", name).is_some());
        let [nr_open, nr_openat2, nr_creat, nr_close] = CALLS;
        let settings = Settings {
            typed: helper("BPF_FUNC_get_current_task_btf"),
            regs_helper: helper("BPF_FUNC_task_pt_regs"),
            regs_distance: STACK_BYTES.saturating_sub(btf.size("pt_regs").unwrap_or(0)),
            nr_open,
            nr_openat2,
            nr_creat,
            cgroup_hierarchy: 0,
            nr_close,
            held_once: u32::from(btf.field("file", "f_count").is_ok()),
            group_dead: 0,
            loads: 0,
            has_idmaps: u32::from(
                btf.field("vfsmount", "mnt_userns").or_else(|_| btf.field("vfsmount", "mnt_idmap")).is_ok(),
            ),
        };
        let cast = btf.function(cast::FUNCTION);
        let mut layout = Self { offsets, missing, settings, has_sockets: false, cast };
        layout.has_sockets = [
            "socket_sk",
            "socket_type",
            "sock_family",
            "sock_daddr",
            "sock_rcv_saddr",
            "sock_dport",
            "sock_num",
            "sock_protocol",
        ]
        .iter()
        .all(|name| layout.offset(name) != ABSENT);
        layout.check()?;
        Ok(layout)
    }

    /// Offset by its name in the programs.
    pub(crate) fn offset(&self, name: &str) -> u32 {
        let place = SPECS.iter().position(|(own, _)| *own == name);
        place.and_then(|place| self.offsets.get(place)).copied().unwrap_or(ABSENT)
    }

    /// What the programs take for granted beyond single offsets.
    fn check(&self) -> Result<(), LayoutError> {
        let apart = |first: &str, last: &str| self.offset(last).wrapping_sub(self.offset(first));
        // uid, gid, suid, sgid, euid, egid, fsuid, fsgid; five capability sets of 8 bytes.
        if apart("cred_uid", "cred_fsgid") != 28 || apart("cred_cap_inheritable", "cred_cap_ambient") != 32 {
            return Err(LayoutError::Order { of: "cred" });
        }
        let within = |name: &str, bytes: u32| apart("dentry_parent", name) <= LINK_BYTES - bytes;
        if !within("dentry_name", 8) || !within("dentry_name_len", 4) || !within("dentry_short_name", 16) {
            return Err(LayoutError::Order { of: "dentry" });
        }
        if apart("mount_parent", "mount_mountpoint") != 8
            || apart("mount_parent", "mount_mnt") != 16
            || self.offset("vfsmount_root") != 0
        {
            return Err(LayoutError::Order { of: "mount" });
        }
        if apart("file_mnt", "file_dentry") != 8 {
            return Err(LayoutError::Order { of: "path" });
        }
        if self.offset("upid_nr") != 0 || self.offset("upid_ns") != 8 {
            return Err(LayoutError::Order { of: "upid" });
        }
        Ok(())
    }
}

/// The struct or enum that a specification's alternative is of.
fn owner(alternative: &str) -> Option<&str> {
    let bare = alternative.trim_start_matches(['?', '=']);
    bare.strip_prefix('#').or_else(|| bare.split_once('.').map(|(of, _)| of))
}

fn resolve(btf: &KernelBtf<'_>, spec: &str) -> Result<u32, FieldError> {
    let spec = spec.strip_prefix('?').unwrap_or(spec);
    if let Some(number) = spec.strip_prefix("arg") {
        let place =
            number.parse().ok().and_then(|number| ARGUMENTS.iter().chain(&IA32_ARGUMENTS).nth(number));
        let (register, more) = place.ok_or_else(|| FieldError::NoStruct(spec.to_owned()))?;
        return Ok(btf.field("pt_regs", register)? + more);
    }
    if let Some(of) = spec.strip_prefix('#') {
        return btf.size(of).ok_or_else(|| FieldError::NoStruct(of.to_owned()));
    }
    if let Some((of, name)) = spec.strip_prefix('=').and_then(|spec| spec.split_once('.')) {
        let absent = || FieldError::NoField { of: of.to_owned(), path: name.to_owned() };
        return btf.enumerator(of, name).ok_or_else(absent);
    }
    let mut last = FieldError::NoStruct(spec.to_owned());
    for alternative in spec.split('|') {
        let Some((of, path)) = alternative.split_once('.') else {
            continue;
        };
        match btf.field(of, path) {
            Ok(found) => return Ok(found),
            // A field that is there and doubtful is not to be passed over.
            Err(why @ (FieldError::Ambiguous { .. } | FieldError::BitField { .. })) => return Err(why),
            Err(why) => last = why,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_every_required_field() {
        if !std::path::Path::new(BTF_PATH).exists() {
            println!("skipped: this kernel has no {BTF_PATH}");
            return;
        }
        let begun = std::time::Instant::now();
        let layout = Layout::running().unwrap();
        println!("resolved in {:?}; missing: {:?}", begun.elapsed(), layout.missing);
        assert_ne!(layout.offset("task_tgid"), ABSENT);
        assert!(layout.has_sockets);
    }

    #[test]
    fn specifications_are_well_formed() {
        for (name, spec) in SPECS {
            let bare = spec.strip_prefix('?').unwrap_or(spec);
            let good =
                bare.starts_with("arg") || bare.split('|').all(|alternative| owner(alternative).is_some());
            assert!(good, "{name}: {spec}");
        }
    }
}
