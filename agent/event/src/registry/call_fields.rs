//! Parameters of the system calls of [`crate::call`], rendered as rules compare them, and their paths.

use super::flags;
use super::render::{connection_name, normalise, type_char};
use super::{Field, Type, Value};
use crate::call::{self, Base, Form, Group, Param, Spec};
use crate::event::Body;
use crate::raw::{FileType, RawCall};
use crate::{Event, KindSet, Text};
use std::borrow::Cow;

const PATHS: KindSet = call::that_tell(false);
const FILES: KindSet = call::of_group(Group::File);
const PATH: &[&str] =
    &["file.path", "file.name", "file.directory", "file.extension", "hostward.file.argument"];

/// The call of this event, with its description.
pub(super) fn called(event: &Event) -> Option<(&RawCall, &'static Spec)> {
    let Body::Call(call) = &event.body else { return None };
    Some((call, call::find(call.kind)?))
}

/// Path number `n` (0 or 1) of the call: the kernel's own where it is known, else as the program gave it, absolute and
/// normalised.
fn path_of<'e>(call: &'e RawCall, spec: &Spec, n: usize) -> Option<Cow<'e, [u8]>> {
    if let Some(resolved) = call.resolved.get(n).filter(|resolved| !resolved.is_empty()) {
        return Some(Cow::Borrowed(resolved.as_bytes()));
    }
    let param = spec.params.iter().filter(|param| matches!(param.form, Form::Path(_))).nth(n)?;
    let at = spec.text_of(param)?;
    let (text, base) = (call.texts.get(at)?, call.bases.get(at).map_or(&b""[..], Text::as_bytes));
    // An empty path means the directory itself, or nothing.
    (!text.is_empty()).then(|| normalise(base, text.as_bytes()))
}

/// How many paths the call has.
fn paths(spec: &Spec) -> usize {
    spec.params.iter().filter(|param| matches!(param.form, Form::Path(_))).count()
}

/// The path that the call is about: of two the new one, else that of the file behind the descriptor.
pub(super) fn path(event: &Event) -> Option<Cow<'_, [u8]>> {
    let (call, spec) = called(event)?;
    match paths(spec) {
        0 => behind(call, spec),
        1 if spec.may_lack_path() => path_of(call, spec, 0).or_else(|| behind(call, spec)),
        count => path_of(call, spec, count - 1),
    }
}

/// Path of the file behind the descriptor.
fn behind<'e>(call: &'e RawCall, spec: &Spec) -> Option<Cow<'e, [u8]>> {
    let file = call.file.as_deref().filter(|_| spec.group == Group::File);
    file.map(|file| Cow::Borrowed(file.path.as_bytes()))
}

/// Of a call with two paths the old one.
fn source(event: &Event) -> Option<Cow<'_, [u8]>> {
    let (call, spec) = called(event)?;
    match paths(spec) {
        2 if spec.may_lack_path() => path_of(call, spec, 0).or_else(|| behind(call, spec)),
        2 => path_of(call, spec, 0),
        _ => None,
    }
}

fn target(event: &Event) -> Option<Cow<'_, [u8]>> {
    let (call, spec) = called(event)?;
    match spec.param("target") {
        Some(param) => call.texts.get(spec.text_of(param)?).map(|text| Cow::Borrowed(text.as_bytes())),
        None if paths(spec) == 2 => path_of(call, spec, 1),
        None => None,
    }
}

fn cow(text: Option<Cow<'_, [u8]>>) -> Value<'_> {
    text.map_or(Value::Missing, Value::Text)
}

/// Name of what the descriptor stands for: a path, or the ends of a socket.
pub(super) fn descriptor_name(call: &RawCall) -> Option<Cow<'_, [u8]>> {
    match (&call.socket, &call.file) {
        (Some(socket), _) => connection_name(socket).map(Cow::Owned),
        (None, Some(file)) => Some(Cow::Borrowed(file.path.as_bytes())),
        (None, None) => None,
    }
}

