//! What is read of programs' files, and the names of users that containers have.
//!
//! Both come from a thread that reads files. An exec whose file is not known yet waits for the answer, a bounded
//! time, and what its process does meanwhile stays behind it. Everything else goes out at once.

use crate::backlog::Backlog;
use crate::bounded::Bounded;
use crate::{Config, Enricher, Output};
use foldhash::quality::RandomState;
use hostward_event::event::{Body, Event};
use hostward_event::fact::{Lookup, Notice};
use hostward_event::process::{Process, UserTable};
use hostward_event::program::{ProgramFacts, ProgramKey};
use hostward_event::registry::Awaited;
use hostward_event::{EntityId, EventId, Text};
use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Names of so many containers are kept, of 32 KiB at most each.
const MAX_NAMED: usize = 1_024;
/// The names of a container are asked for anew after this: its programs may add users.
const NAMES_AGE_NS: u64 = 60_000_000_000;
/// How often in a row they are asked for in vain before that pause is made: the first programs in a container's
/// cgroup are those of its runtime, which have the host's root still.
const MAX_TRIES: u8 = 8;

#[derive(Debug)]
struct Known {
    facts: Arc<ProgramFacts>,
    keep: bool,
}

/// An exec whose file was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    event: EventId,
    process: EntityId,
    pid: u32,
    start_boot_ns: u64,
    /// It went out already, of this process: the answer is told by an event of its own.
    sent: Option<Arc<Process>>,
}

#[derive(Debug, Default)]
struct Named {
    names: Option<Arc<UserTable>>,
    /// When they were asked for, and not answered yet.
    pending: bool,
    asked_ns: u64,
    tries: u8,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Programs {
    files: bool,
    names: bool,
    waits: bool,
    known: Bounded<ProgramKey, Known>,
    /// Whom an answer is waited for, by file.
    asked: HashMap<ProgramKey, Vec<Asked>, RandomState>,
    /// The file that each of these events waits for.
    pending: HashMap<EventId, ProgramKey, RandomState>,
    /// Answers to events that did not go out yet.
    answered: HashMap<EventId, Arc<ProgramFacts>, RandomState>,
    named: Bounded<Text, Named>,
    /// Processes whose first event waits for the names of this container.
    nameless: HashMap<Text, HashSet<EntityId>>,
    backlog: Backlog,
    /// Execs that went out before their file was read.
    pub(crate) late: u64,
    /// Those of them whose answer may still come.
    outstanding: usize,
    max_outstanding: usize,
}

impl Programs {
    pub(crate) fn new(config: &Config) -> Self {
        let named = NonZeroUsize::new(MAX_NAMED).unwrap_or(NonZeroUsize::MIN).min(config.max_containers);
        Self {
            files: false,
            names: false,
            waits: config.program_wait_ms > 0,
            known: Bounded::new(config.max_programs),
            asked: HashMap::default(),
            pending: HashMap::default(),
            answered: HashMap::default(),
            named: Bounded::new(named),
            nameless: HashMap::new(),
            backlog: Backlog::new(config.max_held_events.get(), config.program_wait_ms),
            late: 0,
            outstanding: 0,
            max_outstanding: config.max_held_events.get(),
        }
    }

    pub(crate) const fn held(&self) -> usize {
        self.backlog.len()
    }

    pub(crate) fn known(&self) -> usize {
        self.known.len()
    }

    fn question(&mut self, event: &Event, process: &Process) -> Option<Lookup> {
        let key = ProgramKey::of(process).filter(|_| self.files)?;
        if self.known.find(&key).is_some_and(|known| known.keep) {
            return None;
        }
        let (pid, start_boot_ns) = (process.pid, process.start_boot_ns);
        let key = key.detached();
        let asked = Asked { event: event.id, process: process.entity_id, pid, start_boot_ns, sent: None };
        self.asked.entry(key.clone()).or_default().push(asked);
        self.pending.insert(event.id, key.clone());
        Some(Lookup::Program {
            key,
            mtime_ns: process.exe.mtime_ns,
            pid,
            start_boot_ns,
            ppid: process.ppid,
            on_host: process.workload.container.is_none(),
        })
    }

