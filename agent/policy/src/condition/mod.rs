//! Conditions: the part of the language that rules, responses and sink filters share.

mod check;
mod cursor;
mod event_type;
mod expr;
mod glob;
mod literal;
mod network;
mod operand;
mod operator;
mod parser;
mod program;
mod show;

pub(crate) use check::{Check, Compare, Pattern};
pub(crate) use expr::{
    Expr, Findings, Kinds, Macro, asked, awaits, kinds, kinds_of_check, reads_result, resolve,
};
pub(crate) use glob::{Glob, components};
pub(crate) use operand::{Operand, function, lookup};
pub(crate) use operator::Operator;
pub(crate) use parser::{parse, parse_call};
pub(crate) use program::Program;
pub(crate) use show::never;

use crate::problem::{Fault, Problem, Severity};
use hostward_event::registry::Awaited;
use hostward_event::{Event, KindSet};

/// A condition that stands alone: `--where`, a sink's filter, a response's `when`.
///
/// ```
/// use hostward_policy::Condition;
/// let condition = Condition::parse("evt.type = execve and proc.name in (nc, ncat)").unwrap();
/// let problem = Condition::parse("proc.nmae = nc").unwrap_err();
/// assert_eq!(problem.to_string(), "condition:1:1: unknown field `proc.nmae` (did you mean `proc.name`?)");
/// ```
#[derive(Clone, Debug)]
pub struct Condition {
    program: Program,
    kinds: KindSet,
    awaits: Awaited,
}

impl Condition {
    /// Parses and type-checks `text`. Lists and macros of rule files are not known here.
    ///
    /// # Errors
    /// The first problem; its file is called `condition`, line and column are those of `text`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        Self::compile(text).map_err(|faults| {
            let Fault { at, reason, hint } =
                faults.into_iter().next().unwrap_or_else(|| Fault::new(0, "condition does not load", ""));
            let before = text.get(..at).unwrap_or_default();
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
            Problem {
                file: "condition".to_owned(),
                line: u32::try_from(before.matches('\n').count() + 1).unwrap_or(u32::MAX),
                column: u32::try_from(column).unwrap_or(u32::MAX),
                severity: Severity::Error,
                rule: None,
                reason,
                hint,
            }
        })
    }

    /// As [`Condition::parse`], with all faults (never none of them) by their offset in `text`.
    pub(crate) fn compile(text: &str) -> Result<Self, Vec<Fault>> {
        let tree = parse(text).map_err(|fault| vec![fault])?;
        let mut found = Findings::new(usize::MAX);
        let none = |_: &str| Macro::Unknown("macros can be used in rule files only".to_owned());
        let expr = resolve(&tree, &none, &mut found);
        if found.faults.is_empty() {
            let awaits = awaits(&expr);
            Ok(Self { program: Program::new(&expr), kinds: kinds(&expr).may_hold, awaits })
        } else {
            Err(found.faults)
        }
    }

    /// True when the event fits.
    pub fn matches(&self, event: &Event) -> bool {
        self.kinds.contains(event.kind()) && self.program.holds(event)
    }

    /// What it reads that may be told after the event came: before that, what it says of an event may change.
    pub const fn awaits(&self) -> Awaited {
        self.awaits
    }

    /// Kinds of event that can match.
    pub const fn kinds(&self) -> KindSet {
        self.kinds
    }
}
