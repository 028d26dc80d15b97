//! Configuration of sinks: one `[[sink]]` table each, told apart by `type`.

pub use crate::elastic::ElasticConfig;
pub use crate::hec::HecConfig;
use crate::ledger::Lane;
pub use crate::otlp::OtlpConfig;
pub use crate::webhook::WebhookConfig;
pub use hostward_event::encode::Encoding;
use hostward_event::encode::Form;
use hostward_event::redact::Redaction;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// One `[[sink]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Config {
    /// JSON lines in a file that rotates.
    File(FileConfig),
    /// The live view.
    Stdout(StdoutConfig),
    /// Bulk requests to Elasticsearch or OpenSearch; `opensearch` is another word for it.
    #[serde(alias = "opensearch")]
    Elastic(Box<ElasticConfig>),
    /// Splunk's HTTP Event Collector.
    SplunkHec(Box<HecConfig>),
    /// OpenTelemetry logs over HTTP.
    Otlp(Box<OtlpConfig>),
    /// A POST to whatever takes one.
    Webhook(Box<WebhookConfig>),
}

/// When written events are forced to the disk (fdatasync).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncPolicy {
    /// Before any event counts as delivered.
    Always,
    /// Before an alert counts as delivered; telemetry each `sync_interval_ms`.
    Alerts,
    /// The kernel decides: a power loss may take the last half minute.
    Never,
}

/// Which event goes when the queue is full; telemetry always goes before alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The one that waited longest.
    DropOldest,
    /// The one that came last.
    DropNewest,
}

/// Bounds of a sink's queue and of its batches. Events in flight count, too.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// Events held at most. Default 16384.
    pub max_events: u64,
    /// Estimated memory held at most, bytes. Default 16 MiB.
    pub max_bytes: u64,
    /// Of `max_events`, room that only alerts use. Default 2048.
    pub alert_reserve_events: u64,
    /// Of `max_bytes`, room that only alerts use. Default 2 MiB.
    pub alert_reserve_bytes: u64,
    /// Which event goes when it is full. Default `drop_oldest`.
    pub when_full: WhenFull,
    /// Events per call at most. Default 1024.
    pub batch_events: usize,
    /// Estimated memory of one call's events at most, bytes. Default 1 MiB.
    pub batch_bytes: u64,
    /// Telemetry waits this long for company, so that an event does not cost a wake-up of its own;
    /// alerts never wait. Default 50.
    pub linger_ms: u64,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            max_events: 16_384,
            max_bytes: 16 << 20,
            alert_reserve_events: 2_048,
            alert_reserve_bytes: 2 << 20,
            when_full: WhenFull::DropOldest,
            batch_events: 1_024,
            batch_bytes: 1 << 20,
            linger_ms: 50,
        }
    }
}

impl QueueConfig {
    pub(crate) const fn lane_events(&self, lane: Lane) -> u64 {
        match lane {
            Lane::Alert => self.max_events,
            Lane::Telemetry => self.max_events.saturating_sub(self.alert_reserve_events),
        }
    }

    pub(crate) const fn lane_bytes(&self, lane: Lane) -> u64 {
        match lane {
            Lane::Alert => self.max_bytes,
            Lane::Telemetry => self.max_bytes.saturating_sub(self.alert_reserve_bytes),
        }
    }
}

/// JSON lines in a file that rotates.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileConfig {
    /// Name in status and in messages. Default `file`.
    pub name: String,
    /// The file; a relative path is below the state directory. Default `events.jsonl`.
    pub path: PathBuf,
    /// Condition in the rule language; events that match are written. Default: all.
    pub filter: Option<String>,
    /// Wire form. Default `ecs`.
    pub encoding: Encoding,
    /// Fields that this sink does not get: names of rules or of ECS, or their beginnings up to a
    /// dot. Default none.
    pub redact: Vec<String>,
    /// The file is put aside before it grows beyond this. Default 64 MiB.
    pub rotate_bytes: u64,
    /// The file is put aside when it is this old; 0: never. Default a day.
    pub rotate_age_s: u64,
    /// Put-aside files kept at most. Default 16.
    pub keep_files: u32,
    /// Bytes of put-aside files kept at most. Default 1 GiB.
    pub keep_bytes: u64,
    /// When written events are forced to the disk. Default `alerts`.
    pub sync: SyncPolicy,
    /// How long telemetry may stay unforced under `sync = "alerts"`. Default 1000.
    pub sync_interval_ms: u64,
    /// Its queue.
    pub queue: QueueConfig,
}

