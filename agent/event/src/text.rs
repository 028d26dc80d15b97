//! Text that an attacker may have written.
//!
//! Names, paths, arguments and labels come from the kernel as bytes, and any process can choose
//! bytes that are no UTF-8. They stay bytes until they are encoded: matching sees what the kernel
//! saw, a name `\xff` does not vanish, and what reaches a terminal or a log is escaped.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// Bytes meant as text. Cloning shares the buffer; a record's texts are slices of one buffer.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(Bytes);

impl Text {
    /// The empty text.
    pub const EMPTY: Self = Self(Bytes::new());

    /// Takes a shared buffer as it is.
    pub const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Text that lives as long as the program.
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// Copies `bytes` into a buffer of its own.
    pub fn copy(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }

    /// The bytes as the kernel gave them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// True for a text of no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The part of this text that `part` is, sharing the buffer; `part` must be a sub-slice of it.
    pub fn share(&self, part: &[u8]) -> Self {
        if part.is_empty() { Self::EMPTY } else { Self(self.0.slice_ref(part)) }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::copy(text.as_bytes())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Bytes::from(bytes))
    }
}

/// A map of texts is asked for bytes.
impl std::borrow::Borrow<[u8]> for Text {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Writes `bytes` so that a terminal or log shows them and cannot be driven by them: control
/// characters, direction overrides and bytes that are no UTF-8 become `\n`, `\u{202e}`, `\xff`;
/// a backslash is doubled.
pub fn escape(bytes: &[u8], out: &mut dyn fmt::Write) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.write_str("\\\\")?,
                '\n' => out.write_str("\\n")?,
                '\r' => out.write_str("\\r")?,
                '\t' => out.write_str("\\t")?,
                c if c.is_control() || is_invisible(c) => write!(out, "\\u{{{:x}}}", u32::from(c))?,
                c => out.write_char(c)?,
            }
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

/// Characters that reorder or hide what stands around them (Unicode bidi controls, zero width).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(&self.0, f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// In captures a text is a JSON string; bytes that are no UTF-8 (or begin with NUL, which text
/// from the kernel never does) are written as NUL followed by hex, so that nothing is lost. A binary
/// format takes the bytes as they are.
impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(&self.0);
        }
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.starts_with('\0') => serializer.serialize_str(text),
            _ => {
                let mut hex = String::with_capacity(1 + self.0.len() * 2);
                hex.push('\0');
                for byte in &self.0 {
                    hex.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
                    hex.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
                }
                serializer.serialize_str(&hex)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Bytes::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        let Some(hex) = text.strip_prefix('\0') else {
            return Ok(Self::from(text));
        };
        let digits: Option<Vec<u32>> = hex.chars().map(|c| c.to_digit(16)).collect();
        let digits = digits.ok_or_else(|| de::Error::custom("a byte text must be hex digits"))?;
        let bytes = digits.chunks(2).map(|pair| match pair {
            [high, low] => Ok(u8::try_from(high * 16 + low).unwrap_or_default()),
            _ => Err(de::Error::custom("a byte text must have an even number of hex digits")),
        });
        Ok(Self::from(bytes.collect::<Result<Vec<u8>, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_bytes_are_shown_and_harmless() {
        let text = Text::copy(b"a\xff\x1b[2J\n\\\xe2\x80\xae");
        assert_eq!(text.to_string(), "a\\xff\\u{1b}[2J\\n\\\\\\u{202e}");
    }

    proptest! {
        #[test]
        fn a_capture_gives_every_byte_back(bytes: Vec<u8>) {
            let json = serde_json::to_string(&Text::copy(&bytes)).unwrap();
            let back: Text = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(back.as_bytes(), &bytes[..]);
        }
    }
}
