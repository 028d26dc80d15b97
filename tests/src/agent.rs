//! A running agent.

use crate::{Feed, binary, wait};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long an agent may take until it is ready; on a loaded machine a debug build takes seconds.
const READY: Duration = Duration::from_secs(60);
/// How long it may take to end after SIGTERM.
const STOPPED: Duration = Duration::from_secs(30);

/// What an agent is started with. Its directories are its own.
#[derive(Debug)]
pub struct Setup {
    dir: TempDir,
    args: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    hosts: Option<PathBuf>,
    prelude: String,
    wrapper: Vec<OsString>,
}

impl Setup {
    /// The embedded defaults, in a new directory.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("hostward-test.").tempdir()?;
        Ok(Self {
            dir,
            args: vec!["--quiet".into()],
            environment: Vec::new(),
            hosts: None,
            prelude: String::new(),
            wrapper: Vec::new(),
        })
    }

    /// A further argument of `hostward run`.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// With this text as its configuration file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn config(self, text: &str) -> Result<Self> {
        let path = self.write("hostward.toml", text)?;
        Ok(self.arg("--config").arg(path))
    }

    /// With this text as a rule file, in place of the embedded rules.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn rules(self, text: &str) -> Result<Self> {
        let path = self.write("rules.yaml", text)?;
        Ok(self.arg("--rules").arg(path))
    }

    /// With this text as the `/etc/hosts` that it alone sees.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn hosts(mut self, text: &str) -> Result<Self> {
        self.hosts = Some(self.write("hosts", text)?);
        Ok(self)
    }

    /// After this shell command, which must succeed, in a mount namespace of its own.
    #[must_use]
    pub fn prelude(mut self, command: &str) -> Self {
        command.clone_into(&mut self.prelude);
        self
    }

    /// Started by this program with these arguments, which must become the agent.
    #[must_use]
    pub fn wrapper(mut self, command: &[&str]) -> Self {
        self.wrapper = command.iter().map(Into::into).collect();
        self
    }

    /// Writes a file into the directory of this agent.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.dir.path().join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// The directory of this agent; state and runtime directory lie in it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the agent and waits until every stage is at least degraded, which is when it sees events.
    ///
    /// # Errors
    /// It does not become ready; the message has its log.
    pub fn start(self) -> Result<Agent> {
        let mut agent = self.launch()?;
        agent.wait_ready()?;
        Ok(agent)
    }

    /// Starts the agent and does not wait: for tests of a start that fails.
    ///
    /// # Errors
    /// There is no binary.
    pub fn launch(self) -> Result<Agent> {
        let log = File::create(self.dir.path().join("log"))?;
        let program = binary::hostward()?;
        // Each step becomes the next, so that the child is the agent.
        let mut line: Vec<OsString> = Vec::new();
        if let Some(hosts) = &self.hosts {
            let script = r#"mount --bind "$0" /etc/hosts && exec "$@""#;
            line.extend(["unshare", "--mount", "sh", "-c", script].map(OsString::from));
            line.push(hosts.into());
        }
        if !self.prelude.is_empty() {
            let script = format!(r#"{{ {}; }} && exec "$@""#, self.prelude);
            line.extend(["unshare", "--mount", "sh", "-c", &script, "sh"].map(OsString::from));
        }
        line.extend(self.wrapper.iter().cloned());
        line.push(program.into());
        let mut words = line.iter();
        let mut command = Command::new(words.next().context("an empty command")?);
        command.args(words);
        command.arg("run").args(&self.args);
        command.arg("--state-dir").arg(self.dir.path().join("state"));
        command.arg("--runtime-dir").arg(self.dir.path().join("run"));
        command.envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("cannot start the agent")?;
        Ok(Agent { child, setup: self })
    }
}

/// A running agent. Dropping it kills it and removes its directories.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    setup: Setup,
}

impl Agent {
    /// An agent with the embedded defaults, ready.
    ///
    /// # Errors
    /// As [`Setup::start`].
    pub fn start() -> Result<Self> {
        Setup::new()?.start()
    }

    /// Waits until `hostward status` says that it runs and nothing has failed.
    ///
    /// # Errors
    /// It ended or the time is over; the message has its log.
    pub fn wait_ready(&mut self) -> Result<()> {
        let ready = wait::until("the agent to be ready", READY, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("the agent ended with {status}");
            }
            Ok(matches!(self.status()?.status.code(), Some(0 | 1)).then_some(()))
        });
        ready.with_context(|| format!("its log:\n{}", self.log()))
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.setup.dir().join("state")
    }

    /// The runtime directory.
    pub fn runtime_dir(&self) -> PathBuf {
        self.setup.dir().join("run")
    }

    /// What it was started with, to write further files.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Its events.
    pub fn feed(&self) -> Feed {
        Feed::new(&self.state_dir())
    }

    /// All that it printed so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.setup.dir().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// `hostward status --json` of this agent.
    ///
    /// # Errors
    /// The command cannot be started.
    pub fn status(&self) -> Result<Output> {
        self.ask(&["status", "--json"])
    }

    /// Any command that talks to this agent, e.g. `["events", "--since", "1m"]`.
    ///
    /// # Errors
    /// The command cannot be started.
    pub fn ask(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary::hostward()?);
        command.args(args).arg("--runtime-dir").arg(self.runtime_dir());
        command.stdin(Stdio::null()).output().with_context(|| format!("hostward {args:?}"))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("a pid above 2^31")?;
        kill_process(pid, signal).with_context(|| format!("{signal:?} to the agent"))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end; the message has its log.
    pub fn wait_end(&mut self) -> Result<ExitStatus> {
        let ended = wait::until("the agent to end", STOPPED, || Ok(self.child.try_wait()?));
        ended.with_context(|| format!("its log:\n{}", self.log()))
    }

    /// Ends it as systemd does, with SIGTERM, and waits until it has drained.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait_end()
    }

    /// Ends it, and starts another one over the same directories.
    ///
    /// # Errors
    /// The directories are of this agent no more, or the next one does not become ready.
    pub fn restart(mut self) -> Result<Self> {
        self.stop()?;
        self.revive()
    }

    /// Starts another one over the directories of one that has ended, however it did.
    ///
    /// # Errors
    /// It does not end, or the next one does not become ready.
    pub fn revive(mut self) -> Result<Self> {
        self.wait_end()?;
        let empty = Setup::new()?;
        let setup = std::mem::replace(&mut self.setup, empty);
        setup.start()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Already ended: both say so, and that is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
