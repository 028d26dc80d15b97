//! One entry of the journal in its native form.
//!
//! <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>: a field is `NAME=VALUE` and a line feed, or, when the
//! value has a line feed itself, `NAME`, a line feed, the length (64 bits, little-endian), the value,
//! a line feed. The second form is what keeps a value from becoming a field of its own.

use crate::journald::config::JournaldConfig;
use hostward_event::Event;
use hostward_event::encode::{Encoding, Form};
use hostward_event::redact::Redaction;
use std::io::Write as _;

/// `MESSAGE_ID` by `event.kind`. Receivers select by them: they never change
/// (`docs/specs/delivery.md`).
const MESSAGE_IDS: [(&[u8], &str); 3] = [
    (b"alert", "4b3cf7b8a7dd4d878978430a6645fbc2"),
    (b"event", "6747eb5f49024b559b0e3602273c5567"),
    (b"pipeline_error", "142e466a46184114b87a52a54bc23db5"),
];

/// Makes entries.
pub(super) struct Writer {
    form: Form,
    /// The line for people, with the same redaction.
    line: Form,
}

impl Writer {
    pub(super) fn new(config: &JournaldConfig, form: Form) -> Self {
        // Names that cannot be redacted take out all that can be, as in the record itself.
        let redaction = Redaction::parse(&config.redact).unwrap_or_else(|_| Redaction::all());
        Self { form, line: Form::new(Encoding::Compact).redacted(redaction) }
    }

    /// Appends the entry of an event.
    pub(super) fn write(&self, event: &Event, out: &mut Vec<u8>) {
        let mut value = self.form.text(event, "message");
        if value.is_empty() {
            self.line.encode(event, &mut value);
        }
        field("MESSAGE", &value, out);
        field("PRIORITY", event.priority().severity().to_string().as_bytes(), out);
        field("SYSLOG_IDENTIFIER", b"hostward", out);
        let kind = self.form.text(event, "event.kind");
        if let Some((_, id)) = MESSAGE_IDS.iter().find(|(known, _)| *known == kind.as_slice()) {
            field("MESSAGE_ID", id.as_bytes(), out);
        }
        field("HOSTWARD_EVENT_ID", event.id.to_string().as_bytes(), out);
        for (name, source) in [
            ("HOSTWARD_ACTION", "event.action"),
            ("HOSTWARD_DATASET", "event.dataset"),
            ("HOSTWARD_RULE", "rule.name"),
        ] {
            let value = self.form.text(event, source);
            if !value.is_empty() {
                field(name, &value, out);
            }
        }
        value.clear();
        self.form.encode(event, &mut value);
        field("HOSTWARD_RECORD", &value, out);
    }
}

fn field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    if value.contains(&b'\n') {
        let _ = writeln!(out, "{name}");
        out.extend_from_slice(&u64::try_from(value.len()).unwrap_or(u64::MAX).to_le_bytes());
    } else {
        let _ = write!(out, "{name}=");
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_a_line_feed_cannot_become_a_field() {
        let mut out = Vec::new();
        field("A", b"x=y", &mut out);
        field("B", b"one\nPRIORITY=0", &mut out);
        assert_eq!(out, b"A=x=y\nB\n\x0e\0\0\0\0\0\0\0one\nPRIORITY=0\n");
    }
}
