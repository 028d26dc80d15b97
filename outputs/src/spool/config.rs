//! `[spool]`: what waits on disk, for how long, how safely.

use crate::Lane;
use crate::config::WhenFull;
use serde::Deserialize;
use std::path::PathBuf;

/// When a record counts as durable. `docs/specs/spool.md` §4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// After an fdatasync that begins at once.
    Sync,
    /// After the write; an fdatasync follows within `sync_ms`.
    Batch,
    /// After the write; the kernel decides when it is on the disk.
    Os,
    /// Never: a ring in memory is all there is.
    Memory,
}

/// `[spool]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpoolConfig {
    /// False: sinks have a queue in memory only.
    pub enabled: bool,
    /// Directory; a relative path is below the state directory. Default `spool`.
    pub dir: PathBuf,
    /// Telemetry is not written to a filesystem with less room than this, bytes. Default: the
    /// greater of 1 GiB and 5 % of the filesystem.
    pub min_free_bytes: Option<u64>,
    /// Records wait this long for company before they are written, ms. Default 4.
    pub group_ms: u64,
    /// After an outage of more than a minute telemetry waits a random time up to this before the
    /// backlog is sent, so that a fleet does not come back at once, ms. Default 10000.
    pub replay_jitter_ms: u64,
    /// Telemetry of such a backlog is sent at most at this rate; 0: no limit. Default 20000.
    pub replay_events_per_s: u64,
    /// The lane of alerts, and of what the agent says of itself.
    #[serde(deserialize_with = "alert_lane")]
    pub alert: LaneConfig,
    /// Everything else.
    pub telemetry: LaneConfig,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            dir: PathBuf::from("spool"),
            min_free_bytes: None,
            group_ms: 4,
            replay_jitter_ms: 10_000,
            replay_events_per_s: 20_000,
            alert: LaneConfig::alert(),
            telemetry: LaneConfig::default(),
        }
    }
}

/// `[spool.alert]`, `[spool.telemetry]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LaneConfig {
    /// When a record counts as durable. Default `sync` for alerts, `batch` for telemetry.
    pub durability: Durability,
    /// How long a written record may stay unsynced under `batch`, ms. Default 100.
    pub sync_ms: u64,
    /// Disk used at most, bytes. Default: the lesser of 2 GiB and 10 % of the filesystem.
    pub max_bytes: Option<u64>,
    /// What is older is given up, s. Default 30 days for alerts, 7 days for telemetry.
    pub max_age_s: u64,
    /// Records (their length before compression) that wait for one sink at most, bytes; 0: as many as the lane holds. Default 0.
    pub sink_max_bytes: u64,
    /// Size of a segment, bytes. Default 4 MiB for alerts, 16 MiB for telemetry.
    pub segment_bytes: u64,
    /// Buffer between the pipeline and the writer, bytes. Default 2 MiB for alerts, 8 MiB for telemetry.
    pub intake_bytes: usize,
    /// Compressed blocks that are held in memory while the disk takes none, bytes. Default 4 MiB.
    pub ring_bytes: usize,
    /// What goes when there is no room. Default `drop_oldest`.
    pub when_full: WhenFull,
}

const DAY_S: u64 = 86_400;

impl Default for LaneConfig {
    fn default() -> Self {
        Self {
            durability: Durability::Batch,
            sync_ms: 100,
            max_bytes: None,
            max_age_s: 7 * DAY_S,
            sink_max_bytes: 0,
            segment_bytes: 16 << 20,
            intake_bytes: 8 << 20,
            ring_bytes: 4 << 20,
            when_full: WhenFull::DropOldest,
        }
    }
}

impl LaneConfig {
    /// The defaults of the alert lane.
    pub fn alert() -> Self {
        Self {
            durability: Durability::Sync,
            max_age_s: 30 * DAY_S,
            segment_bytes: 4 << 20,
            intake_bytes: 2 << 20,
            ..Self::default()
        }
    }
}

/// Keys of one lane that were given; the lane's own defaults fill the rest.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Given {
    durability: Option<Durability>,
    sync_ms: Option<u64>,
    max_bytes: Option<u64>,
    max_age_s: Option<u64>,
    sink_max_bytes: Option<u64>,
    segment_bytes: Option<u64>,
    intake_bytes: Option<usize>,
    ring_bytes: Option<usize>,
    when_full: Option<WhenFull>,
}

