//! The rules that come with the agent.

mod containers;
mod credentials;
mod escape;
mod evasion;
mod execution;
mod files;
mod injection;
mod movement;

use crate::row::Row;
use crate::table;
use anyhow::Result;
use hostward_tests::{Part, Setup, lacks};

/// Rules that are shipped disabled.
const CONFIG: &str = "[[rules.select]]\nenable = {rule = \"*\"}\n";

/// Every row.
pub(crate) fn rows() -> Vec<Row> {
    [
        credentials::ROWS,
        execution::ROWS,
        files::ROWS,
        containers::ROWS,
        escape::ROWS,
        injection::ROWS,
        evasion::ROWS,
        movement::ROWS,
    ]
    .concat()
}

#[test]
fn every_shipped_rule_tells_its_attack_and_spares_its_twin() -> Result<()> {
    let name = "every_shipped_rule_tells_its_attack_and_spares_its_twin";
    if lacks(Part::Kernel, name) || lacks(Part::Mount, name) {
        return Ok(());
    }
    table::check(name, &rows(), |config| Setup::new()?.config(&format!("{config}{CONFIG}")))
}
