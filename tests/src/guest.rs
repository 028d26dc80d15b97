//! The Debian package, and a QEMU guest to install it in.
//!
//! The guest's kernel and disk come from the machine's own Debian archive by the scripts in `../shared/vm`,
//! once, into `target/vm`; a run never writes to them. There is no network in the guest: what a test
//! needs there is shared with it.

use crate::{binary, child, place};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// What a guest has beyond a bare Debian: what our package needs, sessions of users, and a container runtime.
const PACKAGES: [&str; 3] = ["init-system-helpers", "libpam-systemd", "containerd"];

/// Builds the Debian package of this checkout, once per test program, and gives its path. The release binary is
/// built first if need be.
///
/// # Errors
/// cargo-deb is missing or fails; the message has its output.
pub fn package() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.clone().map_err(|reason| anyhow!("no package to test: {reason}"))
}

fn build() -> Result<PathBuf> {
    let target = place::target()?;
    let mut cargo = binary::cargo();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = [target.join("tools/bin")].into_iter().chain(std::env::split_paths(&path));
    cargo.env("PATH", std::env::join_paths(dirs)?).env("CARGO_TARGET_DIR", &target);
    cargo.args(["deb", "--quiet", "--locked", "--package", "hostward"]);
    // An emulated processor unpacks it several times: gzip costs it a third of what xz does. The system's, as the
    // builder's own takes minutes to save a few percent.
    cargo.args(["--compress-type", "gz", "--compress-system", "--output"]);
    // A file name of our own, so that no package of an older version is taken for this one.
    let deb = target.join("vm/hostward.deb");
    fs::create_dir_all(target.join("vm"))?;
    child::output(cargo.arg(&deb)).context("building the package; if cargo-deb is missing: ./dev setup")?;
    Ok(deb)
}

/// A bootable Debian.
#[derive(Debug)]
pub struct Guest {
    kernel: PathBuf,
    disk: PathBuf,
    words: String,
    counts: bool,
}

/// What a run in a guest left behind.
#[derive(Debug)]
pub struct Ran {
    /// The script's exit code; 124: out of time, 125: the guest died.
    pub code: i32,
    dir: TempDir,
}

impl Guest {
    /// Debian 12 with its own kernel and systemd.
    ///
    /// # Errors
    /// The archive cannot be reached or has not what is needed; the message has the script's output.
    pub fn bookworm() -> Result<Self> {
        let cache = place::target()?.join("vm");
        let kernel = made(&cache, "bookworm-kernel", "get-kernel.sh", &["bookworm", "DIR", "cloud"])?;
        // Its name tells what is in it: a disk with other packages is another one.
        let name = format!("bookworm-root+{}", PACKAGES.join("+"));
        let root = made(&cache, &name, "build-rootfs.sh", &[&["bookworm", "DIR"], &PACKAGES[..]].concat())?;
        Ok(Self { kernel, disk: root.join("disk.img"), words: String::new(), counts: false })
    }

    /// The same disk with the kernel of another Debian.
    ///
    /// # Errors
    /// As [`Self::bookworm`].
    pub fn with_kernel(suite: &str) -> Result<Self> {
        let guest = Self::bookworm()?;
        let cache = place::target()?.join("vm");
        let kernel = made(&cache, &format!("{suite}-kernel"), "get-kernel.sh", &[suite, "DIR", "cloud"])?;
        Ok(Self { kernel, ..guest })
    }

    /// Boots with further words on the kernel's command line.
    #[must_use]
    pub fn kernel_words(self, words: &str) -> Self {
        Self { words: words.to_owned(), ..self }
    }

    /// With one processor, whose clocks count its instructions: one is a nanosecond.
    #[must_use]
    pub fn counting(self) -> Self {
        Self { counts: true, ..self }
    }

    /// Boots, runs `script` in a directory with `files`, and shuts down. What the script writes into `$OUT`
    /// comes back. A guest that dies of itself (seen once in about 60 boots under emulation) is started again once.
    ///
    /// # Errors
    /// The guest cannot be started at all.
    pub fn run(&self, script: &Path, files: &[&Path], limit_s: u32) -> Result<Ran> {
        let dir = tempfile::tempdir_in(place::target()?.join("vm"))?;
        let share = dir.path().join("share");
        fs::create_dir(&share)?;
        fs::copy(script, share.join("run.sh")).with_context(|| script.display().to_string())?;
        for file in files {
            let name = file.file_name().context("a file without a name")?;
            fs::copy(file, share.join(name)).with_context(|| file.display().to_string())?;
        }
        let mut command = Command::new("bash");
        command.arg(place::shared("vm/run-guest.sh")).args([&self.kernel, &self.disk, &share]);
        command.arg(dir.path().join("out")).arg(limit_s.to_string());
        command.env("RETRY", "1").env("APPEND", &self.words);
        if self.counts {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let dirs = [place::checkout().join("tests/vm/counting")].into_iter();
            command.env("PATH", std::env::join_paths(dirs.chain(std::env::split_paths(&path)))?);
            command.env("SMP", "1");
        }
        let output = command.output().context("bash")?;
        let code = output.status.code().context("a signal ended the guest's script")?;
        if code == 125 {
            bail!("the guest died: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(Ran { code, dir })
    }
}

impl Ran {
    /// What the script printed.
    pub fn log(&self) -> String {
        // Without an orderly end only the console has it.
        let console = if self.code == 124 { "console.log" } else { "log" };
        self.file(console).unwrap_or_default()
    }

    /// A file that the script wrote into `$OUT`.
    ///
    /// # Errors
    /// It did not.
    pub fn file(&self, name: &str) -> Result<String> {
        let bytes = fs::read(self.path().join(name)).with_context(|| format!("the guest left no {name}"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The directory of what came back.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("out")
    }
}

/// `cache/name`, made by a script unless it is there. Made under another name first: half of one is never used.
fn made(cache: &Path, name: &str, script: &str, args: &[&str]) -> Result<PathBuf> {
    fs::create_dir_all(cache)?;
    // Tests of several programs may ask at once; the second waits for the first.
    let lock = File::create(cache.join(format!("{name}.lock")))?;
    lock.lock()?;
    let path = cache.join(name);
    if path.is_dir() {
        return Ok(path);
    }
    let part = cache.join(format!("{name}.part"));
    if part.exists() {
        fs::remove_dir_all(&part)?;
    }
    let mut command = Command::new("bash");
    command.arg(place::shared("vm").join(script));
    for arg in args {
        if *arg == "DIR" {
            command.arg(&part)
        } else {
            command.arg(arg)
        };
    }
    child::output(&mut command)
        .with_context(|| format!("{script} for {name}: is the Debian archive in reach?"))?;
    ensure!(part.is_dir(), "{script} made no {}", part.display());
    fs::rename(&part, &path)?;
    Ok(path)
}
