//! One step of `hostward config check --connect`.

use std::fmt::Display;

/// What was tried, and what came of it. The first step that is not ok is the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckStep {
    /// What was tried, with its object: `connect to 192.0.2.7:6514`.
    pub what: String,
    /// It went well.
    pub ok: bool,
    /// What was found, or why it failed and what to do.
    pub why: String,
}

impl CheckStep {
    /// It went well.
    pub fn ok(what: impl Into<String>, found: impl Display) -> Self {
        Self { what: what.into(), ok: true, why: found.to_string() }
    }

    /// It failed.
    pub fn failed(what: impl Into<String>, why: impl Display) -> Self {
        Self { what: what.into(), ok: false, why: why.to_string() }
    }
}
