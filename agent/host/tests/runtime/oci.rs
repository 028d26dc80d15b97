//! What OCI runtimes' files tell: of runc itself, of `ctr run`, and of pods whose runtime is away.

use crate::source::Source;
use hostward_event::fact::Fact;
use hostward_event::workload::Source as Told;
use hostward_host::{Board, RuntimeConfig, Runtimes, SourceState};
use hostward_tests::{Containerd, Part, Runc, lacks};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// Path of a process's cgroup, and its id where that is the unified hierarchy's.
fn cgroup(pid: u32) -> (Option<u64>, String) {
    let file = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = file.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned();
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let root = roots.into_iter().map(Path::new).find(|root| root.join("cgroup.controllers").exists());
    let id = root.map(|root| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(root.join(path.trim_start_matches('/'))).unwrap().ino()
    });
    (id, path)
}

/// Who starts while no runtime answers must wait for the files, not go without.
#[test]
fn a_directory_is_on_the_board_before_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let absent = dir.path().join("absent");
    let config =
        RuntimeConfig { state_dirs: vec![dir.path().to_owned(), absent], ..RuntimeConfig::default() };
    let (facts, _told) = tokio::sync::mpsc::channel(1);
    let board = Board::default();
    // Nothing has run of it yet.
    let _runtimes = Runtimes::start(&config, runtime.handle(), facts, board.clone());
    let reports = board.reports();
    let states: Vec<_> = reports.iter().map(|report| (Path::new(&report.at), report.state)).collect();
    assert_eq!(states, [(dir.path(), SourceState::Connecting)]);
}

#[test]
fn a_container_of_runc_is_told_before_its_program_runs() {
    let name = "a_container_of_runc_is_told_before_its_program_runs";
    if lacks(Part::Runc, name) {
        return;
    }
    let runc = Runc::new("told").unwrap();
    let sleep = ["/bin/busybox", "sleep", "600"];
    let before = runc.bundle("before", &sleep, |_| {}).unwrap();
    runc.create("before", &before).unwrap();

    let mut source = Source::over(&runc.state_dir());
    let facts = source.container("before");
    assert_eq!((facts.source, facts.runtime.to_string()), (Told::Oci, "runc".into()));
    assert_eq!(source.wait_for(SourceState::Ok).containers, 1);

    let bundle = runc
        .bundle("web-1", &sleep, |spec| {
            spec["annotations"] = json!({"org.example.team": "a"});
            spec["mounts"].as_array_mut().unwrap().push(json!({
                "destination": "/srv", "type": "bind", "source": "/tmp", "options": ["rbind", "ro"],
            }));
        })
        .unwrap();
    let pid = runc.create("web-1", &bundle).unwrap();
    let facts = source.container("web-1");
    let (id, path) = source.cgroup("web-1");
    // It waits in runc's own code for somebody to start it.
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert!(comm.starts_with("runc:"), "{comm}");
    let (unified, own) = cgroup(pid);
    assert_eq!((path.as_str(), own.as_str()), (runc.cgroup("web-1").as_str(), runc.cgroup("web-1").as_str()));
    assert!(unified.is_none_or(|unified| unified == id), "{unified:?} {id}");
    assert_eq!(facts.name.to_string(), "web-1");
    assert_eq!(facts.command, sleep.map(Into::into));
    assert_eq!(facts.labels, [("org.example.team".into(), "a".into())].into());
    assert_eq!((facts.privileged, facts.sandbox), (Some(false), false));
    assert!(facts.started_ns > 0 && facts.capabilities.contains(&"CAP_KILL".into()), "{facts:?}");
    let mounts: Vec<_> = facts.mounts.iter().map(|m| (m.destination.to_string(), m.writable)).collect();
    assert_eq!(mounts, [("/srv".to_owned(), false)]);

    runc.call(&["start", "web-1"]).unwrap();
    runc.call(&["delete", "--force", "web-1"]).unwrap();
    source.gone("web-1");
    source.ask("web-1");
    source.unknown("web-1");
}

/// One after the other; each is told while its program waits to be started, and gone when it is deleted.
#[test]
fn containers_that_come_and_go_are_told_and_forgotten() {
    let name = "containers_that_come_and_go_are_told_and_forgotten";
    if lacks(Part::Runc, name) {
        return;
    }
    let runc = Runc::new("moment").unwrap();
    let mut source = Source::over(&runc.state_dir());
    let bundle = runc.bundle("moment", &["/bin/busybox", "true"], |_| {}).unwrap();
    for n in 0..20 {
        let id = format!("short-{n}");
        runc.create(&id, &bundle).unwrap();
        assert_eq!(source.container(&id).name.to_string(), id);
        runc.call(&["start", &id]).unwrap();
        runc.call(&["delete", "--force", &id]).unwrap();
        source.gone(&id);
    }
    // One that was made anew under its id, at once, is another one.
    runc.create("again", &bundle).unwrap();
    assert_eq!(source.container("again").command.len(), 2);
    let other = runc.bundle("other", &["/bin/busybox", "sleep", "600"], |_| {}).unwrap();
    runc.call(&["delete", "--force", "again"]).unwrap();
    runc.create("again", &other).unwrap();
    assert_eq!(source.container("again").command.len(), 3);
}

