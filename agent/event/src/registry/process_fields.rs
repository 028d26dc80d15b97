//! Fields of processes and users: who did it.

use super::render::{arguments, command_line, event_type, normalise};
use super::{Arg, ArgKind, Field, KernelAtom, Need, Type, Value, flags, spare};
use crate::event::Body;
use crate::process::Process;
use crate::program::Package;
use crate::raw::{Layer, Usage};
use crate::{Event, EventKind, KindSet, Text};
use std::borrow::Cow;

const EXEC: KindSet = KindSet::of(&[EventKind::Exec]);

fn me(event: &Event) -> Option<&Process> {
    event.process.as_deref()
}

fn leader(event: &Event) -> Option<&Process> {
    event.session_leader.as_deref()
}

fn text<'e>(process: Option<&'e Process>, take: fn(&'e Process) -> &'e Text) -> Value<'e> {
    process.map_or(Value::Missing, |process| Value::some_text(take(process)))
}

fn number<'e>(process: Option<&Process>, take: fn(&Process) -> u64) -> Value<'e> {
    process.map(take).into()
}

/// A number that ECS keeps as a keyword.
fn keyword<'e>(process: Option<&Process>, take: fn(&Process) -> u64) -> Value<'e> {
    process.map_or(Value::Missing, |process| Value::shown(take(process)))
}

/// A namespace or device number, of which 0 says that it is not known.
fn known<'e>(process: Option<&Process>, take: fn(&Process) -> u64) -> Value<'e> {
    process.map(take).filter(|number| *number != 0).into()
}

fn argv0(process: Option<&Process>) -> Value<'_> {
    process.and_then(|process| process.args.iter().next()).map_or(Value::Missing, Value::text)
}

/// Ancestor `n`: 0 is the process itself.
fn ancestor(event: &Event, n: u32) -> Option<&Process> {
    match n {
        0 => me(event),
        n => event.lineage.get(usize::try_from(n).ok()?.checked_sub(1)?).map(AsRef::as_ref),
    }
}

/// With an index one ancestor's text; without, the texts of all, of which any may match.
fn ancestry<'e>(event: &'e Event, arg: &Arg, take: fn(&'e Process) -> Option<&'e [u8]>) -> Value<'e> {
    match arg {
        Arg::Index(n) => ancestor(event, *n).and_then(take).map_or(Value::Missing, Value::text),
        _ => Value::some_list(event.lineage.iter().filter_map(|process| take(process)).map(Cow::Borrowed)),
    }
}

fn bytes(text: &Text) -> Option<&[u8]> {
    (!text.is_empty()).then(|| text.as_bytes())
}

/// The name of one of a process's users, where that process runs.
fn user_name<'e>(event: &'e Event, process: Option<&Process>, uid: fn(&Process) -> u32) -> Value<'e> {
    let name = process.and_then(|p| event.names_of(p)?.users.get(&uid(p)));
    name.map_or(Value::Missing, Value::some_text)
}

/// The name of one of a process's groups, where that process runs.
fn group_name<'e>(event: &'e Event, process: Option<&Process>, gid: fn(&Process) -> u32) -> Value<'e> {
    let name = process.and_then(|p| event.names_of(p)?.groups.get(&gid(p)));
    name.map_or(Value::Missing, Value::some_text)
}

/// Who logged in did so on the host, whatever the process runs in by now.
fn login_name(event: &Event) -> Value<'_> {
    let uid = me(event).map(|process| process.loginuid);
    uid.and_then(|uid| event.around.users.users.get(&uid)).map_or(Value::Missing, Value::some_text)
}

fn sha256(event: &Event) -> Option<&Text> {
    event.program.as_deref().map(|program| &program.sha256).filter(|hash| !hash.is_empty())
}

fn package<'e>(event: &'e Event, take: fn(&'e Package) -> &'e Text) -> Value<'e> {
    let package = event.program.as_deref().and_then(|program| program.package.as_ref());
    package.map_or(Value::Missing, |package| Value::some_text(take(package)))
}

fn arg_list(process: Option<&Process>) -> Value<'_> {
    process.map_or(Value::Missing, |process| Value::some_list(process.args.iter().map(Cow::Borrowed)))
}

fn capability_list<'e>(process: Option<&Process>, take: fn(&Process) -> u64) -> Value<'e> {
    process.map_or(Value::Missing, |process| {
        Value::some_list(flags::capabilities(take(process)).map(|name| Cow::Borrowed(name.as_bytes())))
    })
}

