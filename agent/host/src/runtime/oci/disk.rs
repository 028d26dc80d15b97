//! The state directories of OCI runtimes, and what is new and gone in them.

use super::LastResort;
use super::facts::{self, Found, Maker};
use super::files::{self, Root, is_id};
use super::spec::{self, Spec, State};
use super::watch::Watch;
use crate::cgroups::Hierarchies;
use hostward_event::Text;
use hostward_event::fact::Fact;
use hostward_event::workload::Source;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Directories that are no container's, as containerd has one for each of its namespaces.
const MAX_NAMESPACES: usize = 256;
/// How often files are read that make no sense: they may be half written.
const TRIES: u8 = 5;
/// How long what was read of a container that is gone is remembered: questions may come late.
const REMEMBER: Duration = Duration::from_secs(60);
/// Most that are remembered.
const MAX_REMEMBERED: usize = 1_024;
/// What a container's directory holds, and who wrote it.
const STATES: [(&str, &str); 2] = [("state.json", "runc"), ("status", "crun")];

/// Where a container's state lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    root: PathBuf,
    below: String,
    program: &'static str,
    file: String,
    /// Inode of its directory: a container that was made anew under its id has another.
    ino: u64,
}

#[derive(Debug)]
struct Known {
    place: Arc<Place>,
    /// None: its files could not be read, so many times by now.
    maker: Option<Maker>,
    tries: u8,
    /// Somebody was told of it, and which pod's it is.
    told: Option<Text>,
}

/// One of the directories, for a report.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RootReport {
    pub(super) containers: usize,
    pub(super) unreadable: usize,
    /// Ids that several containers have.
    pub(super) ambiguous: usize,
    /// Why it cannot be looked at.
    pub(super) fault: Option<String>,
}

/// What a container's files said.
type Read = (Found, State);

/// A state that was read before the next look.
#[derive(Debug)]
pub(super) struct Early {
    id: String,
    place: Arc<Place>,
    read: Read,
}

impl Early {
    /// Both are of one container.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.id == other.id && self.place == other.place
    }
}

/// A file that is a container's state.
pub(super) fn is_state(name: &str) -> bool {
    STATES.iter().any(|(file, _)| *file == name)
}

