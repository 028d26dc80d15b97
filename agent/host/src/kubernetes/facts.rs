//! What is kept of a pod.

use super::objects::{Container, ContainerStatus, Map, Meta, OwnerReference, Pod, Volume, VolumeMount};
use hostward_event::Text;
use hostward_event::workload::{ContainerFacts, ImageFacts, Mount, Owner, PodFacts, Source};
use std::collections::BTreeMap;

/// Names, ids, paths and values are kept up to this; the API's own limits are lower, but for annotations and
/// arguments.
const MAX_TEXT_BYTES: usize = 4_096;
/// Labels, and annotations, of a pod or a namespace.
const MAX_ENTRIES: usize = 64;
/// Their keys and values together.
const MAX_MAP_BYTES: usize = 32 << 10;
/// Containers of all kinds in a pod.
const MAX_CONTAINERS: usize = 64;
/// Mounts, arguments, capabilities of a container.
const MAX_ITEMS: usize = 64;

/// The whole object as it was last applied, with its environment's secrets.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// On the API's image of a static pod: the uid that kubelet gave it.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The pod's own facts, without what others tell: owners beyond the first, its namespace, the cluster. None:
/// no pod without a uid and a name.
pub(super) fn pod_facts(pod: &Pod) -> Option<PodFacts> {
    let meta = &pod.metadata;
    let mut facts = PodFacts::new(Source::KubernetesApi, uid(pod)?);
    facts.name = text(&meta.name)?;
    facts.namespace = text(&meta.namespace).unwrap_or_default();
    facts.labels = map(&meta.labels);
    facts.annotations = map(&meta.annotations);
    facts.node = text(&pod.spec.node_name).unwrap_or_default();
    facts.service_account = text(&pod.spec.service_account_name).unwrap_or_default();
    facts.owners.extend(controller(meta).and_then(owner));
    Some(facts)
}

/// The uid by which cgroups and runtimes call the pod.
fn uid(pod: &Pod) -> Option<Text> {
    let hash = pod.metadata.annotations.as_ref().and_then(|all| all.get(MIRROR)).and_then(Option::as_deref);
    // Whoever may make pods may write this annotation. It never stands for a uid that the API gave, which has
    // dashes.
    let is_hash = |hash: &&str| hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    match hash.filter(is_hash) {
        Some(hash) => Some(hash.into()),
        None => text(&pod.metadata.uid),
    }
}

/// The reference to who made it.
pub(super) fn controller(meta: &Meta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}

pub(super) fn owner(reference: &OwnerReference) -> Option<Owner> {
    let (kind, name) = (text(&reference.kind)?, text(&reference.name)?);
    Some(Owner { kind, name, uid: text(&reference.uid).unwrap_or_default() })
}

/// Labels or annotations, as many as are kept.
pub(super) fn map(from: &Option<Map>) -> BTreeMap<Text, Text> {
    let mut room = MAX_MAP_BYTES;
    let mut kept = BTreeMap::new();
    for (key, value) in from.iter().flatten() {
        let value = value.as_deref().unwrap_or_default();
        let bytes = key.len() + value.len();
        // One that is too long is left out as a whole: half a value says something else.
        if key == LAST_APPLIED || key.len() > MAX_TEXT_BYTES || value.len() > MAX_TEXT_BYTES || bytes > room {
            continue;
        }
        if kept.len() == MAX_ENTRIES {
            break;
        }
        room -= bytes;
        kept.insert(key.as_str().into(), value.into());
    }
    kept
}

fn text(from: &Option<String>) -> Option<Text> {
    from.as_deref().filter(|text| !text.is_empty()).map(cut)
}

fn cut(text: &str) -> Text {
    Text::copy(text.as_bytes().get(..MAX_TEXT_BYTES).unwrap_or(text.as_bytes()))
}

/// The containers that have an id by now.
pub(super) fn container_facts(pod: &Pod) -> Vec<ContainerFacts> {
    let (spec, status) = (&pod.spec, &pod.status);
    let groups = [
        (&spec.containers, &status.container_statuses),
        (&spec.init_containers, &status.init_container_statuses),
        (&spec.ephemeral_containers, &status.ephemeral_container_statuses),
    ];
    let Some(pod_uid) = uid(pod) else { return Vec::new() };
    let volumes = spec.volumes.as_deref().unwrap_or_default();
    let told = groups.iter().flat_map(|(specs, statuses)| {
        let specs = specs.as_deref().unwrap_or_default();
        let pod_uid = &pod_uid;
        statuses.iter().flatten().filter_map(move |status| {
            let spec = specs.iter().find(|spec| spec.name.is_some() && spec.name == status.name);
            container(status, spec, volumes, pod_uid)
        })
    });
    told.take(MAX_CONTAINERS).collect()
}

