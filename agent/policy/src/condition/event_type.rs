//! `evt.type`: names of system calls, and the kinds of event that stand for them.
//!
//! Hooks see that a process was created, not by which of `clone`, `fork`, `vfork` and `clone3`.
//! So each of these names means the kind, whatever name the event itself shows.

use super::cursor::Literal;
use hostward_event::event::Body;
use hostward_event::raw::OpenCall;
use hostward_event::{Event, EventKind, KindSet, call};

/// Names that mean a whole kind.
const ALIASES: [(&str, EventKind); 19] = [
    ("execve", EventKind::Exec),
    ("execveat", EventKind::Exec),
    ("clone", EventKind::Fork),
    ("clone3", EventKind::Fork),
    ("fork", EventKind::Fork),
    ("vfork", EventKind::Fork),
    ("procexit", EventKind::Exit),
    ("exit", EventKind::Exit),
    ("exit_group", EventKind::Exit),
    ("connect", EventKind::Connect),
    // Of files and of connections, as their fields tell.
    ("close", EventKind::ConnectionEnd),
    ("close", EventKind::CloseWrite),
    ("udp_send", EventKind::UdpSend),
    ("dns_question", EventKind::DnsQuestion),
    ("dns_answer", EventKind::DnsAnswer),
    ("cgroup", EventKind::Cgroup),
    ("signal", EventKind::Signal),
    ("gap", EventKind::Gap),
    ("agent", EventKind::Agent),
];

const OPENS: [OpenCall; 4] = [OpenCall::Open, OpenCall::Openat, OpenCall::Openat2, OpenCall::Creat];

/// A set of names of a condition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    kinds: KindSet,
    opens: Vec<OpenCall>,
    /// Names that no event of ours bears.
    pub(crate) unknown: Vec<String>,
}

impl Names {
    pub(crate) fn new(literals: &[Literal]) -> Self {
        let mut names = Self::default();
        for literal in literals {
            let name = literal.text();
            let alias = ALIASES.into_iter().filter(|(alias, _)| *alias == name).map(|(_, kind)| kind);
            let calls = call::TABLE.iter().map(|spec| spec.kind).filter(|kind| kind.name() == name);
            let kinds: Vec<EventKind> = alias.chain(calls).collect();
            let open = OPENS.into_iter().find(|call| call.name() == name);
            match (kinds.is_empty(), open) {
                (false, _) => names.kinds = names.kinds.union(KindSet::of(&kinds)),
                (true, Some(call)) => names.opens.push(call),
                (true, None) => names.unknown.push(name.into_owned()),
            }
        }
        names
    }

    /// True when the event bears one of the names.
    pub(crate) fn hold(&self, event: &Event) -> bool {
        match &event.body {
            Body::Open(open) => self.opens.contains(&open.call),
            _ => self.kinds.contains(event.kind()),
        }
    }

    /// Kinds of which some event bears one of the names.
    pub(crate) fn some(&self) -> KindSet {
        match self.opens.is_empty() {
            true => self.kinds,
            false => self.kinds.union(KindSet::of(&[EventKind::Open])),
        }
    }

    /// Kinds of which every event bears one of the names.
    pub(crate) fn every(&self) -> KindSet {
        match OPENS.iter().all(|call| self.opens.contains(call)) {
            true => self.some(),
            false => self.kinds,
        }
    }
}
