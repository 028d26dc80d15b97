//! The directory of pins: who may use it, what lies in it, how it goes away.
//!
//! One directory per set of programs and maps that belong together, `FORMAT-ABI-PROGRAMS-SETTINGS`: two agents whose
//! names agree have the same programs with the same settings, so the later one goes on with those of the earlier; where
//! the programs alone agree, it takes their notes. Names of a BPF file system have no dots.

use crate::error::chain;
use crate::objects::LASTING;
use crate::rungs::Object;
use aya::maps::MapData;
use hostward_abi::VERSION;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open, statfs};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// `BPF_FS_MAGIC`, include/uapi/linux/magic.h.
const BPF_FS: i64 = 0xcafe_4a11;
/// Raised when the names or meanings of what is pinned change.
const FORMAT: &str = "set3";

/// Why pins cannot be used.
#[derive(Debug, Error)]
pub(super) enum ClaimError {
    /// It is no BPF file system.
    #[error("{} is on no BPF file system: mount one (mount -t bpf bpf /sys/fs/bpf; systemd does at boot) and restart, or name a directory on one as sensor.persist_dir", .0.display())]
    NoFileSystem(PathBuf),
    /// Others could change what is in it.
    #[error("{} is not a directory of this user alone: remove it (rm -r {}) and restart", .0.display(), .0.display())]
    NotOurs(PathBuf),
    /// Another agent lives by it.
    #[error("{} is in use by another agent: stop that, or name another directory as sensor.persist_dir", .0.display())]
    Busy(PathBuf),
    /// The kernel's word.
    #[error("{}: {why}: the agent must be able to write there (under systemd: ReadWritePaths=-/sys/fs/bpf)", .path.display())]
    Io {
        /// Of what.
        path: PathBuf,
        /// Why.
        #[source]
        why: io::Error,
    },
}

/// The directory, while it is ours alone.
#[derive(Debug)]
pub(super) struct Pins {
    root: PathBuf,
    _lock: OwnedFd,
}

impl Pins {
    /// Takes `root`; none when it is not there and not to be made.
    pub(super) fn claim(root: &Path, make: bool) -> Result<Option<Self>, ClaimError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |why: io::Error| ClaimError::Io { path, why }
        };
        match std::fs::symlink_metadata(root) {
            Ok(_) => {}
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                if !make {
                    return Ok(None);
                }
                let above = root.parent().unwrap_or(root);
                if !on_bpf(above).map_err(failed(above))? {
                    return Err(ClaimError::NoFileSystem(above.to_owned()));
                }
                std::fs::DirBuilder::new().mode(0o700).create(root).map_err(failed(root))?;
            }
            Err(why) => return Err(failed(root)(why)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = open(root, flags, Mode::empty()).map_err(|_| ClaimError::NotOurs(root.to_owned()))?;
        let found = std::fs::symlink_metadata(root).map_err(failed(root))?;
        if found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o077 != 0 {
            return Err(ClaimError::NotOurs(root.to_owned()));
        }
        if !on_bpf(root).map_err(failed(root))? {
            return if make { Err(ClaimError::NoFileSystem(root.to_owned())) } else { Ok(None) };
        }
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| ClaimError::Busy(root.to_owned()))?;
        Ok(Some(Self { root: root.to_owned(), _lock: lock }))
    }

    /// The set of this name.
    pub(super) fn set(&self, name: &str) -> Set {
        Set { dir: self.root.join(name) }
    }

    /// All sets but `own`, the names in order.
    pub(super) fn others(&self, own: Option<&Set>) -> Vec<Set> {
        let mut dirs = sets(&self.root);
        dirs.retain(|dir| own.is_none_or(|own| own.dir != *dir));
        dirs.into_iter().map(|dir| Set { dir }).collect()
    }

    /// Removes the directory, which is empty.
    pub(super) fn remove(self) {
        if let Err(why) = std::fs::remove_dir(&self.root) {
            tracing::warn!(dir = %self.root.display(), %why, "the directory of pins cannot be removed");
        }
    }
}

fn on_bpf(path: &Path) -> io::Result<bool> {
    Ok(statfs(path)?.f_type == BPF_FS)
}

/// The directories of sets below `root`.
pub(super) fn sets(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut dirs: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    dirs.sort();
    dirs
}

/// The name of the set of these programs with these settings.
pub(super) fn name(programs: &[&[u8]], settings: &str) -> String {
    // FNV-1a: it tells builds apart, and nobody but root can name a set.
    let hash = |parts: &[&[u8]]| {
        parts.iter().copied().flatten().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    };
    format!("{FORMAT}-{VERSION}-{:016x}-{:016x}", hash(programs), hash(&[settings.as_bytes()]))
}

/// Programs, links and maps that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) dir: PathBuf,
}

impl Set {
    /// Of the set as a whole.
    pub(super) fn marks(&self) -> PathBuf {
        self.dir.join("marks")
    }

    pub(super) fn map(&self, of: Object, name: &str) -> PathBuf {
        self.dir.join(format!("map-{}-{name}", of.name()))
    }

    pub(super) fn link(&self, of: Object, name: &str) -> PathBuf {
        self.dir.join(format!("link-{}-{name}", of.name()))
    }

    pub(super) fn program(&self, of: Object, name: &str) -> PathBuf {
        self.dir.join(format!("program-{}-{name}", of.name()))
    }

