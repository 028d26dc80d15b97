//! From files of a runtime to facts.

use super::spec::{Spec, State};
use crate::runtime::bounds::{MAX_ITEMS, labels, texts, time_ns, word};
use hostward_event::Text;
use hostward_event::workload::{ContainerFacts, ImageFacts, Mount, PodFacts, Source};
use std::collections::BTreeMap;
use std::path::Path;

/// Labels that a runtime writes into an annotation are read up to this size.
const MAX_LABELS_BYTES: usize = 256 << 10;

/// Who made a container, as far as its files tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// Nobody with a socket that tells of it: these files are all there is.
    Nobody,
    /// A CRI runtime. It tells more by its socket, so files are the last resort.
    Cri,
    /// Docker or Podman, whose names and images are not in these files.
    Engine,
}

/// What the files of one container tell.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) maker: Maker,
    pub(super) facts: ContainerFacts,
    /// Its pod; none: it is in none, or its uid is not told.
    pub(super) pod: Option<PodFacts>,
}

/// Annotations by key.
struct Annotations<'a>(&'a BTreeMap<String, String>);

impl Annotations<'_> {
    /// The first of these keys that is there.
    fn first(&self, keys: &[&str]) -> Text {
        keys.iter().find_map(|key| self.0.get(*key)).map_or(Text::EMPTY, |value| word(value))
    }

    /// cri-o writes maps as JSON into an annotation.
    fn map(&self, key: &str) -> BTreeMap<Text, Text> {
        let text = self.0.get(key).filter(|text| text.len() <= MAX_LABELS_BYTES);
        let map: Option<BTreeMap<String, String>> = text.and_then(|text| serde_json::from_str(text).ok());
        labels(map.unwrap_or_default())
    }

    fn has_prefix(&self, prefix: &str) -> bool {
        self.0.range(prefix.to_owned()..).next().is_some_and(|(key, _)| key.starts_with(prefix))
    }
}

/// Puts together what is known of container `id`, whose state lies in `root`. `pod_uid` is what others
/// know of its pod, may be empty, and counts where the files tell none.
pub(super) fn read(
    root: &Path,
    program: &'static str,
    id: &str,
    pod_uid: &Text,
    state: &State,
    spec: &Spec,
) -> Found {
    let all = Annotations(spec.annotations().unwrap_or(&state.annotations));
    let (maker, runtime) = maker(root, program, &all);
    let kind = all.first(&["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"]);
    let sandbox = kind.as_bytes() == b"sandbox";
    let uid = all.first(&["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"]);
    let uid = if uid.is_empty() && maker == Maker::Cri { pod_uid.clone() } else { uid };
    let own_labels = match maker {
        Maker::Nobody => labels(all.0.clone()),
        _ => all.map("io.kubernetes.cri-o.Labels"),
    };
    let named =
        all.first(&["io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name"]);
    let name = if sandbox {
        Text::EMPTY
    } else if named.is_empty() && maker == Maker::Nobody && !is_hex(id) {
        // Whoever started it called it so.
        word(id)
    } else {
        named
    };
    let sandbox_id = all.first(&["io.kubernetes.cri.sandbox-id", "io.kubernetes.cri-o.SandboxID"]);
    let mount = |mount: &super::spec::Mounted| Mount {
        source: word(mount.source.as_deref().unwrap_or_default()),
        destination: word(mount.destination.as_deref().unwrap_or_default()),
        writable: mount.is_writable(),
        propagation: word(mount.propagation()),
    };
    let pod = (maker == Maker::Cri && !uid.is_empty()).then(|| PodFacts {
        name: all.first(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]),
        namespace: all.first(&["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"]),
        // A pod's own labels are on its sandbox alone.
        labels: if sandbox { own_labels.clone() } else { BTreeMap::new() },
        annotations: if sandbox { all.map("io.kubernetes.cri-o.Annotations") } else { BTreeMap::new() },
        ..PodFacts::new(Source::Oci, uid.clone())
    });
    let is_known = spec.is_known();
    let facts = ContainerFacts {
        source: Source::Oci,
        id: word(id),
        runtime: Text::from_static(runtime),
        name,
        image: ImageFacts {
            reference: all.first(&[
                "io.kubernetes.cri.image-name",
                "io.kubernetes.cri-o.ImageName",
                "org.opencontainers.image.ref.name",
            ]),
            ..ImageFacts::default()
        },
        command: texts(spec.args()),
        labels: own_labels,
        mounts: spec.binds().take(MAX_ITEMS).map(mount).collect(),
        privileged: is_known.then(|| spec.is_privileged()),
        capabilities: texts(spec.bounding()),
        started_ns: time_ns(&state.created),
        sandbox,
        sandbox_id: if sandbox { Text::EMPTY } else { sandbox_id },
        pod_uid: uid,
    };
    Found { maker, facts, pod }
}

