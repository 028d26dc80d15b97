//! Hearing at once that a directory changed: inotify(7).
//!
//! Where it cannot be had (its instances and watches are few, and others want them) the directories are looked at
//! every now and then all the same.

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use tokio::net::unix::pipe::Receiver;

/// Directories that are watched at the same time, beside the roots.
const MAX_WATCHES: usize = 1_024;

const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW);
/// In a directory above: only that something comes.
const COMES: WatchFlags =
    WatchFlags::CREATE.union(WatchFlags::MOVED_TO).union(WatchFlags::ONLYDIR).union(WatchFlags::DONT_FOLLOW);

/// What is watched.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: Option<OwnedFd>,
    directories: BTreeMap<PathBuf, i32>,
}

/// Waits for changes.
#[derive(Debug)]
pub(super) struct Changes(Option<Receiver>);

/// Both ends.
pub(super) fn start() -> (Watch, Changes) {
    let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
    let copy = inotify.as_ref().and_then(|fd| fd.try_clone().ok());
    // It is read as a pipe is, and this is the type for that whose use is safe.
    let changes = copy.and_then(|fd| Receiver::from_owned_fd_unchecked(fd).ok());
    (Watch { inotify, directories: BTreeMap::new() }, Changes(changes))
}

impl Watch {
    /// Watches a root, or as long as it is not there what is above it.
    pub(super) fn root(&mut self, path: &Path) {
        let Some(inotify) = &self.inotify else { return };
        if inotify::add_watch(inotify, path, CHANGES).is_err()
            && let Some(above) = path.ancestors().skip(1).find(|above| above.is_dir())
        {
            let _ = inotify::add_watch(inotify, above, COMES | WatchFlags::MASK_ADD);
        }
    }

    /// Watches a directory until [`Watch::forget`], or until it is gone.
    pub(super) fn directory(&mut self, path: &Path) {
        let Some(inotify) = &self.inotify else { return };
        if self.directories.contains_key(path) {
            return;
        }
        if self.directories.len() >= MAX_WATCHES {
            self.directories.retain(|path, _| path.exists());
        }
        if self.directories.len() < MAX_WATCHES
            && let Ok(watch) = inotify::add_watch(inotify, path, CHANGES)
        {
            self.directories.insert(path.to_owned(), watch);
        }
    }

    /// Nothing more is expected in it.
    pub(super) fn forget(&mut self, path: &Path) {
        if let (Some(inotify), Some(watch)) = (&self.inotify, self.directories.remove(path)) {
            // The kernel has forgotten one that is gone.
            let _ = inotify::remove_watch(inotify, watch);
        }
    }
}

impl Changes {
    /// Returns when something changed; never, where that cannot be heard.
    pub(super) async fn next(&self) {
        let Some(fd) = &self.0 else { return std::future::pending().await };
        let mut chunk = [0_u8; 4096];
        loop {
            if fd.readable().await.is_err() {
                return std::future::pending().await;
            }
            // What changed is seen by looking; here all that was heard so far is put away.
            let mut heard = false;
            while fd.try_read(&mut chunk).is_ok_and(|got| got > 0) {
                heard = true;
            }
            if heard {
                return;
            }
        }
    }
}
