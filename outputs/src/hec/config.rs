//! Keys of `type = "splunk_hec"`.

use crate::http::client::Login;
use crate::http::config::{Report, http_sink, inline, secret};
use crate::net::secret::{Secret, SecretSource};
use std::path::PathBuf;

http_sink! {
    /// Splunk's HTTP Event Collector.
    HecConfig, "splunk_hec",
    urls: |config: &HecConfig| config.urls.clone(), request_events: 1_024, compression: Gzip;
    /// Collectors, asked in turn: `["https://splunk.example:8088"]`.
    urls: Vec<String> = Vec::new(),
    /// The collector's token. Better: one of the three below.
    token: Option<Secret> = None,
    /// File that holds the token.
    token_file: Option<PathBuf> = None,
    /// Variable of the environment that holds the token.
    token_env: Option<String> = None,
    /// Credential of systemd that holds the token.
    token_credential: Option<String> = None,
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

    pub(crate) fn inline_secrets(&self) -> Vec<&'static str> {
        inline([("token", &self.token)], self.proxy.as_deref())
    }

    /// How it logs in.
    pub fn login(&self) -> Option<Login> {
        self.source(&mut |_, _, _| {}).map(|token| Login::Token { scheme: "Splunk", token })
    }

    fn source(&self, report: &mut Report<'_>) -> Option<SecretSource> {
        secret(
            "token",
            self.token.as_ref(),
            self.token_file.as_deref(),
            self.token_env.as_deref(),
            self.token_credential.as_deref(),
            report,
        )
    }
}