/// Number of the descriptor that is told.
pub(super) fn descriptor(call: &RawCall, spec: &Spec) -> Option<i64> {
    spec.descriptor().map(|param| number(call, param))
}

/// One letter: what the descriptor stands for.
pub(super) fn descriptor_type(call: &RawCall) -> Option<&'static str> {
    match (&call.socket, &call.file) {
        (Some(socket), _) => Some(match socket.family {
            flags::AF_UNIX => "u",
            flags::AF_INET => "4",
            flags::AF_INET6 => "6",
            _ => "o",
        }),
        (None, Some(file)) => type_char(FileType::from_mode(file.inode.mode)),
        (None, None) => None,
    }
}

fn number(call: &RawCall, param: &Param) -> i64 {
    match call.args.get(usize::from(param.at)) {
        // Descriptors and ids are numbers of 32 bits whatever the register holds above.
        Some(argument) => i64::from(*argument as u32 as i32),
        None => call.result,
    }
}

/// Capability sets lie in the bytes as effective, permitted, inheritable: low halves, then high ones.
fn caps(data: &[u8], which: u8) -> Option<u64> {
    let half = |at: usize| Some(u64::from(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?)));
    let at = usize::from(which) * 4;
    Some(half(at)? | half(at + 12).unwrap_or(0) << 32)
}

fn rendered<'e>(event: &'e Event, call: &'e RawCall, spec: &Spec, param: &Param) -> Value<'e> {
    let argument = call.args.get(usize::from(param.at)).copied().unwrap_or(call.result.cast_unsigned());
    let names = |ids: fn(&crate::process::UserTable) -> &std::collections::BTreeMap<u32, Text>| {
        let id = argument as u32;
        if id == u32::MAX {
            return "-1".into();
        }
        let known = event.process.as_deref().and_then(|process| event.names_of(process));
        match known.and_then(|table| ids(table).get(&id)) {
            Some(name) => Value::text(name.as_bytes()),
            None => Value::shown(id),
        }
    };
    match param.form {
        Form::Int | Form::Pid => Value::shown(number(call, param)),
        Form::Uint => Value::shown(argument),
        Form::Hex => Value::shown(format_args!("{argument:#x}")),
        Form::Octal => Value::shown(format_args!("{:#o}", argument as u32)),
        Form::Path(_) | Form::Text => match spec.text_of(param).and_then(|at| call.texts.get(at)) {
            Some(text) => Value::text(text.as_bytes()),
            None => Value::Missing,
        },
        Form::Fd => {
            let number = number(call, param);
            match (descriptor_type(call), descriptor_name(call)) {
                (Some(letter), Some(name)) => {
                    Value::owned([format!("<{letter}>").as_bytes(), &name[..]].concat())
                }
                _ => Value::shown(number),
            }
        }
        Form::Dirfd => match number(call, param) {
            -100 => "AT_FDCWD".into(),
            number => Value::shown(number),
        },
        Form::Mode => Value::owned(flags::mode(argument as u32)),
        Form::User => names(|table| &table.users),
        Form::Group => names(|table| &table.groups),
        Form::Signal => match flags::signal(argument) {
            Some(name) => name.into(),
            None => Value::shown(argument as u32),
        },
        Form::Flags(list) => {
            let set = list.iter().filter(|(bit, _)| argument & bit != 0).map(|(_, name)| *name);
            Value::owned(flags::joined_or_0(set))
        }
        Form::Word(list) => {
            // SOCK_NONBLOCK and SOCK_CLOEXEC ride on the type.
            let value = if param.name == "type" { argument & 0xf } else { argument & 0xffff_ffff };
            match list.iter().find(|(number, _)| *number == value) {
                Some((_, name)) => (*name).into(),
                None => Value::shown(value),
            }
        }
        Form::Address(_) | Form::Tuple => match &call.socket {
            Some(socket) => connection_name(socket).map_or(Value::Missing, Value::owned),
            None => Value::Missing,
        },
        Form::Chars(_) => {
            let name = call.data.as_bytes().split(|byte| *byte == 0).next().unwrap_or_default();
            if name.is_empty() { Value::Missing } else { Value::text(name) }
        }
        Form::Bytes(_) => Value::Missing,
        Form::Caps(which) => match caps(call.data.as_bytes(), which) {
            Some(set) => Value::owned(flags::joined(flags::capabilities(set), " ")),
            None => Value::Missing,
        },
    }
}

