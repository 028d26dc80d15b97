//! Which cgroup hierarchy tells workloads apart.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// In the order in which the programs take them, `ebpf/src/kernel/cgroup.rs`.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "devices"];

/// Number of the v1 hierarchy whose directories are those of workloads, as `cgroups` below `proc` lists it; 0 where the
/// unified hierarchy is mounted, or nothing is.
pub(crate) fn v1_hierarchy(proc: &Path) -> u32 {
    let text = |name: &str| std::fs::read_to_string(proc.join(name)).unwrap_or_default();
    if text("self/mounts").lines().any(|line| line.split(' ').nth(2) == Some("cgroup2")) {
        return 0;
    }
    let list = text("cgroups");
    let number = |name: &&str| {
        let mut line = list.lines().map(str::split_whitespace).find_map(|mut words| {
            let is_it = words.next() == Some(*name);
            is_it.then_some(words)
        })?;
        line.next()?.parse().ok().filter(|number| *number != 0)
    };
    CONTROLLERS.iter().find_map(number).unwrap_or(0)
}

/// Where the unified hierarchy is mounted by its root, as `self/mountinfo` below `proc` tells. A bind mount of a part of
/// it, as a container has, is not its root.
pub(crate) fn unified_root(proc: &Path) -> Option<PathBuf> {
    let mounts = std::fs::read(proc.join("self/mountinfo")).ok()?;
    mounts.split(|byte| *byte == b'\n').find_map(|line| {
        let mut words = line.split(|byte| *byte == b' ');
        let root = words.nth(3)?;
        let point = words.next()?;
        let kind = words.skip_while(|word| *word != b"-").nth(1)?;
        (root == b"/" && kind == b"cgroup2").then(|| PathBuf::from(OsStr::from_bytes(&unescaped(point))))
    })
}

/// The kernel writes blanks and their like as `\OOO`.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        let code = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *byte == b'\\') {
            Some(code) => {
                out.push(code);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_v1_hierarchy_stands_in_where_the_unified_one_is_not_mounted() {
        let proc = tempfile::tempdir().unwrap();
        std::fs::create_dir(proc.path().join("self")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(proc.path().join(name), text).unwrap();
        write(
            "cgroups",
            "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t1\t0\npids\t7\t40\t1\ndevices\t3\t9\t1\n",
        );
        assert_eq!(v1_hierarchy(proc.path()), 7);
        write("self/mounts", "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n");
        assert_eq!(v1_hierarchy(proc.path()), 7);
        write("self/mounts", "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n");
        assert_eq!(v1_hierarchy(proc.path()), 0);
        std::fs::remove_file(proc.path().join("self/mounts")).unwrap();
        write("cgroups", "\u{0}\nmemory\nmemory x\n");
        assert_eq!(v1_hierarchy(proc.path()), 0);
    }

    #[test]
    fn the_unified_hierarchy_is_where_its_root_is_mounted() {
        let proc = tempfile::tempdir().unwrap();
        assert_eq!(unified_root(proc.path()), None);
        std::fs::create_dir(proc.path().join("self")).unwrap();
        let write = |text: &str| std::fs::write(proc.path().join("self/mountinfo"), text).unwrap();
        let v1 = "30 24 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let part = "31 24 0:27 /docker/x /mnt rw shared:4 - cgroup2 cgroup2 rw\n";
        write(&format!("{v1}{part}"));
        assert_eq!(unified_root(proc.path()), None);
        write(&format!("{v1}{part}32 24 0:27 / /sys/fs/cgroup\\040two rw shared:4 - cgroup2 none rw\n"));
        assert_eq!(unified_root(proc.path()), Some(PathBuf::from("/sys/fs/cgroup two")));
    }
}
