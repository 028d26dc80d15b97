//! Rules, responses and the kernel plan.
//!
//! # Why it exists
//! Detection is written by people, in files, in the language of the published rule files. This
//! crate turns such files into three things: a matcher for events ([`RuleSet`]), a decision what
//! to do about a match ([`Responses`]), and a plan of what the kernel may leave out ([`plan()`]).
//! One language serves rules, the `when` of responses, sink filters and `hostward events --where`
//! ([`Condition`]).
//!
//! # How it works
//! A file becomes a tree of nodes that know their place. Definitions of all files are collected
//! and merged; list names are replaced in the text of a condition; the parser makes a tree; names
//! are looked up in the field registry and checks are compiled and type-checked; macros are put
//! in; the whole becomes a chain of checks with a next step for each answer. Rules are indexed by
//! the kinds of event that they can match.
//!
//! ```
//! use hostward_policy::{RuleFile, load};
//! let text = "
//! - rule: Netcat
//!   desc: Somebody starts netcat
//!   condition: evt.type = execve and proc.name in (nc, ncat)
//!   output: netcat started (command=%proc.cmdline)
//!   priority: NOTICE
//! ";
//! let loaded = load(&[RuleFile { name: "my.yaml".into(), text: text.into() }]);
//! assert!(loaded.problems.is_empty());
//! assert_eq!(loaded.rules.len(), 1);
//! ```
//!
//! # What can go wrong
//! - *A rule does not load*: it is a [`Problem`] with file, line, column, reason and hint, and the
//!   rest loads. All problems are found at once.
//! - *A file is hostile* (gigabytes, alias bombs, a million parentheses, lists that double each
//!   other): every step is bounded, and the bound is named in the problem.
//! - *A field is missing in an event*: every check of it is false, `!=` included, so that
//!   `not (x = y)` is then true. This is the published semantics; rules rely on it.
//! - *A rule tests the text of a path*: symbolic links walk round it, see [`mod@plan`].
//!
//! # Not here
//! Fields and their rendering are `hostward_event::registry`. Reading files, swapping rule sets
//! and carrying out actions belong to the agent and to `hostward-respond`.

pub mod condition;
mod correlate;
mod entry;
mod matcher;
pub mod plan;
mod problem;
pub mod responses;
pub mod rules;
mod sourced;
mod yaml;

pub use condition::Condition;
pub use correlate::{Correlator, Summary};
pub use plan::{Protected, plan};
pub use problem::{Problem, Severity};
pub use responses::{Response, Responses};
pub use rules::{Loaded, Rule, RuleSet, check, load};

/// A rule or response file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFile {
    /// What it is called in messages, e.g. `rules.d/10-host.yaml`.
    pub name: String,
    /// Its bytes.
    pub text: Vec<u8>,
}
