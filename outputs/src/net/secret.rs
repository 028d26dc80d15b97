//! Passwords, tokens and keys: where they come from, and that they go nowhere.
//!
//! A secret is wiped when it is dropped and shows itself to nobody who does not call
//! [`Secret::expose`]. Its file is looked at before each use, so that a new password is used without a
//! restart; [`SecretReader::forget`] makes the next use read it again in any case (after a 401).

use crate::net::stamp::Stamp;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A secret is no longer than this; what is longer is some other file.
const MAX_BYTES: u64 = 64 << 10;

/// Bytes that must not be seen. Wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one place that puts them on the wire. Copies of them are the caller's to wipe.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::new(text.into_bytes()))
    }
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// It stands in the configuration.
    Inline(Secret),
    /// A file; one line end behind it is no part of it.
    File(PathBuf),
    /// A variable of the environment.
    Env(String),
    /// A credential of systemd: a file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

impl SecretSource {
    /// The one of the four keys of a secret that is set: `X`, `X_file`, `X_env`, `X_credential`.
    ///
    /// # Errors
    /// What is wrong, as a fragment behind the key's name: more than one is set, or a name is none.
    pub fn choose(
        inline: Option<&Secret>,
        file: Option<&Path>,
        env: Option<&str>,
        credential: Option<&str>,
    ) -> Result<Option<Self>, &'static str> {
        let mut sources = [
            inline.map(|secret| Self::Inline(secret.clone())),
            file.map(|path| Self::File(path.to_owned())),
            env.map(|name| Self::Env(name.to_owned())),
            credential.map(|name| Self::Credential(name.to_owned())),
        ]
        .into_iter()
        .flatten();
        let first = sources.next();
        if sources.next().is_some() {
            return Err("is given in more than one way");
        }
        match &first {
            Some(Self::Env(name)) if name.is_empty() || name.contains(['=', '\0']) => {
                Err("names no variable of the environment")
            }
            Some(Self::Credential(name)) if !is_file_name(name) => Err("names no credential"),
            _ => Ok(first),
        }
    }
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

/// A secret cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretFailure {
    /// The file cannot be opened or read.
    #[error("secret file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// There is a file, and it holds no secret.
    #[error("secret file {}: {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        what: &'static str,
    },
    /// The environment has no such variable, or an empty one.
    #[error("variable {name} of the environment is not set")]
    Env {
        /// The variable.
        name: String,
    },
    /// The agent was not started with credentials.
    #[error("credential {name}: CREDENTIALS_DIRECTORY is not set")]
    NoCredentials {
        /// The credential.
        name: String,
    },
}

impl SecretFailure {
    /// What to do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::File { .. } => "make it readable for the agent's user and for nobody else (mode 0600)",
            Self::Content { .. } => "write the secret and nothing else into it",
            Self::Env { .. } => "set it in the unit (Environment=, EnvironmentFile=), or use a file",
            Self::NoCredentials { .. } => "add LoadCredential= to the unit, or use a file",
        }
    }
}

/// Keeps a secret current.
#[derive(Debug)]
pub struct SecretReader {
    source: SecretSource,
    current: Option<Secret>,
    stamp: Option<Stamp>,
    told_mode: bool,
}

impl SecretReader {
    /// Nothing is read before it is needed.
    pub const fn new(source: SecretSource) -> Self {
        Self { source, current: None, stamp: None, told_mode: false }
    }

    /// The secret as it is now.
    ///
    /// # Errors
    /// When it cannot be read; an older one is not used instead, since somebody took it away.
    pub fn current(&mut self) -> Result<&Secret, SecretFailure> {
        let path = match &self.source {
            SecretSource::Inline(secret) => return Ok(self.current.insert(secret.clone())),
            SecretSource::Env(name) => return Ok(self.current.insert(from_env(name)?)),
            SecretSource::File(path) => path.clone(),
            SecretSource::Credential(name) => credential_path(name)?,
        };
        let stamp = Stamp::of(&path);
        let secret = match self.current.take().filter(|_| stamp == self.stamp) {
            Some(secret) => secret,
            None => self.load(&path)?,
        };
        self.stamp = stamp;
        Ok(self.current.insert(secret))
    }

    /// The next use reads it again, even if its file looks the same.
    pub fn forget(&mut self) {
        self.current = None;
    }

