//! What the operator wants left out: real programs with and without each key, and the count of what was left out.
use crate::common::{Watch, argument, can_observe, child, config, named, run};
use hostward_event::plan::{KernelPlan, OpenClass};
use hostward_event::raw::{Endpoint, RawBody, RawEvent};
use hostward_event::{EventKind, KindSet};
use hostward_sensor::{Config, Ignore};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Opens at or below `name` alone: a flood of others on a busy machine would be read late, or lost.
fn watch(blocks: &[Ignore], name: &str) -> Watch {
    let kinds =
        [EventKind::Open, EventKind::Connect, EventKind::Cgroup, EventKind::Mkdir, EventKind::Mkdirat];
    let plan = KernelPlan { kinds: KindSet::of(&kinds), ..named(&[(name, OpenClass::ALL)]) };
    Watch::with(&Config { ignore: blocks.to_vec(), ..config() }, &plan)
}

fn list(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

/// A copy of cat under this name.
fn cat(directory: &Path, name: &str) -> PathBuf {
    let to = directory.join(name);
    crate::common::copy("/bin/cat", &to);
    to
}

/// Paths of the files that it opened, and of those that it could not.
fn opened(watch: &Watch, command: &mut Command) -> Vec<String> {
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    watch.exec(pid);
    watch.exited(pid);
    let of_open = |event: RawEvent| match event.body {
        RawBody::Open(open) => Some(if open.result < 0 { open.arg } else { open.path }.to_string()),
        _ => None,
    };
    watch.so_far(|event| event.task.pid == pid).into_iter().filter_map(of_open).collect()
}

fn count(watch: &Watch, block: &str) -> u64 {
    watch.sensor.ignored().unwrap().into_iter().find(|(name, _)| name == block).unwrap().1
}

#[test]
fn an_ignored_program_is_not_told_but_its_start_and_end_are() {
    if !can_observe("an_ignored_program_is_not_told_but_its_start_and_end_are") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("sub")).unwrap();
    let [exact, longer, below, other] =
        ["hw-one", "hw-one-too", "sub/hw-two", "hw-other"].map(|name| cat(directory.path(), name));
    let front = format!("{}/*", directory.path().join("sub").display());
    let blocks = [
        Ignore { exe: list(&[exact.to_str().unwrap(), &front]), name: "exe".into(), ..Ignore::default() },
        Ignore { comm: list(&["hw-comm"]), uid: vec![54_321], name: "both".into(), ..Ignore::default() },
    ];
    let watch = watch(&blocks, "hostname");
    let target = "/etc/hostname";
    let sees = |command: &mut Command| opened(&watch, command.arg(target)).contains(&target.to_owned());
    for (program, told) in [(&exact, false), (&longer, true), (&below, false), (&other, true)] {
        let before = count(&watch, "exe");
        assert_eq!(sees(&mut Command::new(program)), told, "{program:?}");
        assert_eq!(count(&watch, "exe"), before + u64::from(!told), "{program:?}");
    }
    // Both keys of a block must hold; the copy is where others may execute it.
    let shared = tempfile::Builder::new().prefix("hw").tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(shared.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let named = cat(shared.path(), "hw-comm");
    let plain = cat(shared.path(), "hw-plain");
    assert!(sees(&mut Command::new(&named)));
    assert!(sees(Command::new(&plain).uid(54_321)));
    assert_eq!(count(&watch, "both"), 0);
    assert!(!sees(Command::new(&named).uid(54_321)));
    assert!(count(&watch, "both") > 0);
}

#[test]
fn an_ignored_path_is_the_kernels_and_not_the_arguments() {
    if !can_observe("an_ignored_path_is_the_kernels_and_not_the_arguments") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("deep")).unwrap();
    for name in ["exact", "exact2", "deep/any", "one.log", "log", "name", "xname", "told"] {
        fs::write(at(name), "x").unwrap();
    }
    std::os::unix::fs::symlink(at("told"), at("link.log")).unwrap();
    std::os::unix::fs::symlink(at("exact"), at("to-exact")).unwrap();
    let of_cat = cat(directory.path(), "hw-cat");
    let block = Ignore {
        exe: list(&[of_cat.to_str().unwrap()]),
        path: list(&[at("exact").to_str().unwrap(), at("deep/*").to_str().unwrap(), "*.log", "name"]),
        ..Ignore::default()
    };
    let watch = watch(&[block], directory.path().file_name().unwrap().to_str().unwrap());
    let mut names = opened(
        &watch,
        Command::new(&of_cat)
            .current_dir(directory.path())
            .args(["exact", "exact2", "deep/any", "one.log", "log", "name", "xname", "told"])
            .args(["link.log", "to-exact", "missing.log"]),
    );
    names.retain(|name| name.contains(directory.path().to_str().unwrap()) || name.starts_with("missing"));
    let told = ["exact2", "log", "xname", "told", "told"].map(|name| at(name).display().to_string());
    assert_eq!(names, [&told[..], &["missing.log".to_owned()]].concat());
    assert_eq!(count(&watch, "1"), 5);
    // Another program's.
    let mut names = opened(&watch, Command::new("/bin/cat").arg(at("one.log")));
    names.retain(|name| name.ends_with("one.log"));
    assert_eq!(names.len(), 1);
}

