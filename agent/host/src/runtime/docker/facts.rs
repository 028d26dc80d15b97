//! From what the API answers to facts. Field names are those of Docker's API 1.24 and later.

use crate::runtime::bounds::{MAX_ITEMS, labels, texts, time_ns, word};
use hostward_event::Text;
use hostward_event::workload::{ContainerFacts, ImageFacts, Mount, Source};
use serde::Deserialize;
use std::collections::BTreeMap;

const POD_UID: &str = "io.kubernetes.pod.uid";
const SANDBOX_TYPE: &str = "io.kubernetes.docker.type";
const SANDBOX_ID: &str = "io.kubernetes.sandbox.id";

/// `GET /containers/ID/json`; what is null or missing has its default.
#[derive(Debug, Deserialize)]
pub(super) struct Inspected {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "Name", default)]
    name: Option<String>,
    #[serde(rename = "Image", default)]
    image: Option<String>,
    #[serde(rename = "Path", default)]
    path: Option<String>,
    #[serde(rename = "Args", default)]
    args: Option<Vec<String>>,
    #[serde(rename = "Config", default)]
    config: Option<Settings>,
    #[serde(rename = "HostConfig", default)]
    host: Option<HostSettings>,
    #[serde(rename = "State", default)]
    state: Option<State>,
    #[serde(rename = "Mounts", default)]
    mounts: Option<Vec<Mounted>>,
}

