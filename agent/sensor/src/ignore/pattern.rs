//! Values of a block: paths, networks, cgroups.

use hostward_abi::maps::{IGNORE_KEY_BYTES, IGNORE_TAIL_BYTES};
use std::net::IpAddr;

/// Longest text of a key, with its NUL.
const TEXT_BYTES: usize = IGNORE_KEY_BYTES - 4;

/// Which paths are meant; the form in which the programs compare them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// The whole path, with a NUL.
    Exact(Vec<u8>),
    /// Its front.
    Front(Vec<u8>),
    /// Its end, the last byte first.
    End(Vec<u8>),
}

impl Pattern {
    /// `/a/b`, `/a/*`, `*.log` or a file's name; else what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.contains('\0') {
            return Err("has a NUL".into());
        }
        let pattern = match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(end), None) => Self::End(end.bytes().rev().collect()),
            (None, Some(front)) if front.starts_with('/') => Self::Front(front.into()),
            (None, None) if text.starts_with('/') => Self::Exact([text.as_bytes(), b"\0"].concat()),
            (None, None) if !text.is_empty() && !text.contains('/') => {
                Self::End(text.bytes().rev().chain(*b"/").collect())
            }
            _ => return Err("is no path (/a/b), front (/a/*), end (*.log) or name of a file (b)".into()),
        };
        let (bytes, most) = match &pattern {
            Self::Exact(bytes) | Self::Front(bytes) => (bytes, TEXT_BYTES),
            Self::End(bytes) => (bytes, IGNORE_TAIL_BYTES),
        };
        if bytes.contains(&b'*') {
            return Err(
                "has a * in the middle; one at the front or at the end is all that the kernel compares"
                    .into(),
            );
        }
        if bytes.is_empty() || bytes == b"/" {
            return Err("is every path; leave the key out".into());
        }
        if bytes.len() > most {
            return Err(format!("has more bytes than the kernel compares, {most}"));
        }
        Ok(pattern)
    }
}

/// A network as the programs compare it: 16 bytes, those of IPv4 as IPv6 maps them, and how many bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) address: [u8; 16],
    pub(super) bits: u32,
}

impl Network {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let (address, own, before) = match address.parse().ok()? {
            IpAddr::V4(v4) => (v4.to_ipv6_mapped(), 32, 96),
            IpAddr::V6(v6) => (v6, 128, 0),
        };
        let bits: u32 = bits.map_or(Some(own), |bits| bits.parse().ok()).filter(|bits| *bits <= own)?;
        Some(Self { address: address.octets(), bits: before + bits })
    }
}

/// True when the cgroup at `path` is `wanted`, or below it: a path, or the name of a unit. A unit is where the service
/// manager puts it, below slices alone: what a user names like it lies below the user's own service.
pub(super) fn is_in(path: &[u8], wanted: &[u8]) -> bool {
    if wanted.starts_with(b"/") {
        return path.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
    }
    for component in path.split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
        if component == wanted {
            return true;
        }
        if !component.ends_with(b".slice") {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_paths() {
        let of = |text| Pattern::parse(text).unwrap();
        assert_eq!(of("/a/b"), Pattern::Exact(b"/a/b\0".into()));
        assert_eq!(of("/a/*"), Pattern::Front(b"/a/".into()));
        assert_eq!(of("*.log"), Pattern::End(b"gol.".into()));
        assert_eq!(of("core"), Pattern::End(b"eroc/".into()));
        for wrong in ["", "*", "/*", "a/b", "*a*", "/a/*/b", "a*"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Pattern::parse(&format!("/{}", "x".repeat(250))).is_ok());
        assert!(Pattern::parse(&format!("/{}", "x".repeat(251))).is_err());
        assert!(Pattern::parse(&"x".repeat(64)).is_err());
    }

    #[test]
    fn networks_are_of_one_length() {
        let v4 = Network::parse("10.0.0.0/8").unwrap();
        assert_eq!((&v4.address[10..14], v4.bits), (&[0xff, 0xff, 10, 0][..], 104));
        assert_eq!(Network::parse("::1").unwrap().bits, 128);
        for wrong in ["10.0.0.0/33", "::/129", "10.0.0", "", "1.2.3.4/", "1.2.3.4/-1"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_unit_is_where_only_the_service_manager_puts_it() {
        let unit = |path: &str| is_in(path.as_bytes(), b"cron.service");
        assert!(unit("/system.slice/cron.service"));
        assert!(unit("/system.slice/system-x.slice/cron.service/below"));
        assert!(!unit("/user.slice/user-0.slice/user@0.service/app.slice/cron.service"));
        assert!(!unit("/system.slice/other.service") && !unit("/"));
        let path = |path: &str| is_in(path.as_bytes(), b"/a/b");
        assert!(path("/a/b") && path("/a/b/c"));
        assert!(!path("/a/bc") && !path("/a") && !path("/x/a/b"));
    }
}
