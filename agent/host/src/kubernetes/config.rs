//! `[kubernetes]`

use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// `[kubernetes]`: the API server as a source of facts about pods.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesConfig {
    /// Ask the API server. None: when credentials are found where nodes and pods have them.
    pub enabled: Option<bool>,
    /// A kubeconfig; its current context is used. Excludes `server`.
    pub kubeconfig: Option<PathBuf>,
    /// URL of the server, `https://HOST:PORT`; with `token_file`.
    pub server: Option<String>,
    /// Authorities of the server's certificate, PEM; with `server`. None: the service account's.
    pub ca_file: Option<PathBuf>,
    /// Bearer token, read again each minute; with `server`. None: the service account's.
    pub token_file: Option<PathBuf>,
    /// This node's name in the cluster; empty: the host name in lower case.
    pub node_name: String,
    /// What events call the cluster; the API does not know a name.
    pub cluster_name: String,
    /// A request other than a watch ends after so many seconds.
    pub request_timeout_s: u64,
    /// A watch is asked to end after so many seconds and is taken up again: a server that went silent is
    /// noticed by then.
    pub watch_s: u64,
    /// The longest wait between two tries, in seconds.
    pub retry_max_s: u64,
    /// More pods than this are not named.
    pub max_pods: usize,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            enabled: None,
            kubeconfig: None,
            server: None,
            ca_file: None,
            token_file: None,
            node_name: String::new(),
            cluster_name: String::new(),
            request_timeout_s: 10,
            watch_s: 240,
            retry_max_s: 60,
            // kubelet's default is 110; the largest that vendors set is about 500.
            max_pods: 1024,
        }
    }
}

/// A key that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key.
    pub key: &'static str,
    /// What is wrong, as a fragment behind the key.
    pub what: String,
    /// What to do.
    pub hint: &'static str,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}; {}", self.key, self.what, self.hint)
    }
}

/// A name or a label value that we put into requests or events is no longer.
const MAX_NAME_BYTES: usize = 253;
const NODE_NAME_HINT: &str = "write it as `kubectl get nodes` does: lower case letters, digits, '-' and '.'";

impl KubernetesConfig {
    /// All that is wrong. No file is looked at.
    pub fn validate(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut report = |key, what: String, hint| problems.push(ConfigProblem { key, what, hint });
        if self.kubeconfig.is_some() && self.server.is_some() {
            report("kubeconfig", "is given beside server".to_owned(), "remove one of the two");
        }
        for (key, file) in [("ca_file", &self.ca_file), ("token_file", &self.token_file)] {
            if file.is_some() && self.server.is_none() {
                let hint = "give server too, or use kubeconfig";
                report(key, "is given without server".to_owned(), hint);
            }
        }
        if let Some(Err(why)) = self.server.as_deref().map(parse_server) {
            report("server", why, "write https://HOST:PORT");
        }
        if !self.node_name.is_empty() && !is_node_name(&self.node_name) {
            report("node_name", format!("is {:?}", self.node_name), NODE_NAME_HINT);
        }
        if self.cluster_name.len() > MAX_NAME_BYTES {
            report("cluster_name", "is longer than 253 bytes".to_owned(), "choose a shorter one");
        }
        let numbers = [
            ("request_timeout_s", self.request_timeout_s, 1, 300),
            ("watch_s", self.watch_s, 5, 3_600),
            ("retry_max_s", self.retry_max_s, 1, 3_600),
            ("max_pods", self.max_pods as u64, 1, 100_000),
        ];
        for (key, value, least, most) in numbers {
            if !(least..=most).contains(&value) {
                report(key, format!("is {value}, not {least} to {most}"), "choose one in between");
            }
        }
        problems
    }

    /// The name to ask for.
    ///
    /// # Errors
    /// When it follows from the host name, and that is none.
    pub(super) fn node(&self) -> Result<String, ConfigProblem> {
        if !self.node_name.is_empty() {
            return Ok(self.node_name.clone());
        }
        // As kubelet does it (pkg/util/node, GetHostname).
        let name = rustix::system::uname().nodename().to_string_lossy().trim().to_lowercase();
        if is_node_name(&name) {
            return Ok(name);
        }
        let what = format!("is empty, and the host name {name:?} is no node name");
        Err(ConfigProblem { key: "node_name", what, hint: NODE_NAME_HINT })
    }

    /// The operator wants this source, and not only does not mind it.
    pub(super) const fn is_asked_for(&self) -> bool {
        matches!(self.enabled, Some(true)) || self.kubeconfig.is_some() || self.server.is_some()
    }

    pub(super) const fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_s)
    }
}

/// It becomes part of a selector and of a path.
fn is_node_name(name: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(is_name)
}

/// The URL of a server, without a slash at its end.
pub(super) fn parse_server(text: &str) -> Result<reqwest::Url, String> {
    let url = reqwest::Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    if url.scheme() != "https" {
        return Err(format!("has the scheme {:?}, and pods are only believed over TLS", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err("has a user or a query".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<&'static str> {
        let config: KubernetesConfig = toml::from_str(text).unwrap();
        config.validate().iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn the_documented_section_is_taken() {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            kubernetes: KubernetesConfig,
        }
        let document = include_str!("../../../../docs/kubernetes.md");
        let section = document.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
        let config = toml::from_str::<File>(section).unwrap().kubernetes;
        assert_eq!(config.validate(), []);
        assert_eq!((config.cluster_name.as_str(), config.is_asked_for()), ("prod-eu", true));
        let all = section.replace("# enabled", "enabled").replace("# kubeconfig", "kubeconfig");
        let problems = toml::from_str::<File>(&all).unwrap().kubernetes.validate();
        assert_eq!(problems.iter().map(|problem| problem.key).collect::<Vec<_>>(), ["kubeconfig"]);
    }

    #[test]
    fn what_is_wrong_is_told_by_key() {
        assert!(keys("").is_empty());
        assert!(keys("server = 'https://10.0.0.1:6443'\ntoken_file = '/t'\nnode_name = 'a-1.b'").is_empty());
        assert_eq!(keys("server = 'https://a'\nkubeconfig = '/k'"), ["kubeconfig"]);
        assert_eq!(keys("ca_file = '/c'\ntoken_file = '/t'"), ["ca_file", "token_file"]);
        for server in ["http://a", "a:6443", "https://u:p@a", "https://a?x=1", ""] {
            assert_eq!(keys(&format!("server = '{server}'")), ["server"], "{server}");
        }
        assert_eq!(keys("node_name = 'Node'"), ["node_name"]);
        assert_eq!(keys("node_name = 'a,metadata.name=b'"), ["node_name"]);
        let numbers = "request_timeout_s = 0\nwatch_s = 4\nretry_max_s = 0\nmax_pods = 0";
        assert_eq!(keys(numbers), ["request_timeout_s", "watch_s", "retry_max_s", "max_pods"]);
        assert!(toml::from_str::<KubernetesConfig>("insecure = true").is_err(), "unknown keys are refused");
    }
}
