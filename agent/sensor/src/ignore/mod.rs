//! What the operator wants left out: blocks of the configuration, each a conjunction of keys.
//!
//! A block hides events from rules as well as from sinks, so it is refused when it is not plain what it means, and
//! nothing but what the kernel itself knows may hide an event: see `ebpf/src/ignore.rs`.

mod pattern;
mod table;
mod wanted;

pub(crate) use table::{Cgroups, Table, counts};
pub(crate) use wanted::InForce;

use hostward_abi::maps::IGNORE_BLOCKS;
use hostward_abi::record::{kind, open_call};
use hostward_event::call::{self, Group};
use hostward_event::{EventKind, KindSet};
use pattern::{Network, Pattern};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Calls of the open family by their published names.
const OPENS: [(&str, u32); 4] = [
    ("open", open_call::OPEN),
    ("openat", open_call::OPENAT),
    ("openat2", open_call::OPENAT2),
    ("creat", open_call::CREAT),
];

/// `[[sensor.ignore]]`: an event that has one of the values of each key is not told by the kernel. Without a key it
/// makes no difference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ignore {
    /// What `hostward status` calls it; default: its number, from 1.
    pub name: String,
    /// Paths of the program's file as the process sees it, whole or with `*` at the end.
    pub exe: Vec<String>,
    /// Command names, whole; any process can take any name.
    pub comm: Vec<String>,
    /// Effective user ids.
    pub uid: Vec<u32>,
    /// Paths in the unified hierarchy, for all below them as well, or names of units of the system's service manager.
    pub cgroup: Vec<String>,
    /// Paths of files: `/a/b`, `/a/*`, `*.log`, or a file's name. Of opens that succeeded, and of closes.
    pub path: Vec<String>,
    /// Networks or addresses that were connected to. Of connects that succeeded or are under way.
    pub destination: Vec<String>,
    /// Ports that were connected to, of the same.
    pub port: Vec<u16>,
    /// Published names of system calls. Default: opens and closes, or connects, where `path` or `destination` asks for them,
    /// else all of files and sockets.
    pub events: Vec<String>,
}

impl Ignore {
    /// What [`Self::name`] says.
    pub fn title(&self, at: usize) -> String {
        if self.name.is_empty() { (at + 1).to_string() } else { self.name.clone() }
    }

    /// The keys that only an open or close, or only a connect, has.
    const fn is_of_opens(&self) -> bool {
        !self.path.is_empty()
    }

    const fn is_of_connects(&self) -> bool {
        !self.destination.is_empty() || !self.port.is_empty()
    }

    /// Nothing but the events' names: each of them is left out, whoever makes it.
    fn is_whole(&self) -> bool {
        let Self { name: _, exe, comm, uid, cgroup, path, destination, port, events } = self;
        let texts = [exe, comm, cgroup, path, destination];
        texts.iter().all(|list| list.is_empty()) && uid.is_empty() && port.is_empty() && !events.is_empty()
    }

    /// Rows of the programs' table that it is for.
    fn rows(&self) -> BTreeSet<u8> {
        if self.events.is_empty() {
            let opens = with_path();
            let (connect, [opens_alone, connects_alone]) =
                (kind::CONNECT, [self.is_of_opens(), self.is_of_connects()]);
            return match (opens_alone, connects_alone) {
                (true, _) => opens,
                (false, true) => BTreeSet::from([connect]),
                (false, false) => {
                    let calls = call::TABLE.iter().filter(|spec| spec.group.is_bulk());
                    opens.into_iter().chain([connect]).chain(calls.map(|spec| spec.kind as u8)).collect()
                }
            };
        }
        self.events.iter().filter_map(|name| row(name)).collect()
    }

    fn problems(&self, at: usize) -> Vec<String> {
        let title = self.title(at);
        let mut found: Vec<String> = Vec::new();
        let mut tell = |key: &str, what: String| found.push(format!("ignore {title}: {key}: {what}"));
        if *self == (Self { name: self.name.clone(), ..Self::default() }) {
            tell("exe", "no key at all would ignore everything; give at least one key".into());
        }
        for text in &self.exe {
            match Pattern::parse(text) {
                Ok(Pattern::Exact(_) | Pattern::Front(_)) => {}
                Ok(Pattern::End(_)) => tell(
                    "exe",
                    format!("{text:?} does not begin with a slash; give the whole path, or /DIR/*"),
                ),
                Err(why) => tell("exe", format!("{text:?} {why}")),
            }
        }
        for text in &self.path {
            if let Err(why) = Pattern::parse(text) {
                tell("path", format!("{text:?} {why}"));
            }
        }
        for text in self.comm.iter().filter(|text| text.is_empty() || text.len() > 15 || text.contains('\0'))
        {
            tell("comm", format!("{text:?} is no command name: they have 1 to 15 bytes"));
        }
        for text in &self.cgroup {
            let wrong = if text.starts_with('/') {
                text == "/" || text.ends_with('/')
            } else {
                text.contains('/') || !text.contains('.')
            };
            if wrong {
                tell(
                    "cgroup",
                    format!(
                        "{text:?} is neither a path such as /system.slice/a.service, without a slash at its end, nor a unit such as a.service"
                    ),
                );
            }
        }
        for text in self.destination.iter().filter(|text| Network::parse(text).is_none()) {
            tell(
                "destination",
                format!("{text:?} is no network; write 10.0.0.0/8, 2001:db8::/32 or one address"),
            );
        }
        if self.port.contains(&0) {
            tell("port", "0 is no port that is connected to".into());
        }
        for name in self.events.iter().filter(|name| row(name).is_none()) {
            let why = "is no system call that can be ignored; names are those of evt.type, such as openat, connect or unlinkat, and starts, forks and ends of processes are always told";
            tell("events", format!("{name:?} {why}"));
        }
        if self.is_of_opens() && self.is_of_connects() {
            tell("path", "no event has a path and a destination; make two blocks".into());
        }
        let rows = self.rows();
        if self.is_of_opens() && !rows.is_subset(&with_path()) {
            tell("events", "with path only open, openat, openat2, creat and close".into());
        }
        if self.is_of_connects() && rows.iter().any(|row| *row != kind::CONNECT) {
            tell("events", "with destination or port only connect".into());
        }
        found
    }
}

