//! What stands for a masked value.

use std::ops::Range;

/// Begins every marker.
const PREFIX: &[u8] = b"<masked:";

/// The marker for a value of this many bytes.
const fn marker(bytes: usize) -> &'static [u8] {
    match bytes {
        0..=4 => b"<masked:1-4>",
        5..=8 => b"<masked:5-8>",
        9..=16 => b"<masked:9-16>",
        17..=32 => b"<masked:17-32>",
        33..=64 => b"<masked:33-64>",
        _ => b"<masked:65+>",
    }
}

/// Where markers stand.
fn markers(text: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(rest) = text.get(from..)
        && let Some(at) = rest.windows(PREFIX.len()).position(|window| window == PREFIX)
    {
        let start = from + at;
        from = start + PREFIX.len();
        let end = text.get(from..).and_then(|rest| rest.iter().take(6).position(|byte| *byte == b'>'));
        if let Some(end) = end {
            found.push(start..from + end + 1);
        }
    }
    found
}

/// `text` with these ranges masked; none when nothing is left to mask. Ranges may overlap and come
/// in any order; what is masked already stays as it is.
pub(super) fn apply(text: &[u8], mut ranges: Vec<Range<usize>>) -> Option<Vec<u8>> {
    for old in markers(text) {
        for range in &mut ranges {
            // A marker is text like any other to the patterns: none may begin or end inside one.
            if old.contains(&range.start) {
                range.start = old.end;
            }
            if range.end > old.start && range.end <= old.end {
                range.end = old.start;
            }
        }
    }
    ranges.retain(|range| text.get(range.clone()).is_some_and(|value| !value.is_empty()));
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    if merged.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() + merged.len() * 16);
    let mut from = 0;
    for range in merged {
        out.extend_from_slice(text.get(from..range.start).unwrap_or_default());
        out.extend_from_slice(marker(range.len()));
        from = range.end;
    }
    out.extend_from_slice(text.get(from..).unwrap_or_default());
    Some(out)
}
