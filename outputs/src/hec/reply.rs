//! What the collector says: `{"text":…,"code":…}`, and acknowledgments.
//!
//! Source of the codes: Splunk, "Troubleshoot HTTP Event Collector", possible error codes.

use crate::http::Reply;
use crate::http::outcome::{Failure, Outcome};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
struct Said {
    code: u32,
    #[serde(rename = "ackId")]
    ack_id: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Acks {
    acks: BTreeMap<String, bool>,
}

/// What a code is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 0.
    Success,
    /// 5: the request is empty.
    NoData,
    /// 6, 12, 13: an event is not as it has to be.
    Event,
    /// 8, 9, 18 to 25: the collector has trouble of its own.
    Busy,
    /// 14: the token has no acknowledgments.
    NoAcks,
    /// Token, index, channel, settings: somebody has to mend them.
    Setup,
    /// No such reply.
    Senseless,
}

impl Code {
    /// Of a reply.
    pub fn of(reply: &Reply) -> Self {
        match serde_json::from_slice::<Said>(&reply.body).map(|said| said.code) {
            Ok(0) => Self::Success,
            Ok(5) => Self::NoData,
            Ok(6 | 12 | 13) => Self::Event,
            Ok(8 | 9 | 18..=26) => Self::Busy,
            Ok(14) => Self::NoAcks,
            Ok(_) => Self::Setup,
            Err(_) => Self::Senseless,
        }
    }
}

/// The number by which acknowledgment can be asked for.
pub fn ack_id(reply: &Reply) -> Option<u64> {
    serde_json::from_slice::<Said>(&reply.body).ok()?.ack_id
}

/// True when the reply says that the events of this number are on disk.
pub fn is_acked(reply: &Reply, number: u64) -> bool {
    let acks = serde_json::from_slice::<Acks>(&reply.body).map(|told| told.acks);
    acks.is_ok_and(|acks| acks.get(&number.to_string()).copied().unwrap_or(false))
}

/// What a refusal means.
pub(crate) fn refusal(reply: &Reply) -> Outcome {
    let said = format!("{}: answers {}", reply.peer, reply.excerpt());
    match (reply.status, Code::of(reply)) {
        (400, Code::NoData | Code::Event) => Outcome::Refused(said),
        (400, Code::NoAcks) => {
            let what = "enable indexer acknowledgment for the token, or set acks = false";
            Failure::needs_help(format!("{said}; {what}")).into()
        }
        (400, Code::Busy) => Failure::overload(said, reply.retry_after).into(),
        (400, Code::Setup) => {
            Failure::needs_help(format!("{said}; check the token, its indexes, and the channel")).into()
        }
        // A 400 that is none of the collector's is no verdict on an event.
        (400, _) => Failure::needs_help(format!("{said}; check that the URL is a collector's")).into(),
        (503, _) => Failure::overload(said, reply.retry_after).into(),
        _ => reply.failure().unwrap_or(Outcome::Kept(Failure::passing(said))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::reply::reply;
    use crate::sink::FailureKind;
    use proptest::prelude::*;

    fn word(status: u16, code: u32) -> char {
        let body = format!(r#"{{"text":"x","code":{code},"invalid-event-number":0}}"#);
        match refusal(&reply(status, body.as_bytes())) {
            Outcome::Refused(_) => 'R',
            Outcome::TooLarge(_) => 'L',
            Outcome::Kept(failure) if failure.kind == FailureKind::NeedsHelp => 'H',
            Outcome::Kept(_) => 'P',
            Outcome::Delivered | Outcome::Items(_) => 'D',
        }
    }

    #[test]
    fn each_documented_code_means_one_thing() {
        let table = [
            (403, 1, 'H'),
            (401, 2, 'H'),
            (401, 3, 'H'),
            (403, 4, 'H'),
            (400, 5, 'R'),
            (400, 6, 'R'),
            (400, 7, 'H'),
            (500, 8, 'P'),
            (503, 9, 'P'),
            (400, 10, 'H'),
            (400, 11, 'H'),
            (400, 12, 'R'),
            (400, 13, 'R'),
            (400, 14, 'H'),
            (400, 15, 'H'),
            (413, 27, 'L'),
        ];
        for (status, code, expected) in table {
            assert_eq!(word(status, code), expected, "{status} code {code}");
        }
        assert!(
            matches!(refusal(&reply(400, b"<html>")), Outcome::Kept(failure) if failure.kind == FailureKind::NeedsHelp)
        );
    }

    #[test]
    fn only_true_acknowledges() {
        let acks = |body: &str| is_acked(&reply(200, body.as_bytes()), 7);
        assert!(acks(r#"{"acks":{"6":false,"7":true}}"#));
        for no in
            [r#"{"acks":{"7":false}}"#, r#"{"acks":{"70":true}}"#, r#"{"acks":{}}"#, r#"{"acks":[7]}"#, ""]
        {
            assert!(!acks(no), "{no}");
        }
        assert_eq!(ack_id(&reply(200, br#"{"text":"Success","code":0,"ackId":7}"#)), Some(7));
        assert_eq!(ack_id(&reply(200, br#"{"text":"Success","code":0}"#)), None);
    }

    proptest! {
        #[test]
        fn any_reply_is_read_without_a_panic(status in 100_u16..600, body: Vec<u8>) {
            let reply = reply(status, &body);
            let _ = (Code::of(&reply), ack_id(&reply), is_acked(&reply, 1), refusal(&reply));
        }
    }
}
