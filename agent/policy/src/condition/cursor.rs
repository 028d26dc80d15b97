//! Reads words, numbers, quoted and bare strings of a condition.

use crate::problem::{Fault, shorten};

/// A string as the condition writes it, with its escapes undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    /// Its bytes; `\xff` may make them something else than UTF-8.
    pub(crate) bytes: Vec<u8>,
    /// Byte offset in the condition.
    pub(crate) at: usize,
}

impl Literal {
    /// The literal as text for numbers, addresses and messages.
    pub(crate) fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
}

/// Where the parser stands.
pub(crate) struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

/// Characters that end a bare string.
const fn ends_bare(c: char) -> bool {
    matches!(c, '(' | ')' | '"' | '\'' | '=' | ',')
}

impl<'t> Cursor<'t> {
    pub(crate) const fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    pub(crate) const fn go_to(&mut self, at: usize) {
        self.at = at;
    }

    pub(crate) fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Skips blanks; true when there were some.
    pub(crate) fn blanks(&mut self) -> bool {
        let rest = self.rest();
        let skipped = rest.len() - rest.trim_start().len();
        self.at += skipped;
        skipped > 0
    }

    /// Takes `token` if it comes next.
    pub(crate) fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Takes a word that must be followed by a blank, a parenthesis, a quote or the end, so that
    /// `not` does not eat the start of `nothing`.
    pub(crate) fn word(&mut self, word: &str) -> bool {
        let Some(behind) = self.rest().strip_prefix(word) else { return false };
        let ends =
            behind.chars().next().is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ')' | '"' | '\''));
        if ends {
            self.at += word.len();
        }
        ends
    }

    /// A run of characters for which `inside` holds.
    pub(crate) fn run(&mut self, inside: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let len = rest.find(|c| !inside(c)).unwrap_or(rest.len());
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    /// A field or macro name: `proc.name`, `shell_procs`, `@timestamp`. Empty when none stands here.
    pub(crate) fn name(&mut self) -> &'t str {
        match self.peek() {
            Some(c) if c.is_ascii_alphabetic() || c == '@' => {}
            _ => return "",
        }
        let start = self.at;
        self.take("@");
        self.run(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// What stands in brackets behind a field, if a bracket is open here.
    pub(crate) fn bracket(&mut self) -> Result<Option<String>, Fault> {
        let at = self.at;
        if !self.take("[") {
            return Ok(None);
        }
        let inside = match self.peek() {
            Some('"' | '\'') => self.quoted()?.text().into_owned(),
            _ => self.run(|c| !c.is_whitespace() && !matches!(c, '[' | ']' | '"' | '\'')).to_owned(),
        };
        if !self.take("]") {
            return Err(Fault::new(at, "bracket is not closed", "write `field[argument]` without blanks"));
        }
        Ok(Some(inside))
    }

    /// A quoted or bare string.
    pub(crate) fn string(&mut self) -> Result<Literal, Fault> {
        if matches!(self.peek(), Some('"' | '\'')) {
            return self.quoted();
        }
        let at = self.at;
        let bare = self.run(|c| !c.is_whitespace() && !ends_bare(c));
        if bare.is_empty() {
            return Err(Fault::new(
                at,
                format!("expected a value, found {}", self.found()),
                "quote a value that is empty or has blanks, parentheses, commas or `=`",
            ));
        }
        Ok(Literal { bytes: bare.as_bytes().to_vec(), at })
    }

    fn quoted(&mut self) -> Result<Literal, Fault> {
        let at = self.at;
        let mut bytes = Vec::new();
        let mut chars = self.rest().char_indices();
        let quote = chars.next().map_or('"', |(_, c)| c);
        while let Some((offset, c)) = chars.next() {
            if c == quote {
                self.at = at + offset + c.len_utf8();
                return Ok(Literal { bytes, at });
            }
            if c != '\\' {
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            match chars.next().map(|(_, c)| c) {
                Some('b') => bytes.push(8),
                Some('f') => bytes.push(12),
                Some('n') => bytes.push(b'\n'),
                Some('r') => bytes.push(b'\r'),
                Some('t') => bytes.push(b'\t'),
                // The legacy spelling of a backslash before a blank loses the blank's own meaning.
                Some('\\' | ' ') => bytes.push(b'\\'),
                Some('/') => bytes.push(b'/'),
                Some('"') => bytes.push(b'"'),
                Some('\'') => bytes.push(b'\''),
                Some('x') => {
                    let digits = (chars.next(), chars.next());
                    let digit = |c: Option<(usize, char)>| c.and_then(|(_, c)| c.to_digit(16));
                    match (digit(digits.0), digit(digits.1)) {
                        (Some(high), Some(low)) => {
                            bytes.push(u8::try_from(high * 16 + low).unwrap_or_default())
                        }
                        _ => {
                            return Err(Fault::new(
                                at + offset,
                                "`\\x` is not followed by two hex digits",
                                "write e.g. `\\xff`",
                            ));
                        }
                    }
                }
                Some(other) => {
                    return Err(Fault::new(
                        at + offset,
                        format!("unknown escape `\\{other}`"),
                        "write `\\\\` for a backslash; known are \\b \\f \\n \\r \\t \\\\ \\/ \\xHH and the quotes",
                    ));
                }
                None => break,
            }
        }
        Err(Fault::new(at, "quote is not closed", format!("add the closing {quote}")))
    }

    /// What stands here, for "found …" in messages.
    pub(crate) fn found(&self) -> String {
        match self.rest().split_whitespace().next() {
            Some(word) => format!("`{}`", shorten(word)),
            None => "the end".to_owned(),
        }
    }
}
