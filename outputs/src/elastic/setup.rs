//! `hostward setup elastic`: what the data streams need, installed once by somebody who may.
//!
//! # How it works
//! Lifecycle (ILM or ISM), two component templates, one index template, the data streams: in this order,
//! so that no stream begins without its mappings. Templates carry our name and are replaced by each
//! run. A lifecycle policy that is there is kept: an operator may have changed it.
//!
//! # What can go wrong
//! - *A server without ILM, ISM or the data stream API* (small distributions): that step is skipped and
//!   told; streams begin with the first event.
//! - *The user may not*: the step fails with the server's words, and nothing after it is tried.

use super::config::ElasticConfig;
use super::mapping::mappings;
use crate::http::Reply;
use crate::http::client::{Client, Opener, Request};
use crate::http::outcome::Failure;
use reqwest::Method;
use serde_json::{Value, json};
use std::fmt;

const DATASETS: [&str; 5] =
    ["hostward.process", "hostward.file", "hostward.network", "hostward.alert", "hostward.agent"];
const PATTERN: &str = "logs-hostward.*-*";
/// Above the templates that servers bring along for `logs-*-*` (100).
const PRIORITY: u32 = 500;
/// Raised when templates change, for people who compare clusters.
const TEMPLATE_VERSION: u32 = 1;

/// What to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupOptions {
    /// Days after which events are deleted. Default 90.
    pub retention_days: u32,
    /// A backing index is left for a new one at this size of a primary shard, GB. Default 30.
    pub rollover_gb: u32,
    /// A backing index is left for a new one at this age, days. Default 7.
    pub rollover_days: u32,
    /// Copies of each shard; none: the server's default.
    pub replicas: Option<u32>,
    /// Tells what would be sent, and sends nothing that changes anything.
    pub dry_run: bool,
}

impl Default for SetupOptions {
    fn default() -> Self {
        Self { retention_days: 90, rollover_gb: 30, rollover_days: 7, replicas: None, dry_run: false }
    }
}

/// One thing that was done, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupStep {
    /// Method and path.
    pub what: String,
    /// What came of it.
    pub result: SetupResult,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetupResult {
    /// It is there now.
    Installed,
    /// It was there, and is as it was.
    Kept,
    /// The server cannot; what that means.
    Skipped(String),
    /// A dry run: what would be sent.
    Planned(String),
}

impl fmt::Display for SetupStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.result {
            SetupResult::Installed => write!(f, "{}: installed", self.what),
            SetupResult::Kept => write!(f, "{}: was there, kept as it is", self.what),
            SetupResult::Skipped(why) => write!(f, "{}: skipped: {why}", self.what),
            SetupResult::Planned(body) => write!(f, "{}: would send {body}", self.what),
        }
    }
}

/// It broke off; what was done before stays.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct SetupFailure {
    /// Method and path.
    pub what: String,
    /// What the server said, escaped.
    pub why: String,
    /// Steps that went well before.
    pub done: Vec<SetupStep>,
}

impl SetupFailure {
    /// What to do.
    pub const fn hint(&self) -> &'static str {
        "use a user who may manage index templates, lifecycle policies and data streams; setup can be run again"
    }
}

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Elasticsearch,
    OpenSearch,
}

impl Family {
    /// Elasticsearch names itself in every reply since 7.14; OpenSearch never does.
    pub(super) fn of(reply: &Reply) -> Self {
        if reply.product.eq_ignore_ascii_case("elasticsearch") {
            Self::Elasticsearch
        } else {
            Self::OpenSearch
        }
    }

    /// Type of a field that holds labels.
    const fn labels(self) -> &'static str {
        match self {
            Self::Elasticsearch => "flattened",
            Self::OpenSearch => "flat_object",
        }
    }
}

struct Setup<'a> {
    client: Client,
    options: &'a SetupOptions,
    done: Vec<SetupStep>,
}

/// Installs what `config` needs on its first server that answers.
///
/// # Errors
/// When no server answers, or it refuses a step for another reason than that it cannot do such things.
pub async fn setup(config: &ElasticConfig, options: &SetupOptions) -> Result<Vec<SetupStep>, SetupFailure> {
    let failed = |why: String| SetupFailure { what: "connect".to_owned(), why, done: Vec::new() };
    let mut opener = Opener::new(config.http(), config.login());
    let client = opener.client().map_err(|failure| failed(format!("{failure}; {}", failure.hint())))?;
    let mut setup = Setup { client, options, done: Vec::new() };
    setup.run(&config.namespace).await
}

