//! Masking of secrets in events, before anything is stored or sent.
//!
//! # Why it exists
//! Command lines carry passwords and tokens; a security feed must not become the place to find them.
//! On by default. Rules match the unmasked event; everything behind the pipeline sees this.
//!
//! # How it works
//! A cheap search (`patterns`) tells most events at once that there is nothing to mask, and the same
//! `Arc` comes back. Arguments are walked one by one (`args`): values of options and variables whose
//! names say secret (`names`), short options of well-known programs, headers, URLs, and tokens that show by
//! their form. Shell command strings and alert messages are searched as free text. A process snapshot is
//! shared by many events, so what became of it is remembered while it lives.
//! A masked value says so and keeps its length class: `<masked:9-16>` stood for 9 to 16 bytes.
//!
//! # What can go wrong
//! - *A secret in a form nobody thought of* gets through: `masking.names` and `masking.patterns` add to the list.
//! - *A harmless value is masked*: names such as `--password-file` or `--token-ttl` are known not to be secrets;
//!   when in doubt a value is masked.
//! - *A token that is cut* at the 4 KiB limit of arguments may be too short to be known by its form.
//!
//! # Not here
//! Captures hold raw input, and so secrets: see `hostward run --capture`.

mod args;
mod marker;
mod names;
mod patterns;
mod remembered;

use crate::event::{Alert, Body};
use crate::process::Process;
use crate::raw::{Endpoint, RawCloseWrite};
use crate::{Event, Text};
use args::Change;
use names::Names;
use patterns::Patterns;
use remembered::Remembered;
use serde::Deserialize;
use std::sync::{Arc, Mutex, PoisonError};

/// The `[masking]` table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskConfig {
    /// Mask at all. Default true.
    pub enabled: bool,
    /// Further names of options, variables and headers whose values are secrets, in any case, `-` like `_`; a
    /// `*` at an end stands for anything: `*_dsn`. At most 64.
    pub names: Vec<String>,
    /// Further secrets by their form: regular expressions over bytes. The group named `secret` is
    /// masked, else the whole match. At most 32, of at most 512 bytes.
    pub patterns: Vec<String>,
}

impl Default for MaskConfig {
    fn default() -> Self {
        Self { enabled: true, names: Vec::new(), patterns: Vec::new() }
    }
}

/// Why a configuration of masking is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// More entries than are allowed.
    #[error("{key} has {count} entries, more than {max}")]
    TooMany {
        /// The key.
        key: &'static str,
        /// How many it has.
        count: usize,
        /// How many it may have.
        max: usize,
    },
    /// A name that no option or variable can have.
    #[error("names has {name:?}, which is no name")]
    Name {
        /// The name.
        name: String,
    },
    /// A pattern that is too long or does not compile.
    #[error("patterns has {pattern:?}: {reason}")]
    Pattern {
        /// Its beginning.
        pattern: String,
        /// What is wrong.
        reason: String,
    },
}

impl MaskError {
    /// What to do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::TooMany { .. } => {
                "merge entries: a name may begin or end with *, a pattern may have alternatives"
            }
            Self::Name { .. } => "use 1 to 64 letters, digits, '.', '-', '_', with * at an end at most",
            Self::Pattern { .. } => {
                "use the syntax of the regex crate; it has no look-around and no back references"
            }
        }
    }
}

/// Masks events.
#[derive(Debug)]
pub struct Masker {
    enabled: bool,
    names: Names,
    patterns: Patterns,
    remembered: Mutex<Remembered>,
}

impl Masker {
    /// Compiles the configuration.
    ///
    /// # Errors
    /// For the first entry that cannot be used.
    pub fn new(config: &MaskConfig) -> Result<Self, MaskError> {
        Ok(Self {
            enabled: config.enabled,
            names: Names::new(&config.names)?,
            patterns: Patterns::new(&config.patterns, &config.names)?,
            remembered: Mutex::default(),
        })
    }

    /// The event without its secrets; the same `Arc` when it has none.
    pub fn mask(&self, event: Arc<Event>) -> Arc<Event> {
        if !self.enabled {
            return event;
        }
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let process = event.process.as_ref().and_then(|process| self.process(process, &mut remembered));
        let leader = event.session_leader.as_ref().and_then(|leader| self.process(leader, &mut remembered));
        let lineage = self.lineage(&event.lineage, &mut remembered);
        drop(remembered);
        let body = self.body(&event.body);
        let alert = event.alert.as_ref().and_then(|alert| self.alert(alert, &event));
        if process.is_none() && leader.is_none() && lineage.is_none() && body.is_none() && alert.is_none() {
            return event;
        }
        let mut event = Arc::unwrap_or_clone(event);
        event.process = process.or(event.process);
        event.session_leader = leader.or(event.session_leader);
        event.lineage = lineage.unwrap_or(event.lineage);
        event.body = body.unwrap_or(event.body);
        event.alert = alert.or(event.alert);
        Arc::new(event)
    }

