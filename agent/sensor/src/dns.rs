//! DNS messages (RFC 1035, 3596, 2782), of bytes that anybody may have sent.
//!
//! # Why our own
//! What the kernel hands over may be cut in the middle, and what came before the cut is wanted all the same; labels may
//! hold any bytes, and none may be lost or pass for a dot. Crates that build and answer messages refuse the one and
//! replace the other.
//!
//! # Bounds
//! A pointer must lead to before the name that it is in, so that every name ends; a name has at most 255 bytes, an answer
//! section [`ANSWERS`] records. Authority and additional records are not read.

use hostward_event::Text;
use hostward_event::raw::{DnsAnswer, DnsData, DnsMessage, DnsQuestion};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Records that are read of an answer.
const ANSWERS: usize = 64;
/// Longest name on the wire, RFC 1035 2.3.4.
const NAME_BYTES: usize = 255;

const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const PTR: u16 = 12;
const MX: u16 = 15;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const DNAME: u16 = 39;

/// Reads what it can; true when that is all that the message says it has. None: too short for a header.
pub(crate) fn message(bytes: &[u8]) -> (Option<DnsMessage>, bool) {
    let mut reader = Reader { bytes, at: 0 };
    let mut header = || Some([reader.word()?, reader.word()?, reader.word()?, reader.word()?]);
    let Some([id, flags, questions, answers]) = header() else { return (None, false) };
    reader.at = 12;
    let mut message = DnsMessage { id, flags, question: None, answers: Vec::new() };
    if bytes.len() < reader.at {
        return (None, false);
    }
    let whole = read(&mut reader, &mut message, questions, answers).is_some();
    (Some(message), whole)
}

/// None at the first thing that is cut or malformed.
fn read(reader: &mut Reader<'_>, message: &mut DnsMessage, questions: u16, answers: u16) -> Option<()> {
    for _ in 0..questions {
        let question = DnsQuestion { name: reader.name()?, kind: reader.word()?, class: reader.word()? };
        message.question.get_or_insert(question);
    }
    for _ in 0..answers {
        if message.answers.len() == ANSWERS {
            return None;
        }
        let (name, kind, class) = (reader.name()?, reader.word()?, reader.word()?);
        let ttl_s = u32::from(reader.word()?) << 16 | u32::from(reader.word()?);
        let length = reader.word()?;
        let data = reader.data(kind, length)?;
        message.answers.push(DnsAnswer { name, kind, class, ttl_s, data });
    }
    Some(())
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn word(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// A name in the form of [`DnsMessage`].
    fn name(&mut self) -> Option<Text> {
        let mut out = Vec::new();
        let mut wire_bytes = 0;
        // Where the name goes on behind its first pointer.
        let mut behind = None;
        // Everything is read from before here.
        let mut limit = self.at;
        loop {
            let length = self.byte()?;
            match length {
                0 => break,
                1..=0x3f => {
                    wire_bytes += usize::from(length) + 1;
                    if wire_bytes >= NAME_BYTES {
                        return None;
                    }
                    if !out.is_empty() {
                        out.push(b'.');
                    }
                    self.take(usize::from(length))?.iter().for_each(|byte| escape(*byte, &mut out));
                }
                0xc0.. => {
                    let to = usize::from(length & 0x3f) << 8 | usize::from(self.byte()?);
                    if to >= limit {
                        return None;
                    }
                    behind.get_or_insert(self.at);
                    (self.at, limit) = (to, to);
                }
                _ => return None,
            }
        }
        if out.is_empty() {
            out.push(b'.');
        }
        self.at = behind.unwrap_or(self.at);
        Some(Text::from(out))
    }

    fn data(&mut self, kind: u16, length: u16) -> Option<DnsData> {
        let end = self.at.checked_add(usize::from(length))?;
        let bytes = self.bytes.get(self.at..end)?;
        let data = match kind {
            A => DnsData::Address(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))),
            AAAA => DnsData::Address(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))),
            CNAME | DNAME | NS | PTR => DnsData::Name(self.name()?),
            MX | SRV => {
                self.at += if kind == MX { 2 } else { 6 };
                DnsData::Name(self.name()?)
            }
            TXT => DnsData::Text(strings(bytes)?),
            _ => DnsData::Other(length),
        };
        // A name of one record cannot reach into the next.
        (self.at <= end).then_some(())?;
        self.at = end;
        Some(data)
    }
}

