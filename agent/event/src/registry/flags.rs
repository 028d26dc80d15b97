//! Names of kernel numbers, spelled as the kernel and the published rule language spell them.

use super::{Value, spare};

/// Capability names by bit, include/uapi/linux/capability.h.
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Names of the capabilities in `set`, lowest bit first.
pub(super) fn capabilities(set: u64) -> impl Iterator<Item = &'static str> {
    CAPABILITIES.into_iter().enumerate().filter(move |(bit, _)| set & (1 << bit) != 0).map(|(_, name)| name)
}

/// O_CREAT of the generic (x86, arm64) numbering, include/uapi/asm-generic/fcntl.h.
pub(super) const O_CREAT: u64 = 0o100;
/// O_TRUNC.
pub(super) const O_TRUNC: u64 = 0o1000;
/// __O_TMPFILE, without the O_DIRECTORY bit that O_TMPFILE carries too.
pub(super) const O_TMPFILE_BIT: u64 = 0o20_000_000;
/// O_ACCMODE.
pub(super) const O_ACCMODE: u64 = 3;
/// Pseudo flag of the published rule language: the call created the file.
pub(super) const FILE_CREATED: &str = "O_F_CREATED";

/// Bits above the access mode, with the names that rules know.
const OPEN_FLAGS: [(u64, &str); 13] = [
    (O_CREAT, "O_CREAT"),
    (0o200, "O_EXCL"),
    (O_TRUNC, "O_TRUNC"),
    (0o2000, "O_APPEND"),
    (0o4000, "O_NONBLOCK"),
    (0o10_000, "O_DSYNC"),
    (0o40_000, "O_DIRECT"),
    (0o100_000, "O_LARGEFILE"),
    (0o200_000, "O_DIRECTORY"),
    (0o400_000, "O_NOFOLLOW"),
    (0o2_000_000, "O_CLOEXEC"),
    (0o10_000_000, "O_PATH"),
    (O_TMPFILE_BIT, "O_TMPFILE"),
];

/// The flags of an open, joined by `|`: `O_WRONLY|O_CREAT|O_F_CREATED`.
pub(super) fn open_flags(flags: u64, created: bool) -> String {
    let mut out = spare::string();
    out.push_str(match flags & O_ACCMODE {
        0 => "O_RDONLY",
        1 => "O_WRONLY",
        _ => "O_RDWR",
    });
    let set = OPEN_FLAGS.into_iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| name);
    for name in set.chain(created.then_some(FILE_CREATED)) {
        out.push('|');
        out.push_str(name);
    }
    out
}

const MODE_BITS: [(u32, &str); 12] = [
    (0o4000, "S_ISUID"),
    (0o2000, "S_ISGID"),
    (0o1000, "S_ISVTX"),
    (0o400, "S_IRUSR"),
    (0o200, "S_IWUSR"),
    (0o100, "S_IXUSR"),
    (0o40, "S_IRGRP"),
    (0o20, "S_IWGRP"),
    (0o10, "S_IXGRP"),
    (0o4, "S_IROTH"),
    (0o2, "S_IWOTH"),
    (0o1, "S_IXOTH"),
];

/// Permission bits by their names, joined by `|`; `0` for none.
pub(super) fn mode(mode: u32) -> String {
    joined_or_0(MODE_BITS.into_iter().filter(|(bit, _)| mode & bit != 0).map(|(_, name)| name))
}

/// Names with `|` between; `0` for none.
pub(super) fn joined_or_0(names: impl Iterator<Item = &'static str>) -> String {
    let mut out = joined(names, "|");
    if out.is_empty() {
        out.push('0');
    }
    out
}

/// Names with `between` between.
pub(super) fn joined(names: impl Iterator<Item = &'static str>, between: &str) -> String {
    let mut out = spare::string();
    for name in names {
        if !out.is_empty() {
            out.push_str(between);
        }
        out.push_str(name);
    }
    out
}

/// Signals by number, from 1; arch/x86 and the generic numbering agree.
const SIGNALS: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// A signal's name; none for real-time signals.
pub(super) fn signal(number: u64) -> Option<&'static str> {
    SIGNALS.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
}

