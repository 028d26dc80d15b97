//! Mappings of the data streams, made of the field registry: no field is written twice.
//!
//! The types are those that every server has (Elasticsearch 8 and 9, OpenSearch 2 and 3): where ECS
//! names `wildcard`, `constant_keyword` or `match_only_text`, the type of the same family stands that
//! takes the same values. Labels alone have no such type: each family has its own.

use hostward_event::registry::{self, Field, Type};
use serde_json::{Map, Value, json};

/// Longer texts are stored and not indexed. Lucene's limit is 32,766 bytes; a character has up to four.
const IGNORE_ABOVE_CHARS: u32 = 8_191;

/// The mappings of all data streams: `{"dynamic_templates": [...], "properties": {...}}`. `labels` is the
/// server's type for an object whose keys are not fields each: `flattened` or `flat_object`.
pub fn mappings(labels: &str) -> Value {
    let mut properties = Map::new();
    for field in registry::fields().iter().filter(|field| !field.ecs.is_empty()) {
        insert(&mut properties, field.ecs, of(field, labels));
    }
    json!({
        "date_detection": false,
        "dynamic_templates": [{
            "texts": { "match_mapping_type": "string", "mapping": keyword() }
        }],
        "properties": properties,
    })
}

fn keyword() -> Value {
    json!({ "type": "keyword", "ignore_above": IGNORE_ABOVE_CHARS })
}

fn of(field: &Field, labels: &str) -> Value {
    let last = field.ecs.rsplit('.').next().unwrap_or_default();
    match field.ty {
        Type::Text if field.ecs == "message" => json!({ "type": "text" }),
        Type::List if last == "ip" => json!({ "type": "ip" }),
        Type::Text | Type::Domain | Type::List => keyword(),
        // Any container brings keys of its own, so they must not become fields each.
        Type::Labels => json!({ "type": labels }),
        Type::Number => json!({ "type": "long" }),
        Type::Bool => json!({ "type": "boolean" }),
        Type::Ip | Type::Net => json!({ "type": "ip" }),
        // Only the time that streams are sorted by needs ns; date_nanos ends at 1970 and 2262.
        Type::Time if field.ecs == "@timestamp" => json!({ "type": "date_nanos" }),
        Type::Time => json!({ "type": "date" }),
    }
}

/// Puts a type where the dots of its name say; the first of two equal names counts.
fn insert(properties: &mut Map<String, Value>, path: &str, mapping: Value) {
    let Some((head, rest)) = path.split_once('.') else {
        properties.entry(path).or_insert(mapping);
        return;
    };
    let object = properties.entry(head).or_insert_with(|| json!({ "properties": {} }));
    if let Some(Value::Object(inner)) = object.get_mut("properties") {
        insert(inner, rest, mapping);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_registry_has_a_type_at_its_place() {
        let mappings = mappings("flattened");
        for field in registry::fields().iter().filter(|field| !field.ecs.is_empty()) {
            let pointer = format!("/properties/{}/type", field.ecs.replace('.', "/properties/"));
            let kind = mappings.pointer(&pointer).and_then(Value::as_str);
            assert!(kind.is_some(), "{} has no type", field.ecs);
        }
        let of = |path: &str| mappings.pointer(path).and_then(Value::as_str).unwrap_or_default();
        assert_eq!(of("/properties/@timestamp/type"), "date_nanos");
        assert_eq!(of("/properties/host/properties/ip/type"), "ip");
        assert_eq!(of("/properties/process/properties/pid/type"), "long");
        assert_eq!(of("/properties/process/properties/parent/properties/args/type"), "keyword");
        assert_eq!(of("/properties/message/type"), "text");
        assert_eq!(of("/properties/container/properties/labels/type"), "flattened");
    }
}
