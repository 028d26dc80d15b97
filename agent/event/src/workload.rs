//! What a cgroup stands for, and what runtimes and the Kubernetes API tell of it.
//!
//! A [`Workload`] is shared by all that runs in one cgroup. Its names come from the cgroup itself and
//! are there from the first event on. What only others know, [`ContainerFacts`] and [`PodFacts`], comes
//! as facts and is put in place when it is there. All texts are bytes: whoever may start a container
//! chooses its labels.

use crate::Text;
use crate::raw::RawCgroup;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a cgroup stands for: a container, a systemd unit, a login session.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Workload {
    /// cgroup as the kernel told it.
    pub cgroup: RawCgroup,
    /// Path below the hierarchy's root; empty until looked up.
    pub path: Text,
    /// The container, if it is one.
    pub container: Option<Container>,
    /// systemd unit, e.g. `ssh.service`; empty when none. For a login: `session-3.scope`.
    pub unit: Text,
    /// systemd slice, e.g. `system.slice`; empty when none.
    pub slice: Text,
}

/// A container: what its cgroup tells, and what others told since.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Full id, 64 hex characters for the common runtimes.
    pub id: Text,
    /// `docker`, `containerd`, `cri-o`, `podman`, …; empty when the path does not tell.
    pub runtime: Text,
    /// Pod uid from the path; empty when not a pod.
    pub pod_uid: Text,
    /// What its runtime, or the Kubernetes API in its place, tells; none until it was asked. Stored once an
    /// event, not with each process of it: see [`crate::canonical`].
    #[serde(skip)]
    pub facts: Option<Arc<ContainerFacts>>,
    /// Its pod; none until it is known, or when it is in no pod.
    #[serde(skip)]
    pub pod: Option<Arc<PodFacts>>,
}

impl Container {
    /// The 12-character id that rules and people use.
    pub fn short_id(&self) -> &[u8] {
        let id = self.id.as_bytes();
        id.get(..12).unwrap_or(id)
    }
}

/// Who told a fact. Ordered: of two that tell the same container or pod, the later one is believed
/// where it says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// State files of an OCI runtime.
    Oci,
    /// The Kubernetes API server.
    KubernetesApi,
    /// A CRI socket: containerd, cri-o.
    Cri,
    /// Podman's API socket.
    Podman,
    /// Docker's API socket.
    Docker,
}

impl Source {
    /// The word in `hostward workloads` and in health.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::KubernetesApi => "kubernetes_api",
            Self::Cri => "cri",
            Self::Podman => "podman",
            Self::Docker => "docker",
        }
    }
}

/// What a runtime knows of a container. Whatever it does not tell is empty or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerFacts {
    /// Who told it.
    pub source: Source,
    /// Full id.
    pub id: Text,
    /// `docker`, `containerd`, `cri-o`, `podman`, as the runtime calls itself.
    pub runtime: Text,
    /// Name, without the slash that Docker writes before it. In a pod: the container's name there.
    pub name: Text,
    /// The image it was made of.
    pub image: ImageFacts,
    /// The command with its arguments, as configured.
    pub command: Vec<Text>,
    /// Labels of the container itself.
    pub labels: BTreeMap<Text, Text>,
    /// Mounts that were asked for.
    pub mounts: Vec<Mount>,
    /// Runs privileged; none: not told.
    pub privileged: Option<bool>,
    /// Capabilities that the runtime was told to give beyond (`CAP_…`) or to take (`-CAP_…`), or the whole
    /// bounding set where that is what it tells.
    pub capabilities: Vec<Text>,
    /// Start, ns since the epoch; 0: not told.
    pub started_ns: i64,
    /// It is the sandbox that holds a pod's namespaces.
    pub sandbox: bool,
    /// Id of the pod's sandbox; empty: none, or itself.
    pub sandbox_id: Text,
    /// Uid of its pod; empty: none.
    pub pod_uid: Text,
}

/// An image, as a runtime tells it.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageFacts {
    /// As it was asked for: `docker.io/library/nginx:1.27`, or an id when it has no name.
    pub reference: Text,
    /// Id of its configuration: `sha256:…`.
    pub id: Text,
    /// Digests by which a registry knows it: `sha256:…`.
    pub digests: Vec<Text>,
}

