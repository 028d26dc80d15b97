//! A message of RFC 5424.

use crate::ledger::Lane;
use crate::syslog::config::{Framing, SyslogConfig};
use crate::syslog::trim;
use hostward_event::Event;
use hostward_event::encode::Form;
use hostward_event::redact::Redaction;
use hostward_event::registry::{self, Arg, Value};
use std::io::Write as _;

/// RFC 5424, 6: lengths of HOSTNAME and MSGID.
const MAX_HOSTNAME_BYTES: usize = 255;
const MAX_MSGID_BYTES: usize = 32;

/// Makes messages.
pub(super) struct Framer {
    form: Form,
    facility: u64,
    /// The SD-ID; none: no structured data.
    structured: Option<String>,
    limit: usize,
    hides_host: bool,
}

impl Framer {
    pub(super) fn new(config: &SyslogConfig, form: Form) -> Self {
        // Names that cannot be redacted take out all that can be, as in the record itself.
        let redaction = Redaction::parse(&config.redact).unwrap_or_else(|_| Redaction::all());
        let structured = config.structured_data.then(|| format!("hostward@{}", config.enterprise_id));
        Self {
            form,
            facility: u64::from(config.facility.min(23)),
            structured,
            limit: config.max_message,
            hides_host: registry::find("host.name").is_some_and(|field| redaction.hides(field)),
        }
    }

    /// Appends a message without any framing; true when it had to be trimmed.
    pub(super) fn message(&self, event: &Event, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        self.header(event, out);
        let header = out.len() - start;
        let mut record = Vec::with_capacity(2_048);
        self.form.encode(event, &mut record);
        let trimmed = trim::fit(&mut record, self.limit.saturating_sub(header), self.form.encoding());
        out.extend_from_slice(&record);
        trimmed
    }

    /// Appends a message as a stream carries it; true when it had to be trimmed.
    pub(super) fn framed(&self, event: &Event, framing: Framing, out: &mut Vec<u8>) -> bool {
        let mut message = Vec::with_capacity(2_048);
        let trimmed = self.message(event, &mut message);
        if framing == Framing::OctetCounting {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{} ", message.len());
        }
        out.extend_from_slice(&message);
        if framing == Framing::Lf {
            out.push(b'\n');
        }
        trimmed
    }

    fn header(&self, event: &Event, out: &mut Vec<u8>) {
        let priority = self.facility * 8 + event.priority().severity();
        let _ = write!(out, "<{priority}>1 ");
        match jiff::Timestamp::from_nanosecond(event.time_ns.into()) {
            Ok(time) => {
                let _ = write!(out, "{time:.6} ");
            }
            Err(_) => out.extend_from_slice(b"- "),
        }
        let host = if self.hides_host { Vec::new() } else { text(event, "host.name") };
        word(&host, MAX_HOSTNAME_BYTES, out);
        let _ = write!(out, " hostward {} ", event.around.agent.pid);
        word(&text(event, "event.dataset"), MAX_MSGID_BYTES, out);
        match &self.structured {
            None => out.extend_from_slice(b" - "),
            Some(id) => {
                let lane = match crate::outputs::lane(event) {
                    Lane::Alert => "alert",
                    Lane::Telemetry => "telemetry",
                };
                let _ = write!(out, " [{id} event.id=\"{}\" event.action=\"", event.id);
                parameter(&text(event, "event.action"), out);
                let _ = write!(out, "\" lane=\"{lane}\"] ");
            }
        }
    }
}

fn text(event: &Event, field: &str) -> Vec<u8> {
    match registry::find(field).map(|field| field.value(event, &Arg::None)) {
        Some(Value::Text(text)) => text.into_owned(),
        _ => Vec::new(),
    }
}

/// A field of the header: printable ASCII without blanks, never empty.
fn word(bytes: &[u8], limit: usize, out: &mut Vec<u8>) {
    if bytes.is_empty() {
        out.push(b'-');
    }
    let safe = |byte: &u8| if byte.is_ascii_graphic() { *byte } else { b'_' };
    out.extend(bytes.iter().take(limit).map(safe));
}

/// The value of a parameter (RFC 5424, 6.3.3), in UTF-8.
fn parameter(bytes: &[u8], out: &mut Vec<u8>) {
    for c in String::from_utf8_lossy(bytes).chars() {
        if matches!(c, '"' | '\\' | ']') {
            out.push(b'\\');
        }
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_attacker_names_stays_where_it_stands() {
        let mut out = Vec::new();
        word(b"evil host\n<0>1\xff", MAX_HOSTNAME_BYTES, &mut out);
        assert_eq!(out, b"evil_host_<0>1_");
        out.clear();
        word(b"", 9, &mut out);
        assert_eq!(out, b"-");
        out.clear();
        parameter(br#"a"] \x"#, &mut out);
        assert_eq!(out, br#"a\"\] \\x"#);
    }
}
