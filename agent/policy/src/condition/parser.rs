//! From text to a tree.
//!
//! The parser keeps its own stack of open parentheses, so that a condition nested a thousand deep
//! costs a thousand small records and no call stack.

use super::cursor::{Cursor, Literal};
use super::operator::{Operator, SIGNS, WORDS};
use crate::problem::{Fault, did_you_mean, shorten};

/// Deepest nesting of parentheses, also after macros are put in.
pub(crate) const MAX_DEPTH: usize = 1_000;
/// Deepest nesting of transformers.
const MAX_CALLS: usize = 16;
/// Most values of one list.
const MAX_VALUES: usize = 65_536;

/// A condition as it is written.
#[derive(Debug)]
pub(crate) enum Tree {
    And(Vec<Tree>),
    Or(Vec<Tree>),
    Not(Box<Tree>),
    Macro { name: String, at: usize },
    Check(Box<Clause>),
}

impl Tree {
    /// The macros it names, with their offsets.
    pub(crate) fn macros(&self) -> Vec<(&str, usize)> {
        let mut found = Vec::new();
        let mut rest = vec![self];
        while let Some(tree) = rest.pop() {
            match tree {
                Self::And(parts) | Self::Or(parts) => rest.extend(parts.iter().rev()),
                Self::Not(inner) => rest.push(inner),
                Self::Macro { name, at } => found.push((name.as_str(), *at)),
                Self::Check(_) => {}
            }
        }
        found
    }
}

/// `field OP value`.
#[derive(Debug)]
pub(crate) struct Clause {
    pub(crate) left: Term,
    pub(crate) operator: Operator,
    pub(crate) operator_at: usize,
    pub(crate) quantifier: Quantifier,
    pub(crate) right: Right,
}

/// How many values of the list behind a string operator must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantifier {
    /// There is one value.
    Single,
    /// `anyof` or `oneof`.
    Any,
    /// `allof`.
    All,
}

/// A side of a check that is computed from the event.
#[derive(Debug)]
pub(crate) enum Term {
    Field { name: String, bracket: Option<String>, at: usize },
    Call { function: String, arguments: Vec<Term>, at: usize },
    Text(Literal),
}

/// The right side of a check.
#[derive(Debug)]
pub(crate) enum Right {
    Nothing,
    Values(Vec<Literal>),
    Term(Term),
}

/// One open parenthesis.
struct Level {
    opened_at: usize,
    negated: bool,
    alternatives: Vec<Tree>,
    factors: Vec<Tree>,
}

impl Level {
    const fn new(opened_at: usize, negated: bool) -> Self {
        Self { opened_at, negated, alternatives: Vec::new(), factors: Vec::new() }
    }

    fn close_factors(&mut self) {
        let factors = std::mem::take(&mut self.factors);
        self.alternatives.push(join(factors, Tree::And));
    }

    fn finish(mut self) -> Tree {
        self.close_factors();
        negate(join(self.alternatives, Tree::Or), self.negated)
    }
}

fn join(mut parts: Vec<Tree>, group: fn(Vec<Tree>) -> Tree) -> Tree {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => only,
        (Some(last), false) => {
            parts.push(last);
            group(parts)
        }
        (None, _) => group(parts),
    }
}

fn negate(tree: Tree, negated: bool) -> Tree {
    match tree {
        tree if !negated => tree,
        Tree::Not(inner) => *inner,
        tree => Tree::Not(Box::new(tree)),
    }
}

/// Parses a whole condition.
pub(crate) fn parse(text: &str) -> Result<Tree, Fault> {
    let mut cursor = Cursor::new(text);
    let mut outer: Vec<Level> = Vec::new();
    let mut level = Level::new(0, false);
    loop {
        let negated = negations(&mut cursor);
        let at = cursor.at();
        if cursor.take("(") {
            if outer.len() + 1 >= MAX_DEPTH {
                let reason = format!("nested deeper than {MAX_DEPTH} levels");
                return Err(Fault::new(at, reason, "move parts of the condition into macros"));
            }
            outer.push(std::mem::replace(&mut level, Level::new(at, negated)));
            continue;
        }
        level.factors.push(negate(check(&mut cursor)?, negated));
        loop {
            cursor.blanks();
            let at = cursor.at();
            if cursor.take(")") {
                let Some(parent) = outer.pop() else {
                    return Err(Fault::new(at, "closing parenthesis without an opening one", "remove it"));
                };
                let inner = std::mem::replace(&mut level, parent).finish();
                level.factors.push(inner);
            } else if cursor.rest().is_empty() {
                if !outer.is_empty() {
                    return Err(Fault::new(
                        level.opened_at,
                        "parenthesis is not closed",
                        "add the closing one",
                    ));
                }
                return Ok(level.finish());
            } else if cursor.word("and") {
                break;
            } else if cursor.word("or") {
                level.close_factors();
                break;
            } else {
                let reason = format!("expected `and`, `or` or the end, found {}", cursor.found());
                return Err(Fault::new(at, reason, hint_behind_check(cursor.rest())));
            }
        }
    }
}

