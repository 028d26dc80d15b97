//! What `host.*` and `agent.*` tell.

use crate::read_bounded;
use hostward_event::IdMint;
use hostward_event::process::{AgentFacts, HostFacts};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

/// More addresses than this say nothing about a host any more; Kubernetes nodes have hundreds.
const MAX_ADDRESSES: usize = 64;
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Reads the facts of this machine. What cannot be read is empty. Starts of processes are those of /proc.
pub fn host_facts() -> HostFacts {
    let uname = rustix::system::uname();
    let release =
        ["/etc/os-release", "/usr/lib/os-release"].into_iter().map(text).find(|text| !text.is_empty());
    let release = release.unwrap_or_default();
    HostFacts {
        machine_id: machine_id(),
        boot_id: text("/proc/sys/kernel/random/boot_id"),
        exact_starts: false,
        hostname: uname.nodename().to_string_lossy().into_owned(),
        architecture: uname.machine().to_string_lossy().into_owned(),
        ip: addresses(),
        kernel: uname.release().to_string_lossy().into_owned(),
        os_id: os_release(&release, "ID"),
        os_name: os_release(&release, "NAME"),
        os_version: os_release(&release, "VERSION_ID"),
        os_full: os_release(&release, "PRETTY_NAME"),
        timezone: crate::place::timezone(Path::new("/")),
        cloud: crate::place::cloud(Path::new("/")).map(Box::new),
    }
}

/// The facts of this agent; `version` is the program's.
pub fn agent_facts(version: &str) -> AgentFacts {
    let machine_id = machine_id();
    // Without a machine id (a container image, a first boot) the host name is what stays.
    let seed = if machine_id.is_empty() {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    } else {
        machine_id
    };
    AgentFacts {
        id: IdMint::new(&seed, "agent").entity(0, 0).to_string(),
        ephemeral_id: text("/proc/sys/kernel/random/uuid"),
        version: version.to_owned(),
        pid: std::process::id(),
    }
}

/// See machine-id(5). `uninitialized` stands there during a first boot.
fn machine_id() -> String {
    let ids = ["/etc/machine-id", "/var/lib/dbus/machine-id"].into_iter().map(text);
    ids.into_iter().find(|id| !id.is_empty() && id != "uninitialized").unwrap_or_default()
}

fn text(path: &str) -> String {
    let bytes = read_bounded(Path::new(path), MAX_FILE_BYTES).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// A value of os-release(5), which is written in a subset of shell: quotes and backslashes.
fn os_release(text: &str, key: &str) -> String {
    let Some(raw) = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('=')) else {
        return String::new();
    };
    let quoted = ['"', '\''].into_iter().find_map(|quote| raw.strip_prefix(quote)?.strip_suffix(quote));
    let mut value = String::new();
    let mut escaped = false;
    for c in quoted.unwrap_or(raw).chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            value.push(c);
            escaped = false;
        }
    }
    value
}

/// Addresses of all interfaces that are no loopback, sorted, each once.
fn addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let outside = interfaces.filter(|interface| !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK));
    let all: BTreeSet<IpAddr> = outside
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect();
    all.into_iter().take(MAX_ADDRESSES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_is_read_as_a_shell_would() {
        let text = "NAME=\"A \\\"B\\\" \\\\\"\nID=debian\nVERSION_ID='12'\n# ID=no\nPRETTY_NAME=\n";
        let read = |key| os_release(text, key);
        assert_eq!([read("NAME"), read("ID"), read("VERSION_ID")], ["A \"B\" \\", "debian", "12"]);
        assert_eq!([read("PRETTY_NAME"), read("VARIANT")], ["", ""]);
    }

    #[test]
    fn this_machine_is_told() {
        let facts = host_facts();
        assert_eq!((facts.boot_id.len(), facts.os_id.is_empty()), (36, false));
        assert!(!facts.kernel.is_empty() && !facts.hostname.is_empty() && !facts.architecture.is_empty());
        assert!(facts.ip.iter().all(|ip| !ip.is_loopback()), "{:?}", facts.ip);
        let (one, two) = (agent_facts("1.2.3"), agent_facts("1.2.3"));
        assert_eq!((&one.id, one.version.as_str(), one.pid), (&two.id, "1.2.3", std::process::id()));
        assert_ne!(one.ephemeral_id, two.ephemeral_id);
    }
}
