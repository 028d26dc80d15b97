//! `struct task_struct`, with the small structs that only a task leads to: `mm_struct`,
//! `fs_struct`, `files_struct`.

use super::dentry::Location;
use super::file::File;
use super::signal::Signal;
use super::{Access, Current, Probe};
use crate::off;
use hostward_abi::offsets::ABSENT;

/// PF_KTHREAD, include/linux/sched.h.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// A task.
#[derive(Clone, Copy)]
pub struct Task(pub *const u8);

/// The current task, for [`Current`] loads.
#[inline(always)]
pub fn current() -> Task {
    // SAFETY: helpers without arguments; the first is only reached where it exists.
    unsafe {
        if crate::setting!(typed) != 0 {
            Task(aya_ebpf::helpers::generated::bpf_get_current_task_btf().cast())
        } else {
            Task(aya_ebpf::helpers::generated::bpf_get_current_task() as *const u8)
        }
    }
}

/// The current task for [`Probe`] loads, in programs that the typed helper is not for on every kernel: those of cgroups.
#[inline(always)]
pub fn probed() -> Task {
    // SAFETY: a helper without arguments.
    unsafe { Task(aya_ebpf::helpers::generated::bpf_get_current_task() as *const u8) }
}

#[expect(clippy::missing_safety_doc, reason = "all: self is a task_struct that `A` may load from")]
impl Task {
    #[inline(always)]
    pub unsafe fn pid<A: Access>(self) -> u32 {
        A::load(self.0, off!(task_pid))
    }

    #[inline(always)]
    pub unsafe fn tgid<A: Access>(self) -> u32 {
        A::load(self.0, off!(task_tgid))
    }

    #[inline(always)]
    pub unsafe fn real_parent<A: Access>(self) -> Task {
        Task(A::load(self.0, off!(task_real_parent)))
    }

    #[inline(always)]
    pub unsafe fn group_leader<A: Access>(self) -> Task {
        Task(A::load(self.0, off!(task_group_leader)))
    }

    /// CLOCK_BOOTTIME, ns, of this thread's start.
    #[inline(always)]
    pub unsafe fn start<A: Access>(self) -> u64 {
        A::load(self.0, off!(task_start))
    }

    /// Where the 16 bytes of the command name are.
    #[inline(always)]
    pub unsafe fn comm(self) -> *const u8 {
        self.0.wrapping_add(off!(task_comm) as usize)
    }

    #[inline(always)]
    pub unsafe fn is_kernel_thread<A: Access>(self) -> bool {
        A::load::<u32>(self.0, off!(task_flags)) & KERNEL_THREAD != 0
    }

    /// The system call that it makes is one of a 32-bit program; false where the kernel does not tell (arm64).
    #[inline(always)]
    pub unsafe fn in_32_bit_call<A: Access>(self) -> bool {
        /// arch/x86/include/asm/thread_info.h
        const TS_COMPAT: u32 = 2;
        off!(task_status) != ABSENT && A::load::<u32>(self.0, off!(task_status)) & TS_COMPAT != 0
    }

    #[inline(always)]
    pub unsafe fn exit_code<A: Access>(self) -> u32 {
        A::load(self.0, off!(task_exit_code))
    }

    /// User and system time by the tick, and time by the scheduler's clock, ns, of this thread.
    #[inline(always)]
    pub unsafe fn times<A: Access>(self) -> (u64, u64, u64) {
        (
            A::load(self.0, off!(task_utime)),
            A::load(self.0, off!(task_stime)),
            A::load(self.0, off!(task_runtime)),
        )
    }

    /// Page faults of this thread: minor, major.
    #[inline(always)]
    pub unsafe fn faults<A: Access>(self) -> (u64, u64) {
        (A::load(self.0, off!(task_min_flt)), A::load(self.0, off!(task_maj_flt)))
    }

    #[inline(always)]
    pub unsafe fn signal<A: Access>(self) -> Signal {
        Signal(A::load(self.0, off!(task_signal)))
    }

    #[inline(always)]
    pub unsafe fn cred<A: Access>(self) -> *const u8 {
        A::load(self.0, off!(task_cred))
    }