    /// The masked snapshot; none when there is nothing to mask.
    fn process(&self, process: &Arc<Process>, remembered: &mut Remembered) -> Option<Arc<Process>> {
        if let Some(known) = remembered.find(process) {
            return known;
        }
        let args = args::mask(process, &self.names, &self.patterns);
        let filename = self.patterns.mask_path(&process.filename);
        let environment = args::mask_environment(&process.environment, &self.names, &self.patterns);
        let masked = (args.is_some() || filename.is_some() || environment.is_some()).then(|| {
            let mut masked = Process::clone(process);
            masked.environment = environment.unwrap_or(masked.environment);
            masked.args = args.unwrap_or(masked.args);
            masked.filename = filename.unwrap_or(masked.filename);
            Arc::new(masked)
        });
        remembered.keep(process, masked.clone());
        masked
    }

    fn lineage(&self, lineage: &[Arc<Process>], remembered: &mut Remembered) -> Option<Arc<[Arc<Process>]>> {
        let mut changed: Option<Vec<Arc<Process>>> = None;
        for (at, process) in lineage.iter().enumerate() {
            if let Some(masked) = self.process(process, remembered)
                && let Some(place) = changed.get_or_insert_with(|| lineage.to_vec()).get_mut(at)
            {
                *place = masked;
            }
        }
        changed.map(Into::into)
    }

    fn body(&self, body: &Body) -> Option<Body> {
        match body {
            Body::Open(open) => {
                let arg = self.patterns.mask_path(&open.arg);
                let path = self.patterns.mask_path(&open.path);
                (arg.is_some() || path.is_some()).then(|| {
                    let mut open = open.clone();
                    open.arg = arg.unwrap_or(open.arg);
                    open.path = path.unwrap_or(open.path);
                    Body::Open(open)
                })
            }
            Body::CloseWrite(close) => {
                let path = self.patterns.mask_path(&close.path)?;
                Some(Body::CloseWrite(Box::new(RawCloseWrite { path, ..close.as_ref().clone() })))
            }
            Body::Connect(connect) => {
                let Some(Endpoint::Unix(path)) = &connect.remote else { return None };
                let path = self.patterns.mask_path(path)?;
                let mut connect = connect.clone();
                connect.remote = Some(Endpoint::Unix(path));
                Some(Body::Connect(connect))
            }
            Body::Call(call) => {
                let masked = call.texts.each_ref().map(|text| self.patterns.mask_path(text));
                masked.iter().any(Option::is_some).then(|| {
                    let mut call = call.clone();
                    for (text, masked) in call.texts.iter_mut().zip(masked) {
                        *text = masked.unwrap_or_else(|| text.clone());
                    }
                    Body::Call(call)
                })
            }
            _ => None,
        }
    }

    /// A rule's message may show arguments of any process of the event. What is masked there is
    /// masked here too, and the message is searched as free text besides.
    fn alert(&self, alert: &Arc<Alert>, event: &Event) -> Option<Arc<Alert>> {
        let processes = event.process.iter().chain(event.lineage.iter()).chain(&event.session_leader);
        let changes = processes.flat_map(|process| {
            let mut changes = args::changes(process, &self.names, &self.patterns);
            let variables = args::as_arguments(&process.environment);
            changes.extend(args::changes(&variables, &self.names, &self.patterns));
            changes
        });
        let mut message = alert.message.as_bytes().to_vec();
        for Change { before, after } in changes {
            replace_words(&mut message, &before, &after);
        }
        if let Some(masked) = self.patterns.mask_text(&message, &self.names) {
            message = masked;
        }
        (message != alert.message.as_bytes())
            .then(|| Arc::new(Alert { message: Text::from(message), ..Alert::clone(alert) }))
    }
}

/// Shorter words stand for too many things to be replaced wherever they are.
const SHORTEST_WORD: usize = 3;

/// Replaces `before` where it does not go on as a word on either side.
fn replace_words(text: &mut Vec<u8>, before: &[u8], after: &[u8]) {
    if before.len() < SHORTEST_WORD {
        return;
    }
    let mut from = 0;
    while let Some(rest) = text.get(from..) {
        let Some(at) = rest.windows(before.len()).position(|window| window == before) else { return };
        let (start, end) = (from + at, from + at + before.len());
        let word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let inside = word(start.checked_sub(1).and_then(|before| text.get(before))) || word(text.get(end));
        if inside {
            from = start + 1;
        } else {
            text.splice(start..end, after.iter().copied());
            from = start + after.len();
        }
    }
}

#[cfg(test)]
mod tests;