/// Reads the state in a directory of a root, if there is one.
pub(super) fn read_early(path: &Path, below: &str) -> Option<Early> {
    let root = Root::open(path).ok()?;
    let id = below.rsplit('/').next().filter(|id| is_id(id))?;
    let place = place(path, &root, below, root.inode(below)?)?;
    let read = read(&place, id, &Text::EMPTY)?;
    Some(Early { id: id.to_owned(), place, read })
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Disk {
    roots: Vec<PathBuf>,
    most: usize,
    watch: Watch,
    known: BTreeMap<String, Known>,
    /// What was read lately, the oldest first: it may be asked for when the files are gone.
    lately: VecDeque<(Instant, String, Read)>,
    hierarchies: Hierarchies,
    pub(super) reports: BTreeMap<PathBuf, RootReport>,
}

impl Disk {
    pub(super) fn new(roots: &[PathBuf], most: usize, watch: Watch) -> Self {
        let hierarchies = Hierarchies::read(Path::new("/proc"));
        let (known, reports) = (BTreeMap::new(), BTreeMap::new());
        let lately = VecDeque::new();
        Self { roots: roots.to_vec(), most, watch, known, lately, hierarchies, reports }
    }

    /// Looks what is there, and tells what is new of those of whom nobody else tells, and what is gone.
    pub(super) fn scan(&mut self) -> Vec<Fact> {
        let mut out = Vec::new();
        for early in self.watch.early() {
            self.met(early, &mut out);
        }
        let (mut places, ambiguous) = self.places();
        let gone: Vec<(String, Known)> =
            self.known.extract_if(.., |id, known| places.get(id) != Some(&known.place)).collect();
        for (id, known) in gone {
            self.tell_gone(&id, known, &mut out);
        }
        let unread = |_: &String, known: &mut Known| known.maker.is_none() && known.tries < TRIES;
        let tried: BTreeMap<String, Known> = self.known.extract_if(.., unread).collect();
        places.retain(|id, _| !self.known.contains_key(id));
        for (id, place) in places {
            if self.known.len() >= self.most {
                break;
            }
            self.watch.forget(&place.root.join(&place.below));
            let found = read(&place, &id, &Text::EMPTY);
            let maker = found.as_ref().map(|(found, _)| found.maker);
            let tries = 1 + tried.get(&id).map_or(0, |known| known.tries);
            let told = tried.get(&id).and_then(|known| known.told.clone());
            self.known.insert(id.clone(), Known { place, maker, tries, told });
            if let Some(read) = found {
                self.first(id, read, &mut out);
            }
        }
        for (place, count) in ambiguous {
            self.reports.entry(place).or_default().ambiguous = count;
        }
        for known in self.known.values() {
            if let Some(report) = self.reports.get_mut(&known.place.root) {
                report.containers += usize::from(known.told.is_some());
                report.unreadable += usize::from(known.maker.is_none());
            }
        }
        out
    }

    /// Tells the container that is asked about, if these files know enough of it.
    pub(super) fn find(&mut self, asked: &LastResort) -> Option<Vec<Fact>> {
        let id = str::from_utf8(asked.id.as_bytes()).ok()?;
        let place = self.known.get(id).map(|known| known.place.clone());
        let place = place.or_else(|| self.beyond(id));
        let (mut found, state) = place
            .and_then(|place| read(&place, id, &asked.pod_uid))
            .or_else(|| self.remembered(id, asked))?;
        match found.maker {
            Maker::Engine => return None,
            Maker::Cri if asked.denied || found.pod.is_none() => return None,
            Maker::Cri | Maker::Nobody => {}
        }
        // Of the pod its sandbox may know more.
        let sandbox = found.facts.sandbox_id.to_string();
        if let Some(pod) = &mut found.pod
            && let Some(known) = self.known.get(&sandbox)
            && let Some((Found { pod: Some(whole), .. }, _)) = read(&known.place, &sandbox, &asked.pod_uid)
            && whole.uid == pod.uid
        {
            *pod = whole;
        }
        let mut out = Vec::new();
        self.tell(id, found, &state, &mut out);
        Some(out)
    }

    /// A state that was read as soon as it was there; its container may be gone by now.
    fn met(&mut self, early: Early, out: &mut Vec<Fact>) {
        let Early { id, place, read } = early;
        let same = self.known.get(&id).is_some_and(|known| known.place == place && known.maker.is_some());
        if same || self.known.len() >= self.most {
            return;
        }
        let told = self.known.remove(&id).and_then(|known| known.told);
        self.known.insert(id.clone(), Known { place, maker: Some(read.0.maker), tries: 1, told });
        self.first(id, read, out);
    }

    /// What is done with a container that is new.
    fn first(&mut self, id: String, read: Read, out: &mut Vec<Fact>) {
        if read.0.maker == Maker::Nobody {
            self.tell(&id, read.0, &read.1, out);
        } else {
            self.remember(id, read);
        }
    }

    fn remember(&mut self, id: String, read: Read) {
        let now = Instant::now();
        let old = |at: &Instant| now.duration_since(*at) > REMEMBER;
        while self.lately.len() >= MAX_REMEMBERED || self.lately.front().is_some_and(|(at, ..)| old(at)) {
            self.lately.pop_front();
        }
        self.lately.push_back((now, id, read));
    }

    /// A container whose files are gone, as they were.
    fn remembered(&self, id: &str, asked: &LastResort) -> Option<Read> {
        let (_, _, read) = self.lately.iter().rev().find(|(_, known, _)| known == id)?;
        let (mut found, state) = (read.0.clone(), read.1.clone());
        if found.facts.pod_uid.is_empty() {
            found.facts.pod_uid = asked.pod_uid.clone();
        }
        Some((found, state))
    }

    /// One that was there when no more were followed.
    fn beyond(&self, id: &str) -> Option<Arc<Place>> {
        if self.known.len() < self.most || !is_id(id) {
            return None;
        }
        let mut places = self.roots.iter().filter_map(|path| {
            let root = Root::open(path).ok()?;
            place(path, &root, id, 0).or_else(|| {
                let spaces = root.names(".", MAX_NAMESPACES).ok()?;
                spaces.iter().find_map(|(space, _)| place(path, &root, &format!("{space}/{id}"), 0))
            })
        });
        places.next()
    }

    fn tell(&mut self, id: &str, found: Found, state: &State, out: &mut Vec<Fact>) {
        let Found { maker, facts, pod } = found;
        if let Some(known) = self.known.get_mut(id) {
            known.told = Some(facts.pod_uid.clone());
        }
        let claim =
            (maker == Maker::Nobody).then(|| self.cgroup(state)).flatten().map(|(cgroup_id, path)| {
                let (container, runtime) = (facts.id.clone(), facts.runtime.clone());
                Fact::CgroupContainer { cgroup_id, path, container, runtime }
            });
        out.extend(pod.map(|pod| Fact::Pod(Arc::new(pod))));
        out.push(Fact::Container(Arc::new(facts)));
        // Last, as events that wait for it then go out with the facts.
        out.extend(claim);
    }

    /// Id and path of the cgroup that the runtime made.
    fn cgroup(&mut self, state: &State) -> Option<(u64, Text)> {
        if !state.cgroup_path.is_empty() {
            let path = Text::from(state.cgroup_path.as_str());
            return Some((self.hierarchies.id_of(&path).unwrap_or_default(), path));
        }
        let dir = Path::new(&state.cgroup_dir);
        self.hierarchies.path_of(dir).or_else(|| {
            // Mounted since.
            self.hierarchies = Hierarchies::read(Path::new("/proc"));
            self.hierarchies.path_of(dir)
        })
    }

    fn tell_gone(&self, id: &str, known: Known, out: &mut Vec<Fact>) {
        let Some(uid) = known.told else { return };
        out.push(Fact::ContainerGone { id: Text::from(id), source: Source::Oci });
        let others = || self.known.values().any(|other| other.told.as_ref() == Some(&uid));
        if !uid.is_empty() && !others() {
            out.push(Fact::PodGone { uid, source: Source::Oci });
        }
    }

    /// All containers by id, and how many ids in a root are those of several: which one is meant, nobody could tell.
    fn places(&mut self) -> (BTreeMap<String, Arc<Place>>, BTreeMap<PathBuf, usize>) {
        let mut places: BTreeMap<String, Arc<Place>> = BTreeMap::new();
        let mut twice: BTreeSet<(PathBuf, String)> = BTreeSet::new();
        self.reports.clear();
        for path in &self.roots {
            self.watch.root(path);
            let root = match Root::open(path) {
                Ok(root) => root,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    let fault = Some(error.to_string());
                    self.reports.insert(path.clone(), RootReport { fault, ..RootReport::default() });
                    continue;
                }
            };
            self.reports.insert(path.clone(), RootReport::default());
            for (id, place) in below(path, &root, self.most, &self.watch, &self.known) {
                if let Some(other) = places.get(&id).filter(|other| **other != place) {
                    twice.insert((other.root.clone(), id));
                } else {
                    places.insert(id, place);
                }
            }
        }
        let mut ambiguous = BTreeMap::new();
        for (root, id) in twice {
            places.remove(&id);
            *ambiguous.entry(root).or_insert(0) += 1;
        }
        (places, ambiguous)
    }
}

