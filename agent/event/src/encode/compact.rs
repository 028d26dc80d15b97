//! One readable line per event, for a person at a terminal.

use super::view::View;
use crate::event::{Alert, Body, Priority};
use crate::process::Process;
use crate::raw::{Endpoint, RawConnect, RawOpen};
use crate::redact::REDACTED;
use crate::registry::Value;
use crate::text::escape;
use crate::workload::Container;
use std::fmt::{self, Write as _};

/// Longest command line shown, in characters; the feed has all of it.
const COMMAND_CHARS: usize = 120;

#[derive(Clone, Copy)]
enum Ink {
    Dim,
    Green,
    Blue,
    Cyan,
    Yellow,
    Red,
    RedBold,
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Self::Dim => "\x1b[2m",
            Self::Green => "\x1b[32m",
            Self::Blue => "\x1b[34m",
            Self::Cyan => "\x1b[36m",
            Self::Yellow => "\x1b[33m",
            Self::Red => "\x1b[31m",
            Self::RedBold => "\x1b[1;31m",
        }
    }
}

struct Line {
    text: String,
    colour: bool,
}

impl Line {
    fn ink(&mut self, ink: Ink, write: impl FnOnce(&mut String) -> fmt::Result) -> fmt::Result {
        if self.colour {
            self.text.push_str(ink.code());
        }
        write(&mut self.text)?;
        if self.colour {
            self.text.push_str("\x1b[0m");
        }
        Ok(())
    }
}

pub(super) fn write(view: View<'_>, colour: bool, out: &mut Vec<u8>) {
    let mut line = Line { text: String::with_capacity(160), colour };
    // Writing to a String cannot fail.
    let _ = write_line(view, &mut line);
    out.extend_from_slice(line.text.as_bytes());
}

fn write_line(view: View<'_>, line: &mut Line) -> fmt::Result {
    let event = view.event();
    let time = jiff::Timestamp::from_nanosecond(event.time_ns.into()).unwrap_or_default();
    line.ink(Ink::Dim, |out| write!(out, "{}", time.strftime("%H:%M:%S.%3f")))?;
    line.text.push(' ');
    if let Some(alert) = &event.alert {
        return write_alert(view, alert, line);
    }
    match &event.body {
        Body::Exec { killed } => {
            line.ink(Ink::Green, |out| out.write_str("exec   "))?;
            who(view, line)?;
            line.text.push(' ');
            command(view, event.process.as_deref(), &mut line.text)?;
            if *killed {
                line.ink(Ink::RedBold, |out| out.write_str(" KILLED"))?;
            }
        }
        Body::Fork => {
            line.ink(Ink::Dim, |out| out.write_str("fork   "))?;
            who(view, line)?;
            if let Some(parent) = event.parent() {
                line.text.push_str(" from ");
                shown(view, "process.parent.name", parent.comm.as_bytes(), &mut line.text)?;
                pid(view, "process.parent.pid", parent.pid, &mut line.text)?;
            }
        }
        Body::Exit { status, .. } => {
            line.ink(Ink::Dim, |out| out.write_str("exit   "))?;
            who(view, line)?;
            match (status & 0x7f, (status >> 8) & 0xff) {
                (0, 0) => line.text.push_str(" code 0"),
                (0, code) => line.ink(Ink::Yellow, |out| write!(out, " code {code}"))?,
                (signal, _) => line.ink(Ink::Yellow, |out| write!(out, " signal {signal}"))?,
            }
        }
        Body::Open(open) => {
            line.ink(Ink::Blue, |out| out.write_str("open   "))?;
            who(view, line)?;
            line.text.push(' ');
            file(view, open, line)?;
        }
        Body::CloseWrite(close) => {
            line.ink(Ink::Blue, |out| out.write_str("close  "))?;
            who(view, line)?;
            line.text.push(' ');
            shown(view, "file.path", close.path.as_bytes(), &mut line.text)?;
            if view.shows("file.size") {
                write!(line.text, " {} B", close.size_bytes)?;
            }
        }
        Body::Connect(connect) => {
            line.ink(Ink::Cyan, |out| out.write_str("connect"))?;
            line.text.push(' ');
            who(view, line)?;
            line.text.push_str(" -> ");
            address(view, connect, &mut line.text)?;
            result(view, line)?;
        }
        Body::ConnectionEnd(end) => {
            line.ink(Ink::Cyan, |out| out.write_str("close  "))?;
            line.text.push(' ');
            who(view, line)?;
            line.text.push_str(if end.socket.server { " <- " } else { " -> " });
            address(view, &end.socket, &mut line.text)?;
            if let (Some(sent), Some(received)) = (end.sent_bytes, end.received_bytes) {
                write!(line.text, " sent {sent} B, received {received} B")?;
            }
        }
        Body::Signal(signal) => {
            line.ink(Ink::Yellow, |out| out.write_str("signal "))?;
            who(view, line)?;
            line.text.push(' ');
            field(view, "hostward.signal.name", &mut line.text)?;
            line.text.push_str(" -> ");
            shown(view, "hostward.signal.target.name", signal.sent.target_comm.as_bytes(), &mut line.text)?;
            pid(view, "hostward.signal.target.pid", signal.sent.target_pid, &mut line.text)?;
        }
        Body::UdpSend(socket) => {
            line.ink(Ink::Cyan, |out| out.write_str("udp    "))?;
            line.text.push(' ');
            who(view, line)?;
            line.text.push_str(" -> ");
            address(view, socket, &mut line.text)?;
        }
        Body::Dns(dns) => {
            line.ink(Ink::Cyan, |out| out.write_str("dns    "))?;
            line.text.push(' ');
            who(view, line)?;
            line.text.push_str(if dns.answer { " <- " } else { " -> " });
            address(view, &dns.socket, &mut line.text)?;
            for name in ["dns.question.type", "dns.question.name", "dns.response_code", "dns.answers.data"] {
                line.text.push(' ');
                field(view, name, &mut line.text)?;
            }
        }
        Body::Cgroup(change) => {
            line.ink(Ink::Dim, |out| out.write_str("cgroup "))?;
            who(view, line)?;
            line.text.push_str(if change.removed { " removed " } else { " made " });
            shown(view, "hostward.cgroup.changed.path", change.path.as_bytes(), &mut line.text)?;
        }
        Body::Call(call) => {
            line.ink(Ink::Blue, |out| write!(out, "{:<7}", call.kind.name()))?;
            line.text.push(' ');
            who(view, line)?;
            line.text.push(' ');
            arguments(view, &mut line.text)?;
            result(view, line)?;
        }
        Body::Gap(_) => {
            line.ink(Ink::Red, |out| out.write_str("LOST   "))?;
            field(view, "message", &mut line.text)?;
        }
        Body::Agent(notice) => {
            let ink = if notice.success { Ink::Cyan } else { Ink::Red };
            line.ink(ink, |out| out.write_str("agent  "))?;
            write!(line.text, "{}", notice.message)?;
        }
    }
    Ok(())
}