/// `evt.arg[NAME]` of a call.
pub(super) fn argument<'e>(event: &'e Event, name: &str) -> Value<'e> {
    let Some((call, spec)) = called(event) else { return Value::Missing };
    match spec.param(name) {
        Some(param) => rendered(event, call, spec, param),
        None => Value::Missing,
    }
}

/// The names of the call's parameters.
pub(super) fn names(event: &Event) -> impl Iterator<Item = &'static str> {
    let params = called(event).map_or(&[][..], |(_, spec)| spec.params);
    params.iter().map(|param| param.name)
}

/// What is told rests on text of user memory that another thread could have changed.
fn is_doubtful(call: &RawCall, spec: &Spec) -> bool {
    let all_resolved = call.resolved.iter().take(paths(spec)).all(|path| !path.is_empty());
    call.shared_memory
        && spec.params.iter().any(|param| match param.form {
            Form::Path(Base::Cwd | Base::Dir(_)) => !all_resolved,
            Form::Text => true,
            _ => false,
        })
}

pub(super) const FIELDS: &[Field] = &[
    Field::new("fs.path.name", Type::Text, "path that the call is about, as the kernel resolved it where that is known, else as given, made absolute; of two the new one", |e, _| {
        cow(path(e))
    })
    // Of a change by descriptor it is the path of the file behind it.
    .on(PATHS.union(FILES))
    .shows(PATH),
    Field::new("fs.path.source", Type::Text, "old path of a rename or link, as fs.path.name", |e, _| cow(source(e)))
        .on(PATHS)
        .shows(PATH)
        .ecs("hostward.file.source_path"),
    Field::new("fs.path.target", Type::Text, "new path of a rename or link, as fs.path.name; what a symbolic link points to", |e, _| {
        cow(target(e))
    })
    .on(PATHS)
    .shows(PATH),
    Field::wire("file.target_path", Type::Text, "what a symbolic link that was made points to", |e, _| {
        called(e).filter(|(_, spec)| spec.param("target").is_some()).map_or(Value::Missing, |_| cow(target(e)))
    })
    .on(FILES)
    .shows(PATH),
    Field::wire("hostward.call.name", Type::Text, "the system call", |e, _| {
        called(e).map(|(call, _)| call.kind.name()).into()
    })
    .on(call::CALLS),
    Field::wire("hostward.call.result", Type::Number, "what the call gave; negative: -errno", |e, _| {
        called(e).map(|(call, _)| call.result).into()
    })
    .on(call::CALLS),
    Field::wire("hostward.call.arguments", Type::Labels, "parameters of the call by their names", |e, _| {
        let Some((call, spec)) = called(e) else { return Value::Missing };
        let rows = spec.params.iter().filter_map(|param| match rendered(e, call, spec, param) {
            Value::Text(text) => Some(Cow::Owned([param.name.as_bytes(), b"=", &text[..]].concat())),
            _ => None,
        });
        Value::some_list(rows)
    })
    .on(call::CALLS)
    .shows(super::event_fields::ARGUMENTS),
    Field::wire(
        "hostward.call.text_may_differ",
        Type::Bool,
        "true: memory is shared with other threads, which could have changed texts after the kernel read them, and not all paths are the kernel's own",
        |e, _| match called(e) {
            Some((call, spec)) if is_doubtful(call, spec) => true.into(),
            _ => Value::Missing,
        },
    )
    .on(call::CALLS),
];
