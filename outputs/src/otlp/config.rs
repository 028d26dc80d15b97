//! Keys of `type = "otlp"`.

use crate::http::client::Login;
use crate::http::config::{Report, http_sink, inline, secret};
use crate::net::secret::{Secret, SecretSource};
use std::path::PathBuf;

http_sink! {
    /// OpenTelemetry logs over HTTP.
    OtlpConfig, "otlp",
    urls: |config: &OtlpConfig| vec![config.url.clone()], request_events: 1_024, compression: Gzip;
    /// The receiver, without `/v1/logs`: `https://collector.example:4318`.
    url: String = String::new(),
    /// Bearer token. Better: one of the three below.
    token: Option<Secret> = None,
    /// File that holds the token.
    token_file: Option<PathBuf> = None,
    /// Variable of the environment that holds the token.
    token_env: Option<String> = None,
    /// Credential of systemd that holds the token.
    token_credential: Option<String> = None,
}

impl OtlpConfig {
    pub(crate) fn validate(&self, report: &mut Report<'_>) {
        self.http().validate("url", report);
        self.source(report);
        if self.url.trim_end_matches('/').ends_with("/v1/logs") {
            report("url", "ends with /v1/logs".to_owned(), "leave that out: it is added");
        }
    }

    pub(crate) fn inline_secrets(&self) -> Vec<&'static str> {
        inline([("token", &self.token)], self.proxy.as_deref())
    }

    /// How it logs in; none: not at all.
    pub fn login(&self) -> Option<Login> {
        self.source(&mut |_, _, _| {}).map(|token| Login::Token { scheme: "Bearer", token })
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
