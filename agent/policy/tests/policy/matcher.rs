//! All rules at once say what each says by itself, and what does not match allocates nothing.

use crate::support::{O_WRONLY, connects, contained, exec, load, matching, open, opens, process, rule};
use hostward_event::Event;
use hostward_event::event::Body;
use hostward_event::raw::RawCall;
use hostward_event::{EventKind, Text, call};
use proptest::prelude::*;

const WORDS: [&str; 12] =
    ["cat", "sh", "nc", "/etc/shadow", "/bin/cat", "/usr", "etc", "-c", "root", "a", "", "/tmp//x/../y"];

fn check() -> impl Strategy<Value = String> {
    let field = prop::sample::select(vec![
        "proc.name",
        "proc.pname",
        "proc.aname",
        "proc.aname[2]",
        "proc.cmdline",
        "proc.pcmdline",
        "proc.args",
        "proc.args[0]",
        "process.args",
        "proc.exepath",
        "proc.cwd",
        "fd.name",
        "fd.directory",
        "fd.filename",
        "fs.path.resolved",
        "fs.path.name",
        "file.path",
        "evt.arg.flags",
        "evt.arg.request",
        "evt.res",
        "evt.args",
        "fd.type",
        "container.id",
        "user.name",
        "related.hosts",
        "toupper(proc.name)",
        "basename(proc.exepath)",
        "join(\"-\", proc.name, proc.pname)",
    ]);
    let operator = prop::sample::select(vec![
        "=",
        "!=",
        "contains",
        "icontains",
        "startswith",
        "endswith",
        "glob",
        "iglob",
        "regex",
    ]);
    let lists = prop::sample::select(vec![
        "in",
        "intersects",
        "pmatch",
        "contains anyof",
        "contains allof",
        "startswith anyof",
        "endswith allof",
        "glob anyof",
    ]);
    let word = || {
        prop_oneof![
            prop::sample::select(WORDS.to_vec()).prop_map(str::to_owned),
            prop::sample::select(WORDS.to_vec()).prop_map(|word| format!("*{word}")),
            prop::sample::select(WORDS.to_vec()).prop_map(|word| word.replacen('a', "?", 1)),
        ]
    };
    // A star that stands first repeats nothing.
    let pattern = |operator: &str, word: String| {
        if operator.starts_with("regex") { word.replace('*', ".*").replace('?', ".") } else { word }
    };
    let others = prop::sample::select(vec![
        "evt.type = execve",
        "evt.type in (open, openat)",
        "evt.type != openat",
        "evt.type in (connect, ptrace, unlinkat)",
        "evt.is_open_write = true",
        "evt.is_open_read != true",
        "fd.num >= 0",
        "evt.rawres < 0",
        "user.uid = 0",
        "proc.pid in (1, 100)",
        "fd.sport = 443",
        "fd.port in (443, 40000)",
        "fd.port != 443",
        "fd.ip = 10.0.0.5",
        "fd.net != 10.0.0.0/8",
        "fd.sip in (10.1.1.1)",
        "proc.name = val(proc.pname)",
        "proc.cmdline contains val(proc.name)",
        "fd.name exists",
        "proc.tty exists",
        "len(process.args) > 1",
        "evt.num = 0",
        "evt.num >= 0",
    ])
    .prop_map(str::to_owned);
    prop_oneof![
        3 => (field.clone(), operator, word())
            .prop_map(move |(field, operator, word)| format!("{field} {operator} \"{}\"", pattern(operator, word))),
        2 => (field, lists, prop::collection::vec(word(), 1..4))
            .prop_map(|(field, operator, words)| format!("{field} {operator} (\"{}\")", words.join("\", \""))),
        3 => others,
    ]
}

fn condition() -> impl Strategy<Value = String> {
    let leaf =
        prop_oneof![4 => check(), 1 => prop::sample::select(vec!["first".to_owned(), "second".to_owned()])];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" and "))),
            2 => prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" or "))),
            1 => inner.prop_map(|part| format!("not ({part})")),
        ]
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    let word = || prop::sample::select(WORDS.to_vec());
    let path = || prop::sample::select(vec!["/bin/cat", "/usr/bin/sh", "/tmp/nc", "/a"]);
    let ancestors =
        prop::sample::select(vec![&[][..], &["/bin/sh"], &["/bin/cat", "/usr/sbin/nc", "/sbin/init"]]);
    let file =
        prop::sample::select(vec!["/etc/shadow", "/etc", "/usr/bin/cat", "/tmp//x/../y", "/", "etc/shadow"]);
    (path(), word(), ancestors, file, 0..6_usize, any::<bool>(), any::<bool>()).prop_map(
        |(path, argument, ancestors, file, what, odd, inside)| {
            let mut actor = process(path, &format!("{argument} -c"));
            if inside {
                actor = contained(actor);
            }
            let mut made = open(file, if odd { O_WRONLY } else { 0 });
            match what {
                0 => exec(actor, ancestors),
                1 | 2 => {
                    if what == 2 {
                        made.result = -13;
                        made.path = Text::EMPTY;
                    }
                    opens(actor, ancestors, made)
                }
                3 => connects(actor, ancestors, if odd { "10.1.1.1:443" } else { "[fd00::9]:443" }),
                4 => call_event(EventKind::Ptrace, actor, ancestors, odd, &[]),
                _ => call_event(EventKind::Unlinkat, actor, ancestors, odd, &[file]),
            }
        },
    )
}

