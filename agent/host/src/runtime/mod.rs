//! Container runtimes as sources of facts, each by its socket.
//!
//! # Why it exists
//! A cgroup tells a container's id. Its name, image, labels and pod are known to the runtime that made it.
//!
//! # How it works
//! A task looks for the sockets that runtimes are known to have, or that the operator named, every few seconds
//! and starts one task for each: [`docker`] speaks the HTTP API of Docker and Podman, [`cri`] the gRPC API
//! of containerd and cri-o. Each tells all containers that it finds, then follows what changes. Docker
//! and Podman announce a container before its first program runs; of CRI lists are asked again and again. A
//! container that is met and was not told yet is asked for with [`Runtimes::ask`]: by all sockets that may know it at once, and when the last of
//! them says no, [`Fact::ContainerUnknown`] is told.
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
//! `ctr` and other users of containerd beside CRI, and OCI runtimes without a daemon: no socket tells of them.

mod bounds;
mod config;
mod cri;
mod docker;
mod find;

pub use config::{RuntimeConfig, RuntimeProblem};

use crate::sources::{Board, SourceReport, SourceState};
use find::{Kind, Socket};
use hostward_event::Text;
use hostward_event::fact::{Fact, Lookup};
use hostward_event::workload::Source;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
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
/// How long a container that is not there yet is asked for: a runtime names it in a cgroup a moment before
/// it is in its list.
const PATIENCE: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];
/// Questions that one source asks its runtime at the same time.
const AT_ONCE: usize = 16;

/// Asks one runtime for one thing and tells it.
trait Teller: Clone + Send + 'static {
    /// True when it was found and told. An error is one that the source's own task meets as well, and reports.
    fn find(&self, id: &str) -> impl Future<Output = Result<bool, ()>> + Send;
}

/// Answers questions, one beside the other, until nobody asks any more.
async fn answer_all<T: Teller>(teller: &T, questions: &mut mpsc::Receiver<Question>) {
    let mut under_way = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            question = questions.recv(), if under_way.len() < AT_ONCE => {
                let Some(question) = question else { return };
                under_way.spawn(answer(teller.clone(), question));
            }
            Some(_) = under_way.join_next() => {}
        }
    }
}

async fn answer<T: Teller>(teller: T, question: Question) {
    let Ok(id) = str::from_utf8(question.id.as_bytes()) else { return };
    let mut waits = PATIENCE.iter();
    while !question.is_answered() {
        match (teller.find(id).await, waits.next()) {
            (Ok(true), _) => return question.answered(),
            (Ok(false), Some(wait)) => tokio::time::sleep(*wait).await,
            (Ok(false), None) | (Err(()), _) => return,
        }
    }
}

/// Lets a source rest. Nobody answers meanwhile: whoever asks is told so at once. False when nobody asks any more.
async fn rest(wait: Duration, questions: &mut mpsc::Receiver<Question>) -> bool {
    let wait = tokio::time::sleep(wait);
    tokio::pin!(wait);
    loop {
        tokio::select! {
            () = &mut wait => return true,
            question = questions.recv() => if question.is_none() { return false },
        }
    }
}

/// A container that was met. When the last copy is dropped and nobody told of it, that is told.
#[derive(Clone, Debug)]
struct Question {
    id: Text,
    answer: Arc<Answer>,
}

#[derive(Debug)]
struct Answer {
    id: Text,
    told: AtomicBool,
    facts: mpsc::Sender<Fact>,
}

impl Question {
    /// It was told.
    fn answered(&self) {
        self.answer.told.store(true, Ordering::Relaxed);
    }

    /// Another source told it.
    fn is_answered(&self) -> bool {
        self.answer.told.load(Ordering::Relaxed)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.told.load(Ordering::Relaxed) {
            // When there is no room the wait for it ends by itself.
            let _ = self.facts.try_send(Fact::ContainerUnknown { id: self.id.clone() });
        }
    }
}

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
        let finder = handle.spawn(look(config.clone(), Arc::clone(&sources), facts.clone(), board));
        Self { sources, facts, finder }
    }

    /// Asks all sources that may know a container. Never waits; other questions are not for this.
    pub fn ask(&self, lookup: &Lookup) {
        let Lookup::Container { id, runtime, .. } = lookup else { return };
        let answer =
            Arc::new(Answer { id: id.clone(), told: AtomicBool::new(false), facts: self.facts.clone() });
        let question = Question { id: id.clone(), answer };
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        for source in sources.values().filter(|source| source.kind.may_know(runtime.as_bytes())) {
            // A source that has no room for a question will hardly answer in time.
            let _ = source.questions.try_send(question.clone());
        }
    }
}

impl Drop for Runtimes {
    fn drop(&mut self) {
        self.finder.abort();
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
