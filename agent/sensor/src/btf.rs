//! Where a field is in the running kernel: one pass over its BTF.
//!
//! # Why it exists
//! The programs carry no relocations, so the agent tells them the offsets. General BTF crates build
//! a model of all 150,000 types first (over 10 ms and 20 MB); we want a hundred fields.
//!
//! # How it works
//! [`KernelBtf::parse`] walks the types once, notes where each begins, and keeps those structs and
//! enums that somebody asks for. [`KernelBtf::field`] follows a path of members; anonymous structs
//! and unions are descended into, as C does.
//!
//! # What can go wrong
//! An answer that is not unique: several structs of one name (a driver may reuse a core name) that
//! disagree, or a bit field, is an error and never a guess.
//!
//! Format: Documentation/bpf/btf.rst in the kernel's tree.

use std::collections::HashMap;
use thiserror::Error;

const MAGIC: u16 = 0xeb9f;
const HEADER_BYTES: usize = 24;
/// Steps through typedefs and qualifiers, and levels of anonymous members, before we call it a loop.
const DEPTH_MAX: u32 = 32;

mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
    pub(super) const LAST: u32 = ENUM64;
}

/// Why BTF cannot be used at all.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BtfError {
    /// Not BTF of this machine's byte order.
    #[error("no BTF header")]
    Header,
    /// A type reaches beyond the end.
    #[error("type {0} is cut short")]
    Truncated(usize),
    /// A kind of type that is younger than this code.
    #[error("type {id} is of unknown kind {kind}")]
    Kind {
        /// Which type.
        id: usize,
        /// Its kind.
        kind: u32,
    },
}

/// Why a field has no offset.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FieldError {
    /// No struct of that name.
    #[error("kernel has no struct {0}")]
    NoStruct(String),
    /// The struct has no such member.
    #[error("struct {of} has no field {path}")]
    NoField {
        /// The struct.
        of: String,
        /// Path of the field.
        path: String,
    },
    /// Definitions disagree.
    #[error("{of}.{path} is at offset {first} and at {second}")]
    Ambiguous {
        /// The struct.
        of: String,
        /// Path of the field.
        path: String,
        /// One answer, bytes.
        first: u32,
        /// Another, bytes.
        second: u32,
    },
    /// The field does not begin at a byte of its own.
    #[error("{of}.{path} is a bit field")]
    BitField {
        /// The struct.
        of: String,
        /// Path of the field.
        path: String,
    },
}

/// One type's fixed part.
#[derive(Clone, Copy)]
struct Type {
    at: usize,
    name: u32,
    info: u32,
    size_or_type: u32,
}

impl Type {
    const fn kind(self) -> u32 {
        self.info >> 24 & 0x1f
    }

    const fn count(self) -> usize {
        (self.info & 0xffff) as usize
    }

    const fn flag(self) -> bool {
        self.info >> 31 != 0
    }
}

/// A kernel's BTF, indexed for the names of interest.
pub struct KernelBtf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where type n begins; type 0 is void.
    starts: Vec<u32>,
    named: HashMap<&'a [u8], Vec<u32>>,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

