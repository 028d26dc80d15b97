//! The Kubernetes API as a source of facts about this node's pods.
//!
//! # Why it exists
//! A runtime's socket tells a pod's name, namespace and labels. Who made the pod, its service account, the
//! labels of its namespace and the cluster it is in are known to the API server only, and where no CRI socket
//! can be asked the API stands in for that, too.
//!
//! # How it works
//! One task lists the pods of this node (`spec.nodeName`) in pages and then watches them from where the list
//! ended, as the API concepts page of Kubernetes has it. A watch that ends is taken up again from the last
//! version seen; where the server says that this is too old (410), all is listed again and what is gone is
//! told. A pod is told as a whole, and only when something that we keep of it changed. Nothing is retracted
//! because the server cannot be reached: what was known stays true for longer than an outage lasts.
//!
//! The owner of a ReplicaSet or a Job is asked for, as metadata only, and kept. Where that is forbidden, it is
//! derived from names as controllers make them (see `owners`), without a uid.
//!
//! # Access
//! `get`, `list`, `watch` on pods is all that is needed. `get` on namespaces, nodes, `apps/replicasets` and
//! `batch/jobs` adds what is told of them. Without `enabled` the credentials are looked for: the service
//! account of a pod, then the kubelet's own (`/etc/kubernetes/kubelet.conf`, `/var/lib/kubelet/kubeconfig`,
//! `/var/lib/rancher/k3s/agent/kubelet.kubeconfig`), each only if it belongs to root and nobody else may write
//! it. A kubelet's identity may read the pods of its node and nothing of ReplicaSets, Jobs and namespaces.
//!
//! # What can go wrong
//! - *No answer, 5xx, 429*: degraded; tried again after a wait that grows to a minute and is spread, or what
//!   the server asks for.
//! - *401*: the token's file is read again; degraded until one is taken.
//! - *A server that lies*: answers, lines and texts have limits, and so has the number of pods. Such a server
//!   can name pods wrongly; it is verified by TLS for that reason, and there is no switch for that.
//! - *A static pod* has one uid in the API and another in its cgroup: the latter is told.
//!
//! # Not here
//! What is done with the facts (`hostward-enrich`); `exec` and `auth-provider` users of a kubeconfig.

mod access;
mod client;
mod config;
mod facts;
mod files;
mod kubeconfig;
mod objects;
mod owners;
mod session;
mod store;

pub use access::AccessFailure;
pub use config::{ConfigProblem, KubernetesConfig};

use crate::sources::{Board, SourceReport, SourceState};
use hostward_event::fact::Fact;
use hostward_event::workload::Source;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The source cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// A key of the configuration is wrong.
    #[error("[kubernetes] {0}")]
    Config(ConfigProblem),
    /// It is wanted, and the credentials are not to be had.
    #[error("[kubernetes] is enabled and cannot be used: {0}")]
    Access(AccessFailure),
}

/// A running source; dropped, it ends.
#[derive(Debug)]
pub struct Kubernetes {
    task: JoinHandle<()>,
}

impl Kubernetes {
    /// Starts the source on `handle`. Its facts go to `facts`, which it waits for when it is full; how it is
    /// stands on `board`. None: it is switched off, or not asked for and there are no credentials that can be
    /// used (`board` tells why not, if there are some).
    ///
    /// Reads a few small files, and is not for the event path.
    ///
    /// # Errors
    /// When a key is wrong, or the source is wanted and its credentials cannot be found or read. A server that
    /// does not answer is no error.
    pub fn start(
        config: &KubernetesConfig,
        handle: &tokio::runtime::Handle,
        facts: mpsc::Sender<Fact>,
        board: Board,
    ) -> Result<Option<Self>, KubernetesError> {
        if let Some(problem) = config.validate().into_iter().next() {
            return Err(KubernetesError::Config(problem));
        }
        let (access, node) = match prepare(config) {
            Ok(Some(prepared)) => prepared,
            Ok(None) => return Ok(None),
            // Nobody asked for it: no reason for an agent not to start.
            Err(failure) if !config.is_asked_for() => {
                board.put(SourceReport {
                    source: Source::KubernetesApi,
                    at: "kubernetes".to_owned(),
                    state: SourceState::Degraded,
                    why: format!("{failure}; or set [kubernetes] enabled = false"),
                    containers: 0,
                    pods: 0,
                });
                return Ok(None);
            }
            Err(failure) => return Err(failure),
        };
        let session = session::Session::new(config.clone(), node, access, facts, board);
        Ok(Some(Self { task: handle.spawn(session.run()) }))
    }
}

/// None: switched off, or neither wanted nor found.
fn prepare(config: &KubernetesConfig) -> Result<Option<(access::Access, String)>, KubernetesError> {
    let Some(access) = access::Access::find(config).map_err(KubernetesError::Access)? else {
        return Ok(None);
    };
    Ok(Some((access, config.node().map_err(KubernetesError::Config)?)))
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.task.abort();
    }
}
