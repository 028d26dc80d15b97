//! How an entry changes the definition of the same name: `override`, and the older `append`.

use crate::entry::Entry;
use crate::problem::{Fault, did_you_mean, shorten};
use crate::sourced::Sources;
use std::collections::HashMap;

/// What an item does with the definition of the same name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Merge {
    Append,
    Replace,
}

/// Reads `override` and the older `append`: which keys change the definition that exists.
pub(super) fn merge(
    entry: &mut Entry<'_>,
    may_append: &[&'static str],
    may_replace: &[&'static str],
    sources: &mut Sources<'_>,
) -> HashMap<&'static str, Merge> {
    let mut merges = HashMap::new();
    if entry.boolean("append", sources) == Some(true) {
        let present = may_append.iter().filter(|key| entry.value(key).is_some());
        merges.extend(present.map(|key| (*key, Merge::Append)));
        if merges.is_empty() {
            let reason = "`append` has nothing to append";
            let hint = format!("add one of {}", may_append.join(", "));
            entry.error(entry.key_at("append"), Fault::new(0, reason, hint), sources);
        }
    }
    let Some(node) = entry.value("override") else { return merges };
    if entry.value("append").is_some() {
        let fault = Fault::new(0, "`append` and `override` exclude each other", "keep `override`");
        entry.error(entry.key_at("append"), fault, sources);
    }
    let Some(map) = Entry::new(entry.file, node, sources) else {
        entry.failed = true;
        return merges;
    };
    for key in map.keys() {
        let how = map.value(&key.text).and_then(|node| node.scalar()).map(|scalar| scalar.text.as_str());
        let (merge, allowed) = match how {
            Some("append") => (Merge::Append, may_append),
            Some("replace") => (Merge::Replace, may_replace),
            _ => {
                let reason = format!("override of `{}` is neither append nor replace", shorten(&key.text));
                entry.error(key.start, Fault::new(0, reason, "write `append` or `replace`"), sources);
                continue;
            }
        };
        match allowed.iter().find(|known| **known == key.text) {
            Some(known) if entry.value(known).is_some() => {
                merges.insert(*known, merge);
            }
            Some(known) => {
                let reason = format!("override names `{known}`, which the entry does not have");
                entry.error(key.start, Fault::new(0, reason, format!("add `{known}:`")), sources);
            }
            None => {
                let reason = format!("override cannot {} `{}`", how.unwrap_or_default(), shorten(&key.text));
                entry.error(
                    key.start,
                    Fault::new(0, reason, format!("it can {}", allowed.join(", "))),
                    sources,
                );
            }
        }
    }
    // A key that is given but not named would silently be lost.
    for key in entry
        .keys()
        .filter(|key| may_replace.contains(&key.text.as_str()))
        .map(|key| key.text.clone())
        .collect::<Vec<_>>()
    {
        if !merges.contains_key(key.as_str()) && !entry.failed {
            let reason = format!("entry has `{key}`, which its override does not name");
            let hint = format!("add `{key}: append` or `{key}: replace` to the override");
            entry.error(entry.key_at(&key), Fault::new(0, reason, hint), sources);
        }
    }
    merges
}

pub(super) fn undefined<'a>(
    entry: &mut Entry<'_>,
    kind: &str,
    name: &str,
    known: impl Iterator<Item = &'a str>,
    sources: &mut Sources<'_>,
) {
    let hint = match did_you_mean(name, known) {
        hint if hint.is_empty() => {
            format!("define the {kind} before the entry that changes it, or load its file first")
        }
        hint => hint,
    };
    let reason = format!("there is no {kind} `{}` to change", shorten(name));
    entry.error(entry.key_at(kind), Fault::new(0, reason, hint), sources);
}
