//! A real kube-apiserver with etcd, started by the script that is published beside the repository. Tests play
//! the controllers and the kubelet.

use hostward_host::kubernetes::KubernetesConfig;
use hostward_tests::need::skip;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PART: &str = "kubernetes";

pub(crate) struct Cluster {
    scripts: PathBuf,
    cache: PathBuf,
    data: tempfile::TempDir,
}

impl Cluster {
    /// None: this machine cannot, and the skip was told by name. The first start in a clone builds the server,
    /// which takes minutes.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().parent().unwrap();
        let scripts = root.join("../shared/services");
        let cache = root.join("target/services").join(PART);
        std::fs::create_dir_all(&cache).unwrap();
        if !scripts.join("kube.sh").is_file() {
            skip(PART, test, &format!("{} is not there", scripts.join("kube.sh").display()));
            return None;
        }
        let built = Command::new(scripts.join("kube-build.sh")).arg(&cache).output().unwrap();
        run(test, "kube-build.sh", &built)?;
        let data = tempfile::Builder::new().prefix("hostward-kubernetes").tempdir().unwrap();
        let cluster = Self { scripts, cache, data };
        let mut started = cluster.launch();
        if started.status.code() == Some(1) {
            // Another server may have taken a port between its choice and its use: others are tried once.
            cluster.verb("kill");
            let _ = std::fs::remove_file(cluster.path("port"));
            started = cluster.launch();
        }
        run(test, "kube.sh start", &started)?;
        Some(cluster)
    }

    fn launch(&self) -> std::process::Output {
        let mut command = Command::new(self.scripts.join("kube.sh"));
        command.arg("start").arg(&self.cache).arg(self.data.path());
        command.env("OWNER", std::process::id().to_string()).output().unwrap()
    }

    fn verb(&self, verb: &str) {
        let output = Command::new(self.scripts.join("kube.sh")).arg(verb).arg(self.data.path()).output();
        assert!(output.unwrap().status.success(), "{verb}");
    }

    pub(crate) fn kill(&self) {
        self.verb("kill");
    }

    pub(crate) fn start_again(&self) {
        let output = self.launch();
        assert!(output.status.success(), "it ran before: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A file of the server's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    pub(crate) fn url(&self) -> String {
        std::fs::read_to_string(self.path("url")).unwrap().trim().to_owned()
    }

    pub(crate) fn port(&self) -> u16 {
        self.url().rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// The source as the agent's own account.
    pub(crate) fn config(&self) -> KubernetesConfig {
        KubernetesConfig {
            server: Some(self.url()),
            ca_file: Some(self.path("ca.crt")),
            token_file: Some(self.path("agent.token")),
            node_name: "node-a".to_owned(),
            cluster_name: "test".to_owned(),
            retry_max_s: 2,
            ..KubernetesConfig::default()
        }
    }

    /// A token of the agent's service account that ends in so many seconds.
    pub(crate) fn token(&self, seconds: i32) -> String {
        let mut command = Command::new(self.scripts.join("kube.sh"));
        let output = command.arg("token").arg(self.data.path()).arg(seconds.to_string()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// As the administrator.
    pub(crate) fn api(&self, method: &str, path: &str, body: &Value) -> Value {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        self.ask(method, path, kind, &body.to_string())
    }

    /// Creates what a manifest says.
    pub(crate) fn create_yaml(&self, path: &str, manifest: &str) {
        self.ask("POST", path, "application/yaml", manifest);
    }

    fn ask(&self, method: &str, path: &str, kind: &str, body: &str) -> Value {
        let mut command = Command::new("curl");
        // By HTTP/2 a server that answers a GET before it has read the body resets the stream, which curl takes for a failure.
        command.args(["-sS", "--http1.1", "-X", method, "-w", "\n%{http_code}", "--data-binary", "@-", "-H"]);
        command.arg(format!("Content-Type: {kind}"));
        for (option, file) in [("--cacert", "ca.crt"), ("--cert", "admin.crt"), ("--key", "admin.key")] {
            command.arg(option).arg(self.path(file));
        }
        command.args(["-H", "Accept: application/json"]);
        let answer = fed(command.arg(format!("{}{path}", self.url())), body);
        let (answer, code) = answer.rsplit_once('\n').unwrap();
        assert!(code.starts_with('2'), "{method} {path}: {code} {answer}");
        serde_json::from_str(answer).unwrap()
    }

    /// What etcd knew before now is forgotten.
    pub(crate) fn compact(&self) {
        let etcd = format!("http://127.0.0.1:{}/v3/kv", self.port() + 1);
        let post = |path: &str, body: &Value| -> Value {
            let mut command = Command::new("curl");
            let command = command.args(["-sS", "--fail-with-body", "-d", "@-"]).arg(format!("{etcd}/{path}"));
            serde_json::from_str(&fed(command, &body.to_string())).unwrap()
        };
        let now = post("range", &json!({"key": "Lw==", "keys_only": true}));
        post("compaction", &json!({"revision": now["header"]["revision"], "physical": true}));
    }

    /// A pod as the scheduler left it, with more of `metadata`; gives its uid.
    pub(crate) fn create_pod(&self, name: &str, node: &str, metadata: &Value) -> String {
        let mut metadata = metadata.clone();
        metadata["name"] = name.into();
        let pod = json!({"metadata": metadata, "spec": {
            "nodeName": node, "serviceAccountName": "seller",
            "containers": [{"name": "app", "image": "registry.example/app:1.2"}],
        }});
        let pod = self.api("POST", "/api/v1/namespaces/shop/pods", &pod);
        pod["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    /// As kubelet says that the container runs.
    pub(crate) fn start_container(&self, pod: &str, id: &str) {
        let status = json!({"status": {"phase": "Running", "containerStatuses": [{
            "name": "app", "image": "registry.example/app:1.2", "ready": true, "restartCount": 0,
            "imageID": "registry.example/app@sha256:abcd", "containerID": format!("containerd://{id}"),
            "state": {"running": {"startedAt": "2025-01-02T03:04:05Z"}},
        }]}});
        self.api("PATCH", &format!("/api/v1/namespaces/shop/pods/{pod}/status"), &status);
    }

    pub(crate) fn delete_pod(&self, name: &str) {
        let at_once = json!({"gracePeriodSeconds": 0});
        self.api("DELETE", &format!("/api/v1/namespaces/shop/pods/{name}"), &at_once);
    }

    /// The namespace that the pods are in.
    pub(crate) fn create_namespace(&self) {
        let namespace = json!({"metadata": {"name": "shop", "labels": {"stage": "live"}}});
        self.api("POST", "/api/v1/namespaces", &namespace);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = Command::new(self.scripts.join("kube.sh")).arg("kill").arg(self.data.path()).output();
    }
}

fn fed(command: &mut Command, body: &str) -> String {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// None: the machine lacks something.
fn run(test: &str, what: &str, output: &std::process::Output) -> Option<()> {
    let told = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => Some(()),
        Some(77) => {
            skip(PART, test, told.trim());
            None
        }
        code => panic!("{what} failed ({code:?}): {told}"),
    }
}
