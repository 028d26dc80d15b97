//! What other objects than the pod tell of it: its owner's owner, its namespace, its cluster.
//!
//! A controller gives its objects names that tell where they come from, and that is what is left where the
//! owner cannot be asked: a Deployment's ReplicaSet is `NAME-HASH`, the hash being the pod's label
//! `pod-template-hash` (apps/v1, deployment controller's `sync.go`); a CronJob's Job is `NAME-MINUTES`, the
//! scheduled time in minutes since the epoch, in seconds before 1.21 (batch, cronjob controller's `utils.go`).
//! What is derived has no uid.

use super::client::{Client, Fault, METADATA};
use super::facts;
use super::objects::{Object, OwnerReference};
use hostward_event::Text;
use hostward_event::workload::{Owner, PodFacts};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Labels of a namespace are asked for again at this age.
const NAMESPACE_AGE: Duration = Duration::from_secs(300);
/// What is forbidden is not asked for so long: an operator may grant it.
const FORBIDDEN_REST: Duration = Duration::from_secs(600);
/// What failed is not asked for so long, so that a slow server holds up one pod and not each.
const FAILED_REST: Duration = Duration::from_secs(15);
/// Pods wait for these answers, and events for pods.
const LIMIT: Duration = Duration::from_secs(2);
const TEMPLATE_HASH: Text = Text::from_static("pod-template-hash");
const CLUSTER_NAMESPACE: &str = "kube-system";

/// A kind of object that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    ReplicaSets,
    Jobs,
    Namespaces,
}

impl Resource {
    const ALL: [Self; 3] = [Self::ReplicaSets, Self::Jobs, Self::Namespaces];

    const fn name(self) -> &'static str {
        match self {
            Self::ReplicaSets => "replicasets",
            Self::Jobs => "jobs",
            Self::Namespaces => "namespaces",
        }
    }

    /// Of an owner whose own owner is of interest.
    fn of(reference: &OwnerReference) -> Option<Self> {
        let group = reference.api_version.as_deref()?.split('/').next()?;
        match (group, reference.kind.as_deref()?) {
            ("apps", "ReplicaSet") => Some(Self::ReplicaSets),
            ("batch", "Job") => Some(Self::Jobs),
            _ => None,
        }
    }

    fn path(self, namespace: &str, name: &str) -> String {
        match self {
            Self::ReplicaSets => format!("/apis/apps/v1/namespaces/{namespace}/replicasets/{name}"),
            Self::Jobs => format!("/apis/batch/v1/namespaces/{namespace}/jobs/{name}"),
            Self::Namespaces => format!("/api/v1/namespaces/{name}"),
        }
    }
}

/// A resource that is not asked for at the moment.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    until: Option<Instant>,
    is_forbidden: bool,
}

#[derive(Clone, Debug)]
struct Namespace {
    asked_at: Instant,
    labels: BTreeMap<Text, Text>,
}

/// See the module. Bounded: a cache that is full starts anew.
#[derive(Debug)]
pub(super) struct Relations {
    /// By the uid of the one that is owned.
    owners: BTreeMap<Text, Option<Owner>>,
    namespaces: BTreeMap<Text, Namespace>,
    cluster_id: Text,
    rests: [Rest; 3],
    max_entries: usize,
}

impl Relations {
    pub(super) const fn new(max_entries: usize) -> Self {
        Self {
            owners: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            cluster_id: Text::EMPTY,
            rests: [Rest { until: None, is_forbidden: false }; 3],
            max_entries,
        }
    }

    /// Fills in what is not the pod's own. False: something may be had by asking again later.
    pub(super) async fn complete(
        &mut self,
        client: &mut Client,
        pod: &mut PodFacts,
        reference: Option<&OwnerReference>,
    ) -> bool {
        pod.owners.truncate(1);
        let mut is_firm = true;
        if let Some(reference) = reference {
            let (owner, firm) = self.owner_of(client, pod, reference).await;
            pod.owners.extend(owner);
            is_firm &= firm;
        }
        match self.namespace(client, &pod.namespace).await {
            Some(labels) => pod.namespace_labels = labels,
            None => is_firm = false,
        }
        match self.cluster(client).await {
            Some(id) => pod.cluster_id = id,
            None => is_firm = false,
        }
        is_firm
    }

