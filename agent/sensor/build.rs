//! Builds the BPF objects in `ebpf/` and puts them, stripped, where `include_bytes` finds them.
//!
//! The programs need another compiler setup than the agent: a `core` for `bpfel-unknown-none` and
//! the linker `bpf-linker`. Debian's own Rust brings a compiled `core`; a nightly with `rust-src`
//! builds one. Neither is cargo's business, so this script finds a toolchain, runs its cargo in a
//! target directory of its own (shared by all profiles), and says what to install if there is none.
//!
//! | variable | meaning |
//! |---|---|
//! | `HOSTWARD_BPF_OBJECTS` | directory with prebuilt objects; nothing is compiled |
//! | `HOSTWARD_BPF_RUSTC` | compiler to use; its cargo is beside it |
//! | `HOSTWARD_BPF_CARGO` | cargo to use with it |
//! | `HOSTWARD_BPF_LINKER` | linker to use |

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const OBJECTS: [&str; 5] = ["base", "sys", "net", "lean", "iter"];
const TARGET: &str = "bpfel-unknown-none";
const VARIABLES: [&str; 5] =
    ["HOSTWARD_BPF_OBJECTS", "HOSTWARD_BPF_RUSTC", "HOSTWARD_BPF_CARGO", "HOSTWARD_BPF_LINKER", "PATH"];
/// What the outer cargo sets for its own target and must not reach the inner one.
const NOT_INHERITED: [&str; 9] = [
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "RUSTUP_TOOLCHAIN",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_RUSTC",
];
const INSTALL: &str = "\
on Debian 12 (security suite on): apt-get install -y --no-install-recommends build-essential rustc-web cargo-web libstd-rust-web-dev-bpf
elsewhere: rustup toolchain install nightly --component rust-src
prebuilt objects: set HOSTWARD_BPF_OBJECTS to the directory that holds base.o, sys.o, net.o, lean.o and iter.o of a release";
const INSTALL_LINKER: &str = "\
with Debian's compiler: llvm=$(ldd /usr/bin/rustc | sed -n 's/.*\\(libLLVM\\.so\\.[0-9.]*\\) =>.*/\\1/p'); major=${llvm#libLLVM.so.}; major=${major%%.*}
RUSTFLAGS=\"-Clink-arg=-l:$llvm\" /usr/bin/cargo install bpf-linker@0.13.0 --locked --no-default-features --features llvm-$major,no-llvm-linking
then see that ~/.cargo/bin is in PATH, or set HOSTWARD_BPF_LINKER";

/// A compiler that can build for BPF.
struct Toolchain {
    rustc: PathBuf,
    cargo: PathBuf,
    /// It has no compiled `core` for BPF but its source.
    build_std: bool,
}

fn main() {
    if let Err(problem) = run() {
        for line in problem.lines() {
            println!("cargo::error={line}");
        }
        std::process::exit(1);
    }
}

fn run() -> Result<(), String> {
    for name in VARIABLES {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(variable("OUT_DIR")?);
    if let Some(directory) = set_variable("HOSTWARD_BPF_OBJECTS") {
        let directory = PathBuf::from(directory);
        for name in OBJECTS {
            let from = directory.join(format!("{name}.o"));
            println!("cargo::rerun-if-changed={}", from.display());
            fs::copy(&from, out.join(format!("{name}.o")))
                .map_err(|cause| format!("HOSTWARD_BPF_OBJECTS: {}: {cause}", from.display()))?;
        }
        return Ok(());
    }
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("../..");
    let root = root.canonicalize().map_err(|cause| format!("{}: {cause}", root.display()))?;
    for part in ["src", "Cargo.toml", "Cargo.lock", ".cargo", "abi"] {
        println!("cargo::rerun-if-changed={}", root.join("ebpf").join(part).display());
    }
    let toolchain = toolchain()?;
    let linker = linker()?;
    println!("BPF compiler {}, linker {}", toolchain.rustc.display(), linker.display());
    let target = target_directory(&out)?;
    compile(&toolchain, &linker, &root, &target)?;
    for name in OBJECTS {
        let built = target.join(TARGET).join("release").join(name);
        let bytes = fs::read(&built).map_err(|cause| format!("{}: {cause}", built.display()))?;
        let stripped = strip(&bytes).map_err(|cause| format!("cannot strip {}: {cause}", built.display()))?;
        let to = out.join(format!("{name}.o"));
        fs::write(&to, stripped).map_err(|cause| format!("{}: {cause}", to.display()))?;
    }
    Ok(())
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("cargo did not set {name}"))
}

fn set_variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The first compiler that can do it, in the order: told, Debian's (the pinned one), cargo's,
/// rustup's nightly.
fn toolchain() -> Result<Toolchain, String> {
    if let Some(told) = set_variable("HOSTWARD_BPF_RUSTC") {
        return examine(&PathBuf::from(&told))
            .map_err(|why| format!("HOSTWARD_BPF_RUSTC={}: {why}", told.to_string_lossy()));
    }
    let mut candidates = vec![PathBuf::from("/usr/bin/rustc")];
    candidates.extend(set_variable("RUSTC").map(PathBuf::from));
    let nightly = Command::new("rustup").args(["which", "--toolchain", "nightly", "rustc"]).output();
    if let Ok(answer) = nightly
        && answer.status.success()
    {
        candidates.push(PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim()));
    }
    let mut refused = String::new();
    for candidate in candidates {
        match examine(&candidate) {
            Ok(found) => return Ok(found),
            Err(why) => refused.push_str(&format!("\n{}: {why}", candidate.display())),
        }
    }
    Err(format!("no Rust compiler here can build the BPF programs:{refused}\n{INSTALL}"))
}

