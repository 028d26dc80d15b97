//! What the library tells while it is polled: reports, troubles, gauges.
//!
//! The library tells that a broker went away and that a login failed; it never tells that things are
//! well again. A delivery report, or a broker that is up while nothing waits, does.

use super::gauges::{Gauges, Statistics};
use super::meaning::{self, escaped};
use crate::sink::FailureKind;
use hostward_event::EventId;
use rdkafka::types::RDKafkaErrorCode as Code;
use std::time::{Duration, Instant};

/// After a failed login the library may also say that all brokers are down; that is no news for this long
/// (it tries again after 5 s at most).
const HELP_STANDS: Duration = Duration::from_secs(30);

/// Something is wrong, and until a report says otherwise it stays so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) kind: FailureKind,
    /// Cause and what to do.
    pub(super) message: String,
    /// When it was last told.
    told_at: Instant,
}

/// An event left the library: it is in the topic, or an error says why not.
pub(super) type Report = (EventId, Result<(), Code>);

/// See the module.
#[derive(Debug)]
pub(super) struct Signs {
    reports: Vec<Report>,
    trouble: Option<Trouble>,
    /// The latest failure of one broker: it says why all are down.
    cause: Option<String>,
    is_fatal: bool,
    alive_at: Instant,
    progress_at: Option<Instant>,
    up_at: Option<Instant>,
    gauges: Gauges,
}

impl Signs {
    pub(super) fn new() -> Self {
        Self {
            reports: Vec::new(),
            trouble: None,
            cause: None,
            is_fatal: false,
            alive_at: Instant::now(),
            progress_at: None,
            up_at: None,
            gauges: Gauges::default(),
        }
    }

    pub(super) fn report(&mut self, id: EventId, result: Result<(), Code>) {
        let now = Instant::now();
        self.alive_at = now;
        if result.is_ok() {
            self.progress_at = Some(now);
            self.trouble = None;
            self.cause = None;
        }
        self.reports.push((id, result));
    }

    /// An error that concerns a broker, all brokers, or the producer.
    pub(super) fn error(&mut self, code: Code, reason: &str) {
        let now = Instant::now();
        self.alive_at = now;
        let code = if meaning::is_tls_refusal(reason) { Code::SSL } else { code };
        match code {
            Code::Fatal => self.is_fatal = true,
            Code::AllBrokersDown => {
                let reason = self.cause.clone().unwrap_or_else(|| escaped(reason));
                let message = format!("no broker can be reached: {reason}; {}", meaning::hint(code));
                self.stand(FailureKind::Passing, message, now);
            }
            code if meaning::kind(code) == FailureKind::NeedsHelp => {
                let message = format!("{}; {}", escaped(reason), meaning::hint(code));
                self.stand(FailureKind::NeedsHelp, message, now);
            }
            // One broker of several: the others may do. It is told when nothing arrives.
            _ => self.cause = Some(escaped(reason)),
        }
    }

    fn stand(&mut self, kind: FailureKind, message: String, now: Instant) {
        let before = self.trouble.take();
        self.trouble = Some(match before {
            Some(help)
                if kind != FailureKind::NeedsHelp
                    && help.kind == FailureKind::NeedsHelp
                    && now.duration_since(help.told_at) < HELP_STANDS =>
            {
                help
            }
            _ => Trouble { kind, message, told_at: now },
        });
    }

    pub(super) fn statistics(&mut self, statistics: &Statistics) {
        self.gauges = Gauges::from(statistics);
        if self.gauges.brokers_up > 0 {
            self.up_at = Some(Instant::now());
        }
    }

    /// The library was given something after it had nothing: its silence counts from here.
    pub(super) fn awaken(&mut self) {
        self.alive_at = Instant::now();
    }

    pub(super) fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    /// What is wrong. `idle`: the library has nothing to deliver, so a broker that is up is all there can
    /// be of good news.
    pub(super) fn trouble(&mut self, idle: bool) -> Option<&Trouble> {
        if idle && self.trouble.as_ref().is_some_and(|it| self.up_at.is_some_and(|up| up > it.told_at)) {
            self.trouble = None;
        }
        self.trouble.as_ref()
    }

    /// The latest failure of one broker since an event arrived.
    pub(super) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    pub(super) const fn is_fatal(&self) -> bool {
        self.is_fatal
    }

    /// When the library last said anything.
    pub(super) const fn alive_at(&self) -> Instant {
        self.alive_at
    }

    /// As if it had been silent for so much longer.
    #[cfg(test)]
    pub(super) fn age(&mut self, by: Duration) {
        self.alive_at = self.alive_at.checked_sub(by).unwrap();
    }

    /// When an event last arrived.
    pub(super) const fn progress_at(&self) -> Option<Instant> {
        self.progress_at
    }

    pub(super) const fn gauges(&self) -> &Gauges {
        &self.gauges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostward_event::{EventKind, IdMint};

    #[test]
    fn a_wrong_password_is_not_hidden_by_the_outage_that_it_causes() {
        let mut signs = Signs::new();
        signs.error(Code::Authentication, "SASL authentication error");
        signs.error(Code::AllBrokersDown, "1/1 brokers are down");
        let trouble = signs.trouble(false).unwrap();
        assert_eq!(trouble.kind, FailureKind::NeedsHelp);
        assert!(trouble.message.starts_with("SASL authentication error; check sasl"), "{}", trouble.message);
        signs.report(IdMint::new("m", "b").event(EventKind::Fork, 0, 1, 0), Ok(()));
        assert_eq!(signs.trouble(false), None);
    }

    #[test]
    fn an_outage_says_why_and_one_broker_alone_is_none() {
        let mut signs = Signs::new();
        signs.error(Code::BrokerTransportFailure, "127.0.0.1:1: Connection refused");
        assert_eq!(signs.trouble(false), None);
        assert_eq!(signs.cause(), Some("127.0.0.1:1: Connection refused"));
        signs.error(Code::AllBrokersDown, "1/1 brokers are down");
        let trouble = signs.trouble(true).unwrap();
        assert_eq!(trouble.kind, FailureKind::Passing);
        assert!(trouble.message.contains("127.0.0.1:1: Connection refused"), "{}", trouble.message);
    }

    #[test]
    fn a_broker_that_refuses_our_certificate_needs_help() {
        let mut signs = Signs::new();
        let reason = "ssl://h:1/bootstrap: Receive failed: error:0A000412:SSL routines::sslv3 alert bad \
                      certificate: SSL alert number 42 (after 15ms in state APIVERSION_QUERY)";
        signs.error(Code::BrokerTransportFailure, reason);
        signs.error(Code::AllBrokersDown, "1/1 brokers are down");
        let trouble = signs.trouble(false).unwrap();
        assert_eq!(trouble.kind, FailureKind::NeedsHelp);
        assert!(trouble.message.contains("alert number 42") && trouble.message.contains("cert_file"));
    }

    #[test]
    fn with_nothing_to_send_a_broker_that_is_up_ends_the_trouble() {
        let mut signs = Signs::new();
        signs.error(Code::AllBrokersDown, "1/1 brokers are down");
        let up = r#"{"msg_cnt":0,"msg_size":0,"tx_bytes":5,"brokers":{"b":{"state":"UP","connects":2,
            "disconnects":1,"txretries":0,"req_timeouts":0,"rtt":{"p99":700}}}}"#;
        signs.statistics(&serde_json::from_str(up).unwrap());
        assert!(signs.trouble(false).is_some(), "what waits is not through");
        assert_eq!(signs.trouble(true), None);
    }
}
