//! The HTTP API of Docker, which Podman speaks as well.
//!
//! After a connect all containers are listed and told, then events are followed: a container is told when it is
//! created, which is before its first program runs. Between the list and the events nothing is lost, as the
//! events are asked for first.

mod api;
mod facts;

use super::find::Kind;
use super::{LONGEST_WAIT, Place, Question, Teller, answer_all, rest};
use crate::pace::Pace;
use crate::sources::SourceState;
use api::{Api, ApiFault};
use hostward_event::Text;
use hostward_event::fact::Fact;
use hostward_event::workload::Source;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A daemon of which nothing is heard is asked whether it still answers.
const PULSE: Duration = Duration::from_secs(10);

/// Follows one socket until nobody takes facts any more.
pub(super) async fn run(place: Place, kind: Kind, mut questions: mpsc::Receiver<Question>) {
    let source = if kind == Kind::Podman { Source::Podman } else { Source::Docker };
    let mut pace = Pace::new(LONGEST_WAIT);
    let mut follower = Follower { place, source, known: BTreeSet::new(), version: String::new() };
    follower.report(SourceState::Connecting, "not asked yet".to_owned());
    loop {
        let fault = match follower.connect(&mut questions, &mut pace).await {
            Ok(()) => return,
            Err(fault) => fault,
        };
        follower.report(SourceState::Degraded, fault.to_string());
        if !rest(pace.wait(None), &mut questions).await {
            return;
        }
    }
}

struct Follower {
    place: Place,
    source: Source,
    /// What was told and is not gone. It outlives a connection, so that what went meanwhile is told.
    known: BTreeSet<Text>,
    version: String,
}

impl Follower {
    fn report(&self, state: SourceState, why: String) {
        self.place.report(self.source, state, why, self.known.len(), 0);
    }

    /// Ends well when nobody takes facts or asks any more.
    async fn connect(
        &mut self,
        questions: &mut mpsc::Receiver<Question>,
        pace: &mut Pace,
    ) -> Result<(), ApiFault> {
        let limit = Duration::from_millis(self.place.config.timeout_ms);
        let api = Arc::new(Api::new(&self.place.socket, limit)?);
        self.version = api.version().await?;
        let asker = Asker { api, source: self.source, facts: self.place.facts.clone() };
        // Beside what is followed, which may take long: an event waits for each answer.
        tokio::select! {
            ended = self.follow(&asker, pace) => ended,
            () = answer_all(&asker, questions) => Ok(()),
        }
    }

    async fn follow(&mut self, asker: &Asker, pace: &mut Pace) -> Result<(), ApiFault> {
        let mut events = asker.api.events().await?;
        let listed = asker.api.list().await?;
        let gone: Vec<Text> = self.known.extract_if(.., |id| !listed.contains(id)).collect();
        for id in gone {
            if !self.tell_gone(id).await {
                return Ok(());
            }
        }
        for id in listed.iter().take(self.place.config.max_containers) {
            if !self.tell(asker, &id.to_string()).await? {
                return Ok(());
            }
        }
        pace.reset();
        self.report(SourceState::Ok, self.version.clone());
        loop {
            let Ok(line) = tokio::time::timeout(PULSE, events.next()).await else {
                asker.api.version().await?;
                continue;
            };
            let Some(line) = line.map_err(ApiFault::from)? else {
                return Err(ApiFault::Network("the events ended".to_owned()));
            };
            if !self.event(asker, &line).await? {
                return Ok(());
            }
        }
    }

    /// Tells a container if it is still there. False when nobody takes facts any more.
    async fn tell(&mut self, asker: &Asker, id: &str) -> Result<bool, ApiFault> {
        let Some(told) = asker.ask(id).await? else { return Ok(true) };
        if self.known.len() < self.place.config.max_containers {
            self.known.insert(Text::from(id));
        }
        Ok(told)
    }

    async fn tell_gone(&self, id: Text) -> bool {
        self.place.tell(Fact::ContainerGone { id, source: self.source }).await
    }

    async fn event(&mut self, asker: &Asker, line: &[u8]) -> Result<bool, ApiFault> {
        let Some(event) = facts::event(line) else { return Ok(true) };
        let taken = match event.action.as_str() {
            "create" | "start" | "rename" | "update" | "init" => self.tell(asker, &event.id).await?,
            "destroy" | "remove" => {
                let id = Text::from(event.id);
                self.known.remove(&id);
                self.tell_gone(id).await
            }
            _ => return Ok(true),
        };
        self.report(SourceState::Ok, self.version.clone());
        Ok(taken)
    }
}

#[derive(Clone)]
struct Asker {
    api: Arc<Api>,
    source: Source,
    facts: mpsc::Sender<Fact>,
}

impl Asker {
    /// None when there is no such container; false when nobody takes facts any more.
    async fn ask(&self, id: &str) -> Result<Option<bool>, ApiFault> {
        match self.api.inspect(id, self.source).await {
            Ok(facts) => Ok(Some(self.facts.send(Fact::Container(Arc::new(facts))).await.is_ok())),
            // It went while it was asked for; Podman says 500 about one that is being removed.
            Err(ApiFault::Missing | ApiFault::Status(..)) => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

impl Teller for Asker {
    const TELLS_PODS: bool = false;

    async fn find(&self, id: &str) -> Result<bool, ()> {
        // An id comes from a cgroup's name, which a container may have chosen.
        if !facts::is_id(id) {
            return Err(());
        }
        self.ask(id).await.map(|told| told.is_some()).map_err(drop)
    }
}
