//! Whose events of a kind are wanted, and of connects: to where.

use crate::Text;
use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv6Addr;

/// A network as the kernel's table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// Its address, that of IPv4 as IPv6 maps it.
    pub address: u128,
    /// Bits of it that count; of IPv4 96 more than its prefix has.
    pub bits: u32,
}

impl Network {
    /// True when `address`, one of IPv4 as IPv6 maps it, lies in it.
    pub const fn contains(self, address: u128) -> bool {
        match (self.address ^ address).checked_shr(128 - self.bits) {
            Some(differs) => differs == 0,
            None => true,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from(self.address);
        match address.to_ipv4_mapped().filter(|_| self.bits >= 96) {
            Some(address) => write!(f, "{address}/{}", self.bits - 96),
            None => write!(f, "{address}/{}", self.bits),
        }
    }
}

/// One alternative of what is wanted: an event fits that has one of the values of each set there is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Scope {
    /// Command names of the process, whole, at most 15 bytes.
    pub comms: Option<BTreeSet<Text>>,
    /// Effective user ids.
    pub uids: Option<BTreeSet<u32>>,
    /// Networks of the far end; an event without an address has none.
    pub networks: Option<BTreeSet<Network>>,
}

impl Scope {
    /// True when every event fits.
    pub const fn is_everything(&self) -> bool {
        self.comms.is_none() && self.uids.is_none() && self.networks.is_none()
    }

    /// True when no event fits.
    pub fn is_nothing(&self) -> bool {
        self.comms.as_ref().is_some_and(BTreeSet::is_empty)
            || self.uids.as_ref().is_some_and(BTreeSet::is_empty)
            || self.networks.as_ref().is_some_and(BTreeSet::is_empty)
    }

    /// True when an event of a process of this name and effective user, to this address (of IPv4 as IPv6 maps it), fits.
    pub fn fits(&self, comm: &Text, euid: u32, address: Option<u128>) -> bool {
        self.comms.as_ref().is_none_or(|comms| comms.contains(comm))
            && self.uids.as_ref().is_none_or(|uids| uids.contains(&euid))
            && self.networks.as_ref().is_none_or(|networks| {
                address.is_some_and(|address| networks.iter().any(|network| network.contains(address)))
            })
    }
}
