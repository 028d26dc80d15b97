//! Fields of containers, pods and the owners of pods: whose process it is.
//!
//! The cgroup tells the id and the pod's uid at once. Everything else is what a runtime or the
//! Kubernetes API told, and missing until then; `enrichment.partial` says when an event went out without.

use super::{Arg, ArgKind, Field, Need, Type, Value, spare};
use crate::event::Body;
use crate::raw::RawCgroupChange;
use crate::workload::{Container, ContainerFacts, Mount, PodFacts};
use crate::{Event, EventKind, KindSet, Text};
use std::borrow::Cow;
use std::collections::BTreeMap;

fn container(event: &Event) -> Option<&Container> {
    event.process.as_deref()?.workload.container.as_ref()
}

fn facts(event: &Event) -> Option<&ContainerFacts> {
    container(event)?.facts.as_deref()
}

fn pod(event: &Event) -> Option<&PodFacts> {
    container(event)?.pod.as_deref()
}

fn of_facts(event: &Event, take: fn(&ContainerFacts) -> &Text) -> Value<'_> {
    facts(event).map_or(Value::Missing, |facts| Value::some_text(take(facts)))
}

fn of_pod(event: &Event, take: fn(&PodFacts) -> &Text) -> Value<'_> {
    pod(event).map_or(Value::Missing, |pod| Value::some_text(take(pod)))
}

fn some_bytes(bytes: &[u8]) -> Value<'_> {
    if bytes.is_empty() { Value::Missing } else { Value::text(bytes) }
}

fn label<'e>(labels: Option<&'e BTreeMap<Text, Text>>, arg: &Arg) -> Value<'e> {
    match (labels, arg) {
        (Some(labels), Arg::Key(key)) => {
            labels.get(key.as_bytes()).map_or(Value::Missing, |text| Value::text(text.as_bytes()))
        }
        _ => Value::Missing,
    }
}

/// Labels as `key` + `between` + `value`.
fn pairs<'e>(labels: Option<&BTreeMap<Text, Text>>, between: &[u8]) -> Value<'e> {
    let texts = labels.into_iter().flatten();
    Value::some_list(
        texts.map(|(key, value)| Cow::Owned([key.as_bytes(), between, value.as_bytes()].concat())),
    )
}

/// The owner at the top of the chain: the Deployment rather than its ReplicaSet.
fn owner(event: &Event, take: fn(&crate::workload::Owner) -> &Text) -> Value<'_> {
    pod(event).and_then(|pod| pod.owners.last()).map_or(Value::Missing, |owner| Value::some_text(take(owner)))
}

/// Falco's form: `source:destination:mode:rw:propagation`.
fn mount(mount: &Mount) -> Vec<u8> {
    let writable: &[u8] = if mount.writable { b"true" } else { b"false" };
    [mount.source.as_bytes(), mount.destination.as_bytes(), b"", writable, mount.propagation.as_bytes()]
        .join(&b':')
}

/// Destination of the first mount whose source is, or by a glob with `*` begins with, what stands in brackets.
fn mount_destination<'e>(event: &'e Event, arg: &Arg) -> Value<'e> {
    let (Some(facts), Arg::Key(wanted)) = (facts(event), arg) else { return Value::Missing };
    let wanted = wanted.as_bytes();
    let fits = |source: &[u8]| match wanted.iter().position(|byte| *byte == b'*') {
        Some(star) => source.starts_with(wanted.get(..star).unwrap_or_default()),
        None => source == wanted,
    };
    let found = facts.mounts.iter().find(|mount| fits(mount.source.as_bytes()));
    found.map_or(Value::Missing, |mount| Value::some_text(&mount.destination))
}

fn digests(event: &Event) -> Value<'_> {
    let list =
        facts(event).map(|facts| facts.image.digests.iter().map(|text| Cow::Borrowed(text.as_bytes())));
    list.map_or(Value::Missing, Value::some_list)
}

fn change(event: &Event) -> Option<&RawCgroupChange> {
    if let Body::Cgroup(change) = &event.body { Some(change) } else { None }
}

const CGROUPS: KindSet = KindSet::of(&[EventKind::Cgroup]);

