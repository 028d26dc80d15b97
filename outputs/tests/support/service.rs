//! Real servers, started by the scripts that are published beside the repository.

use hostward_tests::need::skip;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A server that runs until its value is dropped; the script ends it, too, when this process dies.
pub(crate) struct Service {
    script: PathBuf,
    cache: PathBuf,
    data: tempfile::TempDir,
    facts: BTreeMap<String, String>,
}

enum Outcome {
    Done(String),
    /// The machine lacks something.
    Lacking(String),
    /// The server is there and did not do it.
    Failed(String),
}

impl Service {
    /// Starts `part` (`rsyslog`, `kafka` …) for the test `test` after `prepare` put what it wants into
    /// the server's data directory. None: this machine cannot, and the skip was told by name.
    ///
    /// # Panics
    /// When the server is there and does not start, or `HOSTWARD_REQUIRE` names what is not there.
    pub(crate) fn start(part: &str, test: &str, prepare: impl FnOnce(&Path)) -> Option<Self> {
        Self::start_version(part, "", test, prepare)
    }

    /// As [`Service::start`], for a value that lives until the process ends and so is never dropped: the
    /// script ends the server all the same, and its data are below the target directory until a later run.
    pub(crate) fn start_for_good(part: &str, test: &str, prepare: impl FnOnce(&Path)) -> Option<Self> {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("servers");
        std::fs::create_dir_all(&parent).unwrap();
        for stale in std::fs::read_dir(&parent).unwrap() {
            let stale = stale.unwrap();
            let is_old = |time: std::time::SystemTime| time.elapsed().is_ok_and(|age| age.as_secs() > 7_200);
            if stale.metadata().and_then(|facts| facts.modified()).is_ok_and(is_old) {
                let _ = std::fs::remove_dir_all(stale.path());
            }
        }
        Self::start_at(&parent, part, "", test, prepare)
    }

    /// As [`Service::start`], in a version.
    pub(crate) fn start_version(
        part: &str,
        version: &str,
        test: &str,
        prepare: impl FnOnce(&Path),
    ) -> Option<Self> {
        Self::start_at(&std::env::temp_dir(), part, version, test, prepare)
    }

    fn start_at(
        parent: &Path,
        part: &str,
        version: &str,
        test: &str,
        prepare: impl FnOnce(&Path),
    ) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let script = root.join(format!("../shared/services/{part}.sh"));
        if !script.is_file() {
            skip(part, test, &format!("{} is not there", script.display()));
            return None;
        }
        let cache = root.join("target/services").join(format!("{part}{version}"));
        std::fs::create_dir_all(&cache).unwrap();
        let fetch = Command::new(&script)
            .arg("fetch")
            .arg(&cache)
            .args(Some(version).filter(|v| !v.is_empty()))
            .output();
        match outcome("fetch", fetch.unwrap()) {
            Outcome::Done(_) => {}
            Outcome::Lacking(reason) => {
                skip(part, test, &reason);
                return None;
            }
            Outcome::Failed(reason) => panic!("{reason}"),
        }
        join_libraries(&cache);
        // Search engines run as another user, who has to get through.
        let data = tempfile::Builder::new().prefix("hostward-service").tempdir_in(parent).unwrap();
        std::fs::set_permissions(data.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        prepare(data.path());
        let chose_port = data.path().join("port").exists();
        let mut service = Self { script, cache, data, facts: BTreeMap::new() };
        let mut outcome = service.launch();
        if matches!(outcome, Outcome::Failed(_)) && !chose_port {
            // Another server may have taken a port between its choice and its use: others are tried once.
            let _ = std::fs::remove_file(service.data.path().join("port"));
            outcome = service.launch();
        }
        match outcome {
            Outcome::Done(told) => service.facts = facts(&told),
            Outcome::Failed(reason) => panic!("{reason}"),
            Outcome::Lacking(reason) => {
                skip(part, test, &reason);
                return None;
            }
        }
        Some(service)
    }

    fn launch(&self) -> Outcome {
        let mut command = Command::new(&self.script);
        command.arg("start").arg(&self.cache).arg(self.data.path());
        // Flags of a server's JVM, when `prepare` has some.
        if let Ok(flags) = std::fs::read_to_string(self.data.path().join("jvm-opts")) {
            command.env("JVM_OPTS", flags.trim());
        }
        outcome("start", command.env("OWNER", std::process::id().to_string()).output().unwrap())
    }

    fn verb(&self, verb: &str) {
        let output = Command::new(&self.script).arg(verb).arg(self.data.path()).output().unwrap();
        assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// What the script told under this key when the server started.
    pub(crate) fn fact(&self, key: &str) -> &str {
        self.facts.get(key).unwrap_or_else(|| panic!("the script told no {key}: {:?}", self.facts))
    }

    /// The server's data directory.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        self.verb("kill");
    }

    /// An orderly end.
    pub(crate) fn stop(&self) {
        self.verb("stop");
    }

    /// Takes connections, but is silent.
    pub(crate) fn pause(&self) {
        self.verb("pause");
    }

    /// After [`Service::pause`].
    pub(crate) fn resume(&self) {
        self.verb("resume");
    }

    /// Makes it run, whatever was done to it.
    pub(crate) fn revive(&self) {
        // Nothing to resume is no fault.
        let _ = Command::new(&self.script).arg("resume").arg(self.data.path()).output();
        self.start_again();
    }

    /// Starts it again on its data and ports.
    pub(crate) fn start_again(&self) {
        if let Outcome::Lacking(reason) | Outcome::Failed(reason) = self.launch() {
            panic!("the server ran before and cannot now: {reason}");
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = Command::new(&self.script).arg("kill").arg(self.data.path()).output();
    }
}

/// Some unpacked packages have their libraries in `lib` and not in `usr/lib`, which is where the scripts
/// let servers look.
fn join_libraries(cache: &Path) {
    let Ok(folders) = std::fs::read_dir(cache.join("root/lib")) else { return };
    for folder in folders {
        let folder = folder.unwrap();
        let Ok(files) = std::fs::read_dir(folder.path()) else { continue };
        for file in files {
            let file = file.unwrap();
            let link = cache.join("root/usr/lib").join(folder.file_name()).join(file.file_name());
            // It is there already, from another test or from a package.
            let _ = std::os::unix::fs::symlink(file.path(), link);
        }
    }
}

fn outcome(verb: &str, output: std::process::Output) -> Outcome {
    let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(0) => Outcome::Done(String::from_utf8(output.stdout).unwrap()),
        Some(77) => Outcome::Lacking(told),
        code => Outcome::Failed(format!("{verb} failed ({code:?}): {told}")),
    }
}

fn facts(told: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    told.lines().filter_map(pair).collect()
}