impl<'a> KernelBtf<'a> {
    /// Indexes `bytes`; structs, enums and functions named in `wanted` can be asked for later.
    ///
    /// # Errors
    /// [`BtfError`] when `bytes` is not BTF as far as Linux 7 knows it.
    pub fn parse(bytes: &'a [u8], wanted: &[&'a str]) -> Result<Self, BtfError> {
        let magic = bytes.get(..2).ok_or(BtfError::Header)?;
        if magic != MAGIC.to_ne_bytes() {
            return Err(BtfError::Header);
        }
        let part = |offset_at: usize, bytes_at: usize| {
            let start = usize::try_from(word(bytes, 4)?.checked_add(word(bytes, offset_at)?)?).ok()?;
            let length = usize::try_from(word(bytes, bytes_at)?).ok()?;
            bytes.get(start..start.checked_add(length)?)
        };
        if bytes.len() < HEADER_BYTES {
            return Err(BtfError::Header);
        }
        let types = part(8, 12).ok_or(BtfError::Header)?;
        let strings = part(16, 20).ok_or(BtfError::Header)?;
        let mut named: HashMap<&[u8], Vec<u32>> =
            wanted.iter().map(|name| (name.as_bytes(), Vec::new())).collect();
        // A first word of the name tells nearly all others apart without hashing them.
        let longest = wanted.iter().map(|name| name.len()).max().unwrap_or(0);
        let mut starts = vec![0];
        let mut at = 0;
        while at < types.len() {
            let id = starts.len();
            let one = Self::read(types, at).ok_or(BtfError::Truncated(id))?;
            let extra = match one.kind() {
                kind::INT | kind::VAR | kind::DECL_TAG => 4,
                kind::ARRAY => 12,
                kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * one.count(),
                kind::ENUM | kind::FUNC_PROTO => 8 * one.count(),
                0 => return Err(BtfError::Kind { id, kind: 0 }),
                other if other > kind::LAST => return Err(BtfError::Kind { id, kind: other }),
                _ => 0,
            };
            if matches!(one.kind(), kind::STRUCT | kind::ENUM | kind::ENUM64 | kind::FUNC)
                && let Some(name) = name_at(strings, one.name, longest)
                && let Some(ids) = named.get_mut(name)
            {
                ids.push(u32::try_from(id).unwrap_or_default());
            }
            starts.push(u32::try_from(at).map_err(|_| BtfError::Truncated(id))?);
            at += 12 + extra;
            if at > types.len() {
                return Err(BtfError::Truncated(id));
            }
        }
        Ok(Self { types, strings, starts, named })
    }

    fn read(types: &[u8], at: usize) -> Option<Type> {
        Some(Type {
            at,
            name: word(types, at)?,
            info: word(types, at + 4)?,
            size_or_type: word(types, at + 8)?,
        })
    }

    fn by_id(&self, id: u32) -> Option<Type> {
        let start = *self.starts.get(usize::try_from(id).ok()?)?;
        if id == 0 { None } else { Self::read(self.types, usize::try_from(start).ok()?) }
    }

    /// The type behind typedefs and qualifiers.
    fn plain(&self, id: u32) -> Option<Type> {
        let mut one = self.by_id(id)?;
        for _ in 0..DEPTH_MAX {
            match one.kind() {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    one = self.by_id(one.size_or_type)?;
                }
                _ => return Some(one),
            }
        }
        None
    }

    /// Offset in bytes of `path` (members separated by dots) in the struct `of`.
    ///
    /// # Errors
    /// [`FieldError`] when there is none, or more than one answer.
    pub fn field(&self, of: &str, path: &str) -> Result<u32, FieldError> {
        let ids = self.structs(of);
        if ids.is_empty() {
            return Err(FieldError::NoStruct(of.to_owned()));
        }
        let mut found: Option<u32> = None;
        for id in ids {
            let mut bits = Vec::new();
            if let Some(start) = self.by_id(id) {
                self.follow(start, path, 0, 0, &mut bits);
            }
            for one in bits {
                let Some(bits) = one.filter(|bits| bits % 8 == 0) else {
                    return Err(FieldError::BitField { of: of.to_owned(), path: path.to_owned() });
                };
                let bytes = bits / 8;
                match found {
                    Some(first) if first != bytes => {
                        let (of, path) = (of.to_owned(), path.to_owned());
                        return Err(FieldError::Ambiguous { of, path, first, second: bytes });
                    }
                    _ => found = Some(bytes),
                }
            }
        }
        found.ok_or_else(|| FieldError::NoField { of: of.to_owned(), path: path.to_owned() })
    }

    /// Size in bytes of the struct `of`, when all definitions agree.
    pub fn size(&self, of: &str) -> Option<u32> {
        let mut sizes =
            self.structs(of).into_iter().filter_map(|id| self.by_id(id)).map(|one| one.size_or_type);
        let first = sizes.next()?;
        sizes.all(|size| size == first).then_some(first)
    }

    /// Value of an enumerator.
    pub fn enumerator(&self, of: &str, name: &str) -> Option<u32> {
        let ids = self.named.get(of.as_bytes())?;
        ids.iter().filter_map(|id| self.by_id(*id)).find_map(|one| {
            let bytes = match one.kind() {
                kind::ENUM => 8,
                kind::ENUM64 => 12,
                _ => return None,
            };
            (0..one.count()).map(|index| one.at + 12 + index * bytes).find_map(|at| {
                let own = self.text(word(self.types, at)?)?;
                if own == name.as_bytes() { word(self.types, at + 4) } else { None }
            })
        })
    }

    /// The type of a function.
    pub fn function(&self, name: &str) -> Option<u32> {
        let ids = self.named.get(name.as_bytes())?;
        ids.iter().copied().find(|id| self.by_id(*id).is_some_and(|one| one.kind() == kind::FUNC))
    }

    fn structs(&self, of: &str) -> Vec<u32> {
        let ids = self.named.get(of.as_bytes()).map(Vec::as_slice).unwrap_or_default();
        let is_struct = |id: &u32| self.by_id(*id).is_some_and(|one| one.kind() == kind::STRUCT);
        ids.iter().copied().filter(is_struct).collect()
    }

    fn text(&self, offset: u32) -> Option<&'a [u8]> {
        name_at(self.strings, offset, usize::MAX)
    }

    /// Collects the bit offsets of `path` in `of`; none for a bit field.
    fn follow(&self, of: Type, path: &str, base: u32, depth: u32, found: &mut Vec<Option<u32>>) {
        if depth > DEPTH_MAX || !matches!(of.kind(), kind::STRUCT | kind::UNION) {
            return;
        }
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        for index in 0..of.count() {
            let at = of.at + 12 + index * 12;
            let parts = (word(self.types, at), word(self.types, at + 4), word(self.types, at + 8));
            let (Some(own), Some(ty), Some(place)) = parts else {
                return;
            };
            // With the flag the upper byte is the size of a bit field.
            let (bits, place) = if of.flag() { (place >> 24, place & 0x00ff_ffff) } else { (0, place) };
            let offset = base.saturating_add(place);
            if own == 0 {
                if let Some(inner) = self.plain(ty) {
                    self.follow(inner, path, offset, depth + 1, found);
                }
            } else if self.text(own) == Some(name.as_bytes()) {
                match rest {
                    None => found.push((bits == 0).then_some(offset)),
                    Some(rest) => {
                        if let Some(inner) = self.plain(ty) {
                            self.follow(inner, rest, offset, depth + 1, found);
                        }
                    }
                }
            }
        }
    }
}

