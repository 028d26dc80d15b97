//! kubeconfig files: the current context's server and user.

use super::access::{Access, AccessFailure, Identity, Material};
use super::config::parse_server;
use super::files;
use base64::Engine;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

// Only what is used; a kubeconfig has more, and that is no error.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case")]
struct File {
    current_context: String,
    contexts: Vec<NamedContext>,
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    // These two are written in this way, and the others are not.
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    username: Option<String>,
    exec: Option<serde::de::IgnoredAny>,
    auth_provider: Option<serde::de::IgnoredAny>,
}

/// Reads a kubeconfig. Paths in it start at its own directory.
pub(super) fn read(path: &Path) -> Result<Access, AccessFailure> {
    let bytes = files::read(path).map_err(|source| AccessFailure::File { path: path.to_owned(), source })?;
    parse(&bytes, path)
}

fn parse(bytes: &[u8], path: &Path) -> Result<Access, AccessFailure> {
    let unfit = |what: String| AccessFailure::Kubeconfig { path: path.to_owned(), what };
    let text = str::from_utf8(bytes).map_err(|_| unfit("it is no UTF-8".to_owned()))?;
    // The parser's own words quote lines, and lines hold keys.
    let file: File =
        serde_saphyr::from_str(text).map_err(|_| unfit("it is not the YAML of a kubeconfig".to_owned()))?;
    let missing = |what: &str, name: &str| unfit(format!("it has no {what} {name:?}"));
    let current = &file.current_context;
    let context = file.contexts.into_iter().find(|context| context.name == *current);
    let context = context.ok_or_else(|| missing("context", current))?.context;
    let cluster = file.clusters.into_iter().find(|cluster| cluster.name == context.cluster);
    let cluster = cluster.ok_or_else(|| missing("cluster", &context.cluster))?.cluster;
    let user = file.users.into_iter().find(|user| user.name == context.user);
    let user = user.ok_or_else(|| missing("user", &context.user))?.user;

    let refused = [
        (cluster.insecure_skip_tls_verify, "insecure-skip-tls-verify"),
        (cluster.tls_server_name.is_some(), "tls-server-name"),
        (cluster.proxy_url.is_some(), "proxy-url"),
        (user.exec.is_some(), "exec"),
        (user.auth_provider.is_some(), "auth-provider"),
        (user.username.is_some(), "username"),
    ];
    if let Some((_, key)) = refused.into_iter().find(|(is_there, _)| *is_there) {
        return Err(unfit(format!(
            "it has {key}, which is not supported; give a certificate authority and a token or a client certificate"
        )));
    }

    let dir = path.parent().unwrap_or(Path::new("/"));
    let material = |key: &str, file: Option<PathBuf>, data: Option<String>| match (data, file) {
        (Some(data), _) => {
            let data = Zeroizing::new(data);
            let decoded = base64::engine::general_purpose::STANDARD.decode(data.trim().as_bytes());
            let decoded = decoded.map_err(|_| unfit(format!("{key}-data is no base64")))?;
            Ok(Some(Material::Inline(Zeroizing::new(decoded).into())))
        }
        (None, Some(file)) => Ok(Some(Material::File(dir.join(file)))),
        (None, None) => Ok(None),
    };
    let ca =
        material("certificate-authority", cluster.certificate_authority, cluster.certificate_authority_data)?;
    let ca = ca.ok_or_else(|| unfit("its cluster names no certificate-authority".to_owned()))?;
    let cert = material("client-certificate", user.client_certificate, user.client_certificate_data)?;
    let key = material("client-key", user.client_key, user.client_key_data)?;
    let identity = match (cert, key, user.token_file, user.token) {
        (Some(cert), Some(key), _, _) => Identity::Certificate { cert, key },
        (None, None, Some(file), _) => Identity::Token(Material::File(dir.join(file))),
        (None, None, None, Some(token)) => {
            Identity::Token(Material::Inline(Zeroizing::new(token.into_bytes()).into()))
        }
        (None, None, None, None) => {
            return Err(unfit("its user has neither a token nor a client certificate".to_owned()));
        }
        _ => return Err(unfit("its user has a client certificate or a key without the other".to_owned())),
    };
    let server = parse_server(&cluster.server).map_err(|what| unfit(format!("its server {what}")))?;
    Ok(Access { server, ca, identity })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(cluster: &str, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{{cluster}}}}}]\nusers:\n- name: u\n  user: \
             {{{user}}}\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\npreferences: {{}}\n"
        )
    }

    fn read(cluster: &str, user: &str) -> Result<Access, String> {
        parse(text(cluster, user).as_bytes(), Path::new("/etc/kubernetes/kubelet.conf"))
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_kubelets_own_is_read() {
        let cluster = "certificate-authority-data: Q0E=, server: 'https://10.0.0.1:6443'";
        let user = "client-certificate: /var/lib/kubelet/pki/current.pem, client-key: pki/current.pem";
        let access = read(cluster, user).unwrap();
        assert_eq!(access.server.as_str(), "https://10.0.0.1:6443/");
        assert_eq!(access.ca, Material::Inline(Zeroizing::new(b"CA".to_vec()).into()));
        let Identity::Certificate { cert, key } = access.identity else { panic!("no certificate") };
        assert_eq!(cert, Material::File("/var/lib/kubelet/pki/current.pem".into()));
        assert_eq!(
            key,
            Material::File("/etc/kubernetes/pki/current.pem".into()),
            "relative to its own directory"
        );
        let access = read("certificate-authority: ca.crt, server: 'https://a'", "tokenFile: /t").unwrap();
        assert_eq!(access.identity, Identity::Token(Material::File("/t".into())));
    }

    #[test]
    fn what_cannot_be_used_is_told_and_no_secret_with_it() {
        let good = "certificate-authority: ca.crt, server: 'https://a'";
        let table: &[(&str, &str, &str)] = &[
            ("certificate-authority: ca.crt, server: 'http://a'", "token: hunter2", "scheme"),
            ("server: 'https://a'", "token: hunter2", "names no certificate-authority"),
            (
                &format!("{good}, insecure-skip-tls-verify: true"),
                "token: hunter2",
                "insecure-skip-tls-verify",
            ),
            (&format!("{good}, tls-server-name: b"), "token: hunter2", "tls-server-name"),
            (&format!("{good}, proxy-url: 'http://p'"), "token: hunter2", "proxy-url"),
            (good, "exec: {command: aws}, token: hunter2", "exec"),
            (good, "auth-provider: {name: gcp}", "auth-provider"),
            (good, "username: a, password: hunter2", "username"),
            (good, "client-certificate: c", "without the other"),
            (good, "client-certificate-data: '%%', client-key-data: hunter2", "no base64"),
            (good, "", "neither a token"),
            (good, "token: [hunter2", "not the YAML"),
        ];
        for (cluster, user, told) in table {
            let failure = read(cluster, user).unwrap_err();
            assert!(failure.contains(told) && !failure.contains("hunter2"), "{failure}");
        }
        let no_context = parse(b"current-context: y", Path::new("/k")).unwrap_err().to_string();
        assert!(no_context.contains("no context \"y\""), "{no_context}");
    }

    proptest! {
        #[test]
        fn any_file_is_read(bytes: Vec<u8>, text in "[-{}:a-z\\[\\], \n&*!|>'\"%]{0,200}") {
            let _ = parse(&bytes, Path::new("/k"));
            let _ = parse(text.as_bytes(), Path::new("/k"));
        }
    }
}
