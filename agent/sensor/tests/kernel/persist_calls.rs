//! Opens, connects, other calls and what sockets do while no agent runs. An agent does not tell of itself, so all is done
//! by children.
use crate::common::{self, argument, can_observe};
use crate::persist::{Agent, Bpffs, accounted, raw};
use hostward_event::fact::Input;
use hostward_event::plan::{CallPlan, KernelPlan, OpenClass, OpenPlan};
use hostward_event::raw::RawBody;
use hostward_event::{EventKind, KindSet, Text};
use hostward_sensor::{Config, SampledClass, Sensor};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::{fs, io};

const WATCHED: &str = "hw-persist-watched";

/// A folder that is watched, with a file in it, and a server.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    server: Child,
    pub(crate) port: u16,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(WATCHED)).unwrap();
        let mut server = common::child("persist_server", &[]);
        let port = line_of(&mut server, "port ").parse().unwrap();
        let place = Self { dir, server, port };
        fs::write(place.file(), "").unwrap();
        place
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join(WATCHED).join("file")
    }

    pub(crate) fn plan(&self) -> KernelPlan {
        use EventKind::{Connect, ConnectionEnd, Mkdirat, Open, Ptrace, UdpSend};
        plan_of(&[Open, Connect, Mkdirat, Ptrace, ConnectionEnd, UdpSend], self.port)
    }

    /// What is planned, all of it, by a process that is gone then.
    fn deeds(&self) -> u32 {
        let port = self.port.to_string();
        let (pid, _) = common::run(common::child("persist_deeds", &[&self.file(), Path::new(&port)]));
        pid
    }

    pub(crate) fn many(&self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.deeds()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The rest of the first line of `child` that begins so.
pub(crate) fn line_of(child: &mut Child, start: &str) -> String {
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines().map_while(Result::ok);
    let found = lines.into_iter().find_map(|line| line.strip_prefix(start).map(str::to_owned));
    found.unwrap_or_else(|| panic!("the child did not say {start:?}"))
}

/// Not of this process: children that it makes meanwhile have what it has accepted until they are another program, and
/// who closes a connection last ends it.
fn serve() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // The harness has begun a line.
    println!("\nport {}", server.local_addr().unwrap().port());
    server.incoming().for_each(drop);
}

/// With room for what tests beside this one do meanwhile, which is told as well.
pub(crate) fn roomy(bpffs: &Bpffs) -> Config {
    let room = Some(1 << 25);
    Config { process_ring_bytes: room, network_ring_bytes: room, ..bpffs.config() }
}

pub(crate) fn plan_of(kinds: &[EventKind], port: u16) -> KernelPlan {
    let named = CallPlan { named: true, ..CallPlan::default() };
    let both = OpenClass::READ.union(OpenClass::CALL);
    KernelPlan {
        kinds: KindSet::of(kinds),
        opens: OpenPlan { all: OpenClass::NONE, names: [(WATCHED.into(), both)].into() },
        calls: [(EventKind::Mkdirat, named), (EventKind::Unlinkat, named)].into(),
        connect_ports: Some(BTreeSet::from([port])),
        ..KernelPlan::default()
    }
}

/// What children of these tests do.
pub(crate) fn child(task: &str) {
    match task {
        "persist_deeds" => deeds(&argument(0), argument(1).to_str().unwrap().parse().unwrap()),
        "persist_server" => serve(),
        "persist_reader" => read_for_ever(&argument(0), &argument(1)),
        _ => {}
    }
}

fn deeds(file: &Path, port: u16) {
    fs::read(file).unwrap();
    let made = file.with_file_name(format!("made-{}", std::process::id()));
    let path = CString::new(made.as_os_str().as_bytes()).unwrap();
    let (here, path) = (libc::AT_FDCWD.cast_unsigned() as usize, path.as_ptr().addr());
    assert_eq!(call(libc::SYS_mkdirat, [here, path, 0o700, 0]), 0);
    assert_eq!(call(libc::SYS_unlinkat, [here, path, libc::AT_REMOVEDIR.cast_unsigned() as usize, 0]), 0);
    // Of nobody: it fails, and is told.
    assert_eq!(call(libc::SYS_ptrace, [0x4206, 0x7fff_fff0, 0, 0]), -1);
    drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap());
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().send_to(b"x", (Ipv4Addr::LOCALHOST, port)).unwrap();
    // Another program, so that the end of the process is that of one thread.
    panic!("{}", Command::new("/bin/true").exec());
}

