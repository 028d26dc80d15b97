//! The spool on real filesystems, under real processes, and through [`hostward_outputs::Outputs`].

#[cfg(test)]
#[path = "../outputs/common.rs"]
mod common;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod disk;
#[cfg(test)]
#[path = "../support/events.rs"]
mod events;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod offline;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod tools;
