//! A side of a check that is read from the event: a field, perhaps through transformers.

use super::cursor::Literal;
use super::parser::Term;
use crate::problem::{Fault, MAX_WORD_BYTES, did_you_mean, shorten};
use hostward_event::Event;
use hostward_event::registry::{self, Arg, Field, Type, Value};
use std::borrow::Cow;

/// See the module's head.
#[derive(Clone, Debug)]
pub(crate) enum Operand {
    Field { field: &'static Field, arg: Arg },
    Text(Vec<u8>),
    Call { function: Function, inner: Vec<Operand> },
}

/// The transformers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Upper,
    Lower,
    /// Decodes Base64; what is none counts as missing.
    B64,
    /// What stands behind the last slash, empty for a path that ends in one.
    Basename,
    /// Number of elements of a list, of characters of a text.
    Len,
    /// `join(separator, a, b, …)`: all texts with the separator between; a list gives its elements.
    Join,
    /// `concat(a, b, …)`.
    Concat,
    /// `getopt(arguments, option, …)`: the values given to these options.
    Getopt,
    /// `val(field)` on a right side: the field itself.
    Val,
}

const FUNCTIONS: [(&str, Function); 9] = [
    ("toupper", Function::Upper),
    ("tolower", Function::Lower),
    ("b64", Function::B64),
    ("basename", Function::Basename),
    ("len", Function::Len),
    ("join", Function::Join),
    ("concat", Function::Concat),
    ("getopt", Function::Getopt),
    ("val", Function::Val),
];

/// The transformer with this name.
pub(crate) fn function(name: &str) -> Option<Function> {
    FUNCTIONS.into_iter().find(|(known, _)| *known == name).map(|(_, function)| function)
}

impl Operand {
    /// Looks up fields and transformers.
    pub(crate) fn resolve(term: &Term) -> Result<Self, Fault> {
        match term {
            Term::Field { name, bracket, at } => match lookup(name, bracket.as_deref()) {
                Ok((field, arg)) => Ok(Self::Field { field, arg }),
                Err(reason) => Err(field_fault(*at, &reason)),
            },
            Term::Text(Literal { bytes, .. }) => Ok(Self::Text(bytes.clone())),
            Term::Call { function: name, arguments, at } => {
                let Some(function) = function(name) else {
                    let known = FUNCTIONS.map(|(name, _)| name);
                    let hint = match did_you_mean(name, known) {
                        hint if hint.is_empty() => format!("transformers are {}", known.join(" ")),
                        hint => hint,
                    };
                    return Err(Fault::new(*at, format!("unknown transformer `{}`", shorten(name)), hint));
                };
                let inner = arguments.iter().map(Self::resolve).collect::<Result<Vec<_>, _>>()?;
                let wanted = match function {
                    Function::Join | Function::Getopt => inner.len() >= 2,
                    Function::Concat => !inner.is_empty(),
                    _ => inner.len() == 1,
                };
                if !wanted {
                    let reason = format!("transformer `{name}` does not take {} arguments", inner.len());
                    let hint = "join(separator, field, …), concat(field, …), getopt(field, option, …); others one field";
                    return Err(Fault::new(*at, reason, hint));
                }
                for operand in &inner {
                    check_argument(function, name, operand, *at)?;
                }
                Ok(match (function, inner) {
                    (Function::Val, mut inner) => inner.pop().unwrap_or(Self::Text(Vec::new())),
                    (function, inner) => Self::Call { function, inner },
                })
            }
        }
    }

    /// The type that a check sees.
    pub(crate) fn ty(&self) -> Type {
        match self {
            Self::Field { field, .. } => field.ty,
            Self::Text(_) => Type::Text,
            Self::Call { function: Function::Len, .. } => Type::Number,
            Self::Call { function: Function::Getopt, .. } => Type::List,
            Self::Call { inner, .. } => match inner.as_slice() {
                [only] => only.ty(),
                _ => Type::Text,
            },
        }
    }

    /// The field, when nothing transforms it.
    pub(crate) const fn plain(&self) -> Option<(&'static Field, &Arg)> {
        if let Self::Field { field, arg } = self { Some((field, arg)) } else { None }
    }

    /// All fields it reads.
    pub(crate) fn fields<'a>(&'a self, out: &mut Vec<&'a Field>) {
        match self {
            Self::Field { field, .. } => out.push(field),
            Self::Text(_) => {}
            Self::Call { inner, .. } => inner.iter().for_each(|operand| operand.fields(out)),
        }
    }

    /// Reads it.
    pub(crate) fn value<'e>(&'e self, event: &'e Event) -> Value<'e> {
        match self {
            Self::Field { field, arg } => field.value(event, arg),
            Self::Text(bytes) => Value::text(bytes),
            Self::Call { function, inner } => apply(*function, inner, event),
        }
    }
}

/// How the language spells it.
pub(crate) fn function_name(function: Function) -> &'static str {
    FUNCTIONS.iter().find(|(_, known)| *known == function).map_or("val", |(name, _)| name)
}

/// Looks a field up. A name that no field can have is not searched for among those that look like it.
pub(crate) fn lookup(name: &str, bracket: Option<&str>) -> Result<(&'static Field, Arg), String> {
    if name.len() > MAX_WORD_BYTES {
        return Err(format!("unknown field `{}`; `hostward fields` lists all", shorten(name)));
    }
    registry::resolve(name, bracket)
}

