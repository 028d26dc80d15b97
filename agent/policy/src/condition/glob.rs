//! Shell patterns as fnmatch(3) has them without flags, and prefixes of paths.

/// A compiled pattern: `*` (crosses `/`), `?`, `[a-z]`, `[!a]`, `[[:digit:]]`, `\` before a literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    parts: Vec<Part>,
    fold: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Byte(u8),
    One,
    Many,
    Class { bytes: Box<[u64; 4]>, negated: bool },
}

impl Glob {
    /// `fold` compares ASCII letters without regard to case.
    pub(crate) fn new(pattern: &[u8], fold: bool) -> Self {
        let mut parts = Vec::with_capacity(pattern.len());
        let mut rest = pattern;
        while let Some((byte, tail)) = rest.split_first() {
            rest = tail;
            let part = match byte {
                b'*' if parts.last() == Some(&Part::Many) => continue,
                b'*' => Part::Many,
                b'?' => Part::One,
                b'[' => match class(tail, fold) {
                    Some((part, behind)) => {
                        rest = behind;
                        part
                    }
                    // A bracket that is never closed stands for itself.
                    None => Part::Byte(b'['),
                },
                b'\\' => match tail.split_first() {
                    Some((escaped, behind)) => {
                        rest = behind;
                        Part::Byte(lower(*escaped, fold))
                    }
                    None => Part::Byte(b'\\'),
                },
                byte => Part::Byte(lower(*byte, fold)),
            };
            parts.push(part);
        }
        Self { parts, fold }
    }

    /// The longest run of bytes that a text has that fits; none when there is none.
    pub(crate) fn longest_literal(&self) -> Option<Vec<u8>> {
        let byte = |part: &Part| if let Part::Byte(byte) = part { Some(*byte) } else { None };
        let runs = self.parts.split(|part| byte(part).is_none());
        let longest = runs.max_by_key(|run| run.len()).filter(|run| !run.is_empty() && !self.fold)?;
        Some(longest.iter().filter_map(byte).collect())
    }

    /// True when the whole of `text` fits. Costs at most the product of both lengths.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let (mut part, mut at) = (0, 0);
        // Where to go back to: the part behind the last `*`, and the text it was tried at.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let fits = match (self.parts.get(part), text.get(at)) {
                (Some(Part::Many), _) => {
                    retry = Some((part + 1, at));
                    part += 1;
                    continue;
                }
                (None, None) => return true,
                (Some(wanted), Some(byte)) => wanted.fits(lower(*byte, self.fold)),
                _ => false,
            };
            if fits {
                part += 1;
                at += 1;
                continue;
            }
            match retry {
                Some((behind, tried)) if tried < text.len() => {
                    retry = Some((behind, tried + 1));
                    part = behind;
                    at = tried + 1;
                }
                _ => return false,
            }
        }
    }
}

impl Part {
    fn fits(&self, byte: u8) -> bool {
        match self {
            Self::Byte(wanted) => *wanted == byte,
            Self::One | Self::Many => true,
            Self::Class { bytes, negated } => has(bytes, byte) != *negated,
        }
    }
}

fn has(set: &[u64; 4], byte: u8) -> bool {
    set.get(usize::from(byte >> 6)).is_some_and(|word| word >> (byte & 63) & 1 == 1)
}

fn add(set: &mut [u64; 4], byte: u8) {
    if let Some(word) = set.get_mut(usize::from(byte >> 6)) {
        *word |= 1 << (byte & 63);
    }
}

const fn lower(byte: u8, fold: bool) -> u8 {
    if fold { byte.to_ascii_lowercase() } else { byte }
}

/// Reads a class behind its `[`; none when it is not closed.
fn class(text: &[u8], fold: bool) -> Option<(Part, &[u8])> {
    let (negated, mut rest) = match text {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut set = [0_u64; 4];
    let mut first = true;
    loop {
        let (byte, tail) = rest.split_first()?;
        match (byte, tail) {
            (b']', _) if !first => {
                return Some((Part::Class { bytes: Box::new(set), negated }, tail));
            }
            (b'[', [b':', ..]) => {
                let name = tail.get(1..)?;
                let end = name.windows(2).position(|pair| pair == b":]")?;
                let test = named(name.get(..end)?)?;
                (0..=u8::MAX).filter(test).for_each(|byte| add(&mut set, lower(byte, fold)));
                rest = name.get(end + 2..)?;
            }
            (byte, tail) => {
                let (from, tail) = if *byte == b'\\' { tail.split_first()? } else { (byte, tail) };
                rest = tail;
                let to = match tail {
                    [b'-', to, behind @ ..] if *to != b']' => {
                        rest = behind;
                        *to
                    }
                    _ => *from,
                };
                (*from..=to).for_each(|byte| add(&mut set, lower(byte, fold)));
            }
        }
        first = false;
    }
}

fn named(name: &[u8]) -> Option<fn(&u8) -> bool> {
    Some(match name {
        b"alpha" => u8::is_ascii_alphabetic,
        b"digit" => u8::is_ascii_digit,
        b"alnum" => u8::is_ascii_alphanumeric,
        b"upper" => u8::is_ascii_uppercase,
        b"lower" => u8::is_ascii_lowercase,
        b"space" => u8::is_ascii_whitespace,
        b"punct" => u8::is_ascii_punctuation,
        b"xdigit" => u8::is_ascii_hexdigit,
        b"cntrl" => u8::is_ascii_control,
        b"print" => |byte| (b' '..=b'~').contains(byte),
        b"graph" => u8::is_ascii_graphic,
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        _ => return None,
    })
}

/// The parts of a path; empty ones (`//`, a slash at the end) do not count.
pub(crate) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
}

