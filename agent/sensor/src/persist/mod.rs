//! Programs that outlive the agent.
//!
//! # Why it exists
//! Programs vanish with the process that loaded them: while an agent restarts nothing is killed and nothing is seen.
//! With `sensor.persist` all programs are pinned to a BPF file system, so that they go on, and the next agent reads what
//! their rings collected.
//!
//! # How it works
//! [`pins`] is the directory. Programs, links and maps that belong together are a set in it, whose name says of which
//! build and settings they are. An agent that wants the same goes on with the set ([`pinned`]): programs, rings and
//! counters stay as they are, so nothing is lost, told twice or numbered anew. Of its own it brings the plan. What of it
//! lies in maps is swapped as at a reload, from what is found there; of the links those stay that it wants as well, what
//! nobody wants any more is detached, what is missing attached. Limits under overload are lifted: they were for a load
//! that the next agent has yet to see. [`marks`] tells it up to which number the agent before it came.
//!
//! Any other set is taken over ([`takeover`]): the new programs are attached first, the old ones detached then, their
//! rings read, and what both told left out ([`overlap`]). Blocks of `sensor.ignore` are settings in this sense. If the
//! programs are the same but for settings, they share the notes of whose a connection or a question is and since when
//! ([`Object::notes`]): that is known at the beginning alone.
//!
//! What a ring kept is told in the order of time with what the others kept: see [`crate::rings`].
//!
//! # What can go wrong
//! - *No BPF file system, no right to write there, another agent's directory*: the programs run unpinned, as without the
//!   key, and [`crate::Sensor::unpinned`] says why.
//! - *A hook that cannot be pinned* (tracepoints of system calls before Linux 5.15): it is attached and ends with the
//!   agent, and the same says so. Its maps are pinned all the same, so that numbers go on.
//! - *A set of which a part is gone*: it is made anew, and that what it held is lost is said.
//! - *The agent is killed*: what it had read and not yet handed over is a gap. What waited for its container or program,
//!   and what an output had in memory, is lost without a number; that the agent did not stop in order is said.
//! - *The kernel refuses all new programs*: the agent ends, and the old ones stay as they are.
//! - *The kernel refuses a new program*: the old one goes all the same, and health says what is not seen. Left attached it
//!   would kill by lists that are in force no more, and that the operator may just have emptied; its maps may be of a
//!   version that this build cannot change. Nobody would read its ring, and the next agent would tell late what it took
//!   for the deeds of an hour without an agent.
//! - *A first send of UDP* may be told again by new programs: those notes decide whether anything is told, and an event that
//!   the one set has noted and the other one's last look at the ring has missed would be lost.
//! - *The agent is killed while it takes a set over*: what it had read of the rings is lost without a number.
//! - *A long gap*: a ring has a ceiling. What does not fit is counted by the programs, and a gap.
//! - *A process has the number of an agent that is gone*: it is told as any other, as programs know the agent by its
//!   number and its start. Where the kernel does not tell that start, nothing is pinned.
//!
//! # Not here
//! The reduced sensor ([`crate::lean`]): arguments of programs that start are read from /proc just then, so that what
//! it collects alone would lack them.

mod marks;
mod overlap;
mod pinned;
mod pins;
mod takeover;

use crate::clock::boot_ns;
use crate::config::{Config, RingBytes};
use crate::layout::Layout;
use crate::objects::LASTING;
use crate::reader::{Drained, RingReader};
use crate::rings::time_ns;
use crate::rungs::Object;
use hostward_event::fact::Input;
use marks::Past;
use pins::{ClaimError, Pins, Set};
use std::path::Path;

pub use marks::Marks;
pub(crate) use overlap::Overlap;
pub(crate) use pinned::{Held, Pinned};

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
    /// Rings of that one go on: what lay in them is told by [`crate::Rings::drained`].
    pub goes_on: bool,
    /// What could not be had, as sentences.
    pub troubles: Vec<String>,
}

/// The pins of a sensor.
#[derive(Debug, Default)]
pub(crate) struct Persist {
    pins: Option<Pins>,
    own: Option<Own>,
    /// Why not all is pinned though it is wanted.
    why_not: Vec<String>,
    inherited: Inherited,
    overlap: Option<Overlap>,
}

