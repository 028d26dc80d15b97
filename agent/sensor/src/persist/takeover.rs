//! The end of pins that are not ours: programs of another build, or with other settings.
//!
//! Their links go first, then their rings are read to their ends, then the rest goes. What this build cannot understand is
//! said in a sentence, as no number can be told of it.

use super::marks::{Marks, Past};
use super::pins::Set;
use crate::counters::Counters;
use crate::objects::{LASTING, RingOf};
use crate::reader::{Drained, RingReader};
use crate::ring::Ring;
use crate::rungs::Object;
use aya::maps::MapData;
use aya::programs::links::PinnedLink;
use hostward_event::fact::Input;
use std::os::fd::AsFd;

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
    for path in set.all_links() {
        // The last descriptor detaches at once; a file that is removed does so some time later.
        let link = PinnedLink::from_pin(&path);
        if let Err(why) = std::fs::remove_file(&path) {
            tracing::warn!(pin = %path.display(), %why, "a pin cannot be removed");
        }
        drop(link);
    }
    crate::load::settle();
    let mut taken = Taken::default();
    let dir = set.dir.display();
    if !set.is_readable() {
        taken.trouble = Some(format!(
            "{dir} was of a version with other records: what it collected cannot be read and is lost"
        ));
    } else if let Err(why) = read(set, &mut taken) {
        taken.trouble = Some(format!("{dir}: what it collected cannot be read and is lost: {why}"));
    }
    if let Err(why) = set.remove() {
        taken.trouble = Some(format!("{dir} cannot be removed: {why}; remove it by hand (rm -r {dir})"));
    }
    taken
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
