//! Keys of `type = "elastic"`.

use crate::http::client::Login;
use crate::http::config::{Report, http_sink};
use hostward_event::encode::Encoding;

http_sink! {
    /// Elasticsearch 8 and 9, OpenSearch 2 and 3.
    ElasticConfig, "elastic",
    urls: |config: &ElasticConfig| config.urls.clone(), request_events: 1_024, compression: Gzip;
    secrets: [
        "password of `username`": password, password_file, password_env, password_credential => password_source,
        "API key as the server encodes it (base64 of `id:key`)": api_key, api_key_file, api_key_env, api_key_credential => api_key_source,
        "bearer token": token, token_file, token_env, token_credential => token_source
    ];
    /// Servers, asked in turn: `["https://siem.example:9200"]`.
    urls: Vec<String> = Vec::new(),
    /// Last part of the data streams' names. Default `default`.
    namespace: String = "default".to_owned(),
    /// User for a password.
    username: Option<String> = None,
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

    /// How it logs in; none: not at all.
    pub fn login(&self) -> Option<Login> {
        self.logins(&mut |_, _, _| {}).into_iter().next()
    }

    fn logins(&self, report: &mut Report<'_>) -> Vec<Login> {
        let password = self.password_source(report);
        let api_key = self.api_key_source(report);
        let token = self.token_source(report);
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
