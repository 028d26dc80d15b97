//! What a real server tells.

use crate::agent::{Agent, owners};
use crate::cluster::Cluster;
use hostward_event::Text;
use hostward_host::kubernetes::KubernetesConfig;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

fn controlled_by(api_version: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!([{"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": true}])
}

/// Creates an owner of this kind and gives its uid.
fn create_owner(cluster: &Cluster, path: &str, name: &str, spec: &Value, owned_by: Option<Value>) -> String {
    let mut metadata = json!({"name": name, "labels": {"app": "x"}});
    if let Some(owner) = owned_by {
        metadata["ownerReferences"] = owner;
    }
    let object = cluster.api("POST", path, &json!({"metadata": metadata, "spec": spec}));
    object["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// What controllers would make of a Deployment, a CronJob, a StatefulSet and a DaemonSet.
fn create_owned_pods(cluster: &Cluster) {
    let template = json!({
        "metadata": {"labels": {"app": "x"}},
        "spec": {"restartPolicy": "Always", "containers": [{"name": "app", "image": "x"}]},
    });
    let mut once = template.clone();
    once["spec"]["restartPolicy"] = "Never".into();
    let set = json!({"selector": {"matchLabels": {"app": "x"}}, "template": template});
    let (apps, batch) = ("/apis/apps/v1/namespaces/shop", "/apis/batch/v1/namespaces/shop");

    let uid = create_owner(cluster, &format!("{apps}/deployments"), "web", &set, None);
    let owner = controlled_by("apps/v1", "Deployment", "web", &uid);
    let uid = create_owner(cluster, &format!("{apps}/replicasets"), "web-7d4b9c", &set, Some(owner));
    let owner = controlled_by("apps/v1", "ReplicaSet", "web-7d4b9c", &uid);
    let labels = json!({"app": "x", "pod-template-hash": "7d4b9c"});
    let more = json!({"ownerReferences": owner, "labels": labels, "annotations": {"team": "blue"}});
    cluster.create_pod("web-7d4b9c-abcde", "node-a", &more);

    let cron = json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": once}}});
    let uid = create_owner(cluster, &format!("{batch}/cronjobs"), "backup", &cron, None);
    let owner = controlled_by("batch/v1", "CronJob", "backup", &uid);
    let job = json!({"template": once});
    let uid = create_owner(cluster, &format!("{batch}/jobs"), "backup-29384640", &job, Some(owner));
    let owner = controlled_by("batch/v1", "Job", "backup-29384640", &uid);
    cluster.create_pod("backup-29384640-xyz", "node-a", &json!({"ownerReferences": owner}));

    let stateful =
        json!({"serviceName": "db", "selector": {"matchLabels": {"app": "x"}}, "template": template});
    let uid = create_owner(cluster, &format!("{apps}/statefulsets"), "db", &stateful, None);
    let owner = controlled_by("apps/v1", "StatefulSet", "db", &uid);
    cluster.create_pod("db-0", "node-a", &json!({"ownerReferences": owner}));

    let uid = create_owner(cluster, &format!("{apps}/daemonsets"), "log", &set, None);
    let owner = controlled_by("apps/v1", "DaemonSet", "log", &uid);
    cluster.create_pod("log-q", "node-a", &json!({"ownerReferences": owner}));
    cluster.create_pod("bare", "node-a", &json!({}));
    cluster.create_pod("elsewhere", "node-b", &json!({}));
}

fn all_owners(agent: &Agent) -> BTreeMap<String, Vec<String>> {
    agent.pods.values().map(|pod| (pod.name.to_string(), owners(pod))).collect()
}

#[test]
fn pods_of_this_node_are_told_with_all_that_belongs_to_them() {
    let Some(cluster) = Cluster::start("kubernetes::real::pods_of_this_node") else { return };
    cluster.create_namespace();
    cluster.api("POST", "/api/v1/nodes", &json!({"metadata": {"name": "node-a"}}));
    create_owned_pods(&cluster);
    let mut agent = Agent::start(&cluster.config());
    agent.wait("all of the list", |agent| agent.pods.len() == 5);
    agent.wait_ok();

    // The account may read neither ReplicaSets nor Jobs.
    let report = agent.report();
    assert!(report.why.ends_with("node node-a; may not get replicasets, jobs"), "{}", report.why);
    assert!(report.why.starts_with("Kubernetes v1."), "{}", report.why);
    let list = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut expected = BTreeMap::from([
        ("web-7d4b9c-abcde".to_owned(), list(&["ReplicaSet/web-7d4b9c*", "Deployment/web"])),
        ("backup-29384640-xyz".to_owned(), list(&["Job/backup-29384640*", "CronJob/backup"])),
        ("db-0".to_owned(), list(&["StatefulSet/db*"])),
        ("log-q".to_owned(), list(&["DaemonSet/log*"])),
        ("bare".to_owned(), list(&[])),
    ]);
    assert_eq!(all_owners(&agent), expected);

    let map = |key: &str, value: &str| BTreeMap::from([(Text::from(key), Text::from(value))]);
    let web = agent.pod("web-7d4b9c-abcde").unwrap();
    assert_eq!((&web.namespace, &web.node), (&"shop".into(), &"node-a".into()));
    assert_eq!((&web.service_account, &web.annotations), (&"seller".into(), &map("team", "blue")));
    assert_eq!(web.labels.get("pod-template-hash".as_bytes()), Some(&"7d4b9c".into()));
    assert_eq!(web.namespace_labels.get("stage".as_bytes()), Some(&"live".into()));
    let system = cluster.api("GET", "/api/v1/namespaces/kube-system", &json!({}));
    assert_eq!(web.cluster_id, system["metadata"]["uid"].as_str().unwrap().into());
    assert_eq!(web.cluster_name, "test".into());

    // Then what changes.
    let uid = cluster.create_pod("late", "node-a", &json!({}));
    agent.wait("a new pod", |agent| agent.has("late"));
    assert_eq!(agent.pod("late").unwrap().uid, uid.as_str().into());
    cluster.start_container("late", "00112233");
    agent.wait("its container", |agent| agent.containers.len() == 1);
    let container = agent.containers.get("00112233".as_bytes()).unwrap();
    assert_eq!((&container.runtime, &container.name), (&"containerd".into(), &"app".into()));
    assert_eq!(container.image.reference, "registry.example/app:1.2".into());
    assert_eq!(container.image.digests, ["sha256:abcd".into()]);
    assert_eq!((container.started_ns, &container.pod_uid), (1_735_787_045_000_000_000, &uid.as_str().into()));
    cluster.start_container("late", "44556677");
    agent.wait("another in its place", |agent| agent.containers.keys().eq([&"44556677".into()]));
    let label = json!({"metadata": {"labels": {"owner": "red"}}});
    cluster.api("PATCH", "/api/v1/namespaces/shop/pods/late", &label);
    agent.wait("a label", |agent| agent.pod("late").is_some_and(|pod| !pod.labels.is_empty()));
    let told = agent.told;
    let ready = json!({"status": {"message": "nothing that is kept"}});
    cluster.api("PATCH", "/api/v1/namespaces/shop/pods/late/status", &ready);
    cluster.delete_pod("late");
    agent.wait("its end", |agent| !agent.has("late") && agent.containers.is_empty());
    assert_eq!(agent.told, told + 2, "the pod's end and the container's, and not what nobody keeps");
    let report = agent.report();
    assert_eq!((report.pods, report.containers), (5, 0));
    assert!(!agent.has("elsewhere"));

    // The account that the documentation makes may read owners, and is told their uids.
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kubernetes.md");
    let document = std::fs::read_to_string(document).unwrap();
    let manifest = document.split_once("```yaml\n").unwrap().1.split_once("```").unwrap().0;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let accounts = "/api/v1/namespaces/kube-system/serviceaccounts";
    let paths = [accounts.to_owned(), format!("{rbac}/clusterroles"), format!("{rbac}/clusterrolebindings")];
    assert_eq!(manifest.split("---\n").count(), paths.len());
    for (object, path) in manifest.split("---\n").zip(&paths) {
        cluster.create_yaml(path, object);
    }
    let request = json!({"spec": {"expirationSeconds": 600}});
    let token = cluster.api("POST", &format!("{accounts}/hostward/token"), &request);
    let token_file = cluster.path("hostward.token");
    std::fs::write(&token_file, token["status"]["token"].as_str().unwrap()).unwrap();
    let config = KubernetesConfig { token_file: Some(token_file), ..cluster.config() };
    expected.insert("web-7d4b9c-abcde".to_owned(), list(&["ReplicaSet/web-7d4b9c*", "Deployment/web*"]));
    expected.insert("backup-29384640-xyz".to_owned(), list(&["Job/backup-29384640*", "CronJob/backup*"]));
    // The server's own view of its roles follows a little later.
    let agent = start_until(&config, |agent| !agent.report().why.contains("may not"));
    assert_eq!(all_owners(&agent), expected);
}

fn start_until(config: &KubernetesConfig, is_so: impl Fn(&Agent) -> bool) -> Agent {
    for _ in 0..30 {
        let mut agent = Agent::start(config);
        agent.wait("all of the list", |agent| agent.pods.len() == 5);
        agent.wait_ok();
        if is_so(&agent) {
            return agent;
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    panic!("the server did not take the new role");
}

#[test]
fn a_kubelets_identity_and_a_node_that_is_not_there() {
    let Some(cluster) = Cluster::start("kubernetes::real::a_kubelets_identity") else { return };
    cluster.create_namespace();
    cluster.api("POST", "/api/v1/nodes", &json!({"metadata": {"name": "node-a"}}));
    cluster.create_pod("web", "node-a", &json!({"labels": {"app": "web"}}));
    let kubeconfig = cluster.path("kubelet.conf");
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster: {{server: '{}', certificate-authority: ca.crt}}\n\
         users:\n- name: u\n  user:\n    client-certificate: node.crt\n    client-key: node.key\ncontexts:\n- name: x\n  \
         context: {{cluster: c, user: u}}\ncurrent-context: x\n",
        cluster.url()
    );
    std::fs::write(&kubeconfig, text).unwrap();
    let config = KubernetesConfig {
        kubeconfig: Some(kubeconfig),
        node_name: "node-a".to_owned(),
        retry_max_s: 1,
        ..KubernetesConfig::default()
    };
    let mut agent = Agent::start(&config);
    agent.wait("the pod", |agent| agent.has("web"));
    agent.wait_ok();
    let why = agent.report().why;
    assert!(why.contains("may not get namespaces"), "{why}");
    assert_eq!(agent.pod("web").unwrap().cluster_id, Text::EMPTY);

    // A kubelet may not ask for the pods of others, and there is no such node.
    let mut agent = Agent::start(&KubernetesConfig { node_name: "node-z".to_owned(), ..config });
    agent.wait_degraded("forbidden (403)");
    let mut agent = Agent::start(&KubernetesConfig { node_name: "node-z".to_owned(), ..cluster.config() });
    agent.wait_degraded("the cluster has no node \"node-z\"");
    assert!(agent.pods.is_empty());
}
