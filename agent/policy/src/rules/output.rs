//! A rule's output: the sentence of its alerts.
//!
//! `%field`, `%field[arg]`, `%transformer(field)`, `%20field` (padded or cut to 20 characters),
//! `%%` for a percent sign. A missing value prints `<NA>`. Values are written escaped, so that
//! what an attacker names a file cannot drive a terminal or add a line to a log.

use crate::condition::{Operand, function, lookup, parse_call};
use crate::problem::Fault;
use hostward_event::registry::{self, ArgKind, Value};
use hostward_event::{Event, Text};
use std::fmt::Write;

/// Widest column that `%20field` may ask for.
const MAX_WIDTH: usize = 1_000;
/// What a missing value prints.
const MISSING: &str = "<NA>";

/// A compiled output.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    parts: Vec<Part>,
    /// What stands behind the percent signs, each once, in the order of the text.
    fields: Vec<Text>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    /// No operand: the field is not known and is always missing.
    Value {
        operand: Option<Operand>,
        width: Option<usize>,
    },
}

impl Output {
    /// Compiles `text`; what cannot be read prints `<NA>` and is among the remarks.
    pub(crate) fn new(text: &str, remarks: &mut Vec<Fault>) -> Self {
        let mut parts = Vec::new();
        let mut fields: Vec<Text> = Vec::new();
        let mut literal = String::new();
        // A leading `*` used to say that missing values do not suppress the line; they never do.
        let start = usize::from(text.starts_with('*'));
        let mut at = start;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let Some(before) = rest.find('%') else {
                literal.push_str(rest);
                break;
            };
            literal.push_str(rest.get(..before).unwrap_or_default());
            at += before + 1;
            let behind = text.get(at..).unwrap_or_default();
            if behind.starts_with('%') {
                literal.push('%');
                at += 1;
                continue;
            }
            let digits = behind.len() - behind.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let width = behind.get(..digits).and_then(|digits| digits.parse::<usize>().ok());
            let width = width.map(|width| width.min(MAX_WIDTH));
            match value(text, at + digits) {
                Ok((operand, end)) => {
                    let field = Text::from(text.get(at + digits..end).unwrap_or_default());
                    if !fields.contains(&field) {
                        fields.push(field);
                    }
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal)));
                    }
                    parts.push(Part::Value { operand: Some(operand), width });
                    at = end;
                }
                Err((fault, Some(end))) => {
                    remarks.push(fault);
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                    parts.push(Part::Value { operand: None, width });
                    at = end;
                }
                Err((fault, None)) => {
                    remarks.push(fault);
                    literal.push('%');
                }
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Self { parts, fields }
    }

    /// The fields it uses, as it spells them.
    pub(crate) fn fields(&self) -> Vec<Text> {
        self.fields.clone()
    }

    /// The sentence for `event`.
    pub(crate) fn format(&self, event: &Event) -> Text {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => {
                    // The rule's author may write a line break; a log line may not have one.
                    let _ = hostward_event::text::escape(text.as_bytes(), &mut out);
                }
                Part::Value { operand, width: None } => {
                    render(operand.as_ref().map_or(Value::Missing, |operand| operand.value(event)), &mut out);
                }
                Part::Value { operand, width: Some(width) } => {
                    let mut cell = String::new();
                    render(
                        operand.as_ref().map_or(Value::Missing, |operand| operand.value(event)),
                        &mut cell,
                    );
                    let cut: String = cell.chars().take(*width).collect();
                    let _ = write!(out, "{cut:<width$}");
                }
            }
        }
        Text::from(out)
    }
}

/// Reads the field or transformer at byte `at`. An error says where to go on, or that this percent
/// sign starts nothing.
fn value(text: &str, at: usize) -> Result<(Operand, usize), (Fault, Option<usize>)> {
    let rest = text.get(at..).unwrap_or_default();
    let percent = at.saturating_sub(1);
    if !rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '@') {
        let fault =
            Fault::new(percent, "percent sign is not followed by a field", "write %% for the sign itself");
        return Err((fault, None));
    }
    let len = rest
        .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.' | '@'))
        .unwrap_or(rest.len());
    let word = rest.get(..len).unwrap_or_default();
    let name = word.trim_end_matches('.');
    let end = at + name.len();
    if rest.get(len..).is_some_and(|rest| rest.starts_with('(')) && function(word).is_some() {
        let (term, end) = parse_call(text, at).map_err(|fault| (fault, Some(at + len)))?;
        return Operand::resolve(&term).map(|operand| (operand, end)).map_err(|fault| (fault, Some(end)));
    }
    let takes = registry::find(name).is_some_and(|field| field.arg != ArgKind::None);
    let bracket = text.get(end..).and_then(|rest| rest.strip_prefix('[')?.split_once(']')).filter(|_| takes);
    let (bracket, end) = match bracket {
        Some((inside, _)) => (Some(inside.trim_matches(['"', '\''])), end + inside.len() + 2),
        None => (None, end),
    };
    match lookup(name, bracket) {
        Ok((field, arg)) => Ok((Operand::Field { field, arg }, end)),
        Err(reason) => Err((Fault::new(at, format!("output: {reason}"), "it prints <NA>"), Some(end))),
    }
}

fn render(value: Value<'_>, out: &mut String) {
    let text = |bytes: &[u8], out: &mut String| {
        let _ = hostward_event::text::escape(bytes, out);
    };
    // Writing to a String cannot fail.
    let _ = match value {
        Value::Missing => out.write_str(MISSING),
        Value::Text(bytes) => {
            text(&bytes, out);
            Ok(())
        }
        Value::Number(number) => write!(out, "{number}"),
        Value::Numbers(numbers) => {
            let words: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            out.write_str(&words.join(","))
        }
        Value::List(list) if list.is_empty() => out.write_str(MISSING),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Ip(address) => write!(out, "{address}"),
        Value::Ips(addresses) => {
            let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            out.write_str(&words.join(","))
        }
        Value::Time(ns) => match jiff::Timestamp::from_nanosecond(ns.into()) {
            Ok(time) => write!(out, "{}", time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ")),
            Err(_) => out.write_str(MISSING),
        },
        Value::List(list) => {
            out.push('(');
            for (n, item) in list.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                text(item, out);
            }
            out.write_char(')')
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_told_as_the_text_spells_them() {
        let mut remarks = Vec::new();
        let text = "%proc.name (%20proc.name, %evt.arg[flags], %toupper(proc.cmdline)) 100%% %proc.nmae";
        let fields = Output::new(text, &mut remarks).fields();
        let told: Vec<String> = fields.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["proc.name", "evt.arg[flags]", "toupper(proc.cmdline)"]);
        assert_eq!(remarks.len(), 1, "{remarks:?}");
    }
}
