//! The stream of container events, where a runtime has one.
//!
//! A container is announced when it was created, before its first program runs. Many runtimes have no such stream:
//! containerd before 1.7 answers Unimplemented, cri-o ends it at once where it is switched off. Then lists are all.
//!
//! containerd 1.7 and cri-o before 1.28 have one queue for all who listen: a second listener takes events away from
//! the first, which may be the kubelet. There nobody listens unless the operator says so.

use super::client::{Client, Fault};
use super::messages::ContainerEvent;
use crate::runtime::config::CriEvents;
use std::future::Future;
use std::pin::Pin;
use tonic::Streaming;

type Opening = Pin<Box<dyn Future<Output = Result<Streaming<ContainerEvent>, Fault>> + Send>>;

/// How far the stream of one connection is.
pub(super) enum Events {
    /// The server has not answered; some do so with the first event.
    Opening(Opening),
    /// It is open.
    Open {
        stream: Box<Streaming<ContainerEvent>>,
        /// An event came, so that this server does tell.
        heard: bool,
    },
    /// There is none on this connection.
    Lacking,
}

impl Events {
    pub(super) fn open(client: &Client, wanted: CriEvents, runtime: &str, version: &str) -> Self {
        let listens = match wanted {
            CriEvents::Always => true,
            CriEvents::Never => false,
            CriEvents::Auto => tells_everyone(runtime, version),
        };
        if listens { Self::Opening(Box::pin(client.clone().events())) } else { Self::Lacking }
    }

    /// True when lists are only there for what was missed.
    pub(super) const fn are_heard(&self) -> bool {
        matches!(self, Self::Open { heard: true, .. })
    }

    /// The next one; waits for ever where there is no stream. Nothing is lost when the wait is given up.
    ///
    /// # Errors
    /// The connection broke, or a stream that told something ended.
    pub(super) async fn next(&mut self) -> Result<ContainerEvent, Fault> {
        loop {
            match self {
                Self::Opening(opening) => {
                    *self = match opening.await {
                        Ok(stream) => Self::Open { stream: Box::new(stream), heard: false },
                        Err(Fault::Foreign(_) | Fault::Refused(_) | Fault::Missing) => Self::Lacking,
                        Err(fault) => return Err(fault),
                    };
                }
                Self::Open { stream, heard } => match stream.message().await.map_err(Fault::from) {
                    Ok(Some(event)) => {
                        *heard = true;
                        return Ok(event);
                    }
                    Ok(None) | Err(Fault::Foreign(_) | Fault::Refused(_)) if !*heard => *self = Self::Lacking,
                    Ok(None) => return Err(Fault::Network("the events ended".to_owned())),
                    Err(fault) => return Err(fault),
                },
                Self::Lacking => std::future::pending().await,
            }
        }
    }
}

/// Whether each of several listeners gets all events.
fn tells_everyone(runtime: &str, version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let version = (number(), number());
    match runtime {
        "containerd" => version >= (2, 0),
        "cri-o" => version >= (1, 28),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_is_shared_is_left_to_the_kubelet() {
        let table = [
            ("containerd", "1.6.20~ds1", false),
            ("containerd", "v1.7.24", false),
            ("containerd", "v2.0.0-rc.3", true),
            ("containerd", "2.1.9~ds1", true),
            ("containerd", "", false),
            ("cri-o", "1.27.1", false),
            ("cri-o", "1.28.0", true),
            ("another", "0.1", true),
        ];
        for (runtime, version, expected) in table {
            assert_eq!(tells_everyone(runtime, version), expected, "{runtime} {version}");
        }
    }
}
