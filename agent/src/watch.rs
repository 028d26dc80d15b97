//! Whether rule and response files have changed since they were read.
//!
//! Files are looked at once per report; a change counts when two looks in a row see the same, so that an editor or a
//! deployment that writes many files is waited for.

use std::path::{Path, PathBuf};

/// Path, inode, size, and times of change: a file may be written to, or another renamed over it.
pub type Stamp = Vec<(PathBuf, [i64; 6])>;

/// What is known of the files.
#[derive(Debug)]
pub struct Watch {
    loaded: Stamp,
    last: Stamp,
}

impl Watch {
    /// Nothing has changed since `loaded` was taken, before the files were read.
    pub fn new(loaded: Stamp) -> Self {
        Self { last: loaded.clone(), loaded }
    }

    /// The files have been read again since `stamp` was taken.
    pub fn loaded(&mut self, stamp: Stamp) {
        self.loaded = stamp;
    }

    /// True when the files are others than those that were read, and have come to rest.
    pub fn settled(&mut self, now: Stamp) -> bool {
        let rests = now == self.last;
        self.last = now;
        rests && self.last != self.loaded
    }
}

/// What a look at one file sees; all zero: it cannot be looked at.
pub fn look(path: &Path) -> (PathBuf, [i64; 6]) {
    use std::os::unix::fs::MetadataExt;
    let seen = std::fs::metadata(path).map_or([0; 6], |meta| {
        let (ino, size) = (meta.ino().cast_signed(), meta.size().cast_signed());
        [ino, size, meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()]
    });
    (path.to_owned(), seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(size: i64) -> Stamp {
        vec![(PathBuf::from("a"), [1, size, 0, 0, 0, 0])]
    }

    #[test]
    fn a_change_counts_once_and_when_it_rests() {
        let mut watch = Watch::new(stamp(1));
        assert!(!watch.settled(stamp(1)));
        assert!(!watch.settled(stamp(2)), "still being written");
        assert!(!watch.settled(stamp(3)), "still being written");
        assert!(watch.settled(stamp(3)));
        watch.loaded(stamp(3));
        assert!(!watch.settled(stamp(3)));
        assert!(!watch.settled(stamp(1)));
        assert!(watch.settled(stamp(1)), "a change back is a change");
    }
}
