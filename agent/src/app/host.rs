//! The host's thread: answers the pipeline's questions, watches names and the clock, and ticks.

use super::line::Message;
use super::owners::Owners;
use super::programs::Programs;
use hostward_event::fact::{Fact, Input, Lookup};
use hostward_host::{Host, UserWatch};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

/// Time passes for the pipeline this often.
const TICK: Duration = Duration::from_millis(500);
/// A clock that moved by more than this is told to the pipeline; less is the drift of two reads.
const CLOCK_STEP_NS: u64 = 1_000_000;

/// Works until the pipeline no longer asks or listens.
pub fn run(
    host: &Host,
    mut users: UserWatch,
    mut offset_ns: i64,
    (owners, programs): (&Owners, &Programs),
    lookups: &Receiver<Lookup>,
    line: &SyncSender<Message>,
) {
    let mut next_tick = Instant::now() + TICK;
    loop {
        let mut inputs = Vec::new();
        match lookups.recv_timeout(next_tick.saturating_duration_since(Instant::now())) {
            Ok(lookup @ (Lookup::Container { .. } | Lookup::Claim { .. })) => owners.ask(&lookup),
            Ok(lookup @ (Lookup::Program { .. } | Lookup::Names { .. })) => {
                inputs.extend(programs.ask(lookup).map(Input::Fact));
            }
            Ok(lookup) => inputs.extend(host.answer(&lookup).map(Input::Fact)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if Instant::now() >= next_tick {
            next_tick = Instant::now() + TICK;
            programs.tell();
            let now_ns = hostward_host::clock_offset_ns();
            if now_ns.abs_diff(offset_ns) > CLOCK_STEP_NS {
                offset_ns = now_ns;
                inputs.push(Input::Fact(Fact::Clock { offset_ns }));
            }
            inputs.extend(users.poll().map(|table| Input::Fact(Fact::Users(table))));
            inputs.push(Input::Tick(hostward_host::boot_ns()));
        }
        if !inputs.is_empty() && line.send(Message::Inputs(inputs)).is_err() {
            return;
        }
    }
}
