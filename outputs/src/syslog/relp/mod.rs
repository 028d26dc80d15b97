//! RELP: every message is acknowledged, and what was not is sent again.
//!
//! A session begins with `open`. Then up to [`WINDOW`] messages are on their way at a time, and each
//! answer names the one it is about. When the session ends, the messages without an answer go back to
//! the queue; the server may have some of them, so it may get them twice, and never not at all.

mod wire;

use crate::net::failure::NetFailure;
use crate::net::link::Stream;
use crate::sink::{Batch, Verdict};
use crate::syslog::Outcome;
use crate::syslog::dial::{self, Dialer};
use crate::syslog::frame::Framer;
use hostward_event::Text;
use std::collections::VecDeque;
use tokio::time::timeout;

/// Messages without an answer at most.
const WINDOW: usize = 128;
/// Bytes that wait for the kernel at most, before more messages are made.
const OUT_BYTES: usize = 64 << 10;
/// What is shown of the server's words.
const SHOWN_BYTES: usize = 200;

pub(super) struct Relp {
    dialer: Dialer,
    session: Option<Session>,
    connections: u64,
    acked: u64,
    /// Messages whose session ended before their answer: the server may have them.
    unsure: u64,
}

struct Session {
    stream: Stream,
    received: Vec<u8>,
    txnr: u32,
}

/// What the server said beside answers to messages.
enum Said {
    Nothing,
    /// An answer to this transaction.
    Answer {
        txnr: u32,
        code: u16,
        line: String,
    },
    /// It will end the session.
    Closing,
}

impl Relp {
    pub(super) const fn new(dialer: Dialer) -> Self {
        Self { dialer, session: None, connections: 0, acked: 0, unsure: 0 }
    }

    pub(super) async fn send(&mut self, batch: &Batch, framer: &Framer, trimmed: &mut u64) -> Outcome {
        let mut verdicts = vec![Verdict::Retry; batch.len()];
        let mut waiting = VecDeque::with_capacity(WINDOW);
        let result = self.send_all(batch, framer, trimmed, &mut verdicts, &mut waiting).await;
        if result.is_err() {
            self.unsure += u64::try_from(waiting.len()).unwrap_or(u64::MAX);
        }
        Outcome { verdicts, failure: result.err() }
    }

    /// `waiting`: transaction and place in the batch of each message without an answer.
    async fn send_all(
        &mut self,
        batch: &Batch,
        framer: &Framer,
        trimmed: &mut u64,
        verdicts: &mut [Verdict],
        waiting: &mut VecDeque<(u32, usize)>,
    ) -> Result<(), NetFailure> {
        // Taken out while it is in use: a call that is cut short leaves half a frame.
        let mut session = self.connected().await?;
        let mut events = batch.events().enumerate();
        let mut out = Vec::new();
        let mut written = 0;
        let mut message = Vec::new();
        let mut refusal = None;
        let mut closing = false;
        loop {
            if written == out.len() {
                out.clear();
                written = 0;
            }
            while !closing
                && waiting.len() < WINDOW
                && out.len() < OUT_BYTES
                && let Some((at, event)) = events.next()
            {
                message.clear();
                *trimmed += u64::from(framer.message(event, &mut message));
                session.txnr = wire::next(session.txnr);
                wire::write(session.txnr, "syslog", &message, &mut out);
                waiting.push_back((session.txnr, at));
            }
            if waiting.is_empty() {
                break;
            }
            let step = dial::exchange(&mut session.stream, &out, &mut written, &mut session.received);
            match timeout(self.dialer.send_limit, step).await {
                Err(_) => return Err(self.dialer.timed_out("acknowledgement")),
                Ok(Err(error)) => return Err(self.dialer.broken(error)),
                Ok(Ok(_)) => {}
            }
            loop {
                match session.next(&self.dialer.peer)? {
                    Said::Nothing => break,
                    Said::Closing => closing = true,
                    Said::Answer { txnr, code, line } => {
                        let place = waiting.iter().position(|(sent, _)| *sent == txnr);
                        let Some((_, at)) = place.and_then(|place| waiting.remove(place)) else {
                            return Err(self.senseless(format!("an answer to {txnr}, which was not asked")));
                        };
                        if code == 200 {
                            self.acked += 1;
                            if let Some(verdict) = verdicts.get_mut(at) {
                                *verdict = Verdict::Delivered;
                            }
                        } else {
                            refusal = Some(line);
                        }
                    }
                }
            }
        }
        // The rest of the batch is for the next session.
        if closing {
            return match events.next() {
                Some(_) => Err(NetFailure::Closed { peer: self.dialer.peer.clone() }),
                None => Ok(()),
            };
        }
        self.session = Some(session);
        match refusal {
            Some(reply) => Err(NetFailure::Busy { peer: self.dialer.peer.clone(), reply }),
            None => Ok(()),
        }
    }