fn capability_text<'e>(process: Option<&Process>, take: fn(&Process) -> u64) -> Value<'e> {
    process.map_or(Value::Missing, |process| {
        Value::owned(flags::joined(flags::capabilities(take(process)), " "))
    })
}

/// Wall clock of a time on the boot clock, by the offset that the event itself shows.
fn wall(event: &Event, boot_ns: u64) -> Option<i64> {
    let source = event.source?;
    let ago = i64::try_from(source.boot_ns).ok()?.checked_sub(i64::try_from(boot_ns).ok()?)?;
    event.time_ns.checked_sub(ago)
}

fn start<'e>(event: &Event, process: Option<&Process>) -> Value<'e> {
    process.and_then(|process| wall(event, process.start_boot_ns)).map_or(Value::Missing, Value::Time)
}

fn age_ns(event: &Event) -> Option<u64> {
    event.source?.boot_ns.checked_sub(me(event)?.start_boot_ns)
}

/// The device number that `proc.tty` has (34816 is pts/0), split as the kernel's `new_decode_dev`.
fn tty<'e>(event: &Event, take: fn(u32) -> u32) -> Value<'e> {
    me(event).map(|process| process.tty).filter(|tty| *tty != 0).map(take).into()
}

fn tty_major(tty: u32) -> u32 {
    (tty & 0xfff00) >> 8
}

fn tty_minor(tty: u32) -> u32 {
    (tty & 0xff) | ((tty >> 12) & 0xfff00)
}

fn exit_status(event: &Event) -> Option<u32> {
    if let Body::Exit { status, .. } = event.body { Some(status) } else { None }
}

/// Rows that exist for a process, its parent and its session leader alike.
macro_rules! ecs_process {
    ($prefix:literal, $who:expr) => {
        [
            Field::wire(
                concat!($prefix, ".entity_id"),
                Type::Text,
                "stable id: hash of machine, boot, pid, start",
                |e, _| $who(e).map_or(Value::Missing, |p| Value::shown(p.entity_id)),
            )
            .needs(Need::ProcessTable),
            Field::wire(concat!($prefix, ".start"), Type::Time, "when the process was created", |e, _| {
                start(e, $who(e))
            })
            .needs(Need::ProcessTable),
            Field::wire(concat!($prefix, ".user.id"), Type::Text, "effective user id", |e, _| {
                keyword($who(e), |p| p.creds.euid.into())
            })
            .needs(Need::ProcessTable),
            Field::wire(concat!($prefix, ".user.name"), Type::Text, "effective user's name", |e, _| {
                user_name(e, $who(e), |p| p.creds.euid)
            })
            .needs(Need::Names),
        ]
    };
}

const SELF_ROWS: [Field; 4] = ecs_process!("process", me);
const PARENT_ROWS: [Field; 4] = ecs_process!("process.parent", Event::parent);
const LEADER_ROWS: [Field; 4] = ecs_process!("process.session_leader", leader);

const fn plain(row: &[Field; 4], n: usize) -> Field {
    match (row, n) {
        ([field, ..], 0) | ([_, field, ..], 1) | ([_, _, field, _], 2) | ([_, _, _, field], _) => *field,
    }
}

/// The flags of a start of a program, as the published language names them.
pub(super) fn exe_flags(process: &Process) -> String {
    let facts = [
        (process.exe.ino != 0 && is_exe_writable(process), "EXE_WRITABLE"),
        (process.layer == Some(Layer::Upper), "EXE_UPPER_LAYER"),
        (process.layer == Some(Layer::Lower), "EXE_LOWER_LAYER"),
        (process.memfd, "EXE_FROM_MEMFD"),
    ];
    flags::joined(facts.into_iter().filter(|(set, _)| *set).map(|(_, name)| name), "|")
}

/// By owner, group, others, or a capability that passes over permissions.
fn is_exe_writable(process: &Process) -> bool {
    const OVERRIDES: u64 = 1 << 1 | 1 << 3;
    let (mode, creds) = (process.exe.mode, &process.creds);
    creds.cap_effective & OVERRIDES != 0
        || mode & 0o002 != 0
        || (mode & 0o200 != 0 && creds.fsuid == process.exe.uid)
        || (mode & 0o020 != 0 && creds.fsgid == process.exe.gid)
}

