//! The spool under simulated disks: power losses, kills, failing calls, damage.

mod crash;
mod damage;
mod faults;
mod golden;
mod model;
mod parse;
mod sim;
mod storm;

use crate::fuzz::runs;
