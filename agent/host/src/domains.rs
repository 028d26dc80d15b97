//! Addresses of the domain names that rules list, by the host's resolver.
//!
//! # How it works
//! A thread of its own asks getaddrinfo(3) for each name, again after 10 s, then after twice as long each time that
//! nothing changed, up to 320 s. Whatever changed is told as one table. Matching never asks.
//!
//! # What can go wrong
//! - *A name does not resolve*: its last addresses stay; without any it matches nothing.
//! - *The resolver hangs*: the table gets old, nothing else waits.
//! - *A name has other addresses for others*: what a program connects to need not be what we were told.

use hostward_event::Text;
use hostward_event::process::DomainTable;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

const FIRST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(320);
/// Most names; the rest of a longer list is not resolved.
const MAX_NAMES: usize = 1_024;
/// Most addresses of one name.
const MAX_ADDRESSES: usize = 256;

#[derive(Debug, Default)]
struct Wanted {
    names: BTreeSet<Text>,
    /// How often the names were set.
    version: u64,
    stopped: bool,
}

/// What is to be resolved; shared by who knows the rules and who asks.
#[derive(Debug, Default)]
pub struct Domains {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

struct Entry {
    addresses: BTreeSet<IpAddr>,
    due: Instant,
    wait: Duration,
}

impl Domains {
    /// These names, from now on, and no others. Never waits for the resolver.
    pub fn want(&self, names: BTreeSet<Text>) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.names != names {
            wanted.names = names;
            wanted.version += 1;
            self.changed.notify_all();
        }
    }

    /// Ends [`Domains::run`].
    pub fn stop(&self) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.changed.notify_all();
    }

    /// Resolves until it is stopped, or `tell`, which gets each new table, gives false.
    pub fn run(&self, mut tell: impl FnMut(DomainTable) -> bool) {
        let mut known: BTreeMap<Text, Entry> = BTreeMap::new();
        let mut told = DomainTable::default();
        let mut seen = 0;
        while let Some((names, version)) = self.next(seen, known.values().map(|entry| entry.due).min()) {
            if version != seen {
                seen = version;
                known.retain(|name, _| names.contains(name));
                for name in names.into_iter().take(MAX_NAMES) {
                    let fresh =
                        || Entry { addresses: BTreeSet::new(), due: Instant::now(), wait: FIRST_WAIT };
                    known.entry(name).or_insert_with(fresh);
                }
            }
            for (name, entry) in known.iter_mut().filter(|(_, entry)| entry.due <= Instant::now()) {
                let found = resolve(name);
                let same = found.is_empty() || found == entry.addresses;
                if !same {
                    entry.addresses = found;
                }
                entry.due = Instant::now() + entry.wait;
                entry.wait = if same { (entry.wait * 2).min(LONGEST_WAIT) } else { FIRST_WAIT };
            }
            let table = table(&known);
            if table != told {
                told = table.clone();
                if !tell(table) {
                    return;
                }
            }
        }
    }

    /// The names when something is to be done: others than those `seen`, or one that is due. None: stopped.
    fn next(&self, seen: u64, due: Option<Instant>) -> Option<(BTreeSet<Text>, u64)> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if wanted.stopped {
                return None;
            }
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            if wanted.version != seen || left == Some(Duration::ZERO) {
                return Some((wanted.names.clone(), wanted.version));
            }
            wanted = match left {
                None => self.changed.wait(wanted).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.changed.wait_timeout(wanted, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

fn resolve(name: &Text) -> BTreeSet<IpAddr> {
    let Ok(name) = std::str::from_utf8(name.as_bytes()) else { return BTreeSet::new() };
    let found = (name, 0).to_socket_addrs();
    found.into_iter().flatten().map(|address| address.ip().to_canonical()).take(MAX_ADDRESSES).collect()
}

fn table(known: &BTreeMap<Text, Entry>) -> DomainTable {
    let mut table = DomainTable::default();
    for (name, entry) in known {
        for address in &entry.addresses {
            table.names.entry(*address).or_default().push(name.clone());
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    #[test]
    fn names_are_resolved_and_forgotten_with_the_rules() {
        let domains = Arc::new(Domains::default());
        let (tell, tables) = channel();
        let thread = {
            let domains = Arc::clone(&domains);
            std::thread::spawn(move || domains.run(|table| tell.send(table).is_ok()))
        };
        domains.want(["localhost", "127.0.0.1", "no.such.name.invalid"].map(Text::from).into());
        let first = tables.recv().unwrap();
        let names = first.names.get(&IpAddr::from([127, 0, 0, 1])).unwrap();
        assert_eq!(names, &["127.0.0.1", "localhost"].map(Text::from));
        assert!(!first.names.values().flatten().any(|name| name.as_bytes().ends_with(b"invalid")));
        domains.want(BTreeSet::from([Text::from("127.0.0.1")]));
        let second = tables.recv().unwrap();
        assert_eq!(second.names.len(), 1);
        domains.want(BTreeSet::new());
        assert_eq!(tables.recv().unwrap(), DomainTable::default());
        domains.stop();
        thread.join().unwrap();
    }
}
