//! OCSF documents: a class of event with its activity, and the registry's fields where that class
//! has them.
//!
//! # How it works
//! The registry names a field as if every class had the process that acted in `process`. In truth a
//! file activity has it in `actor.process` and a finding in its evidence, so [`places`] says per
//! class where a name stands, and that a class has no place for it. Numbers and words that OCSF has
//! beside ours (class, activity, severity) are made in [`made`].
//!
//! # What can go wrong
//! OCSF requires some attributes that a kernel does not always know (the name of `/`): they get a
//! stand-in, so that a strict receiver takes the record. The tests check every kind of event against
//! the published schema.

mod made;

use super::json::Times;
use super::tree::{Leaf, Tree, Trees};
use super::view::View;
use crate::call::{self, Group};
use crate::event::Body;
use crate::{Event, EventKind, registry};

/// Class of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Process,
    File,
    Network,
    Finding,
    Error,
    Lifecycle,
}

impl Class {
    fn of(event: &Event) -> Self {
        match &event.body {
            _ if event.alert.is_some() => Self::Finding,
            Body::Exec { .. } | Body::Fork | Body::Exit { .. } | Body::Cgroup(_) | Body::Signal(_) => {
                Self::Process
            }
            Body::Open(_) | Body::CloseWrite(_) => Self::File,
            Body::Connect(_) | Body::ConnectionEnd(_) | Body::UdpSend(_) | Body::Dns(_) => Self::Network,
            Body::Call(call) => match call::find(call.kind).map(|spec| spec.group) {
                Some(Group::File) => Self::File,
                Some(Group::Network) => Self::Network,
                _ => Self::Process,
            },
            Body::Agent(notice) if notice.success => Self::Lifecycle,
            Body::Gap(_) | Body::Agent(_) => Self::Error,
        }
    }

    const fn uid(self) -> u32 {
        match self {
            Self::Process => 1007,
            Self::File => 1001,
            Self::Network => 4001,
            Self::Finding => 2004,
            Self::Error => 6008,
            Self::Lifecycle => 6002,
        }
    }

    /// The thousands of a class's number are its category.
    const fn category(self) -> u32 {
        self.uid() / 1000
    }
}

/// Where an attribute stands in a class; nowhere when the class has no place for it.
fn places(class: Class, kind: EventKind, path: &str) -> Vec<String> {
    let root = path.split('.').next().unwrap_or_default();
    let same = || vec![path.to_owned()];
    match root {
        "process" => match class {
            // Who launched it, and who ended: the class wants an actor.
            Class::Process => match (path.strip_prefix("process.parent_process."), kind) {
                (Some(rest), EventKind::Exec | EventKind::Fork) => {
                    vec![path.to_owned(), format!("actor.process.{rest}")]
                }
                (_, kind)
                    if kind.is_call()
                        || matches!(kind, EventKind::Exit | EventKind::Cgroup | EventKind::Signal) =>
                {
                    vec![path.to_owned(), format!("actor.{path}")]
                }
                _ => same(),
            },
            Class::File | Class::Network => vec![format!("actor.{path}")],
            Class::Finding => vec![format!("evidences[].{path}")],
            Class::Error | Class::Lifecycle => Vec::new(),
        },
        "file" | "src_endpoint" | "dst_endpoint" | "connection_info" => match class {
            Class::Finding => vec![format!("evidences[].{path}")],
            _ => same(),
        },
        "actor" | "exit_code" | "launch_type_id" if class != Class::Process => Vec::new(),
        "finding_info" | "policy" | "status_detail" | "is_alert" | "action_id" | "disposition_id"
            if class != Class::Finding =>
        {
            Vec::new()
        }
        "status_code" if class == Class::Finding => Vec::new(),
        "traffic" if class != Class::Network => Vec::new(),
        "app" if class != Class::Lifecycle => Vec::new(),
        _ => same(),
    }
}

/// Of records of what happened, and of findings. A kind has a class of its own but for the agent's notices, which
/// are of two.
static TREES: [Trees; 3] = [const { Trees::new() }; 3];

fn tree(kind: EventKind, class: Class) -> Tree {
    let made = made::ATTRIBUTES.iter().filter(move |made| made.kinds.contains(kind));
    let made = made.map(|made| (made.path, made.leaf));
    let fields = registry::fields().iter().filter(move |f| !f.ocsf.is_empty() && f.kinds.contains(kind));
    let fields = fields.map(|field| (field.ocsf, Leaf::Field(field)));
    Tree::new(
        made.chain(fields).flat_map(move |(path, leaf)| {
            places(class, kind, path).into_iter().map(move |path| (path, leaf))
        }),
    )
}

pub(super) fn write(view: View<'_>, out: &mut Vec<u8>) {
    let (kind, class) = (view.event().kind(), Class::of(view.event()));
    let [own, findings, errors] = &TREES;
    let trees = match class {
        Class::Finding => findings,
        Class::Error => errors,
        _ => own,
    };
    if let Some(tree) = trees.get(kind, || tree(kind, class)) {
        tree.write(view, Times::Millis, out);
    }
}
