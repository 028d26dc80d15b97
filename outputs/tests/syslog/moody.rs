//! A RELP server that says what a real one seldom says, one mood after another.

use crate::feed::{Count, Feed};
use hostward_outputs::State;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Clone, Copy)]
enum Mood {
    /// No RELP at all.
    Stranger,
    /// Refuses the session.
    Closed,
    /// Has no use for syslog.
    OtherCommands,
    /// Refuses every third message, for want of room, and hangs up on the seventh.
    Full,
    /// Ends the session in order after so many messages.
    Leaving(usize),
    /// Answers what nobody asked.
    Confused,
    /// All is well.
    Well,
}

const MOODS: [Mood; 7] = [
    Mood::Stranger,
    Mood::Closed,
    Mood::OtherCommands,
    Mood::Full,
    Mood::Leaving(10),
    Mood::Confused,
    Mood::Well,
];

struct Frame {
    txnr: String,
    command: String,
    data: Vec<u8>,
}

/// None: the client is gone.
fn frame(client: &mut BufReader<TcpStream>) -> Option<Frame> {
    let mut word = || {
        let mut word = Vec::new();
        client.read_until(b' ', &mut word).ok().filter(|count| *count > 0)?;
        Some(String::from_utf8(word).unwrap().trim_end_matches(' ').to_owned())
    };
    let (txnr, command) = (word()?, word()?);
    // Without data a line feed ends the length.
    if command == "close" {
        return None;
    }
    let mut data = vec![0; word()?.parse().unwrap()];
    client.read_exact(&mut data).ok()?;
    let mut end = [0];
    client.read_exact(&mut end).ok()?;
    assert_eq!(end, [b'\n'], "a frame ends with a line feed");
    Some(Frame { txnr, command, data })
}

fn serve(client: TcpStream, mood: Mood, taken: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut out = client.try_clone()?;
    let mut client = BufReader::new(client);
    let Some(open) = frame(&mut client) else { return Ok(()) };
    assert_eq!((open.txnr.as_str(), open.command.as_str()), ("1", "open"));
    let offer = String::from_utf8(open.data).unwrap();
    assert!(offer.contains("relp_version=0") && offer.contains("commands=syslog"), "{offer}");
    let answer = match mood {
        Mood::Stranger => return out.write_all(b"220 mail.example ESMTP\r\n"),
        Mood::Closed => "500 come back \x1b[31mnever".to_owned(),
        Mood::OtherCommands => "200 OK\nrelp_version=0\ncommands=eventlog".to_owned(),
        _ => "200 OK\nrelp_version=0\ncommands=eventlog,syslog".to_owned(),
    };
    writeln!(out, "1 rsp {} {answer}", answer.len())?;
    let mut count = 0;
    while let Some(frame) = frame(&mut client) {
        assert_eq!(frame.command, "syslog");
        count += 1;
        if matches!(mood, Mood::Full) && count % 3 == 0 {
            writeln!(out, "{} rsp 11 500 no room", frame.txnr)?;
            continue;
        }
        if matches!(mood, Mood::Full) && count == 7 {
            return Ok(());
        }
        if matches!(mood, Mood::Confused) {
            return out.write_all(b"999999 rsp 6 200 OK\n");
        }
        let text = String::from_utf8(frame.data).unwrap();
        let record: serde_json::Value =
            serde_json::from_str(&text[text.find(" - {").unwrap() + 3..]).unwrap();
        taken.lock().unwrap().push(record["event"]["id"].as_str().unwrap().to_owned());
        writeln!(out, "{} rsp 6 200 OK", frame.txnr)?;
        if matches!(mood, Mood::Leaving(after) if after == count) {
            out.write_all(b"0 serverclose 0\n")?;
            // What is on its way is not read: the client has to send it again.
            return Ok(());
        }
    }
    Ok(())
}

#[test]
fn whatever_a_relp_server_says_each_event_is_acknowledged_in_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let taken = Arc::new(Mutex::new(Vec::new()));
    let taking = Arc::clone(&taken);
    let mood = Arc::new(AtomicUsize::new(0));
    let moods = Arc::clone(&mood);
    // It ends with the test program.
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let now = moods.load(Ordering::SeqCst);
            let mood = MOODS.get(now).copied().unwrap_or(Mood::Well);
            // The first three last until they were told; the others change by themselves.
            moods.fetch_add(usize::from(now >= 3), Ordering::SeqCst);
            // A client that is gone is no fault of the test.
            let _ = serve(client.unwrap(), mood, &taking);
        }
    });
    let feed = Feed::start("syslog", &format!("address = \"relp://{address}\"\n"));
    feed.send(60, 100);
    let told = |what: &str, state| {
        let status = feed
            .wait(what, |status| status.last_error.as_ref().is_some_and(|last| last.message.contains(what)));
        assert_eq!(status.health.state, state, "{:?}", status.health);
        mood.fetch_add(1, Ordering::SeqCst);
        status.last_error.unwrap().message
    };
    told("senseless reply", State::Degraded);
    let refusal = told("refuses: 500 come back", State::Failed);
    assert!(!refusal.contains('\u{1b}'), "what the server says cannot drive a terminal: {refusal:?}");
    told("does not take the command syslog", State::Failed);
    let status = feed.wait_delivered();
    assert_eq!(status.dropped_events(), 0);
    let taken = taken.lock().unwrap();
    // A server that hangs up with bytes unread also takes back the answers that are on their way.
    let count = Count::of(&feed, taken.iter().map(String::as_str));
    assert_eq!(count.missing, [0; 0]);
    assert!(count.duplicated as u64 <= feed.counter("unsure_messages"), "{count:?}");
    assert!(feed.counter("connections") >= 6 && feed.counter("failures") >= 5, "{status:?}");
}
