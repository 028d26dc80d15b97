//! Secrets in a process's arguments.

use super::marker::apply;
use super::names::Names;
use super::patterns::Patterns;
use crate::Text;
use crate::process::Process;
use crate::raw::Args;
use std::ops::Range;

/// How a program takes a secret by a short option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// `-pSECRET`.
    Attached,
    /// `-p SECRET`.
    Next,
    /// `-u user:SECRET` or `-uuser:SECRET`.
    AfterColon,
    /// `-U user%SECRET`.
    AfterPercent,
    /// `-p SECRET` where `login` is an argument, too.
    NextAtLogin,
}

/// Programs (a `*` at the end stands for anything), an option of theirs, how it takes the secret.
const PROGRAMS: &[(&[&str], &str, Takes)] = &[
    (&["mysql*", "mariadb*", "7z", "7za", "7zr", "7zz", "sshpass"], "-p", Takes::Attached),
    (&["sshpass", "mongo*", "cqlsh", "rabbitmqadmin", "useradd", "usermod"], "-p", Takes::Next),
    (&["redis-cli"], "-a", Takes::Next),
    (&["ldap*"], "-w", Takes::Next),
    (&["zip", "unzip", "sqlcmd", "bcp", "ipmitool"], "-P", Takes::Next),
    (&["plink", "pscp", "psftp"], "-pw", Takes::Next),
    (&["docker", "podman", "nerdctl", "buildah", "skopeo", "helm", "oras"], "-p", Takes::NextAtLogin),
    (&["curl"], "-u", Takes::AfterColon),
    (&["curl"], "-U", Takes::AfterColon),
    (&["curl"], "--user", Takes::AfterColon),
    (&["curl"], "--proxy-user", Takes::AfterColon),
    (&["http", "https", "xh"], "-a", Takes::AfterColon),
    (&["smbclient", "rpcclient"], "-U", Takes::AfterPercent),
];

/// An expression that finds every program of the table.
pub(super) fn programs_hint() -> String {
    let names = PROGRAMS.iter().flat_map(|(names, ..)| names.iter());
    names
        .map(|name| format!(r"\b{}", name.trim_end_matches('*').replace('-', r"\-")))
        .collect::<Vec<_>>()
        .join("|")
}

/// The name of a program as it is started: the last component of its path.
fn base(arg: &[u8]) -> &[u8] {
    arg.rsplit(|byte| *byte == b'/').next().unwrap_or(arg)
}

fn known(program: &[u8]) -> impl Iterator<Item = (&'static str, Takes)> {
    let is = move |name: &&str| match name.strip_suffix('*') {
        Some(prefix) => program.starts_with(prefix.as_bytes()),
        None => program == name.as_bytes(),
    };
    PROGRAMS
        .iter()
        .filter(move |(names, ..)| names.iter().any(is))
        .map(|(_, option, takes)| (*option, *takes))
}

/// True when a value cannot be a secret in spite of its option's name: openssl's references to one, and
/// paths of key files.
pub(super) fn harmless(name: &[u8], value: &[u8]) -> bool {
    let reference = [&b"file:"[..], b"env:", b"fd:"].iter().any(|prefix| value.starts_with(prefix));
    let key = name.to_ascii_lowercase();
    let file_key = [&b"private"[..], b"signing", b"encryption"]
        .iter()
        .any(|kind| key.windows(kind.len()).any(|window| window == *kind));
    let path = [&b"/"[..], b"~/", b"./", b"../"].iter().any(|prefix| value.starts_with(prefix));
    reference || (file_key && path)
}

/// One argument before and after, or one secret value and its marker.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) before: Vec<u8>,
    pub(super) after: Vec<u8>,
}

fn may_hold_secret(process: &Process, patterns: &Patterns) -> bool {
    let raw = process.args.raw.as_bytes();
    !raw.is_empty()
        && (patterns.may_hold_secret(raw) || known(base(process.path.as_bytes())).next().is_some())
}

/// The masked arguments; none when nothing is masked.
pub(super) fn mask(process: &Process, names: &Names, patterns: &Patterns) -> Option<Args> {
    if !may_hold_secret(process, patterns) {
        return None;
    }
    let raw = process.args.raw.as_bytes();
    let found = ranges(process, names, patterns);
    let mut out = Vec::with_capacity(raw.len() + 64);
    let mut masked = false;
    for (arg, ranges) in process.args.iter().zip(found) {
        match apply(arg, ranges) {
            Some(changed) => {
                masked = true;
                out.extend_from_slice(&changed);
            }
            None => out.extend_from_slice(arg),
        }
        out.push(0);
    }
    if !raw.ends_with(b"\0") {
        out.pop();
    }
    masked.then(|| {
        // Cut arguments stay cut by as much, whole ones whole.
        let missing =
            usize::try_from(process.args.total_bytes).unwrap_or(usize::MAX).saturating_sub(raw.len());
        let total_bytes = u32::try_from(out.len().saturating_add(missing)).unwrap_or(u32::MAX);
        Args { raw: Text::from(out), total_bytes }
    })
}

/// The masked environment; none when nothing is masked. A variable is masked as an argument of its form would be.
pub(super) fn mask_environment(environment: &Text, names: &Names, patterns: &Patterns) -> Option<Text> {
    if environment.is_empty() {
        return None;
    }
    mask(&as_arguments(environment), names, patterns).map(|args| args.raw)
}

/// A process that has the variables for its arguments.
pub(super) fn as_arguments(environment: &Text) -> Process {
    Process { args: Args { raw: environment.clone(), total_bytes: 0 }, ..Process::default() }
}

