//! Fields of the machine, the cloud that it is in, and this agent: where it happened.

use super::event_fields::{HOST_NAME, some};
use super::{Field, Need, Type, Value};
use crate::Event;
use crate::process::CloudFacts;
use std::borrow::Cow;

fn cloud(event: &Event, read: fn(&CloudFacts) -> &String) -> Value<'_> {
    event.around.host.cloud.as_deref().map_or(Value::Missing, |cloud| some(read(cloud)))
}

pub(super) const FIELDS: &[Field] = &[
    Field::new("evt.hostname", Type::Text, "name of the host", |e, _| some(&e.around.host.hostname))
        .ecs("host.name")
        .ocsf("device.hostname")
        .cef("dvchost")
        .leef("identHostName")
        .shows(HOST_NAME)
        .needs(Need::Host),
    Field::wire("host.hostname", Type::Text, "name of the host", |e, _| some(&e.around.host.hostname))
        .shows(HOST_NAME)
        .needs(Need::Host),
    Field::wire("host.id", Type::Text, "machine id", |e, _| some(&e.around.host.machine_id))
        .ocsf("device.uid")
        .cef("deviceExternalId")
        .leef("hostId")
        .needs(Need::Host),
    Field::wire("host.boot.id", Type::Text, "boot id", |e, _| some(&e.around.host.boot_id))
        .ocsf("device.boot_uid")
        .needs(Need::Host),
    Field::wire(
        "event.timezone",
        Type::Text,
        "time zone of the host, as the tz database names it",
        |e, _| some(&e.around.host.timezone),
    )
    .needs(Need::Host),
    Field::wire("cloud.provider", Type::Text, "cloud that the host runs in", |e, _| {
        cloud(e, |c| &c.provider)
    })
    .needs(Need::Host),
    Field::wire("cloud.instance.id", Type::Text, "id of the instance there", |e, _| {
        cloud(e, |c| &c.instance_id)
    })
    .needs(Need::Host),
    Field::wire("cloud.region", Type::Text, "region there", |e, _| cloud(e, |c| &c.region)).needs(Need::Host),
    Field::wire("cloud.availability_zone", Type::Text, "zone there", |e, _| {
        cloud(e, |c| &c.availability_zone)
    })
    .needs(Need::Host),
    Field::wire("host.architecture", Type::Text, "as uname tells", |e, _| some(&e.around.host.architecture))
        .needs(Need::Host),
    Field::wire("host.ip", Type::List, "addresses of all interfaces but loopback", |e, _| {
        let ip = e.around.host.ip.iter();
        Value::some_list(ip.map(|ip| Cow::Owned(ip.to_string().into_bytes())))
    })
    .needs(Need::Host),
    Field::wire("host.os.type", Type::Text, "always linux", |_, _| "linux".into()).needs(Need::Host),
    Field::wire("host.os.kernel", Type::Text, "kernel release", |e, _| some(&e.around.host.kernel))
        .ocsf("device.os.kernel_release")
        .needs(Need::Host),
    Field::wire("host.os.name", Type::Text, "name of the distribution", |e, _| some(&e.around.host.os_name))
        .needs(Need::Host),
    Field::wire("host.os.full", Type::Text, "name and version", |e, _| some(&e.around.host.os_full))
        .needs(Need::Host),
    Field::wire("host.os.platform", Type::Text, "os-release ID", |e, _| some(&e.around.host.os_id))
        .needs(Need::Host),
    Field::wire("host.os.version", Type::Text, "os-release VERSION_ID", |e, _| {
        some(&e.around.host.os_version)
    })
    .ocsf("device.os.version")
    .needs(Need::Host),
    Field::wire("agent.id", Type::Text, "id of this installation", |e, _| some(&e.around.agent.id))
        .needs(Need::Agent),
    Field::wire("agent.ephemeral_id", Type::Text, "new at each start", |e, _| {
        some(&e.around.agent.ephemeral_id)
    })
    .needs(Need::Agent),
    Field::wire("agent.type", Type::Text, "always hostward", |_, _| "hostward".into()).needs(Need::Agent),
    Field::wire("agent.name", Type::Text, "name of the host", |e, _| some(&e.around.host.hostname))
        .shows(HOST_NAME)
        .needs(Need::Agent),
    Field::wire("agent.version", Type::Text, "version of hostward", |e, _| some(&e.around.agent.version))
        .ocsf("metadata.product.version")
        .needs(Need::Agent),
];
