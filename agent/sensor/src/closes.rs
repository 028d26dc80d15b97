//! Where closes of files that were open for writing are seen: at one function, or at the entries of some system calls.

use crate::ladder::{ProbeState, ProbeStatus};
use crate::layout::Layout;
use crate::load::SyscallRungs;
use crate::net::Hook;
use crate::persist::{Held, Pinned};
use crate::rungs::{CLOSE, CLOSE_ENTRIES, UNSEEN_CLOSES};
use crate::tracepoint::Tracepoints;
use aya::{Btf, Ebpf};
use hostward_abi::offsets::ABSENT;
use std::io;

/// The entry of a system call.
struct Entry {
    state: ProbeState,
    /// Attached while there is one.
    link: Option<Held>,
}

/// Both rungs, of which one is attached at most.
pub(crate) struct Closes {
    function: Hook,
    entries: Vec<Entry>,
    /// Why it is not the function; empty: it is, or was not tried.
    passed: String,
}

impl Closes {
    /// None attached.
    pub(crate) fn new(layout: &Layout) -> Self {
        let entry = |probe| {
            let mut state = ProbeState::of(probe);
            if layout.offset("file_count") == ABSENT {
                state.set(ProbeStatus::Refused, "this kernel does not tell how often a file is held");
            }
            Entry { state, link: None }
        };
        let entries = CLOSE_ENTRIES.into_iter().map(entry).collect();
        Self { function: Hook::of(CLOSE), entries, passed: String::new() }
    }

    /// Neither can be attached.
    pub(crate) fn refuse(&mut self, why: &str) {
        self.function.state.set(ProbeStatus::Refused, why);
        self.entries.clear();
    }

    /// The rung that was come to.
    pub(crate) fn states(&self) -> impl Iterator<Item = &ProbeState> {
        let (function, entries) = if self.is_by_entries() {
            (None, self.entries.as_slice())
        } else {
            (Some(&self.function.state), &[][..])
        };
        function.into_iter().chain(entries.iter().map(|entry| &entry.state))
    }

    const fn is_by_entries(&self) -> bool {
        !self.passed.is_empty()
    }

    /// The function's program was not tried yet.
    pub(crate) fn lacks_program(&self) -> bool {
        !self.is_by_entries() && self.function.lacks_program()
    }

    /// Goes on with what an agent before has attached.
    pub(crate) fn adopt(&mut self, pins: &mut Pinned) {
        self.function.adopt(pins, None);
        for entry in &mut self.entries {
            entry.link = pins.adopt(&entry.state.hook, entry.state.program);
            if entry.link.is_some() {
                entry.state.set(ProbeStatus::Attached, "");
                UNSEEN_CLOSES.clone_into(&mut self.passed);
            }
        }
    }

    /// Attaches by the better rung that the kernel takes, or detaches.
    pub(crate) fn want(
        &mut self,
        object: &mut Ebpf,
        pins: &mut Pinned,
        rungs: &mut SyscallRungs,
        btf: Option<&Btf>,
        wanted: bool,
    ) {
        if wanted
            && self.lacks_program()
            && let Err(why) = self.load(object, rungs, btf)
        {
            self.pass(&why);
        }
        if !self.is_by_entries() {
            self.function.want(object, pins, wanted);
            if self.function.state.status == ProbeStatus::Refused && !self.entries.is_empty() {
                let why = self.function.state.why.clone();
                self.pass(&why);
            }
        }
        let wanted = wanted && self.is_by_entries();
        let tracepoints =
            if wanted { Some(Tracepoints::find().map_err(|why| format!("tracefs: {why}"))) } else { None };
        for entry in &mut self.entries {
            match &tracepoints {
                Some(tracepoints) => entry.attach(object, pins, rungs, tracepoints, &self.passed),
                None => entry.close(pins),
            }
        }
    }

    fn load(&mut self, object: &mut Ebpf, rungs: &mut SyscallRungs, btf: Option<&Btf>) -> Result<(), String> {
        if let Some(why) = rungs.trampolines.refusal() {
            return Err(why.to_owned());
        }
        let btf = btf.ok_or("the kernel's type information cannot be read")?;
        rungs.trampolines.work(object, btf)?;
        self.function.load(object, btf);
        let why = &self.function.state.why;
        if why.is_empty() { Ok(()) } else { Err(why.clone()) }
    }

    fn pass(&mut self, why: &str) {
        self.passed = format!("{why}; {UNSEEN_CLOSES}");
    }

    /// Detaches what does not outlive the agent.
    pub(crate) fn let_go(&mut self) {
        self.function.let_go();
        for entry in &mut self.entries {
            if entry.link.take_if(|link| !link.outlives()).is_some() {
                entry.state.set(ProbeStatus::Unwanted, "detached");
            }
        }
    }
}

impl Entry {
    /// A refused or missing one stays so: the kernel will not change.
    fn attach(
        &mut self,
        object: &mut Ebpf,
        pins: &mut Pinned,
        rungs: &mut SyscallRungs,
        tracepoints: &Result<Tracepoints, String>,
        passed: &str,
    ) {
        if self.state.status != ProbeStatus::Unwanted {
            return;
        }
        passed.clone_into(&mut self.state.passed);
        let id =
            tracepoints.as_ref().map_err(Clone::clone).and_then(|known| match known.id(&self.state.hook) {
                Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
                id => id.map(Some).map_err(|why| why.to_string()),
            });
        let link = match id {
            Ok(None) => return self.state.set(ProbeStatus::Missing, "this kernel has no such system call"),
            Ok(Some(id)) => rungs.tracepoint(object, pins, self.state.program, &self.state.hook, id),
            Err(why) => Err(why),
        };
        match link {
            Ok(link) => {
                self.link = Some(link);
                self.state.set(ProbeStatus::Attached, "");
            }
            Err(why) => self.state.set(ProbeStatus::Refused, &why),
        }
    }

    fn close(&mut self, pins: &mut Pinned) {
        if let Some(link) = self.link.take() {
            pins.end(link);
            self.state.set(ProbeStatus::Unwanted, "");
        }
    }
}
