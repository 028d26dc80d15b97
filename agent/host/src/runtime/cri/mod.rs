//! CRI v1, which containerd and cri-o speak on Kubernetes nodes.
//!
//! Sandboxes and containers are listed again and again: the stream of container events is missing from
//! containerd 1.6, which many nodes run. Whoever is met before the list shows it is asked for at once.
//! The messages are written by hand, with the fields that are used: a build needs no protocol compiler.

mod client;
mod facts;
mod messages;

use super::{LONGEST_WAIT, Place, Question, answer_all, rest};
use crate::body::shown;
use crate::pace::Pace;
use crate::sources::SourceState;
use client::{Client, Fault};
use hostward_event::Text;
use hostward_event::fact::Fact;
use hostward_event::workload::Source;
use messages::{Container, PodSandbox, PodSandboxStatus};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Follows one socket until nobody takes facts any more.
pub(super) async fn run(place: Place, mut questions: mpsc::Receiver<Question>) {
    let mut pace = Pace::new(LONGEST_WAIT);
    let mut known = Known::default();
    place.report(Source::Cri, SourceState::Connecting, "not asked yet".to_owned(), 0, 0);
    loop {
        let fault = match follow(&place, &mut known, &mut questions, &mut pace).await {
            Ok(()) => return,
            Err(fault) => fault,
        };
        let (containers, pods) = (known.containers.len(), known.sandboxes.len());
        place.report(Source::Cri, SourceState::Degraded, fault.to_string(), containers, pods);
        if !rest(pace.wait(None), &mut questions).await {
            return;
        }
    }
}

/// Ends well when nobody takes facts any more.
async fn follow(
    place: &Place,
    known: &mut Known,
    questions: &mut mpsc::Receiver<Question>,
    pace: &mut Pace,
) -> Result<(), Fault> {
    let client = Client::connect(&place.socket, Duration::from_millis(place.config.timeout_ms)).await?;
    let version = client.version().await?;
    let runtime = shown(&version.runtime_name);
    let about = format!("{runtime} {}", shown(&version.runtime_version));
    let teller = Teller { client, runtime, facts: place.facts.clone() };
    known.renew();
    let listing = async {
        let mut poll = tokio::time::interval(Duration::from_millis(place.config.poll_ms));
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            poll.tick().await;
            if !known.update(&teller, place.config.max_containers).await? {
                return Ok(());
            }
            pace.reset();
            let (containers, pods) = (known.containers.len(), known.sandboxes.len());
            place.report(Source::Cri, SourceState::Ok, about.clone(), containers, pods);
        }
    };
    // Beside the listing, which may take long: an event waits for each answer.
    tokio::select! {
        ended = listing => ended,
        () = answer_all(&teller, questions) => Ok(()),
    }
}

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
struct Known {
    sandboxes: BTreeMap<String, Told>,
    containers: BTreeMap<String, Told>,
}

impl Known {
    /// All is told again: things may have changed unseen.
    fn renew(&mut self) {
        for told in self.sandboxes.values_mut().chain(self.containers.values_mut()) {
            told.fresh = false;
        }
    }

    /// Lists, and tells what is new and what is gone. False when nobody takes facts any more.
    async fn update(&mut self, teller: &Teller, most: usize) -> Result<bool, Fault> {
        let sandboxes = teller.client.sandboxes(None).await?;
        let containers = teller.client.containers(None).await?;
        let mut taken = self.forget(teller, &sandboxes, &containers).await;
        for sandbox in sandboxes {
            if wants(&self.sandboxes, &sandbox.id, 0, most)
                && let Some((told, status)) = teller.tell_sandbox(&sandbox.id).await?
            {
                taken &= told;
                let uid = facts::uid(&status);
                self.sandboxes.insert(sandbox.id, Told { uid, state: 0, fresh: true });
            }
        }
        for container in containers {
            if wants(&self.containers, &container.id, container.state, most)
                && let Some(told) = teller.tell_container(&container.id, &container.sandbox_id).await?
            {
                taken &= told;
                self.containers
                    .insert(container.id, Told { uid: Text::EMPTY, state: container.state, fresh: true });
            }
        }
        Ok(taken)
    }

