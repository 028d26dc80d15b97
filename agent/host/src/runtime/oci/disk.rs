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
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Directories that are no container's, as containerd has one for each of its namespaces.
const MAX_NAMESPACES: usize = 256;
/// How often files are read that make no sense: they may be half written.
const TRIES: u8 = 5;
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

/// See the module's head.
#[derive(Debug)]
pub(super) struct Disk {
    roots: Vec<PathBuf>,
    most: usize,
    watch: Watch,
    known: BTreeMap<String, Known>,
    hierarchies: Hierarchies,
    pub(super) reports: BTreeMap<PathBuf, RootReport>,
}

impl Disk {
    pub(super) fn new(roots: &[PathBuf], most: usize, watch: Watch) -> Self {
        let hierarchies = Hierarchies::read(Path::new("/proc"));
        let (known, reports) = (BTreeMap::new(), BTreeMap::new());
        Self { roots: roots.to_vec(), most, watch, known, hierarchies, reports }
    }

    /// Looks what is there, and tells what is new of those of whom nobody else tells, and what is gone.
    pub(super) fn scan(&mut self) -> Vec<Fact> {
        let (mut places, ambiguous) = self.places();
        let mut out = Vec::new();
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
            if let Some((found, state)) = found.filter(|_| maker == Some(Maker::Nobody)) {
                self.tell(&id, found, &state, &mut out);
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
        let place = place.or_else(|| self.beyond(id))?;
        let (mut found, state) = read(&place, id, &asked.pod_uid)?;
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
        if maker == Maker::Nobody
            && let Some((cgroup_id, path)) = self.cgroup(state)
        {
            let (container, runtime) = (facts.id.clone(), facts.runtime.clone());
            out.push(Fact::CgroupContainer { cgroup_id, path, container, runtime });
        }
        out.extend(pod.map(|pod| Fact::Pod(Arc::new(pod))));
        out.push(Fact::Container(Arc::new(facts)));
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
            for (id, place) in below(path, &root, self.most, &mut self.watch, &self.known) {
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
    watch: &mut Watch,
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
        watch.directory(&path.join(&name));
        if let Some(place) = place(path, root, &name, ino) {
            found.push((name, place));
            continue;
        }
        for (id, ino) in root.names(&name, most).unwrap_or_default() {
            let below = format!("{name}/{id}");
            let mut there = same(&id, &below, ino).or_else(|| place(path, root, &below, ino));
            if there.is_none() {
                watch.directory(&path.join(&below));
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

fn read(place: &Place, id: &str, pod_uid: &Text) -> Option<(Found, State)> {
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
