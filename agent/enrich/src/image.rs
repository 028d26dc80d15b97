//! Snapshots of a process, and how each source makes one.

use hostward_event::fact::SeedProcess;
use hostward_event::plan::EnvironmentPlan;
use hostward_event::process::Process;
use hostward_event::raw::{Credentials, FileType, RawExec, RawTask};
use hostward_event::workload::Workload;
use hostward_event::{EntityId, IdMint, Text};
use std::sync::Arc;

/// Which process: a pid is used again, a pid with its start is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub pid: u32,
    /// In the unit in which ids tell starts apart.
    pub start: u64,
}

impl Identity {
    pub(crate) const fn new(mint: &IdMint, pid: u32, start_boot_ns: u64) -> Self {
        Self { pid, start: mint.start(start_boot_ns) }
    }

    pub(crate) const fn of(mint: &IdMint, task: &RawTask) -> Self {
        Self::new(mint, task.pid, task.start_boot_ns)
    }
}

/// How well a snapshot is known; more is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grade {
    /// The record of something it did, or a fork of such a process.
    Inferred,
    /// Its fork was seen: it is what its parent was.
    Inherited,
    /// A seed told it.
    Told,
    /// Its exec was seen.
    Executed,
}

/// What a process was from some time on.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub process: Arc<Process>,
    /// CLOCK_BOOTTIME ns of the exec; 0 for the image that it began with, or was met with.
    pub since_ns: u64,
    pub grade: Grade,
}

/// What every record tells of its task, and what may change without an exec.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub at_ns: u64,
    euid: u32,
    egid: u32,
    /// Only a record of the main thread tells the process's name.
    comm: Option<Text>,
    pub workload: Arc<Workload>,
}

impl Observed {
    pub(crate) fn of(task: &RawTask, workload: Arc<Workload>, at_ns: u64) -> Self {
        let comm = (task.tid == task.pid).then(|| task.comm.clone());
        Self { at_ns, euid: task.euid, egid: task.egid, comm, workload }
    }

    /// To be kept: without a hold on the buffer of the record.
    pub(crate) fn detached(mut self) -> Self {
        self.comm = self.comm.map(|comm| Text::copy(comm.as_bytes()));
        self
    }

    pub(crate) fn differs(&self, process: &Process) -> bool {
        self.euid != process.creds.euid
            || self.egid != process.creds.egid
            || self.comm.as_ref().is_some_and(|comm| *comm != process.comm)
            || self.workload != process.workload
    }

    /// The file system ids follow the effective ones, as every call that sets these has it.
    pub(crate) fn apply(&self, process: &mut Process) {
        if self.euid != process.creds.euid {
            process.creds.euid = self.euid;
            process.creds.fsuid = self.euid;
        }
        if self.egid != process.creds.egid {
            process.creds.egid = self.egid;
            process.creds.fsgid = self.egid;
        }
        if let Some(comm) = &self.comm {
            process.comm = comm.clone();
        }
        process.workload = self.workload.clone();
    }
}

/// Of a process that nothing but this record tells. All ids are taken from the effective ones: a
/// guess, and a better one than root.
pub(crate) fn inferred(entity_id: EntityId, task: &RawTask, workload: Arc<Workload>) -> Process {
    Process {
        entity_id,
        pid: task.pid,
        ppid: task.ppid,
        start_boot_ns: task.start_boot_ns,
        comm: Text::copy(task.comm.as_bytes()),
        creds: Credentials {
            uid: task.euid,
            gid: task.egid,
            suid: task.euid,
            sgid: task.egid,
            euid: task.euid,
            egid: task.egid,
            fsuid: task.euid,
            fsgid: task.egid,
            ..Credentials::default()
        },
        loginuid: u32::MAX,
        audit_session: u32::MAX,
        workload,
        ..Process::default()
    }
}

/// What a fork tells of the child by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Birth {
    pub vpid: u32,
    pub pid_ns: u32,
}

/// A child that nothing but its fork tells.
pub(crate) fn born(entity_id: EntityId, task: &RawTask, birth: Birth, workload: Arc<Workload>) -> Process {
    let mut process = inferred(entity_id, task, workload);
    process.vpid = birth.vpid;
    process.ns.pid = birth.pid_ns;
    process
}

/// What a child has of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own<'a> {
    entity_id: EntityId,
    pid: u32,
    start_boot_ns: u64,
    comm: &'a Text,
    euid: u32,
    egid: u32,
    birth: Birth,
    workload: &'a Arc<Workload>,
}

