//! Values of fields, and the text in brackets behind a field.

use super::{ArgKind, Field, spare};
use crate::Text;
use std::borrow::Cow;
use std::fmt::{Display, Write};
use std::net::IpAddr;

/// The value of one field of one event.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'e> {
    /// The event does not carry the field: every check of it is false.
    Missing,
    /// Text.
    Text(Cow<'e, [u8]>),
    /// A number. i128 holds every u64 and i64.
    Number(i128),
    /// Several numbers of which any may match (`fd.port`: either end).
    Numbers(Vec<i128>),
    /// True or false.
    Bool(bool),
    /// One address.
    Ip(IpAddr),
    /// Several addresses of which any may match (`fd.ip`: either end).
    Ips(Vec<IpAddr>),
    /// ns since the epoch.
    Time(i64),
    /// Texts.
    List(Vec<Cow<'e, [u8]>>),
}

impl<'e> Value<'e> {
    /// Text that is borrowed from the event; never missing, also when empty.
    pub const fn text(bytes: &'e [u8]) -> Self {
        Self::Text(Cow::Borrowed(bytes))
    }

    /// Text that counts as missing when it is empty.
    pub fn some_text(text: &'e Text) -> Self {
        if text.is_empty() { Self::Missing } else { Self::text(text.as_bytes()) }
    }

    /// Text that was made for this read.
    pub fn owned(text: impl Into<Vec<u8>>) -> Self {
        Self::Text(Cow::Owned(text.into()))
    }

    /// Text as it is shown.
    pub fn shown(what: impl Display) -> Self {
        let mut text = spare::string();
        // Writing to a string does not fail.
        let _ = write!(text, "{what}");
        Self::owned(text)
    }

    /// A number.
    pub fn number(number: impl Into<i128>) -> Self {
        Self::Number(number.into())
    }

    /// A list that counts as missing when it is empty.
    pub fn some_list(texts: impl IntoIterator<Item = Cow<'e, [u8]>>) -> Self {
        let mut list = spare::list();
        list.extend(texts);
        if list.is_empty() {
            Self::List(list).recycle();
            return Self::Missing;
        }
        Self::List(list)
    }
}

impl<'e, T: Into<Value<'e>>> From<Option<T>> for Value<'e> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Missing, Into::into)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::Number(value.into())
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Number(value.into())
    }
}

impl From<u64> for Value<'_> {
    fn from(value: u64) -> Self {
        Self::Number(value.into())
    }
}

impl From<IpAddr> for Value<'_> {
    fn from(value: IpAddr) -> Self {
        Self::Ip(value)
    }
}

impl From<&'static str> for Value<'_> {
    fn from(value: &'static str) -> Self {
        Self::Text(Cow::Borrowed(value.as_bytes()))
    }
}

/// The text in brackets behind a field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Arg {
    /// There is none.
    None,
    /// `proc.aname[2]`.
    Index(u32),
    /// `evt.arg[flags]`.
    Key(String),
}

impl Arg {
    /// Reads what stands in brackets for `field`.
    ///
    /// # Errors
    /// A sentence: what the field wants there.
    pub fn parse(field: &Field, bracket: Option<&str>) -> Result<Self, String> {
        let name = field.name;
        match (field.arg, bracket) {
            (ArgKind::None | ArgKind::OptionalIndex | ArgKind::OptionalKey, None) => Ok(Self::None),
            (ArgKind::None, Some(text)) => Err(format!("field `{name}` takes no argument, found `[{text}]`")),
            (ArgKind::OptionalIndex, Some(text)) => text
                .parse()
                .map(Self::Index)
                .map_err(|_| format!("field `{name}` takes a number in brackets, found `[{text}]`")),
            (ArgKind::Key | ArgKind::OptionalKey, Some(text)) if !text.is_empty() => {
                Ok(Self::Key(text.to_owned()))
            }
            (ArgKind::Key | ArgKind::OptionalKey, _) => {
                Err(format!("field `{name}` needs a name in brackets, e.g. `{name}[flags]`"))
            }
        }
    }
}