    /// Its records and marks are what this build understands.
    pub(super) fn is_readable(&self) -> bool {
        let name = self.dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(&format!("{FORMAT}-{VERSION}-"))
    }

    /// Its programs are those of `other`, with whatever settings.
    fn is_kin(&self, other: &Self) -> bool {
        let programs = |set: &Self| Some(set.dir.file_name()?.to_str()?.rsplit_once('-')?.0.to_owned());
        self.is_readable() && programs(self) == programs(other)
    }

    /// Shares the notes of `other`, if they mean the same: what its programs know of an object's connections.
    pub(super) fn share(&self, of: Object, other: &Self) {
        for name in of.notes().iter().filter(|_| self.is_kin(other)) {
            let (theirs, ours) = (other.map(of, name), self.map(of, name));
            // One that could not be loaded has left nothing.
            if !theirs.exists() || ours.exists() {
                continue;
            }
            let shared = MapData::from_pin(&theirs).map_err(|why| chain(&why));
            if let Err(why) = shared.and_then(|map| map.pin(&ours).map_err(|why| chain(&why))) {
                tracing::warn!(map = %theirs.display(), why, "what an agent before has noted is not known");
            }
        }
    }

    /// It has the maps of this object.
    pub(super) fn has(&self, of: Object) -> bool {
        of.maps().iter().all(|map| self.map(of, map).exists())
    }

    /// It has its marks, and of each object all maps or nothing: one that could not be loaded has left nothing.
    pub(super) fn is_whole(&self) -> bool {
        let nothing = |of: Object| self.begins(&format!("map-{}-", of.name())).is_empty();
        self.marks().exists() && LASTING.into_iter().all(|of| self.has(of) || nothing(of))
    }

    /// What begins so, with the rest of the name.
    fn begins(&self, with: &str) -> Vec<(String, PathBuf)> {
        let rest = |at: &PathBuf| Some(at.file_name()?.to_str()?.strip_prefix(with)?.to_owned());
        sets(&self.dir).into_iter().filter_map(|at| Some((rest(&at)?, at))).collect()
    }

    /// What of it keeps programs attached.
    pub(super) fn all_links(&self) -> impl Iterator<Item = PathBuf> {
        self.begins("link-").into_iter().map(|(_, at)| at)
    }

    /// Its programs.
    pub(super) fn all_programs(&self) -> impl Iterator<Item = PathBuf> {
        self.begins("program-").into_iter().map(|(_, at)| at)
    }

    /// What of one object keeps programs attached.
    pub(super) fn links(&self, of: Object) -> impl Iterator<Item = PathBuf> {
        self.begins(&format!("link-{}-", of.name())).into_iter().map(|(_, at)| at)
    }

    /// Programs of one object, by name.
    pub(super) fn programs(&self, of: Object) -> Vec<(String, PathBuf)> {
        self.begins(&format!("program-{}-", of.name()))
    }

    /// Removes what is of one object, its links first.
    pub(super) fn remove_object(&self, of: Object) {
        for what in ["link", "program", "map"] {
            for (_, at) in self.begins(&format!("{what}-{}-", of.name())) {
                let _ = std::fs::remove_file(at);
            }
        }
    }

    /// Removes all of it.
    pub(super) fn remove(&self) -> io::Result<()> {
        for path in sets(&self.dir) {
            std::fs::remove_file(path)?;
        }
        match std::fs::remove_dir(&self.dir) {
            // Somebody's own pin, and no set.
            Err(why) if why.kind() == io::ErrorKind::NotADirectory => std::fs::remove_file(&self.dir),
            done => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_told_apart_by_what_they_are_made_of() {
        let set = |name: &str| Set { dir: Path::new("/x").join(name) };
        let one = name(&[b"object"], "settings");
        assert_eq!(one, name(&[b"object"], "settings"));
        assert!(!one.contains('.'), "a BPF file system takes no dots: {one}");
        assert!(set(&one).is_readable());
        let older = one.replacen(&format!("-{VERSION}-"), &format!("-{}-", VERSION - 1), 1);
        assert!(!set(&older).is_readable() && !set(&older).is_kin(&set(&older)));
        let (other, newer) = (name(&[b"object"], "settingz"), name(&[b"objecu"], "settings"));
        assert!(one != other && set(&one).is_kin(&set(&other)));
        assert!(one != newer && !set(&one).is_kin(&set(&newer)));
    }

    #[test]
    fn a_place_that_cannot_be_trusted_is_refused_and_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("hostward");
        assert!(Pins::claim(&root, false).unwrap().is_none(), "nothing is there, and nothing is made");
        let refused = Pins::claim(&root, true).unwrap_err().to_string();
        assert!(refused.contains("mount -t bpf"), "{refused}");
        assert!(!root.exists());
        // Another's directory, open to all.
        std::fs::DirBuilder::new().mode(0o777).create(&root).unwrap();
        std::fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert!(matches!(Pins::claim(&root, true), Err(ClaimError::NotOurs(_))));
        std::fs::remove_dir(&root).unwrap();
        std::os::unix::fs::symlink("/tmp", &root).unwrap();
        assert!(matches!(Pins::claim(&root, true), Err(ClaimError::NotOurs(_))));
    }
}