/// The set that this sensor has pinned, or found.
#[derive(Debug)]
struct Own {
    set: Set,
    marks: Marks,
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
            Err(why) if config.persist => persist.why_not.push(why.to_string()),
            // Nothing is wanted there; what lies there is not ours to remove.
            Err(why) => tracing::warn!("pinned programs are not looked for: {why}"),
        }
        persist
    }

    /// Chooses the set, and makes it if it is not there.
    pub(crate) fn begin(&mut self, config: &Config, layout: &Layout, rings: RingBytes) {
        let Some(pins) = self.pins.as_ref().filter(|_| config.persist) else { return };
        let cpus = aya::util::nr_cpus().unwrap_or(1);
        let settings = format!(
            "{:?} {:?} {rings:?} {cpus} {} {:?}",
            layout.offsets, layout.settings, config.trampolines, config.ignore
        );
        let name = pins::name(&LASTING.map(Object::bytes), &settings);
        match prepare(pins.set(&name), cpus, &mut self.inherited) {
            Ok(own) => self.own = Some(own),
            Err(why) => self.why_not.push(why),
        }
    }

    /// Pins nothing.
    pub(crate) fn give_up(&mut self, why: String) {
        self.why_not.push(why);
    }

    /// What of this object is, or is to be, pinned.
    pub(crate) fn pinned(&self, of: Object) -> Pinned {
        let (Some(own), Some(pins)) = (&self.own, &self.pins) else { return Pinned::default() };
        let found = own.set.has(of);
        if !found {
            pins.others(Some(&own.set)).iter().for_each(|other| own.set.share(of, other));
        }
        Pinned::new(own.set.clone(), of, found)
    }

    /// Does not pin this object after all.
    pub(crate) fn leave_out(&mut self, of: Object, found: bool, why: &str) {
        let name = of.name();
        self.why_not.push(format!("the programs of object {name}: {why}"));
        if let Some(own) = &self.own {
            own.set.remove_object(of);
        }
        if found {
            let dir = self.place().map(|dir| dir.display().to_string()).unwrap_or_default();
            self.inherited.troubles.push(format!(
                "{dir}: what programs of object {name} collected cannot be read and is lost: {why}"
            ));
        }
    }

    /// Lets the readers of this object go on where the agent before was.
    pub(crate) fn resume(
        &mut self,
        of: Object,
        found: bool,
        readers: &mut [RingReader],
    ) -> Result<(), String> {
        let Some(own) = &self.own else { return Ok(()) };
        if !found {
            own.marks.forget(of.rings().into_iter().flat_map(|ring| ring.kinds));
        }
        for reader in readers {
            if found {
                reader.resume(own.marks.sequences()).map_err(|why| why.to_string())?;
            }
            reader.stay();
        }
        self.inherited.goes_on |= found;
        Ok(())
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

    pub(crate) fn why_not(&self) -> &[String] {
        &self.why_not
    }

    pub(crate) fn marks(&self) -> Option<Marks> {
        self.own.as_ref().map(|own| own.marks.clone())
    }

    /// The agent goes in order.
    pub(crate) fn leave(&self) {
        if let Some(own) = &self.own {
            own.marks.leave();
        }
    }

    pub(crate) fn kernel_bytes(&self) -> u64 {
        self.own.as_ref().map_or(0, |own| own.marks.bytes())
    }
}

impl Inherited {
    fn note(&mut self, past: Past) {
        self.since_boot_ns = Some(self.since_boot_ns.unwrap_or_default().max(past.seen_ns));
        self.killed |= !past.in_order;
    }
}

/// Makes the directory of `set` with its marks, or takes those of an agent before. What is left of a broken one is removed.
fn prepare(set: Set, cpus: usize, inherited: &mut Inherited) -> Result<Own, String> {
    let dir = set.dir.display();
    if set.dir.exists() && set.is_whole() {
        let marks = Marks::open(&set.marks())?;
        if let Some(past) = marks.attend() {
            inherited.note(past);
        }
        return Ok(Own { set, marks });
    }
    if set.dir.exists() {
        let why =
            format!("{dir}: a part of the pins is gone, so what they collected cannot be read and is lost");
        inherited.troubles.push(why);
        for path in set.all_links() {
            let _ = std::fs::remove_file(path);
        }
        set.remove()
            .map_err(|why| format!("{dir} cannot be removed: {why}; remove it by hand (rm -r {dir})"))?;
    }
    std::fs::create_dir(&set.dir).map_err(|why| ClaimError::Io { path: set.dir.clone(), why }.to_string())?;
    let marks = Marks::create(&set.marks(), cpus)?;
    marks.attend();
    Ok(Own { set, marks })
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
