//! Writing JSON from bytes that may be no UTF-8.

use std::io::Write as _;

/// Appends `bytes` as a JSON string. Bytes that are no UTF-8 are written as `\xHH` in plain text
/// (four characters), so that a name made of them is seen and can be searched for.
pub(super) fn string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
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
