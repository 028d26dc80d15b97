//! Whose process it is: events get the facts of their container, wait for them, or say that they lack them.

use crate::bounded::Bounded;
use crate::claims::{claim, is_claim};
use crate::hold::Hold;
use crate::workload::is_complete;
use crate::{Config, Enricher, Output};
use hostward_event::event::{Body, Event};
use hostward_event::fact::{Fact, Lookup, Notice};
use hostward_event::process::Process;
use hostward_event::registry::Awaited;
use hostward_event::workload::Container;
use hostward_event::{EventKind, Text};
use std::sync::Arc;

/// How long nobody is asked again about a container that nobody told of, in event time.
pub(crate) const ASK_AGAIN_NS: u64 = 60_000_000_000;

/// A container whose events go out without its facts.
#[derive(Debug)]
struct Nameless {
    /// Events that went out so.
    events: u64,
    /// The process of the last one.
    last: Option<Arc<Process>>,
    asked_ns: u64,
}

/// What is waited for, and what was not waited for any longer.
#[derive(Debug)]
pub(crate) struct Owners {
    pub(crate) hold: Hold,
    nameless: Bounded<Text, Nameless>,
    /// A source answers, so that waiting has a point.
    pub(crate) askable: bool,
    /// One did, so that it may come back and tell.
    was_askable: bool,
    pub(crate) waits: bool,
    /// cgroups that are no container's though other pid namespaces are in them, and when and how often that was asked.
    pub(crate) unclaimed: Bounded<u64, (u64, u8)>,
    pub(crate) complete: u64,
    pub(crate) partial: u64,
}

impl Owners {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            hold: Hold::new(config.max_held_events.get(), config.context_wait_ms),
            nameless: Bounded::new(config.max_containers),
            askable: false,
            was_askable: false,
            waits: config.context_wait_ms > 0,
            unclaimed: Bounded::new(config.max_cgroups),
            complete: 0,
            partial: 0,
        }
    }

    pub(crate) const fn held(&self) -> usize {
        self.hold.len()
    }
}

impl Enricher {
    /// Sends an event on, or lets it wait for its container.
    pub(crate) fn deliver(&mut self, mut event: Event, at_ns: u64, out: &mut Vec<Output>) {
        let Some(process) = &event.process else { return out.push(Output::Event(Arc::new(event))) };
        let Some(container) = &process.workload.container else {
            let behind = self.owners.hold.queue_of(process.entity_id).cloned();
            let starts = matches!(event.body, Body::Exec { .. });
            return match behind.or_else(|| self.claim_to_wait_for(process, starts, at_ns, out)) {
                Some(id) => self.hold(&id, event, out),
                None => self.pass(event, out),
            };
        };
        if is_complete(container) || self.complete(&mut event) {
            self.owners.complete += 1;
            return self.pass(event, out);
        }
        if !self.owners.askable && !self.owners.was_askable {
            // Nobody will ever tell more, so there is nothing that the event lacks.
            return self.pass(event, out);
        }
        let Some(container) = event.process.as_ref().and_then(|process| process.workload.container.as_ref())
        else {
            return;
        };
        let id = container.id.clone();
        if let Some(nameless) = self.owners.nameless.find_mut(id.clone()) {
            let again = at_ns >= nameless.asked_ns.saturating_add(ASK_AGAIN_NS);
            if again {
                nameless.asked_ns = at_ns;
            }
            let lookup = again.then(|| question(container, &event));
            self.send_partial(&id, event, out);
            if let Some(lookup) = lookup {
                self.ask(lookup, out);
            }
            return;
        }
        if !self.owners.waits || !self.owners.askable {
            let lookup = question(container, &event);
            self.give_up(&id, out);
            self.send_partial(&id, event, out);
            return self.ask(lookup, out);
        }
        if !self.owners.hold.waits_for(&id) {
            let lookup = question(container, &event);
            self.ask(lookup, out);
        }
        self.hold(&id, event, out);
    }

    fn hold(&mut self, id: &Text, event: Event, out: &mut Vec<Output>) {
        let event = Arc::new(event);
        // Its program is known to whoever read it before; what is read of it now comes with the event.
        out.push(Output::Early(event.clone(), Awaited { runtime: true, names: true, program: true }));
        if let Some(oldest) = self.owners.hold.push(id, event, self.now_ns()) {
            self.give_up(&oldest, out);
        }
    }

    /// Puts into an event what is known by now; true when that is all.
    fn complete(&self, event: &mut Event) -> bool {
        let Some(process) = &mut event.process else { return true };
        let Some(container) = &process.workload.container else { return true };
        let mut dressed = container.clone();
        if self.workloads.directory.dress(&mut dressed) {
            let whole = is_complete(&dressed);
            let workload = &mut Arc::make_mut(process).workload;
            Arc::make_mut(workload).container = Some(dressed);
            return whole;
        }
        is_complete(container)
    }

    fn send_partial(&mut self, id: &Text, mut event: Event, out: &mut Vec<Output>) {
        self.owners.partial += 1;
        if let Some(nameless) = self.owners.nameless.find_mut(id.clone()) {
            nameless.events += 1;
            nameless.last.clone_from(&event.process);
        }
        event.partial = true;
        self.pass(event, out);
    }

