//! Gathers the definitions of all files: what is replaced, appended to, turned off.
//!
//! Nothing is compiled here, since a macro that a later file appends to is effective everywhere.

use super::correlation::{self, Correlation};
use super::exception::Exception;
use super::merge::{Merge, merge, undefined};
use super::parts::Parts;
use crate::RuleFile;
use crate::condition::parse;
use crate::entry::{Entry, documents};
use crate::problem::{Fault, Severity, did_you_mean, shorten};
use crate::sourced::{FileId, Place, Sourced, Sources};
use hostward_event::event::Priority;
use std::collections::HashMap;
use xxhash_rust::xxh3::xxh3_64;

/// The version of the published language that this crate follows, as 0.N.0.
const LANGUAGE: u64 = 63;
/// The event source whose rules apply to what the sensor sees.
const SOURCE: &str = "syscall";
const ITEM_KINDS: [&str; 5] =
    ["rule", "macro", "list", "required_engine_version", "required_plugin_versions"];

/// A definition and its rank among all.
#[derive(Debug)]
pub(super) struct Ranked<T> {
    pub(super) name: String,
    pub(super) place: Place,
    /// When it was defined first: the order of compilation.
    pub(super) index: usize,
    /// When it was touched last: it sees what was defined before that.
    pub(super) visibility: usize,
    pub(super) body: T,
}

#[derive(Debug)]
pub(super) struct RuleBody {
    pub(super) description: String,
    pub(super) condition: Sourced,
    pub(super) output: Sourced,
    pub(super) priority: Priority,
    pub(super) tags: Vec<String>,
    pub(super) exceptions: Vec<Exception>,
    pub(super) enabled: bool,
    pub(super) tolerates_unknown_fields: bool,
    pub(super) correlation: Option<Correlation>,
    pub(super) file_hash: u64,
}

/// Definitions by name, in order.
#[derive(Debug)]
pub(super) struct Table<T> {
    pub(super) list: Vec<Ranked<T>>,
    by_name: HashMap<String, usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { list: Vec::new(), by_name: HashMap::new() }
    }
}

impl<T> Table<T> {
    pub(super) fn find(&self, name: &str) -> Option<&Ranked<T>> {
        self.list.get(*self.by_name.get(name)?)
    }

    fn find_mut(&mut self, name: &str) -> Option<&mut Ranked<T>> {
        self.list.get_mut(*self.by_name.get(name)?)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|ranked| ranked.name.as_str())
    }

    /// Defines anew, or in the place of the old definition.
    fn define(&mut self, name: String, place: Place, rank: usize, body: T) {
        match self.find_mut(&name) {
            Some(old) => *old = Ranked { name, place, index: old.index, visibility: rank, body },
            None => {
                self.by_name.insert(name.clone(), self.list.len());
                self.list.push(Ranked { name, place, index: rank, visibility: rank, body });
            }
        }
    }
}

/// All definitions of a load.
#[derive(Default)]
pub(super) struct Collection {
    /// The items of lists with their places.
    pub(super) lists: Table<Vec<(String, Place)>>,
    pub(super) macros: Table<Sourced>,
    pub(super) rules: Table<RuleBody>,
    rank: usize,
}

impl Collection {
    /// Reads one file.
    pub(super) fn read(&mut self, file: FileId, raw: &RuleFile, sources: &mut Sources<'_>) {
        let hash = xxh3_64(&raw.text);
        for node in documents(file, raw, sources) {
            let Some(mut entry) = Entry::new(file, &node, sources) else { continue };
            self.rank += 1;
            let kind = ITEM_KINDS.into_iter().find(|kind| entry.value(kind).is_some());
            match kind {
                Some("rule") => self.rule(&mut entry, hash, sources),
                Some("macro") => self.macro_(&mut entry, sources),
                Some("list") => self.list(&mut entry, sources),
                Some("required_engine_version") => engine_version(&mut entry, sources),
                Some(_) => plugin_versions(&mut entry, sources),
                None => {
                    let first = entry.keys().next().map(|key| key.text.clone()).unwrap_or_default();
                    let hint = match did_you_mean(&first, ITEM_KINDS) {
                        hint if hint.is_empty() => {
                            format!("an entry has one of the keys {}", ITEM_KINDS.join(", "))
                        }
                        hint => hint,
                    };
                    let reason =
                        format!("entry that begins with `{}` is no rule, macro or list", shorten(&first));
                    entry.error(entry.at, Fault::new(0, reason, hint), sources);
                }
            }
        }
    }

