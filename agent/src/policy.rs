//! Rules and responses in force, and where they are read from.

use crate::config::{Config, Matching, Select, Which};
use crate::embedded;
use crate::exit::{Exit, Failure};
use crate::watch::{self, Stamp};
use hostward_event::event::{Action, Mode};
use hostward_event::plan::{KernelPlan, OpenClass};
use hostward_event::registry::Awaited;
use hostward_event::{Event, EventKind, KindSet, Text};
use hostward_policy::{Problem, Response, Responses, Rule, RuleFile, RuleSet, Severity};
use std::path::{Path, PathBuf};

/// A rule file is smaller; a larger one is refused before it is read.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// What is in force together.
#[derive(Debug)]
pub struct Policy {
    /// The rules.
    pub rules: RuleSet,
    /// The responses.
    pub responses: Responses,
    /// What the sensor shall watch for them.
    pub plan: KernelPlan,
    /// Keys of labels and annotations that name the owner of a workload, the first that is there counts.
    pub owner_keys: Vec<Text>,
    /// What did not load, or is worth a look.
    pub problems: Vec<Problem>,
}

/// What a response decides about one match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Name of the response; empty when none applies.
    pub response: Text,
    /// Its owner.
    pub owner: Text,
    /// Its mode.
    pub mode: Mode,
    /// Its strongest action.
    pub action: Action,
}

impl Policy {
    /// Decides about a match.
    pub fn decide(&self, rule: &Rule, event: &Event) -> Decision {
        self.decision(self.responses.decide(rule, event), event)
    }

    /// Decides about a match by an event that still waits for its container or program: none when what is yet to be told
    /// may change the decision.
    pub fn decide_early(&self, rule: &Rule, event: &Event, awaited: Awaited) -> Option<Decision> {
        Some(self.decision(Some(self.responses.decide_early(rule, event, awaited)?), event))
    }

    fn decision(&self, response: Option<&Response>, event: &Event) -> Decision {
        let named = response.map(|response| response.owner.clone()).filter(|owner| !owner.is_empty());
        let owner = named.or_else(|| self.owner_of(event)).unwrap_or(Text::EMPTY);
        match response {
            Some(response) => Decision {
                response: response.name.clone(),
                owner,
                mode: response.mode,
                action: response.action(),
            },
            None => Decision { response: Text::EMPTY, owner, mode: Mode::Monitor, action: Action::Alert },
        }
    }

    /// Who owns the workload: the first of the configured keys that its pod, namespace or container carries.
    fn owner_of(&self, event: &Event) -> Option<Text> {
        let container = event.process.as_deref()?.workload.container.as_ref()?;
        let pod = container.pod.as_deref();
        let maps = [
            pod.map(|pod| &pod.annotations),
            pod.map(|pod| &pod.labels),
            pod.map(|pod| &pod.namespace_labels),
            container.facts.as_deref().map(|facts| &facts.labels),
        ];
        let owners =
            self.owner_keys.iter().flat_map(|key| maps.iter().flatten().filter_map(|map| map.get(key)));
        owners.into_iter().find(|owner| !owner.is_empty()).cloned()
    }

    /// How many problems keep a rule or response from loading.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error)
    }

    /// Problems that keep nothing from loading.
    pub fn notes(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.severity != Severity::Error)
    }
}

/// Where rules and responses come from; kept for a reload.
#[derive(Clone, Debug)]
pub struct Sources {
    rules: Vec<PathBuf>,
    responses: Vec<PathBuf>,
    enable: Vec<String>,
    disable: Vec<String>,
    select: Vec<Select>,
    matching: Matching,
}

impl Sources {
    /// As configured; `rules` of the command line stand in for the configured files.
    pub fn new(config: &Config, rules: &[PathBuf]) -> Self {
        Self {
            rules: if rules.is_empty() { config.rules.files.clone() } else { rules.to_vec() },
            responses: config.responses.files.clone(),
            enable: config.rules.enable.clone(),
            disable: config.rules.disable.clone(),
            select: config.rules.select.clone(),
            matching: config.rules.rule_matching,
        }
    }

    /// These rule files, no responses: to try rules.
    pub fn rules_alone(rules: &[PathBuf]) -> Self {
        Self {
            rules: rules.to_vec(),
            responses: Vec::new(),
            enable: Vec::new(),
            disable: Vec::new(),
            select: Vec::new(),
            matching: Matching::All,
        }
    }

    /// What a look at all files sees, for [`crate::watch`].
    pub fn stamp(&self) -> Stamp {
        let mut stamp = Stamp::new();
        for path in self.rules.iter().chain(&self.responses) {
            // A folder that is empty or gone is seen by itself.
            stamp.push(watch::look(path));
            let files = expand(path).unwrap_or_default();
            stamp.extend(files.iter().filter(|file| *file != path).map(|file| watch::look(file)));
        }
        stamp
    }

