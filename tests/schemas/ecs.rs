//! ECS: every name that is not ours exists, takes our value, and fixed lists hold our words.

use crate::common::{check, schemas};
use anyhow::{Context, Result, ensure};
use hostward_event::encode::{ECS_VERSION, Encoding};
use hostward_event::registry;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// One published field.
struct Published {
    /// Elasticsearch type.
    kind: String,
    array: bool,
}

#[derive(Default)]
struct Ecs {
    fields: BTreeMap<String, Published>,
    /// Field to the words that it may have.
    words: BTreeMap<String, BTreeSet<String>>,
    /// `event.category` to the `event.type`s that go with it.
    types: BTreeMap<String, BTreeSet<String>>,
}

impl Ecs {
    fn read(dir: &Path) -> Result<Self> {
        let mut ecs = Self::default();
        for line in fs::read_to_string(dir.join("fields.csv"))?.lines().skip(1) {
            // Version, indexed, set, field, type, level, normalization: none of them has a comma or quote.
            let columns: Vec<&str> = line.splitn(8, ',').collect();
            let [version, _, _, name, kind, _, normal, ..] = columns[..] else { continue };
            ensure!(version == ECS_VERSION, "the list is of version {version}");
            let published = Published { kind: kind.to_owned(), array: normal == "array" };
            ecs.fields.insert(name.to_owned(), published);
        }
        ecs.read_words(&fs::read_to_string(dir.join("ecs_flat.yml"))?);
        ensure!(ecs.fields.len() > 1_000, "only {} fields", ecs.fields.len());
        for field in ["event.kind", "event.category", "event.type", "event.outcome", "host.os.type"] {
            ensure!(ecs.words.contains_key(field), "no words for {field}: has the file another form?");
        }
        Ok(ecs)
    }

