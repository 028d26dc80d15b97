//! Asking a runtime for one thing, and telling it.

use super::client::{Client, Fault};
use super::facts;
use super::messages::{ContainerStatus, ContainerStatusResponse, Image, PodSandboxStatus};
use crate::runtime::question::Teller as Answers;
use hostward_event::fact::Fact;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Images of which id and digests are kept; a node seldom has more.
const MAX_IMAGES: usize = 256;

/// Asks for one thing and tells it.
#[derive(Clone)]
pub(super) struct Teller {
    client: Client,
    runtime: String,
    facts: mpsc::Sender<Fact>,
    /// By what a container's status calls them. An id or a digest does not change what it stands for; names do, so
    /// those are not kept.
    images: Arc<Mutex<BTreeMap<String, Arc<Image>>>>,
}

impl Teller {
    pub(super) fn new(client: Client, runtime: String, facts: mpsc::Sender<Fact>) -> Self {
        Self { client, runtime, facts, images: Arc::default() }
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// False when nobody takes facts any more.
    pub(super) async fn tell(&self, fact: Fact) -> bool {
        self.facts.send(fact).await.is_ok()
    }

    /// None when it went meanwhile.
    pub(super) async fn sandbox(&self, id: &str) -> Result<Option<PodSandboxStatus>, Fault> {
        there(self.client.sandbox(id).await)
    }

    /// Tells a sandbox and its pod. False when nobody takes facts any more.
    pub(super) async fn tell_sandbox(&self, status: &PodSandboxStatus) -> bool {
        let mut taken = true;
        if let Some(pod) = facts::pod(status) {
            taken &= self.tell(Fact::Pod(Arc::new(pod))).await;
        }
        taken & self.tell(Fact::Container(Arc::new(facts::sandbox(status, &self.runtime)))).await
    }

    /// As [`Teller::tell_container`], with the sandbox asked for.
    pub(super) async fn tell_listed(&self, id: &str, sandbox_id: &str) -> Result<Option<bool>, Fault> {
        let sandbox = self.sandbox(sandbox_id).await?;
        self.tell_container(id, sandbox, None).await
    }

    /// Tells a container. `status` is what is known of it already: that much is told when it went meanwhile. None when
    /// nothing is known; false when nobody takes facts any more.
    pub(super) async fn tell_container(
        &self,
        id: &str,
        sandbox: Option<PodSandboxStatus>,
        status: Option<ContainerStatus>,
    ) -> Result<Option<bool>, Fault> {
        let answer = there(self.client.container(id).await)?.filter(|answer| answer.status.is_some());
        let known =
            || status.map(|status| ContainerStatusResponse { status: Some(status), info: HashMap::new() });
        let Some(answer) = answer.or_else(known) else { return Ok(None) };
        let image = match answer.status.as_ref().and_then(facts::image_to_ask) {
            Some(name) => self.image(name).await,
            None => None,
        };
        let told = facts::container(answer, sandbox.as_ref(), image.as_deref(), &self.runtime);
        let Some(told) = told else { return Ok(None) };
        let mut taken = true;
        // The pod goes first: an event waits for both.
        if let Some(pod) = sandbox.as_ref().and_then(facts::pod) {
            taken &= self.tell(Fact::Pod(Arc::new(pod))).await;
        }
        taken &= self.tell(Fact::Container(Arc::new(told))).await;
        Ok(Some(taken))
    }

    /// Id and digests are worth a call, and no failure.
    async fn image(&self, name: &str) -> Option<Arc<Image>> {
        let lock = || self.images.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(image) = lock().get(name) {
            return Some(image.clone());
        }
        let image = Arc::new(self.client.image(name).await.ok()?);
        if name.contains("sha256:") {
            let mut images = lock();
            if images.len() >= MAX_IMAGES {
                images.clear();
            }
            images.insert(name.to_owned(), image.clone());
        }
        Some(image)
    }
}

/// What went while it was asked for is no fault.
fn there<T>(answer: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Fault::Missing | Fault::Refused(_)) => Ok(None),
        Err(fault) => Err(fault),
    }
}

impl Answers for Teller {
    const TELLS_PODS: bool = true;

    /// A sandbox is in the list when its creation has ended, and its first program has run by then.
    async fn find(&self, id: &str) -> Result<bool, ()> {
        self.look_up(id).await.map_err(drop)
    }
}

impl Teller {
    async fn look_up(&self, id: &str) -> Result<bool, Fault> {
        if let Some(found) = self.client.containers(Some(id)).await?.into_iter().find(|one| one.id == id) {
            return Ok(self.tell_listed(id, &found.sandbox_id).await?.is_some());
        }
        if self.client.sandboxes(Some(id)).await?.iter().any(|one| one.id == id) {
            let Some(status) = self.sandbox(id).await? else { return Ok(false) };
            self.tell_sandbox(&status).await;
            return Ok(true);
        }
        Ok(false)
    }
}
