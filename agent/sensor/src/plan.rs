//! Putting a plan in force: the open filter and the kill lists.
//!
//! # No moment of blindness
//! A plan is swapped while programs run. First all that either plan wants is let pass, then what
//! only the old one wanted is taken away. In between the kernel reports too much, never too little.

use crate::error::ApplyError;
use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, MapError};
use hostward_abi::maps::{BLOOM_WORDS, KILL_PATH_BYTES, KILLS_MAX, NAMES_MAX, name_bit};
use hostward_event::plan::{KernelPlan, OpenClass};
use hostward_event::{EventKind, Text};
use std::collections::{BTreeMap, BTreeSet};

const NAME_BYTES: usize = 16;
const COMM_BYTES: usize = 16;
/// [`hostward_abi::maps::OpenFilter`]: two 32-bit numbers in one word, then the bitmap.
const FILTER_WORDS: usize = 1 + BLOOM_WORDS;

type Name = [u8; NAME_BYTES];
type KillPath = [u8; KILL_PATH_BYTES];
type Comm = [u8; COMM_BYTES];

/// The open filter as the programs hold it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opens {
    all: u8,
    names: BTreeMap<Name, u8>,
}

impl Opens {
    /// The filter for `plan`; names that do not fit widen it, so it stays a superset.
    pub(crate) fn new(plan: &KernelPlan) -> Self {
        // Without the kind its probes are detached as well, but a process that is just being started may hold
        // their descriptors a little longer.
        let open = if plan.kinds.contains(EventKind::Open) { OpenClass::ALL } else { OpenClass::NONE };
        let close =
            if plan.kinds.contains(EventKind::CloseWrite) { OpenClass::CLOSE } else { OpenClass::NONE };
        let whole = open.union(close);
        let classes = whole.union(OpenClass::CALL);
        let mut opens = Self { all: plan.opens.all.intersection(whole).0, names: BTreeMap::new() };
        for (name, class) in &plan.opens.names {
            let class = class.intersection(classes);
            if class.is_empty() {
                continue;
            }
            // No component of a path is empty or has a slash, so such a name matches nothing.
            let bytes = name.as_bytes();
            if bytes.is_empty() || bytes.contains(&b'/') || bytes.contains(&0) {
                continue;
            }
            let room = opens.names.len() < NAMES_MAX as usize;
            match opens.names.get_mut(&padded::<NAME_BYTES>(bytes)) {
                Some(wanted) => *wanted |= class.0,
                None if room => _ = opens.names.insert(padded(bytes), class.0),
                None => opens.all |= class.0,
            }
        }
        opens
    }

    /// What lies in the maps of programs that another agent has loaded.
    pub(crate) fn in_force(object: &Ebpf) -> Result<Self, ApplyError> {
        let filter: Array<&MapData, [u64; FILTER_WORDS]> = found(object, "OPEN_FILTER")?;
        let [head, ..] = filter.get(&0, 0).map_err(failed("OPEN_FILTER"))?;
        let [all, ..] = head.to_ne_bytes();
        let names: HashMap<&MapData, Name, u8> = found(object, "NAMES")?;
        let names = names.iter().collect::<Result<_, _>>().map_err(failed("NAMES"))?;
        Ok(Self { all, names })
    }

    fn union(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.all |= other.all;
        for (name, class) in &other.names {
            *both.names.entry(*name).or_default() |= class;
        }
        both
    }

    fn words(&self) -> [u64; FILTER_WORDS] {
        let any = self.names.values().fold(self.all, |any, class| any | class);
        let mut filter = [0; FILTER_WORDS];
        let [head, bloom @ ..] = &mut filter;
        let [a, b, c, d] = u32::from(self.all).to_ne_bytes();
        let [e, f, g, h] = u32::from(any).to_ne_bytes();
        *head = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
        for name in self.names.keys() {
            let bit = name_bit(words_of(name));
            let place = usize::try_from(bit / 64).unwrap_or_default();
            if let Some(word) = bloom.get_mut(place) {
                *word |= 1 << (bit % 64);
            }
        }
        filter
    }
}

/// The kill lists as the programs hold them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kills {
    paths: BTreeSet<KillPath>,
    comms: BTreeSet<Comm>,
    /// What the kernel cannot decide: too long, or no path or name at all.
    pub(crate) left_out: Vec<Text>,
}

