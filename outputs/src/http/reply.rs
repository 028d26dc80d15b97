//! A reply, and what its status means where the sink does not know better.

use super::outcome::{Failure, Outcome};
use hostward_event::Text;
use std::time::Duration;

/// Of a reply at most so much is read.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// Of a reply at most so much is shown.
const SHOWN_BYTES: usize = 300;

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Which server, for messages: host and port.
    pub peer: String,
    /// Which of the sink's URLs.
    pub(crate) server: usize,
    /// Status code.
    pub status: u16,
    /// `Retry-After`, when it made sense.
    pub retry_after: Option<Duration>,
    /// `Location`, escaped.
    pub(super) location: String,
    /// `X-elastic-product`.
    pub(crate) product: String,
    /// At most 1 MiB.
    pub body: Vec<u8>,
    /// There was more of it.
    pub is_cut: bool,
}

impl Reply {
    /// 2xx.
    pub const fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// Status and beginning of the body, escaped, for messages.
    pub fn excerpt(&self) -> String {
        format!("{} {}", self.status, shown(&self.body)).trim_end().to_owned()
    }

    /// What a status means that the sink itself has nothing to say about. None: it is a success.
    pub(crate) fn failure(&self) -> Option<Outcome> {
        let said = format!("{}: answers {}", self.peer, self.excerpt());
        Some(match self.status {
            200..=299 => return None,
            400 | 422 => Outcome::Refused(said),
            413 => Outcome::TooLarge(said),
            401 => Failure::needs_help(format!("{said}; check the sink's credentials")).into(),
            403 => {
                Failure::needs_help(format!("{said}; give the sink's user the permission to write")).into()
            }
            407 => Failure::needs_help(format!("{said}; check the proxy's credentials")).into(),
            300..=399 => {
                let hint =
                    "redirects are not followed, so that credentials go nowhere else; set the final URL";
                Failure::needs_help(format!("{said}, to {}; {hint}", self.location)).into()
            }
            429 => Failure::overload(said, self.retry_after).into(),
            408 | 425 | 500.. => Failure { retry_after: self.retry_after, ..Failure::passing(said) }.into(),
            _ => Failure::needs_help(format!("{said}; check the URL")).into(),
        })
    }
}

/// The beginning of what somebody sent, escaped, on one line.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = bytes.trim_ascii();
    let cut = text.get(..SHOWN_BYTES).unwrap_or(text);
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("{}{dots}", Text::copy(cut))
}

#[cfg(test)]
pub(crate) fn reply(status: u16, body: &[u8]) -> Reply {
    Reply {
        peer: "h:1".to_owned(),
        server: 0,
        status,
        retry_after: None,
        location: String::new(),
        product: String::new(),
        body: body.to_vec(),
        is_cut: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::FailureKind;

    #[test]
    fn no_status_but_three_is_a_verdict_on_what_was_sent() {
        for status in 300..=599 {
            let outcome = reply(status, b"no").failure().unwrap();
            match status {
                400 | 422 => assert!(matches!(outcome, Outcome::Refused(_))),
                413 => assert!(matches!(outcome, Outcome::TooLarge(_))),
                _ => {
                    let Outcome::Kept(failure) = outcome else { panic!("{status} gives up events") };
                    let passes = matches!(status, 408 | 425 | 429 | 500..);
                    let kind = if passes { FailureKind::Passing } else { FailureKind::NeedsHelp };
                    assert_eq!((failure.kind, failure.is_overload), (kind, status == 429), "{status}");
                }
            }
        }
        assert_eq!(reply(204, b"").failure(), None);
    }

    #[test]
    fn what_a_server_says_is_shown_short_and_escaped() {
        let long = [&b"\x1b[31mred\nINFO fake line "[..], &[b'x'; 5_000]].concat();
        let shown = reply(400, &long).excerpt();
        assert!(shown.len() < 500 && !shown.contains(['\x1b', '\n']), "{shown}");
    }
}
