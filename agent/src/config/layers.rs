//! `hostward.toml`, then `conf.d/*.toml` beside it, then the environment (`HOSTWARD__AGENT__LOG_LEVEL`).

use super::{Config, Problem, check};
use config::{Environment, File, FileFormat};
use std::path::{Path, PathBuf};

/// The configuration and the files it came from; none: the embedded default.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The whole.
    pub config: Config,
    /// The files read, in order.
    pub files: Vec<PathBuf>,
}

/// Reads `file` and what lies over it.
///
/// # Errors
/// Every problem of every file at once.
pub fn load(file: Option<&Path>) -> Result<Loaded, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut files = Vec::new();
    let mut layers = config::Config::builder();
    for path in file.map(paths).unwrap_or_default() {
        match check::read(&path) {
            Ok((text, mode)) => {
                problems.extend(check::problems(&path, &text, mode));
                layers = layers.add_source(File::from_str(&text, FileFormat::Toml));
                files.push(path);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let environment =
        Environment::with_prefix("HOSTWARD").prefix_separator("__").separator("__").try_parsing(true);
    let whole = layers.add_source(environment).build().and_then(config::Config::try_deserialize::<Config>);
    match whole {
        Ok(mut config) => {
            config.rebase(file.and_then(Path::parent).unwrap_or(Path::new(".")));
            Ok(Loaded { config, files })
        }
        // Each file is sound by itself: what is left is a variable, or a key that two layers give different shapes.
        Err(error) => Err(vec![Problem {
            source: "environment HOSTWARD__* over the files".into(),
            line: 0,
            column: 0,
            reason: error.to_string(),
        }]),
    }
}

/// The file and the layers in `conf.d` beside it, by name.
fn paths(file: &Path) -> Vec<PathBuf> {
    let mut paths = vec![file.to_owned()];
    let folder = file.parent().unwrap_or(Path::new(".")).join("conf.d");
    let mut more: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    more.sort();
    paths.append(&mut more);
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_layers_win() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hostward.toml");
        std::fs::write(&file, "[agent]\nrecent_events = 5\nstop_grace_ms = 7\n[rules]\nfiles = [\"r\"]\n")
            .unwrap();
        std::fs::create_dir(dir.path().join("conf.d")).unwrap();
        std::fs::write(dir.path().join("conf.d/10.toml"), "[agent]\nrecent_events = 6\n").unwrap();
        let loaded = load(Some(&file)).unwrap();
        assert_eq!((loaded.config.agent.recent_events, loaded.config.agent.stop_grace_ms), (6, 7));
        assert_eq!(loaded.config.rules.files, [dir.path().join("r")]);
        assert_eq!(loaded.files.len(), 2);
    }

    #[test]
    fn problems_of_all_layers_come_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hostward.toml");
        std::fs::write(&file, "x = 1\n").unwrap();
        std::fs::create_dir(dir.path().join("conf.d")).unwrap();
        std::fs::write(dir.path().join("conf.d/10.toml"), b"[agent]\n# \xff\n").unwrap();
        let problems = load(Some(&file)).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert_eq!((problems[1].line, problems[1].column), (2, 3));
    }

    #[test]
    fn a_secret_is_refused_in_a_file_that_others_can_read() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hostward.toml");
        let text =
            "[[sink]]\ntype = \"kafka\"\nbrokers = [\"h\"]\nusername = \"u\"\npassword = \"hunter2\"\n";
        std::fs::write(&file, text).unwrap();
        let load_as = |mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            load(Some(&file)).map(|loaded| loaded.files.len())
        };
        assert_eq!(load_as(0o600), Ok(1));
        let told = load_as(0o640).unwrap_err();
        let [problem] = &told[..] else { panic!("{told:?}") };
        assert!(problem.reason.contains("password is a secret in a file that others can read"), "{problem}");
        assert!(problem.reason.contains("chmod 0600") && !problem.reason.contains("hunter2"), "{problem}");
    }

    #[test]
    fn a_missing_file_is_told() {
        assert!(load(Some(Path::new("/nonexistent.toml"))).unwrap_err()[0].reason.contains("No such file"));
    }
}
