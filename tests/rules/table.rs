//! Makes the attacks and twins of a table, and says which rules were wrong about them.

use crate::ground::Ground;
use crate::row::Row;
use anyhow::{Result, ensure};
use hostward_tests::{Agent, Record, Setup, need};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Programs that start are told, as they tell that a row was seen; else alerts alone.
const TELEMETRY: &str = "[telemetry]\nfork = false\nexit = false\nconnect = false\nconnection_end = false\nopens = \"none\"\n\
    sockets = false\nprivilege = false\nmemory = false\nkernel = false\n";
/// How long the agent may take on a busy machine until it has seen every row.
const LIMIT: Duration = Duration::from_secs(120);
/// How long alerts may come behind that.
const LATE: Duration = Duration::from_secs(10);
/// How long a twin must stay quiet when all else was told.
const QUIET: Duration = Duration::from_secs(2);

/// What one side of a row left.
struct Side {
    rule: &'static str,
    place: String,
    printed: String,
}

/// What the agent told so far: alerts by rule and place, and places in which a program was started.
struct Told {
    alerts: HashSet<(String, String)>,
    places: HashSet<String>,
}

impl Told {
    fn read(agent: &Agent) -> Result<Self> {
        let mut told = Self { alerts: HashSet::new(), places: HashSet::new() };
        let place = |record: &Record| record.text("process.working_directory").map(str::to_owned);
        for record in agent.feed().records()? {
            let Some(place) = place(&record) else { continue };
            if record.is("exec") {
                told.places.insert(place);
            } else if let (Some("alert"), Some(rule)) = (record.text("event.kind"), record.text("rule.name"))
            {
                told.alerts.insert((rule.to_owned(), place));
            }
        }
        Ok(told)
    }

    fn has(&self, side: &Side) -> bool {
        self.alerts.contains(&(side.rule.to_owned(), side.place.clone()))
    }
}

/// Acts out all rows that this machine can, with these rules; the others are told as skipped.
///
/// Twins go first: an alert of an attack would fold that of a twin, where repeats are folded.
pub(crate) fn check(test: &str, rows: &[Row], setup: impl FnOnce(&str) -> Result<Setup>) -> Result<()> {
    // The agent sees both tables' attacks, and a busy machine is slow enough for one.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let ground = Ground::new()?;
    let agent = setup(&format!("{TELEMETRY}{}", ground.config()))?.start()?;
    let mut twins = Vec::new();
    let mut attacks = Vec::new();
    for (n, row) in rows.iter().enumerate() {
        if let Some((part, reason)) = row.missing() {
            need::skip(part, &format!("{test}, {}", row.rule), &reason);
            continue;
        }
        for (sides, act, kind) in [(&mut twins, row.twin, "twin"), (&mut attacks, row.attack, "attack")] {
            let name = format!("{n}-{kind}");
            let printed = ground.run(&name, act)?;
            sides.push(Side { rule: row.rule, place: ground.place(&name), printed });
        }
    }
    let seen = |told: &Told| twins.iter().chain(&attacks).all(|side| told.places.contains(&side.place));
    let complete = |told: &Told| seen(told) && attacks.iter().all(|side| told.has(side));
    let began = Instant::now();
    let mut first_seen = None;
    loop {
        let told = Told::read(&agent)?;
        if first_seen.is_none() && seen(&told) {
            first_seen = Some(Instant::now());
        }
        let late = first_seen.is_some_and(|at| at.elapsed() > LATE);
        if complete(&told) || late || began.elapsed() > LIMIT {
            break;
        }
        sleep(Duration::from_millis(500));
    }
    sleep(QUIET);
    judge(&Told::read(&agent)?, &twins, &attacks)
}

fn judge(told: &Told, twins: &[Side], attacks: &[Side]) -> Result<()> {
    let mut wrong = Vec::new();
    for side in attacks {
        if !told.has(side) {
            wrong.push(format!("{}: the attack is not told of; it printed: {}", side.rule, side.printed));
        }
    }
    for side in twins {
        if told.has(side) {
            wrong.push(format!("{}: the benign twin is told of", side.rule));
        } else if !told.places.contains(&side.place) {
            wrong.push(format!("{}: the benign twin was not seen; it printed: {}", side.rule, side.printed));
        }
    }
    ensure!(wrong.is_empty(), "of {} rules:\n{}", attacks.len(), wrong.join("\n"));
    Ok(())
}
