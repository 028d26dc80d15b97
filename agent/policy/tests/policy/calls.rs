//! Of system calls the kernel never leaves out what a rule matches.

use crate::support::{event, load, process, rule};
use hostward_event::call::{self, Form, Group, RESULT};
use hostward_event::event::Body;
use hostward_event::plan::{KernelPlan, OpenClass};
use hostward_event::raw::{Inode, RawCall, RawFile};
use hostward_event::{EventKind, Text};
use hostward_policy::{Protected, Responses, plan};
use proptest::prelude::*;

/// Calls of every form that a plan knows: one path, two, a link's text, a descriptor, a number with a name.
const KINDS: [EventKind; 8] = [
    EventKind::Unlinkat,
    EventKind::Rename,
    EventKind::Symlink,
    EventKind::Symlinkat,
    EventKind::Fchmod,
    EventKind::Ptrace,
    EventKind::Bpf,
    EventKind::Socket,
];
const NAMES: [&str; 7] =
    ["etc", "shadow", ".ssh", "id_rsa", "a_name_of_more_than_sixteen_bytes", "x", "proc"];

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(NAMES.to_vec()), 1..4)
        .prop_map(|names| format!("/{}", names.join("/")))
}

fn check() -> impl Strategy<Value = String> {
    let field = || {
        prop::sample::select(vec![
            "evt.arg.name",
            "evt.arg.oldpath",
            "evt.arg.newpath",
            "evt.arg.target",
            "evt.arg.linkpath",
            "fs.path.name",
            "fs.path.source",
            "fs.path.target",
            "file.path",
            "file.name",
            "file.directory",
            "fd.name",
        ])
    };
    let operator =
        prop::sample::select(vec!["=", "!=", "startswith", "endswith", "contains", "glob", "icontains"]);
    let lists =
        prop::sample::select(vec!["in", "pmatch", "intersects", "contains anyof", "startswith allof"]);
    let literal = || {
        prop_oneof![
            path(),
            path().prop_map(|path| path + "/"),
            prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned),
            path().prop_map(|path| path.replacen("etc", "*", 1)),
        ]
    };
    let others = prop::sample::select(vec![
        "evt.arg.request = PTRACE_POKETEXT",
        "evt.arg.request in (PTRACE_ATTACH, PTRACE_SEIZE, 70)",
        "evt.arg.request != PTRACE_CONT",
        "evt.arg.request startswith PTRACE_P",
        "evt.arg.cmd in (5, BPF_PROG_ATTACH)",
        "evt.arg.cmd = BPF_PROG_LOAD",
        "evt.arg.domain in (AF_INET, AF_PACKET)",
        "evt.arg.type = SOCK_RAW",
        "evt.arg.mode contains S_ISUID",
        "evt.arg.res = SUCCESS",
        "evt.res = SUCCESS",
        "evt.res != SUCCESS",
        "evt.res = EACCES",
        "evt.res in (SUCCESS, EACCES)",
        "evt.res startswith E",
        "evt.res startswith S",
        "evt.failed = true",
        "evt.failed != true",
        "evt.rawres < 0",
        "evt.type = ptrace",
        "evt.type in (unlinkat, rename, symlink)",
        "evt.type != bpf",
        "fd.sport = 1",
        "proc.name = cat",
        "evt.num = 0",
    ])
    .prop_map(str::to_owned);
    prop_oneof![
        (field(), operator, literal())
            .prop_map(|(field, operator, literal)| format!("{field} {operator} \"{literal}\"")),
        (field(), lists, prop::collection::vec(literal(), 1..3)).prop_map(
            |(field, operator, literals)| format!("{field} {operator} (\"{}\")", literals.join("\", \""))
        ),
        others,
    ]
}

fn condition() -> impl Strategy<Value = String> {
    check().prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" and "))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" or "))),
            inner.prop_map(|part| format!("not ({part})")),
        ]
    })
}