fn container(
    status: &ContainerStatus,
    spec: Option<&Container>,
    volumes: &[Volume],
    pod_uid: &Text,
) -> Option<ContainerFacts> {
    let (runtime, id) = status.container_id.as_deref()?.split_once("://")?;
    let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if id.is_empty() || id.len() > 128 || !id.bytes().all(is_id) {
        return None;
    }
    let security = spec.and_then(|spec| spec.security_context.as_ref());
    let capabilities = security.and_then(|security| security.capabilities.as_ref());
    let list = |list: Option<&Option<Vec<String>>>, prefix: &str| -> Vec<Text> {
        let names = list.into_iter().flatten().flatten().take(MAX_ITEMS);
        names.map(|name| cut(&format!("{prefix}{}", name.strip_prefix("CAP_").unwrap_or(name)))).collect()
    };
    let mut all_capabilities = list(capabilities.map(|all| &all.add), "CAP_");
    all_capabilities.extend(list(capabilities.map(|all| &all.drop), "-CAP_"));
    let words = spec.into_iter().flat_map(|spec| [&spec.command, &spec.args]).flatten().flatten();
    let mounts = spec.into_iter().filter_map(|spec| spec.volume_mounts.as_ref()).flatten().take(MAX_ITEMS);
    Some(ContainerFacts {
        source: Source::KubernetesApi,
        id: id.into(),
        runtime: cut(runtime),
        name: text(&status.name).unwrap_or_default(),
        image: image(status, spec),
        command: words.take(MAX_ITEMS).map(|word| cut(word)).collect(),
        labels: BTreeMap::new(),
        mounts: mounts.map(|mount| self::mount(mount, volumes)).collect(),
        // Without a word the API means false.
        privileged: spec.map(|_| security.and_then(|security| security.privileged).unwrap_or(false)),
        capabilities: all_capabilities,
        started_ns: started_ns(status),
        sandbox: false,
        sandbox_id: Text::EMPTY,
        pod_uid: pod_uid.clone(),
    })
}

/// `imageID` is `NAME@sha256:…`, with `docker-pullable://` before it from dockershim, or the bare id of a
/// configuration.
fn image(status: &ContainerStatus, spec: Option<&Container>) -> ImageFacts {
    let mut image = ImageFacts::default();
    // Runtimes tell the id where they forgot the name.
    let told = text(&status.image).filter(|name| !name.as_bytes().starts_with(b"sha256:"));
    let named = told.or_else(|| spec.and_then(|spec| text(&spec.image)));
    image.reference = named.or_else(|| text(&status.image)).unwrap_or_default();
    let id = status.image_id.as_deref().unwrap_or_default();
    let id = id.split_once("://").map_or(id, |(_, id)| id);
    match id.rsplit_once('@') {
        Some((_, digest)) => image.digests.push(cut(digest)),
        None => image.id = cut(id),
    }
    image
}

fn mount(from: &VolumeMount, volumes: &[Volume]) -> Mount {
    let volume = volumes.iter().find(|volume| volume.name.is_some() && volume.name == from.name);
    let host_path = volume.and_then(|volume| volume.host_path.as_ref()).and_then(|host| text(&host.path));
    let mut source = host_path.or_else(|| text(&from.name)).unwrap_or_default();
    if let Some(below) = text(&from.sub_path) {
        source = Text::from([source.as_bytes(), b"/", below.as_bytes()].concat());
    }
    let propagation = match from.mount_propagation.as_deref() {
        Some("Bidirectional") => "rshared",
        Some("HostToContainer") => "rslave",
        Some("None") | None => "rprivate",
        Some(_) => "",
    };
    Mount {
        source,
        destination: text(&from.mount_path).unwrap_or_default(),
        writable: from.read_only != Some(true),
        propagation: Text::from_static(propagation),
    }
}

fn started_ns(status: &ContainerStatus) -> i64 {
    let state = status.state.as_ref();
    let started = state.and_then(|state| state.running.as_ref().or(state.terminated.as_ref()));
    let told = started.and_then(|started| started.started_at.as_deref());
    let time = told.and_then(|told| told.parse::<jiff::Timestamp>().ok());
    time.and_then(|time| i64::try_from(time.as_nanosecond()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
