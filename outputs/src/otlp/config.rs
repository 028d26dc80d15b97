//! Keys of `type = "otlp"`.

use crate::http::client::Login;
use crate::http::config::{Report, http_sink};

http_sink! {
    /// OpenTelemetry logs over HTTP.
    OtlpConfig, "otlp",
    urls: |config: &OtlpConfig| vec![config.url.clone()], request_events: 1_024, compression: Gzip;
    secrets: ["bearer token": token, token_file, token_env, token_credential => source];
    /// The receiver, without `/v1/logs`: `https://collector.example:4318`.
    url: String = String::new(),
}

impl OtlpConfig {
    pub(crate) fn validate(&self, report: &mut Report<'_>) {
        self.http().validate("url", report);
        self.source(report);
        if self.url.trim_end_matches('/').ends_with("/v1/logs") {
            report("url", "ends with /v1/logs".to_owned(), "leave that out: it is added");
        }
    }

    /// How it logs in; none: not at all.
    pub fn login(&self) -> Option<Login> {
        self.source(&mut |_, _, _| {}).map(|token| Login::Token { scheme: "Bearer", token })
    }
}