fn examine(rustc: &Path) -> Result<Toolchain, String> {
    let answer =
        Command::new(rustc).args(["--print", "sysroot"]).output().map_err(|cause| cause.to_string())?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
    let rustc = sysroot.join("bin/rustc");
    let cargo = set_variable("HOSTWARD_BPF_CARGO").map_or_else(|| sysroot.join("bin/cargo"), PathBuf::from);
    if !answer.status.success() || !rustc.exists() {
        return Err(format!("no compiler in its sysroot {}", sysroot.display()));
    }
    if !cargo.exists() {
        return Err(format!("no cargo at {} (HOSTWARD_BPF_CARGO names another)", cargo.display()));
    }
    let library = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    let has_core = fs::read_dir(&library).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    });
    if has_core {
        return Ok(Toolchain { rustc, cargo, build_std: false });
    }
    if sysroot.join("lib/rustlib/src/rust/library/core").is_dir() {
        return Ok(Toolchain { rustc, cargo, build_std: true });
    }
    Err(format!("neither a core for {TARGET} nor the library's source in {}", sysroot.display()))
}

fn linker() -> Result<PathBuf, String> {
    if let Some(told) = set_variable("HOSTWARD_BPF_LINKER") {
        let told = PathBuf::from(told);
        if told.exists() {
            return Ok(told);
        }
        return Err(format!("HOSTWARD_BPF_LINKER={}: no such file", told.display()));
    }
    let mut directories: Vec<PathBuf> =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    directories.extend(cargo_home().map(|home| home.join("bin")));
    directories
        .into_iter()
        .map(|directory| directory.join("bpf-linker"))
        .find(|file| file.exists())
        .ok_or_else(|| {
            format!("bpf-linker, which links the BPF programs, is not installed\n{INSTALL_LINKER}")
        })
}

fn cargo_home() -> Option<PathBuf> {
    set_variable("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| set_variable("HOME").map(|home| PathBuf::from(home).join(".cargo")))
}

/// One directory for all profiles: the one that cargo marks as its own, above `OUT_DIR`. Cargo does
/// not mark a directory that was there before; then it is the one above the profile's
/// (`TARGET/PROFILE/build/PACKAGE/out`).
fn target_directory(out: &Path) -> Result<PathBuf, String> {
    out.ancestors()
        .find(|directory| directory.join("CACHEDIR.TAG").exists())
        .or_else(|| out.ancestors().nth(4))
        .map(|directory| directory.join("ebpf"))
        .ok_or_else(|| format!("{} is in no cargo target directory", out.display()))
}

fn compile(toolchain: &Toolchain, linker: &Path, root: &Path, target: &Path) -> Result<(), String> {
    let ebpf = root.join("ebpf");
    let mut cargo = Command::new(&toolchain.cargo);
    cargo.current_dir(&ebpf).args(["build", "--release", "--locked", "--bins", "--target", TARGET]);
    cargo.arg("--target-dir").arg(target);
    // .BTF.ext carries source paths; without the builder's directories an object is the same bytes
    // wherever it is built.
    let mut remap = vec![format!("--remap-path-prefix={}=/hostward", root.display())];
    remap.extend(
        cargo_home().map(|home| format!("--remap-path-prefix={}=/registry", home.join("registry").display())),
    );
    let quoted: Vec<String> = remap.iter().map(|flag| format!("{flag:?}")).collect();
    cargo.arg("--config").arg(format!("target.{TARGET}.rustflags=[{}]", quoted.join(",")));
    if toolchain.build_std {
        cargo.args(["-Z", "build-std=core"]);
    }
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PROFILE_") {
            cargo.env_remove(name);
        }
    }
    for name in NOT_INHERITED {
        cargo.env_remove(name);
    }
    cargo.env("RUSTC", &toolchain.rustc);
    // aya-ebpf and the inline assembly use features that only nightly compilers admit to.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    cargo.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker);
    let status = cargo.status().map_err(|cause| format!("{}: {cause}", toolchain.cargo.display()))?;
    if status.success() {
        return Ok(());
    }
    Err(format!(
        "the BPF programs do not build with {} (the messages are above); HOSTWARD_BPF_RUSTC and HOSTWARD_BPF_LINKER choose other tools",
        toolchain.rustc.display()
    ))
}

/// Removes DWARF, and the relocations of BTF, which loaders read in place.
fn strip(bytes: &[u8]) -> Result<Vec<u8>, object::build::Error> {
    let mut elf = object::build::elf::Builder::read(bytes)?;
    for section in &mut elf.sections {
        let name = section.name.as_slice();
        if name.starts_with(b".debug") || name.starts_with(b".rel.debug") || name.starts_with(b".rel.BTF") {
            section.delete = true;
        }
    }
    elf.delete_orphans();
    // LLVM keeps all names in one table, the writer wants one for the sections' own.
    let names = elf.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = object::build::elf::SectionData::SectionString;
    elf.set_section_sizes();
    let mut stripped = Vec::new();
    elf.write(&mut stripped)?;
    Ok(stripped)
}
