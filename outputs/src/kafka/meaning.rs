//! What the library's and the brokers' error codes mean for events.

use crate::sink::FailureKind;
use rdkafka::types::RDKafkaErrorCode as Code;

/// A reason of the library is shown up to this many characters.
const MAX_REASON_CHARS: usize = 400;

/// What a delivery report with an error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Something is wrong with this event, or with another one of its batch.
    OnEvent,
    /// Nothing is wrong with any event.
    Held(FailureKind),
    /// The producer is of no use any more; a new one is.
    ProducerSpent,
}

/// Of a delivery report, or of the answer to a record that is handed over.
pub(super) const fn of_report(code: Code) -> Meaning {
    match code {
        Code::MessageSizeTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        | Code::InvalidTimestamp => Meaning::OnEvent,
        Code::Fatal
        | Code::Fenced
        | Code::ProducerFenced
        | Code::InvalidProducerEpoch
        | Code::OutOfOrderSequenceNumber
        | Code::UnknownProducerId => Meaning::ProducerSpent,
        code => Meaning::Held(kind(code)),
    }
}

/// Whether it may pass, or a person is needed.
pub(super) const fn kind(code: Code) -> FailureKind {
    match code {
        Code::Authentication
        | Code::SSL
        | Code::Resolve
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::SecurityDisabled
        | Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::InvalidTopic
        | Code::PolicyViolation
        | Code::UnsupportedCompressionType
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedFeature
        | Code::UnsupportedVersion => FailureKind::NeedsHelp,
        _ => FailureKind::Passing,
    }
}

/// True when the words of a broken connection show that the broker refused our certificate, or TLS with
/// us. Under TLS 1.3 that comes after the handshake, and the library takes it for a broken connection.
pub(super) fn is_tls_refusal(reason: &str) -> bool {
    // RFC 8446, 6.2: what no second try mends; 80, internal error, may pass.
    const LASTING: [u8; 14] = [40, 42, 43, 44, 45, 46, 47, 48, 49, 70, 71, 112, 116, 120];
    let number = reason.split_once("SSL alert number ").map(|(_, rest)| rest);
    let digits = number.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    digits.and_then(|digits| digits.parse().ok()).is_some_and(|number| LASTING.contains(&number))
}

/// What to do about it.
pub(super) const fn hint(code: Code) -> &'static str {
    match code {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => "check sasl, username and the password or token",
        Code::SSL => "check tls, ca_file, cert_file and key_file, and the names in the broker's certificate",
        Code::Resolve => "check the names in brokers, those that brokers advertise, and the resolver",
        Code::TopicAuthorizationFailed => "let the user write to the topic (ACL: Write, Describe)",
        Code::ClusterAuthorizationFailed => {
            "let the user write idempotently (ACL: IdempotentWrite on the cluster, or Write on the topic)"
        }
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::InvalidTopic => {
            "create the topic, or set topic to one that is there"
        }
        Code::UnsupportedCompressionType => {
            "use compression = \"lz4\" or \"none\": the broker is too old for this one"
        }
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => {
            "raise the topic's max.message.bytes, and message_max_bytes if it is lower"
        }
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => {
            "bring the missing brokers back: too few replicas are in sync for acks=all"
        }
        Code::BrokerTransportFailure | Code::AllBrokersDown => {
            "check the addresses, the brokers, and firewalls between"
        }
        _ => "check the brokers' logs",
    }
}

/// What the library says, on one line and not too long: part of it may come from the other side.
pub(super) fn escaped(reason: &str) -> String {
    let mut told: String = reason.chars().take(MAX_REASON_CHARS).flat_map(one_line).collect();
    if reason.chars().nth(MAX_REASON_CHARS).is_some() {
        told.push('…');
    }
    told
}

fn one_line(c: char) -> Vec<char> {
    if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
        c.escape_default().collect()
    } else {
        vec![c]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_an_events_own_fault_is_held_against_it() {
        assert_eq!(of_report(Code::MessageSizeTooLarge), Meaning::OnEvent);
        assert_eq!(of_report(Code::TopicAuthorizationFailed), Meaning::Held(FailureKind::NeedsHelp));
        assert_eq!(of_report(Code::NotEnoughReplicas), Meaning::Held(FailureKind::Passing));
        assert_eq!(of_report(Code::PurgeQueue), Meaning::Held(FailureKind::Passing));
        assert_eq!(of_report(Code::Fatal), Meaning::ProducerSpent);
    }

    #[test]
    fn a_refused_certificate_is_told_from_a_broken_connection() {
        assert!(is_tls_refusal("Receive failed: error:0A000412:x: SSL alert number 42 (after 15ms)"));
        assert!(is_tls_refusal("tlsv13 alert certificate required: SSL alert number 116"));
        for other in ["SSL alert number 80", "SSL alert number ", "SSL alert number 4200", "Disconnected"] {
            assert!(!is_tls_refusal(other), "{other}");
        }
    }

    #[test]
    fn what_the_other_side_said_cannot_drive_a_terminal() {
        assert_eq!(escaped("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(escaped(&"x".repeat(500)).chars().count(), MAX_REASON_CHARS + 1);
    }
}
