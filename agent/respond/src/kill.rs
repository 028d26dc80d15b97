//! One kill: exactly this process, only if no guard rail holds it back.

use crate::process::{Program, Stat, ancestors, cgroups};
use crate::protected::Protected;
use crate::responder::KillRequest;
use hostward_event::fact::Outcome;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io::ErrorKind;

/// The agent itself, as the guard rails need to know it.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    pub(crate) protected: Protected,
    pub(crate) own_service: Option<Vec<u8>>,
}

/// How a kill was prevented or ended, with a sentence.
pub(crate) type Ending = (Outcome, String);

/// A process that is held by its pidfd, is the one asked for, and may be killed.
pub(crate) struct Target {
    pidfd: OwnedFd,
}

impl Target {
    /// Takes hold of the process, then makes sure who it is, then asks the guard rails.
    pub(crate) fn find(request: &KillRequest, guard: &Guard) -> Result<Self, Ending> {
        let pid = request.pid;
        if pid <= 1 {
            return Err((Outcome::Protected, format!("pid {pid} is never killed")));
        }
        if pid == std::process::id() {
            return Err((Outcome::Protected, "it is the agent".to_owned()));
        }
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Err((Outcome::Failed, format!("{pid} is no pid")));
        };
        let pidfd = match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH) => return Err(gone()),
            // Before Linux 6.x a pid that is now a thread of somebody gives this: the process is gone.
            Err(Errno::INVAL) => return Err(gone()),
            Err(error) => {
                return Err((Outcome::Failed, format!("pid {pid} cannot be held (pidfd_open): {error}")));
            }
        };
        // From here on the descriptor stands for one process, and a signal through it can hit no other.
        // If what /proc shows under the pid is this process, it is the one the descriptor stands for,
        // or that one is dead and the signal will say so.
        let stat = match Stat::read(pid) {
            Ok(stat) => stat,
            Err(error) if error.kind() == ErrorKind::NotFound || gone_errno(&error) => return Err(gone()),
            Err(error) => return Err((Outcome::Failed, format!("pid {pid} cannot be identified: {error}"))),
        };
        if !stat.started_at(request.start_boot_ns) {
            let why = format!("pid {pid} belongs to a process that started at another time");
            return Err((Outcome::AlreadyGone, why));
        }
        let target = Self { pidfd };
        if target.exited(0) {
            return Err(gone());
        }
        match guard.holds_back(pid, &stat) {
            Some(why) => Err((Outcome::Protected, why)),
            None => Ok(target),
        }
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(&self) -> Result<(), Ending> {
        pidfd_send_signal(&self.pidfd, Signal::KILL).map_err(|error| match error {
            Errno::SRCH => gone(),
            Errno::PERM => {
                (Outcome::Failed, "the agent may not signal it: give the agent CAP_KILL".to_owned())
            }
            error => (Outcome::Failed, format!("it cannot be signalled (pidfd_send_signal): {error}")),
        })
    }

    /// True when the whole process, all its threads, has ended; waits at most this long.
    pub(crate) fn exited(&self, wait_ms: i64) -> bool {
        let limit = Timespec { tv_sec: wait_ms / 1_000, tv_nsec: wait_ms % 1_000 * 1_000_000 };
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&limit)), Ok(ready) if ready > 0)
    }
}

fn gone() -> Ending {
    (Outcome::AlreadyGone, String::new())
}

/// /proc/PID/stat of a process that goes while it is read.
fn gone_errno(error: &std::io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::SRCH)
}

impl Guard {
    /// Why the process must live, if it must.
    fn holds_back(&self, pid: u32, stat: &Stat) -> Option<String> {
        if stat.kernel_thread {
            return Some("it is a kernel thread".to_owned());
        }
        if ancestors(std::process::id()).contains(&pid) {
            return Some("the agent descends from it".to_owned());
        }
        if self.own_service.is_some() && cgroups(pid) == self.own_service {
            return Some("it runs in the agent's own service".to_owned());
        }
        if self.protected.protects_comm(&stat.comm) {
            return Some("its name is on the list of protected programs".to_owned());
        }
        match Program::read(pid) {
            Ok(program) if program.hosts_own && self.protected.protects_path(&program.path) => {
                Some("its path is on the list of protected programs".to_owned())
            }
            Ok(_) => None,
            // It has no program any more: it is on its way out.
            Err(error) if error.kind() == ErrorKind::NotFound || gone_errno(&error) => None,
            Err(error) => Some(format!(
                "its program cannot be told from a protected one: {error}; give the agent CAP_SYS_PTRACE"
            )),
        }
    }
}
