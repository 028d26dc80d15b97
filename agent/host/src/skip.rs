//! Telling that a test is skipped.

use std::io::Write;

/// Tells it on the real stderr, which the test harness does not swallow, and in the file that `HOSTWARD_SKIPS`
/// names; panics when `HOSTWARD_REQUIRE` says that this machine has the part.
pub(crate) fn skip(part: &str, test: &str, reason: &str) {
    let required = std::env::var("HOSTWARD_REQUIRE").unwrap_or_default();
    let required = required.split(',').any(|word| word.trim() == part);
    assert!(!required, "HOSTWARD_REQUIRE says that this machine has `{part}`, and it has not: {reason}");
    let line = format!("SKIPPED {test}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("HOSTWARD_SKIPS") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}