    fn list(&mut self, entry: &mut Entry<'_>, sources: &mut Sources<'_>) {
        let Some(name) = name(entry, "list", sources) else { return };
        entry.check_keys(&["list", "items", "append", "override"], &[], sources);
        let merge = merge(entry, &["items"], &["items"], sources).remove("items");
        let Some(items) = required(entry, "items", sources, |entry, sources| entry.texts("items", sources))
        else {
            return;
        };
        if entry.failed {
            return;
        }
        let file = entry.file;
        let items =
            items.into_iter().map(|item| (item.text.clone(), Place { file, byte: item.start })).collect();
        let place = Place { file, byte: entry.key_at("list") };
        let rank = self.rank;
        match (merge, self.lists.find_mut(&name)) {
            (Some(Merge::Append), Some(old)) => {
                old.visibility = rank;
                old.body.extend::<Vec<_>>(items);
            }
            (Some(_), None) => undefined(entry, "list", &name, self.lists.names(), sources),
            _ => self.lists.define(name, place, rank, items),
        }
    }

    fn macro_(&mut self, entry: &mut Entry<'_>, sources: &mut Sources<'_>) {
        let Some(name) = name(entry, "macro", sources) else { return };
        entry.check_keys(&["macro", "condition", "append", "override"], &[], sources);
        let merge = merge(entry, &["condition"], &["condition"], sources).remove("condition");
        let Some(condition) =
            required(entry, "condition", sources, |entry, sources| entry.sourced("condition", sources))
        else {
            return;
        };
        if entry.failed {
            return;
        }
        let place = Place { file: entry.file, byte: entry.key_at("macro") };
        let rank = self.rank;
        match (merge, self.macros.find_mut(&name)) {
            (Some(Merge::Append), Some(old)) => {
                old.visibility = rank;
                old.body.push(" ");
                old.body.join(&condition);
            }
            (Some(_), None) => undefined(entry, "macro", &name, self.macros.names(), sources),
            _ => self.macros.define(name, place, rank, condition),
        }
    }

    fn rule(&mut self, entry: &mut Entry<'_>, hash: u64, sources: &mut Sources<'_>) {
        let Some(name) = name(entry, "rule", sources) else { return };
        const KEYS: [&str; 12] = [
            "rule",
            "desc",
            "condition",
            "output",
            "priority",
            "source",
            "enabled",
            "tags",
            "exceptions",
            "append",
            "override",
            "skip-if-unknown-filter",
        ];
        // What these two say holds anyway: nothing warns about event types.
        let known = [&KEYS[..], &["warn_evttypes"], &correlation::KEYS].concat();
        entry.check_keys(
            &known,
            &["capture", "capture_duration", "capture_events", "capture_filesize"],
            sources,
        );
        if let Some(source) = entry.text("source", sources)
            && source.text != SOURCE
        {
            let reason =
                format!("rule is for the event source `{}`, which is not observed", shorten(&source.text));
            entry.report(
                Severity::Warning,
                source.start,
                Fault::new(0, reason, "the rule is skipped"),
                sources,
            );
            return;
        }
        let merges = merge(
            entry,
            &["condition", "output", "desc", "tags", "exceptions"],
            &[
                "condition",
                "output",
                "desc",
                "priority",
                "tags",
                "exceptions",
                "enabled",
                "warn_evttypes",
                "skip-if-unknown-filter",
            ],
            sources,
        );
        let parts = Parts::read(entry, sources);
        if entry.failed {
            // The rule is lost already; its author shall hear of everything at once all the same.
            if let (true, Some(condition)) = (merges.is_empty(), &parts.condition)
                && let Err(fault) = parse(condition.text())
            {
                condition.report(Severity::Error, Some(&name), fault, sources);
            }
            return;
        }
        let lone_enabled = entry.keys().all(|key| matches!(key.text.as_str(), "rule" | "enabled"));
        let place = Place { file: entry.file, byte: entry.key_at("rule") };
        match self.rules.find_mut(&name) {
            Some(old) if !merges.is_empty() || (lone_enabled && parts.enabled.is_some()) => {
                old.visibility = self.rank;
                parts.merge_into(&mut old.body, &merges);
            }
            None if !merges.is_empty() => undefined(entry, "rule", &name, self.rules.names(), sources),
            _ => {
                if let Some(body) = parts.define(entry, hash, sources) {
                    self.rules.define(name, place, self.rank, body);
                }
            }
        }
    }
}