/// The string at `offset`; none when it is longer than `longest`.
fn name_at(strings: &[u8], offset: u32, longest: usize) -> Option<&[u8]> {
    let rest = strings.get(usize::try_from(offset).ok()?..)?;
    let window = rest.get(..longest.saturating_add(1)).unwrap_or(rest);
    let end = window.iter().position(|byte| *byte == 0)?;
    if end == 0 { None } else { window.get(..end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BTF by hand: strings and types appended as the format says.
    #[derive(Default)]
    struct Blob {
        types: Vec<u8>,
        strings: Vec<u8>,
        count: u32,
    }

    impl Blob {
        fn name(&mut self, name: &str) -> u32 {
            if self.strings.is_empty() {
                self.strings.push(0);
            }
            if name.is_empty() {
                return 0;
            }
            let at = self.strings.len() as u32;
            self.strings.extend_from_slice(name.as_bytes());
            self.strings.push(0);
            at
        }

        fn add(&mut self, name: &str, kind: u32, flag: bool, size: u32, parts: &[(&str, u32, u32)]) -> u32 {
            let count =
                if matches!(kind, kind::STRUCT | kind::UNION | kind::ENUM) { parts.len() as u32 } else { 0 };
            let name = self.name(name);
            let mut words = vec![name, u32::from(flag) << 31 | kind << 24 | count, size];
            for (name, a, b) in parts {
                words.push(self.name(name));
                words.push(*a);
                if kind != kind::ENUM {
                    words.push(*b);
                }
            }
            if kind == kind::INT {
                words.push(32);
            }
            self.types.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
            self.count += 1;
            self.count
        }

        fn bytes(&self) -> Vec<u8> {
            let mut out = MAGIC.to_ne_bytes().to_vec();
            out.extend([1, 0]);
            let header = [24, 0, self.types.len() as u32, self.types.len() as u32, self.strings.len() as u32];
            out.extend(header.iter().flat_map(|word| word.to_ne_bytes()));
            out.extend(&self.types);
            out.extend(&self.strings);
            out
        }
    }

    fn sample() -> Blob {
        let mut blob = Blob::default();
        let int = blob.add("int", kind::INT, false, 4, &[]);
        let inner = blob.add("inner", kind::STRUCT, false, 8, &[("a", int, 0), ("b", int, 32)]);
        let alias = blob.add("alias_t", kind::TYPEDEF, false, inner, &[]);
        let hidden = blob.add("", kind::UNION, false, 8, &[("x", int, 0), ("deep", alias, 0)]);
        let flags = [("plain", int, 0), ("", hidden, 64), ("bits", int, 3 << 24 | 128)];
        blob.add("outer", kind::STRUCT, true, 20, &flags);
        blob.add("twice", kind::STRUCT, false, 4, &[("same", int, 0), ("moved", int, 32)]);
        blob.add("twice", kind::STRUCT, false, 8, &[("same", int, 0), ("moved", int, 64)]);
        blob.add("numbers", kind::ENUM, false, 4, &[("ONE", 1, 0), ("SEVEN", 7, 0)]);
        blob.add("outer", kind::FUNC, false, int, &[]);
        blob
    }

    #[test]
    fn members_of_anonymous_unions_and_typedefs_are_found() {
        let bytes = sample().bytes();
        let btf = KernelBtf::parse(&bytes, &["outer", "numbers"]).unwrap();
        assert_eq!(btf.field("outer", "plain"), Ok(0));
        assert_eq!(btf.field("outer", "x"), Ok(8));
        assert_eq!(btf.field("outer", "deep.b"), Ok(12));
        assert_eq!(btf.size("outer"), Some(20));
        assert_eq!(btf.enumerator("numbers", "SEVEN"), Some(7));
        assert_eq!(btf.enumerator("numbers", "EIGHT"), None);
        assert_eq!((btf.function("outer"), btf.function("numbers")), (Some(9), None));
    }

    #[test]
    fn a_doubtful_answer_is_an_error() {
        let bytes = sample().bytes();
        let btf = KernelBtf::parse(&bytes, &["outer", "twice", "absent"]).unwrap();
        assert!(matches!(btf.field("outer", "bits"), Err(FieldError::BitField { .. })));
        assert!(matches!(btf.field("outer", "none"), Err(FieldError::NoField { .. })));
        assert!(matches!(btf.field("absent", "x"), Err(FieldError::NoStruct(_))));
        assert_eq!(btf.field("twice", "same"), Ok(0));
        assert!(matches!(
            btf.field("twice", "moved"),
            Err(FieldError::Ambiguous { first: 4, second: 8, .. })
        ));
    }

    #[test]
    fn cut_or_foreign_bytes_are_refused() {
        let bytes = sample().bytes();
        for cut in 0..bytes.len() {
            assert!(KernelBtf::parse(&bytes[..cut], &["outer"]).is_err(), "cut at {cut}");
        }
        assert!(matches!(KernelBtf::parse(b"not BTF at all, but long enough", &[]), Err(BtfError::Header)));
        let mut blob = sample();
        blob.add("future", 29, false, 0, &[]);
        assert!(matches!(KernelBtf::parse(&blob.bytes(), &[]), Err(BtfError::Kind { kind: 29, .. })));
    }

    #[test]
    fn the_running_kernel_answers() {
        let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            println!("skipped: this kernel has no /sys/kernel/btf/vmlinux");
            return;
        };
        let btf = KernelBtf::parse(&bytes, &["task_struct", "dentry", "bpf_func_id", "upid"]).unwrap();
        assert!(btf.field("task_struct", "pid").unwrap() + 4 == btf.field("task_struct", "tgid").unwrap());
        assert_eq!(btf.field("upid", "nr"), Ok(0));
        assert_eq!(btf.enumerator("bpf_func_id", "BPF_FUNC_probe_read_kernel"), Some(113));
        assert!(btf.size("dentry").unwrap() > 100);
    }
}
