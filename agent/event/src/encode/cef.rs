//! Common Event Format: `CEF:0|vendor|product|version|id|name|severity|key=value key=value …`.
//!
//! A value may hold blanks, so a reader finds the next key by its `=`: every `=` inside a value is
//! escaped, as are backslashes and line ends. An attacker's text cannot start a key of its own.

use super::lines::{self, Rows};
use super::view::View;
use std::sync::LazyLock;

static ROWS: LazyLock<Rows> = LazyLock::new(|| lines::rows(|field| field.cef));

pub(super) fn write(view: View<'_>, out: &mut Vec<u8>) {
    let severity = lines::severity(view.priority()).to_string();
    let (version, id, name) = (lines::version(view), lines::identifier(view), lines::name(view));
    out.extend_from_slice(b"CEF:0|");
    lines::head(&["Hostward", "Hostward", &version, &id, &name, &severity], out);
    let mut first = true;
    let mut item = |key: &str, text: &str, out: &mut Vec<u8>| {
        if !std::mem::take(&mut first) {
            out.push(b' ');
        }
        out.extend_from_slice(key.as_bytes());
        out.push(b'=');
        value(text, out);
    };
    for (key, field, text) in lines::items(view, &ROWS) {
        item(key, &text, out);
        if is_custom(key) {
            item(&format!("{key}Label"), field.ecs, out);
        }
    }
}

/// Keys without a meaning of their own: `cs1`, `cn1`, `flexString1`.
fn is_custom(key: &str) -> bool {
    ["cs", "cn", "flexString"].iter().any(|stem| {
        key.strip_prefix(stem)
            .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()) && !number.is_empty())
    })
}

fn value(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'\\' | b'=' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            byte => out.push(byte),
        }
    }
}
