//! Small pieces of JSON around records.

use hostward_event::Event;
use hostward_event::encode::Form;
use hostward_event::redact::Redaction;
use hostward_event::registry::{self, Arg, Value};

/// Of names that the configuration's validation has looked at: one that is wrong hides everything.
pub(crate) fn redaction(names: &[String]) -> Redaction {
    Redaction::parse(names).unwrap_or_else(|_| Redaction::all())
}

/// A field's text, unless it is to be hidden.
pub(crate) fn shown(redaction: &Redaction, event: &Event, name: &str) -> Option<Vec<u8>> {
    let field = registry::find(name).filter(|field| !redaction.hides(field))?;
    match field.value(event, &Arg::None) {
        Value::Text(text) => Some(text.into_owned()),
        _ => None,
    }
}

/// Appends bytes as a JSON string; what is no UTF-8 as the four characters `\xHH`, as in records.
pub(crate) fn json(bytes: &[u8], out: &mut Vec<u8>) {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    // Writing a string to a Vec cannot fail.
    let _ = serde_json::to_writer(out, &text);
}

/// Appends a record as a JSON value: as it is when its form is JSON, else as a string.
pub(crate) fn record(form: &Form, event: &Event, out: &mut Vec<u8>) {
    if form.encoding().is_json() {
        form.encode(event, out);
    } else {
        string(form, event, out);
    }
}

/// Appends a record as a JSON string.
pub(crate) fn string(form: &Form, event: &Event, out: &mut Vec<u8>) {
    let mut record = Vec::new();
    form.encode(event, &mut record);
    json(&record, out);
}
