//! A real server that goes away, forgets, or no longer knows us.

use crate::agent::Agent;
use crate::cluster::Cluster;
use crate::proxy::Proxy;
use hostward_host::kubernetes::KubernetesConfig;
use serde_json::json;

#[test]
fn a_server_that_is_killed_and_comes_back() {
    let Some(cluster) = Cluster::start("kubernetes::outage::a_server_that_is_killed") else { return };
    cluster.create_namespace();
    cluster.api("POST", "/api/v1/nodes", &json!({"metadata": {"name": "node-a"}}));
    cluster.create_pod("one", "node-a", &json!({}));
    cluster.create_pod("two", "node-a", &json!({}));
    cluster.start_container("one", "0011");
    let mut agent = Agent::start(&cluster.config());
    agent.wait("both", |agent| agent.pods.len() == 2 && agent.containers.len() == 1);
    agent.wait_ok();
    let told = agent.told;
    cluster.kill();
    agent.wait_degraded("no connection");
    assert_eq!((agent.told, agent.pods.len()), (told, 2), "nothing is taken back because nobody answers");
    let report = agent.report();
    assert_eq!((report.pods, report.containers), (2, 1));
    cluster.start_again();
    agent.wait_ok();
    assert_eq!(agent.told, told, "nothing is told twice");
    cluster.create_pod("three", "node-a", &json!({}));
    cluster.delete_pod("one");
    agent.wait("what changed since", |agent| agent.has("three") && !agent.has("one"));
    assert!(agent.has("two") && agent.containers.is_empty());
}

#[test]
fn a_version_that_the_server_forgot() {
    let Some(cluster) = Cluster::start("kubernetes::outage::a_version_that_the_server_forgot") else {
        return;
    };
    cluster.create_namespace();
    cluster.api("POST", "/api/v1/nodes", &json!({"metadata": {"name": "node-a"}}));
    cluster.create_pod("stays", "node-a", &json!({}));
    cluster.create_pod("goes", "node-a", &json!({}));
    let proxy = Proxy::start(cluster.port());
    let mut agent = Agent::start(&KubernetesConfig { server: Some(proxy.url()), ..cluster.config() });
    agent.wait("both", |agent| agent.pods.len() == 2);
    agent.wait_ok();
    proxy.cut();
    agent.wait_degraded("no connection");
    // The events of these are nowhere any more when the agent is back: neither in etcd nor in a cache.
    cluster.delete_pod("goes");
    cluster.create_pod("comes", "node-a", &json!({}));
    cluster.create_pod("comes-and-goes", "node-a", &json!({}));
    cluster.delete_pod("comes-and-goes");
    cluster.compact();
    cluster.kill();
    cluster.start_again();
    proxy.mend();
    agent.wait("what is so now", |agent| agent.has("comes") && !agent.has("goes"));
    agent.wait_ok();
    assert_eq!(agent.pods.len(), 2);
    assert_eq!(
        agent.told, 4,
        "listed again: a watch that went on would have told the one that came and went"
    );
}

#[test]
fn a_token_that_ends_and_its_successor() {
    let Some(cluster) = Cluster::start("kubernetes::outage::a_token_that_ends") else { return };
    cluster.create_namespace();
    cluster.api("POST", "/api/v1/nodes", &json!({"metadata": {"name": "node-a"}}));
    cluster.create_pod("one", "node-a", &json!({}));
    let token = cluster.path("short.token");
    // The server takes it for some seconds yet.
    std::fs::write(&token, cluster.token(-35)).unwrap();
    let config = KubernetesConfig { token_file: Some(token.clone()), watch_s: 5, ..cluster.config() };
    let mut agent = Agent::start(&config);
    agent.wait("the pod", |agent| agent.has("one"));
    agent.wait_degraded("it does not know who we are (401)");
    assert!(agent.has("one"));
    cluster.create_pod("two", "node-a", &json!({}));
    // As kubelet renews it: another file under the same name.
    std::fs::write(cluster.path("next.token"), cluster.token(600)).unwrap();
    std::fs::rename(cluster.path("next.token"), &token).unwrap();
    agent.wait("what came meanwhile", |agent| agent.has("two"));
    agent.wait_ok();
    assert!(agent.has("one"));
}
