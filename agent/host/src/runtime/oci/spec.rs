//! What runc and crun write of a container, and the OCI runtime specification's `config.json` of its bundle.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Privileged containers have at least these.
const PRIVILEGED: [&str; 3] = ["CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_RAWIO"];

/// What the state tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) bundle: String,
    /// Annotations; crun's state has none.
    pub(super) annotations: BTreeMap<String, String>,
    /// RFC 3339.
    pub(super) created: String,
    /// Directory of its cgroup as it is mounted here.
    pub(super) cgroup_dir: String,
    /// Path of its cgroup below the hierarchy's root.
    pub(super) cgroup_path: String,
}

/// `state.json` of runc 1.x.
#[derive(Deserialize)]
struct RuncState {
    created: Option<String>,
    cgroup_paths: Option<BTreeMap<String, String>>,
    config: Option<RuncConfig>,
}

#[derive(Deserialize)]
struct RuncConfig {
    /// Annotations as `key=value`, and `bundle=…` as the last.
    labels: Option<Vec<String>>,
}

/// `status` of crun 1.x.
#[derive(Deserialize)]
struct CrunStatus {
    bundle: Option<String>,
    created: Option<String>,
    #[serde(rename = "cgroup-path")]
    cgroup_path: Option<String>,
}

/// The hierarchies whose directory the sensor's programs name: the unified one, then these.
const HIERARCHIES: [&str; 4] = ["", "memory", "pids", "devices"];

pub(super) fn runc(file: &[u8]) -> Option<State> {
    let told: RuncState = serde_json::from_slice(file).ok()?;
    let mut annotations: BTreeMap<String, String> = BTreeMap::new();
    for label in told.config.and_then(|config| config.labels).unwrap_or_default() {
        if let Some((key, value)) = label.split_once('=') {
            annotations.insert(key.to_owned(), value.to_owned());
        }
    }
    let bundle = annotations.remove("bundle").unwrap_or_default();
    let mut paths = told.cgroup_paths.unwrap_or_default();
    let cgroup_dir = HIERARCHIES.iter().find_map(|name| paths.remove(*name)).unwrap_or_default();
    let created = told.created.unwrap_or_default();
    Some(State { bundle, annotations, created, cgroup_dir, cgroup_path: String::new() })
}

pub(super) fn crun(file: &[u8]) -> Option<State> {
    let told: CrunStatus = serde_json::from_slice(file).ok()?;
    Some(State {
        bundle: told.bundle.unwrap_or_default(),
        created: told.created.unwrap_or_default(),
        cgroup_path: told.cgroup_path.unwrap_or_default(),
        ..State::default()
    })
}

/// `config.json`; whatever is null or missing was not asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Spec {
    process: Option<Process>,
    annotations: Option<BTreeMap<String, String>>,
    mounts: Option<Vec<Mounted>>,
    linux: Option<Linux>,
}

#[derive(Debug, Default, Deserialize)]
struct Process {
    args: Option<Vec<String>>,
    capabilities: Option<Capabilities>,
}

#[derive(Debug, Default, Deserialize)]
struct Capabilities {
    bounding: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Mounted {
    pub(super) destination: Option<String>,
    pub(super) source: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    options: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
struct Linux {
    #[serde(rename = "maskedPaths")]
    masked: Option<Vec<String>>,
    #[serde(rename = "readonlyPaths")]
    readonly: Option<Vec<String>>,
    resources: Option<Resources>,
}

#[derive(Debug, Default, Deserialize)]
struct Resources {
    devices: Option<Vec<Device>>,
}

#[derive(Debug, Deserialize)]
struct Device {
    allow: Option<bool>,
    #[serde(rename = "type")]
    kind: Option<String>,
    major: Option<i64>,
    access: Option<String>,
}

impl Spec {
    pub(super) fn parse(file: &[u8]) -> Option<Self> {
        serde_json::from_slice(file).ok()
    }

    /// False for one that could not be read.
    pub(super) fn is_known(&self) -> bool {
        self.process.is_some()
    }

    pub(super) fn annotations(&self) -> Option<&BTreeMap<String, String>> {
        self.annotations.as_ref()
    }

    pub(super) fn args(&self) -> &[String] {
        self.process.as_ref().and_then(|process| process.args.as_deref()).unwrap_or_default()
    }

    pub(super) fn bounding(&self) -> &[String] {
        let capabilities = self.process.as_ref().and_then(|process| process.capabilities.as_ref());
        capabilities.and_then(|all| all.bounding.as_deref()).unwrap_or_default()
    }

    /// All that `--privileged` gives: capabilities over the whole machine, no path hidden or read-only, and
    /// every device.
    pub(super) fn is_privileged(&self) -> bool {
        let Some(linux) = &self.linux else { return false };
        let none = |paths: &Option<Vec<String>>| paths.as_ref().is_none_or(Vec::is_empty);
        let devices = linux.resources.as_ref().and_then(|resources| resources.devices.as_deref());
        let all = |device: &Device| {
            device.allow == Some(true)
                && device.kind.as_deref().is_none_or(|kind| kind == "a")
                && device.major.is_none_or(|major| major < 0)
                && device.access.as_deref().is_none_or(|access| access == "rwm")
        };
        PRIVILEGED.iter().all(|name| self.bounding().iter().any(|own| own == name))
            && none(&linux.masked)
            && none(&linux.readonly)
            && devices.is_some_and(|devices| devices.iter().any(all))
    }

    /// What was mounted of the host; what every container has (`/proc`, `/dev`) is left out.
    pub(super) fn binds(&self) -> impl Iterator<Item = &Mounted> {
        self.mounts
            .iter()
            .flatten()
            .filter(|mount| mount.kind.as_deref() == Some("bind") || mount.has("bind") || mount.has("rbind"))
    }
}

impl Mounted {
    fn has(&self, option: &str) -> bool {
        self.options.iter().flatten().any(|own| own == option)
    }

    pub(super) fn is_writable(&self) -> bool {
        !self.has("ro")
    }

    /// `rprivate` and its like; empty: not told.
    pub(super) fn propagation(&self) -> &str {
        let known = |option: &&String| {
            matches!(
                option.strip_prefix('r').unwrap_or(option),
                "private" | "slave" | "shared" | "unbindable"
            )
        };
        self.options.iter().flatten().find(known).map_or("", String::as_str)
    }
}
