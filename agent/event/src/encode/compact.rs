//! One readable line per event, for a person at a terminal.

use crate::event::{Alert, Body, Priority};
use crate::process::Process;
use crate::raw::{Endpoint, RawConnect, RawOpen};
use crate::registry::{self, Arg, Value};
use crate::text::escape;
use crate::{Event, Text};
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

/// Appends `event` as one line without a line end: time, what, who, the object, the result.
/// Bytes that could drive the terminal are escaped; `colour` adds ANSI colours of our own.
pub fn compact(event: &Event, colour: bool, out: &mut Vec<u8>) {
    let mut line = Line { text: String::with_capacity(160), colour };
    // Writing to a String cannot fail.
    let _ = write_line(event, &mut line);
    out.extend_from_slice(line.text.as_bytes());
}

fn write_line(event: &Event, line: &mut Line) -> fmt::Result {
    let time = jiff::Timestamp::from_nanosecond(event.time_ns.into()).unwrap_or_default();
    line.ink(Ink::Dim, |out| write!(out, "{}", time.strftime("%H:%M:%S.%3f")))?;
    line.text.push(' ');
    if let Some(alert) = &event.alert {
        return write_alert(event, alert, line);
    }
    match &event.body {
        Body::Exec { killed } => {
            line.ink(Ink::Green, |out| out.write_str("exec   "))?;
            who(event, line)?;
            line.text.push(' ');
            command(event.process.as_deref(), &mut line.text)?;
            if *killed {
                line.ink(Ink::RedBold, |out| out.write_str(" KILLED"))?;
            }
        }
        Body::Fork => {
            line.ink(Ink::Dim, |out| out.write_str("fork   "))?;
            who(event, line)?;
            if let Some(parent) = event.parent() {
                write!(line.text, " from {}[{}]", parent.comm, parent.pid)?;
            }
        }
        Body::Exit { status, .. } => {
            line.ink(Ink::Dim, |out| out.write_str("exit   "))?;
            who(event, line)?;
            match (status & 0x7f, (status >> 8) & 0xff) {
                (0, 0) => line.text.push_str(" code 0"),
                (0, code) => line.ink(Ink::Yellow, |out| write!(out, " code {code}"))?,
                (signal, _) => line.ink(Ink::Yellow, |out| write!(out, " signal {signal}"))?,
            }
        }
        Body::Open(open) => {
            line.ink(Ink::Blue, |out| out.write_str("open   "))?;
            who(event, line)?;
            line.text.push(' ');
            file(open, line)?;
        }
        Body::Connect(connect) => {
            line.ink(Ink::Cyan, |out| out.write_str("connect"))?;
            line.text.push(' ');
            who(event, line)?;
            line.text.push_str(" -> ");
            address(connect, &mut line.text)?;
            result(event, line)?;
        }
        Body::Gap(_) => {
            line.ink(Ink::Red, |out| out.write_str("LOST   "))?;
            field(event, "message", &mut line.text)?;
        }
        Body::Agent(notice) => {
            let ink = if notice.success { Ink::Cyan } else { Ink::Red };
            line.ink(ink, |out| out.write_str("agent  "))?;
            write!(line.text, "{}", notice.message)?;
        }
    }
    Ok(())
}

fn write_alert(event: &Event, alert: &Alert, line: &mut Line) -> fmt::Result {
    let ink = if alert.rule.priority <= Priority::Error { Ink::RedBold } else { Ink::Yellow };
    line.ink(ink, |out| write!(out, "ALERT  {} {}", alert.rule.priority.name(), alert.rule.name))?;
    // The rule's output is escaped when it is formatted; once more would double its backslashes.
    let message = String::from_utf8_lossy(alert.message.as_bytes());
    let name = alert.rule.name.to_string();
    // Outputs often begin with the rule's name.
    match message.strip_prefix(name.as_str()) {
        Some(rest) => line.text.push_str(rest),
        None => write!(line.text, ": {message}")?,
    }
    if let Some(container) = event.process.as_deref().and_then(|p| p.workload.container.as_ref()) {
        line.text.push_str(" container=");
        escape(container.short_id(), &mut line.text)?;
    }
    if !alert.response.is_empty() {
        write!(line.text, " [{} {}: {}]", alert.mode.name(), alert.action.name(), alert.outcome.name())?;
    }
    Ok(())
}

/// `root nginx[123] container`.
fn who(event: &Event, line: &mut Line) -> fmt::Result {
    field(event, "user.name", &mut line.text)?;
    let Some(process) = event.process.as_deref() else { return Ok(()) };
    write!(line.text, " {}[{}]", process.comm, process.pid)?;
    let place: Option<&[u8]> = match &process.workload.container {
        Some(container) => Some(container.short_id()),
        None => Some(process.workload.unit.as_bytes()).filter(|unit| !unit.is_empty()),
    };
    if let Some(place) = place {
        line.ink(Ink::Dim, |out| {
            out.push_str(" (");
            escape(place, out)?;
            out.write_char(')')
        })?;
    }
    Ok(())
}

fn field(event: &Event, name: &str, out: &mut String) -> fmt::Result {
    let value = registry::find(name).map_or(Value::Missing, |field| field.value(event, &Arg::None));
    match (value, name, event.process.as_deref()) {
        (Value::Text(text), _, _) => escape(&text, out),
        // An account that no file names: its number is better than nothing.
        (Value::Missing, "user.name", Some(process)) => write!(out, "{}", process.creds.euid),
        _ => out.write_char('-'),
    }
}

fn command(process: Option<&Process>, out: &mut String) -> fmt::Result {
    let Some(process) = process else { return out.write_char('-') };
    let start = out.len();
    write!(out, "{}", process.path)?;
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

fn file(open: &RawOpen, line: &mut Line) -> fmt::Result {
    let path: &Text = if open.path.is_empty() { &open.arg } else { &open.path };
    write!(line.text, "{path}")?;
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

fn errno(result: i64) -> i32 {
    i32::try_from(-result).unwrap_or_default()
}

fn address(connect: &RawConnect, out: &mut String) -> fmt::Result {
    match &connect.remote {
        Some(Endpoint::Ip(address)) => write!(out, "{address}"),
        Some(Endpoint::Unix(path)) => write!(out, "unix:{path}"),
        None => write!(out, "family {}", connect.family),
    }
}

fn result(event: &Event, line: &mut Line) -> fmt::Result {
    let value = registry::find("evt.res").map_or(Value::Missing, |field| field.value(event, &Arg::None));
    if let Value::Text(text) = value
        && text.as_ref() != b"SUCCESS"
    {
        line.ink(Ink::Yellow, |out| {
            out.push(' ');
            escape(&text, out)
        })?;
    }
    Ok(())
}
