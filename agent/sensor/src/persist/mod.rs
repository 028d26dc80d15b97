//! Programs that outlive the agent.
//!
//! # Why it exists
//! Programs vanish with the process that loaded them: while an agent restarts nothing is killed and nothing is seen.
//! With `sensor.persist` the object of processes (exec, fork, exit, cgroups, kills at exec) is pinned to a BPF file
//! system, so that it goes on, and the next agent reads what its ring collected.
//!
//! # How it works
//! [`pins`] is the directory. Programs, links and maps that belong together are a set in it, whose name says of which
//! build and settings they are. An agent that wants the same goes on with the set: programs, ring and counters stay as
//! they are, so nothing is lost, told twice or numbered anew; of its own it only brings the plan, which lies in maps.
//! [`marks`] tells it up to which number the agent before it came. Any other set is taken over ([`takeover`]): the new
//! programs are attached first, the old ones detached then, their ring read, and what both told left out ([`overlap`]).
//!
//! # What can go wrong
//! - *No BPF file system, no right to write there, another agent's directory*: the programs run unpinned, as without the
//!   key, and [`crate::Sensor::unpinned`] says why.
//! - *A set of which a part is gone*: it is taken over as that of another build is.
//! - *The agent is killed*: what it had read and not yet handed over is a gap. What waited for its container or program,
//!   and what an output had in memory, is lost without a number; that the agent did not stop in order is said.
//! - *The agent is killed while it takes a set over*: what it had read of that ring is lost without a number.
//! - *A process has the number of an agent that is gone*: pinned programs know no agent. They do not need to: the agent
//!   never becomes another program, which is all that they would spare it.
//!
//! # Not here
//! The other objects: files, sockets and calls are not seen while no agent runs.

mod marks;
mod overlap;
mod pins;
mod takeover;

use crate::clock::boot_ns;
use crate::config::Config;
use crate::error::program_refusal;
use crate::ladder::{ProbeState, ProbeStatus};
use crate::layout::Layout;
use crate::reader::{Drained, RingReader};
use crate::rings::time_ns;
use crate::{load, misses, objects};
use aya::maps::MapData;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{BtfTracePoint, ProgramInfo};
use aya::{Btf, Ebpf};
use hostward_event::fact::Input;
use marks::Past;
use pins::{ClaimError, Pins, Set};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

pub use marks::Marks;
pub(crate) use overlap::Overlap;

/// Maps of the object that are pinned: all but the constants.
const MAPS: [&str; 7] =
    ["COUNTERS", "ENVIRONMENT", "KILL_COMMS", "KILL_COUNTS", "KILL_PATHS", "PROCESS", "SLOTS"];
/// Maps that each program of the object uses. One that uses others tells nobody.
const MAPS_OF_ALL: [&str; 2] = ["COUNTERS", "PROCESS"];
/// That the program which kills uses.
const MAPS_OF_EXEC: [&str; 4] = ["ENVIRONMENT", "KILL_COMMS", "KILL_COUNTS", "KILL_PATHS"];

/// What was there when this agent came.
#[derive(Debug, Default)]
pub struct Inherited {
    /// What programs of another build had collected, in the order of time. They count by numbers of their own, so it
    /// is not for [`Marks::handled`].
    pub inputs: Vec<Input>,
    /// How much that was.
    pub drained: Option<Drained>,
    /// CLOCK_BOOTTIME in ns up to which the agent before this one handled events; none: there was none.
    pub since_boot_ns: Option<u64>,
    /// That one did not stop in order: it was killed.
    pub killed: bool,
    /// A ring of that one goes on: what lay in it is told by [`crate::Rings::drained`].
    pub goes_on: bool,
    /// What could not be had, as sentences.
    pub troubles: Vec<String>,
}

/// The pins of a sensor.
#[derive(Debug, Default)]
pub(crate) struct Persist {
    pins: Option<Pins>,
    own: Option<Own>,
    /// Why nothing is pinned though it is wanted.
    why_not: Option<String>,
    inherited: Inherited,
    overlap: Option<Overlap>,
}

/// What this sensor has pinned, or found.
#[derive(Debug)]
struct Own {
    set: Set,
    marks: Option<Marks>,
    /// It was there.
    found: bool,
    /// Programs of another agent that go on.
    programs: Vec<(&'static str, ProgramInfo)>,
    /// Held to be dropped: the pins keep them as well.
    links: Vec<FdLink>,
}

impl Persist {
    /// Takes the directory as `config` says.
    pub(crate) fn claim(config: &Config) -> Self {
        let mut persist = Self::default();
        match Pins::claim(&config.persist_dir, config.persist) {
            Ok(pins) => persist.pins = pins,
            Err(ClaimError::Busy(dir)) if !config.persist => {
                tracing::info!(dir = %dir.display(), "another agent has pinned programs there; they are left alone");
            }
            Err(why) if config.persist => persist.why_not = Some(why.to_string()),
            // Nothing is wanted there; what lies there is not ours to remove.
            Err(why) => tracing::warn!("pinned programs are not looked for: {why}"),
        }
        persist
    }

