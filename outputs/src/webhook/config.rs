//! Keys of `type = "webhook"`.

use crate::http::client::Login;
use crate::http::config::{Report, http_sink};
use crate::net::secret::SecretSource;
use serde::Deserialize;

/// What one request holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One event.
    Event,
    /// Up to `request_events`: a JSON array, or lines of text.
    Batch,
}

http_sink! {
    /// A POST to whatever takes one.
    WebhookConfig, "webhook",
    urls: |config: &WebhookConfig| vec![config.url.clone()], request_events: 256, compression: None;
    secrets: [
        "secret that signs requests": secret, secret_file, secret_env, secret_credential => source,
        "bearer token": token, token_file, token_env, token_credential => token_source
    ];
    /// The receiver, whole: `https://bridge.example/hooks/hostward`.
    url: String = String::new(),
    /// What one request holds. Default `event`.
    mode: Mode = Mode::Event,
}

impl WebhookConfig {
    pub(crate) fn validate(&self, report: &mut Report<'_>) {
        self.http().validate("url", report);
        self.source(report);
        self.token_source(report);
    }

    /// How it logs in; none: not at all.
    pub fn login(&self) -> Option<Login> {
        self.token_source(&mut |_, _, _| {}).map(|token| Login::Token { scheme: "Bearer", token })
    }

    /// What signs; none: nothing does.
    pub fn secret_source(&self) -> Option<SecretSource> {
        self.source(&mut |_, _, _| {})
    }
}
