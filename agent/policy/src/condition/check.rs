//! One check, type-checked and compiled.

use super::cursor::Literal;
use super::glob::{Glob, PathTree, components};
use super::literal::{boolean, hex, network, number, regex};
use super::network::Network;
use super::operand::Operand;
use super::operator::Operator as Op;
use super::parser::{Clause, Quantifier, Right};
use crate::problem::{Fault, shorten};
use hostward_event::Event;
use hostward_event::registry::{Type, Value};
use memchr::memmem::Finder;
use regex::Regex;
use std::collections::HashSet;

/// Most components of a path behind `pmatch`.
const MAX_COMPONENTS: usize = 256;
/// The length at which a command name is cut.
const COMM_BYTES: usize = 15;

/// A compiled check.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) left: Operand,
    pub(crate) operator: Op,
    pub(crate) compare: Compare,
    /// The literals of the right side, for the analyses that look at them again.
    pub(crate) literals: Vec<Vec<u8>>,
}

/// What a check does with the field's value.
#[derive(Debug)]
pub(crate) enum Compare {
    /// `exists`.
    Exists,
    /// `=`, `!=`, `in`, `intersects` of texts.
    Texts(HashSet<Box<[u8]>>),
    /// Operators that look into a text.
    Search { patterns: Vec<Pattern>, all: bool },
    /// `pmatch`.
    Paths(PathTree),
    /// Operators on numbers: for an order there is one.
    Numbers(Vec<i128>),
    /// `=`, `!=`, `in` of truth values.
    Bools(Vec<bool>),
    /// `=`, `!=`, `in` of addresses and networks.
    Networks(Vec<Network>),
    /// The right side is read from the event, too.
    Operand(Operand),
    /// `evt.type` by equality: the calls that stand for an event's kind, and single ones of the open family.
    EventType(super::event_type::Names),
}