/// Containers of a root, and of the namespaces in it. Of those that are known only the names are looked at.
fn below(
    path: &Path,
    root: &Root,
    most: usize,
    watch: &Watch,
    known: &BTreeMap<String, Known>,
) -> Vec<(String, Arc<Place>)> {
    let same = |id: &str, below: &str, ino: u64| {
        let place = known.get(id).map(|known| &known.place);
        place.filter(|place| place.ino == ino && place.below == below && place.root == path).cloned()
    };
    let mut found = Vec::new();
    let mut spaces = 0;
    for (name, ino) in root.names(".", most + MAX_NAMESPACES).unwrap_or_default() {
        if let Some(place) = same(&name, &name, ino).or_else(|| place(path, root, &name, ino)) {
            found.push((name, place));
            continue;
        }
        // A namespace, or a container that is being made.
        spaces += 1;
        if spaces > MAX_NAMESPACES || found.len() > most {
            continue;
        }
        watch.directory(path, &name);
        if let Some(place) = place(path, root, &name, ino) {
            found.push((name, place));
            continue;
        }
        for (id, ino) in root.names(&name, most).unwrap_or_default() {
            let below = format!("{name}/{id}");
            let mut there = same(&id, &below, ino).or_else(|| place(path, root, &below, ino));
            if there.is_none() {
                watch.directory(path, &below);
                there = place(path, root, &below, ino);
            }
            found.extend(there.map(|place| (id, place)));
        }
    }
    found
}

/// The place of a container; none when nobody wrote its state yet.
fn place(path: &Path, root: &Root, below: &str, ino: u64) -> Option<Arc<Place>> {
    STATES.iter().find_map(|(name, program)| {
        let file = format!("{below}/{name}");
        let (root_path, below) = (path.to_owned(), below.to_owned());
        root.has(&file).then(|| Arc::new(Place { root: root_path, below, program, file, ino }))
    })
}

fn read(place: &Place, id: &str, pod_uid: &Text) -> Option<Read> {
    let root = Root::open(&place.root).ok()?;
    let file = root.read(&place.file).ok()?;
    let state = if place.program == "crun" { spec::crun(&file)? } else { spec::runc(&file)? };
    // crun keeps a copy; runc tells where the bundle lies.
    let own = root.read(&format!("{}/config.json", place.below));
    let config = own.or_else(|_| files::read(&Path::new(&state.bundle).join("config.json")));
    // Without it the state's annotations still tell a pod.
    let spec = config.ok().and_then(|file| Spec::parse(&file)).unwrap_or_default();
    let parent = place.root.join(&place.below).parent().map_or_else(PathBuf::new, Path::to_owned);
    let found = facts::read(&parent, place.program, id, pod_uid, &state, &spec);
    Some((found, state))
}
