//! Where the machine stands: its time zone, and the cloud that it runs in.
//!
//! Files only: a metadata service on the network would have to be asked each time, may be another's, and an
//! agent that asks it looks like what it should find. cloud-init has asked by the time that an agent starts;
//! where there is none, the firmware's tables (SMBIOS) tell the vendor, and some vendors write the id there.

use crate::read_bounded;
use hostward_event::process::CloudFacts;
use rustix::fs::readlink;
use serde::Deserialize;
use std::path::Path;

/// cloud-init writes some 100 KB.
const MAX_BYTES: u64 = 4 << 20;
/// No id, region or zone is longer.
const MAX_WORD_BYTES: usize = 256;
const INSTANCE_DATA: &str = "run/cloud-init/instance-data.json";
const INSTANCE_ID: &str = "var/lib/cloud/data/instance-id";
const DMI: &str = "sys/class/dmi/id";
/// The chassis asset tag of each machine in Azure.
const AZURE_TAG: &str = "7783-7084-3265-9085-8269-3286-77";
/// What cloud-init calls a machine that is in no cloud.
const NO_CLOUD: [&str; 5] = ["", "none", "nocloud", "unknown", "configdrive"];

/// The name that `/etc/localtime` leads to, see localtime(5); else what Debian keeps in `/etc/timezone`.
pub(crate) fn timezone(root: &Path) -> String {
    let link = readlink(root.join("etc/localtime"), Vec::new()).ok();
    let link = link.and_then(|link| link.into_string().ok()).unwrap_or_default();
    let of_link = link.split_once("zoneinfo/").map(|(_, name)| name.to_owned());
    let name = of_link.unwrap_or_else(|| word(root, "etc/timezone"));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte);
    if name.len() <= MAX_WORD_BYTES && name.bytes().all(is_name) { name } else { String::new() }
}