    /// The open session, or a new one. One that ended while nothing was on its way is no failure.
    async fn connected(&mut self) -> Result<Session, NetFailure> {
        if self.dialer.is_stale() {
            self.close().await;
        }
        if let Some(mut session) = self.session.take() {
            let alive = dial::glance(&mut session.stream, &mut session.received).await.is_ok();
            if alive && matches!(session.next(&self.dialer.peer), Ok(Said::Nothing)) {
                return Ok(session);
            }
        }
        let mut session = Session { stream: self.dialer.dial().await?, received: Vec::new(), txnr: 0 };
        self.connections += 1;
        let offer = format!(
            "relp_version=0\nrelp_software=hostward,{},https://github.com/hostward/hostward\ncommands=syslog",
            env!("CARGO_PKG_VERSION")
        );
        let (code, line, data) = self.ask(&mut session, "open", offer.as_bytes()).await?;
        if code != 200 {
            return Err(NetFailure::Refused { peer: self.dialer.peer.clone(), reply: line });
        }
        if !wire::offers_syslog(&data) {
            let reply = "it does not take the command syslog".to_owned();
            return Err(NetFailure::Refused { peer: self.dialer.peer.clone(), reply });
        }
        Ok(session)
    }

    /// Sends one command and waits for its answer; nothing else is on its way.
    async fn ask(
        &self,
        session: &mut Session,
        command: &str,
        data: &[u8],
    ) -> Result<(u16, String, Vec<u8>), NetFailure> {
        session.txnr = wire::next(session.txnr);
        let mut out = Vec::new();
        wire::write(session.txnr, command, data, &mut out);
        let mut written = 0;
        let answer = async {
            loop {
                let step =
                    dial::exchange(&mut session.stream, &out, &mut written, &mut session.received).await;
                step.map_err(|error| self.dialer.broken(error))?;
                if written == out.len() {
                    out.clear();
                    written = 0;
                }
                let parsed =
                    wire::parse(&session.received).map_err(|error| self.senseless(error.to_string()))?;
                let Some((frame, used)) = parsed else { continue };
                let status = wire::status(frame.data)
                    .filter(|_| frame.txnr == session.txnr && frame.command == b"rsp");
                let Some((code, line)) = status else {
                    return Err(NetFailure::Closed { peer: self.dialer.peer.clone() });
                };
                let answer = (code, shown(line), frame.data.to_vec());
                session.received.drain(..used);
                return Ok(answer);
            }
        };
        match timeout(self.dialer.send_limit, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(self.dialer.timed_out("answer to open")),
        }
    }

    fn senseless(&self, reply: String) -> NetFailure {
        NetFailure::Senseless { peer: self.dialer.peer.clone(), reply }
    }

    /// Opens a session at the start, and a new one when the server ended it.
    pub(super) async fn maintain(&mut self) -> Result<(), NetFailure> {
        self.dialer.remind();
        let session = self.connected().await?;
        self.session = Some(session);
        Ok(())
    }

    /// Tells the server that this is the end, so that it does not log a broken session.
    pub(super) async fn close(&mut self) {
        if let Some(mut session) = self.session.take() {
            session.txnr = wire::next(session.txnr);
            let mut out = Vec::new();
            wire::write(session.txnr, "close", b"", &mut out);
            let mut written = 0;
            let end = dial::exchange(&mut session.stream, &out, &mut written, &mut session.received);
            if matches!(timeout(self.dialer.send_limit, end).await, Ok(Ok(_))) {
                dial::farewell(session.stream).await;
            }
        }
    }

    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("connections", self.connections),
            ("acked_messages", self.acked),
            ("unsure_messages", self.unsure),
        ]
    }
}

impl Session {
    /// The next whole frame of what was received.
    fn next(&mut self, peer: &str) -> Result<Said, NetFailure> {
        let senseless = |reply: String| NetFailure::Senseless { peer: peer.to_owned(), reply };
        let parsed = wire::parse(&self.received).map_err(|error| senseless(error.to_string()))?;
        let Some((frame, used)) = parsed else { return Ok(Said::Nothing) };
        let said = match frame.command {
            b"rsp" => match wire::status(frame.data) {
                Some((code, line)) => Said::Answer { txnr: frame.txnr, code, line: shown(line) },
                None => return Err(senseless("an answer without a code".to_owned())),
            },
            b"serverclose" => Said::Closing,
            other => return Err(senseless(format!("command {}", shown(other)))),
        };
        self.received.drain(..used);
        Ok(said)
    }
}

/// Words of the server as a log may show them.
fn shown(line: &[u8]) -> String {
    Text::copy(line.get(..SHOWN_BYTES).unwrap_or(line)).to_string()
}