#[expect(unsafe_code, reason = "calls as no library makes them")]
pub(crate) fn call(number: libc::c_long, arguments: [usize; 4]) -> libc::c_long {
    let [a, b, c, d] = arguments;
    // SAFETY: addresses among the arguments are of strings that live.
    unsafe { libc::syscall(number, a, b, c, d) }
}

/// An agent in a process of its own, which is to be killed. Limits opens to one a second and process.
fn read_for_ever(pins: &Path, port: &Path) {
    let config = Config { persist: true, persist_dir: pins.to_owned(), ..common::config() };
    let mut agent =
        Agent::new(&config, &plan_of(&[EventKind::Open], port.to_str().unwrap().parse().unwrap()));
    agent.sensor.limit(SampledClass::OpenRead, 1).unwrap();
    println!("\nready");
    io::stdout().flush().unwrap();
    loop {
        agent.poll();
        agent.seen.clear();
    }
}

/// By kind, how often it was told of this process.
pub(crate) fn told(inputs: &[Input], pid: u32) -> BTreeMap<EventKind, usize> {
    let mut all = BTreeMap::new();
    for event in raw(inputs).filter(|event| event.task.pid == pid) {
        *all.entry(event.kind()).or_default() += 1;
    }
    all
}

/// All that the process did is told once.
pub(crate) fn whole(pids: &[u32], inputs: &[Input], kinds: &[EventKind]) {
    let once = kinds.iter().chain(&[EventKind::Fork, EventKind::Exit]).map(|kind| (*kind, 1));
    // At its end it is another program.
    let expected: BTreeMap<_, _> = once.chain([(EventKind::Exec, 2)]).collect();
    for pid in pids {
        let ends = || raw(inputs).filter(|event| event.task.pid == *pid && event.kind() == ConnectionEnd);
        assert_eq!(told(inputs, *pid), expected, "process {pid}: {:?}", ends().collect::<Vec<_>>());
    }
}

/// In the order of time, whatever ring it lay in.
pub(crate) fn ordered(pids: &[u32], inputs: &[Input]) {
    for pid in pids {
        let of: Vec<_> = raw(inputs).filter(|event| event.task.pid == *pid).collect();
        let times: Vec<u64> = of.iter().map(|event| event.source.boot_ns).collect();
        assert!(
            times.is_sorted(),
            "process {pid}: {:?}",
            of.iter().map(|event| event.kind()).collect::<Vec<_>>()
        );
    }
}

use EventKind::{Connect, ConnectionEnd, Mkdirat, Open, Ptrace, UdpSend, Unlinkat};

pub(crate) const PLANNED: [EventKind; 6] = [Open, Connect, Mkdirat, Ptrace, ConnectionEnd, UdpSend];

#[test]
fn opens_connects_calls_and_sockets_are_told_that_nobody_read() {
    if !can_observe("opens_connects_calls_and_sockets_are_told_that_nobody_read") {
        return;
    }
    let (bpffs, place) = (Bpffs::new(), Place::new());
    let mut first = Agent::new(&roomy(&bpffs), &place.plan());
    let before = place.many(2);
    first.exit_of(before[1]);
    let mut all = std::mem::take(&mut first.seen);
    let links = links(&bpffs);
    drop(first);

    let meanwhile = place.many(10);
    let mut second = Agent::new(&roomy(&bpffs), &place.plan());
    assert!(second.inherited.goes_on && second.inherited.killed && second.inherited.inputs.is_empty());
    assert_eq!(self::links(&bpffs), links, "all links stay");
    let drained = second.drained();
    assert!(drained.events >= 10 * (4 + 6), "{drained:?}");
    ordered(&meanwhile, &second.seen);
    let after = place.many(2);
    second.exit_of(after[1]);
    all.extend(second.stop());
    let stopped = place.many(2);

    let mut third = Agent::new(&roomy(&bpffs), &place.plan());
    assert!(third.inherited.goes_on && !third.inherited.killed);
    assert_eq!(third.drained().lost, 0);
    all.extend(third.stop());
    for pids in [&meanwhile, &after, &stopped] {
        whole(pids, &all, &PLANNED);
    }
    // What the first had read and not handed over is a gap, and only of what came at its end.
    let lost = accounted(&all);
    for pid in &before {
        let missing = (4 + 6) - told(&all, *pid).values().sum::<usize>();
        assert!(missing as u64 <= lost, "process {pid}: {missing} of {lost}");
    }
}