    /// What may not be asked for, for a report.
    pub(super) fn forbidden(&self) -> Vec<&'static str> {
        let all = Resource::ALL.into_iter().zip(self.rests);
        all.filter(|(_, rest)| rest.is_forbidden).map(|(resource, _)| resource.name()).collect()
    }

    async fn owner_of(
        &mut self,
        client: &mut Client,
        pod: &PodFacts,
        reference: &OwnerReference,
    ) -> (Option<Owner>, bool) {
        let Some(resource) = Resource::of(reference) else { return (None, true) };
        let (name, uid) = (reference.name.as_deref().unwrap_or_default(), reference.uid.as_deref());
        let uid = Text::from(uid.unwrap_or_default());
        if let Some(known) = self.owners.get(&uid) {
            return (known.clone(), true);
        }
        let derived = match resource {
            Resource::ReplicaSets => deployment_of(name, pod.labels.get(&TEMPLATE_HASH)),
            _ => cron_job_of(name),
        };
        match self.ask(client, resource, pod.namespace.as_bytes(), name).await {
            Some(Ok(object)) if object.metadata.uid.as_deref().map(Text::from) == Some(uid.clone()) => {
                let owner = facts::controller(&object.metadata).and_then(facts::owner);
                if self.owners.len() >= self.max_entries {
                    self.owners.clear();
                }
                self.owners.insert(uid, owner.clone());
                (owner, true)
            }
            // It is gone, and another may have its name: asking again would tell no more.
            Some(Ok(_) | Err(Fault::Missing(_))) => (derived, true),
            Some(Err(_)) | None => (derived, false),
        }
    }

    /// Labels of a namespace; none: nobody told yet. Older ones hold until newer are told.
    async fn namespace(&mut self, client: &mut Client, name: &Text) -> Option<BTreeMap<Text, Text>> {
        let known = self.namespaces.get(name);
        if let Some(known) = known.filter(|known| known.asked_at.elapsed() < NAMESPACE_AGE) {
            return Some(known.labels.clone());
        }
        let known = known.map(|known| known.labels.clone());
        let text = str::from_utf8(name.as_bytes()).ok()?;
        let Some(Ok(object)) = self.ask(client, Resource::Namespaces, b"", text).await else { return known };
        let labels = facts::map(&object.metadata.labels);
        if self.namespaces.len() >= self.max_entries {
            self.namespaces.clear();
        }
        let namespace = Namespace { asked_at: Instant::now(), labels: labels.clone() };
        self.namespaces.insert(name.clone(), namespace);
        Some(labels)
    }

    /// The uid of kube-system, which no cluster is without and which stays as long as the cluster.
    async fn cluster(&mut self, client: &mut Client) -> Option<Text> {
        if self.cluster_id.is_empty() {
            let object = self.ask(client, Resource::Namespaces, b"", CLUSTER_NAMESPACE).await?.ok()?;
            self.cluster_id = object.metadata.uid.map(|uid| uid.as_str().into()).unwrap_or_default();
        }
        Some(self.cluster_id.clone()).filter(|id| !id.is_empty())
    }

    /// None: it is not asked for at the moment, or has no name that can be asked for.
    async fn ask(
        &mut self,
        client: &mut Client,
        resource: Resource,
        namespace: &[u8],
        name: &str,
    ) -> Option<Result<Object, Fault>> {
        let namespace = str::from_utf8(namespace).ok()?;
        let has_namespace = resource != Resource::Namespaces;
        if !is_path_segment(name) || (has_namespace && !is_path_segment(namespace)) {
            return None;
        }
        let rest = self.rests.get_mut(resource as usize)?;
        if rest.until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let path = resource.path(namespace, name);
        let answer = timeout(LIMIT, client.get::<Object>(&path, &[], METADATA)).await;
        let answer = answer.unwrap_or(Err(Fault::Silent(LIMIT)));
        *rest = match &answer {
            Ok(_) | Err(Fault::Missing(_)) => Rest::default(),
            Err(Fault::Forbidden(_)) => {
                Rest { until: Some(Instant::now() + FORBIDDEN_REST), is_forbidden: true }
            }
            Err(_) => Rest { until: Some(Instant::now() + FAILED_REST), is_forbidden: false },
        };
        Some(answer)
    }
}

