//! How what a runtime tells is taken over, and how much of it.

use hostward_event::Text;
use std::collections::BTreeMap;

/// Labels, mounts and arguments are told up to so many, and so many bytes together.
pub(super) const MAX_ITEMS: usize = 256;
const MAX_TEXT_BYTES: usize = 64 << 10;
/// Any other text is told up to so many bytes.
const MAX_WORD_BYTES: usize = 4 << 10;

/// One text. Copied, as a slice would keep the whole alive.
pub(super) fn word(text: &str) -> Text {
    Text::copy(text.as_bytes().get(..MAX_WORD_BYTES).unwrap_or(text.as_bytes()))
}

/// The first of them.
pub(super) fn texts<T: AsRef<str>>(all: impl IntoIterator<Item = T>) -> Vec<Text> {
    let mut room = MAX_TEXT_BYTES;
    let fits = |text: &T| {
        room = room.saturating_sub(text.as_ref().len());
        room > 0
    };
    all.into_iter()
        .take(MAX_ITEMS)
        .take_while(fits)
        .map(|text| Text::copy(text.as_ref().as_bytes()))
        .collect()
}

/// The first of them by their keys, so that the same are kept each time.
pub(super) fn labels(all: impl IntoIterator<Item = (String, String)>) -> BTreeMap<Text, Text> {
    let sorted: BTreeMap<String, String> = all.into_iter().collect();
    let mut room = MAX_TEXT_BYTES;
    let fits = |(key, value): &(String, String)| {
        room = room.saturating_sub(key.len() + value.len());
        room > 0
    };
    let pairs = sorted.into_iter().take(MAX_ITEMS).take_while(fits);
    pairs.map(|(key, value)| (Text::from(key), Text::from(value))).collect()
}

/// A time as RFC 3339 writes it, ns since the epoch; 0: none. The year 1 stands for never.
pub(super) fn time_ns(text: &str) -> i64 {
    let time: Option<jiff::Timestamp> = text.parse().ok();
    time.and_then(|time| i64::try_from(time.as_nanosecond()).ok()).filter(|ns| *ns > 0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_grows_without_a_bound() {
        let many = |bytes: usize| (0..10_000).map(move |n| (n.to_string(), "x".repeat(bytes)));
        for bytes in [0, 10, 1_000, 100_000] {
            let kept = labels(many(bytes).take(if bytes > 1_000 { 3 } else { 10_000 }));
            let size: usize =
                kept.iter().map(|(key, value)| key.as_bytes().len() + value.as_bytes().len()).sum();
            assert!(kept.len() <= MAX_ITEMS && size <= MAX_TEXT_BYTES, "{bytes}: {}", kept.len());
        }
        assert_eq!(texts(["a"; 1_000]).len(), MAX_ITEMS);
        assert_eq!(word(&"x".repeat(10_000)).as_bytes().len(), MAX_WORD_BYTES);
    }
}
