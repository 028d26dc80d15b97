//! State that OCI runtimes (runc, crun) keep on disk.
//!
//! # Why it exists
//! `runc run` and `ctr run` make containers of which no socket tells. And while a CRI runtime is away, its
//! containers run on: their files still tell pod, name and image.
//!
//! # How it works
//! The state directories are watched. A container that is nobody else's is told when its state is written, which
//! is before its first program runs, together with its cgroup: its name may be any. One of a pod is told only when
//! somebody asks and no socket of CRI answers, as these files lack the labels of the pod. One of Docker or Podman is not
//! told at all: its name and image are not there. Files are read on threads that may block, never on the event path: a new
//! state at once when it appears, the rest at the next look.
//!
//! # What can go wrong
//! - *Two containers with one id*, in two namespaces of containerd or two directories: neither is told.
//! - *Two containers in one cgroup*, of which runc warns: what runs in it counts as the later one's.
//! - *A container that is gone within some milliseconds*: what was read of it is remembered for a minute; it may be gone
//!   before it is read.
//! - *A directory or file that others than root may write, a link, a file over 1 MiB*: not read.
//! - *A bundle on a filesystem that hangs*: this source hangs and says so; nothing else does.
//!
//! # Not here
//! Users' own containers (rootless): their files are the users'. Images of `ctr run`: they stand in containerd's
//! database alone.

mod disk;
mod facts;
mod files;
mod spec;
mod watch;

use super::RuntimeConfig;
use crate::sources::{Board, SourceReport, SourceState};
use disk::{Disk, RootReport};
use hostward_event::Text;
use hostward_event::fact::Fact;
use hostward_event::workload::Source;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use watch::Watch;

/// A container that was just met may have no state yet for so long.
const MAKING: Duration = Duration::from_millis(350);
/// How often it is looked for meanwhile, where changes are not heard.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Questions that are answered together.
const AT_ONCE: usize = 1_024;

/// A container of which no socket knows.
#[derive(Debug)]
pub(super) struct LastResort {
    /// Full id.
    pub(super) id: Text,
    /// Uid of its pod, as its cgroup tells it; may be empty.
    pub(super) pod_uid: Text,
    /// When it was met.
    pub(super) since: Instant,
    /// A runtime of pods is there and does not know it, so it is none of a pod, or will be told with all its labels.
    pub(super) denied: bool,
}

impl LastResort {
    /// A container by its full id.
    pub(super) fn of_container(id: &Text, pod_uid: &Text) -> Self {
        let (id, pod_uid, since) = (id.clone(), pod_uid.clone(), Instant::now());
        Self { id, pod_uid, since, denied: false }
    }

    /// What may run in a cgroup of this name.
    pub(super) fn of_cgroup(leaf: &Text) -> Self {
        let (id, since) = (leaf.clone(), Instant::now());
        Self { id, pod_uid: Text::EMPTY, since, denied: false }
    }
}

/// Follows the directories until nobody takes facts any more. That they are there stands on the board when this returns.
pub(super) fn run(
    config: RuntimeConfig,
    facts: mpsc::Sender<Fact>,
    board: Board,
    asked: mpsc::Receiver<LastResort>,
) -> impl Future<Output = ()> {
    let boards = Boards::connecting(board, &config.state_dirs);
    follow(config, facts, boards, asked)
}

async fn follow(
    config: RuntimeConfig,
    facts: mpsc::Sender<Fact>,
    mut boards: Boards,
    mut asked: mpsc::Receiver<LastResort>,
) {
    let watch = Ending(Watch::start());
    let mut disk = Disk::new(&config.state_dirs, config.max_containers, watch.0.clone());
    let mut waiting: Vec<LastResort> = Vec::new();
    loop {
        let Some((back, told, still)) = look(disk, waiting, &config, &boards).await else { return };
        (disk, waiting) = (back, still);
        for fact in told {
            if facts.send(fact).await.is_err() {
                return;
            }
        }
        boards.show(&disk);
        let pause = if waiting.is_empty() { Duration::from_millis(config.poll_ms) } else { LOOK_AGAIN };
        tokio::select! {
            () = watch.0.changed() => {}
            () = tokio::time::sleep(pause) => {}
            got = asked.recv_many(&mut waiting, AT_ONCE), if waiting.len() < AT_ONCE => if got == 0 { return },
        }
    }
}

/// Ends the listener with the task.
struct Ending(Watch);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// One look at the disk, on a thread that may wait for it. None: there is no such thread any more.
async fn look(
    mut disk: Disk,
    waiting: Vec<LastResort>,
    config: &RuntimeConfig,
    boards: &Boards,
) -> Option<(Disk, Vec<Fact>, Vec<LastResort>)> {
    let mut job = tokio::task::spawn_blocking(move || {
        let mut told = disk.scan();
        let mut still = Vec::new();
        for question in waiting {
            match disk.find(&question) {
                Some(facts) => told.extend(facts),
                None if question.since.elapsed() < MAKING => still.push(question),
                None => told.push(Fact::ContainerUnknown { id: question.id }),
            }
        }
        (disk, told, still)
    });
    let limit = Duration::from_millis(config.timeout_ms);
    if let Ok(done) = tokio::time::timeout(limit, &mut job).await {
        return done.ok();
    }
    boards.hang(limit);
    job.await.ok()
}

/// What was put on the board.
struct Boards {
    board: Board,
    shown: BTreeSet<PathBuf>,
}

impl Boards {
    /// Before the first look: what happens meanwhile waits for it, also where no runtime answers.
    fn connecting(board: Board, roots: &[PathBuf]) -> Self {
        let shown: BTreeSet<PathBuf> = roots.iter().filter(|path| path.is_dir()).cloned().collect();
        for path in &shown {
            let (at, state) = (path.display().to_string(), SourceState::Connecting);
            let why = "its files are read for the first time".to_owned();
            board.put(SourceReport { source: Source::Oci, at, state, why, containers: 0, pods: 0 });
        }
        Self { board, shown }
    }

    fn show(&mut self, disk: &Disk) {
        self.shown.retain(|path| {
            let stays = disk.reports.contains_key(path);
            if !stays {
                self.board.remove(&path.display().to_string());
            }
            stays
        });
        for (path, report) in &disk.reports {
            let (state, why) = sentence(report);
            let at = path.display().to_string();
            let containers = report.containers;
            self.board.put(SourceReport { source: Source::Oci, at, state, why, containers, pods: 0 });
            self.shown.insert(path.clone());
        }
    }

    fn hang(&self, limit: Duration) {
        for path in &self.shown {
            let why = format!(
                "its files, or those of a bundle, are not read within {} ms; is a filesystem away?",
                limit.as_millis()
            );
            let (at, state) = (path.display().to_string(), SourceState::Degraded);
            self.board.put(SourceReport { source: Source::Oci, at, state, why, containers: 0, pods: 0 });
        }
    }
}

fn sentence(report: &RootReport) -> (SourceState, String) {
    if let Some(fault) = &report.fault {
        return (SourceState::Degraded, format!("cannot be read: {fault}"));
    }
    let mut why = "files of OCI runtimes".to_owned();
    if report.unreadable > 0 {
        why.push_str(&format!("; {} cannot be read: a link, others' or over 1 MiB", report.unreadable));
    }
    if report.ambiguous > 0 {
        why.push_str(&format!("; {} ids are of several containers, which are not named", report.ambiguous));
    }
    (SourceState::Ok, why)
}
