//! Fields of files: what was opened, or closed.

use super::call_fields::{self, called, descriptor, descriptor_name, descriptor_type};
use super::render::{
    closed, connect, connection_name, directory, file_name, open, open_name, open_path, opens_for_exec,
    opens_for_read, opens_for_write, part, type_char,
};
use super::{Field, KernelAtom, Type, Value, flags};
use crate::call::{self, Group};
use crate::event::Body;
use crate::raw::{FileType, Inode, RawOpen};
use crate::{Event, EventKind, KindSet};
use std::borrow::Cow;

const OPEN: KindSet = KindSet::of(&[EventKind::Open]);
const CLOSE: KindSet = KindSet::of(&[EventKind::CloseWrite]);
/// What tells a file, and how it is open.
const HELD: KindSet = OPEN.union(CLOSE);
/// They are parts or forms of one path.
const PATH: &[&str] =
    &["file.path", "file.name", "file.directory", "file.extension", "hostward.file.argument"];
/// `fd.name` is a path or a pair of addresses.
const NAME: &[&str] = &[
    "file.path",
    "file.name",
    "file.directory",
    "file.extension",
    "hostward.file.argument",
    "source.ip",
    "source.address",
    "source.port",
    "destination.ip",
    "destination.address",
    "destination.port",
];
const FD: KindSet = KindSet::of(&[EventKind::Connect, EventKind::ConnectionEnd])
    .union(HELD)
    .union(super::net_fields::UDP)
    .union(super::dns_fields::DNS)
    .union(call::that_tell(true));
/// What has a path: opens, closes, and changes of files.
const FILE: KindSet = HELD.union(call::of_group(Group::File));

fn cow(text: Option<Cow<'_, [u8]>>) -> Value<'_> {
    text.map_or(Value::Missing, Value::Text)
}

/// The open, when it succeeded.
fn opened(event: &Event) -> Option<&RawOpen> {
    open(event).filter(|open| open.result >= 0)
}

fn name(event: &Event) -> Option<Cow<'_, [u8]>> {
    match (&event.body, connect(event)) {
        (Body::Open(open), _) => Some(open_name(open)),
        (Body::CloseWrite(close), _) => Some(Cow::Borrowed(close.path.as_bytes())),
        (Body::Call(call), _) => descriptor_name(call),
        (_, Some(connect)) => connection_name(connect).map(Cow::Owned),
        (_, None) => None,
    }
}

/// None for an empty path of which nothing tells where it starts.
fn path(event: &Event) -> Option<Cow<'_, [u8]>> {
    let close = || closed(event).map(|close| Cow::Borrowed(close.path.as_bytes()));
    open(event)
        .map(open_path)
        .or_else(close)
        .or_else(|| call_fields::path(event))
        .filter(|path| !path.is_empty())
}

fn extension(path: &[u8]) -> Option<&[u8]> {
    let name = file_name(path)?;
    let dot = name.iter().rposition(|b| *b == b'.').filter(|dot| *dot > 0)?;
    name.get(dot + 1..).filter(|ext| !ext.is_empty())
}

/// `fd.name` of an open, or of the close of a file.
fn held_name(event: &Event) -> Option<Cow<'_, [u8]>> {
    let close = || closed(event).map(|close| Cow::Borrowed(close.path.as_bytes()));
    open(event).map(open_name).or_else(close)
}

/// The file that was opened or closed.
fn inode(event: &Event) -> Option<&Inode> {
    opened(event).map(|open| &open.inode).or_else(|| closed(event).map(|close| &close.inode))
}

/// The same, where more than its type is known.
fn known(event: &Event) -> Option<&Inode> {
    inode(event).filter(|inode| inode.ino != 0)
}

/// O_* flags, and whether the file was created.
fn how(event: &Event) -> Option<(u64, bool)> {
    let close = || closed(event).map(|close| (close.flags, close.created));
    open(event).map(|open| (open.flags, open.created)).or_else(close)
}

fn file_type(event: &Event) -> FileType {
    inode(event).map_or(FileType::Unknown, |inode| FileType::from_mode(inode.mode))
}

