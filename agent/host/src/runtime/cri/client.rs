//! The few calls that are made.

use super::messages::{
    Container, ContainerEvent, ContainerStatusResponse, EventsRequest, Filter, Image, ImageSpec,
    ImageStatusRequest, ImageStatusResponse, ListContainersResponse, ListPodSandboxResponse, ListRequest,
    PodSandbox, PodSandboxStatus, PodSandboxStatusResponse, StatusRequest, VersionRequest, VersionResponse,
};
use crate::body::shown;
use hyper_util::rt::TokioIo;
use prost::Message;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// An answer is no longer; the list of 4,096 containers has some 4 MiB.
const MAX_BYTES: usize = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("no connection: {0}; is the runtime running, and may this agent open its socket?")]
    Network(String),
    #[error("no answer within {} ms; the runtime hangs: restart it", .0.as_millis())]
    Silent(Duration),
    #[error("it has no such thing")]
    Missing,
    #[error("it does not speak CRI v1: {0}; containerd does since 1.6, with its CRI plugin on")]
    Foreign(String),
    #[error("it refuses: {0}")]
    Refused(String),
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        let said = shown(status.message());
        match status.code() {
            Code::NotFound => Self::Missing,
            Code::Unimplemented => Self::Foreign(said),
            Code::Unavailable | Code::Cancelled => Self::Network(said),
            _ => Self::Refused(said),
        }
    }
}

/// A socket that answers.
#[derive(Clone, Debug)]
pub(super) struct Client {
    grpc: Grpc<Channel>,
    limit: Duration,
}

impl Client {
    pub(super) async fn connect(socket: &Path, limit: Duration) -> Result<Self, Fault> {
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let network = |error: tonic::transport::Error| {
            let mut reason: &dyn std::error::Error = &error;
            while let Some(source) = reason.source() {
                reason = source;
            }
            Fault::Network(shown(&reason.to_string()))
        };
        // The name is sent and means nothing.
        let endpoint = Endpoint::from_static("http://localhost");
        let channel = timeout(limit, endpoint.connect_with_connector(connector)).await;
        let channel = channel.map_err(|_| Fault::Silent(limit))?.map_err(network)?;
        Ok(Self { grpc: Grpc::new(channel).max_decoding_message_size(MAX_BYTES), limit })
    }

    async fn call<Q, A>(&self, method: &'static str, request: Q) -> Result<A, Fault>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc.clone();
        let answer = async {
            grpc.ready().await.map_err(|error| Fault::Network(shown(&error.to_string())))?;
            let path = PathAndQuery::from_static(method);
            Ok(grpc.unary(Request::new(request), path, ProstCodec::<Q, A>::default()).await?.into_inner())
        };
        timeout(self.limit, answer).await.unwrap_or(Err(Fault::Silent(self.limit)))
    }

    pub(super) async fn version(&self) -> Result<VersionResponse, Fault> {
        self.call("/runtime.v1.RuntimeService/Version", VersionRequest {}).await
    }

    /// All sandboxes, or the one of this id.
    pub(super) async fn sandboxes(&self, id: Option<&str>) -> Result<Vec<PodSandbox>, Fault> {
        let method = "/runtime.v1.RuntimeService/ListPodSandbox";
        let answer: ListPodSandboxResponse = self.call(method, only(id)).await?;
        Ok(answer.items)
    }

    /// All containers, or the one of this id.
    pub(super) async fn containers(&self, id: Option<&str>) -> Result<Vec<Container>, Fault> {
        let method = "/runtime.v1.RuntimeService/ListContainers";
        let answer: ListContainersResponse = self.call(method, only(id)).await?;
        Ok(answer.containers)
    }

    pub(super) async fn sandbox(&self, id: &str) -> Result<PodSandboxStatus, Fault> {
        let request = StatusRequest { id: id.to_owned(), verbose: false };
        let method = "/runtime.v1.RuntimeService/PodSandboxStatus";
        let answer: PodSandboxStatusResponse = self.call(method, request).await?;
        answer.status.ok_or(Fault::Missing)
    }

    pub(super) async fn container(&self, id: &str) -> Result<ContainerStatusResponse, Fault> {
        let request = StatusRequest { id: id.to_owned(), verbose: true };
        self.call("/runtime.v1.RuntimeService/ContainerStatus", request).await
    }

    /// The image of this name or id.
    pub(super) async fn image(&self, image: &str) -> Result<Image, Fault> {
        let request = ImageStatusRequest { image: Some(ImageSpec { image: image.to_owned() }) };
        let answer: ImageStatusResponse = self.call("/runtime.v1.ImageService/ImageStatus", request).await?;
        answer.image.ok_or(Fault::Missing)
    }

    /// What happens to containers from now on. There is no deadline: a server may say nothing at all until
    /// something happens.
    pub(super) async fn events(self) -> Result<Streaming<ContainerEvent>, Fault> {
        let mut grpc = self.grpc;
        grpc.ready().await.map_err(|error| Fault::Network(shown(&error.to_string())))?;
        let path = PathAndQuery::from_static("/runtime.v1.RuntimeService/GetContainerEvents");
        let codec = ProstCodec::<EventsRequest, ContainerEvent>::default();
        Ok(grpc.server_streaming(Request::new(EventsRequest {}), path, codec).await?.into_inner())
    }
}

fn only(id: Option<&str>) -> ListRequest {
    ListRequest { filter: id.map(|id| Filter { id: id.to_owned() }) }
}