/// What is masked in the arguments, for texts that quote them: whole arguments first, then values.
pub(super) fn changes(process: &Process, names: &Names, patterns: &Patterns) -> Vec<Change> {
    let mut changes = Vec::new();
    if !may_hold_secret(process, patterns) {
        return changes;
    }
    let mut values = Vec::new();
    for (arg, ranges) in process.args.iter().zip(ranges(process, names, patterns)) {
        for range in &ranges {
            let value = arg.get(range.clone()).unwrap_or_default();
            let whole = 0..value.len();
            values.extend(apply(value, vec![whole]).map(|after| Change { before: value.to_vec(), after }));
        }
        changes.extend(apply(arg, ranges).map(|after| Change { before: arg.to_vec(), after }));
    }
    changes.append(&mut values);
    // A value may be part of a longer one.
    changes.sort_by_key(|change| std::cmp::Reverse(change.before.len()));
    changes
}

/// The secrets of each argument.
fn ranges(process: &Process, names: &Names, patterns: &Patterns) -> Vec<Vec<Range<usize>>> {
    let mut program = base(process.path.as_bytes());
    let login = process.args.iter().any(|arg| arg == b"login");
    let mut next: Option<Takes> = None;
    let mut command = false;
    let mut all = Vec::new();
    for (at, arg) in process.args.iter().enumerate() {
        let mut found = if arg.iter().any(u8::is_ascii_whitespace) {
            patterns.free_text(arg, names)
        } else {
            patterns.anywhere(arg, names)
        };
        if let Some(takes) = next.take()
            && !is_option(arg)
        {
            found.extend(value(arg, takes));
            all.push(found);
            continue;
        }
        if !arg.starts_with(b"-") && known(base(arg)).next().is_some() {
            // Also behind sudo, env, timeout, docker exec, ….
            program = base(arg);
        }
        // A shell's command may begin with an assignment, but goes on behind it.
        let is_command = std::mem::replace(&mut command, runs_next(arg));
        if let Some((name, from)) = assigned(arg)
            && !is_command
            && names.secret(name)
            && !harmless(name, arg.get(from..).unwrap_or_default())
        {
            found.push(from..arg.len());
        } else if at > 0 && arg.starts_with(b"-") {
            next = short_option(arg, program, login, &mut found)
                .or_else(|| long_option(arg, names, process, at));
        }
        all.push(found);
    }
    all
}

/// A byte of the name of an option or variable.
const fn shaped(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

/// `NAME=value`, `--name=value`: the name, and where the value begins. It goes to the end of the argument.
fn assigned(arg: &[u8]) -> Option<(&[u8], usize)> {
    let equals = arg.iter().position(|byte| *byte == b'=')?;
    let name = arg.get(..equals)?;
    let dashes = name.iter().take_while(|byte| **byte == b'-').count();
    let name = name.get(dashes..)?;
    (dashes <= 2 && !name.is_empty() && name.iter().all(shaped)).then_some((name, equals + 1))
}

/// `-c`, `-lc`: the next argument is a command for a shell.
fn runs_next(arg: &[u8]) -> bool {
    matches!(arg, [b'-', letters @ .., b'c'] if letters.len() < 4 && letters.iter().all(u8::is_ascii_alphabetic))
}

fn short_option(arg: &[u8], program: &[u8], login: bool, found: &mut Vec<Range<usize>>) -> Option<Takes> {
    for (option, takes) in known(program) {
        let Some(rest) = arg.strip_prefix(option.as_bytes()) else { continue };
        match (takes, rest.is_empty()) {
            (Takes::Next | Takes::AfterColon | Takes::AfterPercent, true) => return Some(takes),
            (Takes::NextAtLogin, true) if login => return Some(Takes::Next),
            (Takes::Attached, false) => found.push(option.len()..arg.len()),
            (Takes::AfterColon, false) => {
                found.extend(value(rest, takes).map(|range| range.start + option.len()..arg.len()));
            }
            _ => {}
        }
    }
    None
}

/// `--name value`: the next argument is the secret.
fn long_option(arg: &[u8], names: &Names, process: &Process, at: usize) -> Option<Takes> {
    let dashes = arg.iter().take_while(|byte| **byte == b'-').count();
    let name = arg.get(dashes..)?;
    let following = process.args.iter().nth(at + 1)?;
    // `--name=value` has its value already, and a text with blanks is no option.
    (name.iter().all(shaped)
        && dashes <= 2
        && name.len() > 1
        && names.secret(name)
        && !harmless(name, following))
    .then_some(Takes::Next)
}

/// An argument that is an option rather than the value of one.
fn is_option(arg: &[u8]) -> bool {
    match arg {
        [b'-', b'-', rest @ ..] => rest.first().is_some_and(u8::is_ascii_alphabetic),
        [b'-', letter] => letter.is_ascii_alphabetic(),
        _ => false,
    }
}

fn value(arg: &[u8], takes: Takes) -> Option<Range<usize>> {
    let behind = |mark: u8| arg.iter().position(|byte| *byte == mark).map(|at| at + 1..arg.len());
    match takes {
        Takes::AfterColon => behind(b':'),
        Takes::AfterPercent => behind(b'%'),
        Takes::Attached | Takes::Next | Takes::NextAtLogin => {
            // openssl -passin pass:SECRET
            let from = if arg.starts_with(b"pass:") { 5 } else { 0 };
            Some(from..arg.len())
        }
    }
}
