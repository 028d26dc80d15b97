//! Keys of `type = "elastic"`.

use crate::http::client::Login;
use crate::http::config::{Report, http_sink, inline, secret};
use crate::net::secret::Secret;
use hostward_event::encode::Encoding;
use std::path::PathBuf;

http_sink! {
    /// Elasticsearch 8 and 9, OpenSearch 2 and 3.
    ElasticConfig, "elastic",
    urls: |config: &ElasticConfig| config.urls.clone(), request_events: 1_024, compression: Gzip;
    /// Servers, asked in turn: `["https://siem.example:9200"]`.
    urls: Vec<String> = Vec::new(),
    /// Last part of the data streams' names. Default `default`.
    namespace: String = "default".to_owned(),
    /// User for a password.
    username: Option<String> = None,
    /// Its password. Better: one of the three below.
    password: Option<Secret> = None,
    /// File that holds the password.
    password_file: Option<PathBuf> = None,
    /// Variable of the environment that holds the password.
    password_env: Option<String> = None,
    /// Credential of systemd that holds the password.
    password_credential: Option<String> = None,
    /// API key as the server encodes it (base64 of `id:key`). Better: one of the three below.
    api_key: Option<Secret> = None,
    /// File that holds the API key.
    api_key_file: Option<PathBuf> = None,
    /// Variable of the environment that holds the API key.
    api_key_env: Option<String> = None,
    /// Credential of systemd that holds the API key.
    api_key_credential: Option<String> = None,
    /// Bearer token. Better: one of the three below.
    token: Option<Secret> = None,
    /// File that holds the token.
    token_file: Option<PathBuf> = None,
    /// Variable of the environment that holds the token.
    token_env: Option<String> = None,
    /// Credential of systemd that holds the token.
    token_credential: Option<String> = None,
}

impl ElasticConfig {
    pub(crate) fn validate(&self, report: &mut Report<'_>) {
        self.http().validate("urls", report);
        if self.encoding != Encoding::Ecs {
            let what = format!("is {:?}", self.encoding.name());
            report("encoding", what, "use \"ecs\": the data streams and their mappings are those of ECS");
        }
        // Elasticsearch: data_stream.namespace has no `-`, is lower case, and at most 100 bytes long.
        let shaped = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.');
        if self.namespace.is_empty() || self.namespace.len() > 100 || !self.namespace.chars().all(shaped) {
            let hint = "use 1 to 100 lower-case letters, digits, '_' or '.'";
            report("namespace", format!("is {:?}", self.namespace), hint);
        }
        let logins = self.logins(report);
        if logins.len() > 1 {
            let hint = "keep one of username with a password, api_key, token";
            report("username", "stands beside another way to log in".to_owned(), hint);
        }
        let has_password = self.password.is_some()
            || self.password_file.is_some()
            || self.password_env.is_some()
            || self.password_credential.is_some();
        if self.username.is_some() != has_password {
            let what = "and a password belong together".to_owned();
            report(
                "username",
                what,
                "set both username and one of password_file, password_env, password_credential",
            );
        }
        if self.username.as_ref().is_some_and(|name| name.is_empty() || name.contains(':')) {
            report("username", "is empty or has a colon".to_owned(), "use the user's name");
        }
    }

    pub(crate) fn inline_secrets(&self) -> Vec<&'static str> {
        inline(
            [("password", &self.password), ("api_key", &self.api_key), ("token", &self.token)],
            self.proxy.as_deref(),
        )
    }

    /// How it logs in; none: not at all.
    pub fn login(&self) -> Option<Login> {
        self.logins(&mut |_, _, _| {}).into_iter().next()
    }

    fn logins(&self, report: &mut Report<'_>) -> Vec<Login> {
        let password = secret(
            "password",
            self.password.as_ref(),
            self.password_file.as_deref(),
            self.password_env.as_deref(),
            self.password_credential.as_deref(),
            report,
        );
        let api_key = secret(
            "api_key",
            self.api_key.as_ref(),
            self.api_key_file.as_deref(),
            self.api_key_env.as_deref(),
            self.api_key_credential.as_deref(),
            report,
        );
        let token = secret(
            "token",
            self.token.as_ref(),
            self.token_file.as_deref(),
            self.token_env.as_deref(),
            self.token_credential.as_deref(),
            report,
        );
        let basic = self.username.clone().zip(password);
        [
            basic.map(|(username, password)| Login::Basic { username, password }),
            api_key.map(|token| Login::Token { scheme: "ApiKey", token }),
            token.map(|token| Login::Token { scheme: "Bearer", token }),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