#[derive(Debug, Default, Deserialize)]
struct Settings {
    #[serde(rename = "Image", default)]
    image: Option<String>,
    #[serde(rename = "Labels", default)]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
struct HostSettings {
    #[serde(rename = "Privileged", default)]
    privileged: Option<bool>,
    #[serde(rename = "CapAdd", default)]
    cap_add: Option<Vec<String>>,
    #[serde(rename = "CapDrop", default)]
    cap_drop: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
struct State {
    #[serde(rename = "StartedAt", default)]
    started: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Mounted {
    #[serde(rename = "Source", default)]
    source: Option<String>,
    #[serde(rename = "Name", default)]
    name: Option<String>,
    #[serde(rename = "Destination", default)]
    destination: Option<String>,
    #[serde(rename = "RW", default)]
    writable: Option<bool>,
    #[serde(rename = "Propagation", default)]
    propagation: Option<String>,
}

/// One line of `GET /events`.
#[derive(Debug, Deserialize)]
struct Told {
    #[serde(rename = "Action", default)]
    action: Option<String>,
    #[serde(rename = "status", default)]
    status: Option<String>,
    #[serde(rename = "id", default)]
    id: Option<String>,
    #[serde(rename = "Actor", default)]
    actor: Option<Actor>,
}

#[derive(Debug, Deserialize)]
struct Actor {
    #[serde(rename = "ID", default)]
    id: Option<String>,
}

/// What happened to which container.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) action: String,
    pub(super) id: String,
}

/// Reads an event; none for anything else.
pub(super) fn event(line: &[u8]) -> Option<Event> {
    let told: Told = serde_json::from_slice(line).ok()?;
    let id = told.actor.and_then(|actor| actor.id).or(told.id).filter(|id| is_id(id))?;
    Some(Event { action: told.action.or(told.status)?, id })
}

/// An id that may stand in a path: `sha256:` and hex, or hex.
pub(super) fn is_id(id: &str) -> bool {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    !hex.is_empty() && hex.len() <= 128 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `name@sha256:…` as `sha256:…`.
pub(super) fn digests(named: &[String]) -> Vec<Text> {
    let digests = named.iter().filter_map(|name| Some(name.rsplit_once('@')?.1));
    let mut all: Vec<Text> = digests.filter(|digest| is_id(digest)).take(MAX_ITEMS).map(Text::from).collect();
    all.sort();
    all.dedup();
    all
}

impl Inspected {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn image_id(&self) -> Option<&str> {
        self.image.as_deref()
    }

    pub(super) fn facts(self, source: Source) -> ContainerFacts {
        let settings = self.config.unwrap_or_default();
        let host = self.host.unwrap_or_default();
        let labels = labels(settings.labels.unwrap_or_default());
        let label = |key: &str| labels.get(&Text::from(key)).cloned().unwrap_or_default();
        let capability = |name: String, sign: &str| {
            let name = name.to_ascii_uppercase();
            let prefix = if name.starts_with("CAP_") || name == "ALL" { "" } else { "CAP_" };
            format!("{sign}{prefix}{name}")
        };
        let added = host.cap_add.unwrap_or_default().into_iter().map(|name| capability(name, ""));
        let dropped = host.cap_drop.unwrap_or_default().into_iter().map(|name| capability(name, "-"));
        let command = self.path.into_iter().chain(self.args.unwrap_or_default());
        let id = word(&self.image.unwrap_or_default());
        let mount = |mount: Mounted| Mount {
            source: word(&mount.source.filter(|path| !path.is_empty()).or(mount.name).unwrap_or_default()),
            destination: word(&mount.destination.unwrap_or_default()),
            writable: mount.writable.unwrap_or_default(),
            propagation: word(&mount.propagation.unwrap_or_default()),
        };
        ContainerFacts {
            source,
            id: word(&self.id),
            runtime: Text::from_static(if source == Source::Podman { "podman" } else { "docker" }),
            name: word(self.name.unwrap_or_default().trim_start_matches('/')),
            image: ImageFacts {
                reference: word(&settings.image.unwrap_or_default()),
                id,
                digests: Vec::new(),
            },
            command: texts(command),
            mounts: self.mounts.unwrap_or_default().into_iter().take(MAX_ITEMS).map(mount).collect(),
            privileged: host.privileged,
            capabilities: texts(added.chain(dropped)),
            started_ns: time_ns(&self.state.unwrap_or_default().started.unwrap_or_default()),
            sandbox: label(SANDBOX_TYPE).as_bytes() == b"podsandbox",
            sandbox_id: label(SANDBOX_ID),
            pod_uid: label(POD_UID),
            labels,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn an_answer_becomes_facts() {
        let answer = serde_json::json!({
            "Id": ID, "Name": "/web", "Image": "sha256:ab", "Path": "nginx", "Args": ["-g", "daemon off;"],
            "Config": {"Image": "nginx:1.27", "Labels": {"team": "a", "io.kubernetes.pod.uid": "u"}},
            "HostConfig": {"Privileged": true, "CapAdd": ["NET_ADMIN", "CAP_SYS_TIME"], "CapDrop": ["ALL"]},
            "State": {"StartedAt": "2025-10-09T08:53:20.000000001Z"},
            "Mounts": [{"Type": "bind", "Source": "/srv", "Destination": "/data", "RW": true, "Propagation": "rprivate"},
                       {"Type": "volume", "Name": "v", "Source": "", "Destination": "/v", "RW": false}],
        });
        let told: Inspected = serde_json::from_value(answer).unwrap();
        let facts = told.facts(Source::Docker);
        assert_eq!((facts.name.as_bytes(), facts.pod_uid.as_bytes()), (&b"web"[..], &b"u"[..]));
        assert_eq!(facts.image.name_and_tag(), (&b"nginx"[..], &b"1.27"[..]));
        assert_eq!(facts.capabilities, ["CAP_NET_ADMIN", "CAP_SYS_TIME", "-ALL"].map(Text::from));
        assert_eq!((facts.privileged, facts.started_ns), (Some(true), 1_760_000_000_000_000_001));
        assert_eq!(facts.command.len(), 3);
        let mounts: Vec<_> = facts.mounts.iter().map(|m| (m.source.to_string(), m.writable)).collect();
        assert_eq!(mounts, [("/srv".to_owned(), true), ("v".to_owned(), false)]);
    }

    #[test]
    fn what_is_null_or_missing_is_not_told() {
        let told: Inspected = serde_json::from_str(&format!(
            r#"{{"Id":"{ID}","Name":null,"Config":{{"Labels":null}},"HostConfig":null,"Mounts":null,
                "State":{{"StartedAt":"0001-01-01T00:00:00Z"}}}}"#
        ))
        .unwrap();
        let facts = told.facts(Source::Podman);
        assert_eq!((facts.started_ns, facts.privileged, facts.labels.len()), (0, None, 0));
    }

    #[test]
    fn an_event_names_its_container() {
        let line = format!(
            r#"{{"status":"create","id":"{ID}","Type":"container","Action":"create","Actor":{{"ID":"{ID}"}}}}"#
        );
        assert_eq!(event(line.as_bytes()), Some(Event { action: "create".into(), id: ID.into() }));
        assert_eq!(event(br#"{"Action":"create","Actor":{"ID":"../../x"}}"#), None);
    }

    #[test]
    fn digests_are_told_without_names() {
        let named = ["nginx@sha256:ab", "x:5000/nginx@sha256:ab", "none"].map(str::to_owned);
        assert_eq!(digests(&named), [Text::from("sha256:ab")]);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(line: Vec<u8>, name: String, label: String) {
            let _ = event(&line);
            let _ = serde_json::from_slice::<Inspected>(&line).map(|told| told.facts(Source::Docker));
            let answer = serde_json::json!({"Id": name, "Name": name, "Config": {"Image": label, "Labels": {label.clone(): name}},
                "State": {"StartedAt": label}});
            let told: Inspected = serde_json::from_value(answer).unwrap();
            let _ = told.facts(Source::Docker);
        }
    }
}
