//! Writing JSON from bytes that may be no UTF-8.

use crate::registry::Value;
use std::io::Write as _;

/// How times are written.
#[derive(Clone, Copy)]
pub(super) enum Times {
    /// ISO 8601 in UTC with ns, as a string.
    Iso,
    /// ms since the epoch, as a number.
    Millis,
}

/// Appends `value`; nothing and `false` when it is missing.
pub(super) fn value(value: &Value<'_>, times: Times, out: &mut Vec<u8>) -> bool {
    match value {
        Value::Missing => return false,
        Value::Text(text) => string(text, out),
        Value::Number(number) => match i64::try_from(*number) {
            // Writing 128 bits takes several times as long.
            Ok(number) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
            Err(_) => push(out, format_args!("{number}")),
        },
        Value::Bool(flag) => push(out, format_args!("{flag}")),
        Value::Ip(ip) => push(out, format_args!("\"{ip}\"")),
        Value::Numbers(numbers) => list(numbers, out, |number, out| push(out, format_args!("{number}"))),
        Value::Ips(ips) => list(ips, out, |ip, out| push(out, format_args!("\"{ip}\""))),
        Value::Time(ns) => match times {
            Times::Millis => push(out, format_args!("{}", ns.div_euclid(1_000_000))),
            Times::Iso => match jiff::Timestamp::from_nanosecond((*ns).into()) {
                Ok(time) => push(out, format_args!("\"{time:.9}\"")),
                Err(_) => return false,
            },
        },
        Value::List(texts) => list(texts, out, |text, out| string(text, out)),
    }
    true
}

/// Appends an array.
pub(super) fn list<T>(items: &[T], out: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>)) {
    out.push(b'[');
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

/// Appends text that needs no escape.
pub(super) fn push(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    let _ = out.write_fmt(text);
}

/// Appends `bytes` as a JSON string. Bytes that are no UTF-8 are written as `\xHH` in plain text
/// (four characters), so that a name made of them is seen and can be searched for.
pub(super) fn string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    // Nearly all text needs no escape. No early exit, so that the compiler takes many bytes at once.
    if bytes.iter().fold(true, |plain, byte| plain & matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~'))
    {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    for chunk in bytes.utf8_chunks() {
        text(chunk.valid(), out);
        for byte in chunk.invalid() {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "\\\\x{byte:02x}");
        }
    }
    out.push(b'"');
}

fn text(valid: &str, out: &mut Vec<u8>) {
    let bytes = valid.as_bytes();
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let short: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..=0x1f | 0x7f => b"",
            _ => continue,
        };
        out.extend_from_slice(bytes.get(from..at).unwrap_or_default());
        if short.is_empty() {
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.extend_from_slice(short);
        }
        from = at + 1;
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        string(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn bytes_that_are_no_text_are_shown() {
        assert_eq!(encoded(b"a\xffb"), r#""a\\xffb""#);
        assert_eq!(encoded(b"\0\x1b\"\\\n"), r#""\u0000\u001b\"\\\n""#);
    }

    proptest! {
        #[test]
        fn any_text_survives(text: String) {
            let back: String = serde_json::from_str(&encoded(text.as_bytes())).unwrap();
            prop_assert_eq!(back, text);
        }

        #[test]
        fn any_bytes_are_valid_json(bytes: Vec<u8>) {
            prop_assert!(serde_json::from_str::<String>(&encoded(&bytes)).is_ok());
        }
    }
}
