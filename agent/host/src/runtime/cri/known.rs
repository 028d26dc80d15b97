//! What of a runtime was told.

use super::client::Fault;
use super::facts;
use super::messages::{Container, ContainerEvent, PodSandbox};
use super::teller::Teller;
use hostward_event::Text;
use hostward_event::fact::Fact;
use hostward_event::workload::Source;
use std::collections::{BTreeMap, HashSet};

/// Kinds of container events, as the CRI API numbers them; the first two are states of a container, too.
const CREATED: i32 = 0;
const STARTED: i32 = 1;
const DELETED: i32 = 3;

/// What was told.
struct Told {
    /// Uid of a sandbox's pod; of a container nothing.
    uid: Text,
    /// How far a container was; of a sandbox 0.
    state: i32,
    /// Since the last connect.
    fresh: bool,
}

/// What was told of what the last list had, by id. It outlives a connection, so that what went meanwhile is told.
#[derive(Default)]
pub(super) struct Known {
    sandboxes: BTreeMap<String, Told>,
    containers: BTreeMap<String, Told>,
}

impl Known {
    pub(super) fn containers(&self) -> usize {
        self.containers.len()
    }

    pub(super) fn pods(&self) -> usize {
        self.sandboxes.len()
    }

    /// All is told again: things may have changed unseen.
    pub(super) fn renew(&mut self) {
        for told in self.sandboxes.values_mut().chain(self.containers.values_mut()) {
            told.fresh = false;
        }
    }

    /// Lists, and tells what is new and what is gone. False when nobody takes facts any more.
    pub(super) async fn update(&mut self, teller: &Teller, most: usize) -> Result<bool, Fault> {
        let sandboxes = teller.client().sandboxes(None).await?;
        let containers = teller.client().containers(None).await?;
        let mut taken = self.forget(teller, &sandboxes, &containers).await;
        for sandbox in sandboxes {
            if wants(&self.sandboxes, &sandbox.id, 0, most)
                && let Some(status) = teller.sandbox(&sandbox.id).await?
            {
                taken &= teller.tell_sandbox(&status).await;
                let uid = facts::uid(&status);
                self.sandboxes.insert(sandbox.id, Told { uid, state: 0, fresh: true });
            }
        }
        for container in containers {
            if wants(&self.containers, &container.id, container.state, most)
                && let Some(told) = teller.tell_listed(&container.id, &container.sandbox_id).await?
            {
                taken &= told;
                self.containers
                    .insert(container.id, Told { uid: Text::EMPTY, state: container.state, fresh: true });
            }
        }
        Ok(taken)
    }

    /// Tells what an event announces. False when nobody takes facts any more.
    pub(super) async fn event(
        &mut self,
        teller: &Teller,
        event: ContainerEvent,
        most: usize,
    ) -> Result<bool, Fault> {
        let ContainerEvent { id, kind, sandbox, containers } = event;
        let is_sandbox =
            self.sandboxes.contains_key(&id) || sandbox.as_ref().is_some_and(|sandbox| sandbox.id == id);
        match kind {
            CREATED | STARTED if is_sandbox => {
                // Both come after its first program ran; the second is no news.
                let Some(status) = sandbox.filter(|_| wants(&self.sandboxes, &id, 0, most)) else {
                    return Ok(true);
                };
                let uid = facts::uid(&status);
                self.sandboxes.insert(id, Told { uid, state: 0, fresh: true });
                Ok(teller.tell_sandbox(&status).await)
            }
            CREATED | STARTED if wants(&self.containers, &id, kind, most) => {
                let status = containers.into_iter().find(|status| status.id == id);
                let Some(told) = teller.tell_container(&id, sandbox, status).await? else { return Ok(true) };
                self.containers.insert(id, Told { uid: Text::EMPTY, state: kind, fresh: true });
                Ok(told)
            }
            DELETED if is_sandbox => Ok(self.forget_sandbox(teller, id).await),
            DELETED => {
                self.containers.remove(&id);
                Ok(teller.tell(Fact::ContainerGone { id: Text::from(id), source: Source::Cri }).await)
            }
            _ => Ok(true),
        }
    }

    async fn forget_sandbox(&mut self, teller: &Teller, id: String) -> bool {
        let told = self.sandboxes.remove(&id);
        let mut taken = teller.tell(Fact::ContainerGone { id: Text::from(id), source: Source::Cri }).await;
        // A pod that was started anew has another sandbox by now.
        let uid = told.map(|told| told.uid).filter(|uid| !uid.is_empty());
        if let Some(uid) = uid.filter(|uid| !self.sandboxes.values().any(|other| other.uid == *uid)) {
            taken &= teller.tell(Fact::PodGone { uid, source: Source::Cri }).await;
        }
        taken
    }

    /// Tells what is gone. False when nobody takes facts any more.
    async fn forget(&mut self, teller: &Teller, sandboxes: &[PodSandbox], containers: &[Container]) -> bool {
        let mut taken = true;
        let listed: HashSet<&str> = containers.iter().map(|one| one.id.as_str()).collect();
        for (id, _) in self.containers.extract_if(.., |id, _| !listed.contains(id.as_str())) {
            taken &= teller.tell(Fact::ContainerGone { id: Text::from(id), source: Source::Cri }).await;
        }
        let listed: HashSet<&str> = sandboxes.iter().map(|one| one.id.as_str()).collect();
        let gone: Vec<String> =
            self.sandboxes.keys().filter(|id| !listed.contains(id.as_str())).cloned().collect();
        for id in gone {
            taken &= self.forget_sandbox(teller, id).await;
        }
        taken
    }
}

/// Not told since the last connect, or before it started; and there is room for it.
fn wants(known: &BTreeMap<String, Told>, id: &str, state: i32, most: usize) -> bool {
    known.get(id).map_or(known.len() < most, |told| !told.fresh || told.state != state)
}
