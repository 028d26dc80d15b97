//! OCSF: attributes exist in their class and object, have their type, enumerated numbers are listed,
//! what is required is there, and what a profile brings is used only where the profile is named.

use crate::common::{check, schemas};
use anyhow::{Context, Result, ensure};
use hostward_event::encode::{Encoding, OCSF_VERSION};
use serde_json::{Map, Value};
use std::fs;
use std::path::Path;

struct Ocsf(Value);

impl Ocsf {
    fn read(path: &Path) -> Result<Self> {
        let schema: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
        ensure!(schema["version"] == OCSF_VERSION, "the schema is of version {}", schema["version"]);
        Ok(Self(schema))
    }

    fn problems(&self, document: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        let classes = self.0["classes"].as_object().into_iter().flat_map(Map::values);
        let Some(class) = classes.into_iter().find(|class| class["uid"] == document["class_uid"]) else {
            return vec![format!("there is no class {}", document["class_uid"])];
        };
        let profiles: Vec<&Value> =
            document["metadata"]["profiles"].as_array().into_iter().flatten().collect();
        for profile in &profiles {
            let of_class = class["profiles"].as_array().is_some_and(|known| known.contains(profile));
            if !of_class {
                problems.push(format!("the class has no profile {profile}"));
            }
        }
        self.object("", class, document, &profiles, &mut problems);
        let number = |name: &str| document[name].as_u64().unwrap_or_default();
        if number("type_uid") != number("class_uid") * 100 + number("activity_id") {
            problems.push(format!("type_uid is {}", document["type_uid"]));
        }
        if number("activity_id") == 99 && document.get("activity_name").is_none() {
            problems.push("an activity 99 needs its name".to_owned());
        }
        problems
    }

    fn object(
        &self,
        path: &str,
        form: &Value,
        value: &Value,
        profiles: &[&Value],
        problems: &mut Vec<String>,
    ) {
        let (Some(attributes), Some(object)) = (form["attributes"].as_object(), value.as_object()) else {
            problems.push(format!("{path} is no object"));
            return;
        };
        let named = |attribute: &Value| {
            attribute["profiles"]
                .as_array()
                .is_none_or(|of| of.iter().any(|profile| profiles.contains(&profile)))
        };
        for (name, attribute) in attributes {
            if attribute["requirement"] == "required" && named(attribute) && !object.contains_key(name) {
                problems.push(format!("{path}.{name} is required"));
            }
        }
        for (rule, members) in form["constraints"].as_object().into_iter().flatten() {
            let present = members.as_array().into_iter().flatten().filter_map(Value::as_str);
            let present = present.filter(|member| object.contains_key(*member)).count();
            if present == 0 || (rule == "just_one" && present > 1) {
                problems.push(format!("{path} has {present} of {members}: {rule}"));
            }
        }
        for (name, inner) in object {
            let path = format!("{path}.{name}");
            let Some(attribute) = attributes.get(name) else {
                problems.push(format!("{path} is no attribute of {}", form["name"]));
                continue;
            };
            if !named(attribute) {
                problems.push(format!(
                    "{path} belongs to a profile that is not named: {}",
                    attribute["profiles"]
                ));
            }
            if attribute.get("@deprecated").is_some() {
                problems.push(format!("{path} is deprecated"));
            }
            match (attribute["is_array"] == true, inner) {
                (true, Value::Array(items)) if !items.is_empty() => {
                    for item in items {
                        self.value(&path, attribute, item, profiles, problems);
                    }
                }
                (true, _) => problems.push(format!("{path} is no list: {inner}")),
                (false, _) => self.value(&path, attribute, inner, profiles, problems),
            }
        }
    }

    fn value(
        &self,
        path: &str,
        attribute: &Value,
        value: &Value,
        profiles: &[&Value],
        problems: &mut Vec<String>,
    ) {
        let kind = attribute["type"].as_str().unwrap_or_default();
        if kind == "object_t" {
            let name = attribute["object_type"].as_str().unwrap_or_default();
            self.object(path, &self.0["objects"][name], value, profiles, problems);
            return;
        }
        let text = value.as_str();
        let fits = match kind {
            "integer_t" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            "long_t" | "timestamp_t" => value.is_i64() || value.is_u64(),
            "port_t" => value.as_u64().is_some_and(|port| port <= 65_535),
            "boolean_t" => value.is_boolean(),
            "file_hash_t" => {
                text.is_some_and(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
            }
            "ip_t" => text.is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
            "string_t" | "file_name_t" | "file_path_t" | "hostname_t" | "process_name_t" | "username_t" => {
                text.is_some_and(|text| !text.is_empty())
            }
            // Types that we do not write: whoever adds one says here what fits it.
            _ => false,
        };
        if !fits {
            problems.push(format!("{path} is of type {kind}, not {value}"));
        }
        if let Some(listed) = attribute["enum"].as_object() {
            let word = text.map_or_else(|| value.to_string(), str::to_owned);
            if !listed.contains_key(&word) {
                problems.push(format!("{path} may not be {value}"));
            }
        }
    }
}

#[test]
fn every_ocsf_document_fits_the_published_schema() -> Result<()> {
    let Some(cache) = schemas("every_ocsf_document_fits_the_published_schema")? else { return Ok(()) };
    let ocsf = Ocsf::read(&cache.join("ocsf.json")).context("the published schema")?;
    check(Encoding::Ocsf, |document| ocsf.problems(document))
}

#[test]
fn the_ocsf_check_sees_faults() -> Result<()> {
    let Some(cache) = schemas("the_ocsf_check_sees_faults")? else { return Ok(()) };
    let ocsf = Ocsf::read(&cache.join("ocsf.json"))?;
    let document = serde_json::json!({
        "class_uid": 1007, "category_uid": 1, "activity_id": 77, "type_uid": 100701, "severity_id": 1, "time": 1,
        "metadata": {"version": "1.8.0", "product": {}}, "device": {"type_id": 0, "hostname": "a"},
        "actor": {"process": {"pid": "1"}}, "is_alert": true, "nonsense": 1,
    });
    let told = ocsf.problems(&document);
    for word in [
        "activity_id may not",
        "process is required",
        ".metadata.product has 0",
        "pid is of type",
        "profile",
        "nonsense is no",
        "type_uid",
    ] {
        ensure!(told.iter().any(|problem| problem.contains(word)), "{word}: {told:#?}");
    }
    Ok(())
}
