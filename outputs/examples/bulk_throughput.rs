//! How fast the elastic sink is, from memory and from the spool, into an endpoint on this machine that takes everything.
//!
//!     cargo run --release -p hostward-outputs --example bulk_throughput -- [EVENTS]
//!
//! Figures in events per second: encoding alone, encoding and gzip, then the sink from its queue and from
//! a backlog on disk to the last verdict. The endpoint is a thread here: it unpacks each request and counts its lines, so
//! that it costs CPU, too, and does no more.

use flate2::write::GzEncoder;
use hostward_event::encode::Encoding;
use hostward_event::event::{Action, Actor, Alert, Body, Mode, Priority, RuleInfo, Surroundings};
use hostward_event::fact::Outcome;
use hostward_event::process::Process;
use hostward_event::raw::Args;
use hostward_event::{Event, EventKind, IdMint, Text};
use hostward_outputs::config::{ElasticConfig, QueueConfig};
use hostward_outputs::http::Compression;
use hostward_outputs::spool::SpoolConfig;
use hostward_outputs::{Config, Outputs, SinkSpec};
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The endpoint answers 503 until this is set.
static OPEN: AtomicBool = AtomicBool::new(false);

fn main() -> Result<(), Box<dyn Error>> {
    let count: usize = std::env::args().nth(1).map_or(Ok(200_000), |word| word.parse())?;
    let events: Vec<Arc<Event>> = (1..=u64::try_from(count)?).map(event).collect();

    let began = Instant::now();
    let mut all = Vec::with_capacity(count * 1_200);
    events.iter().for_each(|event| Encoding::Ecs.encode(event, &mut all));
    tell("encoding", count, began);
    println!("{:<20} {} bytes per record", "", all.len() / count.max(1));
    let mut gzip = GzEncoder::new(Vec::with_capacity(all.len() / 4), flate2::Compression::fast());
    gzip.write_all(&all)?;
    let packed = gzip.finish()?;
    tell("encoding, gzip", count, began);
    println!("{:<20} {} bytes per record", "", packed.len() / count.max(1));
    drop((all, packed));

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || drop(serve(stream)));
        }
    });
    for compression in [Compression::Gzip, Compression::None] {
        for spooled in [false, true] {
            sink(&url, &events, compression, spooled)?;
        }
    }
    lone_alerts(&url, false)?;
    lone_alerts(&url, true)
}

fn tell(what: &str, count: usize, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = count as f64 / seconds;
    println!("{what:<20} {rate:>9.0} events/s  ({count} in {seconds:.2} s)");
}

