//! How many events a second one core takes from a ring and decodes: `cargo run --release -p hostward-sensor --example
//! ring_throughput`, as root. The opens are real; they wait in a large ring, so that nothing but the reading is timed.

use hostward_event::fact::Input;
use hostward_event::plan::{KernelPlan, OpenClass, OpenPlan};
use hostward_event::raw::RawBody;
use hostward_event::{EventKind, KindSet};
use hostward_sensor::{Config, Sensor};
use std::error::Error;
use std::process::Command;
use std::time::Duration;

const OPENS: u64 = 400_000;
const RING_BYTES: u64 = 1 << 29;

fn main() -> Result<(), Box<dyn Error>> {
    // The sensor leaves its own process out, so a child opens.
    if std::env::args().nth(1).is_some() {
        for _ in 0..OPENS {
            std::fs::File::open("/etc/hostname")?;
        }
        return Ok(());
    }
    let plan = KernelPlan {
        kinds: KindSet::of(&[EventKind::Open]),
        opens: OpenPlan { all: OpenClass::ALL, ..OpenPlan::default() },
        ..KernelPlan::default()
    };
    let config = Config { bulk_ring_bytes: Some(RING_BYTES), ..Config::default() };
    let mut sensor = Sensor::load(&config, &plan)?;
    let mut rings = sensor.ordered_rings();
    let done = Command::new(std::env::current_exe()?).arg("open").status()?;
    if !done.success() {
        return Err("the child that opens has failed".into());
    }
    sensor.detach();
    let (mut opens, mut lost, mut seconds) = (0_u64, 0, 0.0);
    loop {
        let mut inputs = Vec::new();
        let before = cpu_s();
        rings.poll(Duration::ZERO, &mut inputs)?;
        seconds += cpu_s() - before;
        if inputs.is_empty() {
            break;
        }
        for input in &inputs {
            match input {
                Input::Raw(event) if matches!(event.body, RawBody::Open(_)) => opens += 1,
                Input::Gap(gap) => lost += gap.count,
                _ => {}
            }
        }
    }
    println!("{opens} opens decoded, {lost} lost, {:.0} a second of one core", opens as f64 / seconds);
    Ok(())
}

/// CPU time of this thread, which alone reads.
fn cpu_s() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