impl Kills {
    /// The lists of `plan`; `as_text`: the programs have paths as text, not as walked.
    pub(crate) fn new(plan: &KernelPlan, as_text: bool) -> Self {
        let mut kills = Self::default();
        let most = KILLS_MAX as usize / 2;
        for path in &plan.kill_paths {
            let bytes = path.as_bytes();
            let key = reversed(bytes).map(|key| if as_text { padded(bytes) } else { key });
            match key.filter(|_| kills.paths.len() < most) {
                Some(key) => _ = kills.paths.insert(key),
                None => kills.left_out.push(path.clone()),
            }
        }
        for comm in &plan.kill_comms {
            let bytes = comm.as_bytes();
            if bytes.is_empty()
                || bytes.len() >= COMM_BYTES
                || bytes.contains(&0)
                || kills.comms.len() >= most
            {
                kills.left_out.push(comm.clone());
            } else {
                kills.comms.insert(padded(bytes));
            }
        }
        kills
    }

    /// What lies in the maps of programs that another agent has loaded.
    pub(crate) fn in_force(object: &Ebpf) -> Result<Self, ApplyError> {
        Ok(Self {
            paths: keys(object, "KILL_PATHS")?,
            comms: keys(object, "KILL_COMMS")?,
            left_out: Vec::new(),
        })
    }
}

fn keys<const N: usize>(object: &Ebpf, name: &'static str) -> Result<BTreeSet<[u8; N]>, ApplyError> {
    let set: HashMap<&MapData, [u8; N], u8> = found(object, name)?;
    set.keys().collect::<Result<_, _>>().map_err(failed(name))
}

fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut key = [0; N];
    for (to, from) in key.iter_mut().zip(bytes) {
        *to = *from;
    }
    key
}

fn words_of(name: &Name) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *name;
    [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p])]
}

/// A path in the programs' form: components from the file up, each with its NUL. None when it is no
/// absolute, plain path or does not fit.
fn reversed(path: &[u8]) -> Option<KillPath> {
    let rest = path.strip_prefix(b"/")?;
    let mut form = Vec::with_capacity(path.len());
    for component in rest.rsplit(|byte| *byte == b'/') {
        if component.is_empty() || component == b"." || component == b".." || component.contains(&0) {
            return None;
        }
        form.extend_from_slice(component);
        form.push(0);
    }
    (form.len() <= KILL_PATH_BYTES).then(|| padded(&form))
}

fn failed(map: &'static str) -> impl FnOnce(MapError) -> ApplyError {
    move |cause| ApplyError { map, cause }
}

/// A map that is read.
pub(crate) fn found<'a, T>(object: &'a Ebpf, name: &'static str) -> Result<T, ApplyError>
where
    T: TryFrom<&'a aya::maps::Map, Error = MapError>,
{
    let absent = || ApplyError { map: name, cause: MapError::InvalidName { name: name.to_owned() } };
    T::try_from(object.map(name).ok_or_else(absent)?).map_err(failed(name))
}

fn map<'a, T>(object: &'a mut Ebpf, name: &'static str) -> Result<T, ApplyError>
where
    T: TryFrom<&'a mut aya::maps::Map, Error = MapError>,
{
    let absent = || ApplyError { map: name, cause: MapError::InvalidName { name: name.to_owned() } };
    T::try_from(object.map_mut(name).ok_or_else(absent)?).map_err(failed(name))
}

fn write_filter(object: &mut Ebpf, opens: &Opens) -> Result<(), ApplyError> {
    let mut filter: Array<&mut MapData, [u64; FILTER_WORDS]> = map(object, "OPEN_FILTER")?;
    filter.set(0, opens.words(), 0).map_err(failed("OPEN_FILTER"))
}

/// Swaps the open filter of `object` from `old` to `new`.
pub(crate) fn swap_opens(object: &mut Ebpf, old: &Opens, new: &Opens) -> Result<(), ApplyError> {
    let mut between = old.union(new);
    // The map has room for the names of one plan; when both do not fit, all opens pass meanwhile.
    let crowded = between.names.len() > NAMES_MAX as usize;
    if crowded {
        between.all = OpenClass::ALL.union(OpenClass::CALL).union(OpenClass::CLOSE).0;
    }
    write_filter(object, &between)?;
    let mut names: HashMap<&mut MapData, Name, u8> = map(object, "NAMES")?;
    let gone: Vec<&Name> = old.names.keys().filter(|name| !new.names.contains_key(*name)).collect();
    if crowded {
        for name in &gone {
            names.remove(name).map_err(failed("NAMES"))?;
        }
    }
    for (name, class) in &new.names {
        let kept = old.names.get(name).copied().unwrap_or_default();
        names.insert(name, class | kept, 0).map_err(failed("NAMES"))?;
    }
    for (name, class) in new
        .names
        .iter()
        .filter(|(name, class)| old.names.get(*name).is_some_and(|old| old | *class != **class))
    {
        names.insert(name, class, 0).map_err(failed("NAMES"))?;
    }
    if !crowded {
        for name in &gone {
            names.remove(name).map_err(failed("NAMES"))?;
        }
    }
    write_filter(object, new)
}