impl ImageFacts {
    /// Repository and tag of the reference: `docker.io/library/nginx` and `1.27`. A digest behind the name is
    /// left out, and an image without a name has neither.
    pub fn name_and_tag(&self) -> (&[u8], &[u8]) {
        let whole = self.reference.as_bytes();
        let name = whole.split(|byte| *byte == b'@').next().unwrap_or_default();
        if name == b"sha256" || name.starts_with(b"sha256:") || is_bare_id(name) {
            return (b"", b"");
        }
        // The colon of a registry's port comes before the last slash.
        let after_slash = name.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        match name.iter().rposition(|byte| *byte == b':').filter(|at| *at >= after_slash) {
            Some(colon) => (name.get(..colon).unwrap_or_default(), name.get(colon + 1..).unwrap_or_default()),
            None => (name, b""),
        }
    }
}

fn is_bare_id(name: &[u8]) -> bool {
    name.len() == 64 && name.iter().all(u8::is_ascii_hexdigit)
}

/// A mount of a container.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mount {
    /// Path on the host, or the volume's name.
    pub source: Text,
    /// Path in the container.
    pub destination: Text,
    /// It may be written.
    pub writable: bool,
    /// `rprivate`, `rslave`, `rshared`, …; empty: not told.
    pub propagation: Text,
}

/// What is known of a pod. Whatever was not told is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodFacts {
    /// Who told it; the latter when two did.
    pub source: Source,
    /// Uid.
    pub uid: Text,
    /// Name.
    pub name: Text,
    /// Namespace.
    pub namespace: Text,
    /// Labels.
    pub labels: BTreeMap<Text, Text>,
    /// Annotations.
    pub annotations: BTreeMap<Text, Text>,
    /// Labels of its namespace; only the API tells them.
    pub namespace_labels: BTreeMap<Text, Text>,
    /// Node it runs on.
    pub node: Text,
    /// Service account.
    pub service_account: Text,
    /// Who made it, nearest first: a ReplicaSet, then its Deployment.
    pub owners: Vec<Owner>,
    /// The cluster, where it is known: name and id.
    pub cluster_name: Text,
    /// Uid of the namespace kube-system, which stands for the cluster's id.
    pub cluster_id: Text,
}

impl PodFacts {
    /// A pod of which nothing but this is known.
    pub fn new(source: Source, uid: Text) -> Self {
        Self {
            source,
            uid,
            name: Text::EMPTY,
            namespace: Text::EMPTY,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            namespace_labels: BTreeMap::new(),
            node: Text::EMPTY,
            service_account: Text::EMPTY,
            owners: Vec::new(),
            cluster_name: Text::EMPTY,
            cluster_id: Text::EMPTY,
        }
    }
}

/// One link of the chain of owners of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Owner {
    /// `ReplicaSet`, `Deployment`, `Job`, …
    pub kind: Text,
    /// Name.
    pub name: Text,
    /// Uid; empty where it follows from a name alone.
    pub uid: Text,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_split_into_name_and_tag() {
        let id = "0123456789abcdef".repeat(4);
        let table: &[(&str, &str, &str)] = &[
            ("nginx", "nginx", ""),
            ("nginx:1.27", "nginx", "1.27"),
            ("docker.io/library/nginx:1.27", "docker.io/library/nginx", "1.27"),
            ("localhost:5000/app", "localhost:5000/app", ""),
            ("localhost:5000/app:v2", "localhost:5000/app", "v2"),
            ("app:v2@sha256:00", "app", "v2"),
            ("app@sha256:00", "app", ""),
            ("sha256:00", "", ""),
            (&id, "", ""),
            ("", "", ""),
            (":", "", ""),
        ];
        for (reference, name, tag) in table {
            let image = ImageFacts { reference: (*reference).into(), ..ImageFacts::default() };
            assert_eq!(image.name_and_tag(), (name.as_bytes(), tag.as_bytes()), "{reference}");
        }
    }
}
