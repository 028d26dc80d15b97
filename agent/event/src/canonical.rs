//! An event as it is stored: lossless, versioned, and readable by older and newer agents.
//!
//! # Why it exists
//! The spool keeps events for days and encodes them when they are sent, so that a mended mapping mends
//! the backlog, too. An agent that was updated, or rolled back, has to read what the other one wrote.
//!
//! # How it works
//! One byte of version, then MessagePack with the names of the fields: a reader ignores names that it
//! does not know, and a writer gives each new field a default. Text stays bytes. Of the host's user and
//! group names only those go along whose ids the event uses, and what is known of a container is written
//! once, for the process that acted, not with each ancestor.
//!
//! # What can go wrong
//! A kind of event, or an enum's variant, that only a newer agent knows cannot be decoded by an older
//! one: the spool then puts the record into the dead letters as it is.
//!
//! # Not here
//! Compression: neighbours repeat each other, so it belongs to the block. `docs/specs/spool.md` §9.

use crate::event::{Alert, Body, Event, Surroundings};
use crate::process::{AgentFacts, DomainTable, HostFacts, Process, UserTable};
use crate::program::ProgramFacts;
use crate::raw::{Endpoint, Source};
use crate::workload::{ContainerFacts, PodFacts};
use crate::{EventId, Text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

const VERSION: u8 = 1;

/// A record is no event that this agent can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeFailure {
    /// Of another version, or empty.
    #[error("stored event has version {0:?}, this agent reads {VERSION}")]
    Version(Option<u8>),
    /// Not well formed, or with something that only a newer agent knows.
    #[error("stored event cannot be read: {0}")]
    Content(String),
}

/// An event could not be written: only if memory runs out or a length exceeds 4 GiB.
#[derive(Debug, thiserror::Error)]
#[error("event cannot be stored: {0}")]
pub struct EncodeFailure(#[from] rmp_serde::encode::Error);

#[derive(Serialize)]
struct Stored<'a> {
    id: EventId,
    sequence: u64,
    time_ns: i64,
    created_ns: i64,
    source: Option<Source>,
    tid: u32,
    process: Option<&'a Process>,
    lineage: &'a [Arc<Process>],
    session_leader: Option<&'a Process>,
    body: &'a Body,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a ContainerFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<&'a PodFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<&'a ProgramFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inside: Option<Inside<&'a Text>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a Text>,
    alert: Option<&'a Alert>,
    users: BTreeMap<u32, &'a Text>,
    groups: BTreeMap<u32, &'a Text>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    domains: BTreeMap<IpAddr, &'a [Text]>,
    host: &'a HostFacts,
    agent: &'a AgentFacts,
}

/// Names in the container, of the ids that the event shows.
#[derive(Serialize, Deserialize)]
struct Inside<T> {
    users: BTreeMap<u32, T>,
    groups: BTreeMap<u32, T>,
}

#[derive(Deserialize)]
struct Loaded {
    id: EventId,
    sequence: u64,
    time_ns: i64,
    created_ns: i64,
    #[serde(default)]
    source: Option<Source>,
    #[serde(default)]
    tid: u32,
    #[serde(default)]
    process: Option<Arc<Process>>,
    #[serde(default)]
    lineage: Vec<Arc<Process>>,
    #[serde(default)]
    session_leader: Option<Arc<Process>>,
    body: Body,
    #[serde(default)]
    partial: bool,
    #[serde(default)]
    container: Option<Arc<ContainerFacts>>,
    #[serde(default)]
    pod: Option<Arc<PodFacts>>,
    #[serde(default)]
    program: Option<Arc<ProgramFacts>>,
    #[serde(default)]
    inside: Option<Inside<Text>>,
    #[serde(default)]
    domain: Option<Text>,
    #[serde(default)]
    alert: Option<Arc<Alert>>,
    #[serde(default)]
    users: BTreeMap<u32, Text>,
    #[serde(default)]
    groups: BTreeMap<u32, Text>,
    #[serde(default)]
    domains: BTreeMap<IpAddr, Vec<Text>>,
    #[serde(default)]
    host: HostFacts,
    #[serde(default)]
    agent: AgentFacts,
}

/// User and group ids that an event shows.
fn ids(event: &Event) -> (Vec<u32>, Vec<u32>) {
    let (mut uids, mut gids) = (Vec::new(), Vec::new());
    for process in event.process.iter().chain(event.lineage.iter()).chain(&event.session_leader) {
        let creds = &process.creds;
        uids.extend([creds.uid, creds.suid, creds.euid, creds.fsuid, process.loginuid, process.exe.uid]);
        gids.extend([creds.gid, creds.sgid, creds.egid, creds.fsgid, process.exe.gid]);
    }
    match &event.body {
        Body::Open(open) => {
            uids.push(open.inode.uid);
            gids.push(open.inode.gid);
        }
        Body::CloseWrite(close) => {
            uids.push(close.inode.uid);
            gids.push(close.inode.gid);
        }
        Body::Call(call) => {
            let (users, groups) = crate::call::ids_of(call);
            uids.extend(users);
            gids.extend(groups);
        }
        _ => {}
    }
    (uids, gids)
}