    /// Sends out what waits for a container, with or without its facts.
    fn release(&mut self, id: &Text, out: &mut Vec<Output>) {
        for event in self.owners.hold.take(id) {
            let mut event = Arc::unwrap_or_clone(event);
            let inside = event.process.as_ref().is_some_and(|process| process.workload.container.is_some());
            if self.complete(&mut event) {
                self.owners.complete += u64::from(inside);
                self.pass(event, out);
            } else {
                self.send_partial(id, event, out);
            }
        }
    }

    /// Waits no longer for this container.
    fn give_up(&mut self, id: &Text, out: &mut Vec<Output>) {
        if is_claim(id) {
            return self.release_claim(id, out);
        }
        let nameless = Nameless { events: 0, last: None, asked_ns: self.now_ns() };
        if self.owners.nameless.find(id.clone()).is_none() {
            drop(self.owners.nameless.insert(id.clone(), nameless));
        }
        self.release(id, out);
    }

    pub(crate) fn release_due(&mut self, out: &mut Vec<Output>) {
        while let Some(id) = self.owners.hold.due(self.now_ns()) {
            self.give_up(&id, out);
        }
    }

    /// Sends out all that waits: nothing more will be told.
    pub fn finish(&mut self, out: &mut Vec<Output>) {
        self.finish_owners(out);
        self.finish_programs(out);
    }

    fn finish_owners(&mut self, out: &mut Vec<Output>) {
        while let Some(id) = self.owners.hold.due(u64::MAX) {
            self.give_up(&id, out);
        }
    }

    pub(crate) fn learn_owner(&mut self, fact: &Fact, out: &mut Vec<Output>) {
        match fact {
            Fact::Container(facts) => {
                let is_news = self.workloads.directory.learn_container(facts);
                self.known_now(is_news, |container| container.id == facts.id, out);
            }
            Fact::Pod(facts) => {
                let is_news = self.workloads.directory.learn_pod(facts);
                self.known_now(is_news, |container| container.pod_uid == facts.uid, out);
            }
            Fact::ContainerGone { id, source } => {
                self.workloads.directory.container_gone(id, *source, self.now_ns());
            }
            Fact::PodGone { uid, source } => self.workloads.directory.pod_gone(uid, *source, self.now_ns()),
            Fact::ContainerUnknown { id } => {
                for id in [id.clone(), claim(id)] {
                    if self.owners.hold.waits_for(&id) {
                        self.give_up(&id, out);
                    }
                }
            }
            Fact::Sources { answer } => {
                self.owners.askable = *answer;
                self.owners.was_askable |= self.owners.askable;
                if !self.owners.askable {
                    self.finish_owners(out);
                }
            }
            _ => {}
        }
    }

    /// Puts new facts in place, sends out what no longer has to wait, and tells of what went out without.
    fn known_now(&mut self, is_news: bool, fits: impl Fn(&Container) -> bool, out: &mut Vec<Output>) {
        if !is_news {
            return;
        }
        let mut redress = self.workloads.redress(&fits);
        // What runs in the root of a v1 host has a workload of its own, which no cgroup's is.
        if self.root_lookups || !redress.is_idle() {
            self.table.redress(|old| redress.of(old));
        }
        let directory = &self.workloads.directory;
        let whole = |process: &Arc<Process>| {
            let container = process.workload.container.as_ref();
            let Some(mut container) = container.cloned() else { return false };
            directory.dress(&mut container);
            fits(&container) && is_complete(&container)
        };
        let ready: Vec<Text> = (self.owners.hold.waiting())
            .filter(|(_, event)| event.process.as_ref().is_some_and(whole))
            .map(|(id, _)| id.clone())
            .collect();
        let mut named: Vec<Text> = (self.owners.nameless.iter())
            .filter(|(_, nameless)| nameless.last.as_ref().is_some_and(whole))
            .map(|(id, _)| id)
            .collect();
        named.sort();
        for id in ready {
            self.release(&id, out);
        }
        for id in named {
            if let Some(Nameless { events, last: Some(process), .. }) = self.owners.nameless.remove(id) {
                self.update(events, process, out);
            }
        }
    }

    /// One event that tells the container of those that went out without it.
    fn update(&mut self, events: u64, process: Arc<Process>, out: &mut Vec<Output>) {
        let Some(container) = &process.workload.container else { return };
        let message = format!(
            "container {} is known now; {events} of its events were sent without its name and image",
            String::from_utf8_lossy(container.short_id()).escape_debug()
        );
        let notice = Notice {
            action: Text::from_static("update"),
            message: Text::from(message),
            success: true,
            boot_ns: self.now_ns(),
        };
        let id = self.table.mint.event(EventKind::Agent, 0, events, self.now_ns());
        let id = self.table.mint.derived(id, container.id.as_bytes());
        let mut event = self.made(id, self.now_ns(), Body::Agent(notice), Some(process));
        self.complete(&mut event);
        out.push(Output::Event(Arc::new(event)));
    }
}

fn question(container: &Container, event: &Event) -> Lookup {
    Lookup::Container {
        id: container.id.clone(),
        runtime: container.runtime.clone(),
        pod_uid: container.pod_uid.clone(),
        pid: event.process.as_ref().map_or(0, |process| process.pid),
    }
}
