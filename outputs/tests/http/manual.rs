//! The blocks that the manual shows can be used as they stand.

use crate::feed::config;
use std::collections::BTreeSet;

#[test]
fn every_block_of_the_manual_is_a_sink_without_a_problem() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/sinks.md");
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let kinds: BTreeSet<_> =
        blocks.filter(|block| block.contains("[[sink]]")).map(|block| config(block)[0].kind()).collect();
    for kind in ["elastic", "splunk_hec", "otlp", "webhook"] {
        assert!(kinds.contains(kind), "the manual shows no {kind}: {kinds:?}");
    }
}
