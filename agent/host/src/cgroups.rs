//! The cgroup hierarchies that are mounted, and which path of a process is to be told.
//!
//! On v2 a process has one cgroup. On v1 it has one in each hierarchy, and on a hybrid host both;
//! runtimes put a container into all of them under one path, but others do not: conmon sits in a
//! cgroup of its own in `pids` alone. So for a cgroup that the kernel named by its id, the path is that
//! of the directory with this inode, and only for the root, which tells nothing, the best of all.

use crate::proc::Line;
use crate::read_bounded;
use hostward_event::Text;
use hostward_event::raw::RawCgroup;
use rustix::fs::stat;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

/// The controllers whose v1 hierarchy stands in where the unified one says nothing, the first that
/// has a process out of its root; the sensor's programs take the same.
const V1_CONTROLLERS: [&[u8]; 3] = [b"memory", b"pids", b"devices"];

/// A host with more cgroups than this gets no answers about processes that are gone.
const MAX_DIRECTORIES: usize = 20_000;
const MAX_MOUNTINFO_BYTES: u64 = 8 * 1024 * 1024;

/// Which cgroup hierarchies a host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupMode {
    /// The unified hierarchy alone.
    V2,
    /// The unified one beside v1 controllers.
    Hybrid,
    /// v1 controllers alone.
    V1,
    /// None is mounted where this process can see it.
    Absent,
}

impl CgroupMode {
    /// The word in `hostward doctor` and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::Hybrid => "hybrid",
            Self::V1 => "v1",
            Self::Absent => "absent",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    /// None: the unified hierarchy.
    controllers: Option<Vec<Vec<u8>>>,
    /// The directory of the hierarchy that is mounted, `/` for all of it.
    root: Vec<u8>,
    point: PathBuf,
}

impl Mount {
    fn is_of(&self, line: Line<'_>) -> bool {
        match &self.controllers {
            None => line.controllers.is_empty(),
            Some(own) => line.controllers.split(|b| *b == b',').any(|name| own.iter().any(|o| o == name)),
        }
    }

    /// Where the directory of a path lies, if it lies below what is mounted.
    fn directory(&self, path: &[u8]) -> Option<PathBuf> {
        let inner = if self.root == b"/" { path } else { path.strip_prefix(self.root.as_slice())? };
        let inner = inner.strip_prefix(b"/").unwrap_or(inner);
        // Paths out of our cgroup namespace begin with `/..`; they lead nowhere from here.
        (!inner.split(|b| *b == b'/').any(|part| part == b".."))
            .then(|| self.point.join(OsStr::from_bytes(inner)))
    }
}

/// The mounted hierarchies.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Hierarchies {
    mounts: Vec<Mount>,
}

impl Hierarchies {
    /// Reads which hierarchies are mounted now, from `mountinfo` below `proc` (`/proc`).
    pub fn read(proc: &Path) -> Self {
        let file = read_bounded(&proc.join("self/mountinfo"), MAX_MOUNTINFO_BYTES).unwrap_or_default();
        Self::parse(&file)
    }

    fn parse(mountinfo: &[u8]) -> Self {
        let mut mounts: Vec<Mount> = Vec::new();
        for mount in mountinfo.split(|b| *b == b'\n').filter_map(parse_mount) {
            // Containers' bind mounts of the same hierarchy come later, and show less of it.
            match mounts.iter_mut().find(|known| known.controllers == mount.controllers) {
                Some(known) if known.root.len() > mount.root.len() => *known = mount,
                Some(_) => {}
                None => mounts.push(mount),
            }
        }
        Self { mounts }
    }

    /// Which kinds of hierarchy there are.
    pub fn mode(&self) -> CgroupMode {
        let unified = self.mounts.iter().any(|mount| mount.controllers.is_none());
        // `name=` hierarchies have no controller; systemd mounts one on v1 and hybrid hosts only.
        let v1 = self.mounts.iter().any(|mount| mount.controllers.is_some());
        match (unified, v1) {
            (true, false) => CgroupMode::V2,
            (true, true) => CgroupMode::Hybrid,
            (false, true) => CgroupMode::V1,
            (false, false) => CgroupMode::Absent,
        }
    }

    /// Inode of the directory, which is the cgroup's id.
    fn id(&self, line: Line<'_>) -> Option<u64> {
        let mount = self.mounts.iter().find(|mount| mount.is_of(line))?;
        Some(stat(mount.directory(line.path)?).ok()?.st_ino)
    }

    /// Id and path of a cgroup whose directory is told as it is mounted here. The id is 0 when it is gone.
    pub(crate) fn path_of(&self, dir: &Path) -> Option<(u64, Text)> {
        let within = self.mounts.iter().filter(|mount| dir.starts_with(&mount.point));
        let mount = within.max_by_key(|mount| mount.point.components().count())?;
        let inner = dir.strip_prefix(&mount.point).ok()?;
        let above = if mount.root == b"/" { &[][..] } else { mount.root.as_slice() };
        let path = [above, b"/", inner.as_os_str().as_bytes()].concat();
        let id = stat(mount.directory(&path)?).map_or(0, |stat| stat.st_ino);
        Some((id, Text::from(path)))
    }

