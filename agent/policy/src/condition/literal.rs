//! Literals of a condition as numbers, truth values, networks, bytes and regular expressions.

use super::cursor::Literal;
use super::network::Network;
use crate::problem::{Fault, shorten};
use regex::Regex;

/// Most bytes that one compiled regular expression may take.
const MAX_REGEX_BYTES: usize = 1 << 20;

pub(super) fn number(literal: &Literal) -> Result<i128, Fault> {
    let text = literal.text();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let value = match hex {
        // `from_str_radix` would take a second sign.
        Some(hex) if hex.starts_with(['+', '-']) => None,
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => decimal(digits),
    };
    value.map(|value| if negative { -value } else { value }).ok_or_else(|| {
        Fault::new(
            literal.at,
            format!("`{}` is no whole number", shorten(&text)),
            "write e.g. 443, -1, 0x1bb or 1e9; the fields are whole numbers",
        )
    })
}

/// `12`, `12.0`, `1.5e+3`: digits, fraction and exponent that make a whole number.
fn decimal(text: &str) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let places = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    match u32::try_from(places) {
        Ok(places) => digits.checked_mul(10_i128.checked_pow(places)?),
        Err(_) => {
            let scale = 10_i128.checked_pow(places.unsigned_abs())?;
            (digits % scale == 0).then_some(digits / scale)
        }
    }
}

pub(super) fn boolean(literal: &Literal) -> Result<bool, Fault> {
    match literal.bytes.to_ascii_lowercase().as_slice() {
        b"true" => Ok(true),
        b"false" => Ok(false),
        _ => Err(Fault::new(
            literal.at,
            format!("`{}` is neither true nor false", shorten(&literal.text())),
            "a boolean field compares with true or false",
        )),
    }
}

pub(super) fn network(literal: &Literal) -> Result<Network, Fault> {
    Network::parse(&literal.text()).ok_or_else(|| {
        Fault::new(
            literal.at,
            format!("`{}` is no address and no network", shorten(&literal.text())),
            "write e.g. 10.1.2.3, 10.0.0.0/8 or fe80::/10",
        )
    })
}

pub(super) fn hex(literal: &Literal) -> Result<Vec<u8>, Fault> {
    let digits: Option<Vec<u32>> = literal.text().chars().map(|c| c.to_digit(16)).collect();
    let bytes = digits.filter(|digits| digits.len() % 2 == 0).map(|digits| {
        let pairs = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit));
        pairs.map(|byte| u8::try_from(byte).unwrap_or_default()).collect()
    });
    bytes.ok_or_else(|| {
        let reason = format!("`{}` is no sequence of hex digit pairs", shorten(&literal.text()));
        Fault::new(literal.at, reason, "bcontains and bstartswith take bytes, e.g. CAFEBABE")
    })
}

pub(super) fn regex(literal: &Literal) -> Result<Regex, Fault> {
    let fault = |reason: String| {
        Fault::new(literal.at, reason, "the syntax is RE2's: no look-around, no back-reference")
    };
    let Ok(pattern) = std::str::from_utf8(&literal.bytes) else {
        return Err(fault("regular expression is not UTF-8".to_owned()));
    };
    let build = |pattern: &str| {
        regex::RegexBuilder::new(pattern).size_limit(MAX_REGEX_BYTES).dfa_size_limit(MAX_REGEX_BYTES).build()
    };
    // Alone first: `a)(b` would be valid between the parentheses that anchor it.
    let built = build(pattern).and_then(|_| build(&format!("^(?:{pattern})$")));
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => {
            fault(format!("regular expression takes more than {limit} bytes"))
        }
        error => {
            let text = error.to_string();
            let cause = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            fault(format!("invalid regular expression `{}`: {cause}", shorten(pattern)))
        }
    })
}