pub(super) const FIELDS: &[Field] = &[
    Field::new(
        "container.id",
        Type::Text,
        "first 12 characters of the container's id; `host` outside of any",
        |e, _| match (e.process.is_some(), container(e)) {
            (_, Some(container)) => Value::text(container.short_id()),
            (true, None) => Value::text(b"host"),
            (false, None) => Value::Missing,
        },
    )
    .needs(Need::Cgroup),
    Field::new("container.full_id", Type::Text, "whole id of the container", |e, _| {
        container(e).map_or(Value::Missing, |c| Value::some_text(&c.id))
    })
    .ecs("container.id")
    .ocsf("process.container.uid")
    .cef("cs3")
    .leef("containerId")
    .needs(Need::Cgroup),
    Field::new(
        "container.type",
        Type::Text,
        "container runtime: docker, containerd, cri-o, podman, …",
        |e, _| container(e).map_or(Value::Missing, |c| Value::some_text(&c.runtime)),
    )
    .ecs("container.runtime")
    .ocsf("process.container.runtime")
    .needs(Need::Cgroup),
    Field::new("container.name", Type::Text, "name of the container; in a pod its name there", |e, _| {
        of_facts(e, |f| &f.name)
    })
    .ecs("container.name")
    .ocsf("process.container.name")
    .needs(Need::Runtime),
    Field::new("container.image", Type::Text, "image as it was asked for: name, tag, digest", |e, _| {
        of_facts(e, |f| &f.image.reference)
    })
    .needs(Need::Runtime),
    Field::new("container.image.repository", Type::Text, "image without tag and digest", |e, _| {
        facts(e).map_or(Value::Missing, |f| some_bytes(f.image.name_and_tag().0))
    })
    .ecs("container.image.name")
    .ocsf("process.container.image.name")
    .needs(Need::Runtime),
    Field::new("container.image.tag", Type::Text, "tag of the image", |e, _| {
        facts(e).map_or(Value::Missing, |f| some_bytes(f.image.name_and_tag().1))
    })
    .shows(&["container.image.tag"])
    .needs(Need::Runtime),
    Field::new("container.image.tags", Type::List, "tag of the image, as ECS has it: a list", |e, _| {
        let tag = facts(e).map(|f| f.image.name_and_tag().1).filter(|tag| !tag.is_empty());
        Value::some_list(tag.into_iter().map(Cow::Borrowed))
    })
    .ecs("container.image.tag")
    .needs(Need::Runtime),
    Field::new(
        "container.image.digest",
        Type::Text,
        "digest of the image, as a registry knows it",
        |e, _| facts(e).and_then(|f| f.image.digests.first()).map_or(Value::Missing, Value::some_text),
    )
    .shows(&["container.image.hash.all"])
    .needs(Need::Runtime),
    Field::wire(
        "container.image.hash.all",
        Type::List,
        "digests of the image, as registries know it",
        |e, _| digests(e),
    )
    .needs(Need::Runtime),
    Field::new("container.image.id", Type::Text, "id of the image's configuration", |e, _| {
        of_facts(e, |f| &f.image.id)
    })
    .ecs("hostward.container.image.id")
    .ocsf("process.container.image.uid")
    .needs(Need::Runtime),
    Field::new("container.privileged", Type::Bool, "the container runs privileged", |e, _| {
        facts(e).and_then(|f| f.privileged).into()
    })
    .ecs("container.security_context.privileged")
    .needs(Need::Runtime),
    Field::new("container.start_ts", Type::Number, "start of the container, ns since the epoch", |e, _| {
        facts(e).map(|f| f.started_ns).filter(|ns| *ns > 0).into()
    })
    .needs(Need::Runtime),
    Field::new(
        "container.mounts",
        Type::Text,
        "mounts, source:destination:mode:rw:propagation, blank between",
        |e, _| {
            let all: Option<Vec<Vec<u8>>> = facts(e).map(|f| f.mounts.iter().map(mount).collect());
            all.filter(|all| !all.is_empty()).map_or(Value::Missing, |all| Value::owned(all.join(&b' ')))
        },
    )
    .needs(Need::Runtime),
    Field::new(
        "container.mount.dest",
        Type::Text,
        "destination of the mount of source [PATH]; a star ends a prefix",
        mount_destination,
    )
    .takes(ArgKind::Key)
    .needs(Need::Runtime),
    Field::new("container.label", Type::Text, "label [KEY] of the container", |e, arg| {
        label(facts(e).map(|f| &f.labels), arg)
    })
    .takes(ArgKind::Key)
    .shows(&["container.labels"])
    .needs(Need::Runtime),
    Field::wire("container.labels", Type::Labels, "labels of the container", |e, _| {
        pairs(facts(e).map(|f| &f.labels), b"=")
    })
    .needs(Need::Runtime),
    Field::new(
        "container.info",
        Type::Text,
        "`id=ID name=NAME` of the container, `host` outside of any",
        |e, _| match (e.process.is_some(), container(e)) {
            (_, Some(container)) => {
                let name = facts(e).map_or(&b"<NA>"[..], |facts| facts.name.as_bytes());
                Value::owned(spare::concat(&[b"id=", container.short_id(), b" name=", name]))
            }
            (true, None) => Value::text(b"host"),
            (false, None) => Value::Missing,
        },
    )
    .shows(&["container.id", "container.name"])
    .needs(Need::Runtime),
    Field::new("k8s.pod.uid", Type::Text, "uid of the pod", |e, _| {
        container(e).map_or(Value::Missing, |c| Value::some_text(&c.pod_uid))
    })
    .ecs("orchestrator.resource.id")
    .needs(Need::Cgroup),
    Field::new("k8s.pod.id", Type::Text, "uid of the pod, by its other name", |e, _| {
        container(e).map_or(Value::Missing, |c| Value::some_text(&c.pod_uid))
    })
    .shows(&["orchestrator.resource.id"])
    .needs(Need::Cgroup),
    Field::new("k8s.pod.name", Type::Text, "name of the pod", |e, _| of_pod(e, |p| &p.name))
        .ecs("orchestrator.resource.name")
        .needs(Need::Runtime),
    Field::new("k8s.ns.name", Type::Text, "namespace of the pod", |e, _| of_pod(e, |p| &p.namespace))
        .ecs("orchestrator.namespace")
        .needs(Need::Runtime),
    Field::wire(
        "orchestrator.type",
        Type::Text,
        "`kubernetes` for what runs in a pod",
        |e, _| match container(e) {
            Some(container) if !container.pod_uid.is_empty() => "kubernetes".into(),
            _ => Value::Missing,
        },
    )
    .ocsf("process.container.orchestrator")
    .needs(Need::Cgroup),
    Field::wire("orchestrator.resource.type", Type::Text, "`pod` for what runs in a pod", |e, _| {
        match container(e) {
            Some(container) if !container.pod_uid.is_empty() => "pod".into(),
            _ => Value::Missing,
        }
    })
    .needs(Need::Cgroup),
    Field::new("k8s.pod.label", Type::Text, "label [KEY] of the pod", |e, arg| {
        label(pod(e).map(|p| &p.labels), arg)
    })
    .takes(ArgKind::Key)
    .shows(&["orchestrator.resource.label"])
    .needs(Need::Runtime),
    Field::new(
        "k8s.pod.labels",
        Type::Text,
        "labels of the pod, `key:value` with comma and blank between",
        |e, _| match pairs(pod(e).map(|p| &p.labels), b":") {
            Value::List(list) => Value::owned(list.join(&b", "[..])),
            _ => Value::Missing,
        },
    )
    .shows(&["orchestrator.resource.label"])
    .needs(Need::Runtime),
    Field::wire("orchestrator.resource.label", Type::List, "labels of the pod, key:value", |e, _| {
        pairs(pod(e).map(|p| &p.labels), b":")
    })
    .needs(Need::Runtime),
    Field::wire(
        "orchestrator.resource.annotation",
        Type::List,
        "annotations of the pod, key:value",
        |e, _| pairs(pod(e).map(|p| &p.annotations), b":"),
    )
    .needs(Need::Runtime),
    Field::new("k8s.pod.annotation", Type::Text, "annotation [KEY] of the pod", |e, arg| {
        label(pod(e).map(|p| &p.annotations), arg)
    })
    .takes(ArgKind::Key)
    .shows(&["orchestrator.resource.annotation"])
    .needs(Need::Runtime),
    Field::new(
        "k8s.ns.label",
        Type::Text,
        "label [KEY] of the pod's namespace; needs the Kubernetes API",
        |e, arg| label(pod(e).map(|p| &p.namespace_labels), arg),
    )
    .takes(ArgKind::Key)
    .needs(Need::Runtime),
    Field::new("k8s.sa.name", Type::Text, "service account of the pod; needs the Kubernetes API", |e, _| {
        of_pod(e, |p| &p.service_account)
    })
    .ecs("hostward.kubernetes.service_account.name")
    .needs(Need::Runtime),
    Field::new("k8s.node.name", Type::Text, "node of the pod", |e, _| of_pod(e, |p| &p.node))
        .ecs("hostward.kubernetes.node.name")
        .needs(Need::Runtime),
    Field::new(
        "k8s.owner.kind",
        Type::Text,
        "kind of the owner: Deployment, StatefulSet, DaemonSet, CronJob, …",
        |e, _| owner(e, |owner| &owner.kind),
    )
    .ecs("orchestrator.resource.parent.type")
    .needs(Need::Runtime),
    Field::new("k8s.owner.name", Type::Text, "name of the owner", |e, _| owner(e, |owner| &owner.name))
        .ecs("hostward.kubernetes.owner.name")
        .needs(Need::Runtime),
    Field::new(
        "k8s.owner.uid",
        Type::Text,
        "uid of the owner; missing where the owner follows from a name",
        |e, _| owner(e, |owner| &owner.uid),
    )
    .ecs("hostward.kubernetes.owner.id")
    .needs(Need::Runtime),
    Field::wire("orchestrator.cluster.name", Type::Text, "name of the cluster, as configured", |e, _| {
        of_pod(e, |p| &p.cluster_name)
    })
    .needs(Need::Runtime),
    Field::wire("orchestrator.cluster.id", Type::Text, "uid of the namespace kube-system", |e, _| {
        of_pod(e, |p| &p.cluster_id)
    })
    .needs(Need::Runtime),
    Field::wire(
        "hostward.cgroup.changed.path",
        Type::Text,
        "path of the cgroup that was made or removed",
        |e, _| change(e).map_or(Value::Missing, |change| Value::some_text(&change.path)),
    )
    .on(CGROUPS),
    Field::wire(
        "hostward.cgroup.changed.id",
        Type::Number,
        "id of the cgroup that was made or removed",
        |e, _| change(e).map(|change| change.id).into(),
    )
    .on(CGROUPS),
    Field::new(
        "enrichment.partial",
        Type::Bool,
        "sent before its container was known; an `update` follows",
        |e, _| {
            if e.partial { true.into() } else { Value::Missing }
        },
    )
    .ecs("hostward.enrichment.partial")
    .needs(Need::Agent),
];