/// What the program's file gave the process beyond the rights of its starter.
fn elevations(process: &Process) -> impl Iterator<Item = &'static str> {
    let (mode, creds) = (process.exe.mode, &process.creds);
    let setuid = mode & 0o4000 != 0 && creds.euid == process.exe.uid && creds.euid != creds.uid;
    let setgid = mode & 0o2010 == 0o2010 && creds.egid == process.exe.gid && creds.egid != creds.gid;
    // Without root, a permitted capability that is not ambient comes from the file.
    let capabilities = creds.euid != 0 && creds.uid != 0 && creds.cap_permitted & !creds.cap_ambient != 0;
    let all = [(setuid, "setuid"), (setgid, "setgid"), (capabilities, "file_capabilities")];
    all.into_iter().filter(|(is, _)| *is).map(|(_, name)| name)
}

fn variables(process: &Process) -> impl Iterator<Item = &[u8]> {
    process.environment.as_bytes().split(|byte| *byte == 0).filter(|variable| !variable.is_empty())
}

fn variable<'e>(process: &'e Process, arg: &Arg) -> Value<'e> {
    match arg {
        Arg::Key(key) => variables(process)
            .find_map(|variable| variable.strip_prefix(key.as_bytes())?.strip_prefix(b"="))
            .map_or(Value::Missing, Value::text),
        _ if process.environment.is_empty() => Value::Missing,
        _ => Value::owned(variables(process).collect::<Vec<_>>().join(&b' ')),
    }
}

const fn usage(event: &Event) -> Option<&Usage> {
    if let Body::Exit { usage, .. } = &event.body { Some(usage) } else { None }
}

