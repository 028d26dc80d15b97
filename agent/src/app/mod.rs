//! `hostward run`: the agent.
//!
//! # How it works
//! One named thread reads the rings, one runs the pipeline, one asks the host, one reads programs, one resolves names, one kills, one per
//! sink delivers, one answers the admin socket. This thread builds them, waits for signals, makes
//! the report each second, and takes all down in the order of the path: programs detached (but for those that
//! are pinned), rings drained, actions finished, sinks flushed.
//!
//! # What can go wrong
//! A stage that ends by itself is a failure: health says which, and the agent goes on with what is
//! left so that `hostward status` can be asked. A panic anywhere ends the process with code 70, and
//! systemd starts it again.

mod host;
mod line;
mod overload;
mod owners;
mod persist;
mod programs;
mod rings;
mod supervisor;

use crate::admin::{self, Shared};
use crate::capture;
use crate::cli;
use crate::clock::LiveClock;
use crate::commands::check::refused;
use crate::config::{self, Config, Loaded};
use crate::exit::{Exit, Failure};
use crate::health::{Health, Stage, State};
use crate::lock;
use crate::logging;
use crate::pipeline::Pipeline;
use crate::policy::{Policy, Sources};
use crate::recent::Recent;
use crate::report::Report;
use crate::watch::Watch;
use hostward_enrich::Enricher;
use hostward_event::fact::{Fact, Input, Notice, SeedProcess};
use hostward_event::mask::Masker;
use hostward_event::{EventKind, Text};
use hostward_host::{Board, Domains, Host, UserWatch};
use hostward_outputs::{Outputs, SinkSpec};
use hostward_policy::Condition;
use hostward_sensor::{Level, Sensor};
pub use line::Message;

use line::{Line, Numbers};
use owners::Owners;
use programs::Programs;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use supervisor::Supervisor;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Batches of inputs that may wait for the pipeline. When it is full the rings' thread waits, and
/// the kernel's rings take the load: they alone may drop, and count it.
const LINE_DEPTH: usize = 256;
/// Questions that may wait for the host.
const LOOKUP_DEPTH: usize = 4096;

/// Runs the agent until it is told to stop.
///
/// # Errors
/// Everything that keeps it from starting, with its exit code.
pub fn run(args: &cli::Run) -> Result<Exit, Failure> {
    let Loaded { mut config, files } = config::load(config_file(args).as_deref()).map_err(refused)?;
    if let Some(dir) = &args.state_dir {
        config.agent.state_dir.clone_from(dir);
    }
    if let Some(dir) = &args.runtime_dir {
        config.agent.runtime_dir.clone_from(dir);
    }
    logging::start(config.agent.log_level.name());
    end_on_panic();
    match files.as_slice() {
        [] => tracing::info!("no configuration file: embedded defaults, monitor mode"),
        files => tracing::info!(?files, "configured"),
    }
    // Privilege first: without it nothing else is worth saying.
    preflight()?;
    lock::make_dir(&config.agent.state_dir, "state", "--state-dir", 0o700)?;
    lock::make_dir(&config.agent.runtime_dir, "runtime", "--runtime-dir", 0o755)?;
    let _lock = lock::take(&config.agent.state_dir)?;
    start(&config, args)
}

/// `--config`, else the usual place when there is a file.
fn config_file(args: &cli::Run) -> Option<PathBuf> {
    args.config.clone().or_else(|| Some(PathBuf::from(cli::CONFIG_FILE)).filter(|file| file.exists()))
}

/// Refuses a host on which nothing could be observed, before anything is made on it.
fn preflight() -> Result<(), Failure> {
    let checks = hostward_sensor::Preflight::run().checks;
    for check in checks.iter().filter(|check| check.level == Level::Warn) {
        tracing::info!("{}: {}", check.name, check.found);
    }
    let failed: Vec<_> = checks.iter().filter(|check| check.level == Level::Fail).collect();
    let Some(first) = failed.first() else { return Ok(()) };
    let lines: Vec<String> = failed.iter().map(|check| format!("{}: {}", check.name, check.found)).collect();
    Err(Failure::new(Exit::CannotSense, lines.join("\n"), first.hint))
}

/// A panic is a bug: say so, and let systemd start a fresh process.
fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        tracing::error!(thread = thread.name().unwrap_or("?"), "bug: {panic}");
        eprintln!(
            "hostward: bug in thread {}: {panic}\nhint: please report it with this line",
            thread.name().unwrap_or("?")
        );
        std::process::exit(Exit::Bug as i32);
    }));
}

