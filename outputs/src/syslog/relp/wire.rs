//! Frames of RELP: `TXNR COMMAND LENGTH[ DATA]\n`.
//!
//! The server's bytes are read by a parser without state or IO, so that it can be fuzzed: it says
//! that more is needed, what one frame is, or that this is no RELP.

use std::io::Write as _;

/// Transaction numbers are 1 to this; 0 is for hints of the server.
pub(super) const MAX_TXNR: u32 = 999_999_999;
/// Data of a server's frame: an answer to `open` is the longest.
const MAX_DATA_BYTES: usize = 64 << 10;
/// The specification's limit of a command's name.
const MAX_COMMAND_BYTES: usize = 32;

/// One frame of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame<'b> {
    pub(super) txnr: u32,
    pub(super) command: &'b [u8],
    pub(super) data: &'b [u8],
}

/// This is no RELP: what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {0} where one must be")]
pub(super) struct Nonsense(&'static str);

/// The first frame of `bytes` with the number of bytes it takes; none: more is needed.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Nonsense> {
    let Some((txnr, at)) = number(bytes, 0, "transaction number")? else { return Ok(None) };
    let Some(at) = expect(bytes, at, b' ', "blank")? else { return Ok(None) };
    let Some((command, at)) = word(bytes, at)? else { return Ok(None) };
    let Some(at) = expect(bytes, at, b' ', "blank")? else { return Ok(None) };
    let Some((length, mut at)) = number(bytes, at, "length")? else { return Ok(None) };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_DATA_BYTES {
        return Err(Nonsense("length of at most 64 KiB"));
    }
    // Without data the blank may be left out.
    if length > 0 || bytes.get(at) == Some(&b' ') {
        match expect(bytes, at, b' ', "blank")? {
            Some(behind) => at = behind,
            None => return Ok(None),
        }
    }
    let Some(data) = bytes.get(at..at + length) else { return Ok(None) };
    let Some(end) = expect(bytes, at + length, b'\n', "line feed")? else { return Ok(None) };
    Ok(Some((Frame { txnr, command, data }, end)))
}

/// Up to nine digits, and something behind them.
fn number(bytes: &[u8], start: usize, what: &'static str) -> Result<Option<(u32, usize)>, Nonsense> {
    let mut value = 0_u32;
    let mut at = start;
    loop {
        match bytes.get(at) {
            None => return Ok(None),
            Some(digit @ b'0'..=b'9') if at - start < 9 => value = value * 10 + u32::from(digit - b'0'),
            Some(_) if at == start || bytes.get(at).is_some_and(u8::is_ascii_digit) => {
                return Err(Nonsense(what));
            }
            Some(_) => return Ok(Some((value, at))),
        }
        at += 1;
    }
}

fn word(bytes: &[u8], start: usize) -> Result<Option<(&[u8], usize)>, Nonsense> {
    let rest = bytes.get(start..).unwrap_or_default();
    let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    if length > MAX_COMMAND_BYTES || (length == 0 && !rest.is_empty()) {
        return Err(Nonsense("command"));
    }
    if length == rest.len() {
        return Ok(None);
    }
    Ok(Some((rest.get(..length).unwrap_or_default(), start + length)))
}

fn expect(bytes: &[u8], at: usize, wanted: u8, what: &'static str) -> Result<Option<usize>, Nonsense> {
    match bytes.get(at) {
        None => Ok(None),
        Some(byte) if *byte == wanted => Ok(Some(at + 1)),
        Some(_) => Err(Nonsense(what)),
    }
}

/// The code and the text of an answer (`200 OK`).
pub(super) fn status(data: &[u8]) -> Option<(u16, &[u8])> {
    let line = data.split(|byte| *byte == b'\n').next()?;
    let code = line.get(..3)?;
    let rest = line.get(3..)?;
    let fits = code.iter().all(u8::is_ascii_digit) && rest.first().is_none_or(|byte| *byte == b' ');
    let code = std::str::from_utf8(code).ok()?.parse().ok()?;
    fits.then_some((code, line))
}

/// True when an answer to `open` offers the command `syslog`.
pub(super) fn offers_syslog(data: &[u8]) -> bool {
    let offers = data.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"commands="));
    offers.flat_map(|commands| commands.split(|byte| *byte == b',')).any(|command| command == b"syslog")
}