fn alert_lane<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<LaneConfig, D::Error> {
    let given = Given::deserialize(deserializer)?;
    let lane = LaneConfig::alert();
    Ok(LaneConfig {
        durability: given.durability.unwrap_or(lane.durability),
        sync_ms: given.sync_ms.unwrap_or(lane.sync_ms),
        max_bytes: given.max_bytes.or(lane.max_bytes),
        max_age_s: given.max_age_s.unwrap_or(lane.max_age_s),
        sink_max_bytes: given.sink_max_bytes.unwrap_or(lane.sink_max_bytes),
        segment_bytes: given.segment_bytes.unwrap_or(lane.segment_bytes),
        intake_bytes: given.intake_bytes.unwrap_or(lane.intake_bytes),
        ring_bytes: given.ring_bytes.unwrap_or(lane.ring_bytes),
        when_full: given.when_full.unwrap_or(lane.when_full),
    })
}

/// One thing that is wrong with `[spool]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spool: {key} {what}")]
pub struct SpoolProblem {
    /// The key.
    pub key: String,
    /// The value and what is wrong with it.
    pub what: String,
    hint: &'static str,
}

impl SpoolProblem {
    /// What to do.
    pub const fn hint(&self) -> &'static str {
        self.hint
    }
}

impl SpoolConfig {
    /// The lane's part.
    pub const fn lane(&self, lane: Lane) -> &LaneConfig {
        match lane {
            Lane::Alert => &self.alert,
            Lane::Telemetry => &self.telemetry,
        }
    }

    /// Puts a relative directory below the state directory.
    #[must_use]
    pub fn resolved(mut self, state_dir: &std::path::Path) -> Self {
        self.dir = state_dir.join(&self.dir);
        self
    }

    /// Everything that is wrong with it. Nothing on the disk is looked at.
    pub fn validate(&self) -> Vec<SpoolProblem> {
        let mut problems = Vec::new();
        let mut check = |fine: bool, key: String, value: u64, hint| {
            if !fine {
                problems.push(SpoolProblem { key, what: format!("is {value}"), hint });
            }
        };
        check((1..=10).contains(&self.group_ms), "group_ms".to_owned(), self.group_ms, "use 1 to 10");
        let jitter = self.replay_jitter_ms;
        check(jitter <= 600_000, "replay_jitter_ms".to_owned(), jitter, "use 0 to 600000");
        for lane in [Lane::Alert, Lane::Telemetry] {
            let config = self.lane(lane);
            let key = |key: &str| format!("{}.{key}", lane.name());
            let size = |bytes| u64::try_from(bytes).unwrap_or(u64::MAX);
            let segment = config.segment_bytes;
            check(
                (65_536..=16 << 20).contains(&segment),
                key("segment_bytes"),
                segment,
                "use 65536 (64 KiB) to 16777216 (16 MiB)",
            );
            if let Some(max) = config.max_bytes {
                let fine = max >= segment.saturating_mul(2);
                check(fine, key("max_bytes"), max, "use at least two segments (2 * segment_bytes)");
            }
            check(config.max_age_s >= 60, key("max_age_s"), config.max_age_s, "use at least 60");
            check((10..=60_000).contains(&config.sync_ms), key("sync_ms"), config.sync_ms, "use 10 to 60000");
            let intake = size(config.intake_bytes);
            check(
                (1 << 20..=1 << 30).contains(&intake),
                key("intake_bytes"),
                intake,
                "use 1048576 (1 MiB) to 1073741824 (1 GiB)",
            );
            let ring = size(config.ring_bytes);
            check(
                (1 << 18..=1 << 30).contains(&ring),
                key("ring_bytes"),
                ring,
                "use 262144 (256 KiB) to 1073741824 (1 GiB)",
            );
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lane_keeps_its_own_defaults_beside_the_keys_that_are_given() {
        let config: SpoolConfig =
            toml::from_str("[alert]\nmax_age_s = 60\n[telemetry]\nmax_bytes = 67108864\n").unwrap();
        assert_eq!(config.alert, LaneConfig { max_age_s: 60, ..LaneConfig::alert() });
        assert_eq!(config.telemetry, LaneConfig { max_bytes: Some(64 << 20), ..LaneConfig::default() });
        assert_eq!(config.validate(), []);
        assert_eq!(toml::from_str::<SpoolConfig>("").unwrap(), SpoolConfig::default());
        let unknown = toml::from_str::<SpoolConfig>("[alert]\nmax_byte = 1\n").unwrap_err().to_string();
        assert!(unknown.contains("`max_byte`") && unknown.contains("`max_bytes`"), "{unknown}");
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let text = "group_ms = 50\n[alert]\nsegment_bytes = 1\n[telemetry]\nmax_bytes = 1\nsync_ms = 1\n";
        let config: SpoolConfig = toml::from_str(text).unwrap();
        let told: Vec<_> = config.validate().into_iter().map(|problem| problem.key).collect();
        assert_eq!(told, ["group_ms", "alert.segment_bytes", "telemetry.max_bytes", "telemetry.sync_ms"]);
    }
}
