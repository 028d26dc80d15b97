//! The HTTP API of Docker, which Podman speaks as well.
//!
//! After a connect all containers are listed and told, then events are followed: a container is told when it is
//! created, which is before its first program runs. Between the list and the events nothing is lost, as the
//! events are asked for first.

mod api;
mod facts;

use super::find::Kind;
use super::{AT_ONCE, LONGEST_WAIT, PATIENCE, Place, Question, rest};
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

/// Follows one socket until nobody takes facts any more.
pub(super) async fn run(place: Place, kind: Kind, mut questions: mpsc::Receiver<Question>) {
    let source = if kind == Kind::Podman { Source::Podman } else { Source::Docker };
    let mut pace = Pace::new(LONGEST_WAIT);
    place.report(source, SourceState::Connecting, "not asked yet".to_owned(), 0, 0);
    loop {
        let mut follower = Follower { place: &place, source, known: BTreeSet::new(), version: String::new() };
        let fault = match follower.follow(&mut questions, &mut pace).await {
            Ok(()) => return,
            Err(fault) => fault,
        };
        place.report(source, SourceState::Degraded, fault.to_string(), 0, 0);
        if !rest(pace.wait(None), &mut questions).await {
            return;
        }
    }
}

struct Follower<'a> {
    place: &'a Place,
    source: Source,
    known: BTreeSet<Text>,
    version: String,
}

impl Follower<'_> {
    /// Ends well when nobody takes facts any more.
    async fn follow(
        &mut self,
        questions: &mut mpsc::Receiver<Question>,
        pace: &mut Pace,
    ) -> Result<(), ApiFault> {
        let limit = Duration::from_millis(self.place.config.timeout_ms);
        let api = Arc::new(Api::new(&self.place.socket, limit)?);
        self.version = api.version().await?;
        let mut events = api.events().await?;
        for id in api.list(self.place.config.max_containers).await? {
            if !self.tell(&api, &id).await? {
                return Ok(());
            }
        }
        pace.reset();
        self.report();
        let mut under_way = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                line = events.next() => {
                    let Some(line) = line.map_err(ApiFault::from)? else {
                        return Err(ApiFault::Network("the events ended".to_owned()));
                    };
                    if !self.event(&api, &line).await? {
                        return Ok(());
                    }
                }
                question = questions.recv(), if under_way.len() < AT_ONCE => {
                    let Some(question) = question else { return Ok(()) };
                    let (api, facts, source) = (Arc::clone(&api), self.place.facts.clone(), self.source);
                    under_way.spawn(async move { answer(&api, source, question, &facts).await });
                }
                Some(_) = under_way.join_next() => {}
            }
        }
    }

    fn report(&self) {
        self.place.report(self.source, SourceState::Ok, self.version.clone(), self.known.len(), 0);
    }

    /// Tells a container if it is still there. False when nobody takes facts any more.
    async fn tell(&mut self, api: &Api, id: &str) -> Result<bool, ApiFault> {
        let facts = match api.inspect(id, self.source).await {
            Ok(facts) => facts,
            // It went while it was asked for; Podman says 500 about one that is being removed.
            Err(ApiFault::Missing | ApiFault::Status(..)) => return Ok(true),
            Err(fault) => return Err(fault),
        };
        self.known.insert(facts.id.clone());
        Ok(self.place.tell(Fact::Container(Arc::new(facts))).await)
    }

    async fn event(&mut self, api: &Api, line: &[u8]) -> Result<bool, ApiFault> {
        let Some(event) = facts::event(line) else { return Ok(true) };
        let taken = match event.action.as_str() {
            "create" | "start" | "rename" | "update" | "init" => self.tell(api, &event.id).await?,
            "destroy" | "remove" => {
                let id = Text::from(event.id);
                self.known.remove(&id);
                self.place.tell(Fact::ContainerGone { id }).await
            }
            _ => return Ok(true),
        };
        self.report();
        Ok(taken)
    }
}

async fn answer(api: &Api, source: Source, question: Question, facts: &mpsc::Sender<Fact>) {
    // An id comes from a cgroup's name, which a container may have chosen.
    let Some(id) = str::from_utf8(question.id.as_bytes()).ok().filter(|id| facts::is_id(id)) else { return };
    for wait in PATIENCE {
        if question.is_answered() {
            return;
        }
        match api.inspect(id, source).await {
            Ok(told) => {
                question.answered();
                // Nobody takes facts any more: then nobody asks.
                let _ = facts.send(Fact::Container(Arc::new(told))).await;
                return;
            }
            Err(ApiFault::Missing | ApiFault::Status(..)) => tokio::time::sleep(wait).await,
            // The source's own task meets the same fault and tells it.
            Err(_) => return,
        }
    }
}
