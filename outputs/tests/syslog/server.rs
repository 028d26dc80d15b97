//! A real syslog server, and what it wrote down.

use crate::certs::{Authority, Dates};
use crate::feed::{Count, Feed};
use crate::service::Service;
use serde_json::Value;
use std::time::{Duration, Instant};

/// See the module.
pub(crate) struct Server {
    pub(crate) service: Service,
}

/// A message as the server understood it.
#[derive(Debug)]
pub(crate) struct Message {
    /// Its parts by their names, see the script.
    pub(crate) parts: Value,
    /// The event's id in the record.
    pub(crate) id: String,
}

impl Message {
    /// One part.
    pub(crate) fn part(&self, name: &str) -> &str {
        self.parts[name].as_str().unwrap_or_else(|| panic!("no {name}: {}", self.parts))
    }

    /// The record, JSON.
    pub(crate) fn record(&self) -> Value {
        serde_json::from_str(self.part("msg")).unwrap_or_else(|error| panic!("{error}: {}", self.part("msg")))
    }
}

impl Server {
    /// `kind`: `rsyslog` or `syslog-ng`. None: skipped by name.
    pub(crate) fn start(kind: &str, test: &str) -> Option<Self> {
        Service::start(kind, test, |_| {}).map(|service| Self { service })
    }

    /// With certificates of this authority.
    pub(crate) fn start_with(test: &str, authority: &Authority, dates: Dates) -> Option<Self> {
        let service = Service::start("rsyslog", test, |data| authority.furnish(data, dates))?;
        Some(Self { service })
    }

    /// Keys of a sink that sends to this input by this scheme.
    pub(crate) fn keys(&self, scheme: &str, input: &str) -> String {
        format!("address = \"{scheme}://{}\"\n", self.service.fact(input))
    }

    /// Keys that name the certificates which the server made.
    pub(crate) fn identity(&self) -> String {
        let data = self.service.data();
        format!(
            "ca_file = {:?}\ncert_file = {:?}\nkey_file = {:?}\n",
            data.join("ca.pem"),
            data.join("client.pem"),
            data.join("client.key")
        )
    }

    /// What one input wrote, whole lines only.
    pub(crate) fn messages(&self, input: &str) -> Vec<Message> {
        let path = self.service.data().join("out").join(format!("{input}.jsonl"));
        let text = std::fs::read(path).unwrap_or_default();
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(message).collect()
    }

    /// Counts ids.
    pub(crate) fn count(&self, feed: &Feed, input: &str) -> Count {
        let messages = self.messages(input);
        Count::of(feed, messages.iter().map(|message| message.id.as_str()))
    }

    /// Waits until one input wrote exactly so many, half a minute at most.
    pub(crate) fn wait_messages(&self, input: &str, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.messages(input).len() != count {
            assert!(Instant::now() < deadline, "{} of {count} messages", self.messages(input).len());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until no id is missing, half a minute at most, and counts.
    pub(crate) fn wait_all(&self, feed: &Feed, input: &str) -> Count {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let count = self.count(feed, input);
            if count.missing.is_empty() || Instant::now() >= deadline {
                return count;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn message(line: &[u8]) -> Message {
    let parts: Value = serde_json::from_slice(line)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)));
    let msg = parts["msg"].as_str().unwrap();
    let id = match serde_json::from_str::<Value>(msg) {
        Ok(record) => record["event"]["id"].as_str().unwrap().to_owned(),
        // CEF and LEEF.
        Err(_) => {
            let at = msg.find("externalId=").map(|at| at + 11).unwrap_or_else(|| panic!("no id: {msg}"));
            msg[at..at + 32].to_owned()
        }
    };
    Message { parts, id }
}
