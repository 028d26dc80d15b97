//! Checking one TOML file against the schema, telling every problem with its place.

use super::Config;
use hostward_policy::Condition;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde_path_to_error::{Path as KeyPath, Segment};
use std::fmt;
use std::path::{Path, PathBuf};
use toml_edit::{Document, Item};

/// After so many problems the rest is left for the next check.
const MAX_PROBLEMS: usize = 100;
/// No configuration is larger; a larger file is not one.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, or what else the value came from.
    pub source: PathBuf,
    /// Line, from 1; 0: the whole file.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong and what is allowed.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// Every problem of the text of one file.
pub(super) fn problems(source: &Path, text: &str) -> Vec<Problem> {
    let problem = |offset: Option<usize>, reason: String| {
        let (line, column) = offset.map_or((0, 0), |offset| place(text, offset));
        Problem { source: source.to_owned(), line, column, reason }
    };
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let reason = error.message().trim().replace('\n', "; ");
            return vec![problem(error.span().map(|span| span.start), reason)];
        }
    };
    let mut table = match toml::from_str::<toml::Table>(text) {
        Ok(table) => table,
        Err(error) => return vec![problem(error.span().map(|span| span.start), error.message().to_owned())],
    };
    // Sinks one by one, so that a faulty one does not hide or renumber the others.
    let sinks = match table.remove("sink") {
        Some(toml::Value::Array(sinks)) => sinks,
        Some(other) => {
            table.insert("sink".into(), other);
            Vec::new()
        }
        None => Vec::new(),
    };
    let (whole, mut found) = read_all::<Config>(toml::Value::Table(table), &[]);
    found.extend(whole.iter().flat_map(Config::invalid).map(|(key, reason)| (vec_of(key), reason)));
    let mut sound = Vec::new();
    for (n, sink) in sinks.into_iter().enumerate() {
        let (read, more) =
            read_all::<hostward_outputs::Config>(sink, &[Key::Name("sink".into()), Key::Index(n)]);
        let condition = read.as_ref().and_then(|sink| sink.filter()).map(Condition::parse);
        if let Some(Err(problem)) = condition {
            let at = vec![Key::Name("sink".into()), Key::Index(n), Key::Name("filter".into())];
            found.push((at, problem.to_string()));
        }
        sound.extend(read);
        found.extend(more);
    }
    let mut found: Vec<Problem> = found
        .into_iter()
        .take(MAX_PROBLEMS)
        .map(|(keys, reason)| {
            problem(offset(document.as_item(), &keys), format!("{}: {reason}", spelled(&keys)))
        })
        .collect();
    found.extend(hostward_outputs::Config::validate(&sound).into_iter().map(|invalid| {
        let tables = document.get("sink").and_then(Item::as_array_of_tables);
        let table = tables.into_iter().flatten().find(|table| {
            let named = table.get("name").or_else(|| table.get("type")).and_then(Item::as_str);
            named == Some(&invalid.sink)
        });
        problem(
            table.and_then(|table| table.span()).map(|span| span.start),
            format!("{invalid}; {}", invalid.hint()),
        )
    }));
    found.sort_by_key(|problem| (problem.line, problem.column));
    found
}

/// Deserializes `value` and tells every problem: the deserializer stops at the first, so the key
/// that it complains about is taken out, and it is asked again.
fn read_all<T: DeserializeOwned>(mut value: toml::Value, at: &[Key]) -> (Option<T>, Vec<(Vec<Key>, String)>) {
    let mut found = Vec::new();
    while found.len() < MAX_PROBLEMS {
        let error = match serde_path_to_error::deserialize::<_, T>(value.clone().into_deserializer()) {
            Ok(read) => return (found.is_empty().then_some(read), found),
            Err(error) => error,
        };
        let inner = keys(error.path());
        let reason = error.inner().message().trim().replace('\n', " ");
        found.push((at.iter().chain(&inner).cloned().collect(), reason));
        // Without its type a sink's keys have no meaning.
        let typeless = matches!(inner.last(), Some(Key::Name(name)) if name == "type");
        if typeless || !remove(&mut value, &inner) {
            break;
        }
    }
    (None, found)
}

/// A dotted key.
fn vec_of(key: &str) -> Vec<Key> {
    key.split('.').map(|name| Key::Name(name.to_owned())).collect()
}

#[derive(Clone)]
enum Key {
    Name(String),
    Index(usize),
}

