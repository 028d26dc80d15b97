//! Whose events rules want, as the programs hold it: the opposite of what is ignored, in the same maps.

use super::OPENS;
use super::table::{Table, Trie, key_of, spec_of, trie_of};
use crate::error::ApplyError;
use crate::plan;
use aya::Ebpf;
use aya::maps::{MapData, MapError};
use hostward_abi::maps::{IGNORE_BLOCKS, block_table, ignore_key};
use hostward_abi::record::kind;
use hostward_event::EventKind;
use hostward_event::plan::KernelPlan;
use hostward_event::scope::Scope;
use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::Duration;

/// Room that the keys of one plan may take; with more, a kind is wanted of everyone.
const MAX_KEYS: usize = 4_096;
/// A program that has begun under one plan has ended by then, and does not read keys of the next.
const PROGRAM_ENDS: Duration = Duration::from_millis(10);

impl Table {
    /// The scopes of `plan`; kinds that do not fit are wanted of everyone, so it stays a superset.
    pub(crate) fn wanted(plan: &KernelPlan) -> Self {
        let mut table = Self::of(block_table::WANTED);
        let mut blocks: Vec<&Scope> = Vec::new();
        let mut room = MAX_KEYS;
        // One with few alternatives gains more for its bits.
        let mut kinds: Vec<(&EventKind, &Vec<Scope>)> = plan.scopes.iter().collect();
        kinds.sort_by_key(|(_, scopes)| scopes.len());
        for (event, scopes) in kinds {
            let fresh: Vec<&Scope> = scopes.iter().filter(|scope| !blocks.contains(scope)).collect();
            let keys: usize = fresh.iter().map(|scope| keys(scope)).sum();
            let fits = blocks.len() + fresh.len() <= IGNORE_BLOCKS && keys <= room;
            if !fits || scopes.iter().any(Scope::is_everything) {
                continue;
            }
            room -= keys;
            for scope in fresh {
                table.want(scope, 1 << blocks.len());
                blocks.push(scope);
            }
            let own = blocks.iter().enumerate().filter(|(_, block)| scopes.contains(block));
            table.wants(*event, own.fold(0, |all, (at, _)| all | 1 << at));
        }
        table.settle();
        table
    }

    fn wants(&mut self, event: EventKind, blocks: u32) {
        if event == EventKind::Open {
            for (_, call) in OPENS {
                self.kinds.insert(kind::of_open(call), blocks);
            }
        } else {
            self.kinds.insert(event as u8, blocks);
        }
    }

    fn want(&mut self, scope: &Scope, bit: u32) {
        let [comm, uid, _, _, _, address, _] = &mut self.looks;
        let looked =
            [(comm, scope.comms.is_some()), (uid, scope.uids.is_some()), (address, scope.networks.is_some())];
        for (looks, _) in looked.into_iter().filter(|(_, looked)| *looked) {
            *looks |= bit;
        }
        for comm in scope.comms.iter().flatten() {
            let mut value = comm.as_bytes().to_vec();
            value.resize(16, 0);
            self.key(ignore_key::COMM, value, bit);
        }
        for uid in scope.uids.iter().flatten() {
            self.key(ignore_key::UID, uid.to_ne_bytes().into(), bit);
        }
        for network in scope.networks.iter().flatten() {
            let data = [&self.front(ignore_key::ADDRESS)[..], &network.address.to_be_bytes()].concat();
            self.bits(data, 32 + network.bits, bit);
        }
    }
}

fn keys(scope: &Scope) -> usize {
    scope.comms.as_ref().map_or(0, BTreeSet::len)
        + scope.uids.as_ref().map_or(0, BTreeSet::len)
        + scope.networks.as_ref().map_or(0, BTreeSet::len)
}

/// What is in the programs' maps.
#[derive(Debug)]
pub(crate) struct InForce {
    /// None: what another agent has put there.
    table: Option<Table>,
    keys: BTreeMap<(Vec<u8>, u32), u32>,
}

impl InForce {
    /// Nothing: programs that were just loaded.
    pub(crate) fn nothing() -> Self {
        Self { table: Some(Table::default()), keys: BTreeMap::new() }
    }

    /// What lies in the maps of programs that another agent has loaded.
    pub(crate) fn found(object: &Ebpf) -> Result<Self, ApplyError> {
        let trie: Trie<&MapData> = plan::found(object, "IGNORE_KEYS")?;
        let mut keys = BTreeMap::new();
        for entry in trie.iter() {
            let (key, blocks) = entry.map_err(|cause| ApplyError { map: "IGNORE_KEYS", cause })?;
            let (mut data, bits) = (key.data().to_vec(), key.prefix_len());
            let front = data.first_chunk().map_or(0, |front| u32::from_ne_bytes(*front));
            if front >> 16 == block_table::WANTED {
                data.truncate(usize::try_from(bits.div_ceil(8)).unwrap_or_default());
                keys.insert((data, bits), blocks);
            }
        }
        Ok(Self { table: None, keys })
    }

    /// Puts `new` in the place of what is in force. In between events of everyone are told, and no program reads keys of
    /// one plan with blocks of the other.
    pub(crate) fn swap(&mut self, object: &mut Ebpf, new: Table) -> Result<(), ApplyError> {
        if self.table.as_ref() == Some(&new) {
            return Ok(());
        }
        let failed = |cause| ApplyError { map: "IGNORE", cause };
        if self.table.as_ref().is_none_or(|table| !table.kinds.is_empty()) {
            let everyone = Table::default();
            spec_of(object)
                .and_then(|mut spec| spec.set(block_table::WANTED, everyone.words(), 0))
                .map_err(failed)?;
            self.table = Some(everyone);
            sleep(PROGRAM_ENDS);
        }
        let failed = |cause| ApplyError { map: "IGNORE_KEYS", cause };
        let mut trie: Trie<&mut MapData> = trie_of(object).map_err(failed)?;
        let gone: Vec<(Vec<u8>, u32)> =
            self.keys.keys().filter(|key| !new.keys.contains_key(*key)).cloned().collect();
        for key in gone {
            trie.remove(&key_of(&key)).map_err(failed)?;
            self.keys.remove(&key);
        }
        for (key, blocks) in &new.keys {
            trie.insert(&key_of(key), blocks, 0).map_err(failed)?;
            self.keys.insert(key.clone(), *blocks);
        }
        let failed = |cause: MapError| ApplyError { map: "IGNORE", cause };
        spec_of(object).and_then(|mut spec| spec.set(block_table::WANTED, new.words(), 0)).map_err(failed)?;
        self.table = Some(new);
        Ok(())
    }
}