fn hint_behind_check(rest: &str) -> String {
    let word: String = rest.chars().take_while(|c| c.is_ascii_alphabetic()).collect();
    match did_you_mean(&word, ["and", "or"]) {
        hint if word.is_empty() || hint.is_empty() => {
            "quote a value that has blanks, parentheses or commas".to_owned()
        }
        hint => hint,
    }
}

/// Reads repeated `not`; true when their number is odd.
fn negations(cursor: &mut Cursor<'_>) -> bool {
    let mut negated = false;
    loop {
        cursor.blanks();
        if !cursor.word("not") {
            return negated;
        }
        negated = !negated;
    }
}

fn check(cursor: &mut Cursor<'_>) -> Result<Tree, Fault> {
    let at = cursor.at();
    let name = cursor.name();
    if name.is_empty() {
        let reason = format!("expected a field, a macro or `(`, found {}", cursor.found());
        return Err(Fault::new(at, reason, "a check is e.g. `proc.name = bash`"));
    }
    if name == "not" || name == "and" || name == "or" {
        return Err(Fault::new(at, format!("nothing follows `{name}` that could be checked"), "add a check"));
    }
    cursor.go_to(at);
    let left = term(cursor, 0)?;
    let behind_left = cursor.at();
    cursor.blanks();
    let operator_at = cursor.at();
    let Some(operator) = operator(cursor) else {
        if let Term::Field { name, bracket: None, at } = &left
            && !name.contains(['.', '@'])
        {
            cursor.go_to(behind_left);
            return Ok(Tree::Macro { name: name.clone(), at: *at });
        }
        return Err(no_operator(cursor, operator_at));
    };
    let (quantifier, right) = right_side(cursor, operator)?;
    Ok(Tree::Check(Box::new(Clause { left, operator, operator_at, quantifier, right })))
}

fn no_operator(cursor: &Cursor<'_>, at: usize) -> Fault {
    let word: String = cursor.rest().chars().take_while(|c| c.is_ascii_alphabetic()).collect();
    let hint = match did_you_mean(&word, WORDS.map(|(name, _)| name)) {
        hint if word.is_empty() || hint.is_empty() => {
            "operators are exists < <= > >= = == != contains icontains bcontains startswith bstartswith endswith \
             glob iglob regex in intersects pmatch"
                .to_owned()
        }
        hint => hint,
    };
    Fault::new(at, format!("expected an operator, found {}", cursor.found()), hint)
}

fn operator(cursor: &mut Cursor<'_>) -> Option<Operator> {
    let sign = SIGNS.iter().find(|(sign, _)| cursor.take(sign));
    let found = sign.or_else(|| WORDS.iter().find(|(word, _)| cursor.word(word)));
    found.map(|(_, operator)| *operator)
}

/// Reads one transformer call that stands at byte `at` of `text`; gives the byte behind it.
pub(crate) fn parse_call(text: &str, at: usize) -> Result<(Term, usize), Fault> {
    let mut cursor = Cursor::new(text);
    cursor.go_to(at);
    let term = term(&mut cursor, 0)?;
    Ok((term, cursor.at()))
}