#[test]
fn ignored_connects_are_those_that_went_out() {
    if !can_observe("ignored_connects_are_those_that_went_out") {
        return;
    }
    let [one, two] = ["127.0.0.1:0", "127.0.0.2:0"].map(|host| TcpListener::bind(host).unwrap());
    let (first, second) = (one.local_addr().unwrap(), two.local_addr().unwrap());
    let refused: SocketAddr = {
        let closed = TcpListener::bind("127.0.0.2:0").unwrap();
        closed.local_addr().unwrap()
    };
    let by_network = Ignore { destination: list(&["127.0.0.2/32"]), ..Ignore::default() };
    let port = Ignore {
        destination: list(&["127.0.0.0/8"]),
        port: vec![first.port(), refused.port()],
        name: "port".into(),
        ..Ignore::default()
    };
    for (block, wanted) in [(by_network, [first, refused]), (port, [second, refused])] {
        let watch = watch(std::slice::from_ref(&block), "");
        let targets = [first, second, refused].map(|address| address.to_string());
        let (pid, _) = run(child("hw-connects", &targets.each_ref().map(Path::new)));
        watch.exited(pid);
        let seen =
            watch.so_far(|event| event.task.pid == pid).into_iter().filter_map(|event| match event.body {
                RawBody::Connect(connect) => match connect.remote {
                    Some(Endpoint::Ip(address)) => Some(address),
                    _ => None,
                },
                _ => None,
            });
        assert_eq!(seen.collect::<Vec<_>>(), wanted, "{block:?}");
        assert_eq!(watch.sensor.ignored().unwrap()[0].1, 1);
    }
}

#[test]
fn of_connects_the_kernel_tells_those_to_wanted_ports() {
    if !can_observe("of_connects_the_kernel_tells_those_to_wanted_ports") {
        return;
    }
    let listeners = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
    let [first, second, third] = addresses.map(|address| address.port());
    let plan = |ports: Option<&[u16]>| KernelPlan {
        kinds: KindSet::of(&[EventKind::Connect]),
        connect_ports: ports.map(|ports| ports.iter().copied().collect()),
        ..KernelPlan::default()
    };
    let seen = |watch: &Watch| {
        let (pid, _) = run(child("hw-connects", &addresses.map(|a| a.to_string()).each_ref().map(Path::new)));
        watch.exited(pid);
        let all = watch.so_far(|event| event.task.pid == pid).into_iter();
        let port = |event: RawEvent| match event.body {
            RawBody::Connect(connect) => match connect.remote {
                Some(Endpoint::Ip(address)) => Some(address.port()),
                _ => None,
            },
            _ => None,
        };
        all.filter_map(port).collect::<Vec<_>>()
    };
    let mut watch = Watch::new(&plan(Some(&[second])));
    assert_eq!(seen(&watch), [second]);
    watch.sensor.apply(&plan(Some(&[first, third]))).unwrap();
    assert_eq!(seen(&watch), [first, third]);
    watch.sensor.apply(&plan(None)).unwrap();
    assert_eq!(seen(&watch), [first, second, third]);

    // What both plans want is never missed while one takes the other's place.
    let busy = std::thread::spawn(move || {
        let mut pids = Vec::new();
        for _ in 0..20 {
            let addresses = addresses.map(|address| address.to_string());
            pids.push(run(child("hw-connects", &addresses.each_ref().map(Path::new))).0);
        }
        pids
    });
    let mut swaps = 0;
    while !busy.is_finished() {
        let other = if swaps % 2 == 0 { first } else { third };
        watch.sensor.apply(&plan(Some(&[second, other]))).unwrap();
        swaps += 1;
    }
    assert!(swaps > 20, "{swaps}");
    for pid in busy.join().unwrap() {
        watch.exited(pid);
        let to_second = |event: &RawEvent| {
            let RawBody::Connect(connect) = &event.body else { return false };
            event.task.pid == pid
                && matches!(connect.remote, Some(Endpoint::Ip(address)) if address.port() == second)
        };
        assert_eq!(watch.so_far(to_second).len(), 1);
    }
}

