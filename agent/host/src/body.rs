//! Answers of servers that nobody vouches for: read with a bound, shown without harm.

use hostward_event::Text;
use reqwest::Response;

/// A server's own words are shown so far.
const MAX_SHOWN_CHARS: usize = 200;

/// Why an answer cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyFault {
    #[error("no connection: {0}")]
    Network(String),
    #[error("an answer is longer than {} MiB", .0 >> 20)]
    TooLarge(usize),
}

/// Foreign text, short and without anything that drives a terminal.
pub(crate) fn shown(text: &str) -> String {
    let end = text.char_indices().nth(MAX_SHOWN_CHARS).map_or(text.len(), |(at, _)| at);
    Text::from(text.get(..end).unwrap_or_default()).to_string()
}

/// reqwest's own text names the URL and not the reason, which is its innermost source.
pub(crate) fn reason(error: &reqwest::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    shown(&reason.to_string())
}

async fn chunk(response: &mut Response) -> Result<Option<bytes::Bytes>, BodyFault> {
    response.chunk().await.map_err(|error| BodyFault::Network(reason(&error)))
}

/// The whole answer, of at most `max_bytes`.
pub(crate) async fn whole(mut response: Response, max_bytes: usize) -> Result<Vec<u8>, BodyFault> {
    let mut body = Vec::new();
    while let Some(chunk) = chunk(&mut response).await? {
        if body.len() + chunk.len() > max_bytes {
            return Err(BodyFault::TooLarge(max_bytes));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Lines of an answer that goes on.
#[derive(Debug)]
pub(crate) struct Lines {
    response: Response,
    max_bytes: usize,
    buffer: Vec<u8>,
    searched: usize,
}

impl Lines {
    /// No line may be longer than `max_bytes`.
    pub(crate) const fn new(response: Response, max_bytes: usize) -> Self {
        Self { response, max_bytes, buffer: Vec::new(), searched: 0 }
    }

    /// The next line; none: the answer ended, and what stood behind the last line end was none. May be dropped
    /// and called again: nothing is lost.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, BodyFault> {
        loop {
            let fresh = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = fresh.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(self.searched + at + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > self.max_bytes {
                return Err(BodyFault::TooLarge(self.max_bytes));
            }
            match chunk(&mut self.response).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
