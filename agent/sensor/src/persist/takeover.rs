//! The end of pins that are not ours: programs of another build, or with other settings.
//!
//! Their links go first, then their rings are read to their ends, then the rest goes. What this build cannot understand is
//! said in a sentence, as no number can be told of it.
//!
//! The kernel lets a link go some time after its file: not before all are done that may still see the file. Until then
//! its program goes on, and what it tells must not come after the last look at its ring: see [`gone`].

use super::marks::{Marks, Past};
use super::pins::Set;
use crate::counters::Counters;
use crate::objects::{LASTING, RingOf};
use crate::reader::{Drained, RingReader};
use crate::ring::Ring;
use crate::rungs::Object;
use aya::maps::MapData;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::loaded_programs;
use hostward_event::fact::Input;
use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long links may take to go; generous, a busy machine needs tens of milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks.
const NAP: Duration = Duration::from_millis(10);

/// What was taken over.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) inputs: Vec<Input>,
    pub(super) drained: Option<Drained>,
    pub(super) past: Option<Past>,
    /// Why not all of it.
    pub(super) trouble: Option<String>,
}

/// Detaches, reads and removes `set`.
pub(super) fn take(set: &Set) -> Taken {
    let programs = detach(set);
    let mut taken = Taken::default();
    let dir = set.dir.display();
    let is_readable = set.is_readable();
    if is_readable {
        gone(&programs);
        if let Err(why) = read(set, &mut taken) {
            taken.trouble = Some(format!("{dir}: what it collected cannot be read and is lost: {why}"));
        }
    } else {
        taken.trouble = Some(format!(
            "{dir} was of a version with other records: what it collected cannot be read and is lost"
        ));
    }
    if let Err(why) = set.remove() {
        taken.trouble = Some(format!("{dir} cannot be removed: {why}; remove it by hand (rm -r {dir})"));
    }
    if !is_readable {
        // They kill as long as they are there. What keeps them may have had other names, and is gone only now.
        gone(&programs);
    }
    taken
}

/// Removes what keeps programs attached, and loaded. Gives the kernel's numbers of those that were attached.
fn detach(set: &Set) -> BTreeSet<u32> {
    let mut programs = BTreeSet::new();
    for path in set.all_links() {
        let link = PinnedLink::from_pin(&path).map(FdLink::from);
        programs.extend(link.ok().and_then(|link| link.info().ok()).map(|link| link.program_id()));
        remove(&path);
    }
    set.all_programs().for_each(|path| remove(&path));
    programs
}

fn remove(pin: &Path) {
    if let Err(why) = std::fs::remove_file(pin) {
        tracing::warn!(pin = %pin.display(), %why, "a pin cannot be removed");
    }
}

/// Waits until these programs run no more. A link gives its program back once it has detached it, so there is none of
/// this number then.
fn gone(programs: &BTreeSet<u32>) {
    let until = Instant::now() + PATIENCE;
    while loaded_programs().flatten().any(|program| programs.contains(&program.id())) {
        if Instant::now() >= until {
            tracing::warn!(
                "programs of an agent before are still there; what they tell from now on is not read"
            );
            break;
        }
        std::thread::sleep(NAP);
    }
    crate::load::settle();
}

fn read(set: &Set, taken: &mut Taken) -> Result<(), String> {
    let marks = Marks::open(&set.marks())?;
    taken.past = Some(marks.past());
    // One that could not be loaded has left nothing.
    for of in LASTING.into_iter().filter(|of| set.map(*of, "COUNTERS").exists()) {
        for ring in of.rings() {
            let name = ring.name;
            read_ring(set, of, ring, &marks, taken).map_err(|why| format!("ring {name}: {why}"))?;
        }
    }
    Ok(())
}

fn read_ring(set: &Set, of: Object, ring: RingOf, marks: &Marks, taken: &mut Taken) -> Result<(), String> {
    let open = |name: &str| {
        let path = set.map(of, name);
        MapData::from_pin(&path).map_err(|why| format!("{}: {why}", path.display()))
    };
    let (map, counters) = (open(ring.map)?, open("COUNTERS")?);
    let bytes = map.info().map_err(|why| why.to_string())?.max_entries();
    let fd = map.fd().as_fd().try_clone_to_owned().map_err(|why| why.to_string())?;
    let mapped = Ring::new(fd, bytes).map_err(|why| why.to_string())?;
    let counters = Counters::new(&counters, ring.kinds).map_err(|why| format!("counters: {why}"))?;
    let mut reader = RingReader::new(ring.name, of.rung(), mapped, counters);
    reader.resume(marks.sequences()).map_err(|why| why.to_string())?;
    let outcome = reader.drain(&mut |input| taken.inputs.push(input));
    if let Some(drained) = reader.drained() {
        taken.drained = Some(taken.drained.unwrap_or_default().and(drained));
    }
    outcome.map(drop).map_err(|why| why.to_string())
}
