//! What can go wrong when loading, and what to do about it.

use crate::layout::LayoutError;
use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use std::io;
use thiserror::Error;

/// Why there is no sensor.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The process lacks capabilities.
    #[error("missing capabilities: {missing}")]
    Privilege {
        /// Their names.
        missing: String,
    },
    /// The kernel does not describe its types.
    #[error("kernel type information: {0}")]
    Layout(#[from] LayoutError),
    /// aya could not read the kernel's types.
    #[error("kernel type information: {0}")]
    Btf(#[source] aya::BtfError),
    /// A configured value is out of range.
    #[error("{0}")]
    Config(String),
    /// No program of any object was attached.
    #[error("no probe could be attached: {reasons}")]
    Nothing {
        /// Each hook with its reason.
        reasons: String,
    },
    /// A map of a loaded object cannot be used.
    #[error("map {map}: {cause}")]
    Map {
        /// Its name.
        map: &'static str,
        /// Why.
        #[source]
        cause: MapError,
    },
    /// A ring cannot be mapped.
    #[error("ring {ring}: {cause}")]
    Ring {
        /// Its name.
        ring: &'static str,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

impl LoadError {
    /// What the operator can do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Privilege { .. } => {
                "run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_RESOURCE (CAP_SYS_ADMIN before Linux 5.8); in a container also see that seccomp allows bpf(2)"
            }
            Self::Layout(LayoutError::Read(_)) | Self::Btf(_) => {
                "use a kernel built with CONFIG_DEBUG_INFO_BTF=y (Debian 11 and later have it); /sys must be mounted"
            }
            Self::Layout(_) => {
                "this kernel's layout is unknown to this version: report its release, and /sys/kernel/btf/vmlinux"
            }
            Self::Config(_) => "correct the [sensor] section; without a size the agent chooses one",
            Self::Nothing { .. } => {
                "see `hostward doctor`: lockdown=confidentiality, a seccomp filter and a kernel before 5.8 are the usual causes"
            }
            Self::Map { .. } | Self::Ring { .. } => {
                "the kernel may be short of memory: lower process_ring_bytes and bulk_ring_bytes"
            }
        }
    }
}

/// Why a plan could not be put in force. What was in force before, and possibly a part of the new
/// plan, still is: the kernel leaves out no more than either allows.
#[derive(Debug, Error)]
#[error("map {map}: {cause}")]
pub struct ApplyError {
    /// The map.
    pub map: &'static str,
    /// Why.
    #[source]
    pub cause: MapError,
}

impl ApplyError {
    /// What the operator can do.
    pub const fn hint(&self) -> &'static str {
        "reload again; if it persists restart the agent and report the kernel release"
    }
}

/// Why the processes that live already could not be listed.
#[derive(Debug, Error)]
pub enum SeedError {
    /// The kernel does not take the iterator.
    #[error("task iterator: {0}")]
    Refused(String),
    /// Reading it failed.
    #[error("task iterator: {0}")]
    Read(#[from] io::Error),
    /// It gave no record of ours.
    #[error("task iterator: {0}")]
    Malformed(#[from] hostward_abi::record::Malformed),
}

impl SeedError {
    /// What happens instead.
    pub const fn hint(&self) -> &'static str {
        "processes that already run are taken from /proc instead, without the kernel's own facts"
    }
}

/// Why a ring cannot be read.
#[derive(Debug, Error)]
pub enum RingError {
    /// Waiting failed.
    #[error("waiting for events: {0}")]
    Wait(#[source] io::Error),
    /// The counters cannot be read.
    #[error("counters: {0}")]
    Counters(#[source] MapError),
    /// The ring's bookkeeping makes no sense; what it held is given up and reported as lost.
    #[error("ring is corrupt at position {position}: record of {bytes} bytes")]
    Corrupt {
        /// Where.
        position: usize,
        /// What the record claims.
        bytes: u32,
    },
}

impl RingError {
    /// What the operator can do.
    pub const fn hint(&self) -> &'static str {
        "reading goes on and losses are reported; if it persists restart the agent and report the kernel release"
    }
}

/// One line of what aya says, with the last lines of the verifier's log where there is one.
pub(crate) fn program_refusal(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
            // The last lines are statistics, the one before says what was wrong.
            const STATISTICS: [&str; 3] = ["processed ", "stack depth ", "verification time "];
            let told = lines.iter().rev().find(|line| !STATISTICS.iter().any(|word| line.starts_with(word)));
            let told = told.copied().unwrap_or_default();
            if told.is_empty() {
                format!("kernel refuses the program: {io_error}")
            } else {
                format!("kernel refuses the program: {io_error}; verifier: {told}")
            }
        }
        other => chain(other),
    }
}

pub(crate) fn object_refusal(error: &EbpfError) -> String {
    chain(error)
}

/// An error with its causes, as one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_line = inner.to_string();
        if !line.contains(&inner_line) {
            line.push_str(": ");
            line.push_str(&inner_line);
        }
        cause = inner.source();
    }
    line
}
