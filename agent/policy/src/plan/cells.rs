//! Opens sorted into cells, and which names are wanted in each.
//!
//! The kernel gives an open a set of classes: one for reading and writing is in both. Conditions
//! can be combined cell by cell only where the cells exclude each other, so the analysis works on
//! the access modes, and classes are made of them at the end.

use super::cover::Superset;
use hostward_event::Text;
use hostward_event::plan::{OpenClass, OpenPlan};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a name that the kernel compares.
const NAME_BYTES: usize = 16;
/// Most names of a plan; the kernel's table holds a few more. With more names than that a rule set
/// costs less when all opens of their classes are reported.
const MAX_NAMES: usize = 8_000;

/// How a file is asked for: `flags & O_ACCMODE`. Mode 3 is for device control only; the kernel
/// counts it as reading and writing, the language as neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    ReadWrite,
    Neither,
}

/// A cell: access and whether the open succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) access: Access,
    pub(super) success: bool,
}

impl Cell {
    pub(super) const ALL: [Self; 8] = [
        Self { access: Access::Read, success: true },
        Self { access: Access::Write, success: true },
        Self { access: Access::ReadWrite, success: true },
        Self { access: Access::Neither, success: true },
        Self { access: Access::Read, success: false },
        Self { access: Access::Write, success: false },
        Self { access: Access::ReadWrite, success: false },
        Self { access: Access::Neither, success: false },
    ];

    pub(super) const fn reads(self) -> bool {
        matches!(self.access, Access::Read | Access::ReadWrite)
    }

    pub(super) const fn writes(self) -> bool {
        matches!(self.access, Access::Write | Access::ReadWrite)
    }
}

/// What is wanted of the opens of one cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Nothing,
    /// Those with one of these components.
    Names(BTreeSet<Vec<u8>>),
    Everything,
}

/// Directories that most opens pass; a name of theirs keeps little out.
const CROWDED: [&str; 16] = [
    "usr", "lib", "lib64", "share", "etc", "var", "proc", "sys", "dev", "home", "run", "tmp", "local", "bin",
    "opt", "cache",
];

impl Want {
    fn cost(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Names(names) => {
                let crowded =
                    |name: &&Vec<u8>| CROWDED.iter().any(|known| known.as_bytes() == name.as_slice());
                names.len() + 1_000 * names.iter().filter(crowded).count()
            }
            Self::Everything => usize::MAX,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everything, _) | (_, Self::Nothing) => true,
            (Self::Names(names), Self::Names(others)) => others.is_subset(names),
            _ => false,
        }
    }
}

impl Superset for Want {
    fn everything() -> Self {
        Self::Everything
    }

    fn nothing() -> Self {
        Self::Nothing
    }

    /// Either side alone is a superset of what fits both: the narrower one is taken.
    fn and(self, other: Self) -> Self {
        if self.cost() <= other.cost() { self } else { other }
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Everything, _) | (_, Self::Everything) => Self::Everything,
            (Self::Nothing, want) | (want, Self::Nothing) => want,
            (Self::Names(mut names), Self::Names(more)) => {
                names.extend(more);
                Self::Names(names)
            }
        }
    }
}

/// A want for each cell, in the order of [`Cell::ALL`]; boxed, as the analysis holds many of them
/// while it goes down a deep condition.
#[derive(Clone, Debug)]
pub(super) struct Cells(Box<[Want; 8]>);

impl Cells {
    /// Everything of the cells for which `wanted` holds.
    pub(super) fn only(wanted: impl Fn(Cell) -> bool) -> Self {
        Self(Box::new(Cell::ALL.map(|cell| if wanted(cell) { Want::Everything } else { Want::Nothing })))
    }

    /// The same names in every cell.
    pub(super) fn names(names: BTreeSet<Vec<u8>>) -> Self {
        Self(Box::new(std::array::from_fn(|_| Want::Names(names.clone()))))
    }

    fn combine(self, other: Self, combine: fn(Want, Want) -> Want) -> Self {
        let mut others = other.0.into_iter();
        Self(Box::new(self.0.map(|want| match others.next() {
            Some(other) => combine(want, other),
            None => want,
        })))
    }

    /// The kernel's plan: cells become classes.
    pub(super) fn finish(self) -> OpenPlan {
        let [read, write, both, neither, read_failed, write_failed, both_failed, neither_failed] = *self.0;
        let mut plan = OpenPlan::default();
        let had = classes(read, write, [both, neither]);
        let failed = classes(read_failed, write_failed, [both_failed, neither_failed]);
        for (want, class) in [
            (had.0, OpenClass::READ),
            (had.1, OpenClass::WRITE),
            (failed.0, OpenClass::READ_FAILED),
            (failed.1, OpenClass::WRITE_FAILED),
        ] {
            match want {
                Want::Nothing => {}
                Want::Everything => plan.all = plan.all.union(class),
                Want::Names(names) => add(&mut plan.names, names, class),
            }
        }
        // A name adds nothing to a class of which all is wanted.
        let all = plan.all;
        plan.names.retain(|_, class| {
            class.0 &= !all.0;
            !class.is_empty()
        });
        if plan.names.len() > MAX_NAMES {
            let classes = plan.names.values().fold(plan.all, |sum, class| sum.union(*class));
            plan = OpenPlan { all: classes, ..OpenPlan::default() };
        }
        plan
    }
}

impl Superset for Cells {
    fn everything() -> Self {
        Self(Box::new(std::array::from_fn(|_| Want::Everything)))
    }

    fn nothing() -> Self {
        Self(Box::new(std::array::from_fn(|_| Want::Nothing)))
    }

    fn and(self, other: Self) -> Self {
        self.combine(other, Want::and)
    }

    fn or(self, other: Self) -> Self {
        self.combine(other, Want::or)
    }
}

/// The wants of the classes reading and writing. An open that is in both classes needs to be
/// wanted in one of them: writing, which is rarer, unless one has it already.
fn classes(read: Want, mut write: Want, both: [Want; 2]) -> (Want, Want) {
    for want in both {
        if !read.covers(&want) {
            write = write.or(want);
        }
    }
    (read, write)
}

/// Adds names of which the kernel compares the first bytes.
pub(super) fn add(plan: &mut BTreeMap<Text, OpenClass>, names: BTreeSet<Vec<u8>>, class: OpenClass) {
    for mut name in names {
        name.truncate(NAME_BYTES);
        let entry = plan.entry(Text::from(name)).or_default();
        *entry = entry.union(class);
    }
}
