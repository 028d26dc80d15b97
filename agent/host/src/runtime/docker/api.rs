//! The few calls that are made.

use super::facts::{self, Inspected};
use crate::body::{self, BodyFault, Lines, shown};
use hostward_event::Text;
use hostward_event::workload::{ContainerFacts, Source};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// An answer is no longer; the list of 4,096 containers has some 8 MiB.
const MAX_BYTES: usize = 16 << 20;
/// One event is no longer.
const MAX_EVENT_BYTES: usize = 1 << 20;
/// Of an answer that tells of an error no more is read.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiFault {
    #[error("no connection: {0}; is the daemon running, and may this agent open its socket?")]
    Network(String),
    #[error("no answer within {} ms; the daemon hangs: restart it", .0.as_millis())]
    Silent(Duration),
    #[error("it has no such thing")]
    Missing,
    #[error("it answers {0}: {1}")]
    Status(u16, String),
    #[error("{0}")]
    Body(String),
    #[error("an answer makes no sense: {0}; does it speak the API of Docker?")]
    Nonsense(String),
}

impl From<BodyFault> for ApiFault {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::Network(why) => Self::Network(why),
            BodyFault::TooLarge(_) => Self::Body(fault.to_string()),
        }
    }
}

/// A socket that answers.
#[derive(Debug)]
pub(super) struct Api {
    client: reqwest::Client,
    limit: Duration,
}

#[derive(Deserialize)]
struct Version {
    #[serde(rename = "Version", default)]
    version: String,
    #[serde(rename = "Components", default)]
    components: Vec<Component>,
}

#[derive(Deserialize)]
struct Component {
    #[serde(rename = "Name", default)]
    name: String,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "Id")]
    id: String,
}

#[derive(Deserialize)]
struct ImageInspected {
    #[serde(rename = "RepoDigests", default)]
    digests: Option<Vec<String>>,
}

impl Api {
    pub(super) fn new(socket: &Path, limit: Duration) -> Result<Self, ApiFault> {
        // Nothing here is encrypted; the client wants to know of a way all the same.
        let none =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| ApiFault::Network(error.to_string()))?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
        let client = reqwest::Client::builder()
            .unix_socket(socket)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(2)
            .retry(reqwest::retry::never())
            .tls_backend_preconfigured(none)
            .build()
            .map_err(|error| ApiFault::Network(body::reason(&error)))?;
        Ok(Self { client, limit })
    }

    async fn ask(&self, path: &str) -> Result<Response, ApiFault> {
        let request = self.client.get(format!("http://localhost{path}")).send();
        let response = request.await.map_err(|error| ApiFault::Network(body::reason(&error)))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::NOT_FOUND => Err(ApiFault::Missing),
            status => {
                let said = body::whole(response, MAX_ERROR_BYTES).await.unwrap_or_default();
                Err(ApiFault::Status(status.as_u16(), shown(&String::from_utf8_lossy(&said))))
            }
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiFault> {
        let whole = async {
            let body = body::whole(self.ask(path).await?, MAX_BYTES).await?;
            // serde's words may quote what the server wrote.
            serde_json::from_slice(&body).map_err(|error| ApiFault::Nonsense(shown(&error.to_string())))
        };
        timeout(self.limit, whole).await.unwrap_or(Err(ApiFault::Silent(self.limit)))
    }

    /// Name and version.
    pub(super) async fn version(&self) -> Result<String, ApiFault> {
        let told: Version = self.get("/version").await?;
        let name = told.components.first().map_or("engine", |component| component.name.as_str());
        Ok(shown(&format!("{name} {}", told.version)))
    }

    /// Ids of all containers, running or not.
    pub(super) async fn list(&self) -> Result<BTreeSet<Text>, ApiFault> {
        let listed: Vec<Listed> = self.get("/containers/json?all=true").await?;
        Ok(listed.into_iter().map(|one| one.id).filter(|id| facts::is_id(id)).map(Text::from).collect())
    }

    /// All about a container.
    pub(super) async fn inspect(&self, id: &str, source: Source) -> Result<ContainerFacts, ApiFault> {
        let told: Inspected = self.get(&format!("/containers/{id}/json")).await?;
        // The beginning of an id finds a container as well, and its name does; neither was meant.
        if told.id() != id {
            return Err(ApiFault::Missing);
        }
        let image = told.image_id().filter(|id| facts::is_id(id)).map(str::to_owned);
        let mut facts = told.facts(source);
        if let Some(id) = image {
            // The digests are worth a call, and no failure.
            if let Ok(ImageInspected { digests: Some(digests) }) =
                self.get(&format!("/images/{id}/json")).await
            {
                facts.image.digests = facts::digests(&digests);
            }
        }
        Ok(facts)
    }

    /// What happens to containers from now on, one event a line.
    pub(super) async fn events(&self) -> Result<Lines, ApiFault> {
        let path = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D";
        let response =
            timeout(self.limit, self.ask(path)).await.unwrap_or(Err(ApiFault::Silent(self.limit)))?;
        Ok(Lines::new(response, MAX_EVENT_BYTES))
    }
}