    fn load(&mut self, path: &Path) -> Result<Secret, SecretFailure> {
        let (secret, others_read) = read(path)?;
        if others_read && !self.told_mode {
            self.told_mode = true;
            tracing::warn!(path = %path.display(), "a secret's file can be read by others; chmod 0600");
        }
        Ok(secret)
    }
}

fn credential_path(name: &str) -> Result<PathBuf, SecretFailure> {
    match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(dir) => Ok(Path::new(&dir).join(name)),
        None => Err(SecretFailure::NoCredentials { name: name.to_owned() }),
    }
}

fn from_env(name: &str) -> Result<Secret, SecretFailure> {
    use std::os::unix::ffi::OsStringExt;
    match std::env::var_os(name).filter(|value| !value.is_empty()) {
        Some(value) => Ok(Secret::new(value.into_vec())),
        None => Err(SecretFailure::Env { name: name.to_owned() }),
    }
}

/// Reads a file into memory that is wiped; gives also whether users other than the owner's group can.
fn read(path: &Path) -> Result<(Secret, bool), SecretFailure> {
    use std::os::unix::fs::MetadataExt;
    let failure = |source: std::io::Error| SecretFailure::File { path: path.to_owned(), source };
    let content = |what| SecretFailure::Content { path: path.to_owned(), what };
    // Non-blocking: a FIFO in its place must not hold the sink for ever.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failure(errno.into()))?;
    let file = std::fs::File::from(fd);
    let facts = file.metadata().map_err(failure)?;
    if !facts.is_file() {
        return Err(content("it is no regular file"));
    }
    // All the room at once: a vector that grows leaves copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_BYTES).unwrap_or(0) + 1));
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failure)?;
    if bytes.len() > usize::try_from(MAX_BYTES).unwrap_or(usize::MAX) {
        return Err(content("it is too long (more than 64 KiB)"));
    }
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.is_empty() {
        return Err(content("it is empty"));
    }
    Ok((Secret::new(text.to_vec()), facts.mode() & 0o007 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let source = SecretSource::Inline(Secret::new(b"hunter2".to_vec()));
        let mut reader = SecretReader::new(source);
        assert_eq!(reader.current().unwrap().expose(), b"hunter2");
        assert!(!format!("{reader:?}").contains("hunter2"));
    }

    #[test]
    fn a_new_password_is_used_without_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let mut reader = SecretReader::new(SecretSource::File(path.clone()));
        assert!(matches!(reader.current(), Err(SecretFailure::File { .. })));
        std::fs::write(&path, "first\n").unwrap();
        assert_eq!(reader.current().unwrap().expose(), b"first");
        std::fs::write(dir.path().join("next"), "second\r\n").unwrap();
        std::fs::rename(dir.path().join("next"), &path).unwrap();
        assert_eq!(reader.current().unwrap().expose(), b"second");
        std::fs::remove_file(&path).unwrap();
        assert!(reader.current().is_err(), "a secret that was taken away is not used any more");
    }

    #[test]
    fn what_is_no_secret_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let read = |path: &Path| {
            SecretReader::new(SecretSource::File(path.to_owned())).current().unwrap_err().to_string()
        };
        let empty = dir.path().join("empty");
        std::fs::write(&empty, "\n").unwrap();
        assert!(read(&empty).ends_with("it is empty"));
        let long = dir.path().join("long");
        std::fs::write(&long, vec![b'x'; (64 << 10) + 1]).unwrap();
        assert!(read(&long).contains("too long"));
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(read(&fifo).ends_with("no regular file"), "and nobody waits for a writer");
        assert!(read(dir.path()).ends_with("no regular file"));
    }

    #[test]
    fn one_way_to_give_a_secret_and_not_two() {
        let secret = Secret::new(b"x".to_vec());
        let file = Some(Path::new("/p"));
        assert_eq!(SecretSource::choose(None, None, None, None), Ok(None));
        assert_eq!(SecretSource::choose(None, file, None, None), Ok(Some(SecretSource::File("/p".into()))));
        assert!(SecretSource::choose(Some(&secret), file, None, None).is_err());
        assert!(SecretSource::choose(None, None, None, Some("../shadow")).is_err());
        assert!(SecretSource::choose(None, None, Some("A=B"), None).is_err());
    }
}