    /// Reads and compiles all.
    ///
    /// # Errors
    /// A file cannot be read. What cannot be compiled is among [`Policy::problems`].
    pub fn load(&self, config: &Config) -> Result<Policy, Failure> {
        let rule_files = if self.rules.is_empty() { embedded::rules() } else { read(&self.rules)? };
        let mut loaded = hostward_policy::load(&rule_files);
        for selector in loaded.rules.select(&self.disable, &self.enable) {
            tracing::warn!("[rules] enable or disable: {selector:?} selects no rule");
        }
        for select in &self.select {
            let (which, on) = match select {
                Select::Enable(which) => (which, true),
                Select::Disable(which) => (which, false),
            };
            let selector = match which {
                Which::Rule(name) => name.clone(),
                Which::Tag(tag) => format!("tag={tag}"),
            };
            let (off, on) = if on { (vec![], vec![selector]) } else { (vec![selector], vec![]) };
            for idle in loaded.rules.select(&off, &on) {
                tracing::warn!("[[rules.select]]: {idle:?} selects no rule");
            }
        }
        if self.matching == Matching::First {
            loaded.rules.match_first();
        }
        let response_files = read(&self.responses)?;
        let (responses, mut more) = Responses::load(&response_files, &loaded.rules);
        loaded.problems.append(&mut more);
        let mut plan = hostward_policy::plan(&loaded.rules, &responses, &protected(config));
        add_telemetry(&mut plan, config);
        let owner_keys = config.responses.owner_keys.iter().map(|key| Text::from(key.as_str())).collect();
        Ok(Policy { rules: loaded.rules, responses, plan, owner_keys, problems: loaded.problems })
    }
}

/// What the kernel must not kill: as the responder's guard rails have it.
fn protected(config: &Config) -> hostward_policy::Protected {
    hostward_policy::Protected {
        paths: config.respond.protected_globs().map(str::to_owned).collect(),
        comms: config.respond.protected_comms.clone(),
    }
}

/// The plan holds what rules want; telemetry streams want more.
fn add_telemetry(plan: &mut KernelPlan, config: &Config) {
    use crate::config::Opens;
    let telemetry = &config.telemetry;
    if telemetry.connect {
        plan.kinds = plan.kinds.union(KindSet::of(&[EventKind::Connect]));
        plan.connect_ports = None;
        plan.scopes.remove(&EventKind::Connect);
    }
    if telemetry.connection_end {
        plan.kinds = plan.kinds.union(KindSet::of(&[EventKind::ConnectionEnd]));
    }
    if telemetry.udp {
        plan.kinds = plan.kinds.union(KindSet::of(&[EventKind::UdpSend]));
    }
    if telemetry.signals {
        plan.kinds = plan.kinds.union(KindSet::of(&[EventKind::Signal]));
    }
    if telemetry.dns {
        plan.kinds = plan.kinds.union(KindSet::of(&[EventKind::DnsQuestion, EventKind::DnsAnswer]));
    }
    let calls = telemetry.calls();
    plan.kinds = plan.kinds.union(calls);
    // All of them are wanted, whatever rules look for.
    plan.calls.retain(|kind, _| !calls.contains(*kind));
    plan.scopes.retain(|kind, _| !calls.contains(*kind));
    plan.environment.names.extend(telemetry.environment.iter().map(|name| Text::from(name.as_str())));
    if telemetry.close_write {
        plan.kinds = plan.kinds.union(KindSet::of(&[EventKind::CloseWrite]));
        plan.opens.all = plan.opens.all.union(OpenClass::CLOSE);
        plan.scopes.remove(&EventKind::CloseWrite);
    }
    if telemetry.opens == Opens::All {
        plan.kinds = plan.kinds.union(KindSet::of(&[EventKind::Open]));
        plan.opens.all = plan.opens.all.union(OpenClass::ALL);
        plan.scopes.remove(&EventKind::Open);
    }
}

/// Reads files, and the *.yaml of folders by name.
///
/// # Errors
/// [`Exit::Config`] with a line per path that cannot be read.
pub fn read(paths: &[PathBuf]) -> Result<Vec<RuleFile>, Failure> {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        match expand(path) {
            Ok(expanded) => {
                for path in expanded {
                    match read_one(&path) {
                        Ok(text) => files.push(RuleFile { name: path.display().to_string(), text }),
                        Err(why) => problems.push(format!("{}: {why}", path.display())),
                    }
                }
            }
            Err(why) => problems.push(format!("{}: {why}", path.display())),
        }
    }
    if problems.is_empty() {
        return Ok(files);
    }
    let hint = "name existing files or folders of *.yaml in [rules] files, [responses] files or --rules";
    Err(Failure::new(Exit::Config, problems.join("\n"), hint))
}

fn expand(path: &Path) -> Result<Vec<PathBuf>, String> {
    let meta = std::fs::metadata(path).map_err(|error| format!("cannot read it: {error}"))?;
    if !meta.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(|error| format!("cannot list it: {error}"))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| format!("cannot list it: {error}"))?.path();
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read_one(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot read it: {error}");
    let size = std::fs::metadata(path).map_err(cannot)?.len();
    if size > MAX_FILE_BYTES {
        return Err(format!("it has {size} bytes, a rule file has at most {MAX_FILE_BYTES}"));
    }
    std::fs::read(path).map_err(cannot)
}