    /// Of the generated YAML, which keeps one key or item a line, only the lists of words.
    fn read_words(&mut self, yaml: &str) {
        let (mut field, mut section, mut types) = ("", "", Vec::new());
        for line in yaml.lines().filter(|line| !line.is_empty()) {
            let text = line.trim_start();
            match line.len() - text.len() {
                0 => (field, section) = (line.trim_end_matches(':'), ""),
                2 if !text.starts_with('-') => section = text.trim_end_matches(':'),
                2 if section == "expected_values" => self.word(field, text),
                2 if section == "allowed_values" => types.clear(),
                4 if section == "allowed_values" && text.starts_with("- ") => {
                    types.push(text[2..].to_owned())
                }
                4 if section == "allowed_values" => {
                    if let Some(name) = text.strip_prefix("name: ") {
                        self.word(field, name);
                        if field == "event.category" {
                            self.types.insert(name.to_owned(), types.drain(..).collect());
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn word(&mut self, field: &str, word: &str) {
        let word = word.trim_start_matches("- ").trim_matches('\'').to_owned();
        self.words.entry(field.to_owned()).or_default().insert(word);
    }

    fn problems(&self, document: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        self.walk("", document, &mut problems);
        let words = |name: &str| -> Vec<String> {
            let list = document["event"][name].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        for kind in words("type") {
            let fits =
                |category: &String| self.types.get(category).is_some_and(|types| types.contains(&kind));
            if !words("category").iter().any(fits) {
                problems.push(format!("event.type {kind} goes with none of {:?}", words("category")));
            }
        }
        problems
    }

    fn walk(&self, name: &str, value: &Value, problems: &mut Vec<String>) {
        if name == "hostward" || name.starts_with("hostward.") {
            return;
        }
        let published = self.fields.get(name);
        match (published, value) {
            (None, Value::Object(object)) => {
                for (key, inner) in object {
                    let inside = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                    self.walk(&inside, inner, problems);
                }
            }
            (None, _) => problems.push(format!("{name} is no field of ECS")),
            (Some(published), Value::Array(items)) if published.array => {
                if items.is_empty() {
                    problems.push(format!("{name} is empty"));
                }
                for item in items {
                    match item {
                        Value::Object(object) if published.kind == "object" => {
                            for (key, inner) in object {
                                self.walk(&format!("{name}.{key}"), inner, problems);
                            }
                        }
                        item => self.leaf(name, published, item, problems),
                    }
                }
            }
            (Some(published), value) if published.array || value.is_array() => {
                problems.push(format!("{name} has {value}; is it a list? ({})", published.array));
            }
            (Some(published), Value::Object(object))
                if matches!(published.kind.as_str(), "object" | "nested") =>
            {
                // Labels: ECS names no key of them, and wants texts without dots in their names.
                let free = !self.fields.keys().any(|known| known.starts_with(&format!("{name}.")));
                for (key, inner) in object {
                    match inner {
                        Value::String(_) if free && !key.contains('.') => {}
                        inner => self.walk(&format!("{name}.{key}"), inner, problems),
                    }
                }
            }
            (Some(published), value) => self.leaf(name, published, value, problems),
        }
    }

    fn leaf(&self, name: &str, published: &Published, value: &Value, problems: &mut Vec<String>) {
        let text = value.as_str();
        let fits = match published.kind.as_str() {
            "keyword" | "constant_keyword" | "wildcard" | "match_only_text" | "text" | "version" => {
                text.is_some_and(|text| !text.is_empty())
            }
            "long" | "integer" | "unsigned_long" => value.is_i64() || value.is_u64(),
            "boolean" => value.is_boolean(),
            "ip" => text.is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
            "date" => text.is_some_and(is_date_nanos),
            _ => false,
        };
        if !fits {
            problems.push(format!("{name} is of type {}, not {value}", published.kind));
        }
        if let (Some(words), Some(text)) = (self.words.get(name), text)
            && !words.contains(text)
        {
            problems.push(format!("{name} may not be {text:?}"));
        }
    }
}

/// `2026-01-02T03:04:05.123456789Z`
fn is_date_nanos(text: &str) -> bool {
    let form = "dddd-dd-ddTdd:dd:dd.dddddddddZ";
    text.len() == form.len()
        && text
            .chars()
            .zip(form.chars())
            .all(|(is, want)| if want == 'd' { is.is_ascii_digit() } else { is == want })
}

#[test]
fn every_ecs_document_fits_the_published_fields() -> Result<()> {
    let Some(cache) = schemas("every_ecs_document_fits_the_published_fields")? else { return Ok(()) };
    let ecs = Ecs::read(&cache.join("ecs")).context("the published list")?;
    check(Encoding::Ecs, |document| ecs.problems(document))
}

/// Else a row could be wrong and no document would show it.
#[test]
fn the_samples_fill_every_row_that_is_on_the_wire() -> Result<()> {
    let samples = crate::samples::all();
    let empty = |field: &&registry::Field| {
        let value = |event| field.value(event, &registry::Arg::None);
        samples.iter().all(|(_, event)| value(event) == registry::Value::Missing)
    };
    let rows = registry::fields().iter().filter(|field| !field.ecs.is_empty() || !field.ocsf.is_empty());
    let unseen: Vec<&str> = rows.filter(empty).map(|field| field.name).collect();
    ensure!(unseen.is_empty(), "no sample has {unseen:?}");
    Ok(())
}

#[test]
fn the_ecs_check_sees_faults() -> Result<()> {
    let Some(cache) = schemas("the_ecs_check_sees_faults")? else { return Ok(()) };
    let ecs = Ecs::read(&cache.join("ecs"))?;
    let document = serde_json::json!({
        "@timestamp": 1, "process": {"pid": "7", "nmae": "x", "args": "x"}, "source": {"ip": "x"},
        "event": {"kind": "alarm", "category": ["host"], "type": ["error"]}, "hostward": {"free": []},
    });
    let told = ecs.problems(&document);
    ensure!(told.len() == 7, "{told:#?}");
    Ok(())
}