    /// Chooses the set for the object of processes and makes its directory; none when nothing is to be pinned.
    pub(crate) fn begin(&mut self, config: &Config, layout: &Layout, ring_bytes: u32) -> bool {
        let Some(pins) = self.pins.as_ref().filter(|_| config.persist) else { return false };
        let cpus = aya::util::nr_cpus().unwrap_or(1);
        let settings = format!("{:?} {:?} {ring_bytes} {cpus}", layout.offsets, layout.settings);
        let set = pins.set(&pins::name(&[objects::BASE, settings.as_bytes()]));
        match prepare(&set) {
            Ok(found) => {
                self.own = Some(Own { set, marks: None, found, programs: Vec::new(), links: Vec::new() });
                true
            }
            Err(why) => {
                self.why_not = Some(why);
                false
            }
        }
    }

    /// Where the maps of the object are, or are to be, pinned.
    pub(crate) fn maps(&self) -> Vec<(&'static str, PathBuf)> {
        let own = self.own.iter();
        own.flat_map(|own| MAPS.iter().map(|map| (*map, own.set.map(map)))).collect()
    }

    /// Pins nothing after all.
    pub(crate) fn give_up(&mut self, why: String) {
        self.why_not = Some(why);
        // What an agent before left is taken over later.
        if let Some(own) = self.own.take_if(|own| !own.found) {
            let _ = own.set.remove();
        }
        self.own = None;
    }

    /// The maps are those of an agent before.
    pub(crate) fn found(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.found)
    }

    /// Lets `reader` go on where the agent before was.
    pub(crate) fn resume(&mut self, reader: &mut RingReader) -> Result<(), String> {
        let Some(own) = &mut self.own else { return Ok(()) };
        let path = own.set.map("MARKS");
        let cpus = aya::util::nr_cpus().unwrap_or(1);
        let marks = if own.found { Marks::open(&path) } else { Marks::create(&path, cpus) }?;
        if let Some(past) = marks.attend() {
            self.inherited.note(past);
        }
        if own.found {
            reader.resume(marks.sequences()).map_err(|why| why.to_string())?;
            self.inherited.goes_on = true;
        }
        reader.stay();
        own.marks = Some(marks);
        Ok(())
    }

    /// Attaches a program and pins it, or goes on with one that is attached.
    pub(crate) fn attach(&mut self, object: &mut Ebpf, btf: &Btf, probe: &mut ProbeState) {
        let Some(own) = &mut self.own else { return load::attach_scheduler(object, btf, probe) };
        if own.adopt(object, probe.program) {
            return probe.set(ProbeStatus::Attached, "");
        }
        match load::scheduler(object, btf, probe).and_then(|program| own.pin(program, probe.program)) {
            Ok(None) => probe.set(ProbeStatus::Attached, ""),
            Ok(Some(why)) => {
                probe.set(ProbeStatus::Attached, "");
                self.why_not = Some(format!("{} is not pinned: {why}", probe.hook));
            }
            Err(why) => probe.set(ProbeStatus::Refused, &why),
        }
    }

    /// Takes over all other sets, of which the programs are no longer needed since `since_ns`.
    pub(crate) fn take_over(&mut self, since_ns: u64) {
        let Some(pins) = self.pins.take() else { return };
        let others = pins.others(self.own.as_ref().map(|own| &own.set));
        if !others.is_empty() {
            std::thread::sleep(overlap::TOGETHER);
        }
        for set in &others {
            let taken = takeover::take(set);
            self.inherited.troubles.extend(taken.trouble);
            self.inherited.inputs.extend(taken.inputs);
            if let Some(past) = taken.past {
                self.inherited.note(past);
            }
            if let Some(drained) = taken.drained {
                let before = self.inherited.drained.unwrap_or_default();
                self.inherited.drained = Some(before.and(drained));
            }
        }
        self.inherited.inputs.sort_by_key(time_ns);
        if !self.inherited.inputs.is_empty() {
            self.overlap = Some(Overlap::new(&self.inherited.inputs, since_ns, boot_ns()));
        }
        // Without a set the directory is nobody's.
        match &self.own {
            Some(_) => self.pins = Some(pins),
            None => pins.remove(),
        }
    }

    /// What was there; only the first call's is not empty.
    pub(crate) fn inherited(&mut self) -> Inherited {
        std::mem::take(&mut self.inherited)
    }

    /// What was told already; only once.
    pub(crate) const fn overlap(&mut self) -> Option<Overlap> {
        self.overlap.take()
    }

    /// The set, when there is one.
    pub(crate) fn place(&self) -> Option<&Path> {
        self.own.as_ref().map(|own| own.set.dir.as_path())
    }

    pub(crate) fn why_not(&self) -> Option<&str> {
        self.why_not.as_deref()
    }

    pub(crate) fn marks(&self) -> Option<Marks> {
        self.own.as_ref().and_then(|own| own.marks.clone())
    }