/// Links with their files, by the hook's name.
fn links(bpffs: &Bpffs) -> BTreeMap<String, u64> {
    let files = fs::read_dir(bpffs.set()).unwrap().map(|entry| entry.unwrap());
    let links = files.filter_map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        name.starts_with("link-").then(|| (name, entry.metadata().unwrap().ino()))
    });
    links.collect()
}

#[test]
fn the_next_agent_brings_its_plan_and_what_both_want_stays_attached() {
    if !can_observe("the_next_agent_brings_its_plan_and_what_both_want_stays_attached") {
        return;
    }
    let (bpffs, place) = (Bpffs::new(), Place::new());
    drop(Agent::new(&roomy(&bpffs), &place.plan()));
    let old = links(&bpffs);
    let meanwhile = place.many(3);

    let port = place.port;
    let wanted = [Open, Mkdirat, Unlinkat, UdpSend];
    let mut second = Agent::new(&roomy(&bpffs), &plan_of(&wanted, port));
    second.drained();
    whole(&meanwhile, &second.seen, &PLANNED);
    // The kernel lets a link go some time after its pin is gone.
    second.until("the links that nobody wants to go", |agent| {
        let pid = place.deeds();
        agent.exit_of(pid);
        (!told(&agent.seen, pid).contains_key(&Connect)).then_some(())
    });
    let after = place.many(3);
    second.exit_of(after[2]);
    let new = links(&bpffs);
    let of = |links: &BTreeMap<String, u64>, call: &str| {
        links.iter().find(|(name, _)| name.ends_with(call)).map(|(_, file)| *file)
    };
    for stays in ["_openat", "_mkdirat", "sendmsg4", "sched_process_exec"] {
        assert!(of(&old, stays).is_some() && of(&new, stays) == of(&old, stays), "{stays}: {old:?} {new:?}");
    }
    for goes in ["_connect", "_ptrace", "inet_sock_set_state"] {
        assert!(of(&old, goes).is_some() && of(&new, goes).is_none(), "{goes}: {old:?} {new:?}");
    }
    assert!(of(&old, "_unlinkat").is_none() && of(&new, "_unlinkat").is_some(), "{old:?} {new:?}");
    let probe = |agent: &Agent, kind| {
        let ladder = agent.sensor.ladder();
        ladder.iter().any(|probe| probe.kind == kind && probe.attached())
    };
    assert!(probe(&second, Mkdirat) && probe(&second, Unlinkat) && !probe(&second, Ptrace));

    // And back again, while it runs.
    second.sensor.apply(&place.plan()).unwrap();
    assert!(of(&links(&bpffs), "_connect").is_some() && of(&links(&bpffs), "_unlinkat").is_none());
    let again = place.many(2);
    second.exit_of(again[1]);
    let all = second.stop();
    whole(&after, &all, &wanted);
    whole(&again, &all, &PLANNED);
    accounted(&all);
}

/// A process with the number that the killed agent had is told, whose limits hold until the next agent comes.
#[test]
fn a_process_with_the_number_of_a_killed_agent_is_told() {
    if !can_observe("a_process_with_the_number_of_a_killed_agent_is_told") {
        return;
    }
    let (bpffs, place) = (Bpffs::new(), Place::new());
    let port = place.port;
    let mut reader = common::child("persist_reader", &[&bpffs.pins(), Path::new(&port.to_string())]);
    line_of(&mut reader, "ready");
    let pid = reader.id();
    reader.kill().unwrap();
    reader.wait().unwrap();
    assert!(links(&bpffs).contains_key(crate::persist::open_link()));

    let five_times = vec![place.file(); 5];
    let status = run_as(pid, &five_times);
    assert!(status.is_some_and(|status| status.exit_status() == Some(0)), "{status:?}");
    let mut next =
        Agent::new(&Config { process_ring_bytes: None, ..bpffs.config() }, &plan_of(&[Open], port));
    assert!(next.inherited.goes_on && next.inherited.killed);
    let drained = next.drained();
    let of_then = |event: &&hostward_event::raw::RawEvent| {
        event.task.pid == pid
            && matches!(&event.body, RawBody::Open(open) if open.path == text(&place.file()))
    };
    let sampled = |input: &Input| match input {
        Input::Gap(gap) if gap.is_sampled() => gap.count,
        _ => 0,
    };
    // One is told, or two if a second of the limit ended meanwhile.
    let opens = next.until("all of the first time", |agent| {
        let opens = raw(&agent.seen).filter(of_then).count();
        let left_out: u64 = agent.seen.iter().map(sampled).sum();
        (opens as u64 + left_out >= 5).then_some(opens)
    });
    assert!((1..5).contains(&opens), "{opens} told, {drained:?}");
    assert_eq!(run_as(pid, &five_times).and_then(|status| status.exit_status()), Some(0));
    next.until("all of the second time", |agent| {
        (raw(&agent.seen).filter(of_then).count() >= opens + 5).then_some(())
    });
}

