//! Whose events are wanted: real programs, users and addresses that fit and that do not, and plans that change meanwhile.
use crate::common::{Watch, can_observe, child, run};
use hostward_event::plan::{KernelPlan, OpenClass, OpenPlan};
use hostward_event::raw::{Endpoint, RawBody, RawEvent};
use hostward_event::scope::{Network, Scope};
use hostward_event::{EventKind, KindSet, Text};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

fn named(comms: &[&str]) -> Scope {
    Scope { comms: Some(comms.iter().map(|comm| Text::from(*comm)).collect()), ..Scope::default() }
}

fn to(networks: &[(Ipv4Addr, u32)]) -> Option<BTreeSet<Network>> {
    let network = |(address, bits): &(Ipv4Addr, u32)| Network {
        address: u128::from(address.to_ipv6_mapped()),
        bits: 96 + bits,
    };
    Some(networks.iter().map(network).collect())
}

/// A file in `directory` is opened by `program`, a shell, and removed; true each when told.
fn told(watch: &Watch, directory: &Path, program: &Path, uid: u32) -> (bool, bool) {
    let file = directory.join("hw-file");
    fs::write(&file, "x").unwrap();
    let script = format!(": < {0}; rm {0}", file.display());
    // The shell opens it under its own name; who removes it is `rm`.
    let mut child = Command::new(program).args(["-c", &script]).uid(uid).spawn().unwrap();
    let pid = child.id();
    assert!(child.wait().unwrap().success());
    watch.exited(pid);
    let own = watch.so_far(|event| event.task.pid == pid || event.task.ppid == pid);
    let opened = own.iter().any(
        |event| matches!(&event.body, RawBody::Open(open) if open.path.as_bytes().ends_with(b"/hw-file")),
    );
    let removed = own.iter().any(|event| event.kind().name().starts_with("unlink"));
    (opened, removed)
}

#[test]
fn events_are_told_of_wanted_names_and_users_alone() {
    if !can_observe("events_are_told_of_wanted_names_and_users_alone") {
        return;
    }
    let directory = tempfile::Builder::new().prefix("hw-scope").tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let [one, two] = ["hw-one", "hw-two"].map(|name| {
        let to = directory.path().join(name);
        crate::common::copy("/bin/sh", &to);
        to
    });
    let kinds = KindSet::of(&[EventKind::Open, EventKind::Unlink, EventKind::Unlinkat]);
    let plan = |opens: &[Scope], removals: &[Scope]| {
        let mut scopes = BTreeMap::new();
        if !opens.is_empty() {
            scopes.insert(EventKind::Open, opens.to_vec());
        }
        if !removals.is_empty() {
            scopes.insert(EventKind::Unlink, removals.to_vec());
            scopes.insert(EventKind::Unlinkat, removals.to_vec());
        }
        let names = BTreeMap::from([(Text::from("hw-file"), OpenClass::ALL)]);
        KernelPlan { kinds, opens: OpenPlan { all: OpenClass::NONE, names }, scopes, ..KernelPlan::default() }
    };
    let of_user = Scope { uids: Some(BTreeSet::from([54_321])), ..Scope::default() };
    let both = Scope { uids: of_user.uids.clone(), ..named(&["hw-two"]) };

    let mut watch = Watch::new(&plan(&[named(&["hw-one", "hw-none"])], &[]));
    assert_eq!(told(&watch, directory.path(), &one, 0), (true, true));
    assert_eq!(told(&watch, directory.path(), &two, 0), (false, true));

    watch.sensor.apply(&plan(&[both], &[named(&["rm"])])).unwrap();
    assert_eq!(told(&watch, directory.path(), &one, 54_321), (false, true));
    assert_eq!(told(&watch, directory.path(), &two, 0), (false, true));
    assert_eq!(told(&watch, directory.path(), &two, 54_321), (true, true));

    // Either of two alternatives; the removals are of nobody here.
    watch.sensor.apply(&plan(&[named(&["hw-one"]), of_user], &[named(&["hw-none"])])).unwrap();
    assert_eq!(told(&watch, directory.path(), &one, 0), (true, false));
    assert_eq!(told(&watch, directory.path(), &two, 54_321), (true, false));
    assert_eq!(told(&watch, directory.path(), &two, 0), (false, false));

    watch.sensor.apply(&plan(&[], &[])).unwrap();
    assert_eq!(told(&watch, directory.path(), &two, 0), (true, true));
}

