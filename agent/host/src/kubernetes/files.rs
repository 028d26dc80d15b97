//! Files of credentials, read with a bound.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use zeroize::Zeroizing;

/// No token, certificate, key or kubeconfig is larger.
const MAX_BYTES: u64 = 1 << 20;

/// The content, in memory that is wiped.
pub(super) fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() || facts.len() > MAX_BYTES {
        let what = "it is no regular file of at most 1 MiB";
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    // All the room at once: a vector that grows leaves copies behind that nobody wipes.
    let room = usize::try_from(facts.len()).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Root's own file, which nobody else may write. Only such a file is used without being named by the operator.
pub(super) fn is_of_root(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let facts = open(path).and_then(|file| file.metadata());
    facts.is_ok_and(|facts| facts.is_file() && facts.uid() == 0 && facts.mode() & 0o022 == 0)
}

/// Non-blocking: a FIFO in its place must not hold us for ever.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_a_regular_file_of_some_size_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(&**read(&path).unwrap(), b"abc");
        std::fs::write(&path, vec![b'x'; (1 << 20) + 1]).unwrap();
        assert!(read(&path).is_err() && read(dir.path()).is_err());
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(read(&fifo).is_err(), "and nobody waits for a writer");
    }

    #[test]
    fn a_file_that_others_may_write_is_nobodys_credential() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubelet.conf");
        std::fs::write(&path, "x").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o600);
        assert_eq!(is_of_root(&path), rustix::process::geteuid().is_root());
        mode(0o620);
        assert!(!is_of_root(&path));
    }
}
