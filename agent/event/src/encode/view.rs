//! An event as one sink may see it.

use super::Form;
use crate::Event;
use crate::event::Priority;
use crate::redact::Redaction;
use crate::registry::{self, Arg, Field, Value};

/// Reads fields of an event, less what the sink's redaction takes out.
#[derive(Clone, Copy)]
pub(super) struct View<'e> {
    event: &'e Event,
    form: &'e Form,
}

impl<'e> View<'e> {
    pub(super) const fn new(event: &'e Event, form: &'e Form) -> Self {
        Self { event, form }
    }

    /// The event itself, for what is decided by its kind and shows none of its content.
    pub(super) const fn event(self) -> &'e Event {
        self.event
    }

    pub(super) fn priority(self) -> Priority {
        self.event.priority()
    }

    /// The value of `field`.
    pub(super) fn field(self, field: &Field) -> Value<'e> {
        self.read(field, &Arg::None)
    }

    /// The value of `field` with what stands in its brackets.
    pub(super) fn read(self, field: &Field, arg: &Arg) -> Value<'e> {
        if !self.form.namespace.is_empty() && field.ecs == "data_stream.namespace" {
            return Value::text(self.form.namespace.as_bytes());
        }
        if self.form.redaction.is_empty() {
            return field.value(self.event, arg);
        }
        if self.form.redaction.hides(field) {
            return Redaction::rest(&field.value(self.event, arg));
        }
        match &self.event.alert {
            Some(alert) if field.name == "message" && self.form.redaction.hides_message(&alert.rule) => {
                Value::owned([alert.rule.name.as_bytes(), b" [output redacted]"].concat())
            }
            _ => field.value(self.event, arg),
        }
    }

    /// The value of the field with this rule or ECS name.
    pub(super) fn named(self, name: &str) -> Value<'e> {
        registry::find(name).map_or(Value::Missing, |field| self.field(field))
    }

    /// The text of the field with this rule or ECS name; empty when it has none.
    pub(super) fn text(self, name: &str) -> Vec<u8> {
        match self.named(name) {
            Value::Text(text) => text.into_owned(),
            _ => Vec::new(),
        }
    }

    /// True when the field with this name may be shown.
    pub(super) fn shows(self, name: &str) -> bool {
        self.form.redaction.is_empty()
            || registry::find(name).is_some_and(|field| !self.form.redaction.hides(field))
    }
}
