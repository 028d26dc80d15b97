//! A real Debian 12 with systemd, in QEMU, and the package in it: its life, its journal, the containers beside it.
//!
//! The scripts run as root in the guest and say `ok` or `FAIL` for each step; what needs a look at many events is
//! left to the test, with the files that the script brought back.

#[cfg(test)]
mod containers;
#[cfg(test)]
mod kernels;
#[cfg(test)]
mod lean;
#[cfg(test)]
mod life;

use anyhow::{Context, Result, ensure};
use hostward_tests::guest::{self, Guest, Ran};
use hostward_tests::place;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Seconds until a guest is given up; with nothing else on the machine it takes about one.
const LIMIT_S: u32 = 900;

/// Emulated processors take all of the real ones: one guest at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What every test here needs.
pub(crate) struct Machine {
    deb: PathBuf,
    guest: Guest,
    _alone: MutexGuard<'static, ()>,
}

impl Machine {
    /// The package is compiled while the guest's disk is made, which waits for the archive most of the time.
    pub(crate) fn new() -> Result<Self> {
        let alone = alone();
        let (deb, guest) = std::thread::scope(|scope| {
            let deb = scope.spawn(guest::package);
            let guest = Guest::bookworm();
            (deb.join(), guest)
        });
        let deb = deb.ok().context("building the package panicked")??;
        Ok(Self { deb, guest: guest?, _alone: alone })
    }

    /// With these words for the guest's kernel.
    pub(crate) fn kernel_words(mut self, words: &str) -> Self {
        self.guest = self.guest.kernel_words(words);
        self
    }

    /// Runs a script of this folder beside the package and further files; every step of it must be good.
    pub(crate) fn run(&self, script: &str, files: &[&Path]) -> Result<Ran> {
        let here = place::checkout().join("tests/vm");
        let own = [here.join("common.sh"), here.join("cri.sh"), self.deb.clone()];
        let all: Vec<&Path> = own.iter().map(PathBuf::as_path).chain(files.iter().copied()).collect();
        let ran = self.guest.run(&here.join(script), &all, LIMIT_S)?;
        let log = ran.log();
        eprintln!("{log}");
        ensure!(
            ran.code == 0 && !log.contains("FAIL "),
            "the guest's script ended with {}; what failed (the whole log is above):\n{}",
            ran.code,
            failures(&log)
        );
        ensure!(
            log.lines().any(|line| line == "done"),
            "the guest's script did not come to its end; its log is above"
        );
        Ok(ran)
    }
}

/// The steps that failed, with what they said.
fn failures(log: &str) -> String {
    let mut failed = false;
    let mut own = |line: &&str| {
        failed = line.starts_with("FAIL ") || failed && line.starts_with("     ");
        failed
    };
    log.lines().filter(|line| own(line)).collect::<Vec<_>>().join("\n")
}
