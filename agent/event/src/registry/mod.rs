//! The one table of fields.
//!
//! A [`Field`] has the name that rules use, its type, the events that carry it, what it needs of
//! the kernel or host, whether the kernel filter can test it, its names in ECS, OCSF, CEF and LEEF,
//! what else shows its content, one line of meaning, and the function that reads it. The type checker, the matcher, the encoders,
//! `hostward fields` and the reference page all read this table.
//!
//! A field may be written in a condition by its rule name (`proc.name`) or by its ECS name
//! (`process.name`), so that one language serves rules and sink filters.

mod call_fields;
mod container_fields;
mod dns_fields;
mod event_fields;
mod file_fields;
mod flags;
mod host_fields;
mod net_fields;
mod process_fields;
mod render;
mod signal_fields;
mod spare;
mod value;

pub use value::{Arg, Value};

use crate::{Event, KindSet};
use std::collections::HashMap;
use std::sync::LazyLock;

/// Type of a field, for the checker and the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// Bytes meant as text.
    Text,
    /// Signed or unsigned integer.
    Number,
    /// True or false.
    Bool,
    /// An IP address; compares with addresses and networks.
    Ip,
    /// An IP address compared with networks in CIDR form.
    Net,
    /// ns since the epoch; on the wire ISO 8601 in UTC with ns.
    Time,
    /// Names of a network address, as far as rules name it: compares with `=`, `!=` and `in` alone.
    Domain,
    /// A list of texts.
    List,
    /// A list of `key=value`; on the ECS wire an object.
    Labels,
}

impl Type {
    /// The word in `hostward fields` and in error messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Bool => "boolean",
            Self::Ip => "ip",
            Self::Net => "network",
            Self::Time => "time",
            Self::Domain => "domain",
            Self::List => "list",
            Self::Labels => "labels",
        }
    }
}

/// What may stand in brackets behind a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgKind {
    /// Nothing.
    None,
    /// A number, which may be left out: `proc.aname[2]`, `proc.aname`.
    OptionalIndex,
    /// A name, which may be left out: `proc.env[PATH]`, `proc.env`.
    OptionalKey,
    /// A name, which must be there: `evt.arg[flags]`, also written `evt.arg.flags`.
    Key,
}

/// What a field needs beyond the event itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The kernel record carries it.
    Kernel,
    /// The process table carries it.
    ProcessTable,
    /// The cgroup tells it.
    Cgroup,
    /// A host file or call tells it.
    Host,
    /// The agent makes it.
    Agent,
    /// A container runtime's socket tells it.
    Runtime,
    /// The files of users and groups tell it, of the host or of the process's container.
    Names,
    /// The program's file is read for it.
    Program,
    /// The domain names that rules list are resolved for it.
    Domains,
    /// Answers to DNS questions are watched for it.
    Answers,
}

impl Need {
    /// The words in `hostward fields`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel record",
            Self::ProcessTable => "process table",
            Self::Cgroup => "cgroup",
            Self::Host => "host facts",
            Self::Agent => "agent",
            Self::Runtime => "container runtime",
            Self::Names => "users and groups",
            Self::Program => "program's file",
            Self::Domains => "resolved names",
            Self::Answers => "DNS answers",
        }
    }
}

/// What may still be told of an event: what is decided before must not rest on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Awaited {
    /// Fields of [`Need::Runtime`].
    pub runtime: bool,
    /// Fields of [`Need::Names`].
    pub names: bool,
    /// Fields of [`Need::Program`].
    pub program: bool,
}

impl Awaited {
    /// What a field is of that needs this.
    pub const fn of(need: Need) -> Self {
        Self {
            runtime: matches!(need, Need::Runtime),
            names: matches!(need, Need::Names),
            program: matches!(need, Need::Program),
        }
    }

    /// All that is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self {
            runtime: self.runtime || other.runtime,
            names: self.names || other.names,
            program: self.program || other.program,
        }
    }

    /// True when something is in both.
    pub const fn meets(self, other: Self) -> bool {
        (self.runtime && other.runtime) || (self.names && other.names) || (self.program && other.program)
    }
}

/// What the kernel filter can test of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelAtom {
    /// Path of the file of an open: by its components.
    FilePath,
    /// Name of the file of an open.
    FileName,
    /// Open for writing.
    OpenWrite,
    /// Open for reading.
    OpenRead,
    /// Path of the program, at exec.
    ExePath,
    /// Command name, at exec.
    Comm,
}

/// How a field is read; the lifetime is the event's.
pub type Read = for<'e> fn(&'e Event, &Arg) -> Value<'e>;

/// One field. See the module's head.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name in rules.
    pub name: &'static str,
    /// Type.
    pub ty: Type,
    /// What may stand in brackets.
    pub arg: ArgKind,
    /// Kinds of event that carry it.
    pub kinds: KindSet,
    /// What it needs.
    pub need: Need,
    /// What the kernel filter can test of it.
    pub kernel: Option<KernelAtom>,
    /// Dotted ECS name; empty when it is not on the ECS wire.
    pub ecs: &'static str,
    /// Dotted OCSF name; empty when it has none. `process.` is the process that acted; where that
    /// stands in each class, and the values that OCSF has beside ours, `encode/ocsf` says.
    pub ocsf: &'static str,
    /// Key in CEF; empty when it has none. `cs1` and its like bring a label of their own.
    pub cef: &'static str,
    /// Key in LEEF; empty when it has none.
    pub leef: &'static str,
    /// Other fields (ECS names) whose content, or a part of it, this one shows as well: who takes
    /// out one of those means this one too.
    pub shows: &'static [&'static str],
    /// One line of meaning.
    pub meaning: &'static str,
    /// Reads it.
    pub read: Read,
}

