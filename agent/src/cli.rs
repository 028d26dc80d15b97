//! The command line. One table of types drives the parser, `--help` and the man page.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Where the state lies unless told otherwise.
pub const STATE_DIR: &str = "/var/lib/hostward";
/// Where the admin socket lies unless told otherwise.
pub const RUNTIME_DIR: &str = "/run/hostward";
/// The configuration read when `--config` is not given and the file exists.
pub const CONFIG_FILE: &str = "/etc/hostward/hostward.toml";

const EXIT_CODES: &str = "Exit codes: 0 ok; status: 1 degraded, 2 failed, 3 not running; 64 usage; 65 bad capture; \
69 destination unreachable; 70 bug; 73 cannot write; 75 another agent runs; 77 no privilege or kernel cannot; 78 configuration or rules wrong; rules test: 1 another outcome.";

/// Watches this host and ships what happens to a SIEM.
#[derive(Parser, Debug)]
#[command(name = "hostward", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the agent in the foreground.
    Run(Run),
    /// Tell the health of the running agent, stage by stage.
    Status(Status),
    /// List what runs here: containers with pod, image and owner, and units.
    Workloads(Status),
    /// Show recent events, then follow new ones.
    Events(Events),
    /// Tell what this host offers, what is missing, and what to do.
    Doctor(Doctor),
    /// Work with the configuration.
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Look at what waits on disk for the sinks; repair it, or give it up.
    #[command(subcommand)]
    Spool(SpoolVerb),
    /// Prepare a destination.
    #[command(subcommand)]
    Setup(SetupVerb),
    /// Work with rule files.
    #[command(subcommand)]
    Rules(RulesVerb),
    /// List the fields that conditions and outputs can use.
    Fields(Fields),
    /// Run rules over a capture and print the feed that it gives.
    Replay(Replay),
}

/// `hostward run`
#[derive(Args, Debug)]
pub struct Run {
    /// Configuration file; default: /etc/hostward/hostward.toml where it exists, else the embedded one.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Rule file or folder of *.yaml, in place of the configured rules; may be repeated.
    #[arg(long, value_name = "PATH")]
    pub rules: Vec<PathBuf>,
    /// Directory for all that is kept [default: /var/lib/hostward].
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Directory for the admin socket [default: /run/hostward].
    #[arg(long, value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
    /// Record everything that enters the pipeline, for `hostward replay`.
    #[arg(long, value_name = "FILE")]
    pub capture: Option<PathBuf>,
    /// No live view, even on a terminal.
    #[arg(long)]
    pub quiet: bool,
}

/// `hostward status` and `hostward workloads`
#[derive(Args, Debug)]
pub struct Status {
    /// Machine-readable.
    #[arg(long)]
    pub json: bool,
    /// Directory of the admin socket.
    #[arg(long, value_name = "DIR", default_value = RUNTIME_DIR)]
    pub runtime_dir: PathBuf,
}

/// How events are printed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One readable line per event.
    Compact,
    /// ECS, one JSON object per line.
    Json,
}

/// `hostward events`
#[derive(Args, Debug)]
pub struct Events {
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Format::Compact)]
    pub output: Format,
    /// Only events for which this condition holds, e.g. 'proc.name = bash' or 'event.kind = alert'.
    #[arg(long = "where", value_name = "CONDITION")]
    pub filter: Option<String>,
    /// Begin with the events of the last while that the agent remembers, e.g. 30s, 10m.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub since: Option<Duration>,
    /// Stop after the remembered events instead of following.
    #[arg(long)]
    pub no_follow: bool,
    /// Stop after this many events.
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,
    /// Directory of the admin socket.
    #[arg(long, value_name = "DIR", default_value = RUNTIME_DIR)]
    pub runtime_dir: PathBuf,
}

