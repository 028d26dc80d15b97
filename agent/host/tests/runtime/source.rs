//! A running source, and waiting for what it tells.

use hostward_event::Text;
use hostward_event::fact::{Fact, Lookup};
use hostward_event::workload::{ContainerFacts, PodFacts};
use hostward_host::{Board, RuntimeConfig, Runtimes, SourceReport, SourceState};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Source {
    pub(crate) runtimes: Runtimes,
    board: Board,
    /// Whose reports are waited for.
    at: String,
    told: mpsc::Receiver<Fact>,
    _runtime: Runtime,
}

impl Source {
    /// `kind` as the operator writes it before a path.
    pub(crate) fn start(kind: &str, socket: &Path, timeout_ms: u64) -> Self {
        let sockets = vec![format!("{kind}:{}", socket.display())];
        let config = RuntimeConfig {
            sockets,
            timeout_ms,
            poll_ms: 300,
            state_dirs: Vec::new(),
            ..RuntimeConfig::default()
        };
        Self::with(&config, socket)
    }

    /// With a directory of an OCI runtime's states, and a socket where nobody answers.
    pub(crate) fn over(state_dir: &Path) -> Self {
        let config = RuntimeConfig {
            sockets: vec!["docker:/nonexistent/docker.sock".into()],
            state_dirs: vec![state_dir.to_owned()],
            ..RuntimeConfig::default()
        };
        Self::with(&config, state_dir)
    }

    pub(crate) fn with(config: &RuntimeConfig, at: &Path) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (facts, told) = mpsc::channel(1024);
        let board = Board::default();
        let runtimes = Runtimes::start(config, runtime.handle(), facts, board.clone());
        Self { runtimes, board, at: at.display().to_string(), told, _runtime: runtime }
    }

    pub(crate) fn wait_for(&self, state: SourceState) -> SourceReport {
        let until = Instant::now() + SOON;
        loop {
            let report = self.board.reports().into_iter().find(|report| report.at == self.at);
            match report {
                Some(report) if report.state == state => return report,
                report => assert!(Instant::now() < until, "not {state:?} but {report:?}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The next fact of which `pick` makes something.
    pub(crate) fn wait<T>(&mut self, what: &str, pick: impl Fn(&Fact) -> Option<T>) -> T {
        let until = Instant::now() + SOON;
        loop {
            match self.told.try_recv() {
                Ok(fact) => {
                    if let Some(found) = pick(&fact) {
                        return found;
                    }
                }
                Err(_) => {
                    assert!(Instant::now() < until, "nobody told {what}; {:?}", self.board.reports());
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }

    pub(crate) fn container(&mut self, id: &str) -> Arc<ContainerFacts> {
        self.wait(&format!("container {id}"), |fact| match fact {
            Fact::Container(facts) if facts.id.as_bytes() == id.as_bytes() => Some(facts.clone()),
            _ => None,
        })
    }

    pub(crate) fn pod(&mut self, uid: &str) -> Arc<PodFacts> {
        self.wait(&format!("pod {uid}"), |fact| match fact {
            Fact::Pod(facts) if facts.uid.as_bytes() == uid.as_bytes() => Some(facts.clone()),
            _ => None,
        })
    }

    pub(crate) fn ask(&self, id: &str) {
        self.ask_of("", id);
    }

    /// Asks about a container whose cgroup tells the uid of its pod.
    pub(crate) fn ask_of(&self, pod_uid: &str, id: &str) {
        let runtime = Text::EMPTY;
        self.runtimes.ask(&Lookup::Container { id: id.into(), runtime, pod_uid: pod_uid.into(), pid: 1 });
    }

    pub(crate) fn unknown(&mut self, id: &str) {
        self.wait(&format!("that nobody knows {id}"), |fact| {
            matches!(fact, Fact::ContainerUnknown { id: told } if told.as_bytes() == id.as_bytes())
                .then_some(())
        });
    }

    pub(crate) fn gone(&mut self, id: &str) {
        self.wait(&format!("that {id} is gone"), |fact| {
            matches!(fact, Fact::ContainerGone { id: told, .. } if told.as_bytes() == id.as_bytes())
                .then_some(())
        });
    }

    /// Cgroup and path of a container.
    pub(crate) fn cgroup(&mut self, id: &str) -> (u64, String) {
        self.wait(&format!("the cgroup of {id}"), |fact| match fact {
            Fact::CgroupContainer { cgroup_id, path, container, .. }
                if container.as_bytes() == id.as_bytes() =>
            {
                Some((*cgroup_id, path.to_string()))
            }
            _ => None,
        })
    }
}
