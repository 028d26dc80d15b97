//! What is known of a program's file beyond what the kernel tells of it.
//!
//! It is read off the event path and comes as a fact, for the file that was executed and no other: device,
//! inode, time of change and path say which, see [`ProgramKey`].

use crate::Text;
use crate::process::Process;
use serde::{Deserialize, Serialize};

/// Which file, and by which name. A file that is written to, renamed or replaced has another key; the path is part
/// of it as a package owns a path and not a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct ProgramKey {
    /// Device as the kernel numbers it: major << 20 | minor.
    pub dev: u32,
    /// Inode number; never 0.
    pub ino: u64,
    /// Change time, ns since the epoch.
    pub ctime_ns: i64,
    /// Path as the kernel resolved it, in the root of its process.
    pub path: Text,
}

impl ProgramKey {
    /// The program of a process; none for a thread of the kernel and where the file is not known.
    pub fn of(process: &Process) -> Option<Self> {
        let exe = &process.exe;
        (exe.ino != 0).then(|| Self {
            dev: exe.dev,
            ino: exe.ino,
            ctime_ns: exe.ctime_ns,
            path: process.path.clone(),
        })
    }

    /// The same, without a hold on the buffer of the record that told the path.
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.path = Text::copy(self.path.as_bytes());
        self
    }
}

/// What was read of a program's file. Whatever could not be read is empty or none.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgramFacts {
    /// SHA-256 of its content, 64 digits of lower-case hex; empty: not known.
    pub sha256: Text,
    /// A package of the host brought it; none: not asked, or the program is in a container.
    pub packaged: Option<bool>,
    /// That package.
    pub package: Option<Package>,
}

impl ProgramFacts {
    /// Nothing could be read.
    pub fn is_empty(&self) -> bool {
        self.sha256.is_empty() && self.packaged.is_none()
    }
}

/// A package that is installed.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Package {
    /// Its name, without the architecture.
    pub name: Text,
    /// Its version; empty when the package manager does not tell.
    pub version: Text,
    /// Its architecture, as the package manager calls it; empty when it does not tell.
    pub architecture: Text,
}
