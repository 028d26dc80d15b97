//! Capture files: everything that entered the pipeline, in order.
//!
//! # Format, version 1
//! One zstd stream of JSON lines. The first is `{"hostward_capture":1,"version":"0.1.0"}`, the last
//! `{"end":COUNT}`; each between is `{"input":…,"clock":[…]}`: an input and what the pipeline's
//! clock said while it was handled. Texts that are no UTF-8 are written as NUL and hex (see
//! [`hostward_event::Text`]). New optional keys may be added within a version.
//!
//! # What can go wrong
//! A file without its last line was cut: replay prints what is whole and then says so.

use hostward_event::fact::Input;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const FORMAT: u32 = 1;
/// zstd frames begin with these bytes (RFC 8878, section 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// No line of ours is longer; a longer one is not ours, and must not fill the memory.
const LINE_BYTES: u64 = 1 << 20;

/// Inputs after which what was written can be read even if the agent is killed.
const FLUSH_EVERY: u64 = 256;

#[derive(Serialize, Deserialize)]
struct Header {
    hostward_capture: u32,
    version: String,
}

#[derive(Serialize)]
struct StepOut<'a> {
    input: &'a Input,
    clock: &'a [u64],
}

/// One line of a capture.
#[derive(Deserialize)]
struct Line {
    input: Option<Input>,
    #[serde(default)]
    clock: Vec<u64>,
    end: Option<u64>,
}

/// Writes a capture.
pub struct Writer {
    path: PathBuf,
    out: zstd::Encoder<'static, BufWriter<File>>,
    count: u64,
}

impl Writer {
    /// Creates `path`, mode 0600: a capture holds unmasked arguments.
    ///
    /// # Errors
    /// The file cannot be made, e.g. since it exists as a link or the directory is missing.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)?;
        let mut out = zstd::Encoder::new(BufWriter::new(file), 3)?;
        let header = Header { hostward_capture: FORMAT, version: env!("CARGO_PKG_VERSION").to_owned() };
        serde_json::to_writer(&mut out, &header)?;
        out.write_all(b"\n")?;
        out.flush()?;
        Ok(Self { path: path.to_owned(), out, count: 0 })
    }

    /// Appends one input and the clock reads of its handling.
    ///
    /// # Errors
    /// The write failed; the capture is of no use then.
    pub fn write(&mut self, input: &Input, clock: &[u64]) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, &StepOut { input, clock })?;
        self.count += 1;
        self.out.write_all(b"\n")?;
        if self.count.is_multiple_of(FLUSH_EVERY) {
            self.out.flush()?;
        }
        Ok(())
    }

    /// Writes the last line and syncs.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn finish(mut self) -> io::Result<(PathBuf, u64)> {
        writeln!(self.out, "{{\"end\":{}}}", self.count)?;
        let file = self.out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok((self.path, self.count))
    }
}

/// Why a capture cannot be read (on).
#[derive(Debug, PartialEq, Eq)]
pub enum CaptureError {
    /// The file cannot be read.
    Io(String),
    /// It is something else.
    Foreign(String),
    /// It is of a newer format.
    Newer(u32),
    /// It ends before its last line.
    Cut(u64),
    /// A line is damaged.
    Damaged(u64, String),
}

impl std::fmt::Display for CaptureError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(why) => write!(f, "cannot read: {why}"),
            Self::Foreign(why) => write!(f, "this is no hostward capture: {why}"),
            Self::Newer(format) => write!(
                f,
                "the capture has format {format}, this version reads up to {FORMAT}; use a newer hostward"
            ),
            Self::Cut(count) => {
                write!(f, "the capture is cut after input {count}; what was whole was replayed")
            }
            Self::Damaged(count, why) => {
                write!(f, "the capture is damaged after input {count}: {why}; what was whole was replayed")
            }
        }
    }
}

/// Reads a capture.
pub struct Reader {
    lines: BufReader<zstd::Decoder<'static, BufReader<File>>>,
    count: u64,
}

