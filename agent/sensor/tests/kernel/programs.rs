//! What an exec tells of the program itself: scripts, layers of containers, environment; and what an exit tells of use.
use crate::common::{Watch, can_observe, named};
use hostward_event::Text;
use hostward_event::raw::{Layer, RawBody};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn executable(path: &Path, from: &str) {
    crate::common::copy(from, path);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_script_is_told_with_its_interpreter() {
    if !can_observe("a_script_is_told_with_its_interpreter") {
        return;
    }
    let watch = Watch::new(&named(&[]));
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("do-it");
    crate::common::script(&script, "#!/bin/sh\nexit 0\n");
    let mut child = Command::new(&script).spawn().unwrap();
    let (_, exec) = watch.exec(child.id());
    child.wait().unwrap();
    let shell = fs::canonicalize("/bin/sh").unwrap();
    assert!(exec.script);
    assert_eq!(exec.filename.as_bytes(), script.as_os_str().as_bytes());
    assert_eq!(exec.path.as_bytes(), shell.as_os_str().as_bytes());

    let mut child = Command::new("/bin/true").spawn().unwrap();
    let (_, exec) = watch.exec(child.id());
    child.wait().unwrap();
    assert!(!exec.script);
    assert_eq!(exec.layer, None, "this file system has no layers");
}

#[test]
fn the_environment_is_read_only_when_it_is_wanted() {
    if !can_observe("the_environment_is_read_only_when_it_is_wanted") {
        return;
    }
    let mut plan = named(&[]);
    let mut watch = Watch::new(&plan);
    let run = |watch: &Watch, huge: usize| {
        let mut command = Command::new("/bin/true");
        command.env_clear().env("LD_PRELOAD", "/tmp/x\u{1b}.so").env("EMPTY", "").env("Z", "z".repeat(huge));
        let mut child = command.spawn().unwrap();
        let (_, exec) = watch.exec(child.id());
        child.wait().unwrap();
        exec.environment
    };
    assert_eq!(run(&watch, 1), Text::EMPTY);
    plan.environment.names.insert("LD_PRELOAD".into());
    watch.sensor.apply(&plan).unwrap();
    let all = run(&watch, 1);
    assert_eq!(all.as_bytes(), b"EMPTY=\0LD_PRELOAD=/tmp/x\x1b.so\0Z=z\0");
    assert_eq!(plan.environment.of(&all).as_bytes(), b"LD_PRELOAD=/tmp/x\x1b.so\0");
    assert_eq!(run(&watch, 9000).as_bytes().len(), 4096, "as much as the record holds");
    plan.environment.names.clear();
    watch.sensor.apply(&plan).unwrap();
    assert_eq!(run(&watch, 1), Text::EMPTY);
}

#[test]
fn layers_of_an_overlay_are_told_apart() {
    let name = "layers_of_an_overlay_are_told_apart";
    if !can_observe(name) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    // An overlay cannot lie on another one's upper layer, so its own lies in memory.
    let mount =
        |args: &[&str]| Command::new("mount").args(args).status().is_ok_and(|status| status.success());
    let at = |name: &str| place.path().join(name);
    let top = place.path().to_str().unwrap();
    assert!(mount(&["-t", "tmpfs", "none", top]), "a tmpfs is mounted");
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(at(name)).unwrap();
    }
    executable(&at("lower/shipped"), "/bin/true");
    let options = format!("lowerdir={top}/lower,upperdir={top}/upper,workdir={top}/work");
    if !mount(&["-t", "overlay", "overlay", "-o", &options, &format!("{top}/merged")]) {
        println!("skipped {name}: this kernel mounts no overlay");
    } else {
        executable(&at("merged/dropped"), "/bin/true");
        let watch = Watch::new(&named(&[]));
        for (program, layer) in [("merged/shipped", Layer::Lower), ("merged/dropped", Layer::Upper)] {
            let mut child = Command::new(at(program)).spawn().unwrap();
            let (_, exec) = watch.exec(child.id());
            child.wait().unwrap();
            assert_eq!(exec.layer, Some(layer), "{program}");
        }
        assert!(Command::new("umount").arg(at("merged")).status().unwrap().success());
    }
    assert!(Command::new("umount").arg(place.path()).status().unwrap().success());
}

#[test]
fn a_namespaces_first_process_and_what_was_used_are_told() {
    if !can_observe("a_namespaces_first_process_and_what_was_used_are_told") {
        return;
    }
    let watch = Watch::new(&named(&[]));
    let script = "x=$(head -c 30000000 /dev/zero | tr '\\0' a); : ${#x}; exec true";
    let mut child = Command::new("/bin/sh").args(["-c", script]).spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let exit = watch.exited(pid);
    let RawBody::Exit { usage, .. } = exit.body else { panic!("{exit:?}") };
    // The shell held 30 MB; the program that took its place does not lessen what was most.
    assert!(usage.max_rss_bytes > 30_000_000, "{usage:?}");
    assert!(usage.minor_faults > 1000, "{usage:?}");

    let (event, exec) = watch.exec(pid);
    assert!(exec.init_start_boot_ns > 0 && exec.init_start_boot_ns < event.task.start_boot_ns);
    // In a pid namespace of its own the first process is the one that was forked into it.
    let mut child = Command::new("unshare").args(["--pid", "--fork", "--", "/bin/true"]).spawn().unwrap();
    let unshare = child.id();
    child.wait().unwrap();
    let inner = watch.event("the first process of the namespace", |event| {
        event.task.ppid == unshare && matches!(&event.body, RawBody::Exec(exec) if exec.vpid == 1)
    });
    let RawBody::Exec(exec) = inner.body else { panic!("{inner:?}") };
    assert_eq!(exec.init_start_boot_ns, inner.task.start_boot_ns);
}