/// Splits the registry's sentence into reason and hint.
fn field_fault(at: usize, sentence: &str) -> Fault {
    match sentence.split_once(", did you mean").or_else(|| sentence.split_once("; ")) {
        Some((reason, near)) if near.starts_with(" `") => {
            Fault::new(at, reason, format!("did you mean{near}"))
        }
        Some((reason, hint)) => Fault::new(at, reason, hint),
        None => Fault::new(at, sentence, ""),
    }
}

fn check_argument(function: Function, name: &str, operand: &Operand, at: usize) -> Result<(), Fault> {
    let ty = operand.ty();
    let fits = match function {
        Function::Val | Function::Len => true,
        Function::Join | Function::Getopt => matches!(ty, Type::Text | Type::List | Type::Labels),
        _ => ty == Type::Text,
    };
    if fits && (function != Function::Len || matches!(ty, Type::Text | Type::List | Type::Labels)) {
        return Ok(());
    }
    Err(Fault::new(
        at,
        format!("transformer `{name}` does not work on a {}", ty.name()),
        "it wants a text field",
    ))
}

fn apply<'e>(function: Function, inner: &'e [Operand], event: &'e Event) -> Value<'e> {
    let Some((first, rest)) = inner.split_first() else { return Value::Missing };
    match function {
        Function::Val => first.value(event),
        Function::Upper => each(first.value(event), |text| Some(Cow::Owned(text.to_ascii_uppercase()))),
        Function::Lower => each(first.value(event), |text| Some(Cow::Owned(text.to_ascii_lowercase()))),
        Function::B64 => each(first.value(event), |text| decode_base64(&text).map(Cow::Owned)),
        Function::Basename => each(first.value(event), |text| Some(basename(text))),
        Function::Len => match first.value(event) {
            Value::Text(text) => Value::number(String::from_utf8_lossy(&text).chars().count() as u64),
            Value::List(list) => Value::number(list.len() as u64),
            // A list that has no element is missing in the registry; its length is known all the same.
            Value::Missing if matches!(first.ty(), Type::List | Type::Labels) => Value::number(0_u32),
            _ => Value::Missing,
        },
        Function::Concat => joined(b"", inner, event),
        Function::Join => match first.value(event) {
            Value::Text(separator) => joined(&separator, rest, event),
            _ => Value::Missing,
        },
        Function::Getopt => options(first.value(event), rest, event),
    }
}

fn each<'e>(value: Value<'e>, change: impl Fn(Cow<'e, [u8]>) -> Option<Cow<'e, [u8]>>) -> Value<'e> {
    match value {
        Value::Text(text) => change(text).map_or(Value::Missing, Value::Text),
        Value::List(list) => Value::some_list(list.into_iter().filter_map(change)),
        _ => Value::Missing,
    }
}

fn basename(path: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let from = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    match path {
        Cow::Borrowed(path) => Cow::Borrowed(path.get(from..).unwrap_or_default()),
        Cow::Owned(mut path) => Cow::Owned(path.split_off(from)),
    }
}

/// Any missing part makes the whole missing.
fn joined<'e>(separator: &[u8], parts: &'e [Operand], event: &'e Event) -> Value<'e> {
    let mut texts = Vec::new();
    for part in parts {
        match part.value(event) {
            Value::Text(text) => texts.push(text),
            Value::List(list) => texts.extend(list),
            _ => return Value::Missing,
        }
    }
    Value::owned(texts.join(separator))
}

/// Values of options: `-o value`, `-ovalue` (one letter), `--name value`, `--name=value`. An option
/// that is the last argument gives an empty text. `options` are written with their dashes.
fn options<'e>(arguments: Value<'e>, options: &'e [Operand], event: &'e Event) -> Value<'e> {
    let words: Vec<Cow<'e, [u8]>> = match arguments {
        Value::List(list) => list,
        Value::Text(text) => text.split(|byte| *byte == b' ').map(|word| Cow::Owned(word.to_vec())).collect(),
        _ => return Value::Missing,
    };
    let names: Vec<Value<'e>> = options.iter().map(|option| option.value(event)).collect();
    let mut values = Vec::new();
    for (n, word) in words.iter().enumerate() {
        for name in &names {
            let Value::Text(name) = name else { continue };
            let Some(behind) = word.strip_prefix(name.as_ref()) else { continue };
            let long = name.starts_with(b"--");
            match (behind, long) {
                (b"", _) => values.push(words.get(n + 1).cloned().unwrap_or_default()),
                ([b'=', value @ ..], true) => values.push(Cow::Owned(value.to_vec())),
                (value, false) if name.len() == 2 => values.push(Cow::Owned(value.to_vec())),
                _ => {}
            }
        }
    }
    Value::some_list(values)
}

/// Standard alphabet, with or without padding.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let mut bits: u32 = 0;
        for digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        let whole = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        let bytes = (bits << (6 * (4 - group.len()))).to_be_bytes();
        out.extend(bytes.iter().skip(1).take(whole));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded_with_and_without_padding() {
        for (text, want) in [("aGk=", "hi"), ("aGk", "hi"), ("aGV5", "hey"), ("", ""), ("YQ==", "a")] {
            assert_eq!(decode_base64(text.as_bytes()).as_deref(), Some(want.as_bytes()), "{text}");
        }
        assert_eq!(decode_base64(b"a"), None);
        assert_eq!(decode_base64(b"a b="), None);
    }

    #[test]
    fn a_path_that_ends_in_a_slash_has_no_basename() {
        assert_eq!(basename(Cow::Borrowed(b"/usr/bin/cat")).as_ref(), b"cat");
        assert_eq!(basename(Cow::Borrowed(b"/usr/bin/")).as_ref(), b"");
        assert_eq!(basename(Cow::Owned(b"cat".to_vec())).as_ref(), b"cat");
    }
}
