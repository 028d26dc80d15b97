//! Where things lie.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn checkout() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Cargo's target directory of the build that made this test.
///
/// # Errors
/// The test program does not lie in such a directory.
pub fn target() -> Result<PathBuf> {
    // TARGET/PROFILE/deps/TEST-HASH
    let test = std::env::current_exe().context("where is this test")?;
    let target = test.ancestors().nth(3).map(Path::to_owned);
    target.with_context(|| format!("{} is in no target directory of cargo", test.display()))
}

/// A file or folder of the data that is published beside the checkout (guests, workloads, captures).
pub fn shared(path: &str) -> PathBuf {
    checkout().join("../shared").join(path)
}

/// Removes a cgroup of this name below the root of every hierarchy, when it is empty.
pub(crate) fn remove_cgroup(name: &str) {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    for hierarchy in hierarchies.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]) {
        let _ = std::fs::remove_dir(hierarchy.join(name.trim_start_matches('/')));
    }
}