fn start(config: &Config, args: &cli::Run) -> Result<Exit, Failure> {
    let now_ns = crate::clock::wall_ns();
    let health = Arc::new(Health::new(now_ns));
    let sources = Sources::new(config, &args.rules);
    let watch = config.rules.watch.then(|| Watch::new(sources.stamp()));
    let policy = Arc::new(sources.load(config)?);
    tell_problems(&policy, &health);
    tell_silenced(&policy, config, &health);
    let masker = Masker::new(&config.masking)
        .map_err(|error| Failure::new(Exit::Config, format!("masking: {error}"), "mend [masking]"))?;
    let capture = args.capture.as_deref().map(create_capture).transpose()?;
    let outputs = Arc::new(
        Outputs::start_spooled(sinks(config, args)?, &config.spool.clone().resolved(&config.agent.state_dir))
            .map_err(|error| Failure::new(Exit::CannotWrite, error.to_string(), error.hint()))?,
    );

    let mut sensor = Sensor::load(&config.sensor, &policy.plan)
        .map_err(|error| Failure::new(Exit::CannotSense, error.to_string(), error.hint()))?;

    persist::tell(&sensor, &health);

    let numbers = Arc::new(Mutex::new(Numbers::default()));
    let (line, inputs) = sync_channel(LINE_DEPTH);
    let (reload, reloads) = tokio::sync::mpsc::channel(1);
    let shared = Arc::new(Shared {
        report: Mutex::new(Report::starting(now_ns)),
        recent: Recent::new(config.agent.recent_events),
        line: line.clone(),
        board: Board::default(),
        policy: Mutex::new(Arc::clone(&policy)),
        reload,
    });
    let (lookups, questions) = sync_channel(LOOKUP_DEPTH);
    let results = line.clone();
    let responder = hostward_respond::Responder::start(&config.respond, move |result| {
        // The pipeline outlives the responder, so this only fails when there is nobody to tell.
        let _ = results.send(Message::Inputs(vec![Input::Action(result)]));
    })
    .map_err(|error| Failure::new(Exit::CannotWrite, error.to_string(), error.hint()))?;
    let pipeline = Line {
        pipeline: Pipeline::new(
            LiveClock::default(),
            Enricher::new(&config.enrich),
            Arc::clone(&policy),
            config.telemetry.clone(),
            masker,
        ),
        inputs,
        outputs: Arc::clone(&outputs),
        shared: Arc::clone(&shared),
        responder,
        lookups,
        numbers: Arc::clone(&numbers),
        health: Arc::clone(&health),
        capture,
        marks: None,
    };
    let pipeline = thread("pipeline", move || pipeline.run())?;

    let host = Host::new(Path::new("/proc"));
    let mut users = UserWatch::new(Path::new("/"));
    let offset_ns = hostward_host::clock_offset_ns();
    let facts = [Fact::Clock { offset_ns }].into_iter().chain(users.poll().map(Fact::Users)).collect();
    let inherited = sensor.inherited();
    let late = feed_facts(&line, &mut sensor, &host, facts, &health, inherited.since_boot_ns)?;
    let programs = Programs::start(config, &host, line.clone(), Arc::clone(&health))?;
    let late = persist::hand_over(inherited, late, &line, &health);
    if let Some(marks) = sensor.marks() {
        // From here on numbers are those of the programs that are loaded now.
        let _ = line.send(Message::Marks(marks));
    }
    let rings = rings::start(sensor.ordered_rings(), late, line.clone(), Arc::clone(&health))?;
    let owners = Owners::start(config, line.clone(), shared.board.clone(), Arc::clone(&health))?;
    let host = {
        let line = line.clone();
        thread("host", move || host::run(&host, users, offset_ns, (&owners, &programs), &questions, &line))?
    };
    let domains = Arc::new(Domains::default());
    domains.want(policy.rules.domains());
    {
        let (domains, line) = (Arc::clone(&domains), line.clone());
        let tell = move |table| line.send(Message::Inputs(vec![Input::Fact(Fact::Domains(table))])).is_ok();
        thread("domains", move || domains.run(tell))?;
    }
    admin::serve(admin::socket(&config.agent.runtime_dir), Arc::clone(&shared))?;

    Supervisor {
        config: config.clone(),
        sources,
        health,
        shared,
        outputs,
        numbers,
        sensor,
        policy,
        line,
        pipeline,
        host,
        rings: Some(rings),
        domains,
        watch,
        reloads,
        started_ns: now_ns,
        tripped: Vec::new(),
        failed_sinks: BTreeSet::new(),
        overload: overload::Overload::new(config.sensor.degrade.clone()),
    }
    .run()
}

/// Starts a named thread.
fn thread(
    name: &'static str,
    work: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, Failure> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .map_err(|error| Failure::new(Exit::CannotWrite, format!("cannot start thread {name}: {error}"), ""))
}

fn create_capture(path: &Path) -> Result<capture::Writer, Failure> {
    capture::Writer::create(path).map_err(|error| {
        let hint = "name a file in an existing directory of yours with --capture";
        Failure::new(Exit::CannotWrite, format!("cannot write the capture {}: {error}", path.display()), hint)
    })
}

