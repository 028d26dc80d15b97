//! Keys of `type = "webhook"`.

use crate::http::client::Login;
use crate::http::config::{Report, http_sink, inline, secret};
use crate::net::secret::{Secret, SecretSource};
use serde::Deserialize;
use std::path::PathBuf;

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
    /// The receiver, whole: `https://bridge.example/hooks/hostward`.
    url: String = String::new(),
    /// What one request holds. Default `event`.
    mode: Mode = Mode::Event,
    /// Secret that signs requests. Better: one of the three below.
    secret: Option<Secret> = None,
    /// File that holds the secret.
    secret_file: Option<PathBuf> = None,
    /// Variable of the environment that holds the secret.
    secret_env: Option<String> = None,
    /// Credential of systemd that holds the secret.
    secret_credential: Option<String> = None,
    /// Bearer token. Better: one of the three below.
    token: Option<Secret> = None,
    /// File that holds the token.
    token_file: Option<PathBuf> = None,
    /// Variable of the environment that holds the token.
    token_env: Option<String> = None,
    /// Credential of systemd that holds the token.
    token_credential: Option<String> = None,
}

impl WebhookConfig {
    pub(crate) fn validate(&self, report: &mut Report<'_>) {
        self.http().validate("url", report);
        self.source(report);
        self.token_source(report);
    }

    pub(crate) fn inline_secrets(&self) -> Vec<&'static str> {
        inline([("secret", &self.secret), ("token", &self.token)], self.proxy.as_deref())
    }

    /// How it logs in; none: not at all.
    pub fn login(&self) -> Option<Login> {
        self.token_source(&mut |_, _, _| {}).map(|token| Login::Token { scheme: "Bearer", token })
    }

    /// What signs; none: nothing does.
    pub fn secret_source(&self) -> Option<SecretSource> {
        self.source(&mut |_, _, _| {})
    }

    fn source(&self, report: &mut Report<'_>) -> Option<SecretSource> {
        secret(
            "secret",
            self.secret.as_ref(),
            self.secret_file.as_deref(),
            self.secret_env.as_deref(),
            self.secret_credential.as_deref(),
            report,
        )
    }

    fn token_source(&self, report: &mut Report<'_>) -> Option<SecretSource> {
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
