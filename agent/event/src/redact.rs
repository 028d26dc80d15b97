//! Fields that one sink does not get.
//!
//! # Why it exists
//! A log store that many can read, or one in another country, may not have names of people or what
//! they type. Masking takes secrets out before anything is stored; redaction leaves the stored event
//! whole and takes named fields out of what one sink is sent, whatever its encoding.
//!
//! # How it works
//! A name is that of a field in rules or in ECS, or its beginning up to a dot. Whatever shows the
//! same content goes with it (`shows` of the registry): a command line tells the arguments. Encoders
//! read fields through this; texts become [`REDACTED`], so that a reader sees that something was
//! there, and what is no text is left out, so that it keeps its type.
//!
//! # What can go wrong
//! - *A name that no field has*: refused when the configuration is read, with the nearest one.
//! - *The message of an alert* is free text: it is replaced as a whole as soon as the rule's output
//!   uses a field that is redacted, or one that is not known.
//! - *Identity, routing and words of fixed lists* cannot be redacted: see [`Redaction::parse`].

use crate::event::RuleInfo;
use crate::registry::{self, Arg, Field, Value};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// What stands for a text that was taken out.
pub const REDACTED: &str = "<redacted>";

/// Without these a receiver can neither tell events apart nor say what kind they are.
const KEPT: [&str; 7] = ["@timestamp", "ecs", "event", "data_stream", "network", "rule.name", "host.os.type"];

/// The fields taken out of the records of one sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redaction {
    /// [`Field::name`] of each.
    hidden: BTreeSet<&'static str>,
}

/// A name that cannot be redacted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedactionProblem {
    /// No field has it, nor begins with it.
    #[error("{0}")]
    Unknown(String),
    /// Records would lose their identity or their kind.
    #[error("field `{0}` cannot be redacted")]
    Kept(String),
}

impl RedactionProblem {
    /// What to do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "use a name of `hostward fields`, or its beginning up to a dot",
            Self::Kept(_) => "use `filter` to keep whole events from this sink",
        }
    }
}

/// True when `name` is `prefix`, or stands below it.
fn within(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn kept(field: &Field) -> bool {
    !field.ecs.is_empty() && KEPT.iter().any(|prefix| within(field.ecs, prefix))
}

impl Redaction {
    /// Nothing is taken out.
    pub const NONE: Self = Self { hidden: BTreeSet::new() };

    /// Reads the names of a configuration: rule or ECS names, or beginnings of them up to a dot.
    ///
    /// `@timestamp`, `ecs.*`, `event.*`, `data_stream.*`, `network.*`, `rule.name` and `host.os.type`
    /// stay: a beginning that covers one of them among others leaves it as it is.
    ///
    /// # Errors
    /// Every name that no field has, or that names only fields which have to stay.
    pub fn parse<S: AsRef<str>>(names: &[S]) -> Result<Self, Vec<RedactionProblem>> {
        let mut hidden = BTreeSet::new();
        let mut problems = Vec::new();
        for name in names.iter().map(AsRef::as_ref) {
            let named: Vec<&Field> = registry::fields()
                .iter()
                .filter(|field| within(field.name, name) || within(field.ecs, name))
                .collect();
            if named.is_empty() {
                let reason = registry::resolve(name, None).err();
                problems.push(RedactionProblem::Unknown(
                    reason.unwrap_or_else(|| format!("unknown field `{name}`")),
                ));
            } else if named.iter().all(|field| kept(field)) {
                problems.push(RedactionProblem::Kept(name.to_owned()));
            }
            for field in registry::fields().iter().filter(|field| !kept(field)) {
                let shows = |other: &&Field| {
                    !kept(other)
                        && (field.name == other.name
                            || field
                                .shows
                                .iter()
                                .any(|shown| !other.ecs.is_empty() && within(other.ecs, shown)))
                };
                if named.iter().any(shows) {
                    hidden.insert(field.name);
                }
            }
        }
        if problems.is_empty() { Ok(Self { hidden }) } else { Err(problems) }
    }

    /// All that can be taken out.
    pub fn all() -> Self {
        Self {
            hidden: registry::fields().iter().filter(|field| !kept(field)).map(|field| field.name).collect(),
        }
    }

    /// True when nothing is taken out.
    pub fn is_empty(&self) -> bool {
        self.hidden.is_empty()
    }

    /// True when `field` is taken out.
    pub fn hides(&self, field: &Field) -> bool {
        !self.hidden.is_empty() && self.hidden.contains(field.name)
    }

    /// What is left of the value of a field that is taken out.
    pub(crate) fn rest<'e>(value: &Value<'e>) -> Value<'e> {
        match value {
            Value::Text(_) => REDACTED.into(),
            Value::List(_) => Value::List(vec![Cow::Borrowed(REDACTED.as_bytes())]),
            _ => Value::Missing,
        }
    }

    /// True when the sentence of this rule's alerts may show something that is taken out.
    pub(crate) fn hides_message(&self, rule: &RuleInfo) -> bool {
        !self.hidden.is_empty()
            && rule.output_fields.iter().any(|spelled| {
                output_fields(spelled.as_bytes())
                    .any(|known| known.is_none_or(|(field, _)| self.hides(field)))
            })
    }
}

