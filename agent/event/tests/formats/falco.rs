//! Falco's JSON, to the letter: readers of Falco's alerts get what they know.

use crate::cef::encode;
use crate::samples;
use hostward_event::Event;
use hostward_event::encode::Encoding;

fn sample(name: &str) -> Event {
    samples::all().into_iter().find(|(known, _)| known == name).unwrap().1
}

#[test]
fn an_alert_is_written_as_falco_does() {
    let event = sample("open/alert");
    let want = format!(
        "{{\"hostname\":\"web-1\",\
          \"output\":\"03:04:05.123456789: Critical shell sh started by nginx (sh -c id)\",\
          \"output_fields\":{{\
            \"evt.arg[flags]\":\"O_RDONLY\",\
            \"evt.time\":1767323045123456789,\
            \"fd.name\":\"/etc/passwd\",\
            \"hostward.event_id\":\"{}\",\
            \"proc.cmdline\":\"sh -c id; echo 'a b' > /tmp/x\",\
            \"proc.name\":\"sh\",\
            \"proc.nmae\":null,\
            \"proc.pid\":702,\
            \"user.name\":\"www-data\"}},\
          \"priority\":\"Critical\",\
          \"rule\":\"Shell spawned by web server\",\
          \"source\":\"syscall\",\
          \"tags\":[\"host\",\"mitre_execution\",\"T1059.004\"],\
          \"time\":\"2026-01-02T03:04:05.123456789Z\"}}",
        event.id
    );
    assert_eq!(encode(Encoding::Falco, &event), want);
}

#[test]
fn a_loss_is_an_alert_of_the_agent_itself() {
    let json: serde_json::Value = serde_json::from_str(&encode(Encoding::Falco, &sample("gap"))).unwrap();
    assert_eq!(json["rule"], "Hostward internal: gap");
    assert_eq!((&json["source"], &json["priority"]), (&"internal".into(), &"Error".into()));
    assert!(
        json["output"]
            .as_str()
            .unwrap()
            .ends_with("10 open events of CPU 3 were lost in the kernel (numbers 10 to 19)")
    );
}

#[test]
fn telemetry_is_no_alert() {
    let carried = |name: &str| Encoding::Falco.carries(&sample(name));
    assert!(carried("exec/alert") && carried("gap") && carried("rules_refused"));
    assert!(!carried("exec") && !carried("connect_ipv4"));
    assert!(
        Encoding::ALL
            .into_iter()
            .all(|encoding| encoding == Encoding::Falco || encoding.carries(&sample("exec")))
    );
}
