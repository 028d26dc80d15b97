//! Programs that no response may kill.

use crate::config::{Config, Problem};
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// What a host cannot be without: losing one of these takes sessions, logs, workloads or the way in
/// with it. By path only, since any process can take any name. Sessions of sshd that run the daemon's
/// own file are protected with it; the shells in them are not.
pub(crate) const SHIPPED: &[&str] = &[
    "/{usr/,}lib/systemd/systemd",
    "/{usr/,}lib/systemd/systemd-{journald,logind,udevd,networkd,resolved,timesyncd,oomd,executor}",
    "/{usr/,}{bin,sbin}/{init,udevadm,openrc-init,runit,s6-svscan}",
    "/{usr/,}bin/{dbus-daemon,dbus-broker,dbus-broker-launch}",
    "/{usr/,usr/local/,}{bin,sbin}/sshd",
    "/{usr/,}sbin/{auditd,rsyslogd,NetworkManager}",
    "/{usr/,usr/local/,}{bin,sbin}/{containerd,containerd-shim*,dockerd,docker-init,crio,conmon,kubelet,k3s}",
    "/var/lib/rancher/{k3s,rke2}/data/*/bin/{k3s,containerd,containerd-shim*,kubelet}",
    "/snap/microk8s/*/**/{containerd,containerd-shim*,kubelite}",
    "/{usr/,usr/local/,}{bin,sbin}/hostward",
];

/// Who may never be killed; cheap to ask, shared between the kernel plan and the responder.
#[derive(Clone, Debug)]
pub struct Protected {
    paths: GlobSet,
    comms: BTreeSet<Vec<u8>>,
}

/// `*` and `?` stay within one path component.
pub(crate) fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).empty_alternates(true).build()
}

impl Protected {
    /// The shipped list, if configured, and the configuration's own entries.
    ///
    /// # Errors
    /// Names the first entry that is no glob; [`Config::validate`] names all.
    pub fn new(config: &Config) -> Result<Self, Problem> {
        let mut set = GlobSetBuilder::new();
        for pattern in config.protected_globs() {
            let what = |error: &globset::Error| format!("has {pattern:?}: {}", error.kind());
            let problem = |what| Problem { key: "protected_paths", what, hint: "mend the glob" };
            set.add(glob(pattern).map_err(|error| problem(what(&error)))?);
        }
        let too_large = |error: globset::Error| Problem {
            key: "protected_paths",
            what: format!("is too much together: {}", error.kind()),
            hint: "use fewer or simpler globs",
        };
        let paths = set.build().map_err(too_large)?;
        let comms = config.protected_comms.iter().map(|comm| comm.as_bytes().to_vec()).collect();
        Ok(Self { paths, comms })
    }

    /// True when the program of this path must not be killed. Whether the file is really the host's is
    /// for the responder to check.
    pub fn protects_path(&self, path: &[u8]) -> bool {
        self.paths.is_match(OsStr::from_bytes(path))
    }

    /// True when a process of this command name must not be killed.
    pub fn protects_comm(&self, comm: &[u8]) -> bool {
        self.comms.contains(comm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_list_covers_both_directory_layouts_and_nothing_beside_it() {
        let protected = Protected::new(&Config::default()).unwrap();
        for path in [
            "/usr/lib/systemd/systemd",
            "/lib/systemd/systemd",
            "/lib/systemd/systemd-journald",
            "/sbin/init",
            "/usr/sbin/sshd",
            "/usr/bin/dbus-daemon",
            "/usr/bin/containerd-shim-runc-v2",
            "/usr/local/bin/k3s",
        ] {
            assert!(protected.protects_path(path.as_bytes()), "{path}");
        }
        for path in [
            "/usr/bin/bash",
            "/tmp/usr/sbin/sshd",
            "/usr/sbin/sshd/x",
            "/usr/bin/containerd-shim/x",
            "/usr/bin/runc",
            "",
        ] {
            assert!(!protected.protects_path(path.as_bytes()), "{path}");
        }
        assert!(!protected.protects_comm(b"systemd"), "a name alone protects nobody");
    }

    #[test]
    fn configuration_adds_and_takes_away() {
        let config = Config {
            protected_paths: vec!["/opt/db/**".into()],
            protected_comms: vec!["oracle".into()],
            protect_defaults: false,
            ..Config::default()
        };
        let protected = Protected::new(&config).unwrap();
        assert!(protected.protects_path(b"/opt/db/bin/\xff"));
        assert!(protected.protects_comm(b"oracle"));
        assert!(!protected.protects_path(b"/usr/sbin/sshd"));
    }
}