#[test]
fn calls_of_an_ignored_user_are_left_out_by_name() {
    if !can_observe("calls_of_an_ignored_user_are_left_out_by_name") {
        return;
    }
    let block = Ignore { uid: vec![54_322], events: list(&["mkdir", "mkdirat"]), ..Ignore::default() };
    let watch = watch(&[block], "hostname");
    let directory = tempfile::Builder::new().prefix("hw").tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    for (uid, told) in [(54_322, 0), (54_323, 1)] {
        let make = format!(": < /etc/hostname; exec mkdir {}/{uid}", directory.path().display());
        let mut child = Command::new("/bin/sh").args(["-c", &make]).uid(uid).spawn().unwrap();
        assert!(child.wait().unwrap().success());
        watch.exited(child.id());
        let calls = watch.so_far(|event| event.task.pid == child.id());
        let is = |event: &&RawEvent, name: &str| event.kind().name().starts_with(name);
        assert_eq!(calls.iter().filter(|event| is(event, "mkdir")).count(), told);
        assert!(calls.iter().any(|event| matches!(event.body, RawBody::Open(_))), "only what is named");
    }
    assert_eq!(count(&watch, "1"), 1);
}

#[test]
fn an_ignored_cgroup_is_known_before_and_after_it_is_made() {
    const TEST: &str = "an_ignored_cgroup_is_known_before_and_after_it_is_made";
    if !can_observe(TEST) {
        return;
    }
    let Some(root) = unified() else {
        println!("skipped {TEST}: no unified cgroup hierarchy is mounted");
        return;
    };
    let own = format!("hw-ignored-{}", std::process::id());
    let made = |path: &str| {
        let path = root.join(path);
        fs::create_dir(&path).map(|()| Made(path))
    };
    let before = match made(&own) {
        Ok(made) => made,
        Err(why) => {
            println!("skipped {TEST}: no cgroup can be made in {}: {why}", root.display());
            return;
        }
    };
    let block = Ignore { cgroup: vec![format!("/{own}")], ..Ignore::default() };
    let watch = watch(&[block], "hostname");
    let other = made(&format!("{own}-other")).unwrap();
    let below = made(&format!("{own}/below")).unwrap();
    let id = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&below.0).unwrap());
    watch.event("the new cgroup", |event| matches!(&event.body, RawBody::Cgroup(change) if change.id == id));
    let target = "/etc/hostname";
    for (cgroup, told) in [(&before, false), (&other, true), (&below, false)] {
        let enter = format!("echo $$ > {}/cgroup.procs && exec /bin/cat {target}", cgroup.0.display());
        let opened = opened(&watch, Command::new("/bin/sh").args(["-c", &enter]));
        assert_eq!(opened.contains(&target.to_owned()), told, "{:?}", cgroup.0);
    }
    assert!(count(&watch, "1") > 0);
}

/// Where the unified hierarchy is.
fn unified() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let point = mounts.lines().find_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        (words[2] == "cgroup2").then(|| PathBuf::from(words[1]))
    })?;
    Some(point)
}

/// A cgroup that is removed at the end.
struct Made(PathBuf);

impl Drop for Made {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// What the children of the tests above do.
pub(crate) fn child_does(task: &str) {
    if task == "hw-connects" {
        for at in 0..3 {
            let address: SocketAddr = argument(at).to_str().unwrap().parse().unwrap();
            let _ = TcpStream::connect(address);
        }
    }
}
