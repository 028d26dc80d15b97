//! `setup elastic` against a fake: what is sent where, for servers that cannot do all of it.

use crate::engine::block;
use crate::feed::config;
use crate::support::http::{Answer, Fake};
use hostward_outputs::config::{Config, ElasticConfig};
use hostward_outputs::elastic::setup as run;
use hostward_outputs::elastic::setup::{SetupOptions, SetupResult};

fn elastic(fake: &Fake) -> ElasticConfig {
    match config(&block(fake, "namespace = \"prod\"")).remove(0) {
        Config::Elastic(config) => *config,
        other => panic!("{other:?}"),
    }
}

fn short(result: &SetupResult) -> &'static str {
    match result {
        SetupResult::Installed => "installed",
        SetupResult::Kept => "kept",
        SetupResult::Skipped(_) => "skipped",
        SetupResult::Planned(_) => "planned",
    }
}

#[tokio::test]
async fn elasticsearch_gets_a_lifecycle_that_its_template_names() {
    let fake = Fake::start(|request, _| {
        let answer = match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/_ilm/policy/hostward") => {
                Answer::new(404, r#"{"error":{"type":"resource_not_found_exception"}}"#)
            }
            ("PUT", path) if path.starts_with("/_data_stream/logs-hostward.file") => {
                Answer::new(400, r#"{"error":{"type":"resource_already_exists_exception"}}"#)
            }
            _ => Answer::new(200, "{}"),
        };
        answer.header("X-elastic-product", "Elasticsearch")
    });
    let steps = run::setup(&elastic(&fake), &SetupOptions { replicas: Some(0), ..SetupOptions::default() })
        .await
        .unwrap();
    let told: Vec<_> = steps.iter().map(|step| (step.what.as_str(), short(&step.result))).collect();
    assert_eq!(
        told,
        [
            ("PUT /_ilm/policy/hostward", "installed"),
            ("PUT /_component_template/hostward-mappings", "installed"),
            ("PUT /_component_template/hostward-settings", "installed"),
            ("PUT /_index_template/hostward", "installed"),
            ("PUT /_data_stream/logs-hostward.process-prod", "installed"),
            ("PUT /_data_stream/logs-hostward.file-prod", "kept"),
            ("PUT /_data_stream/logs-hostward.network-prod", "installed"),
            ("PUT /_data_stream/logs-hostward.alert-prod", "installed"),
            ("PUT /_data_stream/logs-hostward.agent-prod", "installed"),
        ]
    );
    let requests = fake.requests();
    let sent = |path: &str| {
        requests.iter().find(|request| request.method == "PUT" && request.path == path).unwrap().json()
    };
    let settings = &sent("/_component_template/hostward-settings")["template"]["settings"];
    assert_eq!(settings["index.lifecycle.name"], "hostward");
    assert_eq!(settings["index.number_of_replicas"], 0);
    let policy = &sent("/_ilm/policy/hostward")["policy"]["phases"];
    assert_eq!(policy["delete"]["min_age"], "90d");
}

#[tokio::test]
async fn opensearch_keeps_a_policy_that_somebody_changed() {
    let fake = Fake::start(|_, _| Answer::new(200, "{}"));
    let steps = run::setup(&elastic(&fake), &SetupOptions::default()).await.unwrap();
    assert_eq!(steps[0].what, "PUT /_plugins/_ism/policies/hostward");
    assert_eq!(short(&steps[0].result), "kept");
    assert!(!fake.requests().iter().any(|request| request.method == "PUT" && request.path.contains("_ism")));
    let settings =
        fake.requests().into_iter().find(|request| request.path.ends_with("hostward-settings")).unwrap();
    assert!(!settings.text().contains("lifecycle"), "ISM finds its indices by the policy's own template");
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_a_refusal_tells_what_was_done() {
    let fake = Fake::start(|_, _| Answer::new(404, r#"{"error":{"type":"resource_not_found_exception"}}"#));
    let failure = run::setup(&elastic(&fake), &SetupOptions::default()).await.unwrap_err();
    assert_eq!(failure.what, "GET /_cluster/health");

    let fake = Fake::start(|request, _| match request.path.as_str() {
        "/_plugins/_ism/policies/hostward" => Answer::new(400, "no handler found for uri"),
        "/_index_template/hostward" => Answer::new(403, "not for you"),
        _ => Answer::new(200, "{}"),
    });
    let dry = SetupOptions { dry_run: true, ..SetupOptions::default() };
    let steps = run::setup(&elastic(&fake), &dry).await.unwrap();
    assert!(fake.requests().iter().all(|request| request.method == "GET"));
    assert!(
        steps
            .iter()
            .any(|step| step.to_string().contains("would send") && step.to_string().contains("date_nanos"))
    );

    let failure = run::setup(&elastic(&fake), &SetupOptions::default()).await.unwrap_err();
    assert_eq!(failure.what, "PUT /_index_template/hostward");
    assert!(failure.why.contains("not for you"));
    let done: Vec<_> = failure.done.iter().map(|step| short(&step.result)).collect();
    assert_eq!(done, ["skipped", "installed", "installed"]);
}
