//! The binary under test.

use crate::place;
use anyhow::{Context, Result, anyhow, bail};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The path of `hostward`, built from this checkout in the profile of the tests.
///
/// cargo does not build the binary of another package for a test, so it is asked to, once per test
/// program; when all is built already that takes a fraction of a second. `HOSTWARD_BIN` names another
/// binary to test, such as an installed one.
///
/// # Errors
/// It does not build; the compiler's messages are on stderr.
pub fn hostward() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.clone().map_err(|reason| anyhow!("no binary to test: {reason}"))
}

fn build() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("HOSTWARD_BIN") {
        return Ok(path.into());
    }
    let target = place::target()?;
    let mut cargo = cargo();
    cargo.args(["build", "--quiet", "--locked", "--package", "hostward", "--bin", "hostward"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let status = cargo.env("CARGO_TARGET_DIR", &target).status().context("cargo build")?;
    if !status.success() {
        bail!("cargo build ended with {status}");
    }
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    Ok(target.join(profile).join("hostward"))
}

/// cargo, in the checkout, without what cargo and rustup told this test about itself.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(place::checkout());
    for (name, _) in std::env::vars_os() {
        // Build scripts take these for a change of their inputs, and would build everything anew.
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(&name);
        }
    }
    command
}