    /// Id of the cgroup with this path, in the hierarchy that the sensor's programs name.
    pub(crate) fn id_of(&self, path: &Text) -> Option<u64> {
        let unified = self.mounts.iter().find(|mount| mount.controllers.is_none());
        let v1 = V1_CONTROLLERS.iter().filter_map(|name| {
            let has = |mount: &&Mount| mount.controllers.iter().flatten().any(|own| own == name);
            self.mounts.iter().find(has)
        });
        let mut all = unified.into_iter().chain(v1);
        all.find_map(|mount| Some(stat(mount.directory(path.as_bytes())?).ok()?.st_ino))
    }

    /// The cgroup that the sensor's programs would name for a process with these lines.
    pub(crate) fn cgroup(&self, lines: &[Line<'_>]) -> RawCgroup {
        let unified = lines.iter().copied().find(|line| line.controllers.is_empty());
        let v1 = V1_CONTROLLERS.iter().filter_map(|name| {
            lines.iter().copied().find(|line| line.controllers.split(|b| *b == b',').any(|own| own == *name))
        });
        let out_of_root = unified.into_iter().chain(v1).find(|line| line.path != b"/");
        let Some(line) = out_of_root else { return RawCgroup { id: 1, ..RawCgroup::default() } };
        let mut parts = line.path.rsplit(|b| *b == b'/');
        RawCgroup {
            id: self.id(line).unwrap_or_default(),
            v1: !line.controllers.is_empty(),
            leaf: Text::copy(parts.next().unwrap_or_default()),
            parent: Text::copy(parts.next().unwrap_or_default()),
        }
    }

    /// The path to tell of a process with these lines, which the kernel says is in `cgroup_id`. None
    /// when none of them is that cgroup: the process was moved.
    pub(crate) fn path(&self, lines: &[Line<'_>], cgroup_id: u64) -> Option<Text> {
        if cgroup_id <= 1 {
            return lines.iter().min_by_key(|line| rank(**line)).map(|line| Text::copy(line.path));
        }
        let mut unreadable = None;
        for line in by_preference(lines) {
            match self.id(line) {
                Some(id) if id == cgroup_id => return Some(Text::copy(line.path)),
                // The directory is gone, or not mounted here: its path is still what the process has.
                None if line.path != b"/" => unreadable = unreadable.or(Some(line.path)),
                _ => {}
            }
        }
        unreadable.map(Text::copy)
    }

    /// Path of the cgroup with this id, found by a walk of the trees. None as well when two
    /// hierarchies have such a directory: the id does not tell which is meant.
    pub(crate) fn find(&self, cgroup_id: u64) -> Option<Text> {
        let wanted = |mount: &&Mount| match &mount.controllers {
            None => true,
            Some(own) => own.iter().any(|name| V1_CONTROLLERS.contains(&name.as_slice())),
        };
        let mut budget = MAX_DIRECTORIES;
        let mut found: Vec<Vec<u8>> = self
            .mounts
            .iter()
            .filter(wanted)
            .filter_map(|mount| walk(mount, cgroup_id, &mut budget))
            .collect();
        found.sort();
        found.dedup();
        let path = found.pop()?;
        found.is_empty().then(|| Text::from(path))
    }
}

/// Lines in the order in which the sensor's programs take a cgroup's id from them.
fn by_preference<'a>(lines: &[Line<'a>]) -> Vec<Line<'a>> {
    let mut sorted = lines.to_vec();
    sorted.sort_by_key(|line| preference(*line));
    sorted
}

fn preference(line: Line<'_>) -> usize {
    if line.controllers.is_empty() {
        return 0;
    }
    let own = |name: &&[u8]| line.controllers.split(|b| *b == b',').any(|own| own == *name);
    1 + V1_CONTROLLERS.iter().position(own).unwrap_or(V1_CONTROLLERS.len())
}

/// Less is better: first what looks like a container, then a unit, then anything but the root.
fn rank(line: Line<'_>) -> (u8, usize) {
    let mut parts = line.path.split(|b| *b == b'/').filter(|part| !part.is_empty()).peekable();
    let class = if parts.peek().is_none() {
        3
    } else {
        parts.map(|part| if is_container(part) { 0 } else { 2 - u8::from(is_unit(part)) }).min().unwrap_or(2)
    };
    (class, preference(line))
}

fn is_container(part: &[u8]) -> bool {
    let hex = part.split(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')).any(|run| run.len() == 64);
    hex || matches!(part, b"lxc" | b"k8s.io") || part.starts_with(b"lxc.payload")
}

fn is_unit(part: &[u8]) -> bool {
    part.ends_with(b".service") || part.ends_with(b".scope")
}

fn walk(mount: &Mount, cgroup_id: u64, budget: &mut usize) -> Option<Vec<u8>> {
    let mut todo: Vec<PathBuf> = vec![PathBuf::new()];
    while let Some(inner) = todo.pop() {
        // A directory may vanish between the listing and its turn.
        let Ok(entries) = fs::read_dir(mount.point.join(&inner)) else { continue };
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            *budget = budget.checked_sub(1)?;
            let path = inner.join(entry.file_name());
            if entry.ino() == cgroup_id {
                let above = if mount.root == b"/" { &[][..] } else { mount.root.as_slice() };
                return Some([above, b"/", path.as_os_str().as_bytes()].concat());
            }
            todo.push(path);
        }
    }
    None
}

