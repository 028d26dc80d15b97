//! Writes payloads of small blocks to a directory, for training the dictionary of a codec:
//!
//! ```text
//! cargo run -p hostward-outputs --example spool_samples -- DIR
//! zstd --train DIR/* --maxdict=16384 --dictID=1 -o outputs/src/spool/dictionary-1.zstd
//! ```
//! Dictionary 1 is part of the format: what is trained anew gets a new number.

#[path = "../tests/support/events.rs"]
mod events;

use hostward_event::canonical;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args_os().nth(1).ok_or("usage: spool_samples DIR")?;
    let dir = std::path::PathBuf::from(dir);
    std::fs::create_dir_all(&dir)?;
    let mut dice = fastrand::Rng::with_seed(11);
    for number in 0..2_000 {
        let mut events = events::Events::new(number);
        let mut payload = Vec::new();
        for _ in 0..dice.usize(1..4) {
            let event = if dice.bool() { events.alert() } else { events.telemetry() };
            let mut record = Vec::new();
            canonical::encode(&event, &mut record)?;
            // As in a block: length, set of sinks, time, id. docs/specs/spool.md §3.
            payload.extend_from_slice(&u32::try_from(record.len())?.to_le_bytes());
            payload.extend_from_slice(&[dice.u8(1..4), 0, 0, 0]);
            payload.extend_from_slice(&event.time_ns.to_le_bytes());
            payload.extend_from_slice(&event.id.to_bytes());
            payload.extend_from_slice(&record);
        }
        std::fs::write(dir.join(format!("{number:04}")), payload)?;
    }
    Ok(())
}
