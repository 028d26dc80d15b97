//! UDP to new addresses, DNS, and the names that connections get from it.

use anyhow::{Context, Result, ensure};
use hostward_tests::{Agent, Part, Setup, lacks, need};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const NAME: &str = "www.hostward.test";
const RULE: &str = "- rule: Test name\n  desc: Somebody asks for the test's name.\n  condition: evt.type = dns_question and \
    dns.question.name = www.hostward.test and dns.question.type = A\n  output: asked %proc.name %dns.question.name\n  \
    priority: Warning\n";

fn start() -> Result<Agent> {
    Setup::new()?.config("[telemetry]\nudp = true\ndns = true\n")?.rules(RULE)?.start()
}

/// An address of loopback that is most likely nobody's.
fn address() -> Ipv4Addr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 77, high, low)
}

/// Answers each question for an IPv4 address with `address`, others with nothing, until none comes for a while.
fn serve(server: &UdpSocket, address: Ipv4Addr) -> Result<()> {
    server.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut buffer = [0; 512];
    while let Ok((count, from)) = server.recv_from(&mut buffer) {
        let message = buffer.get(..count).context("longer than its buffer")?;
        let (header, rest) = message.split_at_checked(12).context("no header")?;
        let name = rest.iter().position(|byte| *byte == 0).context("no name")?;
        let question = rest.get(..name + 5).context("no question")?;
        let wanted = question.get(name + 1..name + 3) == Some(&[0, 1]);
        let mut answer = header.get(..2).unwrap_or_default().to_vec();
        answer.extend_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(wanted), 0, 0, 0, 0]);
        answer.extend_from_slice(question);
        if wanted {
            answer.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04");
            answer.extend_from_slice(&address.octets());
        }
        server.send_to(&answer, from)?;
    }
    Ok(())
}

/// A shell whose resolver is `server` looks the name up and connects to its address.
fn look_up_and_connect(dir: &Path, server: Ipv4Addr, port: u16) -> Result<u32> {
    std::fs::write(dir.join("resolv.conf"), format!("nameserver {server}\n"))?;
    std::fs::write(dir.join("nsswitch.conf"), "hosts: dns\n")?;
    let mounts = ["resolv.conf", "nsswitch.conf"]
        .map(|name| format!("touch /etc/{name} && mount --bind {0}/{name} /etc/{name}", dir.display()));
    let script = format!("{} && exec bash -c ': > /dev/tcp/{NAME}/{port}'", mounts.join(" && "));
    let mut child = Command::new("unshare").args(["-m", "sh", "-c", &script]).stdin(Stdio::null()).spawn()?;
    ensure!(child.wait()?.success(), "the shell could not connect");
    Ok(child.id())
}

#[test]
fn a_name_that_was_asked_for_is_told_of_the_connection() -> Result<()> {
    let test = "a_name_that_was_asked_for_is_told_of_the_connection";
    if lacks(Part::Kernel, test) {
        return Ok(());
    }
    if let Some(program) = ["unshare", "bash"].into_iter().find(|program| !need::in_path(program)) {
        need::skip(program, test, "not installed");
        return Ok(());
    }
    let agent = start()?;
    let listener = TcpListener::bind((address(), 0))?;
    let (server, port) = (UdpSocket::bind((address(), 53))?, listener.local_addr()?.port());
    let serving = std::thread::spawn(move || serve(&server, address()));
    let dir = tempfile::tempdir()?;
    let pid = Some(i64::from(look_up_and_connect(dir.path(), address(), port)?));

    let question = agent.feed().wait("the question", |r| {
        r.is("dns_question") && r.number("process.pid") == pid && r.text("dns.question.type") == Some("A")
    })?;
    assert_eq!(question.text("dns.question.name"), Some(NAME));
    assert_eq!(question.text("dns.type"), Some("query"));
    assert_eq!(question.text("network.protocol"), Some("dns"));
    assert_eq!(question.text("network.transport"), Some("udp"));
    assert_eq!(question.text("destination.ip"), Some(address().to_string().as_str()));
    assert_eq!(question.number("destination.port"), Some(53));
    assert_eq!(question.text("hostward.source.rung"), Some("cgroup"));

    let answer = agent.feed().wait("the answer", |r| {
        r.is("dns_answer") && r.number("process.pid") == pid && !r.texts("dns.resolved_ip").is_empty()
    })?;
    assert_eq!(answer.text("dns.id"), question.text("dns.id"));
    assert_eq!(answer.texts("dns.resolved_ip"), [address().to_string().as_str()]);
    assert_eq!(answer.text("dns.response_code"), Some("NOERROR"));
    assert_eq!(answer.text("event.outcome"), Some("success"));
    assert_eq!(answer.number("source.port"), question.number("source.port"));

    let connection = agent.feed().wait("the connection", |r| {
        r.is("connection_attempted") && r.number("destination.port") == Some(port.into())
    })?;
    assert_eq!((connection.number("process.pid"), connection.text("destination.domain")), (pid, Some(NAME)));
    let end = agent
        .feed()
        .wait("its end", |r| r.is("connection_ended") && r.number("destination.port") == Some(port.into()))?;
    assert_eq!(end.text("destination.domain"), Some(NAME));
    let alert = agent.feed().wait("the alert", |r| r.is_alert_of("Test name"))?;
    assert_eq!(alert.number("process.pid"), pid);
    serving.join().map_err(|_| anyhow::anyhow!("the server panicked"))?
}

#[test]
fn udp_to_a_new_address_is_told_once() -> Result<()> {
    if lacks(Part::Kernel, "udp_to_a_new_address_is_told_once") {
        return Ok(());
    }
    let agent = start()?;
    let server = UdpSocket::bind((address(), 0))?;
    let (client, to) = (UdpSocket::bind((address(), 0))?, server.local_addr()?);
    for _ in 0..3 {
        client.send_to(b"hello", to)?;
    }
    let other = SocketAddr::new(to.ip(), to.port() ^ 1);
    client.send_to(b"hello", other)?;
    let is_to = |port: u16| {
        move |r: &hostward_tests::Record| {
            r.is("udp_send") && r.number("destination.port") == Some(port.into())
        }
    };
    let record = agent.feed().wait("the send", is_to(to.port()))?;
    assert_eq!(record.number("process.pid"), Some(std::process::id().into()));
    assert_eq!(record.text("network.transport"), Some("udp"));
    assert_eq!(record.number("source.port"), Some(client.local_addr()?.port().into()));
    agent.feed().wait("the other send", is_to(other.port()))?;
    assert_eq!(agent.feed().records()?.iter().filter(|r| is_to(to.port())(r)).count(), 1);
    Ok(())
}
