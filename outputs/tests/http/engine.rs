//! A fake bulk endpoint that behaves as the real ones were seen to.

use crate::support::http::{Answer, Fake, Received};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// What it has taken: ids by stream.
#[derive(Clone, Default)]
pub(crate) struct Store(Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>);

impl Store {
    pub(crate) fn ids(&self) -> BTreeSet<String> {
        self.0.lock().unwrap().values().flatten().cloned().collect()
    }

    pub(crate) fn streams(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    /// Whether it was new.
    pub(crate) fn insert(&self, stream: &str, id: &str) -> bool {
        self.0.lock().unwrap().entry(stream.to_owned()).or_default().insert(id.to_owned())
    }
}

/// The documents of a bulk request: stream, id, document.
pub(crate) fn documents(request: &Received) -> Vec<(String, String, serde_json::Value)> {
    assert!(request.path.starts_with("/_bulk?filter_path="), "{}", request.path);
    assert_eq!(request.header("content-type"), "application/x-ndjson");
    let text = request.text();
    assert!(text.ends_with('\n'), "the last newline is missing");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let pair = |pair: &[serde_json::Value]| {
        let create = pair[0]["create"].as_object().unwrap();
        let word = |key: &str| create[key].as_str().unwrap().to_owned();
        (word("_index"), word("_id"), pair[1].clone())
    };
    lines.chunks(2).map(pair).collect()
}

/// Stores a request and gives the reply of a healthy server.
pub(crate) fn store(request: &Received, store: &Store) -> String {
    let item = |(stream, id, _): (String, String, serde_json::Value)| {
        if store.insert(&stream, &id) {
            r#"{"create":{"status":201}}"#.to_owned()
        } else {
            r#"{"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"document already exists"}}}"#.to_owned()
        }
    };
    let items: Vec<String> = documents(request).into_iter().map(item).collect();
    format!(r#"{{"errors":false,"items":[{}]}}"#, items.join(","))
}

/// A healthy server, except for what `odd` answers instead.
pub(crate) fn start(
    odd: impl Fn(&Received, usize) -> Option<Answer> + Send + Sync + 'static,
) -> (Fake, Store) {
    let kept = Store::default();
    let shared = kept.clone();
    let fake = Fake::start(move |request, number| {
        odd(request, number).unwrap_or_else(|| Answer::new(200, store(request, &shared)))
    });
    (fake, kept)
}

pub(crate) fn block(fake: &Fake, more: &str) -> String {
    format!("[[sink]]\ntype = \"elastic\"\nurls = [\"{}\"]\nproxy = \"\"\n{more}\n", fake.url())
}
