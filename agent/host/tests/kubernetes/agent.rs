//! The source under test, and what somebody who follows its facts knows.

use hostward_event::Text;
use hostward_event::fact::Fact;
use hostward_event::workload::{ContainerFacts, PodFacts, Source};
use hostward_host::kubernetes::{Kubernetes, KubernetesConfig};
use hostward_host::{Board, SourceReport, SourceState};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Nothing takes so long, whatever else the machine does.
const PATIENCE: Duration = Duration::from_secs(120);

/// A runtime on a thread of its own; dropped, all that runs on it ends.
pub(crate) struct Loop {
    handle: tokio::runtime::Handle,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Loop {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let _ = runtime.block_on(stopped);
        });
        Self { handle, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) const fn handle(&self) -> &tokio::runtime::Handle {
        &self.handle
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// The source under test.
pub(crate) struct Agent {
    pub(crate) pods: BTreeMap<Text, Arc<PodFacts>>,
    pub(crate) containers: BTreeMap<Text, Arc<ContainerFacts>>,
    /// How many facts came.
    pub(crate) told: usize,
    board: Board,
    facts: Receiver<Fact>,
    _source: Kubernetes,
    _loop: Loop,
}

impl Agent {
    pub(crate) fn start(config: &KubernetesConfig) -> Self {
        let on = Loop::start();
        let (sender, mut receiver) = tokio::sync::mpsc::channel(64);
        let (forward, facts) = channel();
        on.handle().spawn(async move {
            while let Some(fact) = receiver.recv().await {
                if forward.send(fact).is_err() {
                    return;
                }
            }
        });
        let board = Board::default();
        let source = Kubernetes::start(config, on.handle(), sender, board.clone()).unwrap();
        let source = source.expect("it is asked for");
        let (pods, containers) = (BTreeMap::new(), BTreeMap::new());
        Self { pods, containers, told: 0, board, facts, _source: source, _loop: on }
    }

    fn follow(&mut self, fact: Fact) {
        self.told += 1;
        match fact {
            Fact::Pod(pod) => {
                assert_eq!(pod.source, Source::KubernetesApi);
                self.pods.insert(pod.uid.clone(), pod);
            }
            Fact::PodGone { uid, source } => {
                assert_eq!(source, Source::KubernetesApi);
                assert!(self.pods.remove(&uid).is_some(), "{uid} was never told");
            }
            Fact::Container(container) => {
                self.containers.insert(container.id.clone(), container);
            }
            Fact::ContainerGone { id, .. } => {
                assert!(self.containers.remove(&id).is_some(), "{id} was never told");
            }
            other => panic!("no fact of this source: {other:?}"),
        }
    }

    /// Follows until `is_so`.
    pub(crate) fn wait(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(
                Instant::now() < end,
                "{what}: {:?} {:#?} {:#?}",
                self.report(),
                self.pods,
                self.containers
            );
            match self.facts.recv_timeout(Duration::from_millis(10)) {
                Ok(fact) => self.follow(fact),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("{what}: the source ended"),
            }
        }
    }

    pub(crate) fn wait_ok(&mut self) {
        self.wait("ok", |agent| agent.report().state == SourceState::Ok);
    }

    /// Until it is degraded for this reason.
    pub(crate) fn wait_degraded(&mut self, why: &str) {
        self.wait(&format!("degraded: {why}"), |agent| {
            let report = agent.report();
            report.state == SourceState::Degraded && report.why.contains(why)
        });
    }

    pub(crate) fn report(&self) -> SourceReport {
        let [report] = self.board.reports().try_into().expect("one source");
        report
    }

    /// The pod of this name.
    pub(crate) fn pod(&self, name: &str) -> Option<&PodFacts> {
        self.pods.values().find(|pod| pod.name.as_bytes() == name.as_bytes()).map(|pod| &**pod)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.pod(name).is_some()
    }
}

/// `KIND/NAME`, nearest first; `*` behind one with a uid.
pub(crate) fn owners(pod: &PodFacts) -> Vec<String> {
    let word = |uid: &Text| if uid.is_empty() { "" } else { "*" };
    pod.owners.iter().map(|owner| format!("{}/{}{}", owner.kind, owner.name, word(&owner.uid))).collect()
}
