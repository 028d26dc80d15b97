//! What is wrong with a rule or response file, and where.

use std::fmt;

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Something did not load.
    Error,
    /// It loaded, but perhaps not as it was meant.
    Warning,
    /// Worth knowing; nothing to do.
    Note,
}

impl Severity {
    /// The word an operator reads.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One finding about a file, with the place, the cause and what to do.
///
/// Displays as `file:line:column: reason (hint)`, with `warning: ` or `note: ` before the reason
/// where it is no error. Control characters of the file's own text are shown escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Name of the file as it was handed in.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// How bad it is.
    pub severity: Severity,
    /// The rule, macro, list or response it is about.
    pub rule: Option<String>,
    /// What is wrong: a fragment with subject, value and cause.
    pub reason: String,
    /// What to do; empty when the reason says it.
    pub hint: String,
}

impl Problem {
    /// What to do; empty when the reason says it.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// True for an error: something did not load.
    pub const fn is_error(&self) -> bool {
        matches!(self.severity, Severity::Error)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_clean(&self.file, f)?;
        write!(f, ":{}:{}: ", self.line, self.column)?;
        if self.severity != Severity::Error {
            write!(f, "{}: ", self.severity.name())?;
        }
        write_clean(&self.reason, f)?;
        if !self.hint.is_empty() {
            f.write_str(" (")?;
            write_clean(&self.hint, f)?;
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// A backslash stays single here, unlike in `Text`: reasons quote regular expressions.
fn write_clean(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for part in text.split_inclusive('\\') {
        match part.strip_suffix('\\') {
            Some(before) => {
                hostward_event::text::escape(before.as_bytes(), f)?;
                f.write_str("\\")?;
            }
            None => hostward_event::text::escape(part.as_bytes(), f)?,
        }
    }
    Ok(())
}

/// A finding inside one text, before the place in the file is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Byte offset in the text.
    pub(crate) at: usize,
    /// See [`Problem::reason`].
    pub(crate) reason: String,
    /// See [`Problem::hint`].
    pub(crate) hint: String,
}

impl Fault {
    pub(crate) fn new(at: usize, reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { at, reason: reason.into(), hint: hint.into() }
    }
}

/// Longest word that is compared with others: the comparison costs the product of the lengths, and
/// a word that long was never a typing error.
pub(crate) const MAX_WORD_BYTES: usize = 100;
/// Most words that one word is compared with.
const MAX_CANDIDATES: usize = 2_000;

/// `did you mean …` for a word among `known`; empty when none is near.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    if word.len() > MAX_WORD_BYTES {
        return String::new();
    }
    let near = known
        .into_iter()
        .take(MAX_CANDIDATES)
        .filter(|other| other.len().abs_diff(word.len()) <= 1 + word.len() / 5)
        .map(|other| (hostward_event::registry::distance(word, other), other))
        .min();
    match near {
        Some((edits, other)) if edits <= 1 + word.len() / 5 => format!("did you mean `{other}`?"),
        _ => String::new(),
    }
}

/// A word of the file for a message, cut to a length a person reads.
pub(crate) fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    if text.chars().count() <= MAX_CHARS {
        return text.to_owned();
    }
    text.chars().take(MAX_CHARS).chain(['…']).collect()
}
