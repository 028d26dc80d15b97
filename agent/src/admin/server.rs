//! The agent's end of the admin socket. A thread and runtime of its own: it answers while all else
//! is busy.

use super::{Frame, Reloaded, Request, RuleCost};
use crate::app::Message;
use crate::exit::{Exit, Failure};
use crate::policy::Policy;
use crate::recent::Recent;
use crate::report::Report;
use crate::workloads::Workloads;
use hostward_event::{Event, encode};
use hostward_host::Board;
use hostward_policy::Condition;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::TrySendError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Group whose members may ask.
const GROUP: &[u8] = b"hostward";
/// Askers at the same time.
const MAX_CLIENTS: usize = 32;
/// A request is shorter.
const MAX_REQUEST_BYTES: u64 = 64 << 10;
/// Events read at once for a follower.
const BATCH: usize = 256;

/// Who waits for the outcome of a reload.
pub type Reload = tokio::sync::oneshot::Sender<Result<String, String>>;

/// What the admin thread may see.
#[derive(Debug)]
pub struct Shared {
    /// The last report.
    pub report: Mutex<Report>,
    /// The last events.
    pub recent: Recent,
    /// The pipeline, to be asked what runs where.
    pub line: std::sync::mpsc::SyncSender<Message>,
    /// Who tells of containers and pods.
    pub board: Board,
    /// The rules in force.
    pub policy: Mutex<Arc<Policy>>,
    /// The supervisor, to be asked for a reload.
    pub reload: tokio::sync::mpsc::Sender<Reload>,
}

/// How long the pipeline may take to say what it knows.
const WORKLOADS_WAIT: Duration = Duration::from_secs(5);

/// Remembered events that a rule is tried on to learn what it costs.
const TRIES: usize = 10_000;

impl Shared {
    /// What a rule costs, by trying it on remembered events: the pipeline does not pay for the question.
    fn cost(&self, name: &str) -> RuleCost {
        let policy = Arc::clone(&self.policy.lock().unwrap_or_else(PoisonError::into_inner));
        let (Some(rule), Some((events, matches))) = (policy.rules.find(name), policy.rules.counted(name))
        else {
            return RuleCost::Unknown;
        };
        let batch = self.recent.read(self.recent.start(Some(i64::MIN)), TRIES);
        let kinds = rule.kinds();
        let tried: Vec<_> = batch
            .events
            .iter()
            .filter(|event| event.alert.is_none() && kinds.contains(event.kind()))
            .collect();
        let begin = std::time::Instant::now();
        for event in &tried {
            std::hint::black_box(rule.matches(event));
        }
        let took_ns = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        RuleCost::Known { events, matches, tried: tried.len() as u64, took_ns }
    }

    /// Reads rules and responses anew, unless somebody else is not to be obeyed.
    async fn reload(&self, uid: Option<u32>) -> Reloaded {
        let own = rustix::process::geteuid().as_raw();
        if !uid.is_some_and(|uid| uid == 0 || uid == own) {
            return Reloaded::Refused("only root and the agent's own user may ask for a reload".to_owned());
        }
        let (asker, outcome) = tokio::sync::oneshot::channel();
        let stops = || Reloaded::Refused("the agent stops".to_owned());
        if self.reload.send(asker).await.is_err() {
            return stops();
        }
        match outcome.await {
            Ok(Ok(message)) => Reloaded::Done(message),
            Ok(Err(why)) => Reloaded::Refused(why),
            Err(_) => stops(),
        }
    }

    /// What runs where; none when the pipeline is too busy to say.
    async fn workloads(&self) -> Option<Workloads> {
        let (asker, rows) = tokio::sync::oneshot::channel();
        let mut message = Message::Workloads(asker);
        let ask = async {
            while let Err(refused) = self.line.try_send(message) {
                // The line is full: the rings go first.
                let TrySendError::Full(back) = refused else { return None };
                message = back;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            rows.await.ok()
        };
        let workloads = tokio::time::timeout(WORKLOADS_WAIT, ask).await.ok()??;
        Some(Workloads { workloads, sources: self.board.reports().iter().map(Into::into).collect() })
    }
}

/// Opens the socket and answers on a thread of its own until the process ends.
///
/// # Errors
/// [`Exit::CannotWrite`] when the socket cannot be made.
pub fn serve(path: PathBuf, shared: Arc<Shared>) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| {
        let hint = "run as root, or name another directory with --runtime-dir";
        Failure::new(
            Exit::CannotWrite,
            format!("cannot open the admin socket {}: {error}", path.display()),
            hint,
        )
    };
    // The instance lock is ours, so a socket that is there was left by an agent that is gone.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(cannot(error)),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(&path).map_err(cannot)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660)).map_err(cannot)?;
    give_to_group(&path);
    listener.set_nonblocking(true).map_err(cannot)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    std::thread::Builder::new()
        .name("admin".into())
        .spawn(move || {
            runtime.block_on(async {
                match UnixListener::from_std(listener) {
                    Ok(listener) => accept(listener, shared).await,
                    Err(error) => tracing::error!(%error, "the admin socket cannot be polled"),
                }
            });
        })
        .map_err(cannot)?;
    Ok(())
}

