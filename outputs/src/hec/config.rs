//! Keys of `type = "splunk_hec"`.

use crate::http::client::Login;
use crate::http::config::{Report, http_sink};

http_sink! {
    /// Splunk's HTTP Event Collector.
    HecConfig, "splunk_hec",
    urls: |config: &HecConfig| config.urls.clone(), request_events: 1_024, compression: Gzip;
    secrets: ["collector's token": token, token_file, token_env, token_credential => source];
    /// Collectors, asked in turn: `["https://splunk.example:8088"]`.
    urls: Vec<String> = Vec::new(),
    /// Index; none: the token's.
    index: Option<String> = None,
    /// Events count as delivered when the indexer has them on disk, not before. Default true.
    acks: bool = true,
    /// Events that were not acknowledged for so long are sent again. Default 300.
    ack_timeout_s: u64 = 300,
}

impl HecConfig {
    pub(crate) fn validate(&self, report: &mut Report<'_>) {
        self.http().validate("urls", report);
        if self.source(report).is_none() {
            report("token", "is not given".to_owned(), "set one of token_file, token_env, token_credential");
        }
        if self.index.as_ref().is_some_and(|index| index.is_empty() || index.len() > 255) {
            report("index", "is no name".to_owned(), "use the name of an index that the token may write to");
        }
        if !(1..=86_400).contains(&self.ack_timeout_s) {
            report("ack_timeout_s", format!("is {}", self.ack_timeout_s), "use 1 to 86400");
        }
    }

    /// How it logs in.
    pub fn login(&self) -> Option<Login> {
        self.source(&mut |_, _, _| {}).map(|token| Login::Token { scheme: "Splunk", token })
    }
}