fn text(path: &Path) -> Text {
    Text::copy(path.as_os_str().as_bytes())
}

/// Reads `files` by a process of this number.
#[expect(unsafe_code, reason = "no library makes a process of a given number")]
fn run_as(pid: u32, files: &[PathBuf]) -> Option<rustix::process::WaitStatus> {
    let words: Vec<CString> = ["/bin/cat"]
        .iter()
        .map(|word| CString::new(*word).unwrap())
        .chain(files.iter().map(|file| CString::new(file.as_os_str().as_bytes()).unwrap()))
        .collect();
    let mut arguments: Vec<*const libc::c_char> = words.iter().map(|word| word.as_ptr()).collect();
    arguments.push(std::ptr::null());
    let environment = [std::ptr::null()];
    let wanted = [i32::try_from(pid).unwrap()];
    // struct clone_args, include/uapi/linux/sched.h: the signal at its end is the fifth word, the number wanted the ninth.
    let args: [u64; 11] = [0, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0, wanted.as_ptr().addr() as u64, 1, 0];
    // SAFETY: the arguments live. The child has this thread alone, and makes no call but one that replaces it or ends it.
    let made = unsafe {
        let made = libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args));
        if made == 0 {
            libc::execve(arguments[0], arguments.as_ptr(), environment.as_ptr());
            libc::_exit(127);
        }
        made
    };
    assert_eq!(made, i64::from(pid), "{}", io::Error::last_os_error());
    let pid = rustix::process::Pid::from_raw(wanted[0]);
    rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap().map(|(_, status)| status)
}

#[test]
fn what_a_ring_has_no_room_for_is_counted() {
    if !can_observe("what_a_ring_has_no_room_for_is_counted") {
        return;
    }
    let (bpffs, place) = (Bpffs::new(), Place::new());
    let small = Config { bulk_ring_bytes: Some(4096), network_ring_bytes: Some(4096), ..bpffs.config() };
    drop(Agent::new(&small, &place.plan()));
    let pids = place.many(40);
    let mut agent = Agent::new(&small, &place.plan());
    let drained = agent.drained();
    assert!(drained.lost > 0, "{drained:?}");
    let all = agent.stop();
    assert!(accounted(&all) >= drained.lost);
    let lost = |kind| -> u64 {
        all.iter()
            .map(|input| match input {
                Input::Gap(gap) if gap.lost == kind => gap.count,
                _ => 0,
            })
            .sum()
    };
    // Each kind that is of these processes alone adds up.
    for kind in [Open, Mkdirat, Connect] {
        let told: usize =
            pids.iter().map(|pid| told(&all, *pid).get(&kind).copied().unwrap_or_default()).sum();
        assert!(told as u64 + lost(kind) >= pids.len() as u64, "{kind:?}: {told} and {}", lost(kind));
        assert!(told < pids.len() && lost(kind) > 0, "{kind:?}: {told} and {}", lost(kind));
    }
    // What has a ring of its own does not suffer.
    for pid in &pids {
        assert_eq!(told(&all, *pid).get(&Ptrace), Some(&1), "process {pid}");
    }
}

/// One that is not to outlive the agent leaves nothing.
#[test]
fn without_the_key_nothing_stays_attached() {
    if !can_observe("without_the_key_nothing_stays_attached") {
        return;
    }
    let (bpffs, place) = (Bpffs::new(), Place::new());
    drop(Agent::new(&roomy(&bpffs), &place.plan()));
    let last = place.many(2);
    let off = Config { persist: false, ..roomy(&bpffs) };
    let mut sensor = Sensor::load(&off, &place.plan()).unwrap();
    assert!(!bpffs.pins().exists());
    let inherited = sensor.inherited();
    assert!(inherited.troubles.is_empty() && inherited.drained.is_some(), "{inherited:?}");
    whole(&last, &inherited.inputs, &PLANNED);
    ordered(&last, &inherited.inputs);
}
