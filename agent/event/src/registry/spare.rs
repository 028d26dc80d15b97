//! Buffers of values that are done with, for the next ones.
//!
//! A field that is made of several parts needs memory of its own, and rules read such fields of
//! every event. Who reads many values gives them back ([`Value::recycle`]): then each thread keeps a
//! few buffers, and reading allocates nothing. Who does not loses nothing but that.

use super::Value;
use std::borrow::Cow;
use std::cell::RefCell;
use std::net::IpAddr;

/// Most buffers of each sort that a thread keeps.
const MAX_KEPT: usize = 64;
/// A larger buffer is given back to the allocator.
const MAX_BYTES: usize = 16 << 10;

struct Spare {
    texts: Vec<Vec<u8>>,
    lists: Vec<Vec<Cow<'static, [u8]>>>,
    numbers: Vec<Vec<i128>>,
    addresses: Vec<Vec<IpAddr>>,
}

thread_local! {
    static SPARE: RefCell<Spare> = const {
        RefCell::new(Spare { texts: Vec::new(), lists: Vec::new(), numbers: Vec::new(), addresses: Vec::new() })
    };
}

fn take<T>(pool: fn(&mut Spare) -> &mut Vec<Vec<T>>) -> Vec<T> {
    let kept = SPARE.with_borrow_mut(|spare| pool(spare).pop());
    kept.unwrap_or_default()
}

fn keep<T>(pool: fn(&mut Spare) -> &mut Vec<Vec<T>>, mut buffer: Vec<T>) {
    buffer.clear();
    if (1..=MAX_BYTES).contains(&(buffer.capacity() * size_of::<T>())) {
        SPARE.with_borrow_mut(|spare| {
            let pool = pool(spare);
            if pool.len() < MAX_KEPT {
                pool.push(buffer);
            }
        });
    }
}

/// An empty buffer for bytes.
pub(super) fn text() -> Vec<u8> {
    take(|spare| &mut spare.texts)
}

/// A buffer with these parts.
pub(super) fn concat(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = text();
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// An empty buffer for text.
pub(super) fn string() -> String {
    String::from_utf8(text()).unwrap_or_default()
}

/// An empty list.
pub(super) fn list<'e>() -> Vec<Cow<'e, [u8]>> {
    take(|spare| &mut spare.lists)
}

/// An empty list of numbers.
pub(super) fn numbers() -> Vec<i128> {
    take(|spare| &mut spare.numbers)
}

/// An empty list of addresses.
pub(super) fn addresses() -> Vec<IpAddr> {
    take(|spare| &mut spare.addresses)
}

fn keep_text(text: Cow<'_, [u8]>) {
    if let Cow::Owned(bytes) = text {
        keep(|spare| &mut spare.texts, bytes);
    }
}

impl Value<'_> {
    /// Keeps what it was made in for the next value of this thread.
    pub fn recycle(self) {
        match self {
            Self::Text(text) => keep_text(text),
            Self::List(mut list) => {
                list.drain(..).for_each(keep_text);
                // An iterator over an empty vector is collected in the place it has, under another lifetime.
                keep(|spare| &mut spare.lists, list.into_iter().map(|_| Cow::Borrowed(&b""[..])).collect());
            }
            Self::Numbers(numbers) => keep(|spare| &mut spare.numbers, numbers),
            Self::Ips(addresses) => keep(|spare| &mut spare.addresses, addresses),
            Self::Missing | Self::Number(_) | Self::Bool(_) | Self::Ip(_) | Self::Time(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_serves_again() {
        let mut made = text();
        made.extend_from_slice(b"some bytes");
        let place = made.as_ptr();
        Value::Text(Cow::Owned(made)).recycle();
        let again = text();
        assert!(again.is_empty());
        assert_eq!(again.as_ptr(), place);

        let mut made = list();
        made.push(Cow::Borrowed(&b"x"[..]));
        let place = made.as_ptr().addr();
        Value::List(made).recycle();
        let again = list();
        assert_eq!(again.as_ptr().addr(), place);
    }

    #[test]
    fn a_large_buffer_is_not_kept() {
        Value::owned(vec![0; MAX_BYTES + 1]).recycle();
        assert_eq!(text().capacity(), 0);
    }
}