/// One thing to look for in a text.
#[derive(Debug)]
pub(crate) enum Pattern {
    Contains(Box<Finder<'static>>),
    /// Lower case.
    IContains(Vec<u8>),
    StartsWith(Vec<u8>),
    EndsWith(Vec<u8>),
    Glob(Glob),
    Regex(Regex),
}

/// A check that is compiled, or is known beforehand.
pub(crate) enum Compiled {
    Check(Check),
    Always(bool),
}

/// A check with the remarks that do not stop it.
pub(crate) fn compile(clause: &Clause, notes: &mut Vec<Fault>) -> Result<Compiled, Fault> {
    let left = Operand::resolve(&clause.left)?;
    let operator = clause.operator;
    let literals = match &clause.right {
        Right::Values(values) => values.as_slice(),
        Right::Nothing | Right::Term(_) => &[],
    };
    if let Some(always) = constant(&left, operator, literals) {
        return Ok(Compiled::Always(always));
    }
    if operator != Op::Exists {
        accepts(left.ty(), clause)?;
    }
    let compare = match &clause.right {
        Right::Nothing => Compare::Exists,
        Right::Term(term) => {
            let right = Operand::resolve(term)?;
            comparable(&left, &right, clause)?;
            Compare::Operand(right)
        }
        Right::Values(_) => match left.ty() {
            Type::Number | Type::Time => Compare::Numbers(each(literals, number)?),
            Type::Bool => Compare::Bools(each(literals, boolean)?),
            Type::Ip | Type::Net => Compare::Networks(each(literals, network)?),
            Type::Text | Type::Domain | Type::List | Type::Labels => texts(&left, clause, literals)?,
        },
    };
    remark(&left, clause, literals, notes);
    let literals = literals.iter().map(|literal| literal.bytes.clone()).collect();
    Ok(Compiled::Check(Check { left, operator, compare, literals }))
}

fn each<T>(literals: &[Literal], read: fn(&Literal) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    literals.iter().map(read).collect()
}

/// `evt.num` counts from 1, and rule files use `evt.num=0` to say "never".
fn constant(left: &Operand, operator: Op, literals: &[Literal]) -> Option<bool> {
    let (field, _) = left.plain()?;
    let [literal] = literals else { return None };
    if field.name != "evt.num" {
        return None;
    }
    let value = number(literal).ok()?;
    match operator {
        Op::Equal | Op::In if value < 1 => Some(false),
        Op::NotEqual if value < 1 => Some(true),
        Op::Less if value <= 1 => Some(false),
        Op::LessEqual if value < 1 => Some(false),
        Op::Greater if value < 1 => Some(true),
        Op::GreaterEqual if value <= 1 => Some(true),
        _ => None,
    }
}

/// The operators that a type has.
fn accepts(ty: Type, clause: &Clause) -> Result<(), Fault> {
    let operator = clause.operator;
    let (fits, known) = match ty {
        Type::Text | Type::List | Type::Labels => (
            !operator.is_order(),
            "exists = == != contains icontains bcontains startswith bstartswith endswith glob iglob regex in \
             intersects pmatch",
        ),
        Type::Domain => (matches!(operator, Op::Equal | Op::NotEqual | Op::In), "= == != in exists"),
        Type::Number | Type::Time => (
            operator.is_order() || matches!(operator, Op::Equal | Op::NotEqual | Op::In | Op::Intersects),
            "exists = == != < <= > >= in intersects",
        ),
        Type::Bool | Type::Ip | Type::Net => (
            matches!(operator, Op::Equal | Op::NotEqual | Op::In | Op::Intersects),
            "exists = == != in intersects",
        ),
    };
    if fits {
        return Ok(());
    }
    let reason = format!("operator `{}` does not work on a {} field", operator.name(), ty.name());
    Err(Fault::new(clause.operator_at, reason, format!("a {} field has: {known}", ty.name())))
}

fn comparable(left: &Operand, right: &Operand, clause: &Clause) -> Result<(), Fault> {
    let family = |ty: Type| match ty {
        Type::Text | Type::Domain | Type::List | Type::Labels => 0,
        Type::Number | Type::Time => 1,
        Type::Bool => 2,
        Type::Ip | Type::Net => 3,
    };
    let (lhs, rhs) = (left.ty(), right.ty());
    if family(lhs) != family(rhs) {
        let reason = format!("a {} field is compared with a {} field", lhs.name(), rhs.name());
        return Err(Fault::new(clause.operator_at, reason, "both sides must have one type"));
    }
    let dynamic = !matches!(
        clause.operator,
        Op::Glob | Op::IGlob | Op::Regex | Op::PathMatch | Op::BContains | Op::BStartsWith
    );
    if dynamic {
        return Ok(());
    }
    let reason =
        format!("operator `{}` needs a value that is known when the rule loads", clause.operator.name());
    Err(Fault::new(
        clause.operator_at,
        reason,
        "use = != contains icontains startswith endswith in intersects",
    ))
}

fn texts(left: &Operand, clause: &Clause, literals: &[Literal]) -> Result<Compare, Fault> {
    let operator = clause.operator;
    let pattern = |literal: &Literal| -> Result<Pattern, Fault> {
        let bytes = literal.bytes.clone();
        Ok(match operator {
            Op::Contains => Pattern::Contains(Box::new(Finder::new(&bytes).into_owned())),
            Op::BContains => Pattern::Contains(Box::new(Finder::new(&hex(literal)?).into_owned())),
            Op::IContains => Pattern::IContains(bytes.to_ascii_lowercase()),
            Op::BStartsWith => Pattern::StartsWith(hex(literal)?),
            Op::EndsWith => Pattern::EndsWith(bytes),
            Op::Glob => Pattern::Glob(Glob::new(&bytes, false)),
            Op::IGlob => Pattern::Glob(Glob::new(&bytes, true)),
            Op::Regex => Pattern::Regex(regex(literal)?),
            _ => Pattern::StartsWith(bytes),
        })
    };
    match operator {
        Op::Equal | Op::NotEqual | Op::In | Op::Intersects => {
            if left.plain().is_some_and(|(field, _)| field.name == "evt.type") && operator != Op::Intersects {
                return Ok(Compare::EventType(super::event_type::Names::new(literals)));
            }
            Ok(Compare::Texts(literals.iter().map(|literal| literal.bytes.as_slice().into()).collect()))
        }
        Op::PathMatch => {
            let mut tree = PathTree::default();
            for literal in literals {
                if components(&literal.bytes).count() > MAX_COMPONENTS {
                    let reason = format!("path has more than {MAX_COMPONENTS} components");
                    return Err(Fault::new(literal.at, reason, "shorten it: pmatch tests a prefix"));
                }
                tree.insert(&literal.bytes);
            }
            Ok(Compare::Paths(tree))
        }
        _ => {
            let patterns = literals.iter().map(pattern).collect::<Result<_, _>>()?;
            Ok(Compare::Search { patterns, all: clause.quantifier == Quantifier::All })
        }
    }
}

/// What loads and yet can hardly be meant.
fn remark(left: &Operand, clause: &Clause, literals: &[Literal], notes: &mut Vec<Fault>) {
    let Some((field, _)) = left.plain() else { return };
    let is_comm = matches!(field.name, "proc.name" | "proc.pname" | "proc.aname" | "proc.sname");
    let exact = matches!(clause.operator, Op::Equal | Op::NotEqual | Op::In | Op::Intersects);
    if is_comm && exact {
        for literal in literals.iter().filter(|literal| literal.bytes.len() > COMM_BYTES) {
            let text = literal.text();
            let cut: String = text.chars().take(COMM_BYTES).collect();
            notes.push(Fault::new(
                literal.at,
                format!(
                    "`{}` never equals {}: the kernel cuts command names at 15 bytes",
                    shorten(&text),
                    field.name
                ),
                format!("write `{cut}`"),
            ));
        }
    }
}

impl Check {
    /// Tests the event. A missing field makes every check false.
    pub(crate) fn holds(&self, event: &Event) -> bool {
        self.holds_of(&self.left.value(event), event)
    }

