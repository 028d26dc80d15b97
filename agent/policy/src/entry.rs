//! Reads the entries of a file: maps with known keys, whose every mistake is reported.

use crate::RuleFile;
use crate::problem::{Fault, Severity, did_you_mean, shorten};
use crate::sourced::{FileId, Place, Sourced, Sources};
use crate::yaml::{Kind, Node, Scalar};
use std::rc::Rc;

/// Most keys of one entry; a rule has about ten.
const MAX_KEYS: usize = 64;

/// One map of a file's sequence.
pub(crate) struct Entry<'n> {
    pub(crate) file: FileId,
    /// What it is about, for [`Problem::rule`](crate::Problem).
    pub(crate) name: Option<String>,
    pub(crate) at: usize,
    pairs: Vec<(&'n Rc<Scalar>, &'n Node)>,
    /// An error was reported.
    pub(crate) failed: bool,
}

/// Reads the documents of one file and gives its maps; what is none is reported.
pub(crate) fn documents(file: FileId, raw: &RuleFile, sources: &mut Sources<'_>) -> Vec<Node> {
    let error = |byte: usize, fault: Fault, sources: &mut Sources<'_>| {
        sources.report(Severity::Error, None, Place { file, byte }, fault);
    };
    if raw.text.len() > crate::yaml::MAX_FILE_BYTES {
        let limit = crate::yaml::MAX_FILE_BYTES;
        let reason = format!("file has {} bytes, at most {limit} are read", raw.text.len());
        error(0, Fault::new(0, reason, "split it into several files"), sources);
        return Vec::new();
    }
    let text = sources.text(file);
    if text.len() < raw.text.len() {
        let fault = Fault::new(
            0,
            "file is not UTF-8 from here on",
            "save it as UTF-8; write bytes of a value as \\xHH",
        );
        error(text.len(), fault, sources);
        return Vec::new();
    }
    let (documents, fault) = crate::yaml::parse(text);
    if let Some(fault) = fault {
        error(fault.at, fault, sources);
    }
    let mut items = Vec::new();
    for document in documents {
        let at = document.at;
        let kind_name = document.kind_name();
        match document.kind {
            Kind::Sequence(nodes) => items.extend(nodes),
            _ if kind_name == "nothing" => {}
            _ => {
                let reason =
                    format!("document is {kind_name}, not a list of rules, macros, lists or responses");
                error(at, Fault::new(0, reason, "begin every entry with `- `"), sources);
            }
        }
    }
    items
}

impl<'n> Entry<'n> {
    /// Takes a node that must be a map. Keys that are no text or stand twice are reported.
    pub(crate) fn new(file: FileId, node: &'n Node, sources: &mut Sources<'_>) -> Option<Self> {
        let mut entry = Self { file, name: None, at: node.at, pairs: Vec::new(), failed: false };
        let Kind::Map(pairs) = &node.kind else {
            let reason = format!("entry is {}, not a map", node.kind_name());
            entry.error(
                node.at,
                Fault::new(0, reason, "write `- rule: NAME`, `- macro: NAME` or `- list: NAME`"),
                sources,
            );
            return None;
        };
        if pairs.len() > MAX_KEYS {
            let reason = format!("entry has {} keys, more than {MAX_KEYS}", pairs.len());
            entry.error(
                node.at,
                Fault::new(0, reason, "an entry is one rule, macro, list or response"),
                sources,
            );
            return None;
        }
        for (key, value) in pairs {
            let Some(name) = key.scalar() else {
                entry.error(
                    key.at,
                    Fault::new(0, format!("key is {}, not text", key.kind_name()), "name the key"),
                    sources,
                );
                continue;
            };
            if entry.pairs.iter().any(|(known, _)| known.text == name.text) {
                let reason = format!("key `{}` stands twice", shorten(&name.text));
                entry.error(key.at, Fault::new(0, reason, "remove one; only one could count"), sources);
                continue;
            }
            entry.pairs.push((name, value));
        }
        Some(entry)
    }

    pub(crate) fn report(&mut self, severity: Severity, at: usize, fault: Fault, sources: &mut Sources<'_>) {
        self.failed |= severity == Severity::Error;
        sources.report(severity, self.name.as_deref(), Place { file: self.file, byte: at }, fault);
    }

    pub(crate) fn error(&mut self, at: usize, fault: Fault, sources: &mut Sources<'_>) {
        self.report(Severity::Error, at, fault, sources);
    }