/// Appends a frame.
pub(super) fn write(txnr: u32, command: &str, data: &[u8], out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{txnr} {command} {}", data.len());
    if !data.is_empty() {
        out.push(b' ');
        out.extend_from_slice(data);
    }
    out.push(b'\n');
}

/// The number behind this one.
pub(super) const fn next(txnr: u32) -> u32 {
    if txnr >= MAX_TXNR { 1 } else { txnr + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn answers_of_rsyslog_are_understood() {
        let open = b"1 rsp 93 200 OK\nrelp_version=0\nrelp_software=librelp,1.11.0,http://librelp.adiscon.com\ncommands=syslog\n2 rsp 6 200 OK\n0 serverclose 0\n";
        let (frame, used) = parse(open).unwrap().unwrap();
        assert_eq!((frame.txnr, frame.command, frame.data.len()), (1, &b"rsp"[..], 93));
        assert_eq!(status(frame.data).unwrap().0, 200);
        assert!(offers_syslog(frame.data));
        let (frame, more) = parse(&open[used..]).unwrap().unwrap();
        assert_eq!((frame.txnr, status(frame.data)), (2, Some((200, &b"200 OK"[..]))));
        let (frame, _) = parse(&open[used + more..]).unwrap().unwrap();
        assert_eq!((frame.txnr, frame.command, frame.data), (0, &b"serverclose"[..], &b""[..]));
    }

    #[test]
    fn what_is_no_relp_is_refused_at_once_and_what_is_short_is_waited_for() {
        for nonsense in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b" 1 rsp",
            b"1234567890 rsp 0\n",
            b"1 r$p 0\n",
            b"1 rsp x",
            b"1 rsp 99999999 x",
            b"1 rsp 2 okX",
            b"1  rsp 0\n",
            b"1 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(parse(nonsense).is_err(), "{:?}", String::from_utf8_lossy(nonsense));
        }
        let whole = b"12 rsp 6 200 OK\n";
        for short in 0..whole.len() {
            assert_eq!(parse(&whole[..short]), Ok(None));
        }
        assert_eq!(parse(b"3 rsp 0 \n").unwrap().unwrap().1, 9);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(txnr in 1..=MAX_TXNR, data in prop::collection::vec(any::<u8>(), 0..3_000)) {
            let mut out = Vec::new();
            write(txnr, "rsp", &data, &mut out);
            let whole = out.len();
            out.extend_from_slice(b"7 rsp 0\n");
            let (frame, used) = parse(&out).unwrap().unwrap();
            prop_assert_eq!((frame.txnr, frame.data, used), (txnr, &data[..], whole));
        }

        /// What a server's bytes mean does not depend on how the network cuts them.
        #[test]
        fn a_damaged_stream_means_the_same_in_pieces(
            frames in prop::collection::vec((0..3_u32, prop::sample::select(vec!["rsp", "serverclose"]), "[0-9]{3} \\PC{0,20}"), 1..8),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut stream = Vec::new();
            for (txnr, command, data) in &frames {
                write(*txnr, command, data.as_bytes(), &mut stream);
            }
            for (at, byte) in damage {
                let at = at.index(stream.len());
                stream[at] = byte;
            }
            let cut = cut.index(stream.len() + 1);
            match parse(&stream[..cut]) {
                Ok(None) => {}
                Ok(found) => prop_assert_eq!(parse(&stream), Ok(found)),
                Err(nonsense) => prop_assert_eq!(parse(&stream), Err(nonsense)),
            }
            // Frame by frame to the end or the first nonsense: it ends.
            let mut rest = &stream[..];
            while let Ok(Some((frame, used))) = parse(rest) {
                prop_assert!(used > 0 && used <= rest.len());
                let _ = (status(frame.data), offers_syslog(frame.data));
                rest = &rest[used..];
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, near in "[0-9]{0,10} ?[a-z]{0,40} ?[0-9]{0,10} ?\\PC{0,9}\n?") {
            let _ = (status(&bytes), offers_syslog(&bytes));
            for bytes in [&bytes[..], near.as_bytes()] {
                if let Ok(Some((frame, used))) = parse(bytes) {
                    prop_assert!(used <= bytes.len() && frame.data.len() < used);
                    let _ = status(frame.data);
                }
            }
        }
    }
}