/// The fields in one place of a rule's output: `proc.name`, `evt.arg[flags]`, `toupper(proc.name)`.
/// None for a word that is no field and no transformer.
pub(crate) fn output_fields(spelled: &[u8]) -> impl Iterator<Item = Option<(&'static Field, Arg)>> {
    let spelled = String::from_utf8_lossy(spelled).into_owned();
    let inside = match spelled.split_once('(') {
        // Transformers may stand in each other; only fields contain a dot.
        Some((_, inside)) => inside
            .split(['(', ')', ','])
            .map(str::trim)
            .filter(|word| word.contains('.') && !word.starts_with(['"', '\'']))
            .map(str::to_owned)
            .collect(),
        None => vec![spelled],
    };
    inside.into_iter().map(|word| {
        let (name, bracket) = match word.split_once('[') {
            Some((name, rest)) => (name, Some(rest.trim_end_matches(']').trim_matches(['"', '\'']))),
            None => (word.as_str(), None),
        };
        registry::lookup(name, bracket)?.ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hides(names: &[&str], field: &str) -> bool {
        let redaction = Redaction::parse(names).unwrap();
        redaction.hides(registry::find(field).unwrap())
    }

    #[test]
    fn what_shows_the_same_goes_along() {
        for field in
            ["process.args", "proc.args", "proc.cmdline", "process.command_line", "evt.args", "proc.exe"]
        {
            assert!(hides(&["process.args"], field), "{field}");
        }
        assert!(!hides(&["process.args"], "process.parent.args"));
        assert!(hides(&["file.path"], "file.name") && hides(&["file.name"], "hostward.response.object"));
        assert!(hides(&["user.name"], "related.user") && hides(&["proc.cmdline"], "process.args"));
    }

    #[test]
    fn a_beginning_up_to_a_dot_names_all_below() {
        assert!(hides(&["process.parent"], "proc.pcmdline") && hides(&["process.parent"], "proc.ppid"));
        assert!(!hides(&["process.parent"], "process.name"));
        assert!(hides(&["host"], "host.id") && !hides(&["host"], "host.os.type"));
    }

    #[test]
    fn all_wrong_names_are_told_with_what_to_do() {
        let problems = Redaction::parse(&["procces.args", "event.id", "proc", "event"]).unwrap_err();
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "unknown field `procces.args`, did you mean `process.args`?",
                "field `event.id` cannot be redacted",
                "field `event` cannot be redacted",
            ]
        );
    }

    #[test]
    fn fields_inside_of_a_transformer_are_found() {
        let names = |spelled: &str| -> Vec<&str> {
            output_fields(spelled.as_bytes()).flatten().map(|(field, _)| field.name).collect()
        };
        assert_eq!(names("toupper(basename(proc.exepath))"), ["proc.exepath"]);
        assert_eq!(names("evt.arg[flags]"), ["evt.arg"]);
        assert_eq!(names("evt.arg.flags"), ["evt.arg"]);
        assert_eq!(names("join(\"-\", (proc.name, fd.name))"), ["proc.name", "fd.name"]);
        assert!(output_fields(b"proc.nmae").any(|field| field.is_none()));
    }
}