/// `hostward doctor`
#[derive(Args, Debug)]
pub struct Doctor {
    /// Configuration file of which the programs are tried; default: as for `hostward run`.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Machine-readable.
    #[arg(long)]
    pub json: bool,
    /// Do not try to load the sensor.
    #[arg(long)]
    pub no_load: bool,
}

/// `hostward config …`
#[derive(Subcommand, Debug)]
pub enum ConfigVerb {
    /// Check a configuration with the rules and responses it names; tells every problem.
    Check(ConfigCheck),
}

/// `hostward config check`
#[derive(Args, Debug)]
pub struct ConfigCheck {
    /// Configuration file.
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE)]
    pub config: PathBuf,
    /// Then try every sink: name, connection, TLS, login, permission. Nothing is sent.
    #[arg(long)]
    pub connect: bool,
}

/// `hostward spool …`
#[derive(Subcommand, Debug)]
pub enum SpoolVerb {
    /// Tell what waits for each sink, and where all it accepted has gone. Also while the agent runs.
    Status(SpoolStatus),
    /// Read all of it and tell what is damaged. Changes nothing.
    Check(SpoolStatus),
    /// Write what waits as ECS, one JSON object per line. Changes nothing.
    Export(SpoolExport),
    /// Make a damaged spool whole, and keep a copy of what it changes. The agent has to be stopped.
    Repair(SpoolPlace),
    /// Give up all that waits for a sink. The agent has to be stopped.
    Drop(SpoolDrop),
}

/// Where a spool lies.
#[derive(Args, Debug)]
pub struct SpoolPlace {
    /// Configuration file; default: /etc/hostward/hostward.toml where it exists, else the embedded one.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory for all that is kept [default: the configured one].
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// `hostward spool status`, `hostward spool check`
#[derive(Args, Debug)]
pub struct SpoolStatus {
    #[command(flatten)]
    pub place: SpoolPlace,
    /// Machine-readable.
    #[arg(long)]
    pub json: bool,
}

/// A lane of the spool.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolLane {
    /// Alerts, losses, and what the agent says of itself.
    Alert,
    /// Everything else.
    Telemetry,
}

/// `hostward spool export`
#[derive(Args, Debug)]
pub struct SpoolExport {
    #[command(flatten)]
    pub place: SpoolPlace,
    /// What waits for this sink [default: all that is there, whoever it is for].
    #[arg(long, value_name = "NAME")]
    pub sink: Option<String>,
    /// One lane alone.
    #[arg(long, value_enum)]
    pub lane: Option<SpoolLane>,
    /// A new file [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `hostward spool drop`
#[derive(Args, Debug)]
pub struct SpoolDrop {
    #[command(flatten)]
    pub place: SpoolPlace,
    /// Name of the sink.
    #[arg(long, value_name = "NAME")]
    pub sink: String,
    /// One lane alone.
    #[arg(long, value_enum)]
    pub lane: Option<SpoolLane>,
}

/// `hostward setup …`
#[derive(Subcommand, Debug)]
pub enum SetupVerb {
    /// Install index templates, lifecycle and data streams in the Elasticsearch or OpenSearch that a sink names.
    Elastic(SetupElastic),
}

/// `hostward setup elastic`
#[derive(Args, Debug)]
pub struct SetupElastic {
    /// Configuration file.
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE)]
    pub config: PathBuf,
    /// Only the sink of this name; without it every sink of type elastic.
    #[arg(long, value_name = "NAME")]
    pub sink: Option<String>,
    /// Tell what would be sent, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Days after which events are deleted.
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    pub retention_days: u32,
    /// A backing index is left for a new one at this size of a primary shard, GB.
    #[arg(long, value_name = "GB", default_value_t = 30)]
    pub rollover_gb: u32,
    /// A backing index is left for a new one at this age, days.
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    pub rollover_days: u32,
    /// Copies of each shard [default: the server's].
    #[arg(long, value_name = "N")]
    pub replicas: Option<u32>,
}