pub(super) const FIELDS: &[Field] = &[
    plain(&SELF_ROWS, 0).ocsf("process.uid").cef("cs6").leef("processUid"),
    plain(&SELF_ROWS, 1).ocsf("process.created_time"),
    plain(&SELF_ROWS, 2).ocsf("process.user.uid").shows(&["user.id"]),
    plain(&SELF_ROWS, 3).ocsf("process.user.name").shows(&["user.name"]),
    Field::new("proc.name", Type::Text, "command name of the process, at most 15 bytes", |e, _| {
        text(me(e), |p| &p.comm)
    })
    .ecs("process.name")
    .ocsf("process.name")
    .leef("processName")
    .kernel(KernelAtom::Comm),
    Field::new("proc.pid", Type::Number, "process id in the initial pid namespace", |e, _| {
        number(me(e), |p| p.pid.into())
    })
    .ecs("process.pid")
    .ocsf("process.pid")
    .cef("spid")
    .leef("processId"),
    Field::new("thread.tid", Type::Number, "thread id in the initial pid namespace", |e, _| {
        (e.tid != 0).then_some(e.tid).into()
    })
    .ecs("process.thread.id")
    .ocsf("process.ptid"),
    Field::new("proc.vpid", Type::Number, "process id in the process's own pid namespace", |e, _| {
        known(me(e), |p| p.vpid.into())
    })
    .ecs("process.vpid")
    .ocsf("process.namespace_pid"),
    Field::new("proc.exepath", Type::Text, "path of the program, as the kernel resolves it", |e, _| {
        text(me(e), |p| &p.path)
    })
    .ecs("process.executable")
    .ocsf("process.file.path")
    .cef("sproc")
    .leef("processPath")
    .kernel(KernelAtom::ExePath),
    Field::new("proc.exe", Type::Text, "argv[0]: what the process calls itself", |e, _| argv0(me(e)))
        .shows(&["process.args", "process.command_line"]),
    Field::new("proc.filename", Type::Text, "path given to execve; for a script the script", |e, _| {
        text(me(e), |p| &p.filename)
    })
    .ecs("hostward.process.filename")
    .shows(&["process.executable"])
    .needs(Need::ProcessTable),
    Field::new(
        "proc.args",
        Type::Text,
        "argv[1] and on, joined by blanks; [n]: the n-th of them",
        |e, arg| {
            let Some(process) = me(e) else { return Value::Missing };
            match arg {
                Arg::Index(n) => {
                    let n = usize::try_from(*n).unwrap_or(usize::MAX).saturating_add(1);
                    process.args.iter().nth(n).map_or(Value::Missing, Value::text)
                }
                _ => Value::owned(arguments(&process.args)),
            }
        },
    )
    .takes(ArgKind::OptionalIndex)
    .shows(&["process.args", "process.command_line"]),
    Field::new("proc.cmdline", Type::Text, "command name and arguments, joined by blanks", |e, _| {
        me(e).map_or(Value::Missing, |p| Value::owned(command_line(p)))
    })
    .ecs("process.command_line")
    .ocsf("process.cmd_line")
    .cef("cs1")
    .leef("commandLine")
    .shows(&["process.args", "process.name"]),
    Field::wire("process.args", Type::List, "all arguments, argv[0] first", |e, _| arg_list(me(e)))
        .shows(&["process.command_line"]),
    Field::wire("process.args_count", Type::Number, "how many arguments were taken", |e, _| {
        me(e).map(|p| p.args.iter().count() as u64).filter(|n| *n > 0).into()
    }),
    Field::wire(
        "hostward.process.args_bytes",
        Type::Number,
        "length in bytes of all arguments, when cut",
        |e, _| me(e).filter(|p| p.args.truncated()).map(|p| p.args.total_bytes).into(),
    ),
    Field::new("proc.cwd", Type::Text, "working directory at exec, with a slash at its end", |e, _| {
        let cwd = me(e).map(|p| p.cwd.as_bytes()).filter(|cwd| !cwd.is_empty());
        cwd.map_or(Value::Missing, |cwd| match cwd.ends_with(b"/") {
            true => Value::text(cwd),
            false => Value::owned(spare::concat(&[cwd, b"/"])),
        })
    })
    .shows(&["process.working_directory"]),
    Field::wire("process.working_directory", Type::Text, "working directory at exec", |e, _| {
        text(me(e), |p| &p.cwd)
    })
    .ocsf("process.working_directory"),
    Field::new("proc.ppid", Type::Number, "process id of the parent", |e, _| known(me(e), |p| p.ppid.into()))
        .ecs("process.parent.pid")
        .ocsf("process.parent_process.pid")
        .cef("cn1")
        .leef("parentProcessId"),
    plain(&PARENT_ROWS, 0).ocsf("process.parent_process.uid"),
    plain(&PARENT_ROWS, 1).ocsf("process.parent_process.created_time"),
    plain(&PARENT_ROWS, 2).ocsf("process.parent_process.user.uid"),
    plain(&PARENT_ROWS, 3).ocsf("process.parent_process.user.name"),
    Field::new("proc.pname", Type::Text, "command name of the parent", |e, _| text(e.parent(), |p| &p.comm))
        .ecs("process.parent.name")
        .ocsf("process.parent_process.name")
        .needs(Need::ProcessTable),
    Field::new("proc.pexepath", Type::Text, "path of the parent's program", |e, _| {
        text(e.parent(), |p| &p.path)
    })
    .ecs("process.parent.executable")
    .ocsf("process.parent_process.file.path")
    .cef("cs2")
    .leef("parentProcessPath")
    .needs(Need::ProcessTable),
    Field::new("proc.pexe", Type::Text, "argv[0] of the parent", |e, _| argv0(e.parent()))
        .shows(&["process.parent.args", "process.parent.command_line"])
        .needs(Need::ProcessTable),
    Field::new("proc.pcmdline", Type::Text, "command name and arguments of the parent", |e, _| {
        e.parent().map_or(Value::Missing, |p| Value::owned(command_line(p)))
    })
    .ecs("process.parent.command_line")
    .ocsf("process.parent_process.cmd_line")
    .shows(&["process.parent.args", "process.parent.name"])
    .needs(Need::ProcessTable),
    Field::wire("process.parent.args", Type::List, "arguments of the parent", |e, _| arg_list(e.parent()))
        .shows(&["process.parent.command_line"])
        .needs(Need::ProcessTable),
    Field::new(
        "proc.aname",
        Type::Text,
        "command name of ancestor [n], 1 is the parent; without [n] any",
        |e, a| ancestry(e, a, |p| bytes(&p.comm)),
    )
    .shows(&["process.name", "process.parent.name"])
    .takes(ArgKind::OptionalIndex)
    .needs(Need::ProcessTable),
    Field::new("proc.aexe", Type::Text, "argv[0] of ancestor [n]; without [n] any", |e, a| {
        ancestry(e, a, |p| p.args.iter().next())
    })
    .shows(&["process.args", "process.parent.args"])
    .takes(ArgKind::OptionalIndex)
    .needs(Need::ProcessTable),
    Field::new("proc.aexepath", Type::Text, "program path of ancestor [n]; without [n] any", |e, a| {
        ancestry(e, a, |p| bytes(&p.path))
    })
    .shows(&["process.executable", "process.parent.executable"])
    .takes(ArgKind::OptionalIndex)
    .needs(Need::ProcessTable),
    Field::new("proc.apid", Type::Number, "process id of ancestor [n]", |e, a| match a {
        Arg::Index(n) => number(ancestor(e, *n), |p| p.pid.into()),
        _ => known(e.parent(), |p| p.pid.into()),
    })
    .shows(&["process.pid", "process.parent.pid"])
    .takes(ArgKind::OptionalIndex)
    .needs(Need::ProcessTable),
    Field::new("proc.sid", Type::Number, "session id", |e, _| known(me(e), |p| p.sid.into()))
        .ecs("process.session_leader.pid"),
    plain(&LEADER_ROWS, 0),
    plain(&LEADER_ROWS, 1),
    plain(&LEADER_ROWS, 2),
    plain(&LEADER_ROWS, 3),
    Field::new("proc.sname", Type::Text, "command name of the session leader", |e, _| {
        text(leader(e), |p| &p.comm)
    })
    .ecs("process.session_leader.name")
    .needs(Need::ProcessTable),
    Field::wire("process.session_leader.executable", Type::Text, "program of the session leader", |e, _| {
        text(leader(e), |p| &p.path)
    })
    .needs(Need::ProcessTable),
    Field::new("proc.pgid", Type::Number, "process group id", |e, _| known(me(e), |p| p.pgid.into()))
        .ecs("process.group_leader.pid"),
    Field::new("proc.vpgid", Type::Number, "process group id in the process's own pid namespace", |e, _| {
        known(me(e), |p| p.vpgid.into())
    }),
    Field::new("proc.is_vpgid_leader", Type::Bool, "the process leads its process group", |e, _| {
        me(e).filter(|p| p.vpid != 0).map(|p| p.vpid == p.vpgid).into()
    }),
    Field::new(
        "proc.tty",
        Type::Number,
        "controlling terminal as a device number (34816: pts/0); 0: none",
        |e, _| number(me(e), |p| p.tty.into()),
    )
    .shows(&["process.tty"]),
    Field::wire("process.tty.char_device.major", Type::Number, "major number of the terminal", |e, _| {
        tty(e, tty_major)
    }),
    Field::wire("process.tty.char_device.minor", Type::Number, "minor number of the terminal", |e, _| {
        tty(e, tty_minor)
    }),
    Field::wire("process.interactive", Type::Bool, "the process has a terminal", |e, _| {
        me(e).map(|p| p.tty != 0).into()
    }),
    Field::new("proc.duration", Type::Number, "ns from the creation of the process to the event", |e, _| {
        age_ns(e).into()
    }),
    Field::wire("process.uptime", Type::Number, "seconds that the process lived (exit only)", |e, _| {
        exit_status(e).and_then(|_| age_ns(e)).map(|ns| ns / 1_000_000_000).into()
    }),
    Field::wire(
        "process.exit_code",
        Type::Number,
        "exit code; 128 + signal when a signal ended it",
        |e, _| exit_status(e).map(|s| if s & 0x7f == 0 { (s >> 8) & 0xff } else { 128 + (s & 0x7f) }).into(),
    )
    .ocsf("exit_code")
    .cef("cn2")
    .leef("exitCode"),
    Field::wire("process.end", Type::Time, "when the process ended", |e, _| {
        exit_status(e).map_or(Value::Missing, |_| Value::Time(e.time_ns))
    })
    .ocsf("process.terminated_time"),
    Field::new("proc.exit.signal", Type::Number, "signal that ended the process", |e, _| {
        exit_status(e).map(|s| s & 0x7f).filter(|signal| *signal != 0).into()
    })
    .on(KindSet::of(&[EventKind::Exit]))
    .ecs("hostward.process.exit_signal"),
    Field::new("proc.exit.core_dumped", Type::Bool, "a core dump was written", |e, _| {
        exit_status(e).filter(|s| s & 0x7f != 0).map(|s| s & 0x80 != 0).into()
    })
    .on(KindSet::of(&[EventKind::Exit]))
    .ecs("hostward.process.core_dumped"),
    Field::new("proc.cpu.user_ns", Type::Number, "user CPU time of all threads, ns (exit only)", |e, _| {
        if let Body::Exit { utime_ns, .. } = e.body { Value::number(utime_ns) } else { Value::Missing }
    })
    .on(KindSet::of(&[EventKind::Exit]))
    .ecs("hostward.process.cpu.user_ns"),
    Field::new(
        "proc.cpu.system_ns",
        Type::Number,
        "system CPU time of all threads, ns (exit only)",
        |e, _| {
            if let Body::Exit { stime_ns, .. } = e.body { Value::number(stime_ns) } else { Value::Missing }
        },
    )
    .on(KindSet::of(&[EventKind::Exit]))
    .ecs("hostward.process.cpu.system_ns"),
    Field::new("proc.is_exe_from_memfd", Type::Bool, "the program was made by memfd_create", |e, _| {
        me(e).filter(|p| !p.path.is_empty()).map(|p| p.memfd).into()
    })
    .ecs("hostward.process.memfd"),
    Field::new(
        "proc.is_exe_upper_layer",
        Type::Bool,
        "the program lies in the writable layer of a container",
        |e, _| me(e).filter(|p| !p.path.is_empty()).map(|p| p.layer == Some(Layer::Upper)).into(),
    ),
    Field::new(
        "proc.is_exe_lower_layer",
        Type::Bool,
        "the program lies in a layer of a container's image",
        |e, _| me(e).filter(|p| !p.path.is_empty()).map(|p| p.layer == Some(Layer::Lower)).into(),
    ),
    Field::wire(
        "hostward.process.overlay_layer",
        Type::Text,
        "layer that holds the program: upper, lower",
        |e, _| me(e).and_then(|p| p.layer).map(Layer::name).into(),
    ),
    Field::new("proc.is_exe_writable", Type::Bool, "the process may change its own program", |e, _| {
        me(e).filter(|p| p.exe.ino != 0).map(is_exe_writable).into()
    }),
    Field::wire(
        "hostward.process.script",
        Type::Text,
        "the script that the program interprets, made absolute",
        |e, _| match me(e).filter(|p| p.script) {
            Some(p) => Value::Text(normalise(p.cwd.as_bytes(), p.filename.as_bytes())),
            None => Value::Missing,
        },
    )
    .shows(&["hostward.process.filename"]),
    Field::wire(
        "hostward.process.elevated_by",
        Type::List,
        "why it has more rights than its starter: setuid, setgid, file_capabilities",
        |e, _| {
            me(e).map_or(Value::Missing, |p| {
                Value::some_list(elevations(p).map(|word| word.as_bytes().into()))
            })
        },
    )
    .on(KindSet::of(&[EventKind::Exec])),
    Field::new(
        "proc.env",
        Type::Text,
        "environment at exec, KEY=VALUE joined by blanks; [KEY] one value",
        |e, arg| me(e).map_or(Value::Missing, |p| variable(p, arg)),
    )
    .takes(ArgKind::OptionalKey)
    .shows(&["process.env_vars"]),
    Field::wire("process.env_vars", Type::List, "variables of the environment that are asked for", |e, _| {
        me(e).map_or(Value::Missing, |p| Value::some_list(variables(p).map(Cow::Borrowed)))
    })
    .on(KindSet::of(&[EventKind::Exec])),
    Field::wire("hostward.process.max_rss", Type::Number, "most resident memory at once, bytes", |e, _| {
        usage(e).map(|usage| usage.max_rss_bytes).into()
    })
    .on(KindSet::of(&[EventKind::Exit])),
    Field::wire("hostward.process.minor_faults", Type::Number, "page faults that needed no disk", |e, _| {
        usage(e).map(|usage| usage.minor_faults).into()
    })
    .on(KindSet::of(&[EventKind::Exit])),
    Field::wire("hostward.process.major_faults", Type::Number, "page faults that read from disk", |e, _| {
        usage(e).map(|usage| usage.major_faults).into()
    })
    .on(KindSet::of(&[EventKind::Exit])),
    Field::new("proc.exe_deleted", Type::Bool, "the program had no name left when it was started", |e, _| {
        me(e).filter(|p| p.exe.ino != 0).map(|p| p.exe.nlink == 0 && !p.memfd).into()
    })
    .ecs("hostward.process.deleted"),
    Field::new("proc.exe_ino", Type::Number, "inode number of the program", |e, _| {
        known(me(e), |p| p.exe.ino)
    }),
    Field::new("proc.exe_ino.ctime", Type::Number, "change time of the program's inode, ns", |e, _| {
        me(e).filter(|p| p.exe.ino != 0).map(|p| p.exe.ctime_ns).into()
    }),
    Field::new("proc.exe_ino.mtime", Type::Number, "modification time of the program's inode, ns", |e, _| {
        me(e).filter(|p| p.exe.ino != 0).map(|p| p.exe.mtime_ns).into()
    }),
    Field::new(
        "proc.exe_ino.ctime_duration_proc_start",
        Type::Number,
        "ns from the last change of the program's inode to the start of the process",
        |e, _| {
            let process = me(e).filter(|p| p.exe.ino != 0);
            let ns = process.and_then(|p| wall(e, p.start_boot_ns)?.checked_sub(p.exe.ctime_ns));
            ns.filter(|ns| *ns >= 0).into()
        },
    ),
    Field::wire("process.hash.sha256", Type::Text, "SHA-256 of the program's file", |e, _| {
        sha256(e).map_or(Value::Missing, Value::some_text)
    })
    .cef("fileHash")
    .leef("fileHash")
    .needs(Need::Program),
    Field::wire("related.hash", Type::List, "all hashes of the event (exec only)", |e, _| {
        Value::some_list(sha256(e).map(|hash| Cow::Borrowed(hash.as_bytes())))
    })
    .on(EXEC)
    .shows(&["process.hash.sha256"])
    .needs(Need::Program),
    Field::new(
        "proc.is_exe_packaged",
        Type::Bool,
        "a package of the host brought the program; missing in containers and without programs.packages",
        |e, _| e.program.as_deref().and_then(|program| program.packaged).into(),
    )
    .ecs("hostward.process.packaged")
    .needs(Need::Program),
    Field::new("proc.exe_package", Type::Text, "package that brought the program", |e, _| {
        package(e, |package| &package.name)
    })
    .ecs("package.name")
    .needs(Need::Program),
    Field::wire("package.version", Type::Text, "version of that package", |e, _| {
        package(e, |package| &package.version)
    })
    .needs(Need::Program),
    Field::wire("package.architecture", Type::Text, "architecture of that package", |e, _| {
        package(e, |package| &package.architecture)
    })
    .needs(Need::Program),
    Field::new(
        "proc.stdin.type",
        Type::Text,
        "what descriptor 0 was at exec: socket, fifo, char_device, …",
        |e, _| me(e).and_then(|p| p.stdin.name()).into(),
    )
    .ecs("hostward.process.stdin"),
    Field::new("proc.stdout.type", Type::Text, "what descriptor 1 was at exec", |e, _| {
        me(e).and_then(|p| p.stdout.name()).into()
    })
    .ecs("hostward.process.stdout"),
    Field::new("user.uid", Type::Number, "effective user id", |e, _| number(me(e), |p| p.creds.euid.into()))
        .shows(&["user.id", "process.user.id"]),
    Field::wire("user.name", Type::Text, "effective user's name", |e, _| {
        user_name(e, me(e), |p| p.creds.euid)
    })
    .cef("suser")
    .leef("usrName")
    .shows(&["process.user.name"])
    .needs(Need::Names),
    Field::wire("user.id", Type::Text, "effective user id", |e, _| keyword(me(e), |p| p.creds.euid.into()))
        .cef("suid")
        .leef("userId")
        .shows(&["process.user.id"]),
    Field::wire("process.real_user.id", Type::Text, "real user id", |e, _| {
        keyword(me(e), |p| p.creds.uid.into())
    }),
    Field::wire("process.real_user.name", Type::Text, "real user's name", |e, _| {
        user_name(e, me(e), |p| p.creds.uid)
    })
    .needs(Need::Names),
    Field::wire("process.saved_user.id", Type::Text, "saved user id", |e, _| {
        keyword(me(e), |p| p.creds.suid.into())
    }),
    Field::new("group.gid", Type::Number, "effective group id", |e, _| {
        number(me(e), |p| p.creds.egid.into())
    })
    .shows(&["process.group.id"]),
    Field::new("group.name", Type::Text, "effective group's name", |e, _| {
        group_name(e, me(e), |p| p.creds.egid)
    })
    .ecs("process.group.name")
    .needs(Need::Names),
    Field::wire("process.group.id", Type::Text, "effective group id", |e, _| {
        keyword(me(e), |p| p.creds.egid.into())
    }),
    Field::wire("process.real_group.id", Type::Text, "real group id", |e, _| {
        keyword(me(e), |p| p.creds.gid.into())
    }),
    Field::new("user.loginuid", Type::Number, "audit login uid; -1: unset", |e, _| {
        me(e).map(|p| if p.loginuid == u32::MAX { -1 } else { i64::from(p.loginuid) }).into()
    })
    .ecs("hostward.process.loginuid"),
    Field::new("user.loginname", Type::Text, "name of the audit login uid", |e, _| login_name(e))
        .ecs("hostward.process.login_user")
        .needs(Need::Host),
    Field::new(
        "thread.cap_effective",
        Type::Text,
        "effective capabilities, CAP_* joined by blanks",
        |e, _| capability_text(me(e), |p| p.creds.cap_effective),
    )
    .shows(&["process.thread.capabilities.effective"]),
    Field::new("thread.cap_permitted", Type::Text, "permitted capabilities", |e, _| {
        capability_text(me(e), |p| p.creds.cap_permitted)
    })
    .shows(&["process.thread.capabilities.permitted"]),
    Field::new("thread.cap_inheritable", Type::Text, "inheritable capabilities", |e, _| {
        capability_text(me(e), |p| p.creds.cap_inheritable)
    }),
    Field::wire("process.thread.capabilities.effective", Type::List, "effective capabilities", |e, _| {
        capability_list(me(e), |p| p.creds.cap_effective)
    }),
    Field::wire("process.thread.capabilities.permitted", Type::List, "permitted capabilities", |e, _| {
        capability_list(me(e), |p| p.creds.cap_permitted)
    }),
    Field::new("proc.mnt_ns", Type::Number, "inode number of the mount namespace", |e, _| {
        known(me(e), |p| p.ns.mnt.into())
    })
    .ecs("hostward.process.namespace.mnt"),
    Field::new("proc.pid_ns", Type::Number, "inode number of the pid namespace", |e, _| {
        known(me(e), |p| p.ns.pid.into())
    })
    .ecs("hostward.process.namespace.pid"),
    Field::new("proc.net_ns", Type::Number, "inode number of the network namespace", |e, _| {
        known(me(e), |p| p.ns.net.into())
    })
    .ecs("hostward.process.namespace.net"),
    Field::new("proc.user_ns", Type::Number, "inode number of the user namespace", |e, _| {
        known(me(e), |p| p.ns.user.into())
    })
    .ecs("hostward.process.namespace.user"),
    Field::new("systemd.unit", Type::Text, "systemd unit, or the scope of a login session", |e, _| {
        me(e).map_or(Value::Missing, |p| Value::some_text(&p.workload.unit))
    })
    .ecs("hostward.systemd.unit")
    .needs(Need::Cgroup),
    Field::new("systemd.slice", Type::Text, "systemd slice", |e, _| {
        me(e).map_or(Value::Missing, |p| Value::some_text(&p.workload.slice))
    })
    .ecs("hostward.systemd.slice")
    .needs(Need::Cgroup),
    Field::new("cgroup.id", Type::Number, "cgroup id (inode)", |e, _| known(me(e), |p| p.workload.cgroup.id))
        .ecs("hostward.cgroup.id"),
    Field::new("cgroup.path", Type::Text, "cgroup path, as far as it is known", |e, _| {
        let Some(workload) = me(e).map(|p| &p.workload) else { return Value::Missing };
        if workload.path.is_empty() {
            Value::some_text(&workload.cgroup.leaf)
        } else {
            Value::some_text(&workload.path)
        }
    })
    .ecs("hostward.cgroup.path")
    .shows(&["container.id", "orchestrator.resource.id", "hostward.systemd.unit", "hostward.systemd.slice"])
    .needs(Need::Cgroup),
    Field::new("proc.killed_by_kernel", Type::Bool, "a response killed the process inside execve", |e, _| {
        if let Body::Exec { killed } = e.body { killed.into() } else { Value::Missing }
    })
    .on(EXEC),
    Field::new(
        "evt.type",
        Type::Text,
        "name of the system call or of what happened: execve, openat, procexit, …",
        |e, _| event_type(e).into(),
    )
    .ecs("hostward.evt.type"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_number_splits_as_the_kernel_does() {
        assert_eq!((tty_major(34816), tty_minor(34816)), (136, 0));
        assert_eq!((tty_major(0x0010_8801), tty_minor(0x0010_8801)), (136, 0x101));
    }
}
