//! From what CRI answers to facts.

use super::messages::{ContainerStatus, ContainerStatusResponse, Image, PodSandboxStatus};
use crate::runtime::bounds::{self, MAX_ITEMS, labels, word};
use hostward_event::Text;
use hostward_event::workload::{ContainerFacts, ImageFacts, Mount, PodFacts, Source};
use serde_json::Value;

/// What runtimes know besides is read up to this size.
const MAX_INFO_BYTES: usize = 1 << 20;

/// The pod of a sandbox; none when it has no uid.
pub(super) fn pod(status: &PodSandboxStatus) -> Option<PodFacts> {
    let metadata = status.metadata.clone().filter(|metadata| !metadata.uid.is_empty())?;
    Some(PodFacts {
        name: word(&metadata.name),
        namespace: word(&metadata.namespace),
        labels: labels(status.labels.clone()),
        annotations: labels(status.annotations.clone()),
        ..PodFacts::new(Source::Cri, word(&metadata.uid))
    })
}

/// Uid of a sandbox's pod; empty: none.
pub(super) fn uid(status: &PodSandboxStatus) -> Text {
    status.metadata.as_ref().map_or(Text::EMPTY, |metadata| word(&metadata.uid))
}

/// A sandbox is a container, too: the one that holds the pod's namespaces.
pub(super) fn sandbox(status: &PodSandboxStatus, runtime: &str) -> ContainerFacts {
    ContainerFacts {
        source: Source::Cri,
        id: word(&status.id),
        runtime: Text::from(runtime),
        name: Text::EMPTY,
        image: ImageFacts::default(),
        command: Vec::new(),
        labels: labels(status.labels.clone()),
        mounts: Vec::new(),
        privileged: None,
        capabilities: Vec::new(),
        started_ns: status.created_ns.max(0),
        sandbox: true,
        sandbox_id: Text::EMPTY,
        pod_uid: uid(status),
    }
}

/// What is to be asked for to know the image of a container; none: its status tells all.
pub(super) fn image_to_ask(status: &ContainerStatus) -> Option<&str> {
    let is_told = !status.image_id.is_empty() && status.image_ref.contains('@');
    let name = [status.image_ref.as_str(), status.image.as_ref().map_or("", |image| image.image.as_str())];
    name.into_iter().find(|name| !name.is_empty()).filter(|_| !is_told)
}

/// A digest in a reference, or the reference when it is one.
fn digest(reference: &str) -> Option<&str> {
    reference.rsplit_once('@').map(|(_, digest)| digest)
}

/// The image of a container: as it was asked for, its id, and the digests that registries know.
fn image(status: &ContainerStatus, told: Option<&Image>) -> ImageFacts {
    let asked = status.image.as_ref().map_or("", |image| image.image.as_str());
    let tag = told
        .and_then(|image| image.tags.first())
        .filter(|_| asked.is_empty() || asked.starts_with("sha256:"));
    let mut digests: Vec<Text> = digest(&status.image_ref)
        .into_iter()
        .chain(told.into_iter().flat_map(|image| &image.digests).filter_map(|named| digest(named)))
        .take(MAX_ITEMS)
        .map(word)
        .collect();
    digests.sort();
    digests.dedup();
    let ids =
        [status.image_id.as_str(), told.map_or("", |image| image.id.as_str()), status.image_ref.as_str()];
    let id = ids.into_iter().find(|id| !id.is_empty() && !id.contains('@')).unwrap_or_default();
    ImageFacts { reference: word(tag.map_or(asked, String::as_str)), id: word(id), digests }
}