fn write_alert(view: View<'_>, alert: &Alert, line: &mut Line) -> fmt::Result {
    let event = view.event();
    let ink = if alert.rule.priority <= Priority::Error { Ink::RedBold } else { Ink::Yellow };
    line.ink(ink, |out| write!(out, "ALERT  {} {}", alert.rule.priority.name(), alert.rule.name))?;
    let message = match view.named("message") {
        Value::Text(text) => String::from_utf8_lossy(&text).into_owned(),
        _ => String::new(),
    };
    // Outputs often begin with the rule's name.
    let name = alert.rule.name.to_string();
    let rest = message.strip_prefix(name.as_str()).unwrap_or_else(|| {
        line.text.push_str(": ");
        &message
    });
    // A rule's output is escaped when it is formatted: its backslashes are not doubled once more.
    for part in rest.split_inclusive('\\') {
        let plain = part.strip_suffix('\\');
        escape(plain.unwrap_or(part).as_bytes(), &mut line.text)?;
        line.text.push_str(if plain.is_some() { "\\" } else { "" });
    }
    if let Some(container) = event.process.as_deref().and_then(|p| p.workload.container.as_ref()) {
        line.text.push_str(" container=");
        shown(view, "container.id", container.short_id(), &mut line.text)?;
        for (key, name) in [
            (" name=", "container.name"),
            (" image=", "container.image.name"),
            (" tag=", "container.image.tag"),
            (" pod=", "orchestrator.resource.name"),
            (" namespace=", "orchestrator.namespace"),
        ] {
            if let Value::Text(text) = view.named(name) {
                line.text.push_str(key);
                escape(&text, &mut line.text)?;
            }
        }
    }
    if !alert.response.is_empty() {
        write!(line.text, " [{} {}: {}]", alert.mode.name(), alert.action.name(), alert.outcome.name())?;
    }
    Ok(())
}

/// `root nginx[123] (prod/web-1/app nginx:1.27)`.
fn who(view: View<'_>, line: &mut Line) -> fmt::Result {
    field(view, "user.name", &mut line.text)?;
    let Some(process) = view.event().process.as_deref() else { return Ok(()) };
    line.text.push(' ');
    shown(view, "process.name", process.comm.as_bytes(), &mut line.text)?;
    pid(view, "process.pid", process.pid, &mut line.text)?;
    let mut place = String::new();
    match &process.workload.container {
        Some(container) => container_place(view, container, &mut place)?,
        None => shown(view, "hostward.systemd.unit", process.workload.unit.as_bytes(), &mut place)?,
    }
    if !process.workload.unit.is_empty() || process.workload.container.is_some() {
        line.ink(Ink::Dim, |out| write!(out, " ({place})"))?;
    }
    Ok(())
}