impl Setup<'_> {
    async fn run(&mut self, namespace: &str) -> Result<Vec<SetupStep>, SetupFailure> {
        let health = self.ask(Method::GET, "/_cluster/health", None).await?;
        let family = Family::of(&health);
        if !health.is_success() {
            return Err(self.refused("GET /_cluster/health", &health));
        }
        let lifecycle = match family {
            Family::Elasticsearch => self.ilm().await?,
            Family::OpenSearch => self.ism().await?,
        };
        let mappings = component(json!({ "mappings": mappings(family.labels()) }));
        self.install("/_component_template/hostward-mappings", &mappings).await?;
        let settings = component(
            json!({ "settings": self.settings(lifecycle.filter(|_| family == Family::Elasticsearch)) }),
        );
        self.install("/_component_template/hostward-settings", &settings).await?;
        let template = json!({
            "index_patterns": [PATTERN],
            "data_stream": {},
            "composed_of": ["hostward-mappings", "hostward-settings"],
            "priority": PRIORITY,
            "version": TEMPLATE_VERSION,
            "_meta": { "description": "events of hostward" },
        });
        self.install("/_index_template/hostward", &template).await?;
        for dataset in DATASETS {
            self.data_stream(&format!("/_data_stream/logs-{dataset}-{namespace}")).await?;
        }
        Ok(std::mem::take(&mut self.done))
    }

    fn settings(&self, lifecycle: Option<&str>) -> Value {
        let mut settings =
            json!({ "index.codec": "best_compression", "index.mapping.total_fields.limit": 2_000 });
        if let (Some(name), Value::Object(map)) = (lifecycle, &mut settings) {
            map.insert("index.lifecycle.name".to_owned(), name.into());
        }
        if let (Some(replicas), Value::Object(map)) = (self.options.replicas, &mut settings) {
            map.insert("index.number_of_replicas".to_owned(), replicas.into());
        }
        settings
    }

    /// Gives the policy's name when there is one.
    async fn ilm(&mut self) -> Result<Option<&'static str>, SetupFailure> {
        let SetupOptions { retention_days, rollover_gb, rollover_days, .. } = self.options;
        let policy = json!({ "policy": {
            "_meta": { "description": "events of hostward" },
            "phases": {
                "hot": { "actions": { "rollover": {
                    "max_age": format!("{rollover_days}d"), "max_primary_shard_size": format!("{rollover_gb}gb"),
                } } },
                "delete": { "min_age": format!("{retention_days}d"), "actions": { "delete": {} } },
            },
        } });
        self.policy("/_ilm/policy/hostward", &policy).await
    }

    async fn ism(&mut self) -> Result<Option<&'static str>, SetupFailure> {
        let SetupOptions { retention_days, rollover_gb, rollover_days, .. } = self.options;
        let policy = json!({ "policy": {
            "description": "events of hostward",
            "default_state": "hot",
            "ism_template": [{ "index_patterns": [PATTERN], "priority": PRIORITY }],
            "states": [
                {
                    "name": "hot",
                    "actions": [{ "rollover": {
                        "min_index_age": format!("{rollover_days}d"),
                        "min_primary_shard_size": format!("{rollover_gb}gb"),
                    } }],
                    "transitions": [{
                        "state_name": "delete",
                        "conditions": { "min_rollover_age": format!("{retention_days}d") },
                    }],
                },
                { "name": "delete", "actions": [{ "delete": {} }], "transitions": [] },
            ],
        } });
        self.policy("/_plugins/_ism/policies/hostward", &policy).await
    }

    /// Installs a lifecycle policy where there is none and the server knows such things.
    async fn policy(&mut self, path: &str, body: &Value) -> Result<Option<&'static str>, SetupFailure> {
        let there = self.ask(Method::GET, path, None).await?;
        match there.status {
            200 => {
                self.note(Method::PUT, path, SetupResult::Kept);
                return Ok(Some("hostward"));
            }
            404 if !is_unknown_call(&there) => {}
            _ if is_unknown_call(&there) => {
                let what = "this server has no lifecycle policies, so nothing is deleted by age";
                self.note(Method::PUT, path, SetupResult::Skipped(format!("{what} ({})", there.excerpt())));
                return Ok(None);
            }
            _ => return Err(self.refused(&format!("GET {path}"), &there)),
        }
        self.install(path, body).await?;
        Ok(Some("hostward"))
    }

    async fn data_stream(&mut self, path: &str) -> Result<(), SetupFailure> {
        if self.options.dry_run {
            self.note(Method::PUT, path, SetupResult::Planned("nothing but the name".to_owned()));
            return Ok(());
        }
        let reply = self.ask(Method::PUT, path, None).await?;
        let result = match reply.status {
            200..=299 => SetupResult::Installed,
            400 if contains(&reply, "resource_already_exists_exception") => SetupResult::Kept,
            _ if is_unknown_call(&reply) => {
                let what = "this server makes data streams with their first event only";
                SetupResult::Skipped(format!("{what} ({})", reply.excerpt()))
            }
            _ => return Err(self.refused(&format!("PUT {path}"), &reply)),
        };
        self.note(Method::PUT, path, result);
        Ok(())
    }

    async fn install(&mut self, path: &str, body: &Value) -> Result<(), SetupFailure> {
        if self.options.dry_run {
            self.note(Method::PUT, path, SetupResult::Planned(body.to_string()));
            return Ok(());
        }
        let reply = self.ask(Method::PUT, path, Some(body)).await?;
        if !reply.is_success() {
            return Err(self.refused(&format!("PUT {path}"), &reply));
        }
        self.note(Method::PUT, path, SetupResult::Installed);
        Ok(())
    }

    async fn ask(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Reply, SetupFailure> {
        let what = format!("{method} {path}");
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = if body.is_empty() {
            Request { method, path: path.to_owned().into(), headers: Vec::new(), body }
        } else {
            Request { method, ..Request::post(path.to_owned(), "application/json", body) }
        };
        match self.client.send(&request).await {
            Ok(reply) => Ok(reply),
            Err(Failure { message, .. }) => {
                Err(SetupFailure { what, why: message, done: std::mem::take(&mut self.done) })
            }
        }
    }

    fn note(&mut self, method: Method, path: &str, result: SetupResult) {
        self.done.push(SetupStep { what: format!("{method} {path}"), result });
    }

    fn refused(&mut self, what: &str, reply: &Reply) -> SetupFailure {
        let why = format!("{} answers {}", reply.peer, reply.excerpt());
        SetupFailure { what: what.to_owned(), why, done: std::mem::take(&mut self.done) }
    }
}