impl Reader {
    /// Opens a capture and reads its head.
    ///
    /// # Errors
    /// [`CaptureError::Io`], [`CaptureError::Foreign`] or [`CaptureError::Newer`].
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let io = |error: io::Error| CaptureError::Io(error.to_string());
        let mut file = BufReader::new(File::open(path).map_err(io)?);
        let start = file.fill_buf().map_err(io)?;
        if !start.starts_with(&ZSTD_MAGIC) {
            return Err(CaptureError::Foreign("it does not begin as a zstd stream".into()));
        }
        let lines = BufReader::new(zstd::Decoder::with_buffer(file).map_err(io)?);
        let mut reader = Self { lines, count: 0 };
        let line = reader.line().map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => CaptureError::Cut(0),
            _ => CaptureError::Foreign(error.to_string()),
        })?;
        let header: Header = serde_json::from_slice(&line)
            .map_err(|_| CaptureError::Foreign("its first line is no capture header".into()))?;
        if header.hostward_capture > FORMAT {
            return Err(CaptureError::Newer(header.hostward_capture));
        }
        Ok(reader)
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.lines.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line)?;
        if line.len() as u64 == LINE_BYTES {
            return Err(io::Error::other(format!("a line is longer than {LINE_BYTES} bytes")));
        }
        Ok(line)
    }

    /// The next input with its clock reads; none at the end.
    ///
    /// # Errors
    /// [`CaptureError::Cut`] or [`CaptureError::Damaged`].
    pub fn next(&mut self) -> Result<Option<(Input, Vec<u64>)>, CaptureError> {
        let line = match self.line() {
            Ok(line) => line,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(CaptureError::Cut(self.count));
            }
            Err(error) => return Err(CaptureError::Damaged(self.count, error.to_string())),
        };
        if !line.ends_with(b"\n") {
            return Err(CaptureError::Cut(self.count));
        }
        let line: Line = serde_json::from_slice(&line)
            .map_err(|error| CaptureError::Damaged(self.count, error.to_string()))?;
        match (line.input, line.end) {
            (Some(input), _) => {
                self.count += 1;
                Ok(Some((input, line.clock)))
            }
            (None, Some(count)) if count == self.count => Ok(None),
            (None, end) => {
                let told =
                    end.map_or_else(|| "neither an input nor an end".into(), |n| format!("it tells of {n}"));
                Err(CaptureError::Damaged(self.count, told))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(dir: &Path) -> PathBuf {
        let path = dir.join("c");
        let mut writer = Writer::create(&path).unwrap();
        for n in 0..2000 {
            writer.write(&Input::Tick(n), &[n, n + 1]).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    fn read(path: &Path) -> (u64, Option<CaptureError>) {
        let mut reader = match Reader::open(path) {
            Ok(reader) => reader,
            Err(error) => return (0, Some(error)),
        };
        loop {
            match reader.next() {
                Ok(Some((input, clock))) => assert_eq!(input, Input::Tick(*clock.first().unwrap())),
                Ok(None) => return (reader.count, None),
                Err(error) => return (reader.count, Some(error)),
            }
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&written(dir.path())), (2000, None));
    }

    #[test]
    fn a_cut_capture_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path());
        let bytes = std::fs::read(&path).unwrap();
        for cut in [bytes.len() - 1, bytes.len() / 2, 20, 5] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let (_, error) = read(&path);
            assert!(error.is_some(), "cut at {cut}");
        }
    }

    #[test]
    fn a_foreign_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"{\"a\":1}\n").unwrap();
        assert!(matches!(read(&path).1, Some(CaptureError::Foreign(_))));
        std::fs::write(&path, zstd::encode_all(&b"hello\n"[..], 1).unwrap()).unwrap();
        assert!(matches!(read(&path).1, Some(CaptureError::Foreign(_))));
        std::fs::write(
            &path,
            zstd::encode_all(&b"{\"hostward_capture\":9,\"version\":\"9\"}\n"[..], 1).unwrap(),
        )
        .unwrap();
        assert_eq!(read(&path).1, Some(CaptureError::Newer(9)));
        assert!(matches!(read(Path::new("/nonexistent")).1, Some(CaptureError::Io(_))));
    }
}
