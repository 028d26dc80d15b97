//! Rule files, from YAML to a set of compiled rules.

mod build;
mod collect;
mod correlation;
mod exception;
mod lint;
mod lists;
mod merge;
mod output;
mod parts;
mod set;
mod tags;

pub(crate) use correlation::Correlation;
pub(crate) use set::Selector;
pub use set::{Rule, RuleSet};

use crate::RuleFile;
use crate::problem::Problem;
use crate::sourced::Sources;

/// What came of a set of rule files.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The rules that loaded.
    pub rules: RuleSet,
    /// What did not, and what is worth a look, in the order of files and lines.
    pub problems: Vec<Problem>,
}

/// Loads rule files in this order: a later file may append to, override or turn off what an
/// earlier one defines.
///
/// Loading is tolerant: what cannot load is a problem of severity
/// [`Severity::Error`](crate::Severity::Error), and the rest loads. Whether a set with errors
/// comes into force is the caller's decision.
pub fn load(files: &[RuleFile]) -> Loaded {
    compile(files, false)
}

/// As [`load`], and tells besides what loads and does nothing: macros and lists that nothing uses or that hide each
/// other, and rules that can never match.
pub fn check(files: &[RuleFile]) -> Loaded {
    compile(files, true)
}

fn compile(files: &[RuleFile], lints: bool) -> Loaded {
    let mut sources = Sources::new(files);
    let mut collection = collect::Collection::default();
    for (file, raw) in files.iter().enumerate() {
        collection.read(file, raw, &mut sources);
    }
    let rules = build::build(&collection, &mut sources);
    if lints {
        lint::lint(&collection, &rules, &mut sources);
    }
    Loaded { rules: RuleSet::new(rules), problems: sources.into_problems() }
}
