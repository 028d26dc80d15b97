//! Names that say that their value is a secret: of options, variables, headers, keys.

use super::MaskError;

const MAX_NAMES: usize = 64;
const MAX_NAME_BYTES: usize = 64;

/// A word that ends so is a secret: `PGPASSWORD`, `authtoken`.
const ENDINGS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "passwords",
    "secrets",
];
/// Words that are secrets as a whole: `pass` but not `bypass`.
const WORDS: &[&str] = &[
    "pass",
    "passin",
    "passout",
    "storepass",
    "keypass",
    "userpass",
    "dbpass",
    "rootpass",
    "adminpass",
    "pwd",
    "creds",
    "credential",
    "credentials",
    "bearer",
    "authorization",
    "cookie",
];
/// A key is a secret when the word before says so: `api_key`, but not `sort_key`.
const KEYS: &[&str] = &[
    "api",
    "access",
    "secret",
    "private",
    "encryption",
    "signing",
    "account",
    "shared",
    "master",
    "auth",
    "session",
    "storage",
];
/// The last word says that it is about the secret: `--password-file`, `TOKEN_TTL`.
const ABOUT: &[&str] = &[
    "file",
    "files",
    "path",
    "dir",
    "directory",
    "url",
    "uri",
    "endpoint",
    "name",
    "names",
    "type",
    "id",
    "length",
    "len",
    "policy",
    "stdin",
    "prompt",
    "env",
    "cmd",
    "command",
    "ttl",
    "expiry",
    "expires",
    "expiration",
    "max",
    "min",
    "hint",
    "manager",
    "store",
    "provider",
    "class",
    "mode",
    "count",
    "limit",
    "size",
    "format",
    "rotation",
    "age",
    "version",
    "enabled",
    "required",
    "fd",
    "helper",
    "arn",
    "ref",
    "keyring",
    "from",
    "method",
    "location",
    "source",
    "attempts",
];
/// The first word says that no value follows, or a number.
const WITHOUT: &[&str] =
    &["no", "ask", "prompt", "without", "disable", "skip", "require", "max", "min", "num"];

#[derive(Clone, Debug)]
pub(super) struct Names {
    extra: Vec<Extra>,
}

/// A configured name, lower case, `-` as `_`.
#[derive(Clone, Debug)]
struct Extra {
    text: String,
    any_before: bool,
    any_after: bool,
}

impl Names {
    pub(super) fn new(extra: &[String]) -> Result<Self, MaskError> {
        if extra.len() > MAX_NAMES {
            return Err(MaskError::TooMany { key: "names", count: extra.len(), max: MAX_NAMES });
        }
        let extra = extra.iter().map(|name| Extra::parse(name)).collect::<Result<_, _>>()?;
        Ok(Self { extra })
    }

    /// True when what stands behind this name is a secret.
    pub(super) fn secret(&self, name: &[u8]) -> bool {
        if name.is_empty() || name.len() > 256 {
            return false;
        }
        let Ok(name) = std::str::from_utf8(name) else { return false };
        shipped(name) || self.extra.iter().any(|extra| extra.matches(name))
    }
}

impl Extra {
    fn parse(name: &str) -> Result<Self, MaskError> {
        let inner = name.strip_prefix('*').unwrap_or(name);
        let text = inner.strip_suffix('*').unwrap_or(inner);
        let shaped = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if text.is_empty() || name.len() > MAX_NAME_BYTES || !text.chars().all(shaped) {
            return Err(MaskError::Name { name: name.chars().take(MAX_NAME_BYTES).collect() });
        }
        Ok(Self { text: fold(text), any_before: name.starts_with('*'), any_after: name.ends_with('*') })
    }

    fn matches(&self, name: &str) -> bool {
        let name = fold(name);
        match (self.any_before, self.any_after) {
            (false, false) => name == self.text,
            (true, false) => name.ends_with(&self.text),
            (false, true) => name.starts_with(&self.text),
            (true, true) => name.contains(&self.text),
        }
    }
}

fn fold(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

fn shipped(name: &str) -> bool {
    // The working directory of every shell.
    if name == "PWD" || name == "OLDPWD" {
        return false;
    }
    let words = words(name);
    let about = words.last().is_some_and(|last| ABOUT.contains(&last.as_str()));
    let without = words.len() > 1 && words.first().is_some_and(|first| WITHOUT.contains(&first.as_str()));
    if about || without {
        return false;
    }
    let secret =
        |word: &String| WORDS.contains(&word.as_str()) || ENDINGS.iter().any(|ending| word.ends_with(ending));
    let key = |pair: &[String]| matches!(pair, [of, key] if key == "key" && KEYS.contains(&of.as_str()));
    words.iter().any(secret) || words.windows(2).any(key)
}

/// `AWS_SECRET_ACCESS_KEY`, `db.password`, `clientSecret` in words, lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower_before = false;
    for c in name.chars() {
        let separates = !c.is_alphanumeric();
        if separates || (c.is_ascii_uppercase() && lower_before) {
            words.push(String::new());
        }
        lower_before = c.is_ascii_lowercase();
        if !separates && let Some(word) = words.last_mut() {
            word.push(c.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_and_names_that_only_look_so() {
        let names = Names::new(&["*_dsn".into(), "x-internal".into()]).unwrap();
        for name in [
            "password",
            "PGPASSWORD",
            "MYSQL_PWD",
            "db.password",
            "clientSecret",
            "AWS_SECRET_ACCESS_KEY",
            "api-key",
            "apiKey",
            "GITHUB_TOKEN",
            "authtoken",
            "pass",
            "storepass",
            "SENTRY_DSN",
            "X_Internal",
            "private-key",
            "secret_key_base",
        ] {
            assert!(names.secret(name.as_bytes()), "{name} is a secret");
        }
        for name in [
            "password-file",
            "token-ttl",
            "PWD",
            "OLDPWD",
            "no-password",
            "ask-pass",
            "bypass",
            "compass",
            "tokenizer",
            "tokens",
            "max-token",
            "sort_key",
            "monkey",
            "keyboard",
            "secretary",
            "secret-name",
            "password-stdin",
            "dsn",
            "author",
            "",
        ] {
            assert!(!names.secret(name.as_bytes()), "{name} is no secret");
        }
        assert!(!names.secret(b"pass\xffword"));
    }
}