/// Namespace, pod and name, then the image; the id where none of them is known.
fn container_place(view: View<'_>, container: &Container, out: &mut String) -> fmt::Result {
    let names = ["orchestrator.namespace", "orchestrator.resource.name", "container.name"];
    for name in names {
        if let Value::Text(text) = view.named(name) {
            if !out.is_empty() {
                out.push('/');
            }
            escape(&text, out)?;
        }
    }
    if out.is_empty() {
        shown(view, "container.id", container.short_id(), out)?;
    }
    for (before, name) in [(' ', "container.image.name"), (':', "container.image.tag")] {
        if let Value::Text(text) = view.named(name) {
            out.push(before);
            escape(&text, out)?;
        }
    }
    Ok(())
}

/// Text that belongs to the field `name`.
fn shown(view: View<'_>, name: &str, text: &[u8], out: &mut String) -> fmt::Result {
    if view.shows(name) { escape(text, out) } else { out.write_str(REDACTED) }
}

fn pid(view: View<'_>, name: &str, pid: u32, out: &mut String) -> fmt::Result {
    if view.shows(name) { write!(out, "[{pid}]") } else { Ok(()) }
}

fn field(view: View<'_>, name: &str, out: &mut String) -> fmt::Result {
    match (view.named(name), name, view.event().process.as_deref()) {
        (Value::Text(text), _, _) => escape(&text, out),
        (Value::List(texts), _, _) => {
            for (n, text) in texts.iter().enumerate() {
                out.write_str(if n > 0 { "," } else { "" })?;
                escape(text, out)?;
            }
            Ok(())
        }
        // An account that no file names: its number is better than nothing.
        (Value::Missing, "user.name", Some(process)) if view.shows("user.id") => {
            write!(out, "{}", process.creds.euid)
        }
        _ => out.write_char('-'),
    }
}

fn command(view: View<'_>, process: Option<&Process>, out: &mut String) -> fmt::Result {
    let Some(process) = process else { return out.write_char('-') };
    let start = out.len();
    shown(view, "process.executable", process.path.as_bytes(), out)?;
    if !view.shows("process.args") {
        out.push(' ');
        return out.write_str(REDACTED);
    }
    for arg in process.args.iter().skip(1) {
        out.push(' ');
        escape(arg, out)?;
    }
    if let Some((cut, _)) = out.get(start..).and_then(|shown| shown.char_indices().nth(COMMAND_CHARS)) {
        out.truncate(start + cut);
        out.push('…');
    }
    Ok(())
}

fn file(view: View<'_>, open: &RawOpen, line: &mut Line) -> fmt::Result {
    let path = if open.path.is_empty() { &open.arg } else { &open.path };
    shown(view, "file.path", path.as_bytes(), &mut line.text)?;
    let how = match (open.created, open.flags & 3) {
        (true, _) => " created",
        (false, 0) => " read",
        (false, 1) => " write",
        (false, _) => " read+write",
    };
    line.ink(Ink::Dim, |out| out.write_str(how))?;
    if open.result < 0 {
        line.ink(Ink::Yellow, |out| {
            write!(out, " {}", std::io::Error::from_raw_os_error(errno(open.result)))
        })?;
    }
    Ok(())
}

/// The call's parameters, short ones whole.
fn arguments(view: View<'_>, out: &mut String) -> fmt::Result {
    let Value::List(arguments) = view.named("hostward.call.arguments") else { return Ok(()) };
    let start = out.len();
    for (n, argument) in arguments.iter().enumerate() {
        if n > 0 {
            out.push(' ');
        }
        escape(argument, out)?;
    }
    if let Some((cut, _)) = out.get(start..).and_then(|shown| shown.char_indices().nth(COMMAND_CHARS)) {
        out.truncate(start + cut);
        out.push('…');
    }
    Ok(())
}

fn errno(result: i64) -> i32 {
    i32::try_from(-result).unwrap_or_default()
}

fn address(view: View<'_>, connect: &RawConnect, out: &mut String) -> fmt::Result {
    match &connect.remote {
        Some(_) if !view.shows("destination.address") => out.write_str(REDACTED),
        Some(Endpoint::Ip(address)) => write!(out, "{address}"),
        Some(Endpoint::Unix(path)) => write!(out, "unix:{path}"),
        None => write!(out, "family {}", connect.family),
    }
}

fn result(view: View<'_>, line: &mut Line) -> fmt::Result {
    if let Value::Text(text) = view.named("evt.res")
        && text.as_ref() != b"SUCCESS"
    {
        line.ink(Ink::Yellow, |out| {
            out.push(' ');
            escape(&text, out)
        })?;
    }
    Ok(())
}
