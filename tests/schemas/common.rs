//! The schemas, and documents of all samples.

use crate::samples;
use anyhow::{Context, Result, ensure};
use hostward_event::Event;
use hostward_event::encode::Encoding;
use hostward_tests::{need, place};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// Where the schemas lie; none when this machine cannot have them, which is told.
pub(crate) fn schemas(test: &str) -> Result<Option<PathBuf>> {
    let cache = place::target()?.join("schemas");
    let script = place::checkout().join("tests/schemas/fetch.sh");
    let output =
        Command::new(&script).arg(&cache).output().with_context(|| format!("{}", script.display()))?;
    let reason = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) {
        need::skip("schemas", test, reason.trim());
        return Ok(None);
    }
    ensure!(output.status.success(), "{} failed: {reason}", script.display());
    Ok(Some(cache))
}

fn document(encoding: Encoding, event: &Event) -> Result<Value> {
    let mut bytes = Vec::new();
    encoding.encode(event, &mut bytes);
    serde_json::from_slice(&bytes).with_context(|| String::from_utf8_lossy(&bytes).into_owned())
}

/// Checks the document of every sample; all problems are told at once.
pub(crate) fn check(encoding: Encoding, check: impl Fn(&Value) -> Vec<String>) -> Result<()> {
    let mut problems = Vec::new();
    for (name, event) in samples::all() {
        let document = document(encoding, &event)?;
        problems.extend(check(&document).into_iter().map(|problem| format!("{name}: {problem}")));
    }
    ensure!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    Ok(())
}
