//! A directory in memory that forgets, tears and fails as disks do.
//!
//! What a file or a name becomes in a crash image: what was synced is there; of what was written since,
//! any part may be, a write torn at 512 or 4096 bytes; of the names that changed since the directory was
//! synced, any of the changes may have happened. A failed fdatasync throws away what it was to sync,
//! though readers of the page cache still see it.

use crate::spool::storage::{Space, Storage, StorageFile};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// As readers see it.
    now: Vec<u8>,
    durable: Vec<u8>,
    since: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Naming {
    Made(String, usize),
    Renamed(String, String),
    Gone(String),
}

#[derive(Clone, Debug, Default)]
struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    since: Vec<Naming>,
}

/// A call that may be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Create,
    Write,
    Sync,
    Read,
    Rename,
    SyncDir,
    SetLen,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Fine,
    Fails(Errno),
    /// A write takes so many bytes and no more.
    Short(usize),
}

type Judge = Box<dyn FnMut(Call, &str) -> Fate + Send>;

struct State {
    disk: Disk,
    judge: Option<Judge>,
    /// A copy of the disk after each call that changed it, with the step it belongs to.
    history: Option<Vec<(usize, Disk)>>,
    step: usize,
    /// Bytes that all files may have together.
    room: usize,
}

/// See the module. Clones share the disk.
#[derive(Clone)]
pub(super) struct Sim(Arc<Mutex<State>>);

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, data) => {
            let offset = usize::try_from(*offset).unwrap();
            let end = offset + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[offset..end].copy_from_slice(data);
        }
        Change::Length(length) => bytes.resize(usize::try_from(*length).unwrap(), 0),
    }
}

impl Disk {
    fn apply_name(names: &mut BTreeMap<String, usize>, naming: &Naming) {
        match naming {
            Naming::Made(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Naming::Renamed(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Naming::Gone(name) => {
                names.remove(name);
            }
        }
    }

    /// What a power loss may leave.
    fn image(&self, mode: Power, dice: &mut fastrand::Rng) -> Self {
        let mut names = self.durable_names.clone();
        for naming in &self.since {
            if mode == Power::All || (mode == Power::Some && dice.bool()) {
                Self::apply_name(&mut names, naming);
            }
        }
        let mut inodes = Vec::new();
        for inode in &self.inodes {
            // A kill leaves the page cache, whatever became of it on the disk.
            let mut bytes = if mode == Power::All { inode.now.clone() } else { inode.durable.clone() };
            for change in inode.since.iter().filter(|_| mode == Power::Some) {
                if dice.bool() {
                    continue;
                }
                match change {
                    Change::Write(offset, data) if dice.bool() => {
                        let sector = if dice.bool() { 512 } else { 4096 };
                        for part in sectors(*offset, data, sector) {
                            if dice.bool() {
                                apply(&mut bytes, &part);
                            }
                        }
                    }
                    change => apply(&mut bytes, change),
                }
            }
            inodes.push(Inode { now: bytes.clone(), durable: bytes, since: Vec::new() });
        }
        Self { inodes, durable_names: names.clone(), names, since: Vec::new() }
    }
}

/// A write cut at the sectors' borders.
fn sectors(offset: u64, data: &[u8], sector: u64) -> Vec<Change> {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let position = offset + at as u64;
        let room = usize::try_from(sector - position % sector).unwrap();
        let end = data.len().min(at + room);
        parts.push(Change::Write(position, data[at..end].to_vec()));
        at = end;
    }
    parts
}

/// How a crash looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    /// Nothing that was not synced is there.
    Nothing,
    /// Any part of it is.
    Some,
    /// All of it is: a kill.
    All,
}

impl Sim {
    pub(super) fn new() -> Self {
        Self::of(Disk::default())
    }

    fn of(disk: Disk) -> Self {
        let state = State { disk, judge: None, history: None, step: 0, room: usize::MAX };
        Self(Arc::new(Mutex::new(state)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The disk as a crash at this moment leaves it.
    pub(super) fn crash(&self, mode: Power, seed: u64) -> Self {
        Self::of(self.lock().disk.image(mode, &mut fastrand::Rng::with_seed(seed)))
    }

    /// From now on a copy is kept after each change.
    pub(super) fn remember(&self) {
        self.lock().history = Some(Vec::new());
    }

    pub(super) fn step(&self, step: usize) {
        self.lock().step = step;
    }

    /// How many changes were remembered.
    pub(super) fn changes(&self) -> usize {
        self.lock().history.as_ref().map_or(0, Vec::len)
    }

    /// The disk as a crash right after a remembered change leaves it, and the change's step.
    pub(super) fn crash_at(&self, change: usize, mode: Power, seed: u64) -> (usize, Self) {
        let state = self.lock();
        let (step, disk) = &state.history.as_ref().unwrap()[change];
        (*step, Self::of(disk.image(mode, &mut fastrand::Rng::with_seed(seed))))
    }

    pub(super) fn judge(&self, judge: impl FnMut(Call, &str) -> Fate + Send + 'static) {
        self.lock().judge = Some(Box::new(judge));
    }

    pub(super) fn all_fine(&self) {
        self.lock().judge = None;
    }

    pub(super) fn room(&self, bytes: usize) {
        self.lock().room = bytes;
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.lock().disk.names.keys().cloned().collect()
    }

    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        let state = self.lock();
        state.disk.inodes[state.disk.names[name]].now.clone()
    }

    /// Changes a file behind the spool's back.
    pub(super) fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let inode = state.disk.names[name];
        let inode = &mut state.disk.inodes[inode];
        change(&mut inode.now);
        inode.durable.clone_from(&inode.now);
        inode.since.clear();
    }

    pub(super) fn unlink(&self, name: &str) {
        let mut state = self.lock();
        state.disk.names.remove(name);
        state.disk.durable_names = state.disk.names.clone();
        state.disk.since.clear();
    }
}

impl State {
    fn fate(&mut self, call: Call, name: &str) -> Fate {
        self.judge.as_mut().map_or(Fate::Fine, |judge| judge(call, name))
    }

