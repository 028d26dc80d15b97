//! What a bulk reply says about each item.
//!
//! Elasticsearch names a mapping error `document_parsing_exception`, OpenSearch
//! `mapper_parsing_exception` or `illegal_argument_exception`. The last is also what both say of an
//! index or a pipeline that is set up wrongly, so that its reason decides.

use crate::http::Reply;
use crate::http::outcome::{Failure, Item, Outcome};
use hostward_event::Text;
use serde::Deserialize;

/// A person has to mend an index, a template, a pipeline or a permission.
const HELD: &[&str] = &[
    "security_exception",
    "index_not_found_exception",
    "index_closed_exception",
    "invalid_index_name_exception",
    "no_such_index_exception",
    "resource_not_found_exception",
    "index_template_missing_exception",
    "type_missing_exception",
];

/// Words by which an `illegal_argument_exception` names something other than the document.
const NOT_THE_DOCUMENT: &[&str] = &[
    "data stream",
    "data_stream",
    "index [",
    "no write index",
    "index template",
    "pipeline with id",
    "for alias [",
    "only write ops",
];

#[derive(Debug, Deserialize)]
struct BulkReply {
    #[serde(default)]
    items: Vec<BulkItem>,
}

#[derive(Debug, Deserialize)]
struct BulkItem {
    create: Option<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    status: u16,
    error: Option<Cause>,
    failure_store: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cause {
    #[serde(rename = "type")]
    kind: Option<String>,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Whole {
    error: Cause,
}

/// A reply that made sense.
#[derive(Debug)]
pub struct Read {
    /// A verdict per item, in order.
    pub items: Vec<Item>,
    /// Of the delivered, those that were there before.
    pub already_there: u64,
    /// Of the delivered, those that the mapping refused and the failure store took.
    pub in_failure_store: u64,
}

/// Reads the verdicts on `events` items out of a 200.
///
/// # Errors
/// When the reply is cut, is no such reply, or has not exactly one item per event: then no item can
/// be told from another, and all are kept.
pub fn read(reply: &Reply, events: usize) -> Result<Read, Failure> {
    let senseless = |why: String| {
        let what = "its bulk reply makes no sense, so that all of it is offered again";
        Failure::passing(format!("{}: {what}: {why}", reply.peer))
    };
    let parsed: BulkReply =
        serde_json::from_slice(&reply.body).map_err(|error| senseless(error.to_string()))?;
    if parsed.items.len() != events {
        return Err(senseless(format!("{} items for {events}", parsed.items.len())));
    }
    let mut read = Read { items: Vec::with_capacity(events), already_there: 0, in_failure_store: 0 };
    for item in parsed.items {
        let Some(entry) = item.create else {
            read.items.push(Item::Kept(senseless("an item without a verdict".to_owned())));
            continue;
        };
        let verdict = verdict(&entry, reply);
        if verdict == Item::Delivered {
            read.already_there += u64::from(entry.status == 409);
            read.in_failure_store += u64::from(entry.failure_store.as_deref() == Some("used"));
        }
        read.items.push(verdict);
    }
    Ok(read)
}

fn verdict(entry: &Entry, reply: &Reply) -> Item {
    let cause = entry.error.as_ref();
    let kind = cause.and_then(|cause| cause.kind.as_deref()).unwrap_or_default();
    let reason = cause.and_then(|cause| cause.reason.as_deref()).unwrap_or_default();
    let said = || format!("{}: item {}: {}", reply.peer, entry.status, shown(kind, reason));
    match entry.status {
        200..=299 => Item::Delivered,
        409 if kind.is_empty() || kind == "version_conflict_engine_exception" => Item::Delivered,
        _ if kind == "cluster_block_exception" => {
            let what = "free disk space or lift the block; it is tried again";
            Item::Kept(Failure::overload(format!("{}; {what}", said()), reply.retry_after))
        }
        429 => Item::Kept(Failure::overload(said(), reply.retry_after)),
        408 | 409 | 425 | 500.. => {
            Item::Kept(Failure { retry_after: reply.retry_after, ..Failure::passing(said()) })
        }
        400 | 413 if !HELD.contains(&kind) && !is_about_the_index(kind, reason) => Item::Rejected(said()),
        401 | 403 => {
            let what = "let the user create documents in logs-hostward.*";
            Item::Kept(Failure::needs_help(format!("{}; {what}", said())))
        }
        _ => {
            let what = "run `hostward setup elastic`, and check the namespace";
            Item::Kept(Failure::needs_help(format!("{}; {what}", said())))
        }
    }
}

fn is_about_the_index(kind: &str, reason: &str) -> bool {
    kind == "illegal_argument_exception" && NOT_THE_DOCUMENT.iter().any(|words| reason.contains(words))
}

fn shown(kind: &str, reason: &str) -> String {
    let cut = reason.char_indices().nth(300).map_or(reason, |(at, _)| reason.get(..at).unwrap_or(reason));
    format!("{}: {}", Text::copy(kind.as_bytes()), Text::copy(cut.as_bytes()))
}

/// What a refusal of the whole request means.
pub(crate) fn refusal(reply: &Reply) -> Outcome {
    let cause = serde_json::from_slice::<Whole>(&reply.body).map(|whole| whole.error).unwrap_or_default();
    let kind = cause.kind.unwrap_or_default();
    let reason = cause.reason.unwrap_or_default();
    let said = format!("{}: answers {}: {}", reply.peer, reply.status, shown(&kind, &reason));
    if kind == "cluster_block_exception" {
        let what = "lift the block; it is tried again";
        return Failure::overload(format!("{said}; {what}"), reply.retry_after).into();
    }
    if HELD.contains(&kind.as_str()) || is_about_the_index(&kind, &reason) {
        return Failure::needs_help(format!("{said}; run `hostward setup elastic`, and check its user"))
            .into();
    }
    reply.failure().unwrap_or(Outcome::Kept(Failure::passing(said)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::reply::reply;
    use crate::sink::FailureKind;
    use proptest::prelude::*;

    fn items(entries: &str) -> Vec<Item> {
        let body = format!(r#"{{"errors":true,"items":[{entries}]}}"#);
        let count = entries.matches("\"create\":").count();
        read(&reply(200, body.as_bytes()), count).unwrap().items
    }

    /// One item with this status and error; D delivered, R rejected, P kept for a while, H held.
    fn word(status: u16, kind: &str, reason: &str) -> char {
        let error =
            serde_json::json!({"create": {"status": status, "error": {"type": kind, "reason": reason}}});
        match items(&error.to_string()).remove(0) {
            Item::Delivered => 'D',
            Item::Rejected(_) => 'R',
            Item::Kept(failure) if failure.kind == FailureKind::NeedsHelp => 'H',
            Item::Kept(_) => 'P',
        }
    }

    /// Replies as OpenSearch 3.8.0, 2.19.4 and Elasticsearch 9.5.3 gave them.
    #[test]
    fn each_kind_of_item_error_means_one_thing() {
        let table = [
            (
                409,
                "version_conflict_engine_exception",
                "[id]: version conflict, document already exists",
                'D',
            ),
            (429, "es_rejected_execution_exception", "rejected execution of coordinating operation", 'P'),
            (429, "cluster_block_exception", "index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage]", 'P'),
            (403, "cluster_block_exception", "index [x] blocked by: [FORBIDDEN/8/index write (api)]", 'P'),
            (500, "i_o_exception", "No space left on device", 'P'),
            (503, "unavailable_shards_exception", "primary shard is not active", 'P'),
            (400, "document_parsing_exception", "[1:9] failed to parse field [process.pid]", 'R'),
            (400, "mapper_parsing_exception", "failed to parse field [process.pid] of type [long]", 'R'),
            (400, "illegal_argument_exception", "Limit of total fields [1000] has been exceeded", 'R'),
            (
                400,
                "illegal_argument_exception",
                "mapper [a] cannot be changed from type [long] to [keyword]",
                'R',
            ),
            (
                400,
                "illegal_argument_exception",
                "only write ops with an op_type of create are allowed in data streams",
                'H',
            ),
            (
                400,
                "illegal_argument_exception",
                "can't merge a non object mapping [a.b] with an object mapping",
                'R',
            ),
            (400, "illegal_argument_exception", "Cannot write to a field alias [a].", 'R'),
            (400, "illegal_argument_exception", "no write index is defined for alias [logs-x]", 'H'),
            (400, "illegal_argument_exception", "pipeline with id [x] does not exist", 'H'),
            (400, "invalid_index_name_exception", "Invalid index name [logs-A], must be lowercase", 'H'),
            (
                404,
                "index_not_found_exception",
                "no such index [x] and [action.auto_create_index] is [false]",
                'H',
            ),
            (
                403,
                "security_exception",
                "action [indices:admin/auto_create] is unauthorized for user [reader]",
                'H',
            ),
            (401, "security_exception", "", 'H'),
            (418, "", "", 'H'),
        ];
        for (status, kind, reason, expected) in table {
            assert_eq!(word(status, kind, reason), expected, "{status} {kind}: {reason}");
        }
    }

    #[test]
    fn the_failure_store_has_taken_it_and_it_is_counted() {
        let body = br#"{"errors":false,"items":[{"create":{"status":201,"failure_store":"used"}},
            {"create":{"status":201,"failure_store":"not_applicable_or_unknown"}},{"create":{"status":409}}]}"#;
        let read = read(&reply(200, body), 3).unwrap();
        assert_eq!(read.items, vec![Item::Delivered; 3]);
        assert_eq!((read.in_failure_store, read.already_there), (1, 1));
        let failed = items(
            r#"{"create":{"status":400,"failure_store":"failed","error":{"type":"document_parsing_exception"}}}"#,
        );
        assert!(matches!(failed[..], [Item::Rejected(_)]));
    }

    #[test]
    fn a_reply_that_makes_no_sense_keeps_everything() {
        let whole = br#"{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":201}}]}"#;
        assert!(read(&reply(200, whole), 2).is_ok());
        for cut in 0..whole.len() {
            assert!(read(&reply(200, &whole[..cut]), 2).is_err(), "cut at {cut}");
        }
        assert!(read(&reply(200, whole), 3).is_err(), "fewer items than events");
        assert!(read(&reply(200, whole), 1).is_err(), "more items than events");
        assert!(read(&reply(200, b"<html>login</html>"), 1).is_err());
        assert!(read(&reply(200, br#"{"errors":false}"#), 1).is_err());
        let other = items(r#"{"index":{"status":201},"create":null}"#);
        assert!(matches!(other[..], [Item::Kept(_)]), "no verdict on a create");
    }

    #[test]
    fn a_whole_request_is_refused_for_one_of_three_reasons() {
        let whole = |status, kind: &str, reason: &str| {
            let body = serde_json::json!({"error": {"type": kind, "reason": reason}, "status": status});
            refusal(&reply(status, body.to_string().as_bytes()))
        };
        let broken = whole(
            400,
            "illegal_argument_exception",
            "The bulk request must be terminated by a newline [\\n]",
        );
        assert!(matches!(broken, Outcome::Refused(_)));
        let Outcome::Kept(blocked) =
            whole(403, "cluster_block_exception", "blocked by: [FORBIDDEN/6/cluster read-only (api)]")
        else {
            panic!()
        };
        assert_eq!((blocked.kind, blocked.is_overload), (FailureKind::Passing, true));
        let Outcome::Kept(held) =
            whole(403, "security_exception", "no permissions for [indices:data/write/bulk]")
        else {
            panic!()
        };
        assert_eq!(held.kind, FailureKind::NeedsHelp);
        assert!(matches!(refusal(&reply(413, b"")), Outcome::TooLarge(_)));
        assert!(matches!(refusal(&reply(400, b"not even json")), Outcome::Refused(_)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic_and_never_invent_a_delivery(body: Vec<u8>, events in 0_usize..4) {
            if let Ok(read) = read(&reply(200, &body), events) {
                prop_assert_eq!(read.items.len(), events);
            }
            let _ = refusal(&reply(400, &body));
        }

        #[test]
        fn a_damaged_reply_is_read_whole_or_not_at_all(at in 0_usize..400, byte: u8) {
            let entry = r#"{"create":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"x"}}}"#;
            let mut body = format!(r#"{{"errors":true,"items":[{entry},{entry},{entry},{entry}]}}"#).into_bytes();
            let at = at % body.len();
            body[at] = byte;
            if let Ok(read) = read(&reply(200, &body), 4) {
                prop_assert_eq!(read.items.len(), 4);
            }
        }
    }
}