/// What the pipeline must know before the first event, the living processes last. Gives those back that began after
/// `since_boot_ns`: their events wait in a ring that outlived another agent.
fn feed_facts(
    line: &SyncSender<Message>,
    sensor: &mut Sensor,
    host: &Host,
    mut facts: Vec<Fact>,
    health: &Health,
    since_boot_ns: Option<u64>,
) -> Result<Vec<SeedProcess>, Failure> {
    let mut machine = hostward_host::host_facts();
    facts.push(Fact::Agent(hostward_host::agent_facts(VERSION)));
    let seeds = match sensor.seeds() {
        Ok(mut seeds) => {
            for seed in &mut seeds {
                // One that ended since is told by its exit, which waits in the ring.
                host.complete(seed);
            }
            machine.exact_starts = true;
            seeds
        }
        Err(error) => {
            let note = format!(
                "living processes were read from /proc, not from the task iterator: {error}; /proc tells their \
                 starts in ticks of 10 ms, so a pid used again within a tick has the process.entity_id it had"
            );
            tracing::info!("{note}");
            health.note(Stage::AddContext, "seeds", vec![note]);
            host.seeds().map_err(|error| Failure::new(Exit::CannotSense, error.to_string(), "mount /proc"))?
        }
    };
    facts.push(Fact::Host(machine));
    facts.push(Fact::Notice(notice("agent_started", format!("hostward {VERSION} started"), true)));
    let (seeds, late): (Vec<_>, Vec<_>) =
        seeds.into_iter().partition(|seed| since_boot_ns.is_none_or(|since| seed.start_boot_ns <= since));
    facts.extend(seeds.into_iter().map(|seed| Fact::Process(Box::new(seed))));
    let inputs = facts.into_iter().map(Input::Fact).collect();
    let gone = |_| Failure::new(Exit::Bug, "the pipeline ended while it was started", "");
    line.send(Message::Inputs(inputs)).map_err(gone)?;
    let (done, all_handled) = sync_channel(1);
    line.send(Message::Barrier(done)).map_err(gone)?;
    all_handled.recv().map_err(|_| Failure::new(Exit::Bug, "the pipeline ended while it was started", ""))?;
    Ok(late)
}

/// A notice of the agent about itself.
fn notice(action: &'static str, message: String, success: bool) -> Notice {
    Notice {
        action: Text::from_static(action),
        message: Text::from(message),
        success,
        boot_ns: hostward_host::boot_ns(),
    }
}

/// Rules that did not load are told in the log and in health; the others are in force.
fn tell_problems(policy: &Policy, health: &Health) {
    for problem in &policy.problems {
        tracing::warn!("{problem}");
    }
    let errors: Vec<String> = policy.errors().map(ToString::to_string).collect();
    let state = if errors.is_empty() { State::Ok } else { State::Degraded };
    let why = match errors.as_slice() {
        [] => String::new(),
        [one] => format!("1 rule or response did not load: {one}"),
        [first, ..] => format!("{} problems in rules or responses, the first: {first}", errors.len()),
    };
    health.set(Stage::MatchPolicy, "rules", state, why, crate::clock::wall_ns());
}

/// Rules that look for what a block of `[[sensor.ignore]]` leaves out whoever does it.
fn tell_silenced(policy: &Policy, config: &Config, health: &Health) {
    let mut notes = Vec::new();
    for (kinds, block) in hostward_sensor::silenced(&config.sensor.ignore) {
        let blind =
            policy.rules.iter().filter(|rule| rule.enabled && !rule.kinds().intersection(kinds).is_empty());
        let names: Vec<&Text> = blind.map(|rule| &rule.info.name).collect();
        if let [first, ..] = names.as_slice() {
            let count = names.len();
            let events: Vec<&str> = kinds.iter().map(EventKind::name).collect();
            notes.push(format!(
                "[[sensor.ignore]] block {block} leaves out every {}, which {count} enabled rules look for, the first: {first}; give the block another key, or switch the rules off",
                events.join(", ")
            ));
        }
    }
    notes.iter().for_each(|note| tracing::warn!("{note}"));
    health.note(Stage::MatchPolicy, "ignored", notes);
}

/// The configured sinks, else a file in the state directory; on a terminal the live view besides.
fn sinks(config: &Config, args: &cli::Run) -> Result<Vec<SinkSpec>, Failure> {
    use hostward_outputs::config::{Config as SinkConfig, StdoutConfig};
    let mut configs = config.sinks();
    let shows = configs.iter().any(|sink| matches!(sink, SinkConfig::Stdout(_)));
    if !shows && !args.quiet && std::io::stdout().is_terminal() {
        configs.push(SinkConfig::Stdout(StdoutConfig { name: "live".into(), ..StdoutConfig::default() }));
    }
    let mut specs = Vec::new();
    for sink in configs {
        let filter = match sink.filter() {
            None => None,
            Some(text) => {
                let condition = Condition::parse(text).map_err(|problem| {
                    let message = format!("sink {}: filter: {problem}", sink.name());
                    Failure::new(Exit::Config, message, "`hostward fields` lists what a filter can name")
                })?;
                let filter: hostward_outputs::Filter = Arc::new(move |event| condition.matches(event));
                Some(filter)
            }
        };
        specs.push(SinkSpec { config: sink.resolved(&config.agent.state_dir), filter });
    }
    Ok(specs)
}