#[test]
fn connects_are_told_to_wanted_networks_alone() {
    if !can_observe("connects_are_told_to_wanted_networks_alone") {
        return;
    }
    let [one, two] = ["127.0.0.1:0", "127.0.5.2:0"].map(|host| TcpListener::bind(host).unwrap());
    let (first, second) = (one.local_addr().unwrap(), two.local_addr().unwrap());
    let refused: SocketAddr = {
        let closed = TcpListener::bind("127.0.5.3:0").unwrap();
        closed.local_addr().unwrap()
    };
    let targets = [first, second, refused].map(|address| address.to_string());
    let plan = |scopes: &[Scope]| KernelPlan {
        kinds: KindSet::of(&[EventKind::Connect]),
        scopes: BTreeMap::from([(EventKind::Connect, scopes.to_vec())]),
        ..KernelPlan::default()
    };
    let remote = |event: RawEvent| match event.body {
        RawBody::Connect(connect) => match connect.remote {
            Some(Endpoint::Ip(address)) => Some(address),
            _ => None,
        },
        _ => None,
    };
    let connected = || run(child("hw-connects", &targets.each_ref().map(Path::new))).0;
    let seen = |watch: &Watch| {
        let pid = connected();
        watch.exited(pid);
        watch.so_far(|event| event.task.pid == pid).into_iter().filter_map(remote).collect::<Vec<_>>()
    };
    let narrow = Scope { networks: to(&[(Ipv4Addr::new(127, 0, 0, 1), 32)]), ..Scope::default() };
    let wide = Scope { networks: to(&[(Ipv4Addr::new(127, 0, 4, 0), 23)]), ..Scope::default() };
    let nobodys = Scope { networks: to(&[(Ipv4Addr::new(127, 0, 0, 0), 8)]), ..named(&["hw-none"]) };
    let mut watch = Watch::new(&plan(std::slice::from_ref(&narrow)));
    assert_eq!(seen(&watch), [first]);
    // One network lies in another alternative's, which another process would have to fit.
    watch.sensor.apply(&plan(&[wide.clone(), nobodys.clone()])).unwrap();
    assert_eq!(seen(&watch), [second, refused]);
    watch.sensor.apply(&plan(&[nobodys])).unwrap();
    assert_eq!(seen(&watch), []);
    watch.sensor.apply(&plan(&[wide, narrow])).unwrap();
    assert_eq!(seen(&watch), [first, second, refused]);

    // What both plans want is never missed while one takes the other's place.
    let other = |n: u8| Scope { networks: to(&[(Ipv4Addr::new(10, n, 0, 0), 16)]), ..Scope::default() };
    let kept = Scope { networks: to(&[(Ipv4Addr::new(127, 0, 5, 2), 32)]), ..Scope::default() };
    let busy = std::thread::spawn({
        let targets = targets.clone();
        move || {
            let run = |_| run(child("hw-connects", &targets.each_ref().map(Path::new))).0;
            (0..20).map(run).collect::<Vec<u32>>()
        }
    });
    let mut swaps = 0_u8;
    while !busy.is_finished() {
        // The wanted one has another bit each time.
        let scopes =
            if swaps.is_multiple_of(2) { [kept.clone(), other(swaps)] } else { [other(swaps), kept.clone()] };
        watch.sensor.apply(&plan(&scopes)).unwrap();
        swaps = swaps.wrapping_add(1);
    }
    for pid in busy.join().unwrap() {
        watch.exited(pid);
        let all = watch.so_far(|event| event.task.pid == pid).into_iter().filter_map(remote);
        assert_eq!(all.filter(|address| *address == second).count(), 1);
    }
}