pub(super) const FIELDS: &[Field] = &[
    Field::new(
        "fd.name",
        Type::Text,
        "path as the program gave it, made absolute, symbolic links not resolved; of a close the kernel's. Sockets: cip:cport->sip:sport",
        |e, _| cow(name(e)),
    )
    .on(FD)
    .shows(NAME)
    .kernel(KernelAtom::FilePath),
    Field::new("fs.path.resolved", Type::Text, "path of the opened or closed file as the kernel resolves it", |e, _| {
        let close = || closed(e).map(|close| &close.path);
        opened(e).map(|open| &open.path).or_else(close).map_or(Value::Missing, Value::some_text)
    })
    .on(HELD)
    .shows(PATH)
    .kernel(KernelAtom::FilePath),
    Field::new("fd.nameraw", Type::Text, "path as the program gave it", |e, _| {
        open(e).map_or(Value::Missing, |open| Value::some_text(&open.arg))
    })
    .on(OPEN)
    .shows(PATH)
    .ecs("hostward.file.argument"),
    Field::wire("file.path", Type::Text, "path of the file; as given where an open failed or the kernel did not resolve it", |e, _| cow(path(e)))
        .on(FILE)
        .kernel(KernelAtom::FilePath)
        .ocsf("file.path")
        .cef("filePath")
        .leef("resource")
        .shows(PATH),
    Field::wire("file.name", Type::Text, "name of the file", |e, _| cow(path(e).and_then(|p| part(p, file_name))))
        .on(FILE)
        .kernel(KernelAtom::FileName)
        .cef("fname")
        .leef("fileName")
        .shows(PATH),
    Field::wire("file.directory", Type::Text, "directory of the file", |e, _| {
        cow(path(e).and_then(|p| part(p, directory)))
    })
    .on(FILE)
    .kernel(KernelAtom::FilePath)
    .ocsf("file.parent_folder")
    .shows(PATH),
    Field::wire("file.extension", Type::Text, "what stands behind the last dot of the name", |e, _| {
        cow(path(e).and_then(|p| part(p, extension)))
    })
    .on(FILE)
    .ocsf("file.ext")
    .shows(PATH),
    Field::new("fd.directory", Type::Text, "directory of fd.name", |e, _| {
        cow(held_name(e).and_then(|name| part(name, directory)))
    })
    .on(HELD)
    .shows(PATH)
    .kernel(KernelAtom::FilePath),
    Field::new("fd.filename", Type::Text, "last part of fd.name; missing when the open failed", |e, _| {
        let name = held_name(e).filter(|_| inode(e).is_some());
        cow(name.and_then(|name| part(name, file_name)))
    })
    .on(HELD)
    .shows(PATH)
    .kernel(KernelAtom::FileName),
    Field::new("fd.num", Type::Number, "descriptor; -1 when the open failed (evt.rawres has the errno)", |e, _| {
        match (&e.body, called(e)) {
            (Body::Open(open), _) => open.result.max(-1).into(),
            (Body::CloseWrite(close), _) => Some(i64::from(close.fd)).filter(|fd| *fd >= 0).into(),
            (Body::Connect(connect), _) => Value::number(connect.fd),
            (_, Some((call, spec))) => descriptor(call, spec).map(|number| number.max(-1)).into(),
            _ => Value::Missing,
        }
    })
    .on(FD),
    Field::new("fd.typechar", Type::Text, "f file, d directory, 4 IPv4, 6 IPv6, u unix socket, p pipe", |e, _| {
        if let Some((call, _)) = called(e) {
            return descriptor_type(call).into();
        }
        if closed(e).is_some() {
            return type_char(file_type(e)).into();
        }
        match (open(e), connect(e)) {
            // Of a failed open nothing is known but that a file was meant.
            (Some(open), _) => type_char(FileType::from_mode(open.inode.mode)).or(Some("f")).into(),
            (None, Some(connect)) => match connect.family {
                flags::AF_UNIX => "u".into(),
                flags::AF_INET => "4".into(),
                flags::AF_INET6 => "6".into(),
                _ => "o".into(),
            },
            (None, None) => Value::Missing,
        }
    })
    .on(FD),
    Field::new("fd.type", Type::Text, "file, directory, ipv4, ipv6, unix, pipe", |e, _| {
        let file = called(e).and_then(|(call, _)| call.file.as_ref());
        match (how(e).is_some() || file.is_some(), connect(e)) {
            (true, _) => match file.map_or_else(|| file_type(e), |file| FileType::from_mode(file.inode.mode)) {
                FileType::Dir => "directory".into(),
                FileType::Fifo => "pipe".into(),
                FileType::Unknown | FileType::File | FileType::Symlink => "file".into(),
                FileType::Socket => "unix".into(),
                FileType::CharDevice | FileType::BlockDevice => "file".into(),
            },
            (false, Some(connect)) => match connect.family {
                flags::AF_UNIX => "unix".into(),
                flags::AF_INET => "ipv4".into(),
                flags::AF_INET6 => "ipv6".into(),
                _ => Value::Missing,
            },
            (false, None) => Value::Missing,
        }
    })
    .on(FD),
    Field::new("evt.is_open_read", Type::Bool, "the open asks for reading; the closed file was open for it", |e, _| {
        how(e).map(|(flags, _)| opens_for_read(flags)).into()
    })
    .on(HELD)
    .kernel(KernelAtom::OpenRead),
    Field::new("evt.is_open_write", Type::Bool, "the open asks for writing; the closed file was open for it", |e, _| {
        how(e).map(|(flags, _)| opens_for_write(flags)).into()
    })
    .on(HELD)
    .kernel(KernelAtom::OpenWrite),
    Field::new("evt.is_open_exec", Type::Bool, "the open may create an executable file", |e, _| {
        open(e).map(opens_for_exec).into()
    })
    .on(OPEN),
    Field::new("evt.is_open_create", Type::Bool, "the open created the file; of a close the one that gave it", |e, _| {
        how(e).map(|(_, created)| created).into()
    })
    .on(HELD),
    Field::wire(
        "hostward.file.argument_may_differ",
        Type::Bool,
        "true: memory is shared with other threads, which could have changed the argument after the kernel read it",
        |e, _| open(e).filter(|open| open.shared_memory).map_or(Value::Missing, |_| true.into()),
    )
    .on(OPEN),
    Field::wire("hostward.file.flags", Type::Text, "O_* flags of the open, or those that the closed file had, joined by |", |e, _| {
        how(e).map_or(Value::Missing, |(flags, created)| Value::owned(flags::open_flags(flags, created)))
    })
    .on(HELD),
    Field::wire("file.inode", Type::Text, "inode number", |e, _| {
        known(e).map_or(Value::Missing, |inode| Value::owned(inode.ino.to_string()))
    })
    .on(HELD)
    .ocsf("file.uid")
    .cef("fileId")
    .leef("fileInode"),
    Field::wire("file.device", Type::Text, "device that holds the file, major:minor", |e, _| {
        known(e).map_or(Value::Missing, |inode| {
            Value::owned(format!("{}:{}", inode.dev >> 20, inode.dev & 0xf_ffff))
        })
    })
    .on(HELD),
    Field::wire("file.mode", Type::Text, "permission bits, octal", |e, _| {
        known(e).map_or(Value::Missing, |inode| Value::owned(format!("{:04o}", inode.mode & 0o7777)))
    })
    .on(HELD)
    .cef("filePermission")
    .leef("fileMode"),
    Field::wire("file.type", Type::Text, "file, dir, char_device, …", |e, _| file_type(e).name().into())
        .on(HELD)
        .cef("fileType")
        .leef("fileType"),
    Field::wire("file.uid", Type::Text, "owner", |e, _| {
        known(e).map_or(Value::Missing, |inode| Value::owned(inode.uid.to_string()))
    })
    .on(HELD)
    .ocsf("file.owner.uid"),
    Field::wire("file.gid", Type::Text, "group", |e, _| {
        known(e).map_or(Value::Missing, |inode| Value::owned(inode.gid.to_string()))
    })
    .on(HELD),
    Field::wire("file.size", Type::Number, "size of the closed file, bytes", |e, _| {
        closed(e).map(|close| close.size_bytes).into()
    })
    .on(CLOSE)
    .ocsf("file.size")
    .cef("fsize")
    .leef("fileSize"),
];