    #[inline(always)]
    pub unsafe fn nsproxy<A: Access>(self) -> *const u8 {
        A::load(self.0, off!(task_nsproxy))
    }

    #[inline(always)]
    pub unsafe fn thread_pid<A: Access>(self) -> super::pid::Pid {
        super::pid::Pid(A::load(self.0, off!(task_thread_pid)))
    }

    #[inline(always)]
    pub unsafe fn cgroups<A: Access>(self) -> *const u8 {
        A::load(self.0, off!(task_cgroups))
    }

    #[inline(always)]
    pub unsafe fn stack<A: Access>(self) -> *const u8 {
        A::load(self.0, off!(task_stack))
    }

    /// Audit login uid and session id; all ones where the kernel keeps none.
    #[inline(always)]
    pub unsafe fn audit<A: Access>(self) -> (u32, u32) {
        let mut ids = (u32::MAX, u32::MAX);
        if off!(task_loginuid) != hostward_abi::offsets::ABSENT {
            ids.0 = A::load(self.0, off!(task_loginuid));
        }
        if off!(task_sessionid) != hostward_abi::offsets::ABSENT {
            ids.1 = A::load(self.0, off!(task_sessionid));
        }
        ids
    }

    /// `mm_struct`; null for kernel threads and after exit.
    #[inline(always)]
    pub unsafe fn mm<A: Access>(self) -> Mm {
        Mm(A::load(self.0, off!(task_mm)))
    }

    /// Its root directory; paths stop there.
    #[inline(always)]
    pub unsafe fn root<A: Access>(self) -> Location {
        let fs: *const u8 = A::load(self.0, off!(task_fs));
        Location { mnt: A::load(fs, off!(fs_root_mnt)), dentry: A::load(fs, off!(fs_root_dentry)) }
    }

    /// Its working directory.
    #[inline(always)]
    pub unsafe fn cwd<A: Access>(self) -> Location {
        let fs: *const u8 = A::load(self.0, off!(task_fs));
        Location { mnt: A::load(fs, off!(fs_pwd_mnt)), dentry: A::load(fs, off!(fs_pwd_dentry)) }
    }

    /// The file behind a descriptor; null when there is none.
    #[inline(always)]
    pub unsafe fn file<A: Access>(self, fd: u32) -> File {
        let files: *const u8 = A::load(self.0, off!(task_files));
        let table: *const u8 = A::load(files, off!(files_fdt));
        let max: u32 = A::load(table, off!(fdt_max_fds));
        if fd >= max {
            return File(core::ptr::null());
        }
        let array: *const u8 = A::load(table, off!(fdt_fd));
        File(Probe::load(array.wrapping_add(fd as usize * size_of::<*const u8>()), 0))
    }
}

impl Task {
    /// [`Self::file`] of the current task.
    ///
    /// # Safety
    /// Self is [`current`].
    #[inline(always)]
    pub unsafe fn open_file(self, fd: u32) -> File {
        self.file::<Current>(fd)
    }
}

/// `struct mm_struct`.
#[derive(Clone, Copy)]
pub struct Mm(pub *const u8);

#[expect(clippy::missing_safety_doc, reason = "all: self is an mm_struct that `A` may load from")]
impl Mm {
    /// First and one past the last byte of the arguments, in user memory.
    #[inline(always)]
    pub unsafe fn args<A: Access>(self) -> (u64, u64) {
        (A::load(self.0, off!(mm_arg_start)), A::load(self.0, off!(mm_arg_end)))
    }

    /// First and one past the last byte of the environment, in user memory.
    #[inline(always)]
    pub unsafe fn environment<A: Access>(self) -> (u64, u64) {
        (A::load(self.0, off!(mm_env_start)), A::load(self.0, off!(mm_env_end)))
    }

    /// How many threads and processes use it.
    #[inline(always)]
    pub unsafe fn users<A: Access>(self) -> u32 {
        A::load(self.0, off!(mm_users))
    }

    #[inline(always)]
    pub unsafe fn exe_file<A: Access>(self) -> File {
        File(A::load(self.0, off!(mm_exe_file)))
    }
}
