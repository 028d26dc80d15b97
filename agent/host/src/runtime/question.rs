//! Questions about containers, and how a source answers them.

use super::oci::LastResort;
use hostward_event::Text;
use hostward_event::fact::Fact;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a container that is not there yet is asked for: a runtime names it in a cgroup a moment before
/// it is in its list.
const PATIENCE: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];
/// Questions that one source asks its runtime at the same time.
const AT_ONCE: usize = 16;

/// Asks one runtime for one thing and tells it.
pub(super) trait Teller: Clone + Send + 'static {
    /// True when this runtime knows all there is to know of a pod's containers: while it answers, files know less.
    const TELLS_PODS: bool;

    /// True when it was found and told. An error is one that the source's own task meets as well, and reports.
    fn find(&self, id: &str) -> impl Future<Output = Result<bool, ()>> + Send;
}

/// Answers questions, one beside the other, until nobody asks any more.
pub(super) async fn answer_all<T: Teller>(teller: &T, questions: &mut mpsc::Receiver<Question>) {
    let mut under_way = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            question = questions.recv(), if under_way.len() < AT_ONCE => {
                let Some(question) = question else { return };
                under_way.spawn(answer(teller.clone(), question));
            }
            Some(_) = under_way.join_next() => {}
        }
    }
}

async fn answer<T: Teller>(teller: T, question: Question) {
    let Ok(id) = str::from_utf8(question.id.as_bytes()) else { return };
    let mut waits = PATIENCE.iter();
    while !question.is_answered() {
        match (teller.find(id).await, waits.next()) {
            (Ok(true), _) => return question.answered(),
            (Ok(false), Some(wait)) => tokio::time::sleep(*wait).await,
            (Ok(false), None) if T::TELLS_PODS => return question.denied(),
            (Ok(false), None) | (Err(()), _) => return,
        }
    }
}

/// Lets a source rest. Nobody answers meanwhile: whoever asks is told so at once. False when nobody asks any more.
pub(super) async fn rest(wait: Duration, questions: &mut mpsc::Receiver<Question>) -> bool {
    let wait = tokio::time::sleep(wait);
    tokio::pin!(wait);
    loop {
        tokio::select! {
            () = &mut wait => return true,
            question = questions.recv() => if question.is_none() { return false },
        }
    }
}

/// A container that was met. When the last copy is dropped and nobody told of it, files on disk are the last resort.
#[derive(Clone, Debug)]
pub(super) struct Question {
    id: Text,
    answer: Arc<Answer>,
}

#[derive(Debug)]
struct Answer {
    told: AtomicBool,
    denied: AtomicBool,
    last: Option<LastResort>,
    disk: Option<mpsc::Sender<LastResort>>,
    facts: mpsc::Sender<Fact>,
}

impl Question {
    pub(super) fn new(
        last: LastResort,
        disk: Option<mpsc::Sender<LastResort>>,
        facts: mpsc::Sender<Fact>,
    ) -> Self {
        let id = last.id.clone();
        let answer = Answer {
            told: AtomicBool::new(false),
            denied: AtomicBool::new(false),
            last: Some(last),
            disk,
            facts,
        };
        Self { id, answer: Arc::new(answer) }
    }

    /// It was told.
    fn answered(&self) {
        self.answer.told.store(true, Ordering::Relaxed);
    }

    /// A runtime of pods is there and does not know it yet: it will tell it whole.
    fn denied(&self) {
        self.answer.denied.store(true, Ordering::Relaxed);
    }

    /// Another source told it.
    fn is_answered(&self) -> bool {
        self.answer.told.load(Ordering::Relaxed)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let Some(last) = self.last.take().filter(|_| !self.told.load(Ordering::Relaxed)) else { return };
        let id = last.id.clone();
        let last = LastResort { denied: self.denied.load(Ordering::Relaxed), ..last };
        if self.disk.as_ref().is_none_or(|disk| disk.try_send(last).is_err()) {
            // When there is no room the wait for it ends by itself.
            let _ = self.facts.try_send(Fact::ContainerUnknown { id });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A runtime that does not know, or that is away.
    #[derive(Clone)]
    struct Runtime<const PODS: bool>(Result<bool, ()>);

    impl<const PODS: bool> Teller for Runtime<PODS> {
        const TELLS_PODS: bool = PODS;

        async fn find(&self, _: &str) -> Result<bool, ()> {
            self.0
        }
    }

    /// What files are asked after this runtime, and whether it is there and knows nothing.
    fn last_resort<T: Teller>(runtime: &T) -> LastResort {
        let (disk, mut asked) = mpsc::channel(1);
        let (facts, _told) = mpsc::channel(1);
        let last = LastResort::of_container(&Text::from_static("web"), &Text::EMPTY);
        let runner = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runner.block_on(answer(runtime.clone(), Question::new(last, Some(disk), facts)));
        asked.try_recv().unwrap()
    }

    #[test]
    fn files_do_not_tell_a_pod_while_its_runtime_is_there() {
        assert!(last_resort(&Runtime::<true>(Ok(false))).denied);
        assert!(!last_resort(&Runtime::<true>(Err(()))).denied, "it is away");
        assert!(!last_resort(&Runtime::<false>(Ok(false))).denied, "Docker knows nothing of pods");
    }
}