/// `hostward rules …`
#[derive(Subcommand, Debug)]
pub enum RulesVerb {
    /// Check rule files; tells every problem with file, line and column.
    Check(RulesCheck),
    /// List rules; without a path the embedded ones.
    List(RulesList),
    /// Show one rule with all macros put in, where its parts run, and what it costs in the running agent.
    Explain(RulesExplain),
    /// Count what each rule matches in a capture; with --expect compare, for CI.
    Test(RulesTest),
    /// Let the running agent read its rules and responses anew; what does not load changes nothing.
    Reload(RulesReload),
}

/// `hostward rules explain`
#[derive(Args, Debug)]
pub struct RulesExplain {
    /// Name of the rule.
    #[arg(value_name = "RULE")]
    pub rule: String,
    /// Rule file or folder; none: the embedded rules. May be repeated.
    #[arg(long, value_name = "PATH")]
    pub rules: Vec<PathBuf>,
    /// Directory of the admin socket.
    #[arg(long, value_name = "DIR", default_value = RUNTIME_DIR)]
    pub runtime_dir: PathBuf,
}

/// `hostward rules test`
#[derive(Args, Debug)]
pub struct RulesTest {
    /// Files or folders of *.yaml.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Capture made by `hostward run --capture`.
    #[arg(long, value_name = "FILE")]
    pub capture: PathBuf,
    /// What has to come out: lines as this command prints them. Exit code 1 when something else does.
    #[arg(long, value_name = "FILE")]
    pub expect: Option<PathBuf>,
}

/// `hostward rules reload`
#[derive(Args, Debug)]
pub struct RulesReload {
    /// Directory of the admin socket.
    #[arg(long, value_name = "DIR", default_value = RUNTIME_DIR)]
    pub runtime_dir: PathBuf,
}

/// `hostward rules check`
#[derive(Args, Debug)]
pub struct RulesCheck {
    /// Files or folders of *.yaml.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Capture made by `hostward run --capture`: of it is told how many events a second each rule looks at and matches.
    #[arg(long, value_name = "FILE")]
    pub capture: Option<PathBuf>,
}

/// `hostward rules list`
#[derive(Args, Debug)]
pub struct RulesList {
    /// Files or folders of *.yaml; none: the embedded rules.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Machine-readable.
    #[arg(long)]
    pub json: bool,
}

/// `hostward fields`
#[derive(Args, Debug)]
pub struct Fields {
    /// Machine-readable.
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,
    /// As the reference page docs/fields.md.
    #[arg(long)]
    pub markdown: bool,
    /// Only fields whose name contains this.
    #[arg(value_name = "WORD")]
    pub word: Option<String>,
}

/// `hostward replay`
#[derive(Args, Debug)]
pub struct Replay {
    /// Capture made by `hostward run --capture`.
    #[arg(value_name = "FILE")]
    pub capture: PathBuf,
    /// Rule file or folder, in place of the configured rules; may be repeated.
    #[arg(long, value_name = "PATH")]
    pub rules: Vec<PathBuf>,
    /// Configuration whose rules, responses, telemetry and masking apply.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Format::Json)]
    pub output: Format,
    /// Tell on stderr what the stages cost per input on this machine.
    #[arg(long)]
    pub cost: bool,
}

/// Reads `90s`, `10m`, `2h`, `1d`; a bare number is seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return Err(format!("unknown unit `{unit}`; use s, m, h or d")),
    };
    let number: u64 = digits.parse().map_err(|_| "a time is a number and a unit, e.g. 10m".to_owned())?;
    number.checked_mul(factor).map(Duration::from_secs).ok_or_else(|| "the time is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(parse_duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(parse_duration("7"), Ok(Duration::from_secs(7)));
        assert!(parse_duration("10y").unwrap_err().contains("unit"));
        assert!(parse_duration("m").is_err());
        assert!(parse_duration("99999999999999999999h").is_err());
    }
}
