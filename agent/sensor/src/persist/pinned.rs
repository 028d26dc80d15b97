//! What of one object is pinned: maps, programs and links; and what of it an agent before left attached.
//!
//! Of an object that is not to outlive the agent nothing is pinned, and all links end when they are dropped.
#![expect(unsafe_code, reason = "aya pins no descriptors of ours")]

use super::pins::Set;
use crate::error::chain;
use crate::rungs::Object;
use crate::{misses, tracepoint};
use aya::Ebpf;
use aya::maps::Map;
use aya::programs::ProgramInfo;
use aya::programs::links::{FdLink, PinnedLink};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// include/uapi/linux/bpf.h.
const BPF_OBJ_PIN: u32 = 6;

/// What keeps a program attached: while it lives, and beyond where it is pinned.
#[derive(Debug)]
pub(crate) struct Held {
    _keeps: Keeps,
    /// Pins that go with it.
    pins: Vec<PathBuf>,
    /// The name of its program, if that is its own alone.
    program: Option<String>,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held to be dropped")]
enum Keeps {
    Link(FdLink),
    Event(OwnedFd),
}

impl Held {
    /// It stays attached when it is dropped.
    pub(crate) const fn outlives(&self) -> bool {
        !self.pins.is_empty()
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Pinned {
    place: Option<(Set, Object)>,
    /// An agent before made it.
    found: bool,
    /// The kernel's numbers of the maps.
    maps: BTreeSet<u32>,
    /// How many other maps the object has: constants, which nobody writes.
    constants: usize,
    /// Programs of an agent before, by the name of their pin.
    programs: BTreeMap<String, ProgramInfo>,
    /// Its links that nobody has taken yet.
    left: BTreeSet<PathBuf>,
    /// Why a link is not pinned, and whose.
    refused: BTreeMap<String, Vec<String>>,
}

impl Pinned {
    /// In `set`; `found`: an agent before made it.
    pub(super) fn new(set: Set, of: Object, found: bool) -> Self {
        let (mut programs, mut left) = (BTreeMap::new(), BTreeSet::new());
        if found {
            left.extend(set.links(of));
            let pinned = set.programs(of).into_iter();
            programs.extend(pinned.filter_map(|(name, at)| Some((name, ProgramInfo::from_pin(at).ok()?))));
        }
        Self { place: Some((set, of)), found, programs, left, ..Self::default() }
    }

    /// It is to outlive the agent.
    pub(crate) const fn is_wanted(&self) -> bool {
        self.place.is_some()
    }

    /// Maps are those of an agent before.
    pub(crate) const fn found(&self) -> bool {
        self.found
    }

    /// Where the maps are, or are to be, pinned.
    pub(crate) fn map_paths(&self) -> Vec<(&'static str, PathBuf)> {
        let place = self.place.iter();
        place.flat_map(|(set, of)| of.maps().iter().map(|map| (*map, set.map(*of, map)))).collect()
    }

    /// The maps are loaded.
    pub(crate) fn loaded(&mut self, object: &Ebpf) {
        if let Some((_, of)) = &self.place {
            self.maps = of.maps().iter().filter_map(|name| id(object, name)).collect();
            self.constants = object.maps().count().saturating_sub(self.maps.len());
        }
    }

    /// Goes on with a link of an agent before, whose program writes into these maps. `program`: the name of its pin.
    pub(crate) fn adopt(&mut self, name: &str, program: &str) -> Option<Held> {
        let (set, of) = self.place.as_ref().filter(|_| self.found)?;
        let at = set.link(*of, name);
        if !self.left.contains(&at) {
            return None;
        }
        let info = self.programs.get(program)?;
        let link = FdLink::from(PinnedLink::from_pin(&at).ok()?);
        if link.info().ok()?.program_id() != info.id() {
            return None;
        }
        let used = info.map_ids().ok()??;
        if used.iter().filter(|id| !self.maps.contains(id)).count() > self.constants {
            return None;
        }
        self.left.remove(&at);
        let own = (name == program).then(|| name.to_owned());
        let pins = [at].into_iter().chain(own.iter().map(|own| set.program(*of, own))).collect();
        Some(Held { _keeps: Keeps::Link(link), pins, program: own })
    }

    /// Detaches what an agent before left and nobody has taken.
    pub(crate) fn sweep(&mut self) {
        for at in std::mem::take(&mut self.left) {
            let link = PinnedLink::from_pin(&at);
            remove(&at);
            drop(link);
        }
    }

    /// The program that an agent before has pinned by this name.
    pub(crate) fn program(&self, name: &str) -> Option<&ProgramInfo> {
        self.programs.get(name)
    }

    /// Pins a program, where that is wanted.
    pub(crate) fn keep_program(&mut self, name: &str, program: BorrowedFd<'_>) {
        let Some((set, of)) = &self.place else { return };
        let at = set.program(*of, name);
        remove(&at);
        if let Err(why) = pin(program, &at) {
            self.refuse(name, &format!("{}: {why}", at.display()));
        }
    }

    /// Holds what `attach` attaches, pinned where that is wanted.
    pub(crate) fn attach(
        &mut self,
        name: &str,
        mut attach: impl FnMut() -> Result<FdLink, String>,
    ) -> Result<Held, String> {
        let link = match attach() {
            Ok(link) => link,
            Err(why) => {
                if let Some((set, of)) = &self.place {
                    remove(&set.program(*of, name));
                }
                return Err(why);
            }
        };
        let held = |link, pins| Held { _keeps: Keeps::Link(link), pins, program: Some(name.to_owned()) };
        let Some((set, of)) = &self.place else { return Ok(held(link, Vec::new())) };
        let (at, program) = (set.link(*of, name), set.program(*of, name));
        remove(&at);
        match link.pin(&at) {
            Ok(link) => Ok(held(link.into(), vec![at, program])),
            Err(why) => {
                self.refuse(name, &format!("{}: {}", at.display(), chain(&why)));
                // It was detached with the link that could not be pinned.
                Ok(held(attach()?, Vec::new()))
            }
        }
    }

    /// Runs `program` at the tracepoint `id`, pinned where that is wanted.
    pub(crate) fn attach_tracepoint(
        &mut self,
        name: &str,
        program: BorrowedFd<'_>,
        id: u64,
    ) -> Result<Held, String> {
        if let Some((set, of)) = &self.place {
            match pinned_tracepoint(set.link(*of, name), program, id) {
                Ok(held) => return Ok(held),
                Err(why) => self.refuse(name, &why),
            }
        }
        let event = tracepoint::attach(program, id).map_err(|why| format!("cannot attach: {why}"))?;
        Ok(Held { _keeps: Keeps::Event(event), pins: Vec::new(), program: None })
    }

    /// Detaches, for this agent and those that follow.
    pub(crate) fn end(&mut self, held: Held) {
        held.pins.iter().for_each(|at| remove(at));
        if let Some(own) = &held.program {
            self.programs.remove(own);
        }
    }

    fn refuse(&mut self, name: &str, why: &str) {
        tracing::warn!(hook = name, why, "attached without being pinned");
        self.refused.entry(why.to_owned()).or_default().push(name.to_owned());
    }

    /// Why not all of it is pinned, as sentences.
    pub(crate) fn why_not(&self) -> impl Iterator<Item = String> {
        self.refused.iter().map(|(why, names)| match names.as_slice() {
            [one] => format!("{one} is not pinned: {why}"),
            [first, more @ ..] => format!("{first} and {} more are not pinned: {why}", more.len()),
            [] => why.clone(),
        })
    }

    /// Runs that programs of an agent before missed, by name.
    pub(crate) fn missed(&self) -> impl Iterator<Item = (String, u64)> {
        self.programs
            .iter()
            .filter_map(|(name, info)| Some((name.clone(), misses::of(info.fd().ok()?.as_fd())?)))
    }

    /// Their verified instructions.
    pub(crate) fn verified_instructions(&self) -> impl Iterator<Item = (String, u32)> {
        self.programs
            .iter()
            .filter_map(|(name, info)| Some((name.clone(), info.verified_instruction_count()?)))
    }
}

fn pinned_tracepoint(at: PathBuf, program: BorrowedFd<'_>, id: u64) -> Result<Held, String> {
    remove(&at);
    let link = tracepoint::link(program, id)
        .map_err(|why| format!("no link of a tracepoint can be had (before Linux 5.15): {why}"))?;
    pin(link.as_fd(), &at).map_err(|why| format!("{}: {why}", at.display()))?;
    let link = PinnedLink::from_pin(&at).map_err(|why| chain(&why))?;
    Ok(Held { _keeps: Keeps::Link(link.into()), pins: vec![at], program: None })
}

/// Most often there is nothing.
fn remove(at: &Path) {
    match std::fs::remove_file(at) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(pin = %at.display(), %why, "a pin cannot be removed");
        }
        _ => {}
    }
}

/// The kernel's number of a map of `object`.
fn id(object: &Ebpf, name: &str) -> Option<u32> {
    let (Map::Array(map)
    | Map::HashMap(map)
    | Map::LpmTrie(map)
    | Map::LruHashMap(map)
    | Map::PerCpuArray(map)
    | Map::ProgramArray(map)
    | Map::RingBuf(map)) = object.map(name)?
    else {
        return None;
    };
    map.info().ok().map(|info| info.id())
}

/// Pins what `fd` is.
fn pin(fd: BorrowedFd<'_>, at: &Path) -> io::Result<()> {
    let path = CString::new(at.as_os_str().as_bytes())?;
    // union bpf_attr for BPF_OBJ_PIN: the path's address, the descriptor, flags.
    let attributes: [u64; 2] = [path.as_ptr().addr() as u64, u64::from(fd.as_raw_fd().cast_unsigned())];
    const { assert!(cfg!(target_endian = "little"), "descriptor and flags share a word") };
    let bytes = size_of_val(&attributes);
    // SAFETY: the kernel reads `bytes` of `attributes` and the text behind the address, which both live, and writes nothing.
    let done = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_PIN, attributes.as_ptr(), bytes) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