impl Default for FileConfig {
    fn default() -> Self {
        Self {
            name: "file".to_owned(),
            path: PathBuf::from("events.jsonl"),
            filter: None,
            encoding: Encoding::Ecs,
            redact: Vec::new(),
            rotate_bytes: 64 << 20,
            rotate_age_s: 86_400,
            keep_files: 16,
            keep_bytes: 1 << 30,
            sync: SyncPolicy::Alerts,
            sync_interval_ms: 1_000,
            queue: QueueConfig::default(),
        }
    }
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Lines on standard output.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StdoutConfig {
    /// Name in status and in messages. Default `stdout`.
    pub name: String,
    /// Condition in the rule language; events that match are written. Default: all.
    pub filter: Option<String>,
    /// Wire form. Default `compact`.
    pub encoding: Encoding,
    /// Fields that this sink does not get: names of rules or of ECS, or their beginnings up to a
    /// dot. Default none.
    pub redact: Vec<String>,
    /// Colours of the compact form. Default `auto`.
    pub colour: Colour,
    /// Its queue.
    pub queue: QueueConfig,
}

impl Default for StdoutConfig {
    fn default() -> Self {
        Self {
            name: "stdout".to_owned(),
            filter: None,
            encoding: Encoding::Compact,
            redact: Vec::new(),
            colour: Colour::Auto,
            queue: QueueConfig::default(),
        }
    }
}

impl StdoutConfig {
    pub(crate) fn wants_colour(&self) -> bool {
        match self.colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => {
                std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
            }
        }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sink {sink:?}: {key} {what}")]
pub struct Problem {
    /// The sink's name.
    pub sink: String,
    /// The key.
    pub key: &'static str,
    /// The value and what is wrong with it.
    pub what: String,
    /// What to do.
    pub hint: &'static str,
}

impl Problem {
    /// What to do.
    pub const fn hint(&self) -> &'static str {
        self.hint
    }
}

impl Config {
    /// Name in status and in messages.
    pub fn name(&self) -> &str {
        match self {
            Self::File(file) => &file.name,
            Self::Stdout(stdout) => &stdout.name,
            Self::Elastic(elastic) => &elastic.name,
            Self::SplunkHec(hec) => &hec.name,
            Self::Otlp(otlp) => &otlp.name,
            Self::Webhook(webhook) => &webhook.name,
        }
    }

