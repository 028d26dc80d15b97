//! Text that knows which place of which file each of its bytes came from.
//!
//! A condition is folded by YAML, joined from several files by `append`, and has list names
//! replaced before it is parsed. An error found at the end must still name the line and column
//! that the author can go to, so every text is a sequence of pieces with an origin each.

use crate::RuleFile;
use crate::problem::{Fault, Problem, Severity};
use crate::yaml::Scalar;
use granit_parser::ScalarStyle;
use std::rc::Rc;

/// Most problems that are kept of one load; a file with more is not a rule file.
const MAX_PROBLEMS: usize = 1_000;
/// Most characters of a reason or a hint; what a file says is quoted in both.
const MAX_TEXT_CHARS: usize = 400;

/// Number of a file in [`Sources`].
pub(crate) type FileId = usize;

/// The files of one load, and what is wrong with them.
pub(crate) struct Sources<'a> {
    files: Vec<Source<'a>>,
    problems: Vec<Problem>,
}

struct Source<'a> {
    name: &'a str,
    /// The file up to its first byte that is no UTF-8.
    text: &'a str,
    line_starts: Vec<usize>,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: FileId,
    pub(crate) byte: usize,
}

impl<'a> Sources<'a> {
    pub(crate) fn new(files: &'a [RuleFile]) -> Self {
        let files = files.iter().map(|file| {
            let valid = file.text.get(..crate::yaml::MAX_FILE_BYTES.min(file.text.len())).unwrap_or_default();
            let valid = valid.utf8_chunks().next().map_or("", |chunk| chunk.valid());
            let ends = valid.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            let line_starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
            Source { name: &file.name, text: valid, line_starts }
        });
        Self { files: files.collect(), problems: Vec::new() }
    }

    pub(crate) fn text(&self, file: FileId) -> &'a str {
        self.files.get(file).map_or("", |source| source.text)
    }

    pub(crate) fn name(&self, file: FileId) -> &'a str {
        self.files.get(file).map_or("", |source| source.name)
    }

    /// Line and column of a place, from 1; the column counts characters.
    pub(crate) fn line_column(&self, place: Place) -> (u32, u32) {
        let Some(source) = self.files.get(place.file) else { return (1, 1) };
        let line = source.line_starts.partition_point(|start| *start <= place.byte);
        let start = line.checked_sub(1).and_then(|n| source.line_starts.get(n)).copied().unwrap_or(0);
        let before = source.text.get(start..place.byte).unwrap_or_default();
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        (number(line.max(1)), number(before.chars().count() + 1))
    }

    pub(crate) fn report(&mut self, severity: Severity, rule: Option<&str>, place: Place, fault: Fault) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let (line, column) = self.line_column(place);
        self.problems.push(Problem {
            file: self.name(place.file).to_owned(),
            line,
            column,
            severity,
            rule: rule.map(str::to_owned),
            reason: cut(fault.reason),
            hint: cut(fault.hint),
        });
    }

    /// All problems, in the order of files and lines.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let order = |problem: &Problem| self.files.iter().position(|file| file.name == problem.file);
        let mut problems = self.problems;
        problems.sort_by_cached_key(|problem| (order(problem), problem.line, problem.column));
        problems
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(MAX_TEXT_CHARS) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned() + "…",
        None => text,
    }
}

/// Where a piece of text came from.
#[derive(Clone, Debug)]
struct Piece {
    /// Byte offset in the text.
    start: usize,
    file: FileId,
    scalar: Rc<Scalar>,
    /// Byte offset in the scalar's value that `start` stands for.
    skip: usize,
    /// All bytes of the piece stand at `skip`: a list that was put in the place of its name.
    fixed: bool,
}

/// See the module's head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sourced {
    text: String,
    pieces: Vec<Piece>,
}

impl Sourced {
    pub(crate) fn of_scalar(file: FileId, scalar: &Rc<Scalar>) -> Self {
        let piece = Piece { start: 0, file, scalar: Rc::clone(scalar), skip: 0, fixed: false };
        Self { text: scalar.text.clone(), pieces: vec![piece] }
    }