    /// As [`Check::holds`], with the value of the left side, which was read before.
    pub(crate) fn holds_of(&self, value: &Value<'_>, event: &Event) -> bool {
        if let Compare::EventType(names) = &self.compare {
            return names.hold(event) != (self.operator == Op::NotEqual);
        }
        if matches!(value, Value::Missing) {
            return false;
        }
        let negated = self.operator == Op::NotEqual;
        match &self.compare {
            Compare::Exists => true,
            Compare::EventType(_) => false,
            Compare::Texts(set) => self.any_text(value, negated, |text| set.contains(text)),
            Compare::Paths(tree) => self.any_text(value, false, |text| tree.matches(text)),
            Compare::Search { patterns, all } => self.any_text(value, false, |text| {
                if *all {
                    patterns.iter().all(|pattern| pattern.fits(text))
                } else {
                    patterns.iter().any(|pattern| pattern.fits(text))
                }
            }),
            Compare::Numbers(numbers) if let Value::Numbers(values) = value => {
                // Either end, for `!=` neither.
                let mut each = values.iter().map(|value| self.number_holds(*value, numbers));
                if negated { each.all(|holds| holds) } else { each.any(|holds| holds) }
            }
            Compare::Numbers(numbers) => {
                integer(value).is_some_and(|value| self.number_holds(value, numbers))
            }
            Compare::Bools(wanted) => match value {
                Value::Bool(value) => wanted.contains(value) != negated,
                _ => false,
            },
            Compare::Networks(networks) => match value {
                Value::Ip(address) => networks.iter().any(|network| network.contains(*address)) != negated,
                Value::Ips(addresses) => {
                    // Either end for `=`, neither for `!=`.
                    let any = addresses.iter().any(|ip| networks.iter().any(|network| network.contains(*ip)));
                    any != negated
                }
                _ => false,
            },
            Compare::Operand(right) => {
                let right = right.value(event);
                let holds = self.operand_holds(value, &right);
                right.recycle();
                holds
            }
        }
    }

    /// A list holds when any element does; but for `in` on a field that is a list by its type all
    /// must, and `!=` on such a field means that none is equal. (An ancestor field without index
    /// is a text with several values: any of them may do, for `!=`, too.)
    fn any_text(&self, value: &Value<'_>, negated: bool, holds: impl Fn(&[u8]) -> bool) -> bool {
        match value {
            Value::Text(text) => holds(text) != negated,
            // One of the names of an address, or none of them.
            Value::List(list) if self.left.ty() == Type::Domain => {
                list.iter().any(|text| holds(text)) != negated
            }
            Value::List(list) if matches!(self.left.ty(), Type::List | Type::Labels) => match self.operator {
                Op::In => list.iter().all(|text| holds(text)),
                _ => list.iter().any(|text| holds(text)) != negated,
            },
            Value::List(list) => list.iter().any(|text| holds(text) != negated),
            _ => false,
        }
    }

