//! Whose events the kernel tells: never fewer than a rule matches.

use crate::support::{connects, load, open, opens, process, rule};
use hostward_event::event::Body;
use hostward_event::plan::KernelPlan;
use hostward_event::scope::Scope;
use hostward_event::{Event, EventKind, Text};
use hostward_policy::{Protected, Responses, plan};
use proptest::prelude::*;
use std::net::SocketAddr;

fn plan_of(rules: &str) -> KernelPlan {
    plan(&load(rules).rules, &Responses::default(), &Protected::default())
}

fn shown(plan: &KernelPlan, kind: EventKind) -> String {
    let Some(scopes) = plan.scopes.get(&kind) else { return "everyone".to_owned() };
    let one = |scope: &Scope| {
        let names = scope.comms.iter().flatten().map(|name| format!("comm:{name}"));
        let ids = scope.uids.iter().flatten().map(|id| format!("uid:{id}"));
        let networks = scope.networks.iter().flatten().map(|network| format!("net:{network}"));
        names.chain(ids).chain(networks).collect::<Vec<_>>().join(" ")
    };
    scopes.iter().map(one).collect::<Vec<_>>().join(" | ")
}

#[test]
fn a_condition_becomes_alternatives_of_names_users_and_networks() {
    for (condition, want) in [
        ("evt.type = connect and proc.name = nc", "comm:nc"),
        ("evt.type = connect and proc.name in (nc, ncat) and user.uid = 0", "comm:nc comm:ncat uid:0"),
        ("evt.type = connect and (proc.name = nc or user.uid in (1, 2))", "comm:nc | uid:1 uid:2"),
        ("evt.type = connect and fd.sip = 192.0.2.1", "net:192.0.2.1/32"),
        ("evt.type = connect and fd.snet in (10.0.0.0/8, fd00::/8)", "net:10.0.0.0/8 net:fd00::/8"),
        ("evt.type = connect and (proc.name = nc or proc.name = nc)", "comm:nc"),
        ("evt.type = connect and proc.name = nc and proc.name = ncat", "everyone"),
        ("evt.type = connect and not (proc.name != nc)", "everyone"),
        ("evt.type = connect and proc.name != nc", "everyone"),
        ("evt.type = connect and proc.name startswith n", "everyone"),
        ("evt.type = connect and (proc.name = nc or proc.pname = sh)", "everyone"),
        ("evt.type = connect and proc.exepath = /bin/nc", "everyone"),
        ("evt.type = connect and user.name = root", "everyone"),
        ("evt.type = connect and fd.ip = 192.0.2.1", "everyone"),
        ("evt.type = connect and fd.cip = 192.0.2.1", "everyone"),
        ("(evt.type = connect and proc.name = nc) or (evt.type = openat and user.uid = 5)", "comm:nc"),
    ] {
        assert_eq!(shown(&plan_of(&rule("R", condition)), EventKind::Connect), want, "{condition}");
    }
    let both = format!(
        "{}{}",
        rule("A", "evt.type in (unlinkat, openat) and user.uid = 7"),
        rule("B", "evt.type = openat and proc.name = x")
    );
    let both = plan_of(&both);
    assert_eq!(shown(&both, EventKind::Unlinkat), "uid:7");
    assert_eq!(shown(&both, EventKind::Open), "uid:7 | comm:x");
    let close = plan_of(&rule("R", "evt.type = close and fd.typechar = f and proc.name in (sh, vi)"));
    assert_eq!(shown(&close, EventKind::CloseWrite), "comm:sh comm:vi");
    // A rule of everyone ends it for its kinds alone.
    let more = format!(
        "{}{}",
        rule("A", "evt.type in (unlinkat, openat) and user.uid = 7"),
        rule("B", "evt.type = openat and fd.name = /x")
    );
    assert_eq!(shown(&plan_of(&more), EventKind::Open), "everyone");
    assert_eq!(shown(&plan_of(&more), EventKind::Unlinkat), "uid:7");
    // Starts of programs, and what a process does to itself, are told of everyone.
    for (condition, kind) in [
        ("evt.type = execve and user.uid = 7", EventKind::Exec),
        ("evt.type = setuid and user.uid = 7", EventKind::Setuid),
    ] {
        assert_eq!(shown(&plan_of(&rule("R", condition)), kind), "everyone");
    }
}