/// Reads the entry's name.
fn name(entry: &mut Entry<'_>, kind: &str, sources: &mut Sources<'_>) -> Option<String> {
    let name = entry.sourced(kind, sources)?.text().trim().to_owned();
    entry.name = Some(name.clone());
    Some(name)
}

fn required<'n, T>(
    entry: &mut Entry<'n>,
    key: &str,
    sources: &mut Sources<'_>,
    read: impl FnOnce(&mut Entry<'n>, &mut Sources<'_>) -> Option<T>,
) -> Option<T> {
    if entry.value(key).is_none() {
        entry.error(
            entry.at,
            Fault::new(0, format!("entry has no `{key}`"), format!("add `{key}:`")),
            sources,
        );
        return None;
    }
    read(entry, sources)
}

fn engine_version(entry: &mut Entry<'_>, sources: &mut Sources<'_>) {
    entry.check_keys(&["required_engine_version"], &[], sources);
    let Some(scalar) = entry.text("required_engine_version", sources) else { return };
    let mut parts = scalar.text.split('.').map(|part| part.parse::<u64>().ok());
    let wanted = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Some(minor)), None, None, None) => Some((0, minor)),
        (Some(Some(major)), Some(Some(minor)), Some(Some(_)), None) => Some((major, minor)),
        _ => None,
    };
    match wanted {
        Some(wanted) if wanted <= (0, LANGUAGE) => {}
        Some(_) => {
            let reason = format!(
                "file asks for language version {}, this agent knows 0.{LANGUAGE}.0",
                shorten(&scalar.text)
            );
            let fault = Fault::new(0, reason, "rules that use something newer are reported one by one");
            entry.report(Severity::Warning, scalar.start, fault, sources);
        }
        None => {
            let reason = format!("`{}` is no version", shorten(&scalar.text));
            entry.error(scalar.start, Fault::new(0, reason, "write e.g. 57 or 0.57.0"), sources);
        }
    }
}

fn plugin_versions(entry: &mut Entry<'_>, sources: &mut Sources<'_>) {
    entry.check_keys(&["required_plugin_versions"], &[], sources);
    let Some(nodes) = entry.sequence("required_plugin_versions", sources) else { return };
    for node in nodes {
        let Some(mut plugin) = Entry::new(entry.file, node, sources) else { continue };
        plugin.check_keys(&["name", "version", "alternatives"], &[], sources);
        let name = required(&mut plugin, "name", sources, |plugin, sources| plugin.text("name", sources));
        // Containers are recognised without a plugin.
        if let Some(name) = name.filter(|name| name.text != "container") {
            let reason = format!("plugin `{}` is not known", shorten(&name.text));
            let fault = Fault::new(0, reason, "rules that need its fields are reported one by one");
            plugin.report(Severity::Warning, name.start, fault, sources);
        }
    }
}

/// The file and line of a definition, for `rule.ruleset`.
pub(super) fn place_name(place: Place, sources: &Sources<'_>) -> String {
    format!("{}:{}", sources.name(place.file), sources.line_column(place).0)
}
