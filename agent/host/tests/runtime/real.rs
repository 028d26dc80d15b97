//! What a real containerd tells.

use crate::source::Source;
use hostward_event::fact::Fact;
use hostward_event::workload::Source as Told;
use hostward_host::SourceState;
use hostward_tests::{Containerd, Part, lacks};

/// One test, as a containerd takes seconds to start.
#[test]
fn pods_and_containers_of_containerd_are_told_as_they_come_and_go() {
    let name = "pods_and_containers_of_containerd_are_told_as_they_come_and_go";
    if lacks(Part::Containerd, name) {
        return;
    }
    // Pods of an earlier run that was killed may still be there.
    let uid = format!("f4bcdb5f-4b5b-4b5b-9d5c-{:012x}", std::process::id());
    let other_uid = format!("0a1b2c3d-4b5b-4b5b-9d5c-{:012x}", std::process::id());
    let containerd = Containerd::start().unwrap();
    let config = containerd.config("web-1", &uid);
    let sandbox = containerd.pod(&config).unwrap();
    let before = containerd.container(&sandbox, &config, "app", &["/bin/sleep", "600"]).unwrap();

    let mut source = Source::start("cri", &containerd.socket(), 10_000);
    let pod = source.pod(&uid);
    assert_eq!(
        (pod.source, pod.name.to_string(), pod.namespace.to_string()),
        (Told::Cri, "web-1".into(), "prod".into())
    );
    assert_eq!(pod.labels.get("app".as_bytes()), Some(&"web".into()));
    assert_eq!(pod.annotations.get("hostward.io/owner".as_bytes()), Some(&"team-a".into()));
    let pause = source.container(&sandbox);
    assert!(pause.sandbox && pause.pod_uid.as_bytes() == uid.as_bytes());
    let facts = source.container(&before);
    assert_eq!((facts.name.to_string(), facts.runtime.to_string()), ("app".into(), "containerd".into()));
    assert_eq!(facts.image.name_and_tag(), (&b"docker.io/bench/busybox"[..], &b"1"[..]));
    assert_eq!((facts.pod_uid.to_string(), facts.sandbox_id.to_string()), (uid.clone(), sandbox.clone()));
    assert_eq!(facts.labels.get("tier".as_bytes()), Some(&"front".into()));
    assert_eq!((facts.privileged, facts.sandbox), (Some(false), false));
    assert_eq!(facts.command, ["/bin/sleep".into(), "600".into()]);
    assert!(facts.started_ns > 0 && facts.capabilities.contains(&"CAP_CHOWN".into()), "{facts:?}");
    let report = source.wait_for(SourceState::Ok);
    assert!(
        report.why.starts_with("containerd ") && (report.containers, report.pods) == (1, 1),
        "{report:?}"
    );

    // One that ended a moment after its start, and one that is asked for before a list shows it.
    let short = containerd.container(&sandbox, &config, "short", &["/bin/true"]).unwrap();
    source.ask(&short);
    assert_eq!(source.container(&short).name.to_string(), "short");
    source.ask("0123456789");
    source.wait("that nobody knows it", |fact| {
        matches!(fact, Fact::ContainerUnknown { id } if id.as_bytes() == b"0123456789").then_some(())
    });

    // A daemon that was killed: what runs goes on, and is told again when it is back.
    containerd.kill().unwrap();
    source.wait_for(SourceState::Degraded);
    containerd.up().unwrap();
    source.wait_for(SourceState::Ok);
    source.container(&before);
    let other = containerd.config("web-2", &other_uid);
    let second = containerd.pod(&other).unwrap();
    assert_eq!(source.pod(&other_uid).name.to_string(), "web-2");
    containerd.remove(&second).unwrap();
    source.wait("that the pod is gone", |fact| {
        matches!(fact, Fact::PodGone { uid, source: Told::Cri } if uid.as_bytes() == other_uid.as_bytes())
            .then_some(())
    });
    containerd.remove(&sandbox).unwrap();
    source.wait("that the container is gone", |fact| {
        matches!(fact, Fact::ContainerGone { id, .. } if id.as_bytes() == before.as_bytes()).then_some(())
    });
}
