use super::*;
use proptest::prelude::*;
use serde_json::json;

fn pod(value: serde_json::Value) -> Pod {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_pod_is_told_whole() {
    let pod = pod(json!({
        "metadata": {
            "name": "web-1", "namespace": "shop", "uid": "6b1c0a54-5d3e-4e07-9e4b-0c9f6a2d1b11",
            "labels": {"app": "web"}, "annotations": {"team": "blue", LAST_APPLIED: "{\"password\":\"x\"}"},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Thing", "name": "no", "uid": "1"},
                {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "2", "controller": true}
            ],
            "managedFields": [{"fieldsV1": {"f:metadata": {}}}]
        },
        "spec": {
            "nodeName": "node-a", "serviceAccountName": "seller",
            "volumes": [{"name": "etc", "hostPath": {"path": "/etc"}}, {"name": "tmp", "emptyDir": {}}],
            "containers": [{
                "name": "app", "image": "nginx:1.27", "command": ["nginx"], "args": ["-g", "daemon off;"],
                "securityContext": {"privileged": true, "capabilities": {"add": ["NET_ADMIN"], "drop": ["CAP_CHOWN"]}},
                "volumeMounts": [
                    {"name": "etc", "mountPath": "/host", "subPath": "ssh", "readOnly": true, "mountPropagation": "HostToContainer"},
                    {"name": "tmp", "mountPath": "/tmp"}
                ]
            }],
            "initContainers": [{"name": "init", "image": "busybox"}]
        },
        "status": {
            "containerStatuses": [{
                "name": "app", "image": "sha256:00ff", "imageID": "docker.io/library/nginx@sha256:aa",
                "containerID": "containerd://0011", "state": {"running": {"startedAt": "2025-01-02T03:04:05Z"}}
            }],
            "initContainerStatuses": [
                {"name": "init", "image": "busybox:1", "imageID": "sha256:bb", "containerID": "cri-o://2233", "state": {"terminated": {"startedAt": "2025-01-02T03:04:04Z"}}},
                {"name": "later", "image": "x", "imageID": "", "containerID": ""}
            ]
        }
    }));
    let facts = pod_facts(&pod).unwrap();
    assert_eq!((facts.name, facts.namespace), ("web-1".into(), "shop".into()));
    assert_eq!((facts.node, facts.service_account), ("node-a".into(), "seller".into()));
    assert_eq!(facts.labels, BTreeMap::from([("app".into(), "web".into())]));
    assert_eq!(facts.annotations, BTreeMap::from([("team".into(), "blue".into())]), "and no secrets");
    let owner = Owner { kind: "StatefulSet".into(), name: "web".into(), uid: "2".into() };
    assert_eq!(facts.owners, [owner]);

    let [app, init] = container_facts(&pod).try_into().unwrap();
    assert_eq!((&app.id, &app.runtime, &app.name), (&"0011".into(), &"containerd".into(), &"app".into()));
    assert_eq!(app.image.reference, "nginx:1.27".into(), "an id is no name");
    assert_eq!((&app.image.digests, &app.image.id), (&vec!["sha256:aa".into()], &Text::EMPTY));
    assert_eq!(app.command, ["nginx", "-g", "daemon off;"].map(Text::from));
    assert_eq!((app.privileged, app.started_ns), (Some(true), 1_735_787_045_000_000_000));
    assert_eq!(app.capabilities, ["CAP_NET_ADMIN", "-CAP_CHOWN"].map(Text::from));
    let mount = |source: &str, destination: &str, writable, propagation: &str| Mount {
        source: source.into(),
        destination: destination.into(),
        writable,
        propagation: propagation.into(),
    };
    assert_eq!(
        app.mounts,
        [mount("/etc/ssh", "/host", false, "rslave"), mount("tmp", "/tmp", true, "rprivate")]
    );
    assert_eq!((&init.runtime, &init.image.id), (&"cri-o".into(), &"sha256:bb".into()));
    assert_eq!((init.privileged, init.started_ns), (Some(false), 1_735_787_044_000_000_000));
}

#[test]
fn a_static_pod_has_the_uid_of_its_cgroup() {
    let mirror = |hash: &str| {
        let uid = "6b1c0a54-5d3e-4e07-9e4b-0c9f6a2d1b11";
        let pod = pod(json!({"metadata": {"name": "etcd", "uid": uid, "annotations": {MIRROR: hash}}}));
        pod_facts(&pod).unwrap().uid.to_string()
    };
    assert_eq!(mirror("0123456789abcdef0123456789abcdef"), "0123456789abcdef0123456789abcdef");
    for forged in ["aaaaaaaa-5d3e-4e07-9e4b-0c9f6a2d1b11", "", "0123456789abcdef0123456789abcdeg"] {
        assert_eq!(mirror(forged), "6b1c0a54-5d3e-4e07-9e4b-0c9f6a2d1b11", "{forged:?}");
    }
}

#[test]
fn what_is_missing_or_null_is_empty() {
    assert_eq!(pod_facts(&pod(json!({"metadata": {"name": "x"}}))), None);
    assert_eq!(pod_facts(&pod(json!({"metadata": {"uid": "x", "name": null}}))), None);
    let bare = pod(json!({
        "metadata": {"uid": "u", "name": "n", "labels": null, "annotations": {"a": null}, "ownerReferences": null},
        "spec": {"containers": null, "volumes": null},
        "status": {"containerStatuses": [{"containerID": "0011"}, {"containerID": "x://a/b"}, {"containerID": "docker://22"}]}
    }));
    let facts = pod_facts(&bare).unwrap();
    assert!(facts.owners.is_empty() && facts.labels.is_empty());
    let [one] = container_facts(&bare).try_into().unwrap();
    assert_eq!((one.id, one.privileged, one.started_ns), ("22".into(), None, 0));
}

#[test]
fn what_is_kept_has_a_bound() {
    let labels: BTreeMap<String, String> = (0..1000).map(|n| (format!("k{n}"), "v".repeat(1000))).collect();
    let long = "n".repeat(10_000);
    let statuses: Vec<_> = (0..1000).map(|n| json!({"containerID": format!("docker://{n}")})).collect();
    let huge = pod(json!({
        "metadata": {"uid": "u", "name": long, "labels": labels, "annotations": {"a": long, "b": "c"}},
        "status": {"containerStatuses": statuses}
    }));
    let facts = pod_facts(&huge).unwrap();
    assert_eq!(facts.name.as_bytes().len(), MAX_TEXT_BYTES);
    let bytes: usize =
        facts.labels.iter().map(|(key, value)| key.as_bytes().len() + value.as_bytes().len()).sum();
    assert!(!facts.labels.is_empty() && facts.labels.len() <= MAX_ENTRIES && bytes <= MAX_MAP_BYTES);
    assert_eq!(facts.annotations, BTreeMap::from([("b".into(), "c".into())]));
    assert_eq!(container_facts(&huge).len(), MAX_CONTAINERS);
}

proptest! {
    #[test]
    fn any_status_is_read(id in ".{0,40}", image in ".{0,40}", started in ".{0,40}", hash in ".{0,40}") {
        let pod = pod(json!({
            "metadata": {"uid": "u", "name": "n", "annotations": {MIRROR: hash}},
            "status": {"containerStatuses": [
                {"containerID": id, "image": image, "imageID": image, "state": {"running": {"startedAt": started}}},
            ]}
        }));
        let _ = (pod_facts(&pod), container_facts(&pod));
    }
}
