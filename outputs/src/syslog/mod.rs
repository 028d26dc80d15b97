//! Messages of RFC 5424 to a syslog server: UDP, TCP, TLS, unix sockets, RELP.
//!
//! # Why it exists
//! Every SIEM takes syslog, and most shippers lose at it: what was in the kernel when the server
//! restarted, what was longer than the server's limit, what came while the certificate was expired.
//!
//! # How it works
//! `frame` makes a message of an event, never longer than `max_message`: a JSON record loses
//! fields in a fixed order and stays JSON (`trim`). Then one of three transports sends it:
//! - `relp`: the server answers each message; only an answer counts. The reliable choice.
//! - `line` (`tcp://`, `tls://`): the server never answers. Delivered means handed to the kernel; the
//!   latest 512 KiB are kept and sent again on the next connection.
//! - `datagram` (`udp://`, `unix://`): delivered means handed to the kernel, and that is all.
//!
//! # What can go wrong
//! - *The server is gone, silent or slow*: time-outs, then back-off; the events wait.
//! - *TLS, a name, a permission*: the sink is failed and says what to mend; files are read again before
//!   each try. A connection that lives is made anew when its files change.
//! - *A record that is too long*: trimmed and counted; with datagrams, a message that the kernel refuses
//!   for its length even so is rejected.
//! - *A server that takes connections and reads nothing*: RELP notices (no answer); a stream without acks
//!   cannot, and loses what was beyond the kept tail. That is why RELP exists.
//!
//! # Not here
//! The queue and its bounds. TLS, connecting and what failures mean: [`crate::net`].

mod check;
mod config;
mod datagram;
mod dial;
mod frame;
mod line;
mod relp;
mod trim;

pub use check::check;
pub use config::{Address, Framing, SyslogConfig};

use crate::net::failure::NetFailure;
use crate::net::vitals::Vitals;
use crate::sink::{Ack, Batch, SendFailure, Sink, Verdict};
use datagram::{Datagram, Place};
use dial::Dialer;
use frame::Framer;
use hostward_event::encode::Form;
use line::Line;
use relp::Relp;
use std::time::{Duration, Instant};

/// An idle connection is looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);

/// What became of a batch. Events without a verdict are tried again.
struct Outcome {
    verdicts: Vec<Verdict>,
    failure: Option<NetFailure>,
}

enum Transport {
    Datagram(Datagram),
    Line(Box<Line>),
    Relp(Box<Relp>),
}

impl Transport {
    fn new(config: &SyslogConfig) -> Self {
        match &config.address {
            Address::Udp(target) => Self::Datagram(Datagram::new(config, Place::Udp(target.clone()))),
            Address::Unix(path) => Self::Datagram(Datagram::new(config, Place::Unix(path.clone()))),
            Address::Tcp(target) | Address::Tls(target) => {
                Self::Line(Box::new(Line::new(Dialer::new(config, target, false), config.framing)))
            }
            Address::Relp(target) | Address::Relps(target) => {
                Self::Relp(Box::new(Relp::new(Dialer::new(config, target, true))))
            }
        }
    }

    async fn maintain(&mut self) -> Result<(), NetFailure> {
        match self {
            Self::Datagram(datagram) => datagram.maintain().await,
            Self::Line(line) => line.maintain().await,
            Self::Relp(relp) => relp.maintain().await,
        }
    }

    async fn close(&mut self) {
        match self {
            Self::Datagram(_) => {}
            Self::Line(line) => line.close().await,
            Self::Relp(relp) => relp.close().await,
        }
    }
}

/// See the module.
pub struct SyslogSink {
    framer: Framer,
    transport: Transport,
    vitals: Vitals,
    trimmed: u64,
    look_at: Option<Instant>,
    /// While the server is away, maintenance does not try more often than sending may.
    failing: Option<(Instant, SendFailure)>,
}

impl SyslogSink {
    /// Nothing is connected before it is driven.
    pub fn new(config: &SyslogConfig, form: Form) -> Self {
        Self {
            framer: Framer::new(config, form),
            transport: Transport::new(config),
            vitals: Vitals::new(config.name.clone()),
            trimmed: 0,
            look_at: Some(Instant::now()),
            failing: None,
        }
    }

    fn failed(&mut self, failure: &NetFailure) -> SendFailure {
        let answer = self.vitals.failed(failure);
        self.failing = Some((Instant::now() + answer.retry_after, answer.clone()));
        answer
    }

    fn settle(
        &mut self,
        Outcome { mut verdicts, failure }: Outcome,
        events: usize,
    ) -> Result<Ack, SendFailure> {
        let rejected = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Rejected(_))).count();
        if rejected > 0 {
            self.vitals.rejected(u64::try_from(rejected).unwrap_or(u64::MAX));
        }
        let Some(failure) = failure else {
            self.vitals.acked();
            self.failing = None;
            let all =
                verdicts.len() == events && verdicts.iter().all(|verdict| *verdict == Verdict::Delivered);
            return Ok(if all { Ack::All } else { Ack::Each(verdicts) });
        };
        // An answer of the server proves that it works; bytes that the kernel took prove nothing.
        if matches!(self.transport, Transport::Relp(_)) && verdicts.contains(&Verdict::Delivered) {
            self.vitals.acked();
        }
        let answer = self.failed(&failure);
        if verdicts.iter().all(|verdict| *verdict == Verdict::Retry) {
            return Err(answer);
        }
        verdicts.resize(events, Verdict::Retry);
        Ok(Ack::Partly(verdicts, answer))
    }
}

impl Sink for SyslogSink {
    async fn send(&mut self, batch: &Batch) -> Result<Ack, SendFailure> {
        let (framer, trimmed) = (&self.framer, &mut self.trimmed);
        let outcome = match &mut self.transport {
            Transport::Datagram(datagram) => datagram.send(batch, framer, trimmed).await,
            Transport::Line(line) => line.send(batch, framer, trimmed).await,
            Transport::Relp(relp) => relp.send(batch, framer, trimmed).await,
        };
        self.look_at = Some(Instant::now() + LOOK_INTERVAL);
        self.settle(outcome, batch.len())
    }

    fn maintenance_due(&self) -> Option<Instant> {
        self.look_at
    }

    async fn maintain(&mut self) -> Result<(), SendFailure> {
        self.look_at = Some(Instant::now() + LOOK_INTERVAL);
        if let Some((until, failure)) = &self.failing
            && Instant::now() < *until
        {
            return Err(failure.clone());
        }
        match self.transport.maintain().await {
            Ok(()) => {
                self.vitals.acked();
                self.failing = None;
                Ok(())
            }
            Err(failure) => Err(self.failed(&failure)),
        }
    }

    async fn close(&mut self) -> Result<(), SendFailure> {
        self.transport.close().await;
        Ok(())
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut counters = self.vitals.counters();
        counters.push(("trimmed_messages", self.trimmed));
        counters.extend(match &self.transport {
            Transport::Datagram(_) => Vec::new(),
            Transport::Line(line) => line.counters(),
            Transport::Relp(relp) => relp.counters(),
        });
        counters
    }
}