    /// Tells what is gone. False when nobody takes facts any more.
    async fn forget(&mut self, teller: &Teller, sandboxes: &[PodSandbox], containers: &[Container]) -> bool {
        let mut taken = true;
        let listed: HashSet<&str> = containers.iter().map(|one| one.id.as_str()).collect();
        for (id, _) in self.containers.extract_if(.., |id, _| !listed.contains(id.as_str())) {
            taken &= teller.tell(Fact::ContainerGone { id: Text::from(id), source: Source::Cri }).await;
        }
        let listed: HashSet<&str> = sandboxes.iter().map(|one| one.id.as_str()).collect();
        let gone: Vec<(String, Told)> =
            self.sandboxes.extract_if(.., |id, _| !listed.contains(id.as_str())).collect();
        for (id, Told { uid, .. }) in gone {
            taken &= teller.tell(Fact::ContainerGone { id: Text::from(id), source: Source::Cri }).await;
            // A pod that was started anew has another sandbox by now.
            if !uid.is_empty() && !self.sandboxes.values().any(|other| other.uid == uid) {
                taken &= teller.tell(Fact::PodGone { uid, source: Source::Cri }).await;
            }
        }
        taken
    }
}

/// Not told since the last connect, or before it started; and there is room for it.
fn wants(known: &BTreeMap<String, Told>, id: &str, state: i32, most: usize) -> bool {
    known.get(id).map_or(known.len() < most, |told| !told.fresh || told.state != state)
}

/// Asks for one thing and tells it.
#[derive(Clone)]
struct Teller {
    client: Client,
    runtime: String,
    facts: mpsc::Sender<Fact>,
}

impl Teller {
    async fn tell(&self, fact: Fact) -> bool {
        self.facts.send(fact).await.is_ok()
    }

    /// None when it went meanwhile; false when nobody takes facts any more.
    async fn tell_sandbox(&self, id: &str) -> Result<Option<(bool, PodSandboxStatus)>, Fault> {
        let status = match self.client.sandbox(id).await {
            Ok(status) => status,
            Err(Fault::Missing | Fault::Refused(_)) => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let mut taken = true;
        if let Some(pod) = facts::pod(&status) {
            taken &= self.tell(Fact::Pod(Arc::new(pod))).await;
        }
        taken &= self.tell(Fact::Container(Arc::new(facts::sandbox(&status, &self.runtime)))).await;
        Ok(Some((taken, status)))
    }

    /// The pod goes first: an event waits for both.
    async fn tell_container(&self, id: &str, sandbox_id: &str) -> Result<Option<bool>, Fault> {
        let sandbox = match self.client.sandbox(sandbox_id).await {
            Ok(sandbox) => Some(sandbox),
            Err(Fault::Missing | Fault::Refused(_)) => None,
            Err(fault) => return Err(fault),
        };
        let answer = match self.client.container(id).await {
            Ok(answer) => answer,
            Err(Fault::Missing | Fault::Refused(_)) => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let Some(told) = facts::container(answer, sandbox.as_ref(), &self.runtime) else { return Ok(None) };
        let mut taken = true;
        if let Some(pod) = sandbox.as_ref().and_then(facts::pod) {
            taken &= self.tell(Fact::Pod(Arc::new(pod))).await;
        }
        taken &= self.tell(Fact::Container(Arc::new(told))).await;
        Ok(Some(taken))
    }
}

impl super::Teller for Teller {
    /// A sandbox is in the list when its creation has ended, and its first program has run by then.
    async fn find(&self, id: &str) -> Result<bool, ()> {
        self.look_up(id).await.map_err(drop)
    }
}

impl Teller {
    async fn look_up(&self, id: &str) -> Result<bool, Fault> {
        if let Some(found) = self.client.containers(Some(id)).await?.into_iter().find(|one| one.id == id) {
            return Ok(self.tell_container(id, &found.sandbox_id).await?.is_some());
        }
        if self.client.sandboxes(Some(id)).await?.iter().any(|one| one.id == id) {
            return Ok(self.tell_sandbox(id).await?.is_some());
        }
        Ok(false)
    }
}