/// errno names by number, include/uapi/asm-generic/errno{-base,}.h.
const ERRNO: [(i64, &str); 60] = [
    (1, "EPERM"),
    (2, "ENOENT"),
    (3, "ESRCH"),
    (4, "EINTR"),
    (5, "EIO"),
    (6, "ENXIO"),
    (7, "E2BIG"),
    (8, "ENOEXEC"),
    (9, "EBADF"),
    (10, "ECHILD"),
    (11, "EAGAIN"),
    (12, "ENOMEM"),
    (13, "EACCES"),
    (14, "EFAULT"),
    (15, "ENOTBLK"),
    (16, "EBUSY"),
    (17, "EEXIST"),
    (18, "EXDEV"),
    (19, "ENODEV"),
    (20, "ENOTDIR"),
    (21, "EISDIR"),
    (22, "EINVAL"),
    (23, "ENFILE"),
    (24, "EMFILE"),
    (25, "ENOTTY"),
    (26, "ETXTBSY"),
    (27, "EFBIG"),
    (28, "ENOSPC"),
    (29, "ESPIPE"),
    (30, "EROFS"),
    (31, "EMLINK"),
    (32, "EPIPE"),
    (36, "ENAMETOOLONG"),
    (38, "ENOSYS"),
    (39, "ENOTEMPTY"),
    (40, "ELOOP"),
    (75, "EOVERFLOW"),
    (88, "ENOTSOCK"),
    (89, "EDESTADDRREQ"),
    (90, "EMSGSIZE"),
    (91, "EPROTOTYPE"),
    (92, "ENOPROTOOPT"),
    (93, "EPROTONOSUPPORT"),
    (95, "EOPNOTSUPP"),
    (97, "EAFNOSUPPORT"),
    (98, "EADDRINUSE"),
    (99, "EADDRNOTAVAIL"),
    (100, "ENETDOWN"),
    (101, "ENETUNREACH"),
    (103, "ECONNABORTED"),
    (104, "ECONNRESET"),
    (105, "ENOBUFS"),
    (106, "EISCONN"),
    (110, "ETIMEDOUT"),
    (111, "ECONNREFUSED"),
    (112, "EHOSTDOWN"),
    (113, "EHOSTUNREACH"),
    (114, "EALREADY"),
    (115, "EINPROGRESS"),
    (122, "EDQUOT"),
];

/// `SUCCESS` for a result that is not negative, else the errno's name, else its number.
pub(super) fn result(code: i64) -> Value<'static> {
    if code >= 0 {
        return "SUCCESS".into();
    }
    let name = ERRNO.iter().find(|(number, _)| *number == -code).map(|(_, name)| *name);
    name.map_or_else(|| Value::shown(code), Into::into)
}

/// Socket families that rules name.
pub(super) const AF_UNIX: u16 = 1;
/// IPv4.
pub(super) const AF_INET: u16 = 2;
/// IPv6.
pub(super) const AF_INET6: u16 = 10;

/// Transport of a socket: by IPPROTO_*, else by SOCK_*; none when neither tells.
pub(super) const fn transport(protocol: u16, sock_type: u16) -> Option<&'static str> {
    Some(match (protocol, sock_type) {
        (6, _) => "tcp",
        (17, _) => "udp",
        (1, _) => "icmp",
        (58, _) => "ipv6-icmp",
        (132, _) => "sctp",
        (_, 3) => "raw",
        (0, 1) => "tcp",
        (0, 2) => "udp",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_read_as_rules_write_them() {
        assert_eq!(open_flags(0o101, true), "O_WRONLY|O_CREAT|O_F_CREATED");
        assert_eq!(open_flags(0, false), "O_RDONLY");
        assert_eq!(result(-13), "EACCES".into());
        assert_eq!(result(3), "SUCCESS".into());
        assert_eq!(result(-4000), "-4000".into());
        assert_eq!(capabilities(1 << 21 | 1).collect::<Vec<_>>(), ["CAP_CHOWN", "CAP_SYS_ADMIN"]);
    }
}
