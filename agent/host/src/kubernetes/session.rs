//! The task: list, watch, and what to do when either fails.

use super::access::Access;
use super::client::{Client, Fault, JSON, METADATA, parse};
use super::config::KubernetesConfig;
use super::facts;
use super::objects::{Event, Kind, Object, Pod, PodList, Status, Version};
use super::owners::Relations;
use super::store::{self, Known, Store};
use crate::body::{Lines, shown};
use crate::pace::Pace;
use crate::sources::{Board, SourceReport, SourceState};
use hostward_event::Text;
use hostward_event::fact::Fact;
use hostward_event::workload::Source;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};

/// Pods of a page, at first; a page that is too long is asked for again with fewer.
const PAGE: usize = 64;
/// A watch that lived so long worked: what ends it then is no failure.
const SETTLED: Duration = Duration::from_secs(5);
/// What was not to be had is asked for again this often.
const REFRESH: Duration = Duration::from_secs(60);
const PODS: &str = "/api/v1/pods";

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    config: KubernetesConfig,
    node: String,
    selector: String,
    client: Client,
    facts: mpsc::Sender<Fact>,
    board: Board,
    store: Store,
    relations: Relations,
    /// Where to go on; none: list.
    version: Option<String>,
    /// Something was listed before: what comes next must not be older.
    has_listed: bool,
    /// When the watch that runs, or ran last, began.
    watching_since: Option<Instant>,
    server_version: String,
    is_node_missing: bool,
}

/// A pod of a list, reduced.
struct Listed {
    api_uid: Text,
    known: Known,
}

impl Session {
    pub(super) fn new(
        config: KubernetesConfig,
        node: String,
        access: Access,
        facts: mpsc::Sender<Fact>,
        board: Board,
    ) -> Self {
        let session = Self {
            selector: format!("spec.nodeName={node}"),
            node,
            client: Client::new(access, config.request_timeout()),
            facts,
            board,
            store: Store::new(config.max_pods),
            relations: Relations::new(config.max_pods),
            version: None,
            has_listed: false,
            watching_since: None,
            server_version: String::new(),
            is_node_missing: false,
            config,
        };
        session.report(SourceState::Connecting, "not asked yet".to_owned());
        session
    }

    /// Until nobody takes facts any more.
    pub(super) async fn run(mut self) {
        let mut pace = Pace::new(Duration::from_secs(self.config.retry_max_s));
        while !self.facts.is_closed() {
            self.watching_since = None;
            let outcome = self.round().await;
            let has_settled = self.watching_since.is_some_and(|since| since.elapsed() >= SETTLED);
            if has_settled {
                pace.reset();
            }
            if matches!(outcome, Err(Fault::Gone | Fault::TooLarge | Fault::Nonsense(_))) {
                self.version = None;
            }
            match outcome {
                // Servers and balancers end watches, and versions grow old: that is how it works.
                Ok(()) | Err(Fault::Network(_) | Fault::Gone) if has_settled => {}
                Ok(()) => {
                    self.degraded("the watch ended as soon as it began; look for a proxy in between");
                    sleep(pace.wait(None)).await;
                }
                Err(fault) => {
                    self.degraded(&fault.to_string());
                    sleep(pace.wait(fault.asked())).await;
                }
            }
        }
    }

    /// Lists if need be, then watches until that ends.
    async fn round(&mut self) -> Result<(), Fault> {
        self.client.renew()?;
        if self.version.is_none() {
            let version = self.list().await?;
            self.version = Some(version);
            self.ok();
        }
        let lines = self.open_watch().await?;
        self.watching_since = Some(Instant::now());
        self.ok();
        self.watch(lines).await
    }

