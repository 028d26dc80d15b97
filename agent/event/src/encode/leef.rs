//! Log Event Extended Format: `LEEF:2.0|vendor|product|version|id|x09|key=value⇥key=value …`.
//!
//! The format has no escape of its own for its delimiter, so a tab in a value is written `\t`, a line
//! end `\n` or `\r`, a backslash `\\`. A key ends at the first `=`, so one inside a value is harmless.

use super::lines::{self, Rows};
use super::view::View;
use std::sync::LazyLock;

static ROWS: LazyLock<Rows> = LazyLock::new(|| lines::rows(|field| field.leef));

pub(super) fn write(view: View<'_>, out: &mut Vec<u8>) {
    let (version, id) = (lines::version(view), lines::identifier(view));
    out.extend_from_slice(b"LEEF:2.0|");
    lines::head(&["Hostward", "Hostward", &version, &id, "x09"], out);
    // QRadar reads 1 to 10.
    out.extend_from_slice(format!("sev={}", lines::severity(view.priority())).as_bytes());
    for (key, _, text) in lines::items(view, &ROWS) {
        out.push(b'\t');
        out.extend_from_slice(key.as_bytes());
        out.push(b'=');
        value(&text, out);
    }
}

fn value(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            byte => out.push(byte),
        }
    }
}