/// Names of objects are DNS subdomains; anything else must not become part of a path.
fn is_path_segment(name: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    name.len() <= 253 && name.bytes().all(is_name) && name.bytes().any(|byte| byte != b'.')
}

fn deployment_of(replica_set: &str, hash: Option<&Text>) -> Option<Owner> {
    let hash = str::from_utf8(hash?.as_bytes()).ok().filter(|hash| !hash.is_empty())?;
    let name = replica_set.strip_suffix(hash)?.strip_suffix('-')?;
    derived("Deployment", name)
}

fn cron_job_of(job: &str) -> Option<Owner> {
    let (name, time) = job.rsplit_once('-')?;
    let number: u64 = time.parse().ok().filter(|_| time.bytes().all(|byte| byte.is_ascii_digit()))?;
    // From 2015, when Jobs began, to 2100; a Job that somebody numbered does not look like that.
    let is_minutes = (23_668_560..=68_374_080).contains(&number);
    let is_seconds = (1_420_113_600..=4_102_444_800).contains(&number);
    if is_minutes || is_seconds { derived("CronJob", name) } else { None }
}

fn derived(kind: &'static str, name: &str) -> Option<Owner> {
    let owner = Owner { kind: Text::from_static(kind), name: name.into(), uid: Text::EMPTY };
    (!name.is_empty()).then_some(owner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_tell_who_made_them() {
        let hash = Text::from("7d4b9c");
        let deployment = |name, hash| deployment_of(name, hash).map(|owner| owner.name.to_string());
        assert_eq!(deployment("web-7d4b9c", Some(&hash)).as_deref(), Some("web"));
        assert_eq!(deployment("my-web-7d4b9c", Some(&hash)).as_deref(), Some("my-web"));
        for name in ["web", "web7d4b9c", "-7d4b9c", "7d4b9c", ""] {
            assert_eq!(deployment(name, Some(&hash)), None, "{name}");
        }
        assert_eq!(deployment("web-7d4b9c", None), None, "a ReplicaSet of its own");
        assert_eq!(deployment("web-", Some(&Text::EMPTY)), None);

        let cron = |name| cron_job_of(name).map(|owner| owner.name.to_string());
        assert_eq!(cron("backup-29384640").as_deref(), Some("backup"));
        assert_eq!(cron("my-backup-1617235200").as_deref(), Some("my-backup"));
        for name in
            ["backup", "backup-1", "backup-20251125", "-29384640", "backup-+29384640", "backup-2938464x"]
        {
            assert_eq!(cron(name), None, "{name}");
        }
    }

    #[test]
    fn a_name_cannot_lead_a_request_elsewhere() {
        assert!(is_path_segment("web-7d4b9c") && is_path_segment("a.b"));
        for name in ["", ".", "..", "a/b", "a?x", "a#b", "a%2fb", "A", "é", "a b"] {
            assert!(!is_path_segment(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_read(name: String, hash: String, minutes in 23_668_560u64..68_374_080, cron in "[a-z]{1,9}") {
            let _ = (deployment_of(&name, Some(&hash.as_str().into())), cron_job_of(&name));
            let owner = cron_job_of(&format!("{cron}-{minutes}")).unwrap();
            prop_assert_eq!(owner, Owner { kind: "CronJob".into(), name: cron.as_str().into(), uid: Text::EMPTY });
        }
    }
}