fn condition() -> impl Strategy<Value = String> {
    let checks = prop::sample::select(vec![
        "proc.name = cat",
        "proc.name = dog",
        "proc.name in (cat, a_name_longer_than_15_bytes)",
        "proc.name != cat",
        "proc.name startswith c",
        "proc.name = val(proc.exepath)",
        "toupper(proc.name) = CAT",
        "proc.name exists",
        "process.name = dog",
        "user.uid = 0",
        "user.uid in (1, 2)",
        "user.uid != 0",
        "user.uid > 0",
        "user.uid = -1",
        "user.name = root",
        "user.id = 0",
        "fd.sip = 192.0.2.1",
        "fd.sip in (192.0.2.1, 192.0.2.2)",
        "fd.sip != 192.0.2.1",
        "fd.rip = fd00::1",
        "fd.snet = 192.0.2.0/31",
        "fd.snet in (10.0.0.0/8, fd00::/64)",
        "fd.snet = 0.0.0.0/0",
        "fd.snet = ::/0",
        "fd.rnet != 192.0.2.0/24",
        "fd.ip = 10.0.0.5",
        "fd.net = 10.0.0.0/8",
        "fd.cip = 10.0.0.5",
        "evt.type = connect",
        "evt.type != connect",
        "evt.type = openat",
        "evt.type in (open, openat, connect)",
        "evt.type != openat",
        "fs.path.resolved = /x",
        "fd.sport = 1",
        "evt.failed = true",
        "evt.num = 0",
    ]);
    checks.prop_map(str::to_owned).prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" and "))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" or "))),
            inner.prop_map(|part| format!("not ({part})")),
        ]
    })
}

/// Events of a process of this name and user: an open, connects, one of them to nowhere.
fn events(comm: &str, euid: u32) -> Vec<(Event, Option<u128>)> {
    let own = || {
        let mut own = process("/bin/cat", "");
        own.comm = Text::from(comm);
        own.creds.euid = euid;
        own
    };
    let mut made = vec![(opens(own(), &[], open("/x", 0)), None)];
    for remote in [
        "192.0.2.1:1",
        "192.0.2.2:2",
        "192.0.3.1:1",
        "10.9.9.9:1",
        "[fd00::1]:1",
        "[::ffff:192.0.2.1]:1",
        "[::1]:3",
    ] {
        let address: SocketAddr = remote.parse().unwrap();
        let mapped = match address.ip() {
            std::net::IpAddr::V4(address) => address.to_ipv6_mapped(),
            std::net::IpAddr::V6(address) => address,
        };
        made.push((connects(own(), &[], remote), Some(u128::from(mapped))));
    }
    let mut nowhere = connects(own(), &[], "192.0.2.1:1");
    if let Body::Connect(connect) = &mut nowhere.body {
        connect.remote = None;
    }
    made.push((nowhere, None));
    made
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Of two rules as well, whose alternatives are put together.
    #[test]
    fn the_kernel_never_leaves_out_whom_a_rule_matches(first in condition(), second in prop::option::of(condition())) {
        let text = |name: &str, condition: &str| rule(name, &format!("'{}'", condition.replace('\'', "''")));
        let rules = text("A", &first) + &second.as_deref().map(|second| text("B", second)).unwrap_or_default();
        let loaded = load(&rules);
        prop_assert_eq!(loaded.rules.len(), 1 + usize::from(second.is_some()), "{}: {:?}", rules, loaded.problems);
        let plan = plan(&loaded.rules, &Responses::default(), &Protected::default());
        for (comm, euid) in [("cat", 0), ("dog", 0), ("cat", 1), ("other", 2), ("a_name_longer_t", 3)] {
            for (event, address) in events(comm, euid) {
                let kind = event.kind();
                let fits = |scope: &Scope| scope.fits(&Text::from(comm), euid, address);
                let passes = plan.kinds.contains(kind) && plan.scopes.get(&kind).is_none_or(|scopes| scopes.iter().any(fits));
                let matched = loaded.rules.iter().any(|rule| rule.matches(&event));
                prop_assert!(passes || !matched, "{} leave out {} of {}: {:?}", rules, kind.name(), comm, plan.scopes);
            }
        }
    }
}

#[test]
fn alternatives_beyond_bound_mean_everyone() {
    let many = |count: usize| {
        let each: Vec<String> =
            (0..count).map(|n| format!("(proc.name = p{n} and user.uid = {n})")).collect();
        let plan = plan_of(&rule("R", &format!("evt.type = connect and ({})", each.join(" or "))));
        plan.scopes.get(&EventKind::Connect).map(Vec::len)
    };
    assert_eq!((many(16), many(17)), (Some(16), None));
}