impl Field {
    const fn new(name: &'static str, ty: Type, meaning: &'static str, read: Read) -> Self {
        Self {
            name,
            ty,
            arg: ArgKind::None,
            kinds: KindSet::ALL,
            need: Need::Kernel,
            kernel: None,
            ecs: "",
            ocsf: "",
            cef: "",
            leef: "",
            shows: &[],
            meaning,
            read,
        }
    }

    /// A field whose only name is its ECS name.
    const fn wire(ecs: &'static str, ty: Type, meaning: &'static str, read: Read) -> Self {
        let mut field = Self::new(ecs, ty, meaning, read);
        field.ecs = ecs;
        field
    }

    const fn ecs(mut self, name: &'static str) -> Self {
        self.ecs = name;
        self
    }

    const fn ocsf(mut self, name: &'static str) -> Self {
        self.ocsf = name;
        self
    }

    const fn cef(mut self, key: &'static str) -> Self {
        self.cef = key;
        self
    }

    const fn leef(mut self, key: &'static str) -> Self {
        self.leef = key;
        self
    }

    const fn shows(mut self, names: &'static [&'static str]) -> Self {
        self.shows = names;
        self
    }

    const fn on(mut self, kinds: KindSet) -> Self {
        self.kinds = kinds;
        self
    }

    const fn needs(mut self, need: Need) -> Self {
        self.need = need;
        self
    }

    const fn kernel(mut self, atom: KernelAtom) -> Self {
        self.kernel = Some(atom);
        self
    }

    const fn takes(mut self, arg: ArgKind) -> Self {
        self.arg = arg;
        self
    }

    /// Reads the field of `event`; [`Value::Missing`] when the event does not carry it.
    pub fn value<'e>(&self, event: &'e Event, arg: &Arg) -> Value<'e> {
        (self.read)(event, arg)
    }
}

static TABLE: LazyLock<Vec<Field>> = LazyLock::new(|| {
    [
        event_fields::FIELDS,
        host_fields::FIELDS,
        process_fields::FIELDS,
        container_fields::FIELDS,
        file_fields::FIELDS,
        net_fields::FIELDS,
        dns_fields::FIELDS,
        signal_fields::FIELDS,
        call_fields::FIELDS,
    ]
    .concat()
});

static BY_NAME: LazyLock<HashMap<&'static str, &'static Field>> = LazyLock::new(|| {
    let mut names = HashMap::new();
    for field in TABLE.iter() {
        names.entry(field.name).or_insert(field);
        if !field.ecs.is_empty() {
            names.entry(field.ecs).or_insert(field);
        }
    }
    names
});

/// All fields, in the order of the reference page.
pub fn fields() -> &'static [Field] {
    &TABLE
}

/// The field with this rule name or ECS name (without brackets).
pub fn find(name: &str) -> Option<&'static Field> {
    BY_NAME.get(name).copied()
}

/// Splits a field as a condition writes it into the registry's field and its argument:
/// `proc.aname[2]`, `evt.arg[flags]`, `evt.arg.flags`. `bracket` is the text in brackets.
///
/// # Errors
/// A sentence for the rule's author, without position: what is wrong and what is near.
pub fn resolve(name: &str, bracket: Option<&str>) -> Result<(&'static Field, Arg), String> {
    lookup(name, bracket).unwrap_or_else(|| {
        Err(match nearest(name) {
            Some(near) => format!("unknown field `{name}`, did you mean `{near}`?"),
            None => format!("unknown field `{name}`; `hostward fields` lists all"),
        })
    })
}

/// As [`resolve`], but none for an unknown name: finding what is near takes a millisecond.
pub(crate) fn lookup(name: &str, bracket: Option<&str>) -> Option<Result<(&'static Field, Arg), String>> {
    let parse = |field, bracket| Arg::parse(field, bracket).map(|arg| (field, arg));
    if let Some(field) = find(name) {
        return Some(parse(field, bracket));
    }
    // `evt.arg.flags` is another spelling of `evt.arg[flags]`.
    let (head, key) = name.rsplit_once('.').filter(|_| bracket.is_none())?;
    let field = find(head).filter(|field| matches!(field.arg, ArgKind::Key | ArgKind::OptionalKey))?;
    Some(parse(field, Some(key)))
}

/// The known name that differs least from `name`, if it is near enough to be meant.
fn nearest(name: &str) -> Option<&'static str> {
    let near = BY_NAME.keys().map(|known| (distance(name, known), *known)).min()?;
    (near.0 <= 1 + name.len() / 5).then_some(near.1)
}

/// Number of edits between two names, a swap of neighbours counting as one.
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let at = |row: &[usize], k: usize| row.get(k).copied().unwrap_or(usize::MAX / 2);
            let mut best =
                (at(&last, j) + usize::from(ca != cb)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            if i > 0 && j > 0 && Some(ca) == b.get(j - 1) && a.get(i - 1) == Some(cb) {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}