impl<'a> Own<'a> {
    pub(crate) const fn told(
        entity_id: EntityId,
        task: &'a RawTask,
        birth: Birth,
        workload: &'a Arc<Workload>,
    ) -> Self {
        let RawTask { pid, start_boot_ns, euid, egid, .. } = *task;
        Self { entity_id, pid, start_boot_ns, comm: &task.comm, euid, egid, birth, workload }
    }

    pub(crate) const fn of(child: &'a Process) -> Self {
        Self {
            entity_id: child.entity_id,
            pid: child.pid,
            start_boot_ns: child.start_boot_ns,
            comm: &child.comm,
            euid: child.creds.euid,
            egid: child.creds.egid,
            birth: Birth { vpid: child.vpid, pid_ns: child.ns.pid },
            workload: &child.workload,
        }
    }
}

/// A child as it is born: its parent, but for what is its own.
pub(crate) fn inherited(parent: &Arc<Process>, own: Own<'_>) -> Arc<Process> {
    let mut child = parent.clone();
    // The one copy that is made.
    let process = Arc::make_mut(&mut child);
    process.entity_id = own.entity_id;
    process.pid = own.pid;
    process.ppid = parent.pid;
    process.start_boot_ns = own.start_boot_ns;
    if *own.comm != parent.comm {
        process.comm = Text::copy(own.comm.as_bytes());
    }
    process.creds.euid = own.euid;
    process.creds.egid = own.egid;
    if !Arc::ptr_eq(own.workload, &parent.workload) {
        process.workload = own.workload.clone();
    }
    process.vpid = own.birth.vpid;
    let pid_ns = own.birth.pid_ns;
    if pid_ns != 0 && pid_ns != parent.ns.pid {
        process.ns.pid = pid_ns;
        // In a pid namespace of its own, its session and group have no number.
        process.vpgid = 0;
        process.vsid = 0;
    }
    child
}

/// A process that has just become another program.
pub(crate) fn executed(
    entity_id: EntityId,
    ppid: u32,
    task: &RawTask,
    exec: &RawExec,
    environment: &EnvironmentPlan,
    workload: Arc<Workload>,
) -> Process {
    Process {
        entity_id,
        pid: task.pid,
        ppid,
        start_boot_ns: task.start_boot_ns,
        comm: task.comm.clone(),
        path: exec.path.clone(),
        filename: exec.filename.clone(),
        args: exec.args.clone(),
        cwd: exec.cwd.clone(),
        exe: exec.exe,
        memfd: exec.memfd,
        layer: exec.layer,
        script: exec.script,
        environment: environment.of(&exec.environment),
        init_start_boot_ns: exec.init_start_boot_ns,
        creds: exec.creds,
        ns: exec.ns,
        tty: exec.tty,
        loginuid: exec.loginuid,
        audit_session: exec.audit_session,
        sid: exec.sid,
        pgid: exec.pgid,
        vpid: exec.vpid,
        vpgid: exec.vpgid,
        vsid: exec.vsid,
        stdin: exec.stdin,
        stdout: exec.stdout,
        workload,
    }
}

/// A process that lived before.
pub(crate) fn told(entity_id: EntityId, seed: &SeedProcess, workload: Arc<Workload>) -> Process {
    Process {
        entity_id,
        pid: seed.pid,
        ppid: seed.ppid,
        start_boot_ns: seed.start_boot_ns,
        comm: seed.comm.clone(),
        path: seed.path.clone(),
        filename: Text::EMPTY,
        args: seed.args.clone(),
        cwd: seed.cwd.clone(),
        exe: seed.exe,
        // A deleted file in a directory `/memfd:x` would look the same; nobody has one.
        memfd: seed.exe.ino != 0 && seed.exe.nlink == 0 && is_memfd_name(seed.path.as_bytes()),
        layer: None,
        script: false,
        environment: Text::EMPTY,
        init_start_boot_ns: 0,
        creds: seed.creds,
        ns: seed.ns,
        tty: seed.tty,
        loginuid: seed.loginuid,
        audit_session: seed.audit_session,
        sid: seed.sid,
        pgid: seed.pgid,
        vpid: seed.vpid,
        vpgid: 0,
        vsid: 0,
        stdin: FileType::Unknown,
        stdout: FileType::Unknown,
        workload,
    }
}

/// The kernel names a memfd `memfd:NAME`; /proc shows it with a slash before.
fn is_memfd_name(path: &[u8]) -> bool {
    path.strip_prefix(b"/").unwrap_or(path).starts_with(b"memfd:")
}