/// Rows of what has one path, the kernel's.
fn with_path() -> BTreeSet<u8> {
    OPENS.iter().map(|(_, call)| kind::of_open(*call)).chain([kind::CLOSE_WRITE]).collect()
}

/// The programs' row for a published name; none for what is never ignored.
fn row(name: &str) -> Option<u8> {
    let open = OPENS.iter().find(|(own, _)| *own == name).map(|(_, call)| kind::of_open(*call));
    let connect = (name == "connect").then_some(kind::CONNECT);
    // Of connections it is the end, which is never ignored.
    let close = (name == "close").then_some(kind::CLOSE_WRITE);
    // Starts of programs that failed are of processes.
    let calls = || call::TABLE.iter().filter(|spec| spec.group != Group::Exec);
    let call = || calls().find(|spec| spec.kind.name() == name).map(|spec| spec.kind as u8);
    open.or(connect).or(close).or_else(call)
}

/// Every value that cannot be used.
pub(crate) fn problems(blocks: &[Ignore]) -> Vec<String> {
    let mut found: Vec<String> =
        blocks.iter().enumerate().flat_map(|(at, block)| block.problems(at)).collect();
    if blocks.len() > IGNORE_BLOCKS {
        found.push(format!(
            "ignore: {} blocks, at most {IGNORE_BLOCKS}; a key takes several values",
            blocks.len()
        ));
    }
    found
}

/// Kinds of which no event at all is told, with the block that is to blame.
pub fn silenced(blocks: &[Ignore]) -> Vec<(KindSet, String)> {
    let of = |(at, block): (usize, &Ignore)| {
        let rows = block.rows();
        let opens = OPENS.iter().all(|(_, call)| rows.contains(&kind::of_open(*call)));
        let others = rows.iter().filter_map(|row| EventKind::from_number(*row));
        let others = others.filter(|kind| *kind != EventKind::Open);
        let all: Vec<EventKind> = others.chain(opens.then_some(EventKind::Open)).collect();
        (KindSet::of(&all), block.title(at))
    };
    blocks.iter().enumerate().filter(|(_, block)| block.is_whole()).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(change: impl FnOnce(&mut Ignore)) -> Ignore {
        let mut block = Ignore::default();
        change(&mut block);
        block
    }

    fn list(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_key() {
        let wrong: [(&str, Ignore); 12] = [
            ("no key at all", block(|b| b.name = "x".into())),
            ("exe", block(|b| b.exe = list(&["mysqld"]))),
            ("exe", block(|b| b.exe = list(&["/a/*/b"]))),
            ("comm", block(|b| b.comm = list(&["sixteen-bytes-xx"]))),
            ("cgroup", block(|b| b.cgroup = list(&["/"]))),
            ("cgroup", block(|b| b.cgroup = list(&["cron"]))),
            ("path", block(|b| b.path = list(&["*"]))),
            ("destination", block(|b| b.destination = list(&["10.0.0.0/33"]))),
            ("port", block(|b| b.port = vec![0])),
            ("always told", block(|b| b.events = list(&["execve"]))),
            ("make two blocks", block(|b| (b.path, b.port) = (list(&["/a"]), vec![1]))),
            ("only connect", block(|b| (b.port, b.events) = (vec![1], list(&["openat"])))),
        ];
        for (what, wrong) in wrong {
            let problems = problems(std::slice::from_ref(&wrong));
            assert!(problems.iter().any(|problem| problem.contains(what)), "{wrong:?}: {problems:?}");
        }
        let many = vec![block(|b| b.uid = vec![1]); IGNORE_BLOCKS + 1];
        assert_eq!(problems(&many).len(), 1);
        assert!(problems(&many[1..]).is_empty());
    }

    #[test]
    fn a_block_is_for_files_and_sockets_unless_it_says_otherwise() {
        let of_uid = block(|b| b.uid = vec![33]).rows();
        assert!(of_uid.contains(&kind::CONNECT) && of_uid.contains(&(EventKind::Unlinkat as u8)));
        assert!(!of_uid.contains(&kind::EXEC) && !of_uid.contains(&(EventKind::Setuid as u8)));
        assert_eq!(block(|b| b.port = vec![53]).rows(), BTreeSet::from([kind::CONNECT]));
        assert_eq!(block(|b| b.path = list(&["/a"])).rows().len(), 5, "opens and closes");
        let whole = block(|b| b.events = list(&["connect", "openat"]));
        assert_eq!(silenced(&[whole]), [(KindSet::of(&[EventKind::Connect]), "1".to_owned())]);
        let part = block(|b| (b.events, b.uid) = (list(&["connect"]), vec![1]));
        assert_eq!(silenced(&[part]), []);
    }
}
