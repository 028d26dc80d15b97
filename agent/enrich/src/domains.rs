//! Names of addresses: what processes asked DNS for, and got.
//!
//! A connection goes to an address; the name that it was the answer to says more. The last answer wins. An answer is
//! kept for the cgroup of the process that asked, and one to a process in no container (the host's resolver, mostly) for
//! all of the host: a container cannot give names to the addresses that others connect to.
//!
//! # What can go wrong
//! - *A lie*: whoever answers a process can name any address as it likes. The name is what the process was told.
//! - *Too many*: at the bound the names that were not used for long go.
//! - *Too old*: a name holds for the answer's TTL from when it came, at least [`SHORTEST_NS`], as programs look up first
//!   and connect then. The end of a connection is asked for with the time when it stood.

use crate::bounded::Bounded;
use hostward_event::Text;
use hostward_event::raw::{DnsData, RawDns};
use hostward_event::workload::Workload;
use std::net::IpAddr;
use std::num::NonZeroUsize;

const SECOND_NS: u64 = 1_000_000_000;
/// What a name holds at least.
const SHORTEST_NS: u64 = 60 * SECOND_NS;
/// And at most.
const LONGEST_NS: u64 = 86_400 * SECOND_NS;
/// Stands for all cgroups.
const HOST: u64 = 0;

#[derive(Clone, Debug, PartialEq)]
struct Name {
    name: Text,
    from_ns: u64,
    until_ns: u64,
}

/// The names, by whose they are and address.
#[derive(Debug)]
pub(crate) struct Domains(Bounded<(u64, IpAddr), Name>);

impl Domains {
    pub(crate) fn new(limit: NonZeroUsize) -> Self {
        Self(Bounded::new(limit))
    }

    /// Takes in an answer to a process of `workload`.
    pub(crate) fn learn(&mut self, dns: &RawDns, workload: &Workload, at_ns: u64) {
        let Some(message) = dns.message.as_ref().filter(|message| dns.answer && message.is_response()) else {
            return;
        };
        let Some(question) = &message.question else { return };
        // An address behind aliases holds as long as the shortest of them.
        let shortest = message.answers.iter().map(|answer| answer.ttl_s).min().unwrap_or_default();
        let holds_ns = (u64::from(shortest) * SECOND_NS).clamp(SHORTEST_NS, LONGEST_NS);
        let name =
            Name { name: question.name.clone(), from_ns: at_ns, until_ns: at_ns.saturating_add(holds_ns) };
        for answer in &message.answers {
            let DnsData::Address(address) = answer.data else { continue };
            let address = address.to_canonical();
            let _ = self.0.insert((workload.cgroup.id, address), name.clone());
            if workload.container.is_none() {
                let _ = self.0.insert((HOST, address), name.clone());
            }
        }
    }

    /// The name of an address for a process of `workload`, at a time.
    pub(crate) fn name(&self, address: IpAddr, workload: &Workload, at_ns: u64) -> Option<Text> {
        let address = address.to_canonical();
        [workload.cgroup.id, HOST]
            .into_iter()
            .filter_map(|whose| self.0.find((whose, address)))
            .find(|name| (name.from_ns..=name.until_ns).contains(&at_ns))
            .map(|name| name.name.clone())
    }
}