    fn number_holds(&self, value: i128, numbers: &[i128]) -> bool {
        let order =
            |compare: fn(&i128, &i128) -> bool| numbers.first().is_some_and(|number| compare(&value, number));
        match self.operator {
            Op::Less => order(i128::lt),
            Op::LessEqual => order(i128::le),
            Op::Greater => order(i128::gt),
            Op::GreaterEqual => order(i128::ge),
            Op::NotEqual => !numbers.contains(&value),
            _ => numbers.contains(&value),
        }
    }

    fn operand_holds(&self, left: &Value<'_>, right: &Value<'_>) -> bool {
        if let (Some(left), Some(right)) = (integer(left), integer(right)) {
            return self.number_holds(left, &[right]);
        }
        let negated = self.operator == Op::NotEqual;
        match (left, right) {
            (_, Value::Missing) => false,
            (Value::Bool(left), Value::Bool(right)) => (left == right) != negated,
            (Value::Text(_) | Value::List(_), Value::Text(right)) => {
                self.any_text(left, negated, |left| self.text_holds(left, right))
            }
            (Value::Text(_) | Value::List(_), Value::List(right)) => {
                self.any_text(left, negated, |left| right.iter().any(|right| self.text_holds(left, right)))
            }
            (left, right) => {
                let (left, right) = (addresses(left), addresses(right));
                left.iter().any(|ip| right.contains(ip)) != negated && !left.is_empty() && !right.is_empty()
            }
        }
    }

    fn text_holds(&self, left: &[u8], right: &[u8]) -> bool {
        match self.operator {
            Op::Contains => memchr::memmem::find(left, right).is_some(),
            Op::IContains => contains_folded(left, right),
            Op::StartsWith => left.starts_with(right),
            Op::EndsWith => left.ends_with(right),
            _ => left == right,
        }
    }

    /// How much it costs about, for ordering checks that may be swapped.
    pub(crate) fn cost(&self) -> u32 {
        let read = match &self.left {
            Operand::Field { field, .. } => match field.name {
                "fd.name" | "fd.directory" | "fd.filename" => 3,
                "proc.cmdline" | "proc.pcmdline" | "proc.args" | "evt.arg" => 6,
                "proc.aname" | "proc.aexe" | "proc.aexepath" => 8,
                _ => 1,
            },
            Operand::Text(_) | Operand::Call { .. } => 10,
        };
        read + match &self.compare {
            Compare::EventType(_) => 0,
            Compare::Exists | Compare::Bools(_) | Compare::Numbers(_) => 1,
            Compare::Texts(_) | Compare::Networks(_) => 2,
            Compare::Paths(_) | Compare::Operand(_) => 4,
            Compare::Search { patterns, .. } => patterns.iter().map(Pattern::cost).sum(),
        }
    }
}

const fn integer(value: &Value<'_>) -> Option<i128> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Time(ns) => Some(*ns as i128),
        _ => None,
    }
}

const fn addresses<'v>(value: &'v Value<'_>) -> &'v [std::net::IpAddr] {
    match value {
        Value::Ip(address) => std::slice::from_ref(address),
        Value::Ips(addresses) => addresses.as_slice(),
        _ => &[],
    }
}

fn contains_folded(text: &[u8], lower: &[u8]) -> bool {
    lower.is_empty() || text.windows(lower.len()).any(|window| window.eq_ignore_ascii_case(lower))
}

impl Pattern {
    fn fits(&self, text: &[u8]) -> bool {
        match self {
            Self::Contains(finder) => finder.find(text).is_some(),
            Self::IContains(lower) => contains_folded(text, lower),
            Self::StartsWith(prefix) => text.starts_with(prefix),
            Self::EndsWith(suffix) => text.ends_with(suffix),
            Self::Glob(glob) => glob.matches(text),
            // Bytes that are no UTF-8 count as U+FFFD, as the language says.
            Self::Regex(regex) => regex.is_match(&String::from_utf8_lossy(text)),
        }
    }

    const fn cost(&self) -> u32 {
        match self {
            Self::StartsWith(_) | Self::EndsWith(_) => 2,
            Self::Contains(_) => 3,
            Self::IContains(_) => 8,
            Self::Glob(_) => 6,
            Self::Regex(_) => 20,
        }
    }
}