    /// Gives the version to watch from.
    async fn list(&mut self) -> Result<String, Fault> {
        self.ask_server().await?;
        let (mut page, mut next) = (PAGE, String::new());
        let (mut listed, mut seen, mut bytes) = (Vec::new(), BTreeSet::new(), 0);
        // The version of the first page is the one from which a watch misses nothing.
        let mut version = None;
        // A server that always has another page is left at some time.
        let mut pages_left = self.config.max_pods.saturating_mul(2) + 16;
        loop {
            pages_left = pages_left.checked_sub(1).ok_or_else(|| nonsense("the list does not end"))?;
            let limit = page.to_string();
            let mut query = vec![("fieldSelector", self.selector.as_str()), ("limit", &limit)];
            if !next.is_empty() {
                query.push(("continue", &next));
            } else if !self.has_listed && page == PAGE {
                // From the server's cache: thousands of agents that start must not read etcd. It may be a
                // little old; the watch tells what came since.
                query.push(("resourceVersion", "0"));
            }
            let list: PodList = match self.client.get(PODS, &query, JSON).await {
                Err(Fault::TooLarge) if page > 1 => {
                    page /= 8;
                    continue;
                }
                other => other?,
            };
            let told = list.metadata.resource_version.filter(|version| !version.is_empty());
            version = version.or(told);
            for pod in list.items {
                // Counted by themselves, what is beyond the limit need not be kept.
                if let Some(pod) = self.reduce(&pod).filter(|_| seen.len() <= self.config.max_pods * 2) {
                    seen.insert(pod.api_uid.clone());
                    if listed.len() <= self.config.max_pods && bytes <= store::MAX_BYTES {
                        bytes += pod.known.bytes();
                        listed.push(pod);
                    }
                }
            }
            next = list.metadata.next.unwrap_or_default();
            if next.is_empty() || seen.len() > self.config.max_pods * 2 {
                break;
            }
        }
        let version = version.ok_or_else(|| nonsense("the list has no version"))?;
        let lost = self.store.retain(&seen);
        self.tell(lost).await;
        for pod in listed {
            self.take(pod).await;
        }
        self.has_listed = true;
        Ok(version)
    }

    async fn open_watch(&mut self) -> Result<Lines, Fault> {
        let seconds = self.config.watch_s.to_string();
        let query = [
            ("watch", "1"),
            ("allowWatchBookmarks", "true"),
            ("fieldSelector", &self.selector),
            ("resourceVersion", self.version.as_deref().unwrap_or_default()),
            ("timeoutSeconds", &seconds),
        ];
        self.client.watch(PODS, &query).await
    }

