//! A compiled condition as text that means the same.

use super::check::{Check, Compare};
use super::expr::Expr;
use super::operand::{Operand, function_name};
use super::operator::Operator;
use hostward_event::registry::Arg;
use std::fmt::{self, Display, Formatter, Write};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always(always) => f.write_str(if *always { "evt.num >= 0" } else { "evt.num = 0" }),
            Self::And(parts) => joined(parts, " and ", f),
            Self::Or(parts) => joined(parts, " or ", f),
            Self::Not(inner) => {
                f.write_str("not ")?;
                grouped(inner, f)
            }
            Self::Check(check) => check.fmt(f),
        }
    }
}

fn joined(parts: &[Expr], word: &str, f: &mut Formatter<'_>) -> fmt::Result {
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            f.write_str(word)?;
        }
        grouped(part, f)?;
    }
    Ok(())
}

fn grouped(expr: &Expr, f: &mut Formatter<'_>) -> fmt::Result {
    match expr {
        Expr::And(_) | Expr::Or(_) => write!(f, "({expr})"),
        _ => expr.fmt(f),
    }
}

impl Display for Check {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.left, self.operator.name())?;
        match &self.compare {
            Compare::Exists => Ok(()),
            Compare::Operand(right @ Operand::Field { .. }) => write!(f, " val({right})"),
            Compare::Operand(right) => write!(f, " {right}"),
            Compare::Search { all: true, .. } => {
                f.write_str(" allof ")?;
                list(&self.literals, f)
            }
            _ if self.operator.takes_list() => {
                f.write_char(' ')?;
                list(&self.literals, f)
            }
            _ => match self.literals.as_slice() {
                [one] => {
                    f.write_char(' ')?;
                    literal(one, f)
                }
                many => {
                    f.write_str(" anyof ")?;
                    list(many, f)
                }
            },
        }
    }
}

fn list(literals: &[Vec<u8>], f: &mut Formatter<'_>) -> fmt::Result {
    f.write_char('(')?;
    for (n, one) in literals.iter().enumerate() {
        if n > 0 {
            f.write_str(", ")?;
        }
        literal(one, f)?;
    }
    f.write_char(')')
}

/// Bare where it can be, else in quotes with the escapes of the language.
fn literal(bytes: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !b"()\"'=,\\".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(plain) {
        return f.write_str(&String::from_utf8_lossy(bytes));
    }
    f.write_char('"')?;
    for byte in bytes {
        match byte {
            b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
            b' '..=b'~' => f.write_char(char::from(*byte))?,
            byte => write!(f, "\\x{byte:02X}")?,
        }
    }
    f.write_char('"')
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field { field, arg } => match arg {
                Arg::None => f.write_str(field.name),
                Arg::Index(index) => write!(f, "{}[{index}]", field.name),
                Arg::Key(key) => write!(f, "{}[{key}]", field.name),
            },
            Self::Text(bytes) => literal(bytes, f),
            Self::Call { function, inner } => {
                write!(f, "{}(", function_name(*function))?;
                for (n, operand) in inner.iter().enumerate() {
                    write!(f, "{}{operand}", if n > 0 { ", " } else { "" })?;
                }
                f.write_char(')')
            }
        }
    }
}

/// Parts of which each must hold for the whole, as far as that is told by `and` alone.
fn factors<'e>(expr: &'e Expr, out: &mut Vec<&'e Expr>) {
    match expr {
        Expr::And(parts) => parts.iter().for_each(|part| factors(part, out)),
        other => out.push(other),
    }
}

/// True when no event can make it true, whatever kinds there are: two equalities of one field exclude each other, or
/// a part can never hold.
pub(crate) fn never(expr: &Expr) -> bool {
    match expr {
        Expr::Always(always) => !always,
        Expr::Or(parts) => parts.iter().all(never),
        Expr::Not(inner) => matches!(**inner, Expr::Always(true)),
        Expr::Check(check) => check.literals.is_empty() && check.operator == Operator::In,
        Expr::And(_) => {
            let mut parts = Vec::new();
            factors(expr, &mut parts);
            let equal: Vec<(String, &Check)> = parts
                .iter()
                .filter_map(|part| match part {
                    Expr::Check(check) if is_equality(check) => {
                        Some((check.left.to_string(), check.as_ref()))
                    }
                    _ => None,
                })
                .collect();
            let excluded = equal.iter().enumerate().any(|(n, (name, check))| {
                equal.iter().skip(n + 1).any(|(other, second)| {
                    name == other && !check.literals.iter().any(|value| second.literals.contains(value))
                })
            });
            excluded || parts.into_iter().any(never)
        }
    }
}

/// `=` or `in` on a field that has one value and one spelling of it.
fn is_equality(check: &Check) -> bool {
    let one_value = |name: &str| {
        // An ancestor field without index has as many values as there are ancestors.
        !name.starts_with("proc.a") || name == "proc.args"
    };
    matches!(check.operator, Operator::Equal | Operator::In)
        && match (&check.compare, check.left.plain()) {
            (Compare::Texts(_), Some((field, _))) => {
                field.ty == hostward_event::registry::Type::Text && one_value(field.name)
            }
            (Compare::EventType(_), Some((field, _))) => {
                field.name == "evt.type" && {
                    // Every name of a fork means any of them.
                    let aliased =
                        ["clone", "clone3", "fork", "vfork", "execve", "execveat", "exit", "exit_group"];
                    !check
                        .literals
                        .iter()
                        .any(|name| aliased.iter().any(|alias| alias.as_bytes() == name.as_slice()))
                }
            }
            _ => false,
        }
}
