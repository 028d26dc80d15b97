//! `X-Hostward-Signature: t=SECONDS,v1=HEX`: who holds the secret sent this body at that time.
//!
//! HEX is HMAC-SHA-256 over the decimal SECONDS, a full stop, and the body before compression. The time
//! is signed along, so that a request which somebody recorded cannot be played back for long.

use crate::net::secret::Secret;
use ring::hmac;
use std::fmt::Write as _;

/// The header's value; several secrets make several `v1=`, of which one has to match.
pub fn header(secrets: &[&Secret], now_s: u64, body: &[u8]) -> String {
    let mut value = format!("t={now_s}");
    for secret in secrets {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
        let mut context = hmac::Context::with_key(&key);
        context.update(now_s.to_string().as_bytes());
        context.update(b".");
        context.update(body);
        // Writing to a String cannot fail.
        let _ = write!(value, ",v1={}", hex(context.sign().as_ref()));
    }
    value
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anybody_can_verify_it() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret
        let secret = Secret::new(b"secret".to_vec());
        assert_eq!(
            header(&[&secret], 1_700_000_000, br#"{"a":1}"#),
            "t=1700000000,v1=49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686"
        );
        let other = Secret::new(b"other".to_vec());
        let both = header(&[&secret, &other], 1, b"");
        assert_eq!(both.matches(",v1=").count(), 2);
    }
}