fn give_to_group(path: &Path) {
    let groups = hostward_host::users(Path::new("/")).groups;
    let group = groups.iter().find(|(_, name)| name.as_bytes() == GROUP).map(|(gid, _)| *gid);
    if let Some(gid) = group
        && let Err(error) = std::os::unix::fs::chown(path, None, Some(gid))
    {
        tracing::warn!(%error, gid, "the admin socket cannot be given to the group hostward; only root can ask");
    }
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Nobody is kept waiting: an asker too many is turned away at once.
                let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    // An asker that goes away is no news.
                    let _ = answer(stream, &shared).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin socket did not accept");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, shared: &Shared) -> std::io::Result<()> {
    let uid = stream.peer_cred().ok().map(|peer| peer.uid());
    let (input, mut output) = stream.into_split();
    let mut line = String::new();
    let mut input = BufReader::new(input.take(MAX_REQUEST_BYTES));
    tokio::time::timeout(Duration::from_secs(5), input.read_line(&mut line)).await??;
    match serde_json::from_str(&line) {
        Ok(Request::Status) => {
            let report = shared.report.lock().unwrap_or_else(PoisonError::into_inner).clone();
            send(&mut output, &report).await
        }
        Ok(Request::Rule { name }) => send(&mut output, &shared.cost(&name)).await,
        Ok(Request::Reload) => send(&mut output, &shared.reload(uid).await).await,
        Ok(Request::Workloads) => match shared.workloads().await {
            Some(workloads) => send(&mut output, &workloads).await,
            None => Ok(()),
        },
        Ok(Request::Events { filter, since_ns, follow, json, colour }) => {
            let condition = match filter.as_deref().map(Condition::parse).transpose() {
                Ok(condition) => condition,
                Err(problem) => return send(&mut output, &Frame::Refused(problem.to_string())).await,
            };
            let stream = Stream { condition, follow, json, colour };
            let hang_up = async {
                // A follower says nothing more: what arrives is the end.
                let _ = input.read_u8().await;
            };
            tokio::select! {
                done = stream.run(since_ns, shared, &mut output) => done,
                () = hang_up => Ok(()),
            }
        }
        Err(error) => {
            send(&mut output, &Frame::Refused(format!("the request is not understood: {error}"))).await
        }
    }
}

async fn send(
    output: &mut (impl AsyncWriteExt + Unpin),
    answer: &impl serde::Serialize,
) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    output.write_all(&line).await
}

struct Stream {
    condition: Option<Condition>,
    follow: bool,
    json: bool,
    colour: bool,
}

impl Stream {
    async fn run(
        &self,
        since_ns: Option<u64>,
        shared: &Shared,
        output: &mut (impl AsyncWriteExt + Unpin),
    ) -> std::io::Result<()> {
        let now = crate::clock::wall_ns();
        let start = since_ns.map(|ns| now.saturating_sub_unsigned(ns));
        // Without --since and without following there is nothing to show but all that is remembered.
        let start = if self.follow { start } else { start.or(Some(i64::MIN)) };
        let mut next = shared.recent.start(start);
        loop {
            let batch = shared.recent.read(next, BATCH);
            next = batch.next;
            if batch.missed > 0 {
                send(output, &Frame::Missed(batch.missed)).await?;
            }
            for event in &batch.events {
                if self.condition.as_ref().is_none_or(|condition| condition.matches(event)) {
                    send(output, &Frame::Event(self.print(event))).await?;
                }
            }
            if batch.events.is_empty() {
                if !self.follow {
                    return Ok(());
                }
                let _ = tokio::time::timeout(Duration::from_millis(500), shared.recent.changed()).await;
            }
        }
    }

    fn print(&self, event: &Event) -> String {
        let mut out = Vec::new();
        if self.json {
            encode::ecs(event, &mut out);
        } else {
            encode::compact(event, self.colour, &mut out);
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}
