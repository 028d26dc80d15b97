//! Documents of every kind of event against the published schemas of ECS and OCSF.
//!
//! The schemas come as packages (see `fetch.sh`), are cached in the target directory, and a machine
//! that can have neither skips by name.

#[cfg(test)]
mod common;
#[cfg(test)]
mod ecs;
#[cfg(test)]
mod ocsf;
#[cfg(test)]
#[path = "../../agent/event/tests/formats/samples.rs"]
mod samples;