fn keys(path: &KeyPath) -> Vec<Key> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Map { key } => Some(Key::Name(key.clone())),
            Segment::Seq { index } => Some(Key::Index(*index)),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn spelled(keys: &[Key]) -> String {
    let mut out = String::new();
    for key in keys {
        match key {
            Key::Name(name) if out.is_empty() => out.push_str(name),
            Key::Name(name) => {
                out.push('.');
                out.push_str(name);
            }
            // People count from one.
            Key::Index(index) => out.push_str(&format!("[{}]", index + 1)),
        }
    }
    if out.is_empty() { "the file".into() } else { out }
}

/// Where the last key of `keys` that exists stands.
fn offset(root: &Item, keys: &[Key]) -> Option<usize> {
    let mut at = None;
    let mut item = root;
    for key in keys {
        let next = match key {
            Key::Name(name) => {
                let table = item.as_table_like()?;
                at = table.key(name).and_then(|key| key.span()).map(|span| span.start).or(at);
                table.get(name)
            }
            Key::Index(index) => {
                // An array of tables gives tables, not items: stop at the table's head.
                if let Some(tables) = item.as_array_of_tables() {
                    let table = tables.get(*index)?;
                    let rest = keys.iter().skip_while(|key| !matches!(key, Key::Index(_))).nth(1);
                    let key = match rest {
                        Some(Key::Name(name)) => table.key(name).and_then(|key| key.span()),
                        _ => None,
                    };
                    return key.or_else(|| table.span()).map(|span| span.start);
                }
                let value = item.as_array()?.get(*index)?;
                return value.span().map(|span| span.start).or(at);
            }
        };
        let Some(next) = next else { break };
        item = next;
    }
    at
}

fn remove(value: &mut toml::Value, keys: &[Key]) -> bool {
    let Some((last, path)) = keys.split_last() else { return false };
    let mut value = value;
    for key in path {
        let next = match key {
            Key::Name(name) => value.get_mut(name.as_str()),
            Key::Index(index) => value.get_mut(*index),
        };
        let Some(next) = next else { return false };
        value = next;
    }
    match (last, value) {
        (Key::Name(name), toml::Value::Table(table)) => table.remove(name).is_some(),
        (Key::Index(index), toml::Value::Array(array)) if *index < array.len() => {
            array.remove(*index);
            true
        }
        _ => false,
    }
}

/// Line and column, from 1, of a byte offset; a column counts characters.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    (before.matches('\n').count() + 1, before.get(line_start..).unwrap_or_default().chars().count() + 1)
}

/// Reads a file that must be UTF-8 and of bounded size.
pub(super) fn read(path: &Path) -> Result<String, Problem> {
    let whole = |reason: String| Problem { source: path.to_owned(), line: 0, column: 0, reason };
    let size = std::fs::metadata(path).map_err(|error| whole(format!("cannot read it: {error}")))?.len();
    if size > MAX_BYTES {
        return Err(whole(format!("it has {size} bytes, a configuration has at most {MAX_BYTES}")));
    }
    let bytes = std::fs::read(path).map_err(|error| whole(format!("cannot read it: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..valid).unwrap_or_default();
        let (line, column) = place(&String::from_utf8_lossy(before), valid);
        let reason = "a byte here is no UTF-8; TOML is UTF-8 text".to_owned();
        Problem { source: path.to_owned(), line, column, reason }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        problems(Path::new("h.toml"), text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_problem_is_told_with_its_place() {
        let text = "[agent]\nlog_level = \"loud\"\nstate_dri = \"/x\"\n\n[telemetry]\nexec = 1\n\n[nonsense]\na = 1\n";
        let told = told(text);
        assert_eq!(told.len(), 4, "{told:#?}");
        assert!(told[0].starts_with("h.toml:2:1: agent.log_level: unknown variant `loud`"), "{told:#?}");
        assert!(told[1].starts_with("h.toml:3:1: agent.state_dri: unknown field `state_dri`"), "{told:#?}");
        assert!(told[2].starts_with("h.toml:6:1: telemetry.exec: invalid type: integer"), "{told:#?}");
        assert!(told[3].starts_with("h.toml:8:2: nonsense: unknown field"), "{told:#?}");
    }

    #[test]
    fn a_sink_is_named_by_its_number() {
        let told = told(
            "[[sink]]\nname = \"a\"\ntype = \"file\"\n\n[[sink]]\nname = \"b\"\ntype = \"carrier-pigeon\"\n",
        );
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].starts_with("h.toml:"), "{told:#?}");
        assert!(told[0].contains("carrier-pigeon") && told[0].contains("file"), "{told:#?}");
    }

    #[test]
    fn broken_syntax_has_a_place() {
        assert!(told("[agent\n")[0].starts_with("h.toml:1:"));
        assert!(told("a = 1\na = 2\n")[0].starts_with("h.toml:2:"));
    }
}
