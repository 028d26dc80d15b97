//! Kernels that let no program read their memory (lockdown=confidentiality): what the reduced sensor still tells, and the
//! package with it.

use crate::Machine;
use crate::kernels::sensor_tests;
use anyhow::Result;
use hostward_tests::{Part, lacks};

#[test]
fn a_locked_down_kernel_is_observed() -> Result<()> {
    if lacks(Part::Vm, "a_locked_down_kernel_is_observed") {
        return Ok(());
    }
    let tests = sensor_tests("kernel", "sensor-tests")?;
    // On a busy machine the emulated timer comes too late for the kernel's own check of it.
    let words = "lockdown=confidentiality no_timer_check";
    Machine::new()?.kernel_words(words).run("lean.sh", &[&tests])?;
    Ok(())
}