    fn question_of_names(&mut self, process: &Process, now_ns: u64) -> Option<Lookup> {
        let container = process.workload.container.as_ref().filter(|_| self.names)?;
        let id = Text::copy(container.id.as_bytes());
        if self.named.find(&id).is_none() {
            drop(self.named.insert(id.clone(), Named::default()));
        }
        let named = self.named.find_mut(&id)?;
        let rest = now_ns < named.asked_ns.saturating_add(NAMES_AGE_NS);
        if named.pending || (rest && (named.names.is_some() || named.tries >= MAX_TRIES)) {
            return None;
        }
        named.pending = true;
        named.asked_ns = now_ns;
        Some(Lookup::Names { container: id, pid: process.pid, start_boot_ns: process.start_boot_ns })
    }

    /// Puts into an event what is known by now.
    fn dress(&mut self, event: &mut Event) {
        let Some(process) = &event.process else { return };
        if self.files && event.program.is_none() {
            let answer = self.answered.get(&event.id).cloned();
            // An exec is told what holds for itself; what its process does later runs the same file.
            let is_exec = matches!(event.body, Body::Exec { .. });
            let known = || {
                let known = self.known.find(ProgramKey::of(process)?)?;
                (known.keep || !is_exec).then(|| known.facts.clone())
            };
            event.program = answer.or_else(known).filter(|facts| !facts.is_empty());
        }
        if self.names
            && let Some(container) = &process.workload.container
            && let Some(named) = self.named.find(&container.id)
        {
            event.inside.clone_from(&named.names);
        }
    }

    /// The container whose names this event has to wait for.
    fn nameless(&self, event: &Event) -> Option<Text> {
        let container =
            event.process.as_ref()?.workload.container.as_ref().filter(|_| event.inside.is_none())?;
        self.named.find(&container.id)?.pending.then(|| container.id.clone())
    }

    fn must_wait(&self, event: &Event) -> bool {
        let is_exec = matches!(event.body, Body::Exec { .. });
        is_exec && self.waits && (self.pending.contains_key(&event.id) || self.nameless(event).is_some())
    }

    /// It goes out: nothing is waited for any longer. An answer that still comes is told by an `update`.
    fn give_up(&mut self, event: &Event) {
        if !matches!(event.body, Body::Exec { .. }) {
            return;
        }
        self.answered.remove(&event.id);
        if let Some(key) = self.pending.remove(&event.id) {
            self.late += 1;
            let may_follow = self.outstanding < self.max_outstanding;
            let asked = self.asked.get_mut(&key);
            if may_follow
                && let Some(asked) = asked.into_iter().flatten().find(|asked| asked.event == event.id)
            {
                asked.sent.clone_from(&event.process);
                self.outstanding += 1;
            } else {
                self.forget(&key, event.id);
            }
        }
        if let Some(id) = self.nameless(event) {
            if let Some(named) = self.named.find_mut(&id) {
                // It was never read, or somebody hangs who reads it: the next exec asks again.
                (named.pending, named.tries) = (false, named.tries.saturating_add(1));
            }
            self.nameless.remove(&id);
        }
    }

    fn forget(&mut self, key: &ProgramKey, event: EventId) {
        if let Some(list) = self.asked.get_mut(key) {
            list.retain(|asked| asked.event != event);
            if list.is_empty() {
                self.asked.remove(key);
            }
        }
    }

    /// The host's names are known always.
    fn awaited(&self, event: &Event) -> Awaited {
        let inside = event.process.as_ref().is_some_and(|process| process.workload.container.is_some());
        let names = inside && self.names && event.inside.is_none();
        Awaited { runtime: false, names, program: self.files && event.program.is_none() }
    }
}

impl Enricher {
    /// Asks for what an exec lacks. Before anything waits: the process may end any moment.
    pub(crate) fn ask_for_program(&mut self, event: &Event, out: &mut Vec<Output>) {
        let Some(process) = event.process.as_deref().filter(|_| matches!(event.body, Body::Exec { .. }))
        else {
            return;
        };
        let now_ns = self.now_ns();
        let lookups =
            [self.programs.question(event, process), self.programs.question_of_names(process, now_ns)];
        for lookup in lookups.into_iter().flatten() {
            self.ask(lookup, out);
        }
    }

    /// Sends an event on, or lets it wait for what is read of its program.
    pub(crate) fn pass(&mut self, mut event: Event, out: &mut Vec<Output>) {
        let programs = &mut self.programs;
        let Some(process) = event.process.as_ref().map(|process| process.entity_id) else {
            return out.push(Output::Event(Arc::new(event)));
        };
        programs.dress(&mut event);
        let behind = programs.backlog.holds(process);
        if !behind && !programs.must_wait(&event) {
            programs.give_up(&event);
            return out.push(Output::Event(Arc::new(event)));
        }
        if let Some(id) = programs.nameless(&event) {
            programs.nameless.entry(id).or_default().insert(process);
        }
        let awaited = programs.awaited(&event);
        let event = Arc::new(event);
        let full = programs.backlog.push(process, event.clone());
        out.push(Output::Early(event, awaited));
        if let Some(oldest) = full {
            self.release_program(oldest, true, out);
        }
        // One that waited for its container may have waited long enough.
        self.release_due_programs(out);
    }