    /// The word of `type`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Stdout(_) => "stdout",
            Self::Elastic(_) => "elastic",
            Self::SplunkHec(_) => "splunk_hec",
            Self::Otlp(_) => "otlp",
            Self::Webhook(_) => "webhook",
        }
    }

    /// The condition that events must match, in the rule language.
    pub fn filter(&self) -> Option<&str> {
        match self {
            Self::File(file) => file.filter.as_deref(),
            Self::Stdout(stdout) => stdout.filter.as_deref(),
            Self::Elastic(elastic) => elastic.filter.as_deref(),
            Self::SplunkHec(hec) => hec.filter.as_deref(),
            Self::Otlp(otlp) => otlp.filter.as_deref(),
            Self::Webhook(webhook) => webhook.filter.as_deref(),
        }
    }

    /// Fields that this sink does not get.
    pub fn redact(&self) -> &[String] {
        match self {
            Self::File(file) => &file.redact,
            Self::Stdout(stdout) => &stdout.redact,
            Self::Elastic(elastic) => &elastic.redact,
            Self::SplunkHec(hec) => &hec.redact,
            Self::Otlp(otlp) => &otlp.redact,
            Self::Webhook(webhook) => &webhook.redact,
        }
    }

    /// How its records look. Names that cannot be redacted are told by [`Config::validate`]; here
    /// they take out all that can be, since too little would be worse.
    pub fn form(&self) -> Form {
        let redaction = Redaction::parse(self.redact()).unwrap_or_else(|_| Redaction::all());
        match self {
            Self::File(file) => Form::new(file.encoding),
            Self::Stdout(stdout) => Form::new(stdout.encoding).colour(stdout.wants_colour()),
            Self::Elastic(elastic) => Form::new(elastic.encoding),
            Self::SplunkHec(hec) => Form::new(hec.encoding),
            Self::Otlp(otlp) => Form::new(otlp.encoding),
            Self::Webhook(webhook) => Form::new(webhook.encoding),
        }
        .redacted(redaction)
    }

    /// True when its events wait in the spool, if there is one. What nobody reads on a terminal an hour
    /// later is no loss.
    pub const fn is_spooled(&self) -> bool {
        !matches!(self, Self::Stdout(_))
    }

    /// Its queue.
    pub const fn queue(&self) -> &QueueConfig {
        match self {
            Self::File(file) => &file.queue,
            Self::Stdout(stdout) => &stdout.queue,
            Self::Elastic(elastic) => &elastic.queue,
            Self::SplunkHec(hec) => &hec.queue,
            Self::Otlp(otlp) => &otlp.queue,
            Self::Webhook(webhook) => &webhook.queue,
        }
    }

    /// Keys that hold a secret itself, not the way to one.
    pub fn inline_secrets(&self) -> Vec<&'static str> {
        match self {
            Self::File(_) | Self::Stdout(_) => Vec::new(),
            Self::Elastic(elastic) => elastic.inline_secrets(),
            Self::SplunkHec(hec) => hec.inline_secrets(),
            Self::Otlp(otlp) => otlp.inline_secrets(),
            Self::Webhook(webhook) => webhook.inline_secrets(),
        }
    }

    /// What is wrong with secrets in a configuration's file that has this mode (`st_mode`): a problem for
    /// each when its group or others can read the file.
    pub fn exposed_secrets(sinks: &[Self], mode: u32) -> Vec<Problem> {
        if mode & 0o044 == 0 {
            return Vec::new();
        }
        let problem = |sink: &Self, key| Problem {
            sink: sink.name().to_owned(),
            key,
            what: format!("is a secret in a file that others can read (mode {:04o})", mode & 0o7777),
            hint: "keep others out (chmod 0600), or put the secret into a file of its own and name that: NAME_file",
        };
        let of_sink = |sink| Self::inline_secrets(sink).into_iter().map(move |key| problem(sink, key));
        sinks.iter().flat_map(of_sink).collect()
    }

    /// Puts relative paths below the state directory.
    #[must_use]
    pub fn resolved(mut self, state_dir: &Path) -> Self {
        if let Self::File(file) = &mut self {
            file.path = state_dir.join(&file.path);
        }
        self
    }

    /// Everything that is wrong with these sinks together. Nothing on the disk is looked at, and
    /// filters are checked by the policy crate.
    pub fn validate(sinks: &[Self]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut names = BTreeSet::new();
        let mut paths = BTreeSet::new();
        let mut stdouts = 0;
        let mut spooled = 0;
        for sink in sinks {
            let mut report = |key, what: String, hint| {
                problems.push(Problem { sink: sink.name().to_owned(), key, what, hint });
            };
            let name = sink.name();
            let shaped = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || name.len() > 64 || !name.chars().all(shaped) {
                report("name", "is no name".to_owned(), "use 1 to 64 letters, digits, '-', '_' or '.'");
            }
            if !names.insert(name) {
                report("name", "is used twice".to_owned(), "give each sink a name of its own");
            }
            spooled += usize::from(sink.is_spooled());
            if spooled > crate::spool::MAX_SINKS && sink.is_spooled() {
                let what = format!("makes it number {spooled} of the sinks whose events the spool keeps");
                report("type", what, "keep at most 12 sinks beside stdout");
            }
            sink.queue().validate(&mut report);
            for problem in Redaction::parse(sink.redact()).err().unwrap_or_default() {
                report("redact", format!("names what it cannot: {problem}"), problem.hint());
            }
            match sink {
                Self::File(file) => {
                    file.validate(&mut report);
                    if !paths.insert(&file.path) {
                        let what = format!("{} is used twice", file.path.display());
                        report("path", what, "give each file sink a path of its own");
                    }
                }
                Self::Elastic(elastic) => elastic.validate(&mut report),
                Self::SplunkHec(hec) => hec.validate(&mut report),
                Self::Otlp(otlp) => otlp.validate(&mut report),
                Self::Webhook(webhook) => webhook.validate(&mut report),
                Self::Stdout(_) => {
                    stdouts += 1;
                    if stdouts > 1 {
                        let what = "is used twice: there is one standard output".to_owned();
                        report("type", what, "keep one sink of type stdout");
                    }
                }
            }
        }
        problems
    }
}

