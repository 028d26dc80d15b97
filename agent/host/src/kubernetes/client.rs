//! Requests to the API server, with a bound on whatever it answers.

use super::access::{Access, AccessFailure, Door};
use super::objects::Status;
use crate::body::{self, BodyFault, Lines, shown};
use crate::pace::parse_retry_after;
use reqwest::header::{ACCEPT, AUTHORIZATION, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// An answer, or one event of a watch, is no longer. etcd takes objects of 1.5 MB.
pub(super) const MAX_BYTES: usize = 8 << 20;
/// Of an answer that tells of an error no more is read.
const MAX_ERROR_BYTES: usize = 64 << 10;

pub(super) const JSON: &str = "application/json";
/// Metadata alone, without specification and status; old servers give the whole.
pub(super) const METADATA: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Access(#[from] AccessFailure),
    #[error("no connection: {0}")]
    Network(String),
    #[error("{}", BodyFault::TooLarge(MAX_BYTES))]
    TooLarge,
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
    #[error(
        "it does not know who we are (401): {0}; the token ended or its account is gone: renew the token's file or the \
         client certificate"
    )]
    Unauthorized(String),
    #[error("forbidden (403): {0}; grant get, list and watch on pods to the agent's account")]
    Forbidden(String),
    #[error("not found (404): {0}")]
    Missing(String),
    #[error("the version asked for is too old (410)")]
    Gone,
    #[error("it asks us to wait ({status}): {message}")]
    Busy { status: u16, message: String, after: Option<Duration> },
    #[error("it answers {status}: {message}")]
    Status { status: u16, message: String },
    #[error("an answer makes no sense: {0}")]
    Nonsense(String),
}

impl From<BodyFault> for Fault {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::Network(why) => Self::Network(why),
            BodyFault::TooLarge(_) => Self::TooLarge,
        }
    }
}

impl Fault {
    /// The least wait that the server asks for.
    pub(super) const fn asked(&self) -> Option<Duration> {
        match self {
            Self::Busy { after, .. } => *after,
            _ => None,
        }
    }

    /// What a [`Status`] object says, which also comes inside a watch.
    pub(super) fn of_status(status: u16, message: &str, after: Option<Duration>) -> Self {
        let message = shown(message);
        match status {
            401 => Self::Unauthorized(message),
            403 => Self::Forbidden(message),
            404 => Self::Missing(message),
            410 => Self::Gone,
            429 | 503 => Self::Busy { status, message, after },
            _ => Self::Status { status, message },
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Client {
    door: Door,
    limit: Duration,
}

impl Client {
    /// `limit`: a request takes no longer.
    pub(super) const fn new(access: Access, limit: Duration) -> Self {
        Self { door: Door::new(access), limit }
    }

    /// The server, for reports.
    pub(super) fn at(&self) -> String {
        self.door.server().as_str().trim_end_matches('/').to_owned()
    }

    /// The next requests use certificates as their files are now.
    pub(super) fn renew(&mut self) -> Result<(), Fault> {
        Ok(self.door.renew()?)
    }

    /// An object or a list.
    pub(super) async fn get<T: DeserializeOwned>(
        &mut self,
        path: &str,
        query: &[(&str, &str)],
        accept: &'static str,
    ) -> Result<T, Fault> {
        let limit = self.limit;
        let whole = async {
            let response = self.ask(path, query, accept).await?;
            parse(&body::whole(response, MAX_BYTES).await?)
        };
        timeout(limit, whole).await.unwrap_or(Err(Fault::Silent(limit)))
    }

    /// A watch: its events, one a line.
    pub(super) async fn watch(&mut self, path: &str, query: &[(&str, &str)]) -> Result<Lines, Fault> {
        let limit = self.limit;
        let response =
            timeout(limit, self.ask(path, query, JSON)).await.unwrap_or(Err(Fault::Silent(limit)))?;
        Ok(Lines::new(response, MAX_BYTES))
    }

    /// A 401 makes the token be read again, once; it may have been renewed a moment ago.
    async fn ask(
        &mut self,
        path: &str,
        query: &[(&str, &str)],
        accept: &'static str,
    ) -> Result<Response, Fault> {
        match self.ask_once(path, query, accept).await {
            Err(Fault::Unauthorized(_)) => {
                self.door.forget_token();
                self.ask_once(path, query, accept).await
            }
            other => other,
        }
    }

    async fn ask_once(
        &mut self,
        path: &str,
        query: &[(&str, &str)],
        accept: &'static str,
    ) -> Result<Response, Fault> {
        let (client, authorization) = self.door.open()?;
        let mut url = self.door.server().clone();
        // A server may be below a path, as behind Rancher.
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = client.get(url).header(ACCEPT, accept);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let response = request.send().await.map_err(network)?;
        if response.status() == StatusCode::OK { Ok(response) } else { Err(refusal(response).await) }
    }
}

async fn refusal(mut response: Response) -> Fault {
    let status = response.status().as_u16();
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let after = after.and_then(|value| parse_retry_after(value, SystemTime::now()));
    let mut body = Vec::new();
    // What cannot be read of it is missing from a message only.
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = MAX_ERROR_BYTES - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if chunk.len() >= room {
            break;
        }
    }
    match serde_json::from_slice::<Status>(&body) {
        Ok(told) => Fault::of_status(status, told.message.as_deref().unwrap_or_default(), after),
        Err(_) => Fault::of_status(status, &String::from_utf8_lossy(&body), after),
    }
}

fn network(error: reqwest::Error) -> Fault {
    Fault::Network(body::reason(&error))
}

pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    // serde's words may quote what the server wrote.
    serde_json::from_slice(bytes).map_err(|error| Fault::Nonsense(shown(&error.to_string())))
}
