//! What runs on this host, as the agent knows it now: the answer to `hostward workloads`.

use hostward_event::Text;
use hostward_event::workload::{ContainerFacts, PodFacts, Workload};
use hostward_host::{SourceReport, SourceState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The whole answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Workloads {
    /// What runs, by cgroup path.
    pub workloads: Vec<Row>,
    /// Who tells of containers and pods.
    pub sources: Vec<Origin>,
}

/// One cgroup in which something runs. Texts that are no UTF-8 are shown with `\xHH`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Row {
    /// Processes that live in it.
    pub processes: usize,
    /// cgroup path; its last name alone while the path is not known.
    pub cgroup: String,
    /// systemd unit, or the scope of a login; empty: none.
    pub unit: String,
    /// The container; none for what runs on the host itself.
    pub container: Option<ContainerRow>,
    /// The pod, when it is in one of which something is known.
    pub pod: Option<PodRow>,
}

/// A container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ContainerRow {
    /// Full id; the cgroup tells it.
    pub id: String,
    /// Runtime; the cgroup or the runtime tells it.
    pub runtime: String,
    /// Who told the rest; empty: nobody yet.
    pub source: String,
    /// Name.
    pub name: String,
    /// Image with tag.
    pub image: String,
    /// Digests of the image.
    pub digests: Vec<String>,
    /// Command with arguments.
    pub command: Vec<String>,
    /// Runs privileged; none: not told.
    pub privileged: Option<bool>,
    /// It is a pod's sandbox.
    pub sandbox: bool,
    /// Start, ns since the epoch; 0: not told.
    pub started_ns: i64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A pod.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PodRow {
    /// Uid.
    pub uid: String,
    /// Who told the rest, the last one when several did; empty: nobody yet.
    pub source: String,
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Node.
    pub node: String,
    /// Service account.
    pub service_account: String,
    /// Owners, nearest first, `Kind/name`.
    pub owners: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A source of facts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// `cri`, `docker`, `podman`, `kubernetes_api`, `oci`.
    pub source: String,
    /// Path of the socket, or URL.
    pub at: String,
    /// `ok`, `connecting` or `degraded`.
    pub state: String,
    /// Why it is not ok; else name and version.
    pub why: String,
    /// Containers that it tells.
    pub containers: usize,
    /// Pods that it tells.
    pub pods: usize,
}

impl From<&SourceReport> for Origin {
    fn from(report: &SourceReport) -> Self {
        let state = match report.state {
            SourceState::Connecting => "connecting",
            SourceState::Ok => "ok",
            SourceState::Degraded => "degraded",
        };
        Self {
            source: report.source.name().to_owned(),
            at: report.at.clone(),
            state: state.to_owned(),
            why: report.why.clone(),
            containers: report.containers,
            pods: report.pods,
        }
    }
}

/// Names may hold anything: what a terminal would act on is escaped.
fn shown(text: &Text) -> String {
    text.to_string()
}

fn map(labels: &BTreeMap<Text, Text>) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| (shown(key), shown(value))).collect()
}

/// One row per workload.
pub fn rows(workloads: &[(Arc<Workload>, usize)]) -> Vec<Row> {
    let row = |(workload, processes): &(Arc<Workload>, usize)| {
        let container = workload.container.as_ref();
        let path = if workload.path.is_empty() { &workload.cgroup.leaf } else { &workload.path };
        let pod = container.filter(|container| !container.pod_uid.is_empty() || container.pod.is_some());
        Row {
            processes: *processes,
            cgroup: if path.is_empty() { "/".to_owned() } else { shown(path) },
            unit: shown(&workload.unit),
            container: container.map(|container| {
                let told = container.facts.as_deref().map(self::container).unwrap_or_default();
                ContainerRow { id: shown(&container.id), runtime: shown(&container.runtime), ..told }
            }),
            pod: pod.map(|container| {
                let told = container.pod.as_deref().map(self::pod).unwrap_or_default();
                PodRow { uid: shown(&container.pod_uid), ..told }
            }),
        }
    };
    workloads.iter().map(row).collect()
}

fn container(facts: &ContainerFacts) -> ContainerRow {
    ContainerRow {
        id: shown(&facts.id),
        runtime: shown(&facts.runtime),
        source: facts.source.name().to_owned(),
        name: shown(&facts.name),
        image: shown(&facts.image.reference),
        digests: facts.image.digests.iter().map(shown).collect(),
        command: facts.command.iter().map(shown).collect(),
        privileged: facts.privileged,
        sandbox: facts.sandbox,
        started_ns: facts.started_ns,
        labels: map(&facts.labels),
    }
}

fn pod(facts: &PodFacts) -> PodRow {
    PodRow {
        uid: shown(&facts.uid),
        source: facts.source.name().to_owned(),
        name: shown(&facts.name),
        namespace: shown(&facts.namespace),
        node: shown(&facts.node),
        service_account: shown(&facts.service_account),
        owners: facts.owners.iter().map(|owner| format!("{}/{}", owner.kind, owner.name)).collect(),
        labels: map(&facts.labels),
    }
}