/// A field, a transformer of fields, or (inside a transformer only) a quoted text.
fn term(cursor: &mut Cursor<'_>, calls: usize) -> Result<Term, Fault> {
    let at = cursor.at();
    if calls > 0 && matches!(cursor.peek(), Some('"' | '\'')) {
        return Ok(Term::Text(cursor.string()?));
    }
    let name = cursor.name();
    if name.is_empty() {
        let reason = format!("expected a field, found {}", cursor.found());
        return Err(Fault::new(at, reason, "a field is e.g. `proc.name`"));
    }
    if name.contains('.') || !cursor.take("(") {
        if name.ends_with('.') || name.contains("..") {
            return Err(Fault::new(
                at,
                format!("field `{}` has an empty part", shorten(name)),
                "remove a dot",
            ));
        }
        return Ok(Term::Field { name: name.to_owned(), bracket: cursor.bracket()?, at });
    }
    if calls >= MAX_CALLS {
        return Err(Fault::new(
            at,
            format!("transformers nested deeper than {MAX_CALLS}"),
            "simplify the check",
        ));
    }
    let mut arguments = Vec::new();
    loop {
        cursor.blanks();
        arguments.push(term(cursor, calls + 1)?);
        cursor.blanks();
        if cursor.take(")") {
            return Ok(Term::Call { function: name.to_owned(), arguments, at });
        }
        if !cursor.take(",") {
            let reason = format!("expected `,` or `)` in `{}(…)`, found {}", shorten(name), cursor.found());
            return Err(Fault::new(cursor.at(), reason, "close the transformer's parenthesis"));
        }
    }
}

fn right_side(cursor: &mut Cursor<'_>, operator: Operator) -> Result<(Quantifier, Right), Fault> {
    if operator == Operator::Exists {
        return Ok((Quantifier::Single, Right::Nothing));
    }
    cursor.blanks();
    let at = cursor.at();
    if operator.takes_quantifier() {
        let words = [("oneof", Quantifier::Any), ("anyof", Quantifier::Any), ("allof", Quantifier::All)];
        if let Some((_, quantifier)) = words.into_iter().find(|(word, _)| cursor.word(word)) {
            cursor.blanks();
            if cursor.peek() == Some('(') {
                return Ok((quantifier, Right::Values(list(cursor)?)));
            }
            // `contains oneof` without a list looks for that word.
            cursor.go_to(at);
        }
    }
    if operator.takes_list() && cursor.peek() == Some('(') {
        return Ok((Quantifier::Single, Right::Values(list(cursor)?)));
    }
    if let Some(computed) = computed(cursor)? {
        return Ok((Quantifier::Single, Right::Term(computed)));
    }
    if cursor.peek() == Some('(') {
        let reason = format!("operator `{}` takes one value, found a list", operator.name());
        let hint = if operator.takes_quantifier() {
            format!("write `{} anyof (…)` or `allof`", operator.name())
        } else {
            "use `in` for a list".to_owned()
        };
        return Err(Fault::new(at, reason, hint));
    }
    let mut values = vec![cursor.string()?];
    // A list name without parentheses has been replaced by its items.
    while operator.takes_list() && next_value(cursor) && values.len() < MAX_VALUES {
        values.push(cursor.string()?);
    }
    Ok((Quantifier::Single, Right::Values(values)))
}

/// Takes a comma and the blanks around it.
fn next_value(cursor: &mut Cursor<'_>) -> bool {
    let before = cursor.at();
    cursor.blanks();
    let found = cursor.take(",");
    if found {
        cursor.blanks();
    } else {
        cursor.go_to(before);
    }
    found
}

/// `val(field)` or a transformer on the right side.
fn computed(cursor: &mut Cursor<'_>) -> Result<Option<Term>, Fault> {
    let at = cursor.at();
    let name = cursor.name();
    let is_call = !name.is_empty() && !name.contains('.') && cursor.peek() == Some('(');
    cursor.go_to(at);
    if is_call { term(cursor, 0).map(Some) } else { Ok(None) }
}

fn list(cursor: &mut Cursor<'_>) -> Result<Vec<Literal>, Fault> {
    let at = cursor.at();
    cursor.take("(");
    cursor.blanks();
    let mut values = Vec::new();
    if cursor.take(")") {
        return Ok(values);
    }
    loop {
        if values.len() >= MAX_VALUES {
            return Err(Fault::new(at, format!("list has more than {MAX_VALUES} values"), "split the rule"));
        }
        values.push(cursor.string()?);
        if next_value(cursor) {
            continue;
        }
        cursor.blanks();
        if cursor.take(")") {
            return Ok(values);
        }
        let reason = format!("expected `,` or `)` in a list, found {}", cursor.found());
        return Err(Fault::new(
            cursor.at(),
            reason,
            "separate values by commas; quote a value that has blanks",
        ));
    }
}
