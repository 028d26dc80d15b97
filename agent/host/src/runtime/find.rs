//! Where runtimes have their sockets.

use super::RuntimeConfig;
use std::path::PathBuf;

/// What a socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Docker's HTTP API.
    Docker,
    /// The same, spoken by Podman.
    Podman,
    /// CRI over gRPC.
    Cri,
}

impl Kind {
    /// Whether a container may be known there whose cgroup names this runtime; an empty name may be any.
    pub(super) fn may_know(self, runtime: &[u8], in_pod: bool) -> bool {
        match runtime {
            // Of pods in Docker cri-dockerd knows more.
            b"docker" => self == Self::Docker || (self == Self::Cri && in_pod),
            b"podman" => self == Self::Podman,
            b"containerd" | b"cri-o" => self == Self::Cri,
            // A cgroup that names no runtime may be anybody's.
            _ => true,
        }
    }
}

/// A socket that may be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) kind: Kind,
    pub(super) path: PathBuf,
    /// The operator named it.
    pub(super) named: bool,
}

/// /var/run is /run since systemd came.
const KNOWN: [(Kind, &str); 9] = [
    (Kind::Cri, "/run/containerd/containerd.sock"),
    (Kind::Cri, "/run/k3s/containerd/containerd.sock"),
    (Kind::Cri, "/var/snap/microk8s/common/run/containerd.sock"),
    (Kind::Cri, "/run/k0s/containerd.sock"),
    (Kind::Cri, "/run/crio/crio.sock"),
    (Kind::Cri, "/run/cri-dockerd.sock"),
    (Kind::Docker, "/run/docker.sock"),
    (Kind::Docker, "/var/snap/docker/common/run/docker.sock"),
    (Kind::Podman, "/run/podman/podman.sock"),
];

/// The sockets to look at.
pub(super) fn sockets(config: &RuntimeConfig) -> Vec<Socket> {
    if !config.sockets.is_empty() {
        let named = config.sockets.iter().filter_map(|text| parse(text).ok());
        return named.map(|(kind, path)| Socket { kind, path, named: true }).collect();
    }
    // Those of users are not among them: a user could tell lies of containers that are not his.
    KNOWN.iter().map(|(kind, path)| Socket { kind: *kind, path: path.into(), named: false }).collect()
}

/// A socket as the operator writes it.
///
/// # Errors
/// A sentence: why it is none.
pub(super) fn parse(text: &str) -> Result<(Kind, PathBuf), String> {
    let prefixes = [("docker:", Kind::Docker), ("podman:", Kind::Podman), ("cri:", Kind::Cri)];
    let prefixed = prefixes.into_iter().find_map(|(prefix, kind)| Some((kind, text.strip_prefix(prefix)?)));
    let (kind, rest) = prefixed.map_or((None, text), |(kind, rest)| (Some(kind), rest));
    let path = rest.strip_prefix("unix://").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(format!("{text:?} is no absolute path; write e.g. \"docker:/run/docker.sock\""));
    }
    let kind = kind.or_else(|| guess(path)).ok_or_else(|| {
        format!("the name of {text:?} does not tell what it speaks; write docker:, podman: or cri: before it")
    })?;
    Ok((kind, path.into()))
}

fn guess(path: &str) -> Option<Kind> {
    // cri-dockerd.sock speaks CRI.
    let words =
        [("containerd", Kind::Cri), ("cri", Kind::Cri), ("podman", Kind::Podman), ("docker", Kind::Docker)];
    words.into_iter().find(|(word, _)| path.contains(word)).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_socket_is_recognised_by_its_own_name_too() {
        for (kind, path) in KNOWN {
            assert_eq!(parse(path), Ok((kind, path.into())), "{path}");
        }
    }

    #[test]
    fn a_container_of_docker_in_a_pod_is_known_to_cri_as_well() {
        assert!(!Kind::Cri.may_know(b"docker", false) && Kind::Cri.may_know(b"docker", true));
        assert!(Kind::Docker.may_know(b"docker", true) && !Kind::Podman.may_know(b"docker", true));
        assert!(Kind::Cri.may_know(b"", false) && !Kind::Docker.may_know(b"containerd", true));
    }

    #[test]
    fn a_socket_is_known_by_its_name_or_by_what_stands_before_it() {
        let table = [
            ("unix:///run/docker.sock", Kind::Docker),
            ("/run/podman/podman.sock", Kind::Podman),
            ("docker:unix:///tmp/x", Kind::Docker),
            ("/run/containerd/containerd.sock", Kind::Cri),
            ("/run/crio/crio.sock", Kind::Cri),
            ("/run/cri-dockerd.sock", Kind::Cri),
            ("cri:/tmp/x", Kind::Cri),
        ];
        for (text, kind) in table {
            assert_eq!(parse(text).map(|found| found.0), Ok(kind), "{text}");
        }
        assert!(parse("/tmp/x").unwrap_err().contains("docker:"));
        assert!(parse("run/docker.sock").unwrap_err().contains("absolute"));
        assert!(parse("tcp://127.0.0.1:2375").is_err());
    }
}
