//! Rules.
pub mod condition;
mod entry;
mod problem;
pub mod rules;
mod sourced;
mod yaml;
pub use condition::Condition;
pub use problem::{Problem, Severity};
pub use rules::{Loaded, Rule, RuleSet, load};

/// A rule or response file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFile {
    /// What it is called in messages, e.g. `rules.d/10-host.yaml`.
    pub name: String,
    /// Its bytes.
    pub text: Vec<u8>,
}
