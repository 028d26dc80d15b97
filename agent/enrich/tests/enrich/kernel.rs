//! Makes the records that a kernel would.

use hostward_enrich::{Enricher, Fact, Input, Lookup, Output};
use hostward_event::fact::SeedProcess;
use hostward_event::raw::{
    Args, Credentials, Inode, OpenCall, RawBody, RawCgroup, RawCgroupChange, RawCloseWrite, RawEvent,
    RawExec, RawOpen, RawTask, Rung, Source, Usage,
};
use hostward_event::{Event, Text};
use std::sync::Arc;

/// One step of time: two ticks of /proc, so that starts are told apart.
pub(crate) const STEP_NS: u64 = 20_000_000;

/// A process at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proc {
    pub(crate) pid: u32,
    pub(crate) start: u64,
    /// The creator.
    pub(crate) ppid: u32,
    pub(crate) parent_start: u64,
    pub(crate) path: String,
    pub(crate) euid: u32,
    /// Its number in its own pid namespace; 0: not told.
    pub(crate) vpid: u32,
    pub(crate) cgroup: RawCgroup,
}

impl Proc {
    pub(crate) fn new(pid: u32, start: u64) -> Self {
        let path = format!("/bin/p{pid}");
        Self { pid, start, ppid: 0, parent_start: 0, path, euid: 0, vpid: 0, cgroup: root() }
    }

    pub(crate) fn child_of(parent: &Self, pid: u32, start: u64) -> Self {
        Self { pid, start, ppid: parent.pid, parent_start: parent.start, ..parent.clone() }
    }

    pub(crate) fn with_cgroup(mut self, id: u64, parent: &str, leaf: &str) -> Self {
        self.cgroup = RawCgroup { id, v1: false, leaf: leaf.into(), parent: parent.into() };
        self
    }

    fn comm(&self) -> Text {
        Text::from(self.path.rsplit('/').next().unwrap())
    }

    fn task(&self) -> RawTask {
        RawTask {
            pid: self.pid,
            tid: self.pid,
            ppid: self.ppid,
            start_boot_ns: self.start,
            euid: self.euid,
            egid: 0,
            cgroup_id: self.cgroup.id,
            comm: self.comm(),
        }
    }

    pub(crate) fn raw(&self, at: u64, body: RawBody) -> Input {
        let source = Source {
            rung: Rung::BtfTracepoint,
            cpu: 0,
            stream: 0,
            seq: at / 7,
            boot_ns: at,
            received_boot_ns: at + 1_000,
        };
        Input::Raw(RawEvent { source, task: self.task(), body })
    }

    fn creds(&self) -> Credentials {
        Credentials { euid: self.euid, fsuid: self.euid, ..Credentials::default() }
    }

    pub(crate) fn fork(&self) -> Input {
        let parent_start_boot_ns = self.parent_start;
        self.raw(self.start, RawBody::Fork { parent_start_boot_ns, vpid: self.pid, pid_ns: 0 })
    }

    pub(crate) fn exec(&self, at: u64) -> Input {
        let exec = RawExec {
            filename: self.comm(),
            path: Text::from(self.path.as_str()),
            args: Args { raw: Text::from("x\0"), total_bytes: 2 },
            creds: self.creds(),
            exe: Inode { ino: 9, nlink: 1, ..Inode::default() },
            sid: self.pid,
            vpid: self.vpid,
            cgroup: self.cgroup.clone(),
            ..RawExec::default()
        };
        self.raw(at, RawBody::Exec(Box::new(exec)))
    }

    pub(crate) fn open(&self, at: u64) -> Input {
        let open = RawOpen {
            call: OpenCall::Openat,
            flags: 0,
            mode: 0,
            result: 3,
            dirfd: -100,
            arg: "/x".into(),
            base: Text::EMPTY,
            path: "/x".into(),
            inode: Inode::default(),
            created: false,
            shared_memory: false,
        };
        self.raw(at, RawBody::Open(Box::new(open)))
    }

    pub(crate) fn close_write(&self, at: u64) -> Input {
        let close =
            RawCloseWrite { fd: -1, flags: 1, path: "/x".into(), size_bytes: 9, ..RawCloseWrite::default() };
        self.raw(at, RawBody::CloseWrite(Box::new(close)))
    }

    /// In the hierarchy of the process's own.
    pub(crate) fn cgroup(&self, id: u64, path: &str, removed: bool, at: u64) -> Input {
        let v1 = self.cgroup.v1;
        self.raw(at, RawBody::Cgroup(RawCgroupChange { id, path: path.into(), v1, removed }))
    }

    pub(crate) fn exit(&self, at: u64) -> Input {
        self.raw(at, RawBody::Exit { status: 0, utime_ns: 1, stime_ns: 2, usage: Usage::default() })
    }

    /// As the task iterator tells it, or (`coarse`) as /proc does.
    pub(crate) fn seed(&self, coarse: bool) -> Input {
        let start_boot_ns = if coarse { self.start / 10_000_000 * 10_000_000 } else { self.start };
        Input::Fact(Fact::Process(Box::new(SeedProcess {
            pid: self.pid,
            ppid: self.ppid,
            start_boot_ns,
            comm: self.comm(),
            path: Text::from(self.path.as_str()),
            creds: self.creds(),
            cgroup: self.cgroup.clone(),
            ..SeedProcess::default()
        })))
    }
}

pub(crate) fn root() -> RawCgroup {
    RawCgroup { id: 1, ..RawCgroup::default() }
}

/// What one input gives: events and lookups.
pub(crate) fn feed(enricher: &mut Enricher, input: &Input) -> (Vec<Arc<Event>>, Vec<Lookup>) {
    let mut out = Vec::new();
    enricher.handle(input, &mut out);
    let (mut events, mut lookups) = (Vec::new(), Vec::new());
    for output in out {
        match output {
            Output::Event(event) => events.push(event),
            Output::Lookup(lookup) => lookups.push(lookup),
            Output::Early(..) => {}
        }
    }
    (events, lookups)
}

/// The one event of an input that must give one.
pub(crate) fn event(enricher: &mut Enricher, input: &Input) -> Arc<Event> {
    let (events, _) = feed(enricher, input);
    let [event] = events.as_slice() else { panic!("one event of {input:?}, got {events:?}") };
    event.clone()
}

pub(crate) fn path(event: &Event) -> String {
    event.process.as_ref().map(|process| process.path.to_string()).unwrap_or_default()
}

pub(crate) fn lineage(event: &Event) -> Vec<u32> {
    event.lineage.iter().map(|process| process.pid).collect()
}
