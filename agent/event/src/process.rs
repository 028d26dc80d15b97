//! Processes and the machine they run on, as events refer to them.

use crate::raw::{Args, Credentials, FileType, Inode, Layer, Namespaces};
use crate::workload::Workload;
use crate::{EntityId, IdMint, Starts, Text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A process as it was at one moment; a new snapshot replaces it when it execs.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// Stable id.
    pub entity_id: EntityId,
    /// Process id, initial pid namespace.
    pub pid: u32,
    /// Process id of the parent that created it.
    pub ppid: u32,
    /// Start, CLOCK_BOOTTIME ns.
    pub start_boot_ns: u64,
    /// Command name, at most 15 bytes.
    pub comm: Text,
    /// Path of the program that runs; empty for kernel threads and where it is not known.
    pub path: Text,
    /// Path given to execve; empty when the exec was not seen.
    pub filename: Text,
    /// Arguments.
    pub args: Args,
    /// Working directory at exec; empty when not known.
    pub cwd: Text,
    /// The program's file.
    pub exe: Inode,
    /// The program is a memfd.
    pub memfd: bool,
    /// Where the program lies in an overlay file system; none: in no such one, or not known.
    pub layer: Option<Layer>,
    /// `filename` is a script and `path` its interpreter.
    pub script: bool,
    /// Variables of the environment at exec that are asked for, `KEY=VALUE` NUL ….
    pub environment: Text,
    /// Start of the first process of its pid namespace, CLOCK_BOOTTIME ns; 0: not known.
    pub init_start_boot_ns: u64,
    /// Ids and capabilities.
    pub creds: Credentials,
    /// Namespaces.
    pub ns: Namespaces,
    /// Controlling terminal as a device number; 0: none.
    pub tty: u32,
    /// Audit login uid; u32::MAX: unset.
    pub loginuid: u32,
    /// Audit session id; u32::MAX: unset.
    pub audit_session: u32,
    /// Session id.
    pub sid: u32,
    /// Process group id.
    pub pgid: u32,
    /// Process id in its own pid namespace.
    pub vpid: u32,
    /// Process group id in its own pid namespace.
    pub vpgid: u32,
    /// Session id in its own pid namespace.
    pub vsid: u32,
    /// What descriptor 0 was at exec.
    pub stdin: FileType,
    /// What descriptor 1 was at exec.
    pub stdout: FileType,
    /// Where it runs.
    pub workload: Arc<Workload>,
}

/// Facts of the machine for `host.*`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostFacts {
    /// `/etc/machine-id`; `host.id`.
    pub machine_id: String,
    /// `/proc/sys/kernel/random/boot_id`; `host.boot.id`.
    pub boot_id: String,
    /// Every source tells the starts of processes in ns ([`crate::Starts::Exact`]); not so in captures of earlier
    /// versions, whose ids are made by ticks.
    #[serde(default)]
    pub exact_starts: bool,
    /// Host name.
    pub hostname: String,
    /// Machine architecture as uname tells.
    pub architecture: String,
    /// Addresses of all interfaces but loopback.
    pub ip: Vec<IpAddr>,
    /// Kernel release.
    pub kernel: String,
    /// os-release ID, e.g. `debian`; `host.os.platform`.
    pub os_id: String,
    /// os-release NAME; `host.os.name`.
    pub os_name: String,
    /// os-release VERSION_ID; `host.os.version`.
    pub os_version: String,
    /// os-release PRETTY_NAME; `host.os.full`.
    pub os_full: String,
    /// Time zone by its name in the tz database, e.g. `Europe/Berlin`; empty: not known. `event.timezone`.
    #[serde(default)]
    pub timezone: String,
    /// The cloud it runs in; none: in none that tells itself.
    #[serde(default)]
    pub cloud: Option<Box<CloudFacts>>,
}

/// Facts of a machine in a cloud for `cloud.*`. Whatever is not told is empty.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CloudFacts {
    /// `aws`, `azure`, `gcp`, `openstack`, …; `cloud.provider`.
    pub provider: String,
    /// Id of the instance; `cloud.instance.id`.
    pub instance_id: String,
    /// `cloud.region`.
    pub region: String,
    /// `cloud.availability_zone`.
    pub availability_zone: String,
}

impl HostFacts {
    /// What makes the ids of this boot of the machine.
    pub fn mint(&self) -> IdMint {
        let starts = if self.exact_starts { Starts::Exact } else { Starts::Ticks };
        IdMint::new(&self.machine_id, &self.boot_id).with_starts(starts)
    }
}

/// Facts of this agent for `agent.*`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AgentFacts {
    /// Stable id of the installation: from the machine id.
    pub id: String,
    /// New at each start.
    pub ephemeral_id: String,
    /// Version of hostward.
    pub version: String,
    /// Process id of the agent.
    pub pid: u32,
}

/// The domain names that rules list, by the addresses that they resolve to.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DomainTable {
    /// Address to names.
    pub names: BTreeMap<IpAddr, Vec<Text>>,
}

/// Names of users and groups; bytes, since a passwd file is bytes.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UserTable {
    /// uid to name.
    pub users: BTreeMap<u32, Text>,
    /// gid to name.
    pub groups: BTreeMap<u32, Text>,
}