#[test]
fn what_others_may_write_is_told_of_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let states = dir.path().join("runc");
    let container = |root: &Path, id: &str| {
        std::fs::create_dir_all(root.join(id)).unwrap();
        let state =
            json!({"id": id, "created": "2025-10-09T08:53:20Z", "config": {"labels": ["bundle=/none"]}});
        std::fs::write(root.join(id).join("state.json"), state.to_string()).unwrap();
    };
    container(&states, "good");
    container(&states, "linked");
    container(dir.path(), "elsewhere");
    let state = states.join("linked/state.json");
    std::fs::rename(&state, dir.path().join("state")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("state"), &state).unwrap();
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), states.join("elsewhere")).unwrap();
    let mut source = Source::over(&states);
    assert_eq!(source.container("good").name.to_string(), "good");
    for id in ["linked", "elsewhere", "../elsewhere", "/etc", ""] {
        source.ask(id);
        source.unknown(id);
    }

    // The same id in two namespaces: which one a cgroup means, nobody can tell.
    for space in ["one", "two"] {
        container(&states.join(space), "twice");
    }
    container(&states.join("one"), "once");
    assert_eq!(source.container("once").name.to_string(), "once");
    source.ask("twice");
    source.unknown("twice");
    assert!(source.wait_for(SourceState::Ok).why.contains("1 ids are of several"), "and it says so");

    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&states, std::fs::Permissions::from_mode(0o777)).unwrap();
    let report = source.wait_for(SourceState::Degraded);
    assert!(report.why.contains("others than root may write it"), "{report:?}");
    source.ask("good");
    source.unknown("good");
}

#[test]
fn containers_of_ctr_and_of_pods_are_told_from_disk() {
    let name = "containers_of_ctr_and_of_pods_are_told_from_disk";
    if lacks(Part::Containerd, name) {
        return;
    }
    let containerd = Containerd::start().unwrap();
    let mut source = Source::over(Path::new("/run/containerd/runc"));
    let space = format!("hostward-{}", std::process::id());
    let id = format!("busy-{}", std::process::id());
    containerd.import(&space).unwrap();
    containerd.ctr(&space, &["run", "-d", "docker.io/bench/busybox:1", &id, "/bin/sleep", "600"]).unwrap();
    let facts = source.container(&id);
    let (_, path) = source.cgroup(&id);
    assert_eq!(path, format!("/{space}/{id}"));
    assert_eq!((facts.name.to_string(), facts.runtime.to_string()), (id.clone(), "containerd".into()));
    assert_eq!(facts.command, ["/bin/sleep".into(), "600".into()]);
    containerd.ctr(&space, &["task", "rm", "-f", &id]).unwrap();
    containerd.ctr(&space, &["container", "rm", &id]).unwrap();
    source.gone(&id);

    let uid = format!("d15c0000-4b5b-4b5b-9d5c-{:012x}", std::process::id());
    let config = containerd.config("web-1", &uid);
    let sandbox = containerd.pod(&config).unwrap();
    let app = containerd.container(&sandbox, &config, "app", &["/bin/sleep", "600"]).unwrap();
    // Of pods nothing is told until no socket knows it; one was named, and nobody answers there.
    std::thread::sleep(Duration::from_millis(300));
    source.ask_of(&uid, &app);
    let pod = source.wait("the pod", |fact| match fact {
        Fact::Container(facts) => panic!("before anybody asked: {facts:?}"),
        Fact::Pod(pod) => Some(pod.clone()),
        _ => None,
    });
    assert_eq!((pod.source, pod.uid.to_string()), (Told::Oci, uid.clone()));
    assert_eq!((pod.name.to_string(), pod.namespace.to_string()), ("web-1".into(), "prod".into()));
    let facts = source.container(&app);
    assert_eq!((facts.name.to_string(), facts.pod_uid.to_string()), ("app".into(), uid.clone()));
    assert_eq!(facts.image.name_and_tag(), (&b"docker.io/bench/busybox"[..], &b"1"[..]));
    assert_eq!(
        (facts.sandbox_id.to_string(), facts.runtime.to_string()),
        (sandbox.clone(), "containerd".into())
    );
    source.ask_of(&uid, &sandbox);
    assert!(source.container(&sandbox).sandbox);

    // The daemon away: the files stay.
    containerd.kill().unwrap();
    source.ask_of(&uid, &app);
    assert_eq!(source.container(&app).name.to_string(), "app");
    containerd.up().unwrap();
    containerd.remove(&sandbox).unwrap();
    source.wait("that the pod is gone", |fact| {
        matches!(fact, Fact::PodGone { uid: gone, source: Told::Oci } if gone.as_bytes() == uid.as_bytes()).then_some(())
    });
}