fn component(template: Value) -> Value {
    json!({ "template": template, "version": TEMPLATE_VERSION, "_meta": { "description": "events of hostward" } })
}

fn contains(reply: &Reply, words: &str) -> bool {
    String::from_utf8_lossy(&reply.body).contains(words)
}

/// True when the server does not know the call at all, as told by both families: 400 or 404 with "no
/// handler found", 405, 410, or 501.
fn is_unknown_call(reply: &Reply) -> bool {
    let unknown = ["no handler found", "Incorrect HTTP method", "not available when running"];
    matches!(reply.status, 405 | 501) || unknown.iter().any(|words| contains(reply, words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::reply::reply;

    #[test]
    fn a_call_that_the_server_does_not_know_is_told_from_a_missing_policy() {
        let unknown = br#"{"error":"no handler found for uri [/_ilm/policy/hostward] and method [GET]"}"#;
        assert!(is_unknown_call(&reply(400, unknown)));
        assert!(is_unknown_call(&reply(405, b"")));
        let missing = br#"{"error":{"type":"resource_not_found_exception","reason":"Lifecycle policy not found: hostward"},"status":404}"#;
        assert!(!is_unknown_call(&reply(404, missing)));
    }

    #[test]
    fn steps_are_told_in_words() {
        let step = |result| SetupStep { what: "PUT /x".to_owned(), result }.to_string();
        assert_eq!(step(SetupResult::Installed), "PUT /x: installed");
        assert_eq!(step(SetupResult::Skipped("no".into())), "PUT /x: skipped: no");
    }
}
