//! Connections that are attempted.

use anyhow::Result;
use hostward_tests::{Agent, Part, Record, lacks};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

fn mine(record: &Record) -> bool {
    record.is("connection_attempted") && record.number("process.pid") == Some(std::process::id().into())
}

fn connects(agent: &Agent, listener: &TcpListener) -> Result<(Record, SocketAddr)> {
    let stream = TcpStream::connect(listener.local_addr()?)?;
    let port = i64::from(listener.local_addr()?.port());
    let record =
        agent.feed().wait("the connection", |r| mine(r) && r.number("destination.port") == Some(port))?;
    Ok((record, stream.local_addr()?))
}

#[test]
fn both_ends_of_a_connection_are_told() -> Result<()> {
    if lacks(Part::Kernel, "both_ends_of_a_connection_are_told") {
        return Ok(());
    }
    let agent = Agent::start()?;
    for (address, kind) in [("127.0.0.1:0", "ipv4"), ("[::1]:0", "ipv6")] {
        let listener = match TcpListener::bind(address) {
            Ok(listener) => listener,
            Err(error) if kind == "ipv6" => {
                hostward_tests::need::skip(
                    "ipv6",
                    "both_ends_of_a_connection_are_told, ipv6",
                    &error.to_string(),
                );
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let (record, local) = connects(&agent, &listener)?;
        assert_eq!(record.text("destination.ip"), Some(listener.local_addr()?.ip().to_string().as_str()));
        assert_eq!(record.text("source.ip"), Some(local.ip().to_string().as_str()));
        assert_eq!(record.number("source.port"), Some(local.port().into()));
        assert_eq!(record.text("network.type"), Some(kind));
        assert_eq!(record.text("network.transport"), Some("tcp"));
        assert_eq!(record.text("event.outcome"), Some("success"));
        assert_eq!(record.texts("event.type"), ["connection", "start"]);
    }
    Ok(())
}

#[test]
fn a_connection_ends_with_bytes_and_duration() -> Result<()> {
    if lacks(Part::Kernel, "a_connection_ends_with_bytes_and_duration") {
        return Ok(());
    }
    let agent = Agent::start()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let local = {
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let (mut server, _) = listener.accept()?;
        client.write_all(b"question")?;
        server.read_exact(&mut [0; 8])?;
        server.write_all(b"the answer")?;
        client.read_exact(&mut [0; 10])?;
        let local = client.local_addr()?;
        drop((client, server));
        local
    };
    for direction in ["egress", "ingress"] {
        let record = agent.feed().wait("the connection's end", |r| {
            r.is("connection_ended")
                && r.number("source.port") == Some(local.port().into())
                && r.text("network.direction") == Some(direction)
        })?;
        // Both sides are this process's and name the client first.
        assert_eq!(record.number("process.pid"), Some(std::process::id().into()));
        assert_eq!(record.number("destination.port"), Some(listener.local_addr()?.port().into()));
        assert_eq!(record.number("source.bytes"), Some(8));
        assert_eq!(record.number("destination.bytes"), Some(10));
        assert_eq!(record.number("network.bytes"), Some(18));
        assert!(record.number("event.duration").is_some_and(|ns| ns > 0));
        assert_eq!(record.texts("event.type"), ["connection", "end"]);
        assert_eq!(record.text("network.transport"), Some("tcp"));
    }
    Ok(())
}

#[test]
fn a_refused_connection_names_where_to() -> Result<()> {
    if lacks(Part::Kernel, "a_refused_connection_names_where_to") {
        return Ok(());
    }
    let agent = Agent::start()?;
    // A port that was free a moment ago and on which nobody listens.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    assert!(TcpStream::connect(address).is_err());
    let port = i64::from(address.port());
    let record = agent
        .feed()
        .wait("the refused connection", |r| mine(r) && r.number("destination.port") == Some(port))?;
    assert_eq!(record.text("destination.ip"), Some("127.0.0.1"));
    assert_eq!(record.text("event.outcome"), Some("failure"));
    assert_eq!(record.text("error.code"), Some("ECONNREFUSED"));
    Ok(())
}

#[test]
fn a_unix_socket_is_told_by_its_path() -> Result<()> {
    if lacks(Part::Kernel, "a_unix_socket_is_told_by_its_path") {
        return Ok(());
    }
    let agent = Agent::start()?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("socket");
    let _listener = UnixListener::bind(&path)?;
    UnixStream::connect(&path)?;
    let record =
        agent.feed().wait("the connection", |r| mine(r) && r.text("destination.address") == path.to_str())?;
    assert_eq!(record.text("event.outcome"), Some("success"));
    assert_eq!(record.field("destination.port"), None);
    Ok(())
}
