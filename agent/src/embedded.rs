//! The shipped rules inside the binary: an agent without any file is useful.

use hostward_policy::RuleFile;

/// Name and text of each file of `etc/rules.d`, in order.
const RULES: [(&str, &[u8]); 13] = [
    ("00-shared.yaml", include_bytes!("../../etc/rules.d/00-shared.yaml")),
    ("10-credentials.yaml", include_bytes!("../../etc/rules.d/10-credentials.yaml")),
    ("20-execution.yaml", include_bytes!("../../etc/rules.d/20-execution.yaml")),
    ("30-miners.yaml", include_bytes!("../../etc/rules.d/30-miners.yaml")),
    ("40-files.yaml", include_bytes!("../../etc/rules.d/40-files.yaml")),
    ("50-containers.yaml", include_bytes!("../../etc/rules.d/50-containers.yaml")),
    ("60-escape.yaml", include_bytes!("../../etc/rules.d/60-escape.yaml")),
    ("61-injection.yaml", include_bytes!("../../etc/rules.d/61-injection.yaml")),
    ("62-evasion.yaml", include_bytes!("../../etc/rules.d/62-evasion.yaml")),
    ("63-kernel.yaml", include_bytes!("../../etc/rules.d/63-kernel.yaml")),
    ("64-tokens.yaml", include_bytes!("../../etc/rules.d/64-tokens.yaml")),
    ("65-persistence.yaml", include_bytes!("../../etc/rules.d/65-persistence.yaml")),
    ("66-movement.yaml", include_bytes!("../../etc/rules.d/66-movement.yaml")),
];

/// The shipped rules.
pub fn rules() -> Vec<RuleFile> {
    RULES
        .iter()
        .map(|(name, text)| RuleFile { name: format!("embedded:{name}"), text: text.to_vec() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_shipped_file_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/rules.d");
        let mut on_disk: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        on_disk.sort();
        let embedded: Vec<&str> = RULES.iter().map(|(name, _)| *name).collect();
        assert_eq!(on_disk, embedded);
    }

    #[test]
    fn the_embedded_rules_load() {
        let loaded = hostward_policy::load(&rules());
        assert_eq!(loaded.problems, [], "{:?}", loaded.problems);
        assert!(loaded.rules.len() >= 10);
    }
}