    /// Text without a place.
    pub(crate) const fn plain(text: String) -> Self {
        Self { text, pieces: Vec::new() }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Appends text of our own making; a fault in it is shown where the text before it ends.
    pub(crate) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Appends another text with its origin.
    pub(crate) fn join(&mut self, other: &Self) {
        let shift = self.text.len();
        self.text.push_str(&other.text);
        self.pieces.extend(other.pieces.iter().cloned().map(|mut piece| {
            piece.start += shift;
            piece
        }));
    }

    /// Appends the bytes `from..to` of `other` with their origin.
    pub(crate) fn push_part(&mut self, other: &Self, from: usize, to: usize) {
        let Some(part) = other.text.get(from..to).filter(|part| !part.is_empty()) else { return };
        if let Some(piece) = other.piece(from) {
            let skip = if piece.fixed { piece.skip } else { piece.skip + (from - piece.start) };
            self.pieces.push(Piece { start: self.text.len(), skip, ..piece.clone() });
        }
        let inner = other.pieces.iter().filter(|piece| piece.start > from && piece.start < to);
        let shift = self.text.len();
        self.pieces.extend(inner.map(|piece| Piece { start: piece.start - from + shift, ..piece.clone() }));
        self.text.push_str(part);
    }

    /// Appends `text`, all of which stands for byte `at` of `other`.
    pub(crate) fn push_for(&mut self, text: &str, other: &Self, at: usize) {
        if let Some(piece) = other.piece(at) {
            let skip = if piece.fixed { piece.skip } else { piece.skip + (at - piece.start) };
            self.pieces.push(Piece { start: self.text.len(), skip, fixed: true, ..piece.clone() });
        }
        self.text.push_str(text);
    }

    /// Removes what follows byte `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.text.truncate(len);
        self.pieces.retain(|piece| piece.start < len);
    }

    fn piece(&self, at: usize) -> Option<&Piece> {
        let after = self.pieces.partition_point(|piece| piece.start <= at);
        self.pieces.get(after.checked_sub(1)?)
    }

    /// The place of byte `at` in its file.
    pub(crate) fn place(&self, at: usize, sources: &Sources<'_>) -> Place {
        let Some(piece) = self.piece(at).or_else(|| self.pieces.first()) else {
            return Place { file: 0, byte: 0 };
        };
        let offset = if piece.fixed { piece.skip } else { piece.skip + at.saturating_sub(piece.start) };
        Place { file: piece.file, byte: locate(sources.text(piece.file), &piece.scalar, offset) }
    }

    /// Reports a fault of this text.
    pub(crate) fn report(
        &self,
        severity: Severity,
        rule: Option<&str>,
        fault: Fault,
        sources: &mut Sources<'_>,
    ) {
        let place = self.place(fault.at, sources);
        sources.report(severity, rule, place, fault);
    }
}

/// Finds byte `offset` of a scalar's value in the file.
///
/// YAML changes blanks and line breaks and nothing else, but for quotes and escapes. So the
/// characters that are not blank are counted in the value and then in the file.
fn locate(file: &str, scalar: &Scalar, offset: usize) -> usize {
    let solid = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
    let wanted = solid(scalar.text.get(..offset).unwrap_or(&scalar.text));
    let source = file.get(scalar.start..scalar.end.max(scalar.start)).unwrap_or_default();
    let body = match scalar.style {
        ScalarStyle::Literal | ScalarStyle::Folded => {
            let header = source.starts_with(['|', '>']);
            if header { source.find('\n').map_or(source.len(), |end| end + 1) } else { 0 }
        }
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => 1,
        ScalarStyle::Plain => 0,
    };
    let mut rest = source.get(body..).unwrap_or_default().char_indices().peekable();
    let mut seen = 0;
    while let Some((at, c)) = rest.next() {
        let mut counts = usize::from(!c.is_whitespace());
        match (scalar.style, c) {
            (ScalarStyle::SingleQuoted, '\'') => {
                rest.next_if(|(_, next)| *next == '\'');
            }
            (ScalarStyle::DoubleQuoted, '\\') => {
                let (skip, is_solid) = match rest.next().map(|(_, c)| c) {
                    Some('x') => (2, true),
                    Some('u') => (4, true),
                    Some('U') => (8, true),
                    Some(c) => (
                        0,
                        !matches!(c, 'n' | 't' | 'r' | 'v' | 'f' | ' ' | 'N' | '_' | 'L' | 'P')
                            && !c.is_whitespace(),
                    ),
                    None => (0, false),
                };
                for _ in 0..skip {
                    rest.next();
                }
                counts = usize::from(is_solid);
            }
            _ => {}
        }
        if counts == 1 && seen == wanted {
            return scalar.start + body + at;
        }
        seen += counts;
    }
    // Behind the last character: its end.
    let trimmed = source.trim_end();
    scalar.start + trimmed.len()
}