fn call_event(
    kind: EventKind,
    actor: hostward_event::process::Process,
    ancestors: &[&str],
    failed: bool,
    texts: &[&str],
) -> Event {
    assert!(call::find(kind).is_some());
    let call = RawCall {
        kind,
        result: if failed { -2 } else { 0 },
        args: [4, 1, 0, 0, 0, 0],
        texts: std::array::from_fn(|n| texts.get(n).map_or(Text::EMPTY, |text| Text::from(*text))),
        bases: [Text::from("/home"), Text::EMPTY],
        resolved: Default::default(),
        file: None,
        socket: None,
        data: Text::EMPTY,
        shared_memory: false,
    };
    crate::support::event(actor, ancestors, Body::Call(Box::new(call)))
}

/// A file of rules, and two macros that they may use.
fn file_of(conditions: &[String]) -> String {
    let mut text = String::from(
        "- macro: first\n  condition: (proc.name in (cat, sh) or fd.name startswith /etc)\n\
         - macro: second\n  condition: (not first and evt.type in (execve, openat))\n",
    );
    for (n, condition) in conditions.iter().enumerate() {
        text.push_str(&rule(&format!("R{n}"), &format!("'{}'", condition.replace('\'', "''"))));
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn all_rules_at_once_say_what_each_says_by_itself(
        conditions in prop::collection::vec(condition(), 1..8),
        events in prop::collection::vec(any_event(), 12),
    ) {
        let loaded = load(&file_of(&conditions));
        prop_assert_eq!(loaded.rules.len(), conditions.len(), "{:?}", loaded.problems);
        for event in &events {
            let alone = loaded.rules.iter().filter(|rule| rule.matches(event));
            let alone: Vec<String> = alone.map(|rule| rule.info.name.to_string()).collect();
            prop_assert_eq!(matching(&loaded.rules, event), alone, "{:#?} {:?}", conditions, event.body);
        }
    }
}

/// Events of which none matches a rule that we ship.
fn misses() -> Vec<Event> {
    let actor = || {
        let mut actor = process("/usr/bin/cargo", "build --release -p some-package");
        actor.cwd = Text::from("/home/alice/work");
        actor
    };
    let mut relative = open("/home/alice/work/src/main.rs", 0);
    (relative.base, relative.arg) = (Text::from("/home/alice/work"), Text::from("./src/main.rs"));
    let mut refused = open("/home/alice/.cache/x", O_WRONLY);
    (refused.result, refused.path) = (-2, Text::EMPTY);
    let ancestors = ["/usr/bin/make", "/usr/bin/bash", "/usr/sbin/sshd", "/usr/lib/systemd/systemd"];
    vec![
        exec(actor(), &ancestors),
        exec(contained(actor()), &ancestors),
        opens(actor(), &ancestors, relative),
        opens(actor(), &ancestors, open("/home/alice/work/target/x.o", O_WRONLY)),
        opens(contained(actor()), &ancestors, refused),
        connects(actor(), &ancestors, "10.1.1.1:5432"),
        connects(actor(), &ancestors, "[fd00::9]:443"),
        call_event(EventKind::Unlinkat, actor(), &ancestors, false, &["/home/alice/work/target/x.o"]),
        call_event(EventKind::Setuid, actor(), &ancestors, true, &[]),
    ]
}

#[test]
fn what_does_not_match_allocates_nothing() {
    let mut files = crate::support::shipped("etc/rules.d");
    files.extend(crate::published::rules("what_does_not_match_allocates_nothing"));
    // What the files of rules do not use.
    let more = "evt.args contains nothing and evt.arg.flags contains nothing and evt.res = nothing and \
                proc.aname in (nothing) and fd.ip = 9.9.9.9 and fd.port = 9 and proc.cwd = /nothing/ and \
                container.info = nothing and proc.cmdline regex '.*no+thing' and proc.pcmdline glob no*thing";
    for (n, part) in more.split(" and ").enumerate() {
        files.push(crate::support::file(&rule(&format!("more {n}"), part)));
    }
    let rules = hostward_policy::load(&files).rules;
    assert!(rules.len() > 30);
    let events = misses();
    let mut out = Vec::new();
    let mut pass = || {
        for event in &events {
            rules.matches(event, &mut out);
            assert!(out.is_empty(), "{:?} of {:?}", out.first().map(|rule| &rule.info.name), event.body);
        }
    };
    // Buffers grow to what the events need, each when its turn comes.
    (0..20).for_each(|_| pass());
    assert_eq!(allocation_counter::measure(pass).count_total, 0);
}
