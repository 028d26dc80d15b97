//! The blocks that the manual gives to operators are sound.

use hostward_outputs::Config;
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
struct Sinks {
    sink: Vec<Config>,
}

/// The blocks of a Markdown text in this language.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let opening = format!("```{language}\n");
    text.split(opening.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn each_block_of_the_manual_is_a_configuration() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let mut kinds = Vec::new();
    for page in std::fs::read_dir(&docs).unwrap() {
        let path = page.unwrap().path();
        if !path.file_name().unwrap().to_str().unwrap().starts_with("sinks") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for block in blocks(&text, "toml").into_iter().filter(|block| block.contains("[[sink]]")) {
            let sinks: Sinks =
                toml::from_str(block).unwrap_or_else(|error| panic!("{}: {error}\n{block}", path.display()));
            assert_eq!(Config::validate(&sinks.sink), [], "{}:\n{block}", path.display());
            // Whoever copies a block must not end with a password in an open file.
            assert_eq!(Config::exposed_secrets(&sinks.sink, 0o100_644), [], "{}:\n{block}", path.display());
            kinds.extend(sinks.sink.iter().map(Config::kind));
        }
    }
    for kind in ["kafka", "syslog", "journald", "elastic", "splunk_hec", "otlp", "webhook"] {
        assert!(kinds.contains(&kind), "the manual has no block for {kind}: {kinds:?}");
    }
}