/// A line of mountinfo, proc_pid_mountinfo(5): `31 23 0:28 ROOT POINT OPTIONS … - TYPE SOURCE SUPER`.
fn parse_mount(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    let options = || fields.get(dash + 3).copied().unwrap_or_default().split(|b| *b == b',');
    let controllers = match *fields.get(dash + 1)? {
        b"cgroup2" => None,
        b"cgroup" => {
            Some(options().filter(|word| !matches!(*word, b"rw" | b"ro")).map(<[u8]>::to_vec).collect())
        }
        _ => return None,
    };
    let root = unescape(fields.get(3)?);
    let point = unescape(fields.get(4)?);
    Some(Mount { controllers, root, point: PathBuf::from(OsStr::from_bytes(&point)) })
}

/// Blank, tab, line feed and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, tail)) = rest.split_first() {
        if *byte == b'\\'
            && let Some((digits, after)) = tail.split_at_checked(3)
            && let Some(value) = str::from_utf8(digits).ok().and_then(|text| u8::from_str_radix(text, 8).ok())
        {
            out.push(value);
            rest = after;
        } else {
            out.push(*byte);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::cgroup_lines;
    use proptest::prelude::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const HYBRID: &[u8] = b"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,xattr,name=systemd\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
        99 31 0:38 /docker/x /var/lib/x/sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_mode_follows_from_what_is_mounted() {
        let mode = |file: &[u8]| Hierarchies::parse(file).mode();
        assert_eq!(mode(HYBRID), CgroupMode::Hybrid);
        assert_eq!(mode(b"30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate"), CgroupMode::V2);
        assert_eq!(mode(b"30 24 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids"), CgroupMode::V1);
        assert_eq!(mode(b"nonsense\n- - -\n30 24 0:26 / / rw - ext4 /dev/a rw"), CgroupMode::Absent);
    }

    #[test]
    fn the_root_is_told_by_the_line_that_says_most() {
        let best = |file: String| {
            let lines = cgroup_lines(file.as_bytes());
            Hierarchies::default().path(&lines, 1).map(|path| path.to_string())
        };
        let docker = format!("/docker/{ID}");
        let table = [
            (format!("9:name=systemd:/\n4:memory:{docker}\n0::/\n"), docker.clone()),
            (
                "9:pids:/libpod_parent/conmon\n4:memory:/system.slice/a.service\n0::/\n".into(),
                "/system.slice/a.service".into(),
            ),
            ("9:pids:/a\n4:memory:/b\n0::/\n".into(), "/b".into()),
            ("9:cpu:/a\n0::/c\n".into(), "/c".into()),
            ("9:pids:/lxc/web\n0::/user.slice/x.scope\n".into(), "/lxc/web".into()),
            ("9:pids:/\n0::/\n".into(), "/".into()),
        ];
        for (file, path) in table {
            assert_eq!(best(file.clone()).as_deref(), Some(path.as_str()), "{file}");
        }
        assert_eq!(best(String::new()), None);
    }

    #[test]
    fn a_directory_out_of_what_is_mounted_is_not_looked_for() {
        let mount = parse_mount(b"1 2 0:3 /a\\040b /mnt/x rw - cgroup2 c rw").unwrap();
        assert_eq!(mount.directory(b"/a b/c"), Some(PathBuf::from("/mnt/x/c")));
        assert_eq!([mount.directory(b"/c"), mount.directory(b"/a b/../..")], [None, None]);
    }

    #[test]
    fn this_host_tells_its_cgroups_by_their_inodes() {
        let hierarchies = Hierarchies::read(Path::new("/proc"));
        let file = std::fs::read("/proc/self/cgroup").unwrap();
        let lines = cgroup_lines(&file);
        let cgroup = hierarchies.cgroup(&lines);
        if cgroup.id <= 1 {
            eprintln!("not tested: this process is in the root of every hierarchy that counts");
            return;
        }
        let path = hierarchies.path(&lines, cgroup.id).unwrap();
        assert!(path.as_bytes().ends_with(cgroup.leaf.as_bytes()), "{path}");
        assert_eq!(hierarchies.path(&lines, u64::MAX), None, "a cgroup that it is not in");
        if let Some(found) = hierarchies.find(cgroup.id) {
            assert_eq!(found, path, "the walk finds the same");
        } else {
            assert_eq!(
                hierarchies.mode(),
                CgroupMode::Hybrid,
                "only with several trees an id may be ambiguous"
            );
        }
    }

    proptest! {
        #[test]
        fn any_mountinfo_is_read(file: Vec<u8>) {
            let _ = Hierarchies::parse(&file);
            let _ = unescape(&file);
        }
    }
}
