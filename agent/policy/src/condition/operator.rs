//! The operators of a check.

/// An operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operator {
    Exists,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Equal,
    NotEqual,
    Contains,
    IContains,
    BContains,
    StartsWith,
    BStartsWith,
    EndsWith,
    Glob,
    IGlob,
    Regex,
    In,
    Intersects,
    PathMatch,
}

use Operator as Op;

/// Signs, the longer first; they need no blank behind them.
pub(crate) const SIGNS: [(&str, Op); 7] = [
    ("==", Op::Equal),
    ("!=", Op::NotEqual),
    ("<=", Op::LessEqual),
    (">=", Op::GreaterEqual),
    ("=", Op::Equal),
    ("<", Op::Less),
    (">", Op::Greater),
];

/// Words; something that ends a word must follow.
pub(crate) const WORDS: [(&str, Op); 13] = [
    ("exists", Op::Exists),
    ("contains", Op::Contains),
    ("icontains", Op::IContains),
    ("bcontains", Op::BContains),
    ("startswith", Op::StartsWith),
    ("bstartswith", Op::BStartsWith),
    ("endswith", Op::EndsWith),
    ("glob", Op::Glob),
    ("iglob", Op::IGlob),
    ("regex", Op::Regex),
    ("in", Op::In),
    ("intersects", Op::Intersects),
    ("pmatch", Op::PathMatch),
];

impl Op {
    /// As a condition writes it.
    pub(crate) fn name(self) -> &'static str {
        let all = SIGNS.iter().skip(1).chain(&WORDS);
        all.into_iter().find(|(_, op)| *op == self).map_or("=", |(name, _)| name)
    }

    /// Takes a list on its right side.
    pub(crate) const fn takes_list(self) -> bool {
        matches!(self, Self::In | Self::Intersects | Self::PathMatch)
    }

    /// Looks into a text, so that `oneof`, `anyof`, `allof` and a list may follow.
    pub(crate) const fn takes_quantifier(self) -> bool {
        matches!(
            self,
            Self::Contains
                | Self::IContains
                | Self::BContains
                | Self::StartsWith
                | Self::BStartsWith
                | Self::EndsWith
                | Self::Glob
                | Self::IGlob
                | Self::Regex
        )
    }

    /// Compares by size.
    pub(crate) const fn is_order(self) -> bool {
        matches!(self, Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual)
    }
}
