//! What became of a request, as far as its events are concerned.

use crate::net::failure::NetFailure;
use crate::sink::FailureKind;
use std::time::Duration;

/// Why events were not taken although nothing is wrong with them. They are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whether it may pass, or a person is needed.
    pub kind: FailureKind,
    /// Subject, cause, and what to do; escaped.
    pub message: String,
    /// What the server asked for.
    pub retry_after: Option<Duration>,
    /// The server is not able to take as much as it is offered.
    pub is_overload: bool,
    /// The connection broke before there was a reply.
    pub is_cut_off: bool,
}

impl Failure {
    /// It may pass by itself.
    pub(crate) const fn passing(message: String) -> Self {
        Self { kind: FailureKind::Passing, message, retry_after: None, is_overload: false, is_cut_off: false }
    }

    /// The server is overloaded.
    pub(crate) const fn overload(message: String, retry_after: Option<Duration>) -> Self {
        Self { kind: FailureKind::Passing, message, retry_after, is_overload: true, is_cut_off: false }
    }

    /// A person has to do something.
    pub(crate) const fn needs_help(message: String) -> Self {
        Self {
            kind: FailureKind::NeedsHelp,
            message,
            retry_after: None,
            is_overload: false,
            is_cut_off: false,
        }
    }

    /// Of two the one that an operator should hear of, with the longer wait.
    pub(crate) fn worse(self, other: Self) -> Self {
        let retry_after = self.retry_after.max(other.retry_after);
        let is_overload = self.is_overload || other.is_overload;
        let is_cut_off = self.is_cut_off || other.is_cut_off;
        let worse = if other.kind == FailureKind::NeedsHelp && self.kind != FailureKind::NeedsHelp {
            other
        } else {
            self
        };
        Self { retry_after, is_overload, is_cut_off, ..worse }
    }
}

impl From<NetFailure> for Failure {
    fn from(failure: NetFailure) -> Self {
        Self {
            kind: failure.kind(),
            message: format!("{failure}; {}", failure.hint()),
            retry_after: None,
            is_overload: matches!(failure, NetFailure::TimedOut { .. }),
            is_cut_off: matches!(failure, NetFailure::Broken { .. } | NetFailure::Closed { .. }),
        }
    }
}

/// What the destination said about one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// It is there.
    Delivered,
    /// It will never be taken; why.
    Rejected(String),
    /// It is kept.
    Kept(Failure),
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All of its events are there.
    Delivered,
    /// One verdict per event, in order.
    Items(Vec<Item>),
    /// The request as a whole was refused for what is in it.
    Refused(String),
    /// The request, or the reply to it, was too large.
    TooLarge(String),
    /// All are kept.
    Kept(Failure),
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self::Kept(failure)
    }
}