/// Domain names of the addresses that an event shows.
fn domains(event: &Event) -> BTreeMap<IpAddr, &[Text]> {
    let socket = match &event.body {
        Body::Connect(socket) => Some(&**socket),
        Body::Call(call) => call.socket.as_deref(),
        _ => None,
    };
    let ends = socket.into_iter().flat_map(|socket| [&socket.local, &socket.remote]).flatten();
    let named = ends.filter_map(|end| {
        let Endpoint::Ip(address) = end else { return None };
        let ip = address.ip().to_canonical();
        Some((ip, event.around.domains.names.get(&ip)?.as_slice()))
    });
    named.collect()
}

fn named<'a>(ids: &[u32], names: &'a BTreeMap<u32, Text>) -> BTreeMap<u32, &'a Text> {
    ids.iter().filter_map(|id| names.get(id).map(|name| (*id, name))).collect()
}

/// Appends an event to `out`. After an error `out` is as it was.
///
/// # Errors
/// See [`EncodeFailure`].
pub fn encode(event: &Event, out: &mut Vec<u8>) -> Result<(), EncodeFailure> {
    let start = out.len();
    let (uids, gids) = ids(event);
    let container = event.process.as_deref().and_then(|process| process.workload.container.as_ref());
    let stored = Stored {
        id: event.id,
        sequence: event.sequence,
        time_ns: event.time_ns,
        created_ns: event.created_ns,
        source: event.source,
        tid: event.tid,
        process: event.process.as_deref(),
        lineage: &event.lineage,
        session_leader: event.session_leader.as_deref(),
        body: &event.body,
        partial: event.partial,
        container: container.and_then(|container| container.facts.as_deref()),
        pod: container.and_then(|container| container.pod.as_deref()),
        program: event.program.as_deref(),
        inside: event
            .inside
            .as_deref()
            .map(|names| Inside { users: named(&uids, &names.users), groups: named(&gids, &names.groups) }),
        domain: event.domain.as_ref(),
        alert: event.alert.as_deref(),
        users: named(&uids, &event.around.users.users),
        groups: named(&gids, &event.around.users.groups),
        domains: domains(event),
        host: &event.around.host,
        agent: &event.around.agent,
    };
    out.push(VERSION);
    let mut serializer = rmp_serde::Serializer::new(&mut *out).with_struct_map();
    stored.serialize(&mut serializer).map_err(|error| {
        out.truncate(start);
        EncodeFailure(error)
    })
}

/// Reads an event.
///
/// # Errors
/// The record is none, or has something that only a newer agent knows.
pub fn decode(record: &[u8]) -> Result<Event, DecodeFailure> {
    let Some((&VERSION, content)) = record.split_first() else {
        return Err(DecodeFailure::Version(record.first().copied()));
    };
    let loaded: Loaded =
        rmp_serde::from_slice(content).map_err(|error| DecodeFailure::Content(error.to_string()))?;
    let (mut process, mut lineage, mut session_leader) =
        (loaded.process, loaded.lineage, loaded.session_leader);
    let inside = process.as_ref().and_then(|process| process.workload.container.as_ref());
    if let Some(id) = inside.map(|container| container.id.clone())
        && (loaded.container.is_some() || loaded.pod.is_some())
    {
        for process in process.iter_mut().chain(&mut lineage).chain(&mut session_leader) {
            if process.workload.container.as_ref().is_some_and(|container| container.id == id)
                && let Some(container) = &mut Arc::make_mut(&mut Arc::make_mut(process).workload).container
            {
                (container.facts, container.pod) = (loaded.container.clone(), loaded.pod.clone());
            }
        }
    }
    let users = UserTable { users: loaded.users, groups: loaded.groups };
    let domains = DomainTable { names: loaded.domains };
    Ok(Event {
        id: loaded.id,
        sequence: loaded.sequence,
        time_ns: loaded.time_ns,
        created_ns: loaded.created_ns,
        source: loaded.source,
        tid: loaded.tid,
        process,
        lineage: lineage.into(),
        session_leader,
        around: Arc::new(Surroundings { host: loaded.host, agent: loaded.agent, users, domains }),
        body: loaded.body,
        program: loaded.program,
        inside: loaded.inside.map(|Inside { users, groups }| Arc::new(UserTable { users, groups })),
        domain: loaded.domain,
        partial: loaded.partial,
        alert: loaded.alert,
    })
}