    async fn watch(&mut self, mut lines: Lines) -> Result<(), Fault> {
        let whole = Duration::from_secs(self.config.watch_s) + self.config.request_timeout();
        let end = sleep_until(Instant::now() + whole);
        tokio::pin!(end);
        let mut refresh = interval_at(Instant::now() + REFRESH, REFRESH);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                line = lines.next() => match line? {
                    Some(line) => self.event(&line).await?,
                    None => return Ok(()),
                },
                _ = refresh.tick() => self.refresh().await,
                () = &mut end => return Err(Fault::Silent(whole)),
                () = self.facts.closed() => return Ok(()),
            }
        }
    }

    async fn event(&mut self, line: &[u8]) -> Result<(), Fault> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let kind = parse::<Kind>(line)?.kind;
        match kind.as_str() {
            "ADDED" | "MODIFIED" => {
                let pod = parse::<Event<Pod>>(line)?.object;
                match self.reduce(&pod) {
                    Some(pod) => self.take(pod).await,
                    None => return Err(nonsense("an event has a pod without uid, or one of another node")),
                }
                self.at(pod.metadata.resource_version);
            }
            "DELETED" => {
                let meta = parse::<Event<Object>>(line)?.object.metadata;
                let uid = Text::from(meta.uid.unwrap_or_default());
                let lost = self.store.remove(&uid);
                self.tell(lost).await;
                self.at(meta.resource_version);
            }
            "BOOKMARK" => self.at(parse::<Event<Object>>(line)?.object.metadata.resource_version),
            "ERROR" => {
                let status = parse::<Event<Status>>(line)?.object;
                let after = status.details.and_then(|details| details.retry_after_seconds);
                let after = after.map(|seconds| Duration::from_secs(seconds.into()));
                let message = status.message.unwrap_or_default();
                return Err(Fault::of_status(status.code.unwrap_or_default(), &message, after));
            }
            // A kind that later servers may have.
            _ => {}
        }
        self.ok();
        Ok(())
    }

    /// What was seen up to now.
    fn at(&mut self, version: Option<String>) {
        if let Some(version) = version.filter(|version| !version.is_empty()) {
            self.version = Some(version);
        }
    }

    /// None: no pod, or not one of this node.
    fn reduce(&self, pod: &Pod) -> Option<Listed> {
        let api_uid =
            Text::from(pod.metadata.uid.as_deref().filter(|uid| !uid.is_empty() && uid.len() <= 128)?);
        let mut facts = facts::pod_facts(pod)?;
        if facts.node.as_bytes() != self.node.as_bytes() {
            return None;
        }
        facts.cluster_name = self.config.cluster_name.as_str().into();
        let containers = facts::container_facts(pod).into_iter();
        let known = Known {
            facts: Arc::new(facts),
            containers: containers.map(|facts| (facts.id.clone(), Arc::new(facts))).collect(),
            reference: facts::controller(&pod.metadata).cloned(),
            is_firm: false,
        };
        Some(Listed { api_uid, known })
    }

    /// Completes a pod and tells it.
    async fn take(&mut self, mut pod: Listed) {
        if !self.store.admits(&pod.api_uid, &pod.known) {
            return;
        }
        let mut facts = (*pod.known.facts).clone();
        let reference = pod.known.reference.as_ref();
        pod.known.is_firm = self.relations.complete(&mut self.client, &mut facts, reference).await;
        pod.known.facts = Arc::new(facts);
        let news = self.store.put(pod.api_uid, pod.known);
        self.tell(news).await;
    }

    /// Asks again for what was not to be had, and for labels of namespaces that grew old.
    async fn refresh(&mut self) {
        for (api_uid, known) in self.store.snapshot() {
            self.take(Listed { api_uid, known }).await;
        }
        // Without an answer it stays as it was.
        let _ = self.ask_server().await;
        self.ok();
    }

    /// What the server is, and whether it knows this node. Only a failure to reach it is one.
    async fn ask_server(&mut self) -> Result<(), Fault> {
        match self.client.get::<Version>("/version", &[], JSON).await {
            Ok(version) => self.server_version = shown(&version.git_version.unwrap_or_default()),
            Err(Fault::Forbidden(_) | Fault::Missing(_)) => {}
            Err(fault) => return Err(fault),
        }
        let node = self.client.get::<Object>(&format!("/api/v1/nodes/{}", self.node), &[], METADATA).await;
        match node {
            Ok(_) | Err(Fault::Forbidden(_)) => self.is_node_missing = false,
            Err(Fault::Missing(_)) => self.is_node_missing = true,
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    async fn tell(&self, facts: Vec<Fact>) {
        for fact in facts {
            // Nobody there: the loops see that.
            let _ = self.facts.send(fact).await;
        }
    }

    fn ok(&self) {
        if self.is_node_missing {
            let hint = "set [kubernetes] node_name to a name that `kubectl get nodes` tells";
            return self.degraded(&format!("the cluster has no node {:?}; {hint}", self.node));
        }
        if self.store.refused() > 0 {
            let (more, max) = (self.store.refused(), self.config.max_pods);
            let hint = "raise [kubernetes] max_pods";
            return self
                .degraded(&format!("{more} pods or more beyond {max}, or 64 MiB, are not named; {hint}"));
        }
        let mut told = format!("Kubernetes {}, node {}", self.server_version, self.node);
        let forbidden = self.relations.forbidden();
        if !forbidden.is_empty() {
            told.push_str("; may not get ");
            told.push_str(&forbidden.join(", "));
        }
        self.report(SourceState::Ok, told);
    }

    fn degraded(&self, why: &str) {
        self.report(SourceState::Degraded, why.to_owned());
    }

    fn report(&self, state: SourceState, why: String) {
        let (containers, pods) = (self.store.containers(), self.store.pods());
        let at = self.client.at();
        self.board.put(SourceReport { source: Source::KubernetesApi, at, state, why, containers, pods });
    }
}

fn nonsense(what: &str) -> Fault {
    Fault::Nonsense(what.to_owned())
}
