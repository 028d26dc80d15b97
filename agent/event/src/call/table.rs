//! One row per system call, in the order of the kinds. Parameter names are the published ones.

use super::{Base, Form, Group, Param, Spec, Test, When, names};
use crate::EventKind;

const fn p(name: &'static str, at: u8, form: Form) -> Param {
    Param { name, at, form }
}

const fn call(kind: EventKind, group: Group, ecs_type: &'static str, params: &'static [Param]) -> Spec {
    Spec {
        kind,
        group,
        ecs_type,
        when: When::Returned,
        test: None,
        socket_only: false,
        telemetry: true,
        params,
    }
}

impl Spec {
    const fn when(mut self, when: When) -> Self {
        self.when = when;
        self
    }

    const fn test(mut self, at: u8, mask: u64, value: u64, differs: bool) -> Self {
        self.test = Some(Test { at, mask, value, differs });
        self
    }

    const fn sockets(mut self) -> Self {
        self.socket_only = true;
        self
    }

    /// Only for rules that ask for it.
    const fn asked(mut self) -> Self {
        self.telemetry = false;
        self
    }
}

/// See the module's head.
pub const TABLE: &[Spec] = &[
    call(EventKind::Unlink, Group::File, "deletion", &[p("path", 0, Form::Path(Base::Cwd))]),
    call(
        EventKind::Unlinkat,
        Group::File,
        "deletion",
        &[
            p("dirfd", 0, Form::Dirfd),
            p("name", 1, Form::Path(Base::Dir(0))),
            p("flags", 2, Form::Flags(names::UNLINK)),
        ],
    ),
    call(
        EventKind::Rename,
        Group::File,
        "change",
        &[p("oldpath", 0, Form::Path(Base::Cwd)), p("newpath", 1, Form::Path(Base::Cwd))],
    ),
    call(
        EventKind::Renameat,
        Group::File,
        "change",
        &[
            p("olddirfd", 0, Form::Dirfd),
            p("oldpath", 1, Form::Path(Base::Dir(0))),
            p("newdirfd", 2, Form::Dirfd),
            p("newpath", 3, Form::Path(Base::Dir(2))),
        ],
    ),
    call(
        EventKind::Renameat2,
        Group::File,
        "change",
        &[
            p("olddirfd", 0, Form::Dirfd),
            p("oldpath", 1, Form::Path(Base::Dir(0))),
            p("newdirfd", 2, Form::Dirfd),
            p("newpath", 3, Form::Path(Base::Dir(2))),
            p("flags", 4, Form::Flags(names::RENAME)),
        ],
    ),
    call(
        EventKind::Link,
        Group::File,
        "creation",
        &[p("oldpath", 0, Form::Path(Base::Cwd)), p("newpath", 1, Form::Path(Base::Cwd))],
    ),
    call(
        EventKind::Linkat,
        Group::File,
        "creation",
        &[
            p("olddir", 0, Form::Dirfd),
            p("oldpath", 1, Form::Path(Base::Dir(0))),
            p("newdir", 2, Form::Dirfd),
            p("newpath", 3, Form::Path(Base::Dir(2))),
            p("flags", 4, Form::Flags(names::LINK)),
        ],
    ),
    call(
        EventKind::Symlink,
        Group::File,
        "creation",
        &[p("target", 0, Form::Text), p("linkpath", 1, Form::Path(Base::Cwd))],
    ),
    call(
        EventKind::Symlinkat,
        Group::File,
        "creation",
        &[
            p("target", 0, Form::Text),
            p("linkdirfd", 1, Form::Dirfd),
            p("linkpath", 2, Form::Path(Base::Dir(1))),
        ],
    ),
    call(
        EventKind::Mkdir,
        Group::File,
        "creation",
        &[p("path", 0, Form::Path(Base::Cwd)), p("mode", 1, Form::Octal)],
    ),
    call(
        EventKind::Mkdirat,
        Group::File,
        "creation",
        &[p("dirfd", 0, Form::Dirfd), p("path", 1, Form::Path(Base::Dir(0))), p("mode", 2, Form::Octal)],
    ),
    call(EventKind::Rmdir, Group::File, "deletion", &[p("path", 0, Form::Path(Base::Cwd))]),
    call(
        EventKind::Chmod,
        Group::File,
        "change",
        &[p("filename", 0, Form::Path(Base::Cwd)), p("mode", 1, Form::Mode)],
    ),
    call(EventKind::Fchmod, Group::File, "change", &[p("fd", 0, Form::Fd), p("mode", 1, Form::Mode)]),
    call(
        EventKind::Fchmodat,
        Group::File,
        "change",
        &[p("dirfd", 0, Form::Dirfd), p("filename", 1, Form::Path(Base::Dir(0))), p("mode", 2, Form::Mode)],
    ),
    call(
        EventKind::Fchmodat2,
        Group::File,
        "change",
        &[
            p("dirfd", 0, Form::Dirfd),
            p("filename", 1, Form::Path(Base::Dir(0))),
            p("mode", 2, Form::Mode),
            p("flags", 3, Form::Flags(names::LINK)),
        ],
    ),
    call(
        EventKind::Chown,
        Group::File,
        "change",
        &[p("path", 0, Form::Path(Base::Cwd)), p("uid", 1, Form::User), p("gid", 2, Form::Group)],
    ),
    call(
        EventKind::Lchown,
        Group::File,
        "change",
        &[p("path", 0, Form::Path(Base::Cwd)), p("uid", 1, Form::User), p("gid", 2, Form::Group)],
    ),
    call(
        EventKind::Fchown,
        Group::File,
        "change",
        &[p("fd", 0, Form::Fd), p("uid", 1, Form::User), p("gid", 2, Form::Group)],
    ),
    call(
        EventKind::Fchownat,
        Group::File,
        "change",
        &[
            p("dirfd", 0, Form::Dirfd),
            p("pathname", 1, Form::Path(Base::Dir(0))),
            p("uid", 2, Form::User),
            p("gid", 3, Form::Group),
            p("flags", 4, Form::Flags(names::LINK)),
        ],
    ),
    call(
        EventKind::Truncate,
        Group::File,
        "change",
        &[p("path", 0, Form::Path(Base::Cwd)), p("length", 1, Form::Uint)],
    ),
    call(EventKind::Ftruncate, Group::File, "change", &[p("fd", 0, Form::Fd), p("length", 1, Form::Uint)]),
    call(
        EventKind::Setxattr,
        Group::File,
        "change",
        &[
            p("path", 0, Form::Path(Base::Cwd)),
            p("name", 1, Form::Text),
            p("size", 3, Form::Uint),
            p("flags", 4, Form::Int),
        ],
    ),
    call(
        EventKind::Lsetxattr,
        Group::File,
        "change",
        &[
            p("path", 0, Form::Path(Base::Cwd)),
            p("name", 1, Form::Text),
            p("size", 3, Form::Uint),
            p("flags", 4, Form::Int),
        ],
    ),
    call(
        EventKind::Fsetxattr,
        Group::File,
        "change",
        &[p("fd", 0, Form::Fd), p("name", 1, Form::Text), p("size", 3, Form::Uint), p("flags", 4, Form::Int)],
    ),
    call(
        EventKind::Removexattr,
        Group::File,
        "change",
        &[p("path", 0, Form::Path(Base::Cwd)), p("name", 1, Form::Text)],
    ),
    call(
        EventKind::Lremovexattr,
        Group::File,
        "change",
        &[p("path", 0, Form::Path(Base::Cwd)), p("name", 1, Form::Text)],
    ),
    call(EventKind::Fremovexattr, Group::File, "change", &[p("fd", 0, Form::Fd), p("name", 1, Form::Text)]),
    call(
        EventKind::Utime,
        Group::File,
        "change",
        &[p("path", 0, Form::Path(Base::Cwd)), p("times", 1, Form::Bytes(16))],
    ),
    call(
        EventKind::Utimes,
        Group::File,
        "change",
        &[p("path", 0, Form::Path(Base::Cwd)), p("times", 1, Form::Bytes(32))],
    ),
    call(
        EventKind::Futimesat,
        Group::File,
        "change",
        &[p("dirfd", 0, Form::Dirfd), p("path", 1, Form::Path(Base::Dir(0))), p("times", 2, Form::Bytes(32))],
    ),
    call(
        EventKind::Utimensat,
        Group::File,
        "change",
        &[
            p("dirfd", 0, Form::Dirfd),
            p("path", 1, Form::Path(Base::Dir(0))),
            p("times", 2, Form::Bytes(32)),
            p("flags", 3, Form::Flags(names::LINK)),
        ],
    ),
    call(
        EventKind::Mknod,
        Group::File,
        "creation",
        &[p("path", 0, Form::Path(Base::Cwd)), p("mode", 1, Form::Octal), p("dev", 2, Form::Hex)],
    ),
    call(
        EventKind::Mknodat,
        Group::File,
        "creation",
        &[
            p("dirfd", 0, Form::Dirfd),
            p("path", 1, Form::Path(Base::Dir(0))),
            p("mode", 2, Form::Octal),
            p("dev", 3, Form::Hex),
        ],
    ),
    call(
        EventKind::Mount,
        Group::Privilege,
        "change",
        &[
            p("dev", 0, Form::Text),
            p("dir", 1, Form::Path(Base::Cwd)),
            p("type", 2, Form::Text),
            p("flags", 3, Form::Flags(names::MOUNT)),
        ],
    )
    .asked(),
    call(
        EventKind::Umount2,
        Group::Privilege,
        "change",
        &[p("name", 0, Form::Path(Base::Cwd)), p("flags", 1, Form::Flags(names::UMOUNT))],
    )
    .asked(),
    call(
        EventKind::PivotRoot,
        Group::Privilege,
        "change",
        &[p("new_root", 0, Form::Path(Base::Cwd)), p("put_old", 1, Form::Path(Base::Cwd))],
    ),
    call(EventKind::Chroot, Group::Privilege, "change", &[p("path", 0, Form::Path(Base::Cwd))]),
    call(
        EventKind::MoveMount,
        Group::Privilege,
        "change",
        &[
            p("from_dirfd", 0, Form::Dirfd),
            p("from_path", 1, Form::Path(Base::Dir(0))),
            p("to_dirfd", 2, Form::Dirfd),
            p("to_path", 3, Form::Path(Base::Dir(2))),
            p("flags", 4, Form::Hex),
        ],
    )
    .asked(),
    call(
        EventKind::OpenTree,
        Group::Privilege,
        "access",
        &[
            p("fd", 6, Form::Fd),
            p("dirfd", 0, Form::Dirfd),
            p("path", 1, Form::Path(Base::Dir(0))),
            p("flags", 2, Form::Hex),
        ],
    )
    .asked(),
    call(
        EventKind::Fsopen,
        Group::Privilege,
        "access",
        &[p("type", 0, Form::Text), p("flags", 1, Form::Hex)],
    )
    .asked(),
    call(
        EventKind::Fsmount,
        Group::Privilege,
        "change",
        &[p("fs_fd", 0, Form::Int), p("flags", 1, Form::Hex), p("attr_flags", 2, Form::Flags(names::MOUNT))],
    )
    .asked(),
    call(
        EventKind::MountSetattr,
        Group::Privilege,
        "change",
        &[p("dirfd", 0, Form::Dirfd), p("path", 1, Form::Path(Base::Dir(0))), p("flags", 2, Form::Hex)],
    )
    .asked(),
    call(EventKind::Setuid, Group::Privilege, "change", &[p("uid", 0, Form::User)]),
    call(EventKind::Setgid, Group::Privilege, "change", &[p("gid", 0, Form::Group)]),
    call(
        EventKind::Setreuid,
        Group::Privilege,
        "change",
        &[p("ruid", 0, Form::User), p("euid", 1, Form::User)],
    ),
    call(
        EventKind::Setregid,
        Group::Privilege,
        "change",
        &[p("rgid", 0, Form::Group), p("egid", 1, Form::Group)],
    ),
    call(
        EventKind::Setresuid,
        Group::Privilege,
        "change",
        &[p("ruid", 0, Form::User), p("euid", 1, Form::User), p("suid", 2, Form::User)],
    ),
    call(
        EventKind::Setresgid,
        Group::Privilege,
        "change",
        &[p("rgid", 0, Form::Group), p("egid", 1, Form::Group), p("sgid", 2, Form::Group)],
    ),
    call(EventKind::Setfsuid, Group::Privilege, "change", &[p("uid", 0, Form::User)]).asked(),
    call(EventKind::Setfsgid, Group::Privilege, "change", &[p("gid", 0, Form::Group)]).asked(),
    call(EventKind::Setgroups, Group::Privilege, "change", &[p("size", 0, Form::Int)]),
    call(
        EventKind::Capset,
        Group::Privilege,
        "change",
        &[
            p("cap_inheritable", 1, Form::Caps(2)),
            p("cap_permitted", 1, Form::Caps(1)),
            p("cap_effective", 1, Form::Caps(0)),
            p("header", 0, Form::Hex),
            p("data", 1, Form::Bytes(24)),
        ],
    ),
    call(
        EventKind::Setns,
        Group::Privilege,
        "change",
        &[p("fd", 0, Form::Fd), p("nstype", 1, Form::Flags(names::CLONE))],
    ),
    call(EventKind::Unshare, Group::Privilege, "change", &[p("flags", 0, Form::Flags(names::CLONE))]),
    call(
        EventKind::Prctl,
        Group::Privilege,
        "change",
        &[
            p("option", 0, Form::Word(names::PRCTL)),
            p("arg2_str", 1, Form::Chars(16)),
            p("arg2_int", 1, Form::Uint),
        ],
    )
    .asked(),
    call(
        EventKind::Ptrace,
        Group::Memory,
        "access",
        &[
            p("request", 0, Form::Word(names::PTRACE)),
            p("pid", 1, Form::Pid),
            p("addr", 2, Form::Hex),
            p("data", 3, Form::Hex),
        ],
    ),
    call(
        EventKind::ProcessVmWritev,
        Group::Memory,
        "change",
        &[p("pid", 0, Form::Pid), p("data", 1, Form::Hex)],
    ),
    call(
        EventKind::ProcessVmReadv,
        Group::Memory,
        "access",
        &[p("pid", 0, Form::Pid), p("data", 1, Form::Hex)],
    ),
    call(
        EventKind::MemfdCreate,
        Group::Memory,
        "change",
        &[p("fd", 6, Form::Int), p("name", 0, Form::Text), p("flags", 1, Form::Flags(names::MEMFD))],
    ),
    call(
        EventKind::Mmap,
        Group::Memory,
        "change",
        &[
            p("addr", 0, Form::Hex),
            p("length", 1, Form::Uint),
            p("prot", 2, Form::Flags(names::PROT)),
            p("flags", 3, Form::Flags(names::MAP)),
            p("fd", 4, Form::Fd),
            p("offset", 5, Form::Uint),
        ],
    )
    .when(When::Succeeded)
    .test(2, 6, 6, false)
    .asked(),
    call(
        EventKind::Mprotect,
        Group::Memory,
        "change",
        &[p("addr", 0, Form::Hex), p("length", 1, Form::Uint), p("prot", 2, Form::Flags(names::PROT))],
    )
    .test(2, 6, 6, false)
    .asked(),
    call(
        EventKind::PkeyMprotect,
        Group::Memory,
        "change",
        &[
            p("addr", 0, Form::Hex),
            p("length", 1, Form::Uint),
            p("prot", 2, Form::Flags(names::PROT)),
            p("pkey", 3, Form::Int),
        ],
    )
    .test(2, 6, 6, false)
    .asked(),
    call(EventKind::Userfaultfd, Group::Memory, "access", &[p("flags", 0, Form::Hex)]),
    call(
        EventKind::PidfdGetfd,
        Group::Memory,
        "access",
        &[
            p("fd", 6, Form::Int),
            p("pid_fd", 0, Form::Int),
            p("target_fd", 1, Form::Int),
            p("flags", 2, Form::Hex),
        ],
    ),
    call(
        EventKind::InitModule,
        Group::Kernel,
        "start",
        &[p("img", 0, Form::Hex), p("length", 1, Form::Uint), p("uargs", 2, Form::Text)],
    ),
    call(
        EventKind::FinitModule,
        Group::Kernel,
        "start",
        &[p("fd", 0, Form::Fd), p("uargs", 1, Form::Text), p("flags", 2, Form::Flags(names::MODULE))],
    ),
    call(
        EventKind::DeleteModule,
        Group::Kernel,
        "end",
        &[p("name", 0, Form::Text), p("flags", 1, Form::Hex)],
    ),
    call(
        EventKind::Bpf,
        Group::Kernel,
        "change",
        &[p("cmd", 0, Form::Word(names::BPF)), p("attr", 1, Form::Bytes(64)), p("size", 2, Form::Int)],
    )
    .asked(),
    call(
        EventKind::PerfEventOpen,
        Group::Kernel,
        "access",
        &[
            p("pid", 1, Form::Pid),
            p("cpu", 2, Form::Int),
            p("group_fd", 3, Form::Int),
            p("flags", 4, Form::Hex),
        ],
    ),
    call(
        EventKind::KexecLoad,
        Group::Kernel,
        "change",
        &[p("entry", 0, Form::Hex), p("nr_segments", 1, Form::Uint), p("flags", 3, Form::Hex)],
    ),
    call(
        EventKind::KexecFileLoad,
        Group::Kernel,
        "change",
        &[p("fd", 0, Form::Fd), p("initrd_fd", 1, Form::Int), p("flags", 4, Form::Hex)],
    ),
    call(
        EventKind::Keyctl,
        Group::Kernel,
        "change",
        &[p("operation", 0, Form::Word(names::KEYCTL)), p("arg2", 1, Form::Hex), p("arg3", 2, Form::Hex)],
    )
    .asked(),
    call(
        EventKind::AddKey,
        Group::Kernel,
        "change",
        &[p("type", 0, Form::Text), p("description", 1, Form::Text)],
    ),
    call(
        EventKind::RequestKey,
        Group::Kernel,
        "access",
        &[p("type", 0, Form::Text), p("description", 1, Form::Text)],
    ),
    call(EventKind::IoUringSetup, Group::Kernel, "access", &[p("entries", 0, Form::Uint)]),
    call(EventKind::Kill, Group::Signal, "info", &[p("pid", 0, Form::Pid), p("sig", 1, Form::Signal)])
        .test(1, 0x7fffffff, 0, true)
        .asked(),
    call(EventKind::Tkill, Group::Signal, "info", &[p("tid", 0, Form::Pid), p("sig", 1, Form::Signal)])
        .test(1, 0x7fffffff, 0, true)
        .asked(),
    call(
        EventKind::Tgkill,
        Group::Signal,
        "info",
        &[p("pid", 0, Form::Pid), p("tid", 1, Form::Pid), p("sig", 2, Form::Signal)],
    )
    .test(2, 0x7fffffff, 0, true)
    .asked(),
    call(
        EventKind::PidfdSendSignal,
        Group::Signal,
        "info",
        &[p("fd", 0, Form::Int), p("sig", 1, Form::Signal)],
    )
    .test(1, 0x7fffffff, 0, true)
    .asked(),
    call(
        EventKind::RtSigqueueinfo,
        Group::Signal,
        "info",
        &[p("pid", 0, Form::Pid), p("sig", 1, Form::Signal)],
    )
    .test(1, 0x7fffffff, 0, true)
    .asked(),
    call(
        EventKind::Socket,
        Group::Network,
        "start",
        &[
            p("fd", 6, Form::Fd),
            p("domain", 0, Form::Word(names::AF)),
            p("type", 1, Form::Word(names::SOCK)),
            p("proto", 2, Form::Int),
        ],
    )
    .asked(),
    call(EventKind::Bind, Group::Network, "start", &[p("addr", 1, Form::Address(2)), p("fd", 0, Form::Fd)])
        .asked(),
    call(EventKind::Listen, Group::Network, "start", &[p("fd", 0, Form::Fd), p("backlog", 1, Form::Int)]),
    call(EventKind::Accept, Group::Network, "start", &[p("fd", 6, Form::Fd), p("tuple", 6, Form::Tuple)])
        .when(When::Succeeded)
        .asked(),
    call(
        EventKind::Accept4,
        Group::Network,
        "start",
        &[p("fd", 6, Form::Fd), p("tuple", 6, Form::Tuple), p("flags", 3, Form::Hex)],
    )
    .when(When::Succeeded)
    .asked(),
    call(
        EventKind::Sendto,
        Group::Network,
        "access",
        &[p("fd", 0, Form::Fd), p("size", 2, Form::Uint), p("tuple", 4, Form::Address(5))],
    )
    .asked(),
    call(
        EventKind::Sendmsg,
        Group::Network,
        "access",
        &[p("fd", 0, Form::Fd), p("msg", 1, Form::Hex), p("flags", 2, Form::Hex)],
    )
    .asked(),
    call(EventKind::Sendmmsg, Group::Network, "access", &[p("fd", 0, Form::Fd), p("vlen", 2, Form::Int)])
        .asked(),
    call(EventKind::Dup, Group::Network, "info", &[p("oldfd", 0, Form::Int), p("fd", 6, Form::Fd)])
        .when(When::Succeeded)
        .test(6, 0xfffffffffffffffc, 0, false)
        .sockets(),
    call(
        EventKind::Dup2,
        Group::Network,
        "info",
        &[p("oldfd", 0, Form::Int), p("newfd", 1, Form::Int), p("fd", 6, Form::Fd)],
    )
    .when(When::Succeeded)
    .test(6, 0xfffffffffffffffc, 0, false)
    .sockets(),
    call(
        EventKind::Dup3,
        Group::Network,
        "info",
        &[
            p("oldfd", 0, Form::Int),
            p("newfd", 1, Form::Int),
            p("flags", 2, Form::Flags(names::OPEN)),
            p("fd", 6, Form::Fd),
        ],
    )
    .when(When::Succeeded)
    .test(6, 0xfffffffffffffffc, 0, false)
    .sockets(),
    call(EventKind::ExecveFailed, Group::Exec, "start", &[p("filename", 0, Form::Path(Base::Cwd))])
        .when(When::Failed)
        .asked(),
    call(
        EventKind::ExecveatFailed,
        Group::Exec,
        "start",
        &[
            p("dirfd", 0, Form::Dirfd),
            p("filename", 1, Form::Path(Base::Dir(0))),
            p("flags", 4, Form::Flags(names::LINK)),
        ],
    )
    .when(When::Failed)
    .asked(),
];
