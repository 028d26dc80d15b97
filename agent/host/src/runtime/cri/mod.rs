//! CRI v1, which containerd and cri-o speak on Kubernetes nodes.
//!
//! Where the runtime has a stream of container [`events`], a container is told when it was created, before its first
//! program runs, and lists are there for what a stream may miss. Elsewhere, as with containerd 1.6, sandboxes and
//! containers are listed again and again. Whoever is met before that is asked for at once.
//! The messages are written by hand, with the fields that are used: a build needs no protocol compiler.

mod client;
mod events;
mod facts;
mod known;
mod messages;
mod teller;

use super::{LONGEST_WAIT, Place, Question, answer_all, rest};
use crate::body::shown;
use crate::pace::Pace;
use crate::sources::SourceState;
use client::{Client, Fault};
use events::Events;
use hostward_event::workload::Source;
use known::Known;
use std::time::Duration;
use teller::Teller;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Beside a stream that tells, lists come so many times more seldom.
const SELDOM: u32 = 10;

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
        let (containers, pods) = (known.containers(), known.pods());
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
    let version = shown(&version.runtime_version);
    let mut events = Events::open(&client, place.config.cri_events, &runtime, &version);
    let teller = Teller::new(client, runtime.clone(), place.facts.clone());
    let poll = Duration::from_millis(place.config.poll_ms);
    let most = place.config.max_containers;
    known.renew();
    let following = async {
        let mut next = Instant::now();
        loop {
            let taken = tokio::select! {
                event = events.next() => known.event(&teller, event?, most).await?,
                () = tokio::time::sleep_until(next) => {
                    let taken = known.update(&teller, most).await?;
                    pace.reset();
                    next = Instant::now() + if events.are_heard() { poll * SELDOM } else { poll };
                    taken
                }
            };
            if !taken {
                return Ok(());
            }
            let how = if events.are_heard() { "; it announces containers" } else { "" };
            let about = format!("{runtime} {version}{how}");
            place.report(Source::Cri, SourceState::Ok, about, known.containers(), known.pods());
        }
    };
    // Beside what is followed, which may take long: an event waits for each answer.
    tokio::select! {
        ended = following => ended,
        () = answer_all(&teller, questions) => Ok(()),
    }
}
