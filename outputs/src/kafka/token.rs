//! Bearer tokens for SASL OAUTHBEARER (RFC 7628).
//!
//! Somebody else gets and renews the token and writes it where the configuration says. The library asks
//! for it before it ends, at four fifths of its life, and the file is read again then.

use crate::net::secret::{SecretReader, SecretSource};
use base64::Engine;
use rdkafka::client::OAuthToken;
use serde::Deserialize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A token that does not say when it ends is asked for again after this.
const UNKNOWN_LIFE: Duration = Duration::from_secs(300);

/// Claims of a JSON web token (RFC 7519).
#[derive(Debug, Default, Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: Option<f64>,
}

/// A token cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenFailure {
    /// It cannot be read.
    #[error("{failure}; {}", failure.hint())]
    Secret {
        /// Why.
        #[from]
        failure: crate::net::secret::SecretFailure,
    },
    /// It holds what no token has.
    #[error("the token has bytes that no token has; write the token and nothing else into its file")]
    Shape,
    /// Its time is over.
    #[error("the token ended {ago_s} s ago; renew it")]
    Ended {
        /// How long ago, seconds.
        ago_s: u64,
    },
}

/// See the module.
#[derive(Debug)]
pub(super) struct TokenSource {
    reader: Mutex<SecretReader>,
    principal: String,
}

impl TokenSource {
    /// `principal` is the user's name as far as the token says none.
    pub(super) fn new(source: SecretSource, principal: String) -> Self {
        Self { reader: Mutex::new(SecretReader::new(source)), principal }
    }

    /// The token as it is now.
    pub(super) fn current(&self) -> Result<OAuthToken, TokenFailure> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let secret = reader.current()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        token(secret.expose(), &self.principal, now)
    }
}

fn token(bytes: &[u8], principal: &str, now: Duration) -> Result<OAuthToken, TokenFailure> {
    // RFC 6750 §2.1.
    let shaped = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    let text = std::str::from_utf8(bytes).ok().filter(|_| bytes.iter().all(shaped));
    let text = text.ok_or(TokenFailure::Shape)?;
    let claims = claims(text).unwrap_or_default();
    // A float of seconds in this century keeps its milliseconds.
    let ends = match claims.exp.map(|exp| Duration::try_from_secs_f64(exp.max(0.0))) {
        Some(Ok(ends)) => ends,
        Some(Err(_)) | None => now + UNKNOWN_LIFE,
    };
    if ends <= now {
        return Err(TokenFailure::Ended { ago_s: (now - ends).as_secs() });
    }
    Ok(OAuthToken {
        token: text.to_owned(),
        principal_name: claims.sub.filter(|sub| !sub.contains('\0')).unwrap_or_else(|| principal.to_owned()),
        lifetime_ms: i64::try_from(ends.as_millis()).unwrap_or(i64::MAX),
    })
}

/// None: it is no JSON web token, which is fine, too.
fn claims(token: &str) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    fn jwt(claims: &str) -> String {
        let coded = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", coded(r#"{"alg":"RS256"}"#), coded(claims))
    }

    #[test]
    fn a_token_says_who_and_until_when() {
        let read = token(jwt(r#"{"sub":"shipper","exp":1060,"iss":"x"}"#).as_bytes(), "u", NOW).unwrap();
        assert_eq!((read.principal_name.as_str(), read.lifetime_ms), ("shipper", 1_060_000));
        let opaque = token(b"b64token~+/==", "u", NOW).unwrap();
        assert_eq!((opaque.principal_name.as_str(), opaque.lifetime_ms), ("u", 1_300_000));
    }

    #[test]
    fn a_token_that_ended_or_is_none_is_told_without_being_shown() {
        let ended = token(jwt(r#"{"exp":400}"#).as_bytes(), "u", NOW).err().unwrap().to_string();
        assert_eq!(ended, "the token ended 600 s ago; renew it");
        for bad in [&b"two words"[..], b"a\nb", b"\xff"] {
            assert!(matches!(token(bad, "u", NOW), Err(TokenFailure::Shape)));
        }
    }
}