    /// The agent goes in order.
    pub(crate) fn leave(&self) {
        if let Some(marks) = self.own.as_ref().and_then(|own| own.marks.as_ref()) {
            marks.leave();
        }
    }

    /// Runs that programs of another agent missed, by name.
    pub(crate) fn missed(&self) -> Vec<(String, u64)> {
        let programs = self.own.iter().flat_map(|own| &own.programs);
        let missed = |(name, info): &(&str, ProgramInfo)| {
            Some(((*name).to_owned(), misses::of(info.fd().ok()?.as_fd())?))
        };
        programs.filter_map(missed).collect()
    }

    /// Verified instructions of programs of another agent, by name.
    pub(crate) fn verified_instructions(&self) -> Vec<(String, u32)> {
        let programs = self.own.iter().flat_map(|own| &own.programs);
        let count = |(name, info): &(&str, ProgramInfo)| {
            Some(((*name).to_owned(), info.verified_instruction_count()?))
        };
        programs.filter_map(count).collect()
    }

    pub(crate) fn kernel_bytes(&self) -> u64 {
        self.marks().map_or(0, |marks| marks.bytes())
    }
}

impl Inherited {
    fn note(&mut self, past: Past) {
        self.since_boot_ns = Some(self.since_boot_ns.unwrap_or_default().max(past.seen_ns));
        self.killed |= !past.in_order;
    }
}

/// Makes the directory of `set`; true when a whole set is in it. What is left of one is removed.
fn prepare(set: &Set) -> Result<bool, String> {
    let dir = set.dir.display();
    if set.dir.exists() {
        if MAPS.iter().chain(&["MARKS"]).all(|map| set.map(map).exists()) {
            return Ok(true);
        }
        tracing::warn!(%dir, "a part of the pins is missing: they are made anew");
        for path in set.links() {
            let _ = std::fs::remove_file(path);
        }
        set.remove()
            .map_err(|why| format!("{dir} cannot be removed: {why}; remove it by hand (rm -r {dir})"))?;
    }
    std::fs::create_dir(&set.dir).map_err(|why| ClaimError::Io { path: set.dir.clone(), why }.to_string())?;
    Ok(false)
}

impl Own {
    /// True when the program is attached by an agent before, and writes into the maps that are there.
    fn adopt(&mut self, object: &Ebpf, program: &'static str) -> bool {
        let (at_link, at_program) = (self.set.link(program), self.set.program(program));
        let adopted = (|| {
            let link = FdLink::from(PinnedLink::from_pin(&at_link).ok()?);
            let info = ProgramInfo::from_pin(&at_program).ok()?;
            if link.info().ok()?.program_id() != info.id() {
                return None;
            }
            let used = info.map_ids().ok()??;
            let of_exec = MAPS_OF_EXEC.iter().filter(|_| program == "exec");
            let needed = MAPS_OF_ALL.iter().chain(of_exec);
            let same = needed.map(|name| id(object, name)).all(|id| id.is_some_and(|id| used.contains(&id)));
            same.then_some((link, info))
        })();
        match adopted {
            Some((link, info)) => {
                self.links.push(link);
                self.programs.push((program, info));
                true
            }
            None => {
                // What is there is of no use; most often nothing is.
                let _ = std::fs::remove_file(at_link);
                let _ = std::fs::remove_file(at_program);
                false
            }
        }
    }

    /// Attaches `program` and pins it. Gives why it is attached without being pinned.
    fn pin(&mut self, program: &mut BtfTracePoint, name: &str) -> Result<Option<String>, String> {
        let told = |why: aya::programs::ProgramError| program_refusal(&why);
        let at = self.set.program(name);
        if let Err(why) = program.pin(&at) {
            program.attach().map_err(told)?;
            return Ok(Some(format!("{}: {}", at.display(), crate::error::chain(&why))));
        }
        let link = program.attach().map_err(told)?;
        let link = FdLink::from(program.take_link(link).map_err(told)?);
        let at = self.set.link(name);
        match link.pin(&at) {
            Ok(link) => {
                self.links.push(link.into());
                Ok(None)
            }
            Err(why) => {
                // It is detached with the link that could not be pinned.
                program.attach().map_err(told)?;
                Ok(Some(format!("{}: {}", at.display(), crate::error::chain(&why))))
            }
        }
    }
}

/// The kernel's number of a map of `object`.
fn id(object: &Ebpf, name: &str) -> Option<u32> {
    use aya::maps::Map;
    let map: &MapData = match object.map(name)? {
        Map::Array(map) | Map::HashMap(map) | Map::PerCpuArray(map) | Map::RingBuf(map) => map,
        _ => return None,
    };
    map.info().ok().map(|info| info.id())
}

/// What lies at the place of pins, as a sentence for a person; none when nothing does.
pub fn pinned_at(config: &Config) -> Option<String> {
    let dir = config.persist_dir.display();
    (!pins::sets(&config.persist_dir).is_empty()).then(|| {
        format!(
            "{dir} holds pinned programs: they kill and collect while no agent runs; an agent goes on with them or takes \
             them over at its start, and `rm -r {dir}` ends them"
        )
    })
}
