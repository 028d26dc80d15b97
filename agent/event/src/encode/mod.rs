//! Encoders: an [`Event`] to the bytes of one record. The wire forms stand in `docs/specs/delivery.md`.
//!
//! [`Encoding`] names a form; [`Form`] is what one sink uses: the form, what is taken out of it, and
//! the few settings that change a record. All forms but `compact` are written from the registry's
//! rows, read through one view, so that redaction holds for each of them.

mod cef;
mod compact;
mod ecs;
mod falco;
mod json;
mod leef;
mod lines;
mod ocsf;
mod tree;
mod view;

use crate::redact::Redaction;
use crate::{Event, Text};
use serde::{Deserialize, Serialize};
use view::View;

/// Version of ECS that the names follow.
pub const ECS_VERSION: &str = "9.4.0";
/// Version of OCSF that the classes follow.
pub const OCSF_VERSION: &str = "1.8.0";

/// Wire form of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// A JSON document in names of the Elastic Common Schema.
    Ecs,
    /// A JSON document of a class of the Open Cybersecurity Schema Framework.
    Ocsf,
    /// A JSON alert as Falco prints it.
    Falco,
    /// A line in the Common Event Format.
    Cef,
    /// A line in the Log Event Extended Format.
    Leef,
    /// A line for people.
    Compact,
}

impl Encoding {
    /// All.
    pub const ALL: [Self; 6] = [Self::Ecs, Self::Ocsf, Self::Falco, Self::Cef, Self::Leef, Self::Compact];

    /// The word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ecs => "ecs",
            Self::Ocsf => "ocsf",
            Self::Falco => "falco",
            Self::Cef => "cef",
            Self::Leef => "leef",
            Self::Compact => "compact",
        }
    }

    /// What a receiver is told of the form, with its version.
    pub const fn schema(self) -> &'static str {
        match self {
            Self::Ecs => "ecs/9.4.0",
            Self::Ocsf => "ocsf/1.8.0",
            Self::Falco => "falco/1",
            Self::Cef => "cef/0",
            Self::Leef => "leef/2.0",
            Self::Compact => "compact/1",
        }
    }

    /// Media type of one record.
    pub const fn content_type(self) -> &'static str {
        if self.is_json() { "application/json" } else { "text/plain; charset=utf-8" }
    }

    /// True when a record is one JSON object.
    pub const fn is_json(self) -> bool {
        matches!(self, Self::Ecs | Self::Ocsf | Self::Falco)
    }

    /// True when a sink with this encoding takes `event`. Falco's form is one of alerts: it carries
    /// alerts, losses and notices. Asked where the sink's filter is, so that what is not carried is
    /// never accepted; what is encoded all the same becomes a record of priority Debug, never nothing.
    pub const fn carries(self, event: &Event) -> bool {
        use crate::event::Body;
        !matches!(self, Self::Falco)
            || event.alert.is_some()
            || matches!(event.body, Body::Gap(_) | Body::Agent(_))
    }

    /// Appends `event` as one record without a line end, with nothing taken out and no colour.
    pub fn encode(self, event: &Event, out: &mut Vec<u8>) {
        Form::new(self).encode(event, out);
    }
}

/// How the records of one sink look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    encoding: Encoding,
    redaction: Redaction,
    /// Empty: as the registry has it.
    namespace: Text,
    colour: bool,
}

impl Form {
    /// Records in `encoding`, whole.
    pub const fn new(encoding: Encoding) -> Self {
        Self { encoding, redaction: Redaction::NONE, namespace: Text::EMPTY, colour: false }
    }

    /// Without the fields of `redaction`.
    #[must_use]
    pub fn redacted(self, redaction: Redaction) -> Self {
        Self { redaction, ..self }
    }

    /// With this `data_stream.namespace` in place of `default` (ECS only).
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        Self { namespace: Text::from(namespace), ..self }
    }

    /// With ANSI colours (compact only).
    #[must_use]
    pub fn colour(self, colour: bool) -> Self {
        Self { colour, ..self }
    }

    /// The wire form.
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// See [`Encoding::carries`].
    pub const fn carries(&self, event: &Event) -> bool {
        self.encoding.carries(event)
    }

    /// Appends `event` as one record without a line end; no form has one inside.
    pub fn encode(&self, event: &Event, out: &mut Vec<u8>) {
        let view = View::new(event, self);
        match self.encoding {
            Encoding::Ecs => ecs::write(view, out),
            Encoding::Ocsf => ocsf::write(view, out),
            Encoding::Falco => falco::write(view, out),
            Encoding::Cef => cef::write(view, out),
            Encoding::Leef => leef::write(view, out),
            Encoding::Compact => compact::write(view, self.colour, out),
        }
    }

    /// The text of the field with this rule or ECS name, as the records of this sink may show it; empty
    /// when the event has none. For what a protocol carries beside the record.
    pub fn text(&self, event: &Event, field: &str) -> Vec<u8> {
        View::new(event, self).text(field)
    }
}

/// Appends `event` as one JSON object in ECS, without a line end.
pub fn ecs(event: &Event, out: &mut Vec<u8>) {
    Encoding::Ecs.encode(event, out);
}

/// Appends `event` as one line without a line end: time, what, who, the object, the result.
/// Bytes that could drive the terminal are escaped; `colour` adds ANSI colours of our own.
pub fn compact(event: &Event, colour: bool, out: &mut Vec<u8>) {
    Form::new(Encoding::Compact).colour(colour).encode(event, out);
}
