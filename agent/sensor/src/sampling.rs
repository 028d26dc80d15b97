//! What is left out under overload, by class and process; who is quiet is told whole.

use crate::error::ApplyError;
use aya::Ebpf;
use aya::maps::{Array, MapData, MapError};
use hostward_abi::maps::sampled_class;
use hostward_abi::record::kind;
use hostward_event::raw::Gap;
use serde::Deserialize;

const MAP: &str = "SAMPLED";

// A gap says by its stream that its events were left out on purpose.
const _: () = assert!(Gap::SAMPLED[0] == kind::OPEN_SAMPLED && Gap::SAMPLED[1] == kind::CONNECT_SAMPLED);

/// A class of events that may be left out. Starts of programs, privileged calls and changes of files are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SampledClass {
    /// Opens for reading alone.
    OpenRead,
    /// Connects.
    Connect,
}

impl SampledClass {
    /// As in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenRead => "open_read",
            Self::Connect => "connect",
        }
    }

    const fn index(self) -> u32 {
        match self {
            Self::OpenRead => sampled_class::OPEN_READ,
            Self::Connect => sampled_class::CONNECT,
        }
    }
}

/// `[sensor.degrade]` in the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DegradeConfig {
    /// Which classes are limited, the first first; none: nothing is left out on purpose.
    pub order: Vec<SampledClass>,
    /// Seconds of loss in a row after which the next class is limited.
    pub after_s: u32,
    /// Events of a limited class that one process may tell in a second.
    pub events_per_process: u32,
    /// Seconds without loss, and without a process beyond its limit, after which no class is limited any more.
    pub calm_s: u32,
}

impl Default for DegradeConfig {
    fn default() -> Self {
        let order = vec![SampledClass::OpenRead, SampledClass::Connect];
        // Three seconds are more than the start of a large program; half a minute lets a flood that comes in waves pass.
        Self { order, after_s: 3, events_per_process: 200, calm_s: 30 }
    }
}

impl DegradeConfig {
    /// Every value that cannot be used.
    pub(crate) fn problems(&self) -> impl Iterator<Item = String> {
        let keys = [
            ("after_s", self.after_s),
            ("events_per_process", self.events_per_process),
            ("calm_s", self.calm_s),
        ];
        keys.into_iter()
            .filter(|(_, value)| *value == 0)
            .map(|(key, _)| format!("degrade.{key}: must be at least 1; order = [] leaves nothing out"))
    }
}

/// Lifts all limits.
pub(crate) fn lift(object: &mut Ebpf) -> Result<(), ApplyError> {
    [SampledClass::OpenRead, SampledClass::Connect].into_iter().try_for_each(|class| limit(object, class, 0))
}

/// Limits `class` to `most` events of each process and second; 0: no limit.
pub(crate) fn limit(object: &mut Ebpf, class: SampledClass, most: u32) -> Result<(), ApplyError> {
    let failed = |cause| ApplyError { map: MAP, cause };
    let absent = || failed(MapError::InvalidName { name: MAP.to_owned() });
    let map = object.map_mut(MAP).ok_or_else(absent)?;
    let mut limits: Array<&mut MapData, u32> = Array::try_from(map).map_err(failed)?;
    limits.set(class.index(), most, 0).map_err(failed)
}
