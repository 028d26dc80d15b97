//! Which names must be among the components of a path, if a check of the path holds.

use crate::condition::{Check, Compare, Operator, components};
use std::collections::BTreeSet;

/// One name per literal, of which an open that fits has at least one; none when the check says
/// nothing about whole names.
pub(super) fn of_path(check: &Check) -> Option<BTreeSet<Vec<u8>>> {
    let all = matches!(check.compare, Compare::Search { all: true, .. });
    let pick: fn(&[u8]) -> Option<Vec<u8>> = match check.operator {
        Operator::Equal | Operator::In | Operator::Intersects => of_whole,
        Operator::PathMatch => of_prefix_path,
        Operator::StartsWith => |literal| of_pieces(literal, true, false),
        Operator::EndsWith => |literal| of_pieces(literal, false, true),
        Operator::Contains => |literal| of_pieces(literal, false, false),
        Operator::Glob => of_glob,
        _ => return None,
    };
    choose(check, all, pick)
}

/// As [`of_path`] for a field that is the file's own name.
pub(super) fn of_name(check: &Check) -> Option<BTreeSet<Vec<u8>>> {
    match check.operator {
        Operator::Equal | Operator::In | Operator::Intersects => {
            choose(check, false, |literal| (!literal.is_empty()).then(|| literal.to_vec()))
        }
        _ => None,
    }
}

fn choose(check: &Check, all: bool, pick: fn(&[u8]) -> Option<Vec<u8>>) -> Option<BTreeSet<Vec<u8>>> {
    // A value that is read from the event is not known here.
    if matches!(check.compare, Compare::Operand(_)) {
        return None;
    }
    let mut picked = check.literals.iter().map(|literal| pick(literal));
    if all {
        // All literals hold at once: the first that says something is enough.
        return picked.flatten().next().map(|name| BTreeSet::from([name]));
    }
    picked.try_fold(BTreeSet::new(), |mut names, name| {
        names.insert(name?);
        Some(names)
    })
}

/// The last of the names that are certain, since it is the most particular and survives links
/// among the directories. Below /proc the kernel's path has a number where the text has `self`.
fn last<'n>(names: impl DoubleEndedIterator<Item = &'n [u8]> + Clone) -> Option<Vec<u8>> {
    if names.clone().next() == Some(b"proc") {
        return Some(b"proc".to_vec());
    }
    names.rev().find(|name| !matches!(*name, b"." | b"..")).map(<[u8]>::to_vec)
}

fn of_whole(path: &[u8]) -> Option<Vec<u8>> {
    let names: Vec<&[u8]> = components(path).collect();
    last(names.into_iter())
}

fn of_prefix_path(path: &[u8]) -> Option<Vec<u8>> {
    let names: Vec<&[u8]> = components(path).filter(|name| !has_pattern(name)).collect();
    last(names.into_iter())
}

/// Names in a part of a path: the first piece is whole only behind a slash or at the path's start,
/// the last only before a slash or at the path's end.
fn of_pieces(part: &[u8], at_start: bool, at_end: bool) -> Option<Vec<u8>> {
    let pieces: Vec<&[u8]> = part.split(|byte| *byte == b'/').collect();
    let end = pieces.len();
    let whole =
        pieces.into_iter().enumerate().filter(|(n, _)| (*n > 0 || at_start) && (*n + 1 < end || at_end));
    let names: Vec<&[u8]> = whole.map(|(_, name)| name).filter(|name| !name.is_empty()).collect();
    last(names.into_iter())
}

fn of_glob(pattern: &[u8]) -> Option<Vec<u8>> {
    // A class may hold a slash, and then the pieces are not what they seem.
    if pattern.iter().any(|byte| matches!(byte, b'[' | b'\\')) {
        return None;
    }
    let names: Vec<&[u8]> = components(pattern).filter(|name| !has_pattern(name)).collect();
    last(names.into_iter())
}

fn has_pattern(name: &[u8]) -> bool {
    name.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_only_where_they_are_whole() {
        let name = |name: &str| Some(name.as_bytes().to_vec());
        assert_eq!(of_pieces(b"/etc/", true, false), name("etc"));
        assert_eq!(of_pieces(b"/root/.ssh", true, false), name("root"));
        assert_eq!(of_pieces(b"/etc", true, false), None);
        assert_eq!(of_pieces(b"etc/x", true, false), name("etc"));
        assert_eq!(of_pieces(b".aws/credentials", false, true), name("credentials"));
        assert_eq!(of_pieces(b"release_agent", false, true), None);
        assert_eq!(of_pieces(b"/release_agent", false, true), name("release_agent"));
        assert_eq!(of_pieces(b"/.ssh/", false, false), name(".ssh"));
        assert_eq!(of_pieces(b"id_rsa", false, false), None);
        assert_eq!(of_glob(b"/home/*/.ssh/*"), name(".ssh"));
        assert_eq!(of_glob(b"/tmp/*.so"), name("tmp"));
        assert_eq!(of_glob(b"*"), None);
        assert_eq!(of_whole(b"/"), None);
        assert_eq!(of_whole(b"/proc/self/mem"), name("proc"));
        assert_eq!(of_prefix_path(b"/opt/*/bin"), name("bin"));
    }
}