/// As RFC 1035 5.1 writes it; letters in lower case.
fn escape(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'.' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        0x21..=0x7e => out.push(byte.to_ascii_lowercase()),
        _ => out.extend_from_slice(format!("\\{byte:03}").as_bytes()),
    }
}

fn strings(mut bytes: &[u8]) -> Option<Text> {
    let mut out = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (string, rest) = rest.split_at_checked(usize::from(*length))?;
        out.extend_from_slice(string);
        bytes = rest;
    }
    Some(Text::from(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An answer to a question for www.example.com: an alias and its two addresses, names compressed.
    fn answer() -> Vec<u8> {
        let mut out = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 3, 0, 0, 0, 0];
        out.extend_from_slice(b"\x03WWW\x07example\x03com\0\0\x01\0\x01");
        out.extend_from_slice(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x06\x03cdn\xc0\x10");
        out.extend_from_slice(b"\xc0\x2d\0\x01\0\x01\0\0\0\x05\0\x04\xc0\0\x02\x01");
        out.extend_from_slice(
            b"\xc0\x2d\0\x1c\0\x01\0\0\0\x05\0\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01",
        );
        out
    }

    #[test]
    fn an_answer_is_read_whole() {
        let (message, whole) = message(&answer());
        let message = message.unwrap();
        assert!(whole && message.is_response());
        assert_eq!((message.id, message.opcode(), message.response_code()), (0x1234, 0, 0));
        let question = message.question.unwrap();
        assert_eq!((question.name, question.kind, question.class), (Text::from("www.example.com"), A, 1));
        let told: Vec<_> =
            message.answers.into_iter().map(|a| (a.name.to_string(), a.ttl_s, a.data)).collect();
        let cdn = "cdn.example.com";
        assert_eq!(
            told,
            [
                ("www.example.com".to_owned(), 60, DnsData::Name(Text::from(cdn))),
                (cdn.to_owned(), 5, DnsData::Address("192.0.2.1".parse().unwrap())),
                (cdn.to_owned(), 5, DnsData::Address("2001:db8::1".parse().unwrap())),
            ]
        );
    }

    #[test]
    fn what_comes_before_a_cut_is_kept() {
        let bytes = answer();
        let (cut, whole) = message(&bytes[..bytes.len() - 1]);
        assert_eq!((cut.unwrap().answers.len(), whole), (2, false));
        assert_eq!(message(&bytes[..11]), (None, false));
    }

    #[test]
    fn no_byte_of_a_label_is_lost_or_passes_for_another() {
        let mut bytes = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(b"\x07a.b\\\n\xff \x01c\0\0\x10\0\x01");
        let name = message(&bytes).0.unwrap().question.unwrap().name;
        assert_eq!(name, Text::from("a\\.b\\\\\\010\\255\\032.c"));
        // A name that is nothing but pointers to itself, or forward.
        for pointer in [12, 13, 200] {
            bytes.truncate(12);
            bytes.extend_from_slice(&[0xc0, pointer, 0, 1, 0, 1]);
            assert_eq!(message(&bytes).0.unwrap().question, None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..1200)) {
            let _ = message(&bytes);
        }

        #[test]
        fn a_changed_answer_does_no_harm(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = answer();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut.index(bytes.len()));
            if let (Some(message), _) = message(&bytes) {
                prop_assert!(message.answers.len() <= ANSWERS);
                let names = message.answers.iter().map(|answer| &answer.name);
                for name in names.chain(message.question.iter().map(|question| &question.name)) {
                    prop_assert!(name.as_bytes().iter().all(u8::is_ascii_graphic));
                }
            }
        }
    }
}