/// A key, what is wrong with its value, what to do.
type Report<'a> = dyn FnMut(&'static str, String, &'static str) + 'a;

impl QueueConfig {
    fn validate(&self, report: &mut Report<'_>) {
        if !(1..=1_048_576).contains(&self.max_events) {
            report("queue.max_events", format!("is {}", self.max_events), "use 1 to 1048576");
        }
        if !(65_536..=1 << 30).contains(&self.max_bytes) {
            report(
                "queue.max_bytes",
                format!("is {}", self.max_bytes),
                "use 65536 (64 KiB) to 1073741824 (1 GiB)",
            );
        }
        if self.alert_reserve_events >= self.max_events {
            let what = format!("is {}, of max_events {}", self.alert_reserve_events, self.max_events);
            report("queue.alert_reserve_events", what, "leave room for telemetry");
        }
        if self.alert_reserve_bytes >= self.max_bytes {
            let what = format!("is {}, of max_bytes {}", self.alert_reserve_bytes, self.max_bytes);
            report("queue.alert_reserve_bytes", what, "leave room for telemetry");
        }
        if !(1..=65_536).contains(&self.batch_events) {
            report("queue.batch_events", format!("is {}", self.batch_events), "use 1 to 65536");
        }
        if self.batch_bytes == 0 || self.batch_bytes > self.max_bytes {
            let what = format!("is {}, with max_bytes {}", self.batch_bytes, self.max_bytes);
            report("queue.batch_bytes", what, "use 1 to max_bytes");
        }
        if self.linger_ms > 60_000 {
            report("queue.linger_ms", format!("is {}", self.linger_ms), "use 0 to 60000");
        }
    }
}