fn any_call() -> impl Strategy<Value = RawCall> {
    let value = prop_oneof![0..64_u64, prop::sample::select(vec![0x4200, 70, 0x1_0000_0005, u64::MAX])];
    let result = prop::sample::select(vec![0_i64, 3, -13, -2]);
    let resolved = prop::option::of([path(), path()]);
    (prop::sample::select(KINDS.to_vec()), result, value, path(), path(), any::<bool>(), resolved).prop_map(
        |(kind, result, value, first, second, relative, resolved)| {
            let spec = call::find(kind).unwrap();
            let mut given = [first, second].into_iter();
            let mut texts = [Text::EMPTY, Text::EMPTY, Text::EMPTY];
            let mut bases = [Text::EMPTY, Text::EMPTY];
            for (n, param) in spec.texts().enumerate() {
                let text = given.next().unwrap_or_default();
                match text.rsplit_once('/') {
                    Some((base, name))
                        if relative && !base.is_empty() && matches!(param.form, Form::Path(_)) =>
                    {
                        (bases[n], texts[n]) = (Text::from(base), Text::from(name));
                    }
                    _ => texts[n] = Text::from(text),
                }
            }
            let file = spec.descriptor().filter(|_| spec.group == Group::File).map(|_| {
                let path = Text::from(given.next().unwrap_or_default());
                Box::new(RawFile { path, inode: Inode { ino: 1, mode: 0o100_644, ..Inode::default() } })
            });
            let paths = spec.params.iter().filter(|param| matches!(param.form, Form::Path(_))).count();
            let resolved = std::array::from_fn(|n| match (&resolved, n < paths) {
                (Some(both), true) => Text::from(both[n].clone()),
                _ => Text::EMPTY,
            });
            let args = [value, value, 0, 0, 0, 0];
            RawCall {
                kind,
                result,
                args,
                texts,
                bases,
                resolved,
                file,
                socket: None,
                data: Text::EMPTY,
                shared_memory: false,
            }
        },
    )
}

/// The kernel's test, as the program does it.
fn kernel_passes(plan: &KernelPlan, call: &RawCall) -> bool {
    if !plan.kinds.contains(call.kind) {
        return false;
    }
    let Some(wanted) = plan.calls.get(&call.kind) else { return true };
    if !(if call.result < 0 { wanted.failed } else { wanted.succeeded }) {
        return false;
    }
    if let Some(chosen) = wanted.chosen {
        let all = call.args.iter().copied().chain([call.result.cast_unsigned()]);
        let value = all.take(usize::from(RESULT) + 1).nth(usize::from(chosen.at)).unwrap() & 0xffff_ffff;
        if !(if value < 64 { chosen.values >> value & 1 == 1 } else { chosen.above }) {
            return false;
        }
    }
    if !wanted.named {
        return true;
    }
    // Paths are looked at, also as the kernel resolved them, and where relative ones start; a link's text is none.
    let spec = call::find(call.kind).unwrap();
    let mut paths: Vec<&[u8]> = call.file.iter().map(|file| file.path.as_bytes()).collect();
    for (n, param) in spec.texts().enumerate().take(call.bases.len()) {
        if matches!(param.form, Form::Path(_)) {
            paths.extend([call.texts[n].as_bytes(), call.bases[n].as_bytes()]);
        }
    }
    paths.extend(call.resolved.iter().map(Text::as_bytes));
    let key = |name: &[u8]| {
        let mut key = [0; 16];
        key.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
        key
    };
    let names =
        paths.iter().flat_map(|path| path.split(|byte| *byte == b'/')).filter(|name| !name.is_empty());
    names.map(key).any(|name| {
        plan.opens.names.iter().any(|(known, class)| {
            key(known.as_bytes()) == name && !class.intersection(OpenClass::CALL).is_empty()
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_kernel_never_leaves_out_a_call_that_a_rule_matches(
        conditions in prop::collection::vec(condition(), 1..3),
        made in prop::collection::vec(any_call(), 16),
    ) {
        let types = KINDS.map(EventKind::name).join(", ");
        let text = conditions.iter().enumerate().map(|(n, condition)| {
            let condition = format!("evt.type in ({types}) and {condition}").replace('\'', "''");
            rule(&format!("R{n}"), &format!("'{condition}'"))
        });
        let loaded = load(&text.collect::<String>());
        prop_assert_eq!(loaded.rules.len(), conditions.len(), "{:?}", loaded.problems);
        let plan = plan(&loaded.rules, &Responses::default(), &Protected::default());
        for call in made {
            let event = event(process("/bin/cat", ""), &[], Body::Call(Box::new(call.clone())));
            if loaded.rules.iter().any(|rule| rule.matches(&event)) {
                prop_assert!(kernel_passes(&plan, &call), "{:?} leaves out {:?}: {:?}", conditions, call, plan);
            }
        }
    }
}