/// All events wait before the endpoint takes the first.
fn sink(
    url: &str,
    events: &[Arc<Event>],
    compression: Compression,
    spooled: bool,
) -> Result<(), Box<dyn Error>> {
    OPEN.store(false, Ordering::SeqCst);
    let queue = QueueConfig {
        max_events: 1 << 20,
        max_bytes: 1 << 30,
        batch_events: 4_096,
        batch_bytes: 4 << 20,
        ..QueueConfig::default()
    };
    let elastic = ElasticConfig { compression, queue, ..ElasticConfig::default() };
    let dir = tempfile::tempdir()?;
    let outputs = start(url, elastic, spooled, dir.path())?;
    for part in events.chunks(500) {
        part.iter().for_each(|event| outputs.push(event));
        // The spool's intake is bounded, and this is no test of it.
        std::thread::sleep(Duration::from_millis(if spooled { 5 } else { 0 }));
    }
    let status = || outputs.status().into_iter().next().ok_or("no sink");
    let count = u64::try_from(events.len())?;
    let began = Instant::now();
    OPEN.store(true, Ordering::SeqCst);
    let mut first = None;
    loop {
        let now = status()?;
        // The back-off after the 503s is no part of the figure.
        if now.delivered > 0 {
            first.get_or_insert((Instant::now(), now.delivered));
        }
        if now.delivered + now.dropped_events() >= count {
            break;
        }
        if began.elapsed() > Duration::from_secs(600) {
            return Err(format!("not through: {now:?}").into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let (start, before) = first.unwrap_or((began, 0));
    let from = if spooled { "spool" } else { "memory" };
    let coding = if compression == Compression::Gzip { "gzip" } else { "plain" };
    tell(&format!("{from}, {coding}"), usize::try_from(count - before)?, start);
    let lost = status()?.dropped_events();
    if lost > 0 {
        println!("{:<20} {lost} events were lost on the way in", "");
    }
    outputs.close(Duration::from_secs(5));
    Ok(())
}

fn start(url: &str, elastic: ElasticConfig, spooled: bool, dir: &Path) -> Result<Outputs, Box<dyn Error>> {
    let elastic = ElasticConfig { urls: vec![url.to_owned()], proxy: Some(String::new()), ..elastic };
    let spec = SinkSpec { config: Config::Elastic(Box::new(elastic)), filter: None };
    let spool = SpoolConfig {
        enabled: spooled,
        replay_events_per_s: 0,
        replay_jitter_ms: 0,
        min_free_bytes: Some(0),
        ..SpoolConfig::default()
    };
    Ok(Outputs::start_spooled(vec![spec], &spool.resolved(dir))?)
}

/// From the push of an alert to the verdict on it, with nothing else to do.
fn lone_alerts(url: &str, spooled: bool) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let outputs = start(url, ElasticConfig::default(), spooled, dir.path())?;
    let mut took_us = Vec::new();
    for sequence in 1..=500 {
        let alert = alert(sequence);
        let began = Instant::now();
        outputs.push(&alert);
        while outputs.status().first().is_some_and(|status| status.delivered < sequence) {
            std::thread::sleep(Duration::from_micros(100));
        }
        took_us.push(began.elapsed().as_micros());
        std::thread::sleep(Duration::from_millis(10));
    }
    took_us.sort_unstable();
    let part = |percent: usize| took_us.get(took_us.len() * percent / 100).copied().unwrap_or_default();
    let from = if spooled { "spool" } else { "memory" };
    println!("{:<20} {} us median, {} us p99", format!("lone alert, {from}"), part(50), part(99));
    outputs.close(Duration::from_secs(5));
    Ok(())
}

fn serve(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    loop {
        let (mut length, mut is_gzip) = (0, false);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(digits) = line.strip_prefix("content-length: ") {
                length = digits.parse().unwrap_or(0);
            }
            is_gzip |= line == "content-encoding: gzip";
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if is_gzip {
            let mut plain = Vec::with_capacity(body.len() * 8);
            flate2::read::GzDecoder::new(body.as_slice()).read_to_end(&mut plain)?;
            body = plain;
        }
        let items = body.iter().filter(|byte| **byte == b'\n').count() / 2;
        let (status, reply) = if OPEN.load(Ordering::SeqCst) {
            let item = r#"{"create":{"status":201}}"#;
            (200, format!(r#"{{"errors":false,"items":[{}]}}"#, vec![item; items].join(",")))
        } else {
            (503, String::new())
        };
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", reply.len());
        reader.get_mut().write_all(&[head.as_bytes(), reply.as_bytes()].concat())?;
    }
}

/// A fork by a shell of a service, about 1 KiB as ECS.
fn event(sequence: u64) -> Arc<Event> {
    let args = format!("/bin/sh\0-c\0exec worker --job {sequence} --queue default");
    let args = Args {
        raw: Text::from(args.as_bytes().to_vec()),
        total_bytes: u32::try_from(args.len()).unwrap_or(0),
    };
    let process = Process { pid: 7, comm: Text::from("worker"), args, ..Process::default() };
    let id = IdMint::new("machine", "boot").event(EventKind::Fork, 0, sequence, 0);
    let now_ns =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    Arc::new(Event {
        id,
        sequence,
        time_ns: i64::try_from(now_ns).unwrap_or(i64::MAX),
        created_ns: i64::try_from(now_ns).unwrap_or(i64::MAX),
        source: None,
        tid: 7,
        process: Some(Arc::new(process)),
        lineage: Arc::default(),
        session_leader: None,
        around: Arc::new(Surroundings::default()),
        body: Body::Fork,
        partial: false,
        program: None,
        inside: None,
        domain: None,
        alert: None,
    })
}

fn alert(sequence: u64) -> Arc<Event> {
    let trigger = event(sequence);
    let rule = RuleInfo {
        name: Text::from("Program run from /tmp"),
        description: Text::EMPTY,
        priority: Priority::Critical,
        tags: Vec::new(),
        technique_ids: Vec::new(),
        tactics: Vec::new(),
        source: Text::EMPTY,
        file_hash: Text::EMPTY,
        output_fields: Vec::new(),
    };
    let alert = Alert {
        trigger: trigger.id,
        rule: Arc::new(rule),
        message: Text::from("a program was run from /tmp"),
        response: Text::EMPTY,
        owner: Text::EMPTY,
        mode: Mode::Monitor,
        action: Action::Alert,
        actor: Actor::None,
        outcome: Outcome::Alerted,
        detail: Text::EMPTY,
        matched_ns: 0,
        responded_ns: 0,
    };
    Arc::new(Event { alert: Some(Arc::new(alert)), ..Event::clone(&trigger) })
}