impl FileConfig {
    fn validate(&self, report: &mut Report<'_>) {
        let name = self.path.file_name().map(|name| name.as_encoded_bytes().to_vec());
        if name.is_none_or(|name| name.starts_with(b".")) {
            let what = format!("{} names no file", self.path.display());
            report("path", what, "name a file that does not begin with a dot, e.g. events.jsonl");
        }
        if self.rotate_bytes < 65_536 {
            report("rotate_bytes", format!("is {}", self.rotate_bytes), "use at least 65536 (64 KiB)");
        }
        if self.rotate_age_s != 0 && self.rotate_age_s < 60 {
            let hint = "use at least 60, or 0 to rotate by size alone";
            report("rotate_age_s", format!("is {}", self.rotate_age_s), hint);
        }
        if !(1..=10_000).contains(&self.keep_files) {
            report("keep_files", format!("is {}", self.keep_files), "use 1 to 10000");
        }
        if !(10..=600_000).contains(&self.sync_interval_ms) {
            report("sync_interval_ms", format!("is {}", self.sync_interval_ms), "use 10 to 600000");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Sinks {
        sink: Vec<Config>,
    }

    fn parse(text: &str) -> Result<Vec<Config>, String> {
        toml::from_str::<Sinks>(text).map(|sinks| sinks.sink).map_err(|error| error.to_string())
    }

    #[test]
    fn a_short_block_gets_the_defaults() {
        let sinks = parse("[[sink]]\ntype = \"file\"\n[[sink]]\ntype = \"stdout\"\n").unwrap();
        assert_eq!(sinks, [Config::File(FileConfig::default()), Config::Stdout(StdoutConfig::default())]);
        assert_eq!(Config::validate(&sinks), []);
        let Config::File(file) = sinks[0].clone().resolved(Path::new("/var/lib/hostward")) else { panic!() };
        assert_eq!(file.path, Path::new("/var/lib/hostward/events.jsonl"));
    }

    #[test]
    fn more_sinks_than_the_spool_serves_are_told() {
        let mut text = String::new();
        for at in 0..14 {
            text.push_str(&format!("[[sink]]\ntype = \"file\"\nname = \"f{at}\"\npath = \"f{at}\"\n"));
        }
        let told = Config::validate(&parse(&text).unwrap());
        let sinks: Vec<_> = told.iter().map(|problem| (problem.sink.as_str(), problem.key)).collect();
        assert_eq!(sinks, [("f12", "type"), ("f13", "type")]);
        assert!(told[0].to_string().contains("number 13"), "{}", told[0]);
        assert!(told[0].hint().contains(&crate::spool::MAX_SINKS.to_string()));
    }

    #[test]
    fn an_unknown_type_or_key_names_the_known_ones() {
        let unknown = parse("[[sink]]\ntype = \"files\"\n").unwrap_err();
        assert!(unknown.contains("`files`") && unknown.contains("`file`") && unknown.contains("`stdout`"));
        let key = parse("[[sink]]\ntype = \"file\"\nrotate_byte = 1\n").unwrap_err();
        assert!(key.contains("`rotate_byte`") && key.contains("`rotate_bytes`"), "{key}");
        let nested = parse("[[sink]]\ntype = \"stdout\"\nqueue = { max = 1 }\n").unwrap_err();
        assert!(nested.contains("`max`") && nested.contains("`max_events`"), "{nested}");
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused_by_key() {
        let sinks = parse(
            "[[sink]]\ntype = \"elastic\"\nname = \"a\"\npassword = \"p\"\napi_key = \"k\"\n\
             [[sink]]\ntype = \"webhook\"\nname = \"b\"\nsecret = \"s\"\ntoken_file = \"/t\"\nproxy = \"http://u:p@h:1\"\n\
             [[sink]]\ntype = \"otlp\"\nname = \"c\"\ntoken_env = \"T\"\nproxy = \"http://h:1\"\n\
             [[sink]]\ntype = \"splunk_hec\"\nname = \"d\"\ntoken = \"t\"\n",
        )
        .unwrap();
        let told = |mode| -> Vec<String> {
            Config::exposed_secrets(&sinks, mode).iter().map(|it| format!("{}.{}", it.sink, it.key)).collect()
        };
        let all = ["a.password", "a.api_key", "b.secret", "b.proxy", "d.token"];
        for mode in [0o100_644, 0o100_640, 0o100_604] {
            assert_eq!(told(mode), all, "{mode:o}");
        }
        assert_eq!(told(0o100_600), Vec::<String>::new());
        let problem = Config::exposed_secrets(&sinks, 0o100_644).remove(0);
        assert!(problem.to_string().contains("(mode 0644)") && !format!("{problem:?}").contains("\"p\""));
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let sinks = parse(
            "[[sink]]\ntype = \"file\"\nrotate_bytes = 1\nkeep_files = 0\nredact = [\"proc.argz\"]\n\
             [[sink]]\ntype = \"file\"\nqueue = { max_events = 10 }\n",
        )
        .unwrap();
        let told: Vec<_> = Config::validate(&sinks).into_iter().map(|problem| problem.key).collect();
        assert_eq!(
            told,
            ["redact", "rotate_bytes", "keep_files", "name", "queue.alert_reserve_events", "path"]
        );
    }
}