/// `v1` is the part that cloud-init promises to keep ("standardized keys"); nulls are for what is not known.
#[derive(Default, Deserialize)]
#[serde(default)]
struct InstanceData {
    v1: Standard,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Standard {
    cloud_name: Option<String>,
    instance_id: Option<String>,
    region: Option<String>,
    availability_zone: Option<String>,
}

/// What is known without asking anybody.
pub(crate) fn cloud(root: &Path) -> Option<CloudFacts> {
    let data = read_bounded(&root.join(INSTANCE_DATA), MAX_BYTES).unwrap_or_default();
    let told = serde_json::from_slice::<InstanceData>(&data).unwrap_or_default().v1;
    let fitting = |told: Option<String>| {
        let told = told.unwrap_or_default();
        if is_word(&told) { told } else { String::new() }
    };
    let provider = fitting(told.cloud_name);
    if !NO_CLOUD.contains(&provider.to_lowercase().as_str()) {
        return Some(CloudFacts {
            // ECS calls it as its own examples do.
            provider: if provider == "gce" { "gcp".to_owned() } else { provider },
            instance_id: fitting(told.instance_id),
            region: fitting(told.region),
            availability_zone: fitting(told.availability_zone),
        });
    }
    of_firmware(root)
}

fn of_firmware(root: &Path) -> Option<CloudFacts> {
    let dmi = |name: &str| word(root, &format!("{DMI}/{name}"));
    let (vendor, product) = (dmi("sys_vendor"), dmi("product_name"));
    // The id as the vendor's own API has it, where the firmware holds it.
    let (provider, instance_id) = match vendor.as_str() {
        "Amazon EC2" => ("aws", dmi("board_asset_tag")),
        "Google" if product == "Google Compute Engine" => ("gcp", String::new()),
        "Microsoft Corporation" if dmi("chassis_asset_tag") == AZURE_TAG => ("azure", String::new()),
        "DigitalOcean" => ("digitalocean", dmi("product_serial")),
        "Hetzner" => ("hetzner", dmi("product_serial")),
        "OpenStack Foundation" => ("openstack", dmi("product_uuid")),
        _ => return None,
    };
    let instance_id = if instance_id.is_empty() { word(root, INSTANCE_ID) } else { instance_id };
    Some(CloudFacts { provider: provider.to_owned(), instance_id, ..CloudFacts::default() })
}

/// A file of one word; empty if it is none.
fn word(root: &Path, name: &str) -> String {
    let bytes = read_bounded(&root.join(name), MAX_BYTES).unwrap_or_default();
    let text = str::from_utf8(&bytes).unwrap_or_default().trim();
    if is_word(text) { text.to_owned() } else { String::new() }
}

fn is_word(text: &str) -> bool {
    text.len() <= MAX_WORD_BYTES && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    fn told(files: &[(&str, &str)]) -> [String; 4] {
        let CloudFacts { provider, instance_id, region, availability_zone } =
            cloud(root(files).path()).unwrap_or_default();
        [provider, instance_id, region, availability_zone]
    }

    #[test]
    fn the_time_zone_is_where_localtime_leads() {
        let zone = |files: &[(&str, &str)], link: &str| {
            let root = root(files);
            fs::create_dir_all(root.path().join("etc")).unwrap();
            if !link.is_empty() {
                std::os::unix::fs::symlink(link, root.path().join("etc/localtime")).unwrap();
            }
            timezone(root.path())
        };
        let debian: &[(&str, &str)] = &[("etc/timezone", "Europe/Rome\n")];
        assert_eq!(zone(debian, "/usr/share/zoneinfo/Europe/Berlin"), "Europe/Berlin");
        assert_eq!(zone(&[], "../usr/share/zoneinfo/Etc/GMT+5"), "Etc/GMT+5");
        assert_eq!(
            (zone(debian, ""), zone(debian, "/elsewhere")),
            ("Europe/Rome".into(), "Europe/Rome".into())
        );
        assert_eq!(
            (zone(&[], ""), zone(&[("etc/timezone", "a b\u{1b}[2J")], "")),
            (String::new(), String::new())
        );
    }

    #[test]
    fn cloud_init_is_believed_first() {
        let data = r#"{"ds": {"x": 1}, "v1": {"cloud_name": "aws", "instance_id": "i-0abc", "region": "eu-central-1",
            "availability_zone": "eu-central-1a", "platform": "ec2", "subplatform": null}}"#;
        let dmi = ("sys/class/dmi/id/sys_vendor", "DigitalOcean\n");
        assert_eq!(told(&[(INSTANCE_DATA, data), dmi]), ["aws", "i-0abc", "eu-central-1", "eu-central-1a"]);
        let gce = r#"{"v1": {"cloud_name": "gce", "instance_id": "42", "region": null}}"#;
        assert_eq!(told(&[(INSTANCE_DATA, gce)]), ["gcp", "42", "", ""]);
        for none in [
            "",
            "{",
            "[]",
            r#"{"v1": {"cloud_name": "nocloud", "instance_id": "iid-local01"}}"#,
            r#"{"v1": {"cloud_name": 7}}"#,
        ] {
            assert_eq!(told(&[(INSTANCE_DATA, none)]), ["", "", "", ""], "{none}");
        }
    }

    #[test]
    fn the_firmware_tells_where_there_is_no_cloud_init() {
        let dmi = |name: &str| format!("sys/class/dmi/id/{name}");
        let (vendor, board, serial) = (dmi("sys_vendor"), dmi("board_asset_tag"), dmi("product_serial"));
        let (chassis, product) = (dmi("chassis_asset_tag"), dmi("product_name"));
        assert_eq!(told(&[(&vendor, "Amazon EC2\n"), (&board, "i-0abc\n")]), ["aws", "i-0abc", "", ""]);
        assert_eq!(told(&[(&vendor, "Hetzner\n"), (&serial, "123\n")]), ["hetzner", "123", "", ""]);
        let id = (INSTANCE_ID, "4711\n");
        assert_eq!(
            told(&[(&vendor, "Google\n"), (&product, "Google Compute Engine"), id]),
            ["gcp", "4711", "", ""]
        );
        assert_eq!(
            told(&[(&vendor, "Microsoft Corporation"), (&chassis, AZURE_TAG), id]),
            ["azure", "4711", "", ""]
        );
        assert_eq!(
            told(&[(&vendor, "Microsoft Corporation"), id]),
            ["", "", "", ""],
            "Hyper-V on somebody's desk"
        );
        assert_eq!(told(&[(&vendor, "QEMU"), id]), ["", "", "", ""]);
        assert_eq!(told(&[]), ["", "", "", ""]);
    }

    proptest! {
        #[test]
        fn any_file_is_read(data: Vec<u8>, name in ".{0,300}") {
            let root = root(&[("etc/timezone", &name), (INSTANCE_DATA, "")]);
            fs::write(root.path().join(INSTANCE_DATA), data).unwrap();
            let _ = (timezone(root.path()), cloud(root.path()));
        }
    }
}
