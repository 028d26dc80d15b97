//! The feed that an agent writes: `events.jsonl` and its rotated files.

use crate::wait;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One event, as the agent wrote it.
#[derive(Clone, Debug)]
pub struct Record(pub Value);

impl Record {
    /// The value of an ECS field, e.g. `process.exit_code`; none when the event has it not.
    pub fn field(&self, name: &str) -> Option<&Value> {
        name.split('.').try_fold(&self.0, |value, key| value.get(key))
    }

    /// The text of a field; a field of another type is none.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.field(name)?.as_str()
    }

    /// The number of a field; a field of another type is none.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.field(name)?.as_i64()
    }

    /// The texts of a field that is a list; a single text is a list of one.
    pub fn texts(&self, name: &str) -> Vec<&str> {
        match self.field(name) {
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(one)) => vec![one],
            _ => Vec::new(),
        }
    }

    /// True for an event whose `event.action`, text or list, holds `action`. An alert carries its
    /// trigger's action too and may reach the feed first, so alerts are left to [`Self::is_alert_of`].
    pub fn is(&self, action: &str) -> bool {
        self.text("event.kind") != Some("alert") && self.texts("event.action").contains(&action)
    }

    /// True for an alert of the rule of this name.
    pub fn is_alert_of(&self, rule: &str) -> bool {
        self.text("event.kind") == Some("alert") && self.text("rule.name") == Some(rule)
    }
}

/// Reads the feed in a state directory.
#[derive(Clone, Debug)]
pub struct Feed {
    state_dir: PathBuf,
}

impl Feed {
    /// The feed below `state_dir`.
    pub fn new(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned() }
    }

    /// Every event so far, oldest first. A last line without its end is not an event yet.
    ///
    /// # Errors
    /// A file cannot be read or a line is no JSON; the message names file and line.
    pub fn records(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for path in self.files()? {
            // Rotated between the listing and here: its successor is listed the next time.
            let Ok(bytes) = fs::read(&path) else { continue };
            let packed = path.extension().is_some_and(|extension| extension == "zst");
            let bytes = if packed { zstd::decode_all(bytes.as_slice())? } else { bytes };
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let lines = bytes.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n');
            for (n, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
                let value = serde_json::from_slice(line)
                    .with_context(|| format!("{}:{}: no JSON", path.display(), n + 1))?;
                records.push(Record(value));
            }
        }
        Ok(records)
    }

    /// Rotated files by name, which is by age, then the current one.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.state_dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| self.state_dir.display().to_string()),
        };
        let mut rotated = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("events-") && (name.ends_with(".jsonl.zst") || name.ends_with(".jsonl")) {
                rotated.push(path);
            }
        }
        rotated.sort();
        rotated.push(self.state_dir.join("events.jsonl"));
        Ok(rotated)
    }

    /// Waits up to 10 s for an event for which `wanted` holds.
    ///
    /// # Errors
    /// None came; the message names `what` and the last events that did.
    pub fn wait(&self, what: &str, wanted: impl Fn(&Record) -> bool) -> Result<Record> {
        let mut last = Vec::new();
        let found = wait::until(what, Duration::from_secs(10), || {
            let mut records = self.records()?;
            let found = records.iter().find(|record| wanted(record)).cloned();
            last = records.split_off(records.len().saturating_sub(5));
            Ok(found)
        });
        found.with_context(|| {
            let lines: Vec<String> = last.iter().map(|record| record.0.to_string()).collect();
            format!("the last events in {}:\n{}", self.state_dir.display(), lines.join("\n"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_files_come_first_and_half_a_line_waits() {
        let dir = tempfile::tempdir().unwrap();
        let old = zstd::encode_all("{\"n\":1}\n{\"n\":2}\n".as_bytes(), 1).unwrap();
        fs::write(dir.path().join("events-20260101T000000Z.jsonl.zst"), old).unwrap();
        fs::write(dir.path().join("events.jsonl"), "{\"n\":3}\n{\"n\":").unwrap();
        let records = Feed::new(dir.path()).records().unwrap();
        let numbers: Vec<_> = records.iter().map(|record| record.number("n")).collect();
        assert_eq!(numbers, [Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn fields_are_asked_by_their_ecs_name() {
        let json = r#"{"event":{"action":["exec"],"kind":"event"},"process":{"pid":7,"args":["a","b"]}}"#;
        let record = Record(serde_json::from_str(json).unwrap());
        assert!(record.is("exec") && !record.is("fork"));
        assert_eq!(record.number("process.pid"), Some(7));
        assert_eq!(record.texts("process.args"), ["a", "b"]);
        assert_eq!(record.text("process.name"), None);
    }
}