/// Swaps the kill lists of `object` from `old` to `new`.
pub(crate) fn swap_kills(object: &mut Ebpf, old: &Kills, new: &Kills) -> Result<(), ApplyError> {
    swap_set(object, "KILL_PATHS", &old.paths, &new.paths)?;
    swap_set(object, "KILL_COMMS", &old.comms, &new.comms)?;
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let mut counts: Array<&mut MapData, [u32; 2]> = map(object, "KILL_COUNTS")?;
    counts.set(0, [count(new.paths.len()), count(new.comms.len())], 0).map_err(failed("KILL_COUNTS"))?;
    clear_set(object, "KILL_PATHS", &old.paths, &new.paths)?;
    clear_set(object, "KILL_COMMS", &old.comms, &new.comms)
}

/// Says whether the environment of programs that start is wanted.
pub(crate) fn set_environment(object: &mut Ebpf, wanted: bool) -> Result<(), ApplyError> {
    let mut switch: Array<&mut MapData, u32> = map(object, "ENVIRONMENT")?;
    switch.set(0, u32::from(wanted), 0).map_err(failed("ENVIRONMENT"))
}

fn swap_set<const N: usize>(
    object: &mut Ebpf,
    name: &'static str,
    old: &BTreeSet<[u8; N]>,
    new: &BTreeSet<[u8; N]>,
) -> Result<(), ApplyError> {
    let mut set: HashMap<&mut MapData, [u8; N], u8> = map(object, name)?;
    for key in new.difference(old) {
        set.insert(key, 1, 0).map_err(failed(name))?;
    }
    Ok(())
}

fn clear_set<const N: usize>(
    object: &mut Ebpf,
    name: &'static str,
    old: &BTreeSet<[u8; N]>,
    new: &BTreeSet<[u8; N]>,
) -> Result<(), ApplyError> {
    let mut set: HashMap<&mut MapData, [u8; N], u8> = map(object, name)?;
    for key in old.difference(new) {
        set.remove(key).map_err(failed(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostward_event::KindSet;
    use hostward_event::plan::OpenPlan;

    #[test]
    fn long_names_share_an_entry_and_impossible_ones_have_none() {
        let names = [
            ("kubernetes.io~projected", OpenClass::READ),
            ("kubernetes.io~pr-other", OpenClass::WRITE),
            ("a/b", OpenClass::READ),
            ("", OpenClass::READ),
        ];
        let names = names.into_iter().map(|(name, class)| (Text::from(name), class)).collect();
        let opens = OpenPlan { all: OpenClass::NONE, names };
        let plan = KernelPlan { kinds: KindSet::ALL, opens, ..KernelPlan::default() };
        let opens = Opens::new(&plan);
        let expected = BTreeMap::from([(*b"kubernetes.io~pr", 3)]);
        assert_eq!(opens.names, expected);
        assert_eq!(opens.words()[0], u64::from_ne_bytes([0, 0, 0, 0, 3, 0, 0, 0]));
        assert_eq!(opens.words()[1..].iter().map(|word| word.count_ones()).sum::<u32>(), 1);
    }

    #[test]
    fn kill_paths_are_told_from_the_file_up() {
        let key = reversed(b"/opt/evil/miner").unwrap();
        assert_eq!(&key[..16], b"miner\0evil\0opt\0\0");
        for path in [&b"relative"[..], b"/a//b", b"/a/../b", b"/", b"/dir/"] {
            assert_eq!(reversed(path), None);
        }
        let long = format!("/{}", "x".repeat(KILL_PATH_BYTES));
        let plan = KernelPlan {
            kill_paths: BTreeSet::from([Text::from("/opt/miner"), Text::from(long.as_str())]),
            kill_comms: BTreeSet::from([Text::from("xmrig"), Text::from("sixteen-bytes-xx")]),
            ..KernelPlan::default()
        };
        let kills = Kills::new(&plan, false);
        assert_eq!((kills.paths.len(), kills.comms.len()), (1, 1));
        assert_eq!(kills.left_out, [Text::from(long.as_str()), Text::from("sixteen-bytes-xx")]);
        let as_text = Kills::new(&plan, true);
        assert_eq!(as_text.paths.first().map(|key| &key[..12]), Some(&b"/opt/miner\0\0"[..]));
    }
}