fn maker(root: &Path, program: &'static str, all: &Annotations<'_>) -> (Maker, &'static str) {
    let manager = all.first(&["io.container.manager"]);
    let within = |word: &str| root.components().any(|part| part.as_os_str() == word);
    if all.has_prefix("io.kubernetes.cri-o.") {
        (Maker::Cri, "cri-o")
    } else if all.has_prefix("io.kubernetes.cri.") {
        (Maker::Cri, "containerd")
    } else if manager.as_bytes() == b"libpod" {
        (Maker::Engine, "podman")
    } else if within("docker") {
        (Maker::Engine, "docker")
    } else if within("containerd") {
        (Maker::Nobody, "containerd")
    } else {
        (Maker::Nobody, program)
    }
}

fn is_hex(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::super::spec;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn text(text: &str) -> Text {
        Text::from(text)
    }

    fn parsed(spec: &serde_json::Value) -> Spec {
        Spec::parse(spec.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_container_of_nobody_has_its_id_for_a_name() {
        let state = json!({
            "id": "web", "created": "2025-10-09T08:53:20.000000001Z",
            "cgroup_paths": {"": "/sys/fs/cgroup/unified/a/web", "pids": "/sys/fs/cgroup/pids/a/web"},
            "config": {"labels": ["team=a=b", "bundle=/srv/web"]},
        });
        let state = spec::runc(state.to_string().as_bytes()).unwrap();
        assert_eq!(
            (state.bundle.as_str(), state.cgroup_dir.as_str()),
            ("/srv/web", "/sys/fs/cgroup/unified/a/web")
        );
        let spec = parsed(&json!({
            "process": {"args": ["/bin/web", "-x"], "capabilities": {"bounding": ["CAP_KILL"]}},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/data", "type": "bind", "source": "/srv", "options": ["rbind", "ro", "rslave"]},
            ],
            "linux": {"maskedPaths": ["/proc/kcore"]},
        }));
        let found = read(Path::new("/run/runc"), "runc", "web", &Text::EMPTY, &state, &spec);
        assert_eq!((found.maker, found.pod), (Maker::Nobody, None));
        let facts = found.facts;
        assert_eq!((facts.name, facts.runtime, facts.source), (text("web"), text("runc"), Source::Oci));
        assert_eq!(facts.labels, [(text("team"), text("a=b"))].into());
        assert_eq!(facts.command, [text("/bin/web"), text("-x")]);
        assert_eq!((facts.privileged, facts.capabilities), (Some(false), vec![text("CAP_KILL")]));
        assert_eq!(facts.started_ns, 1_760_000_000_000_000_001);
        let mount = Mount {
            source: text("/srv"),
            destination: text("/data"),
            writable: false,
            propagation: text("rslave"),
        };
        assert_eq!(facts.mounts, [mount]);
    }

    #[test]
    fn containers_of_pods_are_known_by_annotations() {
        let containerd = json!({
            "io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.container-name": "app",
            "io.kubernetes.cri.image-name": "docker.io/library/nginx:1.27", "io.kubernetes.cri.sandbox-id": "s",
            "io.kubernetes.cri.sandbox-name": "web-1", "io.kubernetes.cri.sandbox-namespace": "prod",
        });
        let crio = json!({
            "io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.container.name": "app",
            "io.kubernetes.cri-o.ImageName": "docker.io/library/nginx:1.27", "io.kubernetes.cri-o.SandboxID": "s",
            "io.kubernetes.pod.name": "web-1", "io.kubernetes.pod.namespace": "prod", "io.kubernetes.pod.uid": "u",
            "io.kubernetes.cri-o.Labels": r#"{"tier":"front"}"#, "io.container.manager": "cri-o",
        });
        for (annotations, runtime, tiers) in [(containerd, "containerd", 0), (crio, "cri-o", 1)] {
            let spec = parsed(&json!({"annotations": annotations}));
            let root = Path::new("/run/containerd/runc/k8s.io");
            let found = read(root, "runc", "c", &text("u"), &State::default(), &spec);
            let pod = found.pod.unwrap();
            assert_eq!(
                (found.maker, pod.uid, pod.name, pod.namespace),
                (Maker::Cri, text("u"), text("web-1"), text("prod"))
            );
            let facts = found.facts;
            assert_eq!(
                (facts.runtime, facts.name, facts.sandbox_id),
                (text(runtime), text("app"), text("s"))
            );
            assert_eq!(facts.image.name_and_tag(), (&b"docker.io/library/nginx"[..], &b"1.27"[..]));
            assert_eq!((facts.labels.len(), facts.sandbox, facts.pod_uid), (tiers, false, text("u")));
        }
    }

    #[test]
    fn a_sandbox_of_cri_o_has_the_labels_of_its_pod() {
        let spec = parsed(&json!({"annotations": {
            "io.kubernetes.cri-o.ContainerType": "sandbox", "io.kubernetes.pod.uid": "u",
            "io.kubernetes.container.name": "POD", "io.kubernetes.cri-o.SandboxID": "c",
            "io.kubernetes.cri-o.Labels": r#"{"app":"web"}"#, "io.kubernetes.cri-o.Annotations": r#"{"a":"b"}"#,
        }}));
        let found = read(Path::new("/run/crun"), "crun", "c", &Text::EMPTY, &State::default(), &spec);
        let pod = found.pod.unwrap();
        assert_eq!((pod.labels.len(), pod.annotations.len()), (1, 1));
        assert!(found.facts.sandbox && found.facts.name.is_empty() && found.facts.sandbox_id.is_empty());
    }

    #[test]
    fn engines_tell_by_their_sockets() {
        let bare = Spec::default();
        let podman = parsed(&json!({"annotations": {"io.container.manager": "libpod"}}));
        let table = [
            ("/run/docker/runtime-runc/moby", &bare, "docker", Maker::Engine),
            ("/run/crun", &podman, "podman", Maker::Engine),
            ("/run/crun", &bare, "crun", Maker::Nobody),
            ("/run/containerd/runc/default", &bare, "containerd", Maker::Nobody),
        ];
        for (root, spec, runtime, maker) in table {
            let found = read(Path::new(root), "crun", "x", &Text::EMPTY, &State::default(), spec);
            assert_eq!((found.facts.runtime, found.maker), (text(runtime), maker), "{root}");
            assert_eq!(found.facts.privileged, None, "{root}: without a configuration nobody can tell");
        }
    }

    #[test]
    fn privileged_is_who_has_everything() {
        let privileged = |masked: &[&str], capability: &str, device: serde_json::Value| {
            parsed(&json!({
                "process": {"capabilities": {"bounding": ["CAP_SYS_ADMIN", "CAP_SYS_MODULE", capability]}},
                "linux": {"maskedPaths": masked, "readonlyPaths": null, "resources": {"devices": [device]}},
            }))
            .is_privileged()
        };
        let all = || json!({"allow": true, "access": "rwm"});
        assert!(privileged(&[], "CAP_SYS_RAWIO", all()));
        assert!(!privileged(&["/proc/kcore"], "CAP_SYS_RAWIO", all()));
        assert!(!privileged(&[], "CAP_CHOWN", all()));
        assert!(!privileged(&[], "CAP_SYS_RAWIO", json!({"allow": false, "access": "rwm"})));
        assert!(!privileged(
            &[],
            "CAP_SYS_RAWIO",
            json!({"allow": true, "type": "c", "major": 1, "access": "rwm"})
        ));
    }

    #[test]
    fn the_state_of_crun_tells_bundle_and_cgroup() {
        let status = json!({
            "pid": 7, "process-start-time": 1, "cgroup-path": "/system.slice/crun-web.scope", "scope": "crun-web.scope",
            "rootfs": "/srv/web/rootfs", "systemd-cgroup": true, "bundle": "/srv/web", "created": "2025-10-09T08:53:20.5Z",
        });
        let state = spec::crun(status.to_string().as_bytes()).unwrap();
        assert_eq!(
            (state.bundle.as_str(), state.cgroup_path.as_str()),
            ("/srv/web", "/system.slice/crun-web.scope")
        );
        assert!(time_ns(&state.created) > 0);
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(file: Vec<u8>, key: String, value: String) {
            let _ = (spec::runc(&file), spec::crun(&file), Spec::parse(&file));
            let label = format!("{key}={value}");
            let state = spec::runc(json!({"created": value, "config": {"labels": [label]}}).to_string().as_bytes()).unwrap();
            let spec = parsed(&json!({
                "annotations": {key: value.clone(), "io.kubernetes.cri-o.Labels": value},
                "mounts": [{"type": "bind", "options": [value]}],
            }));
            for spec in [spec, Spec::default()] {
                let found = read(Path::new("/x"), "runc", &value, &Text::EMPTY, &state, &spec);
                prop_assert!(found.facts.labels.len() <= MAX_ITEMS);
            }
        }
    }
}