    fn try_call(&mut self, call: Call, name: &str) -> Result<(), Errno> {
        match self.fate(call, name) {
            Fate::Fails(error) => Err(error),
            Fate::Fine | Fate::Short(_) => Ok(()),
        }
    }

    fn changed(&mut self) {
        let copy = self.history.is_some().then(|| (self.step, self.disk.clone()));
        if let (Some(history), Some(copy)) = (&mut self.history, copy) {
            history.push(copy);
        }
    }

    fn name(&mut self, naming: Naming) {
        Disk::apply_name(&mut self.disk.names, &naming);
        self.disk.since.push(naming);
        self.changed();
    }

    fn used(&self) -> usize {
        self.disk.names.values().map(|inode| self.disk.inodes[*inode].now.len()).sum()
    }
}

struct SimFile {
    sim: Sim,
    inode: usize,
    name: String,
}

impl Storage for Sim {
    fn list(&self) -> Result<Vec<String>, Errno> {
        let names = self.names();
        Ok(names.into_iter().filter(|name| !name.contains('/')).collect())
    }

    fn create(&self, name: &str) -> Result<Arc<dyn StorageFile>, Errno> {
        let mut state = self.lock();
        state.try_call(Call::Create, name)?;
        if state.disk.names.contains_key(name) {
            return Err(Errno::EXIST);
        }
        state.disk.inodes.push(Inode::default());
        let inode = state.disk.inodes.len() - 1;
        state.name(Naming::Made(name.to_owned(), inode));
        Ok(Arc::new(SimFile { sim: self.clone(), inode, name: name.to_owned() }))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn StorageFile>, Errno> {
        let state = self.lock();
        let inode = *state.disk.names.get(name).ok_or(Errno::NOENT)?;
        Ok(Arc::new(SimFile { sim: self.clone(), inode, name: name.to_owned() }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        let mut state = self.lock();
        state.try_call(Call::Rename, from)?;
        if !state.disk.names.contains_key(from) {
            return Err(Errno::NOENT);
        }
        state.name(Naming::Renamed(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn quarantine(&self, name: &str, keep: usize) -> Result<(), Errno> {
        let mut state = self.lock();
        if !state.disk.names.contains_key(name) {
            return Err(Errno::NOENT);
        }
        state.name(Naming::Renamed(name.to_owned(), format!("quarantine/{name}")));
        let held: Vec<String> =
            state.disk.names.keys().filter(|name| name.starts_with("quarantine/")).cloned().collect();
        for old in held.iter().take(held.len().saturating_sub(keep)) {
            state.name(Naming::Gone(old.clone()));
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), Errno> {
        let mut state = self.lock();
        if !state.disk.names.contains_key(name) {
            return Err(Errno::NOENT);
        }
        state.name(Naming::Gone(name.to_owned()));
        Ok(())
    }

    fn sync_dir(&self) -> Result<(), Errno> {
        let mut state = self.lock();
        state.try_call(Call::SyncDir, "")?;
        state.disk.durable_names = state.disk.names.clone();
        state.disk.since.clear();
        state.changed();
        Ok(())
    }

    fn space(&self) -> Result<Space, Errno> {
        let state = self.lock();
        let free = state.room.saturating_sub(state.used()).min(1 << 40);
        Ok(Space { total_bytes: 1 << 40, free_bytes: u64::try_from(free).unwrap() })
    }
}

impl StorageFile for SimFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, Errno> {
        let mut state = self.sim.lock();
        state.try_call(Call::Read, &self.name)?;
        let bytes = &state.disk.inodes[self.inode].now;
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = bytes.get(offset..).unwrap_or_default();
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let mut state = self.sim.lock();
        let fate = state.fate(Call::Write, &self.name);
        let mut length = match fate {
            Fate::Fine => bytes.len(),
            Fate::Short(length) => length.min(bytes.len()),
            Fate::Fails(error) => return Err(error),
        };
        let end = usize::try_from(offset).unwrap() + length;
        let grows = end.saturating_sub(state.disk.inodes[self.inode].now.len());
        let room = state.room.saturating_sub(state.used());
        if grows > room {
            length = length.saturating_sub(grows - room);
            if length == 0 {
                return Err(Errno::NOSPC);
            }
        }
        let change = Change::Write(offset, bytes[..length].to_vec());
        let inode = &mut state.disk.inodes[self.inode];
        apply(&mut inode.now, &change);
        inode.since.push(change);
        state.changed();
        Ok(length)
    }

    fn sync(&self) -> Result<(), Errno> {
        let mut state = self.sim.lock();
        let fate = state.fate(Call::Sync, &self.name);
        let inode = &mut state.disk.inodes[self.inode];
        let since = std::mem::take(&mut inode.since);
        if let Fate::Fails(error) = fate {
            // The pages are clean now, and on no disk.
            return Err(error);
        }
        for change in &since {
            apply(&mut inode.durable, change);
        }
        state.changed();
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), Errno> {
        let mut state = self.sim.lock();
        state.try_call(Call::SetLen, &self.name)?;
        let inode = &mut state.disk.inodes[self.inode];
        apply(&mut inode.now, &Change::Length(length));
        inode.since.push(Change::Length(length));
        state.changed();
        Ok(())
    }

    fn reserve(&self, _length: u64) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }

    fn len(&self) -> Result<u64, Errno> {
        Ok(u64::try_from(self.sim.lock().disk.inodes[self.inode].now.len()).unwrap())
    }
}