/// A container in a sandbox; none when the answer tells of none.
pub(super) fn container(
    answer: ContainerStatusResponse,
    sandbox: Option<&PodSandboxStatus>,
    told: Option<&Image>,
    runtime: &str,
) -> Option<ContainerFacts> {
    let status = answer.status?;
    let info = answer.info.get("info").filter(|text| text.len() <= MAX_INFO_BYTES);
    let info: Value = info.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let texts = |pointer: &str| -> Vec<Text> {
        let list = info.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        bounds::texts(list.filter_map(Value::as_str))
    };
    // containerd tells the configuration, in which what is false is left out; cri-o tells it by itself.
    let config = info.get("config").filter(|config| config.is_object());
    let privileged = match info.get("privileged").and_then(Value::as_bool) {
        Some(told) => Some(told),
        None => config
            .map(|config| config.pointer("/linux/security_context/privileged") == Some(&Value::Bool(true))),
    };
    let image = image(&status, told);
    let mounts = status.mounts.into_iter().take(MAX_ITEMS).map(|mount| Mount {
        source: word(&mount.host_path),
        destination: word(&mount.container_path),
        writable: !mount.readonly,
        propagation: Text::from_static(match mount.propagation {
            1 => "rslave",
            2 => "rshared",
            _ => "rprivate",
        }),
    });
    Some(ContainerFacts {
        source: Source::Cri,
        id: word(&status.id),
        runtime: Text::from(runtime),
        name: word(&status.metadata.unwrap_or_default().name),
        image,
        command: texts("/runtimeSpec/process/args"),
        labels: labels(status.labels),
        mounts: mounts.collect(),
        privileged,
        capabilities: texts("/runtimeSpec/process/capabilities/bounding"),
        started_ns: status.started_ns.max(0),
        sandbox: false,
        sandbox_id: sandbox.map_or(Text::EMPTY, |sandbox| word(&sandbox.id)),
        pod_uid: sandbox.map(uid).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::messages::{
        ContainerMetadata, ContainerStatus, ImageSpec, Mount as Mounted, PodMetadata,
    };
    use super::*;
    use proptest::prelude::*;
    use prost::Message;

    #[test]
    fn a_container_takes_its_pod_from_its_sandbox() {
        let pod = PodMetadata { name: "web-1".into(), uid: "u-1".into(), namespace: "prod".into() };
        let sandbox = PodSandboxStatus { id: "s".into(), metadata: Some(pod), ..PodSandboxStatus::default() };
        let info = r#"{"config":{"linux":{"security_context":{"privileged":true}}},
            "runtimeSpec":{"process":{"args":["nginx","-g"],"capabilities":{"bounding":["CAP_CHOWN"]}}}}"#;
        let status = ContainerStatus {
            id: "c".into(),
            metadata: Some(ContainerMetadata { name: "app".into() }),
            image: Some(ImageSpec { image: "docker.io/library/nginx:1.27".into() }),
            image_ref: "docker.io/library/nginx@sha256:ab".into(),
            mounts: vec![Mounted { host_path: "/srv".into(), readonly: true, ..Mounted::default() }],
            ..ContainerStatus::default()
        };
        let info = [("info".to_owned(), info.to_owned())].into();
        let facts = container(
            ContainerStatusResponse { status: Some(status), info },
            Some(&sandbox),
            None,
            "containerd",
        );
        let facts = facts.unwrap();
        assert_eq!((facts.pod_uid, facts.sandbox_id, facts.name), ("u-1".into(), "s".into(), "app".into()));
        assert_eq!(facts.image.digests, ["sha256:ab".into()]);
        assert_eq!((facts.privileged, facts.command.len(), facts.capabilities.len()), (Some(true), 2, 1));
        assert!(!facts.mounts[0].writable);
        let told = super::pod(&sandbox).unwrap();
        assert_eq!((told.uid, told.name, told.namespace), ("u-1".into(), "web-1".into(), "prod".into()));
    }

    #[test]
    fn an_image_is_known_by_its_id_and_its_digests() {
        let status = |image: &str, image_ref: &str, image_id: &str| ContainerStatus {
            image: Some(ImageSpec { image: image.into() }),
            image_ref: image_ref.into(),
            image_id: image_id.into(),
            ..ContainerStatus::default()
        };
        let told = Image {
            id: "sha256:cc".into(),
            tags: vec!["docker.io/library/nginx:1.27".into()],
            digests: vec!["docker.io/library/nginx@sha256:aa".into(), "mirror/nginx@sha256:aa".into()],
        };
        let shown = |facts: ImageFacts| (facts.reference.to_string(), facts.id.to_string(), facts.digests);
        let nginx = || "docker.io/library/nginx:1.27".to_owned();
        let pulled = status("docker.io/library/nginx:1.27", "docker.io/library/nginx@sha256:aa", "sha256:cc");
        assert_eq!(image_to_ask(&pulled), None, "it tells all");
        assert_eq!(shown(image(&pulled, None)), (nginx(), "sha256:cc".into(), vec!["sha256:aa".into()]));
        // Before Kubernetes 1.29 there was no id beside the digest.
        let older = status("sha256:cc", "docker.io/library/nginx@sha256:aa", "");
        assert_eq!(image_to_ask(&older), Some("docker.io/library/nginx@sha256:aa"));
        assert_eq!(
            shown(image(&older, Some(&told))),
            (nginx(), "sha256:cc".into(), vec!["sha256:aa".into()])
        );
        let imported = status("docker.io/library/nginx:1.27", "sha256:cc", "");
        assert_eq!(shown(image(&imported, None)), (nginx(), "sha256:cc".into(), vec![]));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(bytes: Vec<u8>, info in ".{0,100}") {
            let sandbox = PodSandboxStatus::decode(bytes.as_slice()).unwrap_or_default();
            let _ = (super::pod(&sandbox), super::sandbox(&sandbox, "x"));
            if let Ok(mut answer) = ContainerStatusResponse::decode(bytes.as_slice()) {
                answer.info.insert("info".into(), info);
                let image = Image::decode(bytes.as_slice()).unwrap_or_default();
                let _ = answer.status.as_ref().map(image_to_ask);
                let _ = container(answer, Some(&sandbox), Some(&image), "x");
            }
        }
    }
}
