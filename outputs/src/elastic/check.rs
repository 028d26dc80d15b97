//! `hostward config check --connect` for Elasticsearch and OpenSearch.

use super::NDJSON;
use super::bulk;
use super::config::ElasticConfig;
use super::setup::Family;
use crate::http::client::{Client, Opener, Request};
use crate::http::{Reply, check as http_check};
use crate::net::check::CheckStep;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

/// Tries name, connection, TLS, login, and the permission to create documents. Nothing is written.
pub async fn check(config: &ElasticConfig) -> Vec<CheckStep> {
    let mut opener = Opener::new(config.http(), config.login());
    let (mut steps, client) = http_check::reach(&mut opener).await;
    let Some(client) = client else { return steps };
    for server in 0..client.server_count() {
        let ask = Request::get("/_cluster/health");
        let what = format!("log in to {}", client.peer(server));
        let health = match client.send_to(server, &ask).await {
            Ok(reply) => reply,
            Err(failure) => {
                steps.push(CheckStep::failed(what, format!("{failure}; {}", failure.hint())));
                return steps;
            }
        };
        let family = Family::of(&health);
        match health.status {
            200..=299 => steps.push(CheckStep::ok(&what, format!("{family:?}"))),
            // Known, and not allowed to look: that is all that a shipper needs.
            403 => {
                steps.push(CheckStep::ok(&what, format!("{family:?}; it may not read the cluster's health")))
            }
            _ => {
                let why = match health.failure() {
                    Some(outcome) => http_check::words(outcome),
                    None => health.excerpt(),
                };
                steps.push(CheckStep::failed(what, why));
                return steps;
            }
        }
        if server == 0 {
            let stream = format!("logs-hostward.agent-{}", config.namespace);
            steps.push(permission(&client, server, family, &stream).await);
        }
    }
    steps
}

async fn permission(client: &Client, server: usize, family: Family, stream: &str) -> CheckStep {
    let what = format!("may create documents in {stream}");
    let step = match family {
        Family::Elasticsearch => privileges(client, server, stream).await,
        Family::OpenSearch => None,
    };
    match step {
        Some(Ok(found)) => CheckStep::ok(what, found),
        Some(Err(why)) => CheckStep::failed(what, why),
        None => refused_document(client, server, stream, what).await,
    }
}

#[derive(Deserialize)]
struct Privileges {
    has_all_requested: bool,
}

/// Elasticsearch says what a user may. None: it does not say (no security).
async fn privileges(client: &Client, server: usize, stream: &str) -> Option<Result<String, String>> {
    let ask = json!({ "index": [{ "names": [stream], "privileges": ["create_doc"] }] });
    let ask =
        Request::post("/_security/user/_has_privileges", "application/json", ask.to_string().into_bytes());
    let reply = client.send_to(server, &ask).await.ok().filter(Reply::is_success)?;
    let told: Privileges = serde_json::from_slice(&reply.body).ok()?;
    Some(match told.has_all_requested {
        true => Ok("granted".to_owned()),
        false => {
            Err("not granted; give the user create_doc and auto_configure on logs-hostward.*".to_owned())
        }
    })
}

/// Offers a document that no mapping takes: its refusal comes after that of the permission. Only where
/// the stream is there, since the offer would make it.
async fn refused_document(client: &Client, server: usize, stream: &str, what: String) -> CheckStep {
    let look = Request { method: Method::HEAD, ..Request::get(format!("/{stream}")) };
    match client.send_to(server, &look).await {
        Ok(reply) if reply.is_success() => {}
        Ok(reply) if reply.status == 404 => {
            return CheckStep::failed(what, "there is no such stream; run `hostward setup elastic`");
        }
        Ok(reply) => {
            let why = format!("not tried: it cannot be seen whether the stream is there ({})", reply.status);
            return CheckStep::ok(what, why);
        }
        Err(failure) => return CheckStep::failed(what, format!("{failure}; {}", failure.hint())),
    }
    let action = json!({ "create": { "_index": stream } });
    let body = format!("{action}\n{}\n", json!({ "@timestamp": "no time at all" }));
    let offer = Request::post("/_bulk", NDJSON, body.into_bytes());
    match client.send_to(server, &offer).await {
        Ok(reply) if reply.is_success() => match bulk::read(&reply, 1).map(|read| read.items) {
            Ok(items) => match items.into_iter().next() {
                Some(crate::http::outcome::Item::Kept(failure)) => CheckStep::failed(what, failure.message),
                _ => CheckStep::ok(what, "granted"),
            },
            Err(failure) => CheckStep::failed(what, failure.message),
        },
        Ok(reply) => CheckStep::failed(what, http_check::words(bulk::refusal(&reply))),
        Err(failure) => CheckStep::failed(what, format!("{failure}; {}", failure.hint())),
    }
}
