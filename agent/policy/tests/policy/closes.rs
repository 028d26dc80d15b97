//! Closes of files that were open for writing: beside the ends of connections, and never left out when a rule matches.

use crate::plans::{condition, path};
use crate::support::{closes, load, matching, open, opens, process, rule};
use hostward_event::EventKind;
use hostward_event::plan::{KernelPlan, OpenClass};
use hostward_policy::{Protected, Responses, plan};
use proptest::prelude::*;

fn plan_of(condition: &str) -> KernelPlan {
    let loaded = load(&rule("R", &format!("'{}'", condition.replace('\'', "''"))));
    assert_eq!(loaded.rules.len(), 1, "{condition}: {:?}", loaded.problems);
    plan(&loaded.rules, &Responses::default(), &Protected::default())
}

/// What is wanted of closes.
fn shown(plan: &KernelPlan) -> String {
    if !plan.kinds.contains(EventKind::CloseWrite) {
        return "nothing".to_owned();
    }
    if !plan.opens.all.intersection(OpenClass::CLOSE).is_empty() {
        return "all".to_owned();
    }
    let names = plan.opens.names.iter().filter(|(_, class)| !class.intersection(OpenClass::CLOSE).is_empty());
    names.map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_rule_tells_files_from_connections_by_its_fields() {
    let written = "evt.type=close and fd.typechar=f and evt.is_open_write=true and fd.name startswith /etc";
    let loaded = load(&format!(
        "{}{}",
        rule("Written", written),
        rule("Ended", "evt.type = close and source.bytes > 0")
    ));
    assert_eq!(loaded.problems, []);
    let told = |path: &str| matching(&loaded.rules, &closes(process("/bin/vi", ""), path, false));
    assert_eq!(told("/etc/passwd"), ["Written"]);
    assert_eq!(told("/tmp/etc/passwd"), [""; 0]);
    let open = opens(process("/bin/vi", ""), &[], open("/etc/passwd", 1));
    assert_eq!(matching(&loaded.rules, &open), [""; 0], "an open is no close");
    let kinds = |condition: &str| {
        let kinds = plan_of(condition).kinds;
        (kinds.contains(EventKind::CloseWrite), kinds.contains(EventKind::ConnectionEnd))
    };
    assert_eq!(kinds("evt.type = close"), (true, true));
    assert_eq!(kinds("evt.type = close and fd.sport = 443"), (false, true));
    assert_eq!(kinds("evt.type = close and fs.path.resolved startswith /etc/"), (true, false));
    assert_eq!(kinds("fs.path.resolved startswith /etc/"), (false, false), "unless it asks by evt.type");
}

#[test]
fn of_a_close_the_kernel_tests_the_path() {
    for (condition, want) in [
        ("evt.type = close and fd.name = /etc/passwd", "passwd"),
        ("evt.type = close and fd.name startswith /etc/", "etc"),
        ("evt.type = close and fd.name startswith /etc", "all"),
        ("evt.type = close and fd.directory in (/etc/cron.d, /etc/pam.d)", "cron.d pam.d"),
        ("evt.type = close and file.name = authorized_keys and proc.name = sh", "authorized_keys"),
        ("evt.type = close and (fd.name = /a/b or file.size > 9)", "all"),
        ("evt.type = close and evt.is_open_write = true and fd.name = /a/b", "b"),
        ("evt.type = close and evt.is_open_write = false and fd.name = /a/b", "nothing"),
        ("evt.type = close and not evt.is_open_write = true", "nothing"),
        ("evt.type = close and not fd.name = /a/b", "all"),
        ("evt.type in (openat, close) and fd.name = /a/b", "b"),
        ("evt.type = openat and fd.name = /a/b", "nothing"),
        ("evt.type != close and fd.name = /a/b", "nothing"),
        ("evt.type = close and fs.path.resolved = /a/a_name_of_more_than_sixteen_bytes", "a_name_of_more_t"),
    ] {
        assert_eq!(shown(&plan_of(condition)), want, "{condition}");
    }
}

/// The kernel's test, as the program does it.
fn kernel_passes(plan: &KernelPlan, path: &str) -> bool {
    let key = |name: &[u8]| {
        let mut key = [0; 16];
        key.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
        key
    };
    let wanted = |name: &str| {
        plan.opens.names.iter().any(|(known, class)| {
            key(known.as_bytes()) == key(name.as_bytes()) && !class.intersection(OpenClass::CLOSE).is_empty()
        })
    };
    plan.kinds.contains(EventKind::CloseWrite)
        && (!plan.opens.all.intersection(OpenClass::CLOSE).is_empty()
            || path.split('/').filter(|name| !name.is_empty()).any(wanted))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_kernel_never_leaves_out_a_close_that_a_rule_matches(
        condition in condition(),
        all in any::<bool>(),
        made in prop::collection::vec((path(), any::<bool>()), 12),
    ) {
        let condition = if all { condition } else { format!("evt.type = close and {condition}") };
        let loaded = load(&rule("R", &format!("'{}'", condition.replace('\'', "''"))));
        prop_assert_eq!(loaded.rules.len(), 1, "{}: {:?}", condition, loaded.problems);
        let plan = plan(&loaded.rules, &Responses::default(), &Protected::default());
        for (path, created) in made {
            let event = closes(process("/bin/cat", ""), &path, created);
            if !matching(&loaded.rules, &event).is_empty() {
                prop_assert!(kernel_passes(&plan, &path), "{} is left out by {} for {}", condition, shown(&plan), path);
            }
        }
    }
}
