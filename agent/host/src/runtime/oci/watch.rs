//! Hearing at once that a directory changed, by inotify(7), and reading what came there before it is gone again.
//!
//! A container of a moment has its state on disk for some milliseconds only. So a thread of its own waits for nothing
//! else, reads a state as soon as its name appears, and keeps it until the next look takes it.
//!
//! Where inotify cannot be had (its instances and watches are few, and others want them) the directories are looked at
//! every now and then all the same.

use super::disk::{Early, is_state, read_early};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::process::setpriority_process;
use std::collections::{BTreeMap, VecDeque};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thread_priority::{RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
use tokio::sync::Notify;

/// Directories that are watched at the same time, beside the roots.
const MAX_WATCHES: usize = 1_024;
/// States that were read and not yet taken.
const MAX_EARLY: usize = 1_024;

/// Nice value of the thread that listens, where it may not run in real time.
const URGENT: i32 = -20;

const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW);
/// In a directory above: only that something comes.
const COMES: WatchFlags =
    WatchFlags::CREATE.union(WatchFlags::MOVED_TO).union(WatchFlags::ONLYDIR).union(WatchFlags::DONT_FOLLOW);

/// A watched directory: the root it lies in, and the way from there; empty for the root itself.
#[derive(Clone, Debug)]
struct Place {
    root: PathBuf,
    below: String,
}

#[derive(Debug, Default)]
struct Shared {
    places: BTreeMap<i32, Place>,
    watches: BTreeMap<PathBuf, i32>,
    roots: BTreeMap<PathBuf, i32>,
    early: VecDeque<Early>,
    /// Nobody looks any more.
    ended: bool,
}

/// What is watched. Clones are of the same.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    inotify: Option<Arc<OwnedFd>>,
    shared: Arc<Mutex<Shared>>,
    changed: Arc<Notify>,
}

/// A container may be there for less time than this thread would otherwise wait for its turn, whatever its nice value:
/// the task that runs keeps the processor to the end of its slice, some milliseconds. In real time the thread has it at
/// once, for the time it takes to read a state; the lowest such priority is enough. Where neither is allowed it goes on
/// as it is.
fn hurry() {
    let lowest = ThreadPriority::from_posix(thread_priority::ScheduleParams { sched_priority: 1 });
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    let this = thread_priority::thread_native_id();
    if thread_priority::set_thread_priority_and_policy(this, lowest, policy).is_err() {
        let _ = setpriority_process(None, URGENT);
    }
}

impl Watch {
    /// Starts the thread that listens.
    pub(super) fn start() -> Self {
        let inotify = inotify::init(CreateFlags::CLOEXEC).ok().map(Arc::new);
        let watch = Self { inotify, shared: Arc::default(), changed: Arc::default() };
        let listener = watch.clone();
        let thread = std::thread::Builder::new().name("oci-watch".to_owned());
        match thread.spawn(move || listener.listen()) {
            Ok(_) => watch,
            Err(_) => Self { inotify: None, ..watch },
        }
    }

    /// Watches a root, or as long as it is not there what is above it.
    pub(super) fn root(&self, path: &Path) {
        let Some(inotify) = &self.inotify else { return };
        if self.shared().roots.contains_key(path) {
            return;
        }
        match inotify::add_watch(inotify, path, CHANGES) {
            Ok(watch) => {
                let place = Place { root: path.to_owned(), below: String::new() };
                let mut shared = self.shared();
                shared.places.insert(watch, place);
                shared.roots.insert(path.to_owned(), watch);
            }
            Err(_) => {
                if let Some(above) = path.ancestors().skip(1).find(|above| above.is_dir()) {
                    let _ = inotify::add_watch(inotify, above, COMES | WatchFlags::MASK_ADD);
                }
            }
        }
    }

    /// Watches a directory of a root until [`Watch::forget`], or until it is gone.
    pub(super) fn directory(&self, root: &Path, below: &str) {
        let Some(inotify) = &self.inotify else { return };
        let path = root.join(below);
        let mut shared = self.shared();
        if shared.watches.contains_key(&path) {
            return;
        }
        if shared.watches.len() >= MAX_WATCHES {
            shared.watches.retain(|path, _| path.exists());
            let kept: Vec<i32> = shared.watches.values().copied().collect();
            shared.places.retain(|watch, place| place.below.is_empty() || kept.contains(watch));
        }
        if shared.watches.len() < MAX_WATCHES
            && let Ok(watch) = inotify::add_watch(inotify, &path, CHANGES)
        {
            shared.watches.insert(path, watch);
            shared.places.insert(watch, Place { root: root.to_owned(), below: below.to_owned() });
        }
    }

    /// Nothing more is expected in it.
    pub(super) fn forget(&self, path: &Path) {
        let watch = self.shared().watches.remove(path);
        if let (Some(inotify), Some(watch)) = (&self.inotify, watch) {
            self.shared().places.remove(&watch);
            // The kernel has forgotten one that is gone.
            let _ = inotify::remove_watch(inotify, watch);
        }
    }

    /// Takes the states that were read since.
    pub(super) fn early(&self) -> Vec<Early> {
        self.shared().early.drain(..).collect()
    }

    /// Returns when something changed; never, where that cannot be heard.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Ends the thread, at the next change at the latest.
    pub(super) fn end(&self) {
        self.shared().ended = true;
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self) {
        let Some(inotify) = &self.inotify else { return };
        hurry();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(inotify, &mut buffer);
        loop {
            let heard = match events.next() {
                // The directory is gone, or has another name now.
                Ok(event) if event.events().intersects(ReadFlags::IGNORED.union(ReadFlags::MOVE_SELF)) => {
                    let watch = event.wd();
                    let mut shared = self.shared();
                    shared.roots.retain(|_, root| *root != watch);
                    shared.places.remove(&watch);
                    None
                }
                Ok(event) => {
                    let name = event.file_name().and_then(|name| name.to_str().ok());
                    name.map(|name| (event.wd(), name.to_owned(), event.events().contains(ReadFlags::ISDIR)))
                }
                Err(rustix::io::Errno::INTR) => None,
                Err(_) => return,
            };
            if self.shared().ended {
                return;
            }
            if let Some((watch, name, is_dir)) = heard {
                self.heard(watch, &name, is_dir);
            }
            if events.is_buffer_empty() {
                self.changed.notify_one();
            }
        }
    }

    /// Something of this name changed: a state, or a directory in which one will be.
    fn heard(&self, watch: i32, name: &str, is_dir: bool) {
        if !is_dir && !is_state(name) {
            return;
        }
        let Some(place) = self.shared().places.get(&watch).cloned() else { return };
        if !is_dir {
            return self.keep(read_early(&place.root, &place.below));
        }
        let below = if place.below.is_empty() { name.to_owned() } else { format!("{}/{name}", place.below) };
        if below.matches('/').count() < 2 {
            self.directory(&place.root, &below);
            // It may have come before the watch did.
            self.keep(read_early(&place.root, &below));
        }
    }

    fn keep(&self, early: Option<Early>) {
        let Some(early) = early else { return };
        let mut shared = self.shared();
        if shared.early.len() >= MAX_EARLY {
            shared.early.pop_front();
        }
        if shared.early.iter().all(|known| !known.is_of(&early)) {
            shared.early.push_back(early);
        }
    }
}