/// Paths of which each matches itself and all below it; a component may be a pattern, which does
/// not cross `/`.
#[derive(Clone, Debug, Default)]
pub(crate) struct PathTree {
    ends: bool,
    names: std::collections::HashMap<Box<[u8]>, PathTree>,
    globs: Vec<(Glob, PathTree)>,
}

impl PathTree {
    pub(crate) fn insert(&mut self, path: &[u8]) {
        let mut node = self;
        for part in components(path) {
            node = if part.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[')) {
                let glob = Glob::new(part, false);
                let at = node.globs.iter().position(|(known, _)| *known == glob).unwrap_or_else(|| {
                    node.globs.push((glob, Self::default()));
                    node.globs.len() - 1
                });
                match node.globs.get_mut(at) {
                    Some((_, child)) => child,
                    None => return,
                }
            } else {
                node.names.entry(part.into()).or_default()
            };
        }
        node.ends = true;
    }

    /// True when a path of the tree is `path` or a directory above it.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        if self.globs.is_empty() && self.names.is_empty() {
            return self.ends;
        }
        self.walk(components(path))
    }

    /// Recursion goes no deeper than the tree, whose depth the rule file bounds.
    fn walk<'p>(&self, mut rest: impl Iterator<Item = &'p [u8]> + Clone) -> bool {
        if self.ends {
            return true;
        }
        let Some(part) = rest.next() else { return false };
        self.names.get(part).is_some_and(|child| child.walk(rest.clone()))
            || self.globs.iter().any(|(glob, child)| glob.matches(part) && child.walk(rest.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn glob(pattern: &str, text: &str) -> bool {
        Glob::new(pattern.as_bytes(), false).matches(text.as_bytes())
    }

    #[test]
    fn patterns_are_fnmatch_without_flags() {
        for (pattern, text) in [
            ("/home/*/.ssh/*", "/home/a/b/.ssh/id_rsa"),
            ("*", ""),
            ("a?c", "a/c"),
            ("[a-c]x[!0-9]", "bxy"),
            ("[]]", "]"),
            ("[[:digit:]]*", "9lives"),
            ("\\*", "*"),
            ("[", "["),
            ("*a*b*c", "xxaxxbxxbc"),
            ("[\\]x]", "]"),
        ] {
            assert!(glob(pattern, text), "{pattern} should match {text}");
        }
        for (pattern, text) in
            [("a", "ab"), ("?", ""), ("[!a]", "a"), ("*.so", "x.so.1"), ("A", "a"), ("", "x")]
        {
            assert!(!glob(pattern, text), "{pattern} should not match {text}");
        }
        assert!(Glob::new(b"[A-C]BAR*", true).matches(b"bbaRx"));
        assert!(Glob::new(b"?", false).matches(b"\xff"));
    }

    #[test]
    fn a_hostile_pattern_is_not_exponential() {
        assert!(!glob(&"*a".repeat(500), &"a".repeat(499)));
    }

    #[test]
    fn a_path_matches_itself_and_what_is_below() {
        let mut tree = PathTree::default();
        for path in ["/var/run", "/etc/", "/opt/*/bin"] {
            tree.insert(path.as_bytes());
        }
        for path in ["/var/run", "/var/run/docker", "/etc/passwd", "/etc", "/opt/x/bin/y"] {
            assert!(tree.matches(path.as_bytes()), "{path}");
        }
        for path in ["/var", "/var/runner", "/", "", "/opt/x/y/bin", "/opt/bin"] {
            assert!(!tree.matches(path.as_bytes()), "{path}");
        }
        let mut root = PathTree::default();
        root.insert(b"/");
        assert!(root.matches(b"/anything") && root.matches(b"/"));
        assert!(!PathTree::default().matches(b"/x"));
    }

    proptest! {
        #[test]
        fn any_pattern_and_text_are_safe(pattern: Vec<u8>, text: Vec<u8>) {
            let _ = Glob::new(&pattern, true).matches(&text);
        }

        #[test]
        fn an_escaped_text_matches_itself(text: Vec<u8>) {
            let pattern: Vec<u8> = text.iter().flat_map(|byte| [b'\\', *byte]).collect();
            prop_assert!(Glob::new(&pattern, false).matches(&text));
        }
    }
}
