//! Secrets that show by their form, and secrets in free text.

use super::marker::apply;
use super::names::Names;
use super::{MaskError, args};
use crate::Text;
use regex::bytes::{Captures, Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use std::ops::Range;
use std::sync::LazyLock;

const MAX_PATTERNS: usize = 32;
const MAX_PATTERN_BYTES: usize = 512;
/// Compiled size of one configured pattern, bytes.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// Something that may be a secret is near: a superset of everything below, of [`Names`] and of the
/// programs in [`args`]. One pass that most command lines do not stop.
const HINT: &str = r"(?i-u)pass|pwd|secret|token|key|cred|auth|cookie|bearer|://|-----BEGIN|\bgh[opusr]_|github_pat_|glpat-|xox[a-z]-|xapp-|eyJ|\bA[KS]IA|AIza|[sr]k_live_|\bsk-|npm_|hf_|dop_v1_|hooks\.slack";

/// A literal of every expression in [`TOKENS`]: paths of every opened file are searched for these.
const TOKENS_HINT: &str = r"(?-u)AKIA|ASIA|gh[opusr]_|github_pat_|glpat-|xox[a-z]-|xapp-|eyJ|AIza|k_live_|sk-|npm_|hf_|dop_v1_|hooks\.slack|-----BEGIN|://";

/// Tokens whose form is published by those who issue them, and passwords in URLs. Group 1, when
/// there is one, is the secret.
const TOKENS: &[&str] = &[
    r"(?-u)\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"(?-u)\bgh[opusr]_[A-Za-z0-9]{20,}",
    r"(?-u)\bgithub_pat_[A-Za-z0-9_]{20,}",
    r"(?-u)\bglpat-[A-Za-z0-9_.-]{16,}",
    r"(?-u)\bxox[a-z]-[A-Za-z0-9-]{10,}",
    r"(?-u)\bxapp-[A-Za-z0-9-]{10,}",
    r"(?-u)\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)*",
    r"(?-u)\bAIza[A-Za-z0-9_-]{30,}",
    r"(?-u)\b[sr]k_live_[A-Za-z0-9]{16,}",
    r"(?-u)\bsk-[A-Za-z0-9_-]{20,}",
    r"(?-u)\bnpm_[A-Za-z0-9]{30,}",
    r"(?-u)\bhf_[A-Za-z0-9]{30,}",
    r"(?-u)\bdop_v1_[a-f0-9]{40,}",
    r"(?-u)\bhooks\.slack\.com/services/([A-Za-z0-9/]{20,})",
    r"(?s-u)-----BEGIN [A-Z ]*PRIVATE KEY-----(.+?)(?:-----END|$)",
    r#"(?-u)[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@?#"']*:([^\s/?#"']+)@"#,
];

/// Credentials in HTTP headers, in an argument or in text; group 1 is the secret.
const HEADERS: &[&str] = &[
    r#"(?i-u)\b(?:proxy-)?authorization\s*:\s*(?:(?:basic|bearer|token|digest|negotiate|ntlm|apikey)\s+)?([^\s"']+)"#,
    r#"(?i-u)\b(?:set-)?cookie\s*:\s*([^\s"';]+(?:;\s*[^\s"';]+)*)"#,
    r#"(?i-u)\b(?:[a-z][a-z0-9-]*-)?(?:token|api-?key|secret|password|auth-key)\s*:\s*([^\s"']{4,})"#,
];

/// Short options of well-known programs inside a shell command; group 1 is the secret. As arguments
/// of their own they are the business of [`args`].
const COMMANDS: &[&str] = &[
    r#"(?-u)\b(?:mysql|mariadb)[a-z-]*\b[^|;&]*?\s-p([^\s"']+)"#,
    r#"(?-u)\bsshpass\s+-p\s*["']?([^\s"']+)"#,
    r#"(?-u)\bcurl\b[^|;&]*?\s(?:-u|-U|--user|--proxy-user)[\s=]*["']?[^\s:"']*:([^\s"']+)"#,
    r#"(?-u)\bredis-cli\b[^|;&]*?\s-a\s+["']?([^\s"']+)"#,
    r#"(?-u)\b(?:mongo[a-z]*|cqlsh|login)\b[^|;&]*?\s-p\s+["']?([^\s"']+)"#,
    r#"(?-u)\bldap[a-z]+\b[^|;&]*?\s-w\s+["']?([^\s"']+)"#,
];

/// `name=value`, anywhere: variables, query strings, lists of settings.
const ASSIGNMENT: &str = r#"(?-u)([A-Za-z_][A-Za-z0-9_.-]*)=(?:"([^"]*)"|'([^']*)'|([^\s,;&'"]+))"#;
/// `"name": "value"`.
const JSON: &str = r#"(?-u)["']([A-Za-z_][A-Za-z0-9_.-]*)["']\s*:\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)')"#;
/// `--name value` in a shell command.
const OPTION: &str = r#"(?-u)(?:^|\s)--?([A-Za-z][A-Za-z0-9_.-]*)\s+(?:"([^"]*)"|'([^']*)'|([^\s'"]+))"#;

/// The shipped expressions. They are constants that the tests compile; none could be missing here.
struct Shipped {
    hint: Option<Regex>,
    tokens_hint: Option<Regex>,
    tokens: Vec<Regex>,
    headers: Vec<Regex>,
    commands: Vec<Regex>,
    assignment: Option<Regex>,
    json: Option<Regex>,
    option: Option<Regex>,
}

static SHIPPED: LazyLock<Shipped> = LazyLock::new(|| {
    let all = |list: &[&str]| list.iter().filter_map(|text| Regex::new(text).ok()).collect();
    Shipped {
        hint: Regex::new(&format!("{HINT}|{}", args::programs_hint())).ok(),
        tokens_hint: Regex::new(TOKENS_HINT).ok(),
        tokens: all(TOKENS),
        headers: all(HEADERS),
        commands: all(COMMANDS),
        assignment: Regex::new(ASSIGNMENT).ok(),
        json: Regex::new(JSON).ok(),
        option: Regex::new(OPTION).ok(),
    }
});

#[derive(Clone, Debug)]
pub(super) struct Patterns {
    extra: Vec<Regex>,
    extra_hint: RegexSet,
    /// Configured names are not in the hint, so with them every text is looked at closely.
    always: bool,
}

impl Patterns {
    pub(super) fn new(extra: &[String], names: &[String]) -> Result<Self, MaskError> {
        if extra.len() > MAX_PATTERNS {
            return Err(MaskError::TooMany { key: "patterns", count: extra.len(), max: MAX_PATTERNS });
        }
        let refused = |pattern: &str, reason: String| MaskError::Pattern {
            pattern: pattern.chars().take(64).collect(),
            reason,
        };
        let mut compiled = Vec::with_capacity(extra.len());
        for pattern in extra {
            if pattern.is_empty() || pattern.len() > MAX_PATTERN_BYTES {
                return Err(refused(pattern, format!("it must have 1 to {MAX_PATTERN_BYTES} bytes")));
            }
            let regex = RegexBuilder::new(pattern).unicode(false).size_limit(MAX_COMPILED_BYTES).build();
            let regex = regex.map_err(|error| refused(pattern, one_line(&error.to_string())))?;
            if regex.is_match(b"") {
                return Err(refused(
                    pattern,
                    "it matches the empty text, so it would match everywhere".to_owned(),
                ));
            }
            compiled.push(regex);
        }
        let set = RegexSetBuilder::new(extra)
            .unicode(false)
            .size_limit(MAX_COMPILED_BYTES * MAX_PATTERNS)
            .build()
            .map_err(|error| refused("all together", one_line(&error.to_string())))?;
        Ok(Self { extra: compiled, extra_hint: set, always: !names.is_empty() })
    }

    /// False when the text certainly holds nothing to mask.
    pub(super) fn may_hold_secret(&self, text: &[u8]) -> bool {
        self.always
            || SHIPPED.hint.as_ref().is_none_or(|hint| hint.is_match(text))
            || self.extra_matches(text)
    }

    fn extra_matches(&self, text: &[u8]) -> bool {
        !self.extra.is_empty() && self.extra_hint.is_match(text)
    }

    /// Secrets that show by their form.
    pub(super) fn tokens(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        if SHIPPED.tokens_hint.as_ref().is_none_or(|hint| hint.is_match(text)) {
            for regex in &SHIPPED.tokens {
                ranges.extend(regex.captures_iter(text).filter_map(|found| group(&found, 1)));
            }
        }
        if self.extra_matches(text) {
            for regex in &self.extra {
                let named =
                    |found: Captures<'_>| found.name("secret").or_else(|| found.get(0)).map(|m| m.range());
                ranges.extend(regex.captures_iter(text).filter_map(named));
            }
        }
        ranges
    }

    /// Secrets in one argument or in text, whatever stands around: by form, headers, `name=value`, JSON.
    pub(super) fn anywhere(&self, text: &[u8], names: &Names) -> Vec<Range<usize>> {
        let mut ranges = self.tokens(text);
        for regex in &SHIPPED.headers {
            ranges.extend(regex.captures_iter(text).filter_map(|found| group(&found, 1)));
        }
        for regex in [&SHIPPED.assignment, &SHIPPED.json].into_iter().flatten() {
            named(regex, text, names, &mut ranges);
        }
        ranges
    }

    /// Secrets in a shell command or a sentence.
    pub(super) fn free_text(&self, text: &[u8], names: &Names) -> Vec<Range<usize>> {
        let mut ranges = self.anywhere(text, names);
        if let Some(regex) = &SHIPPED.option {
            named(regex, text, names, &mut ranges);
        }
        for regex in &SHIPPED.commands {
            ranges.extend(regex.captures_iter(text).filter_map(|found| group(&found, 1)));
        }
        ranges
    }

    pub(super) fn mask_text(&self, text: &[u8], names: &Names) -> Option<Vec<u8>> {
        if !self.may_hold_secret(text) {
            return None;
        }
        apply(text, self.free_text(text, names))
    }

    /// Paths are evidence: only what shows by its form is masked in them.
    pub(super) fn mask_path(&self, path: &Text) -> Option<Text> {
        apply(path.as_bytes(), self.tokens(path.as_bytes())).map(Text::from)
    }
}

/// The group's range, else the whole match's.
fn group(found: &Captures<'_>, number: usize) -> Option<Range<usize>> {
    found.get(number).or_else(|| found.get(0)).map(|found| found.range())
}

/// Ranges of values (groups 2 to 4) whose name (group 1) says secret. A value may itself be such a pair
/// (`--env=DB_PASSWORD=x`), so the search goes on behind a name that says nothing.
fn named(regex: &Regex, text: &[u8], names: &Names, ranges: &mut Vec<Range<usize>>) {
    let mut from = 0;
    while from <= text.len()
        && let Some(found) = regex.captures_at(text, from)
        && let Some(name) = found.get(1)
    {
        let value = (2..=4).find_map(|number| found.get(number));
        from = name.end();
        if let Some(value) = value
            && names.secret(name.as_bytes())
            && !args::harmless(name.as_bytes(), value.as_bytes())
        {
            from = value.end();
            ranges.push(value.range());
        }
    }
}

fn one_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_expression_compiles() {
        let Shipped { hint, tokens_hint, tokens, headers, commands, assignment, json, option } = &*SHIPPED;
        assert!(hint.is_some() && tokens_hint.is_some());
        assert!(assignment.is_some() && json.is_some() && option.is_some());
        assert_eq!(
            (tokens.len(), headers.len(), commands.len()),
            (TOKENS.len(), HEADERS.len(), COMMANDS.len())
        );
    }

    #[test]
    fn configured_patterns_are_bounded() {
        let refused = |pattern: &str| Patterns::new(&[pattern.to_owned()], &[]).unwrap_err();
        for pattern in ["(", "", "x*", &"a".repeat(600), "(?:a{1000}){1000}"] {
            assert!(matches!(refused(pattern), MaskError::Pattern { .. }), "{pattern}");
        }
        let many = vec!["a".to_owned(); 33];
        assert!(matches!(Patterns::new(&many, &[]), Err(MaskError::TooMany { count: 33, .. })));
    }
}