    /// The value of a key.
    pub(crate) fn value(&self, key: &str) -> Option<&'n Node> {
        self.pairs.iter().find(|(name, _)| name.text == key).map(|(_, value)| *value)
    }

    /// Where a key stands.
    pub(crate) fn key_at(&self, key: &str) -> usize {
        self.pairs.iter().find(|(name, _)| name.text == key).map_or(self.at, |(name, _)| name.start)
    }

    /// The keys, in the order of the file.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'n Rc<Scalar>> {
        self.pairs.iter().map(|(name, _)| *name)
    }

    /// Reports keys that are not known. Those in `ignored` belong to the published language and do
    /// nothing here.
    pub(crate) fn check_keys(&mut self, known: &[&str], ignored: &[&str], sources: &mut Sources<'_>) {
        let keys: Vec<&Rc<Scalar>> = self.keys().collect();
        for key in keys {
            let name = key.text.as_str();
            if known.contains(&name) {
                continue;
            }
            if ignored.contains(&name) {
                let reason = format!("key `{name}` is not supported and has no effect");
                self.report(
                    Severity::Warning,
                    key.start,
                    Fault::new(0, reason, "remove it if it is not needed elsewhere"),
                    sources,
                );
                continue;
            }
            let hint = match did_you_mean(name, known.iter().copied()) {
                hint if hint.is_empty() => format!("known keys are {}", known.join(", ")),
                hint => hint,
            };
            self.error(key.start, Fault::new(0, format!("unknown key `{}`", shorten(name)), hint), sources);
        }
    }

    fn wrong_type(&mut self, key: &str, node: &Node, wanted: &str, sources: &mut Sources<'_>) {
        let reason = format!("`{key}` is {}, not {wanted}", node.kind_name());
        self.error(node.at, Fault::new(0, reason, format!("give `{key}` {wanted}")), sources);
    }

    /// The text of a key; nothing when it is absent or no text (which is reported).
    pub(crate) fn text(&mut self, key: &str, sources: &mut Sources<'_>) -> Option<&'n Rc<Scalar>> {
        let node = self.value(key)?;
        match node.scalar() {
            Some(scalar) if !node.is_null() => Some(scalar),
            _ => {
                self.wrong_type(key, node, "text", sources);
                None
            }
        }
    }

    /// As [`Entry::text`], with its origin; an empty one is reported.
    pub(crate) fn sourced(&mut self, key: &str, sources: &mut Sources<'_>) -> Option<Sourced> {
        let scalar = self.text(key, sources)?;
        if scalar.text.trim().is_empty() {
            self.error(
                scalar.start,
                Fault::new(0, format!("`{key}` is empty"), format!("give `{key}` a value")),
                sources,
            );
            return None;
        }
        Some(Sourced::of_scalar(self.file, scalar))
    }

    /// True or false.
    pub(crate) fn boolean(&mut self, key: &str, sources: &mut Sources<'_>) -> Option<bool> {
        let scalar = self.text(key, sources)?;
        match scalar.text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Some(true),
            "false" | "no" | "off" | "n" => Some(false),
            _ => {
                let reason = format!("`{key}` is `{}`, neither true nor false", shorten(&scalar.text));
                self.error(scalar.start, Fault::new(0, reason, "write true or false"), sources);
                None
            }
        }
    }

    /// A sequence of any nodes; nothing when it is absent. A key without value is an empty list.
    pub(crate) fn sequence(&mut self, key: &str, sources: &mut Sources<'_>) -> Option<&'n [Node]> {
        let node = self.value(key)?;
        match &node.kind {
            Kind::Sequence(nodes) => Some(nodes),
            _ if node.is_null() => Some(&[]),
            _ => {
                self.wrong_type(key, node, "a list", sources);
                None
            }
        }
    }

    /// A sequence of texts.
    pub(crate) fn texts(&mut self, key: &str, sources: &mut Sources<'_>) -> Option<Vec<&'n Rc<Scalar>>> {
        let nodes = self.sequence(key, sources)?;
        let mut texts = Vec::with_capacity(nodes.len());
        for node in nodes {
            match node.scalar() {
                Some(scalar) => texts.push(scalar),
                None => {
                    let reason = format!("`{key}` has {} among its items, not text", node.kind_name());
                    self.error(
                        node.at,
                        Fault::new(0, reason, "quote a text with colons or brackets"),
                        sources,
                    );
                }
            }
        }
        Some(texts)
    }
}