    /// Sends out what waits of a process, up to the next event that has to wait. `forced`: all of it.
    fn release_program(&mut self, process: EntityId, forced: bool, out: &mut Vec<Output>) {
        while let Some(front) = self.programs.backlog.front(process) {
            let mut event = Event::clone(front);
            self.programs.dress(&mut event);
            let is_due = self.programs.backlog.is_due(process, self.now_ns());
            if self.programs.must_wait(&event) && !forced && !is_due {
                return;
            }
            self.programs.give_up(&event);
            self.programs.backlog.pop(process);
            out.push(Output::Event(Arc::new(event)));
        }
    }

    pub(crate) fn release_due_programs(&mut self, out: &mut Vec<Output>) {
        while let Some(process) = self.programs.backlog.due(self.now_ns()) {
            self.release_program(process, false, out);
        }
    }

    /// Sends out all that waits.
    pub(crate) fn finish_programs(&mut self, out: &mut Vec<Output>) {
        while let Some(process) = self.programs.backlog.due(u64::MAX) {
            self.release_program(process, true, out);
        }
    }

    pub(crate) fn learn_programs(&mut self, files: bool, names: bool) {
        (self.programs.files, self.programs.names) = (files, names);
    }

    /// The answer to a question for a file.
    pub(crate) fn learn_program(
        &mut self,
        key: &ProgramKey,
        (pid, start_boot_ns): (u32, u64),
        facts: &Arc<ProgramFacts>,
        keep: bool,
        out: &mut Vec<Output>,
    ) {
        let programs = &mut self.programs;
        if keep || !facts.is_empty() {
            drop(programs.known.insert(key.clone(), Known { facts: facts.clone(), keep }));
        }
        let asked = programs.asked.remove(key).unwrap_or_default();
        let (answered, rest): (Vec<Asked>, Vec<Asked>) = asked
            .into_iter()
            .partition(|asked| keep || (asked.pid, asked.start_boot_ns) == (pid, start_boot_ns));
        if !rest.is_empty() {
            programs.asked.insert(key.clone(), rest);
        }
        let (late, answered): (Vec<Asked>, Vec<Asked>) =
            answered.into_iter().partition(|asked| asked.sent.is_some());
        programs.outstanding -= late.len();
        for asked in &answered {
            programs.pending.remove(&asked.event);
            programs.answered.insert(asked.event, facts.clone());
        }
        for asked in late.into_iter().filter(|_| !facts.is_empty()) {
            self.update_program(asked, facts.clone(), out);
        }
        for asked in answered {
            self.release_program(asked.process, false, out);
        }
    }

    /// Tells what was read of a program after its exec had gone out.
    fn update_program(&mut self, asked: Asked, facts: Arc<ProgramFacts>, out: &mut Vec<Output>) {
        let message =
            Text::from_static("the executable's hash and package are known now; its exec was sent without");
        let now_ns = self.now_ns();
        let notice = Notice { action: Text::from_static("update"), message, success: true, boot_ns: now_ns };
        let id = self.table.mint.derived(asked.event, b"update");
        let mut event = self.made(id, now_ns, Body::Agent(notice), asked.sent);
        event.program = Some(facts);
        out.push(Output::Event(Arc::new(event)));
    }

    /// The answer to a question for the names in a container.
    pub(crate) fn learn_names(
        &mut self,
        container: &Text,
        names: Option<&Arc<UserTable>>,
        out: &mut Vec<Output>,
    ) {
        if let Some(named) = self.programs.named.find_mut(container) {
            named.pending = false;
            match names {
                Some(names) => (named.names, named.tries) = (Some(names.clone()), 0),
                None => named.tries = named.tries.saturating_add(1),
            }
        }
        let waiting = self.programs.nameless.remove(container).unwrap_or_default();
        let mut waiting: Vec<EntityId> = waiting.into_iter().collect();
        waiting.sort_unstable();
        for process in waiting {
            self.release_program(process, false, out);
        }
    }
}
