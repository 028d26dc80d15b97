//! Container runtimes as sources of facts, each by its socket.
//!
//! # Why it exists
//! A cgroup tells a container's id. Its name, image, labels and pod are known to the runtime that made it.
//!
//! # How it works
//! A task looks for the sockets that runtimes are known to have, or that the operator named, every few seconds
//! and starts one task for each: [`docker`] speaks the HTTP API of Docker and Podman, [`cri`] the gRPC API
//! of containerd and cri-o. Each tells all containers that it finds, then follows what changes. Docker
//! and Podman announce a container before its first program runs, and so do CRI runtimes that have a stream of
//! events; of others lists are asked again and again. A
//! container that is met and was not told yet is asked for with [`Runtimes::ask`]: by all sockets that may know it at
//! once, and when the last of them says no, [`oci`] looks whether an OCI runtime's files tell of it. Else
//! [`Fact::ContainerUnknown`] is told.
//!
//! Nothing here is on the event path: questions and facts pass through bounded channels.
//!
//! # What can go wrong
//! - *A socket that hangs, lies or refuses*: each call has a deadline and each answer a limit; the source is
//!   degraded on the [`Board`] with a sentence, and tried again after a wait that grows to a minute. What it
//!   told stays, as containers outlive their runtime's daemon.
//! - *A user's own runtime* (rootless Podman or Docker) could tell lies of any container, so it is asked only when
//!   the operator names its socket.
//! - *More containers than [`RuntimeConfig::max_containers`]*: the rest is told when it is met.
//!
//! # Not here
//! What a cgroup's names tell (`hostward-enrich`).

mod bounds;
mod config;
mod cri;
mod docker;
mod find;
mod oci;
mod question;

pub use config::{CriEvents, RuntimeConfig, RuntimeProblem};

use crate::sources::{Board, SourceReport, SourceState};
use find::{Kind, Socket};
use hostward_event::fact::{Fact, Lookup};
use hostward_event::workload::Source;
use oci::LastResort;
use question::{Question, Teller, answer_all, rest};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How often new sockets are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A socket that is not there so often in a row is given up; a daemon that starts anew takes less.
const MISSED: u32 = 24;
/// Questions that may wait for one source.
const QUESTIONS: usize = 1024;

/// A source that does not answer is tried again after this long at most.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// What a source needs.
#[derive(Clone, Debug)]
struct Place {
    socket: PathBuf,
    config: RuntimeConfig,
    facts: mpsc::Sender<Fact>,
    board: Board,
}

impl Place {
    /// False when nobody takes facts any more.
    async fn tell(&self, fact: Fact) -> bool {
        self.facts.send(fact).await.is_ok()
    }

    fn report(&self, source: Source, state: SourceState, why: String, containers: usize, pods: usize) {
        let at = self.socket.display().to_string();
        self.board.put(SourceReport { source, at, state, why, containers, pods });
    }
}

#[derive(Debug)]
struct Running {
    kind: Kind,
    questions: mpsc::Sender<Question>,
    task: JoinHandle<()>,
    /// How often in a row its socket was not there.
    missed: u32,
}

type Sources = Arc<Mutex<BTreeMap<PathBuf, Running>>>;

/// The running sources; dropped, they end.
#[derive(Debug)]
pub struct Runtimes {
    sources: Sources,
    facts: mpsc::Sender<Fact>,
    finder: JoinHandle<()>,
    disk: Option<(mpsc::Sender<LastResort>, JoinHandle<()>)>,
}

impl Runtimes {
    /// Starts looking on `handle`. Facts go to `facts`, which sources wait for when it is full; how each is
    /// stands on `board`.
    pub fn start(
        config: &RuntimeConfig,
        handle: &tokio::runtime::Handle,
        facts: mpsc::Sender<Fact>,
        board: Board,
    ) -> Self {
        let sources = Sources::default();
        let disk = (config.enabled && !config.state_dirs.is_empty()).then(|| {
            let (asks, asked) = mpsc::channel(QUESTIONS);
            (asks, handle.spawn(oci::run(config.clone(), facts.clone(), board.clone(), asked)))
        });
        let finder = handle.spawn(look(config.clone(), Arc::clone(&sources), facts.clone(), board));
        Self { sources, facts, finder, disk }
    }

    /// Asks all sources that may know a container. Never waits; other questions are not for this.
    pub fn ask(&self, lookup: &Lookup) {
        let disk = self.disk.as_ref().map(|(asks, _)| asks.clone());
        let (id, runtime, pod_uid) = match lookup {
            Lookup::Container { id, runtime, pod_uid, .. } => (id, runtime, pod_uid),
            Lookup::Claim { leaf } => {
                // Containers of sockets have cgroups that are known by their names.
                let last = LastResort::of_cgroup(leaf);
                if disk.is_none_or(|disk| disk.try_send(last).is_err()) {
                    // When there is no room the wait for it ends by itself.
                    let _ = self.facts.try_send(Fact::ContainerUnknown { id: leaf.clone() });
                }
                return;
            }
            _ => return,
        };
        let last = LastResort::of_container(id, pod_uid);
        let question = Question::new(last, disk, self.facts.clone());
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        for source in
            sources.values().filter(|source| source.kind.may_know(runtime.as_bytes(), !pod_uid.is_empty()))
        {
            // A source that has no room for a question will hardly answer in time.
            let _ = source.questions.try_send(question.clone());
        }
    }
}

impl Drop for Runtimes {
    fn drop(&mut self) {
        self.finder.abort();
        if let Some((_, task)) = &self.disk {
            task.abort();
        }
        for source in self.sources.lock().unwrap_or_else(PoisonError::into_inner).values() {
            source.task.abort();
        }
    }
}

async fn look(config: RuntimeConfig, sources: Sources, facts: mpsc::Sender<Fact>, board: Board) {
    if !config.enabled {
        return;
    }
    loop {
        for socket in find::sockets(&config) {
            let mut running = sources.lock().unwrap_or_else(PoisonError::into_inner);
            // One that was named is reported also while it is not there.
            let is_wanted = socket.named || socket.path.exists();
            match running.get_mut(&socket.path) {
                Some(source) if is_wanted => source.missed = 0,
                Some(source) if source.missed < MISSED => source.missed += 1,
                // Its runtime was taken off this host.
                Some(source) => {
                    source.task.abort();
                    running.remove(&socket.path);
                    board.remove(&socket.path.display().to_string());
                }
                None if is_wanted => {
                    let source = start(&socket, &config, &facts, &board);
                    running.insert(socket.path, source);
                }
                None => {}
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn start(socket: &Socket, config: &RuntimeConfig, facts: &mpsc::Sender<Fact>, board: &Board) -> Running {
    let place = Place {
        socket: socket.path.clone(),
        config: config.clone(),
        facts: facts.clone(),
        board: board.clone(),
    };
    let (questions, asked) = mpsc::channel(QUESTIONS);
    let task = match socket.kind {
        Kind::Docker | Kind::Podman => tokio::spawn(docker::run(place, socket.kind, asked)),
        Kind::Cri => tokio::spawn(cri::run(place, asked)),
    };
    Running { kind: socket.kind, questions, task, missed: 0 }
}
