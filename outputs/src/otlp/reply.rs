//! `ExportLogsServiceResponse` in JSON.

use crate::http::Reply;
use hostward_event::Text;
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Response {
    partial_success: Option<PartialSuccess>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PartialSuccess {
    /// A string by the rules of JSON for 64 bits, a number from receivers that do not keep them.
    rejected_log_records: Value,
    error_message: Option<String>,
}

/// What a receiver says of a request that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Records that it refused.
    pub rejected: u64,
    /// Why, or a warning when it refused none; escaped.
    pub message: String,
}

/// Reads a 2xx. An empty body is a success: the answer is an empty message, and not every receiver
/// writes `{}`.
///
/// # Errors
/// When it is no such answer; then nobody knows what became of the records.
pub fn read(reply: &Reply) -> Result<Partial, String> {
    if reply.is_cut {
        return Err("it is longer than 1 MiB".to_owned());
    }
    if reply.body.trim_ascii().is_empty() {
        return Ok(Partial { rejected: 0, message: String::new() });
    }
    let response: Response = serde_json::from_slice(&reply.body).map_err(|error| error.to_string())?;
    let partial = response.partial_success.unwrap_or_default();
    let rejected = match &partial.rejected_log_records {
        Value::Null => Some(0),
        Value::Number(number) => number.as_u64(),
        Value::String(digits) => digits.parse().ok(),
        _ => None,
    };
    let Some(rejected) = rejected else { return Err("rejectedLogRecords is no number".to_owned()) };
    let message = partial.error_message.unwrap_or_default();
    let cut = message.char_indices().nth(300).map_or(message.len(), |(at, _)| at);
    let message = Text::copy(message.get(..cut).unwrap_or_default().as_bytes()).to_string();
    Ok(Partial { rejected, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::reply::reply;
    use proptest::prelude::*;

    fn rejected(body: &str) -> Option<u64> {
        read(&reply(200, body.as_bytes())).ok().map(|partial| partial.rejected)
    }

    #[test]
    fn a_success_is_full_partial_or_not_to_be_understood() {
        for full in [
            "{}",
            "",
            "\n",
            r#"{"partialSuccess":{}}"#,
            r#"{"partialSuccess":null}"#,
            r#"{"partialSuccess":{"errorMessage":"slow down"}}"#,
        ] {
            assert_eq!(rejected(full), Some(0), "{full}");
        }
        assert_eq!(rejected(r#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"x"}}"#), Some(3));
        assert_eq!(rejected(r#"{"partialSuccess":{"rejectedLogRecords":3}}"#), Some(3));
        for none in [
            "OK",
            "[]]",
            r#"{"partialSuccess":{"rejectedLogRecords":"many"}}"#,
            r#"{"partialSuccess":{"rejectedLogRecords":-1}}"#,
        ] {
            assert_eq!(rejected(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_reply_is_read_without_a_panic(body: Vec<u8>) {
            let _ = read(&reply(200, &body));
        }
    }
}
