//! Which programs the kernel may kill at exec by itself.
//!
//! Only a condition that the path of the program or its command name decides alone qualifies: here
//! a superset would kill what no rule matches. Everything else is killed by the responder.

use super::Protected;
use crate::condition::{Check, Compare, Expr, Operator};
use hostward_event::plan::KernelPlan;
use hostward_event::registry::KernelAtom;
use hostward_event::{EventKind, Text};
use std::collections::BTreeSet;

/// Bytes of a command name.
const COMM_BYTES: usize = 15;
/// Most paths, and most command names, of a plan; the kernel's tables hold a few more.
const MAX_KILLS: usize = 1_000;
/// Most alternatives that one protected pattern is written out to.
const MAX_ALTERNATIVES: usize = 1_000;

/// For which execs a condition holds, exactly.
enum Execs {
    None,
    Every,
    These { paths: BTreeSet<Vec<u8>>, comms: BTreeSet<Vec<u8>> },
}

/// Adds the programs of a rule that kills, if the kernel can decide it.
pub(super) fn add(expr: &Expr, protected: &Protected, plan: &mut KernelPlan) {
    let Some(Execs::These { paths, comms }) = exact(expr) else { return };
    let (paths, comms): (Vec<Text>, Vec<Text>) =
        (paths.into_iter().map(Text::from).collect(), comms.into_iter().map(Text::from).collect());
    // All or nothing: half a rule in the kernel would be hard to reason about.
    let spares = paths.iter().any(|path| spares_path(path, protected))
        || comms.iter().any(|comm| spares_comm(comm, protected));
    let room = |known: usize, more: usize| known + more <= MAX_KILLS;
    let fits = room(plan.kill_paths.len(), paths.len()) && room(plan.kill_comms.len(), comms.len());
    if !spares && fits {
        plan.kill_paths.extend(paths);
        plan.kill_comms.extend(comms);
    }
}

/// None when path and command name do not decide it.
fn exact(expr: &Expr) -> Option<Execs> {
    match expr {
        Expr::Always(true) => Some(Execs::Every),
        Expr::Always(false) => Some(Execs::None),
        Expr::Not(inner) => match exact(inner)? {
            Execs::None => Some(Execs::Every),
            Execs::Every => Some(Execs::None),
            Execs::These { .. } => None,
        },
        Expr::And(parts) => {
            let parts: Vec<Option<Execs>> = parts.iter().map(exact).collect();
            if parts.iter().any(|part| matches!(part, Some(Execs::None))) {
                return Some(Execs::None);
            }
            parts.into_iter().try_fold(Execs::Every, |sum, part| match (sum, part?) {
                (Execs::Every, part) => Some(part),
                (sum, Execs::Every) => Some(sum),
                _ => None,
            })
        }
        Expr::Or(parts) => {
            let parts: Vec<Option<Execs>> = parts.iter().map(exact).collect();
            if parts.iter().any(|part| matches!(part, Some(Execs::Every))) {
                return Some(Execs::Every);
            }
            parts.into_iter().try_fold(Execs::None, |sum, part| match (sum, part?) {
                (Execs::None, part) => Some(part),
                (sum, Execs::None) => Some(sum),
                (
                    Execs::These { mut paths, mut comms },
                    Execs::These { paths: more_paths, comms: more_comms },
                ) => {
                    paths.extend(more_paths);
                    comms.extend(more_comms);
                    Some(Execs::These { paths, comms })
                }
                _ => None,
            })
        }
        Expr::Check(check) => of_check(check),
    }
}

fn of_check(check: &Check) -> Option<Execs> {
    let differs = check.operator == Operator::NotEqual;
    if let Compare::EventType(names) = &check.compare {
        let holds = names.every().contains(EventKind::Exec) != differs;
        return Some(if holds { Execs::Every } else { Execs::None });
    }
    let (field, _) = check.left.plain()?;
    let Compare::Texts(texts) = &check.compare else { return None };
    if differs {
        return None;
    }
    let literals = texts.iter().map(|text| text.to_vec());
    match field.kernel? {
        KernelAtom::ExePath => Some(Execs::These {
            // A path that is not known is empty, and then the field is missing.
            paths: literals.filter(|path| path.starts_with(b"/")).collect(),
            comms: BTreeSet::new(),
        }),
        KernelAtom::Comm => Some(Execs::These {
            paths: BTreeSet::new(),
            comms: literals.filter(|comm| !comm.is_empty() && comm.len() <= COMM_BYTES).collect(),
        }),
        _ => None,
    }
}

fn cut(name: &[u8]) -> &[u8] {
    name.get(..COMM_BYTES).unwrap_or(name)
}

fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// True when the program at `path` may be protected: by its path, or by the name it runs under.
fn spares_path(path: &Text, protected: &Protected) -> bool {
    let name = cut(file_name(path.as_bytes()));
    protected.comms.iter().any(|comm| cut(comm.as_bytes()) == name)
        || protected.paths.iter().any(|pattern| match alternatives(pattern.as_bytes()) {
            Some(patterns) => patterns.iter().any(|pattern| may_match(pattern, path.as_bytes())),
            None => true,
        })
}

/// True when a program of this command name may be protected: by its name, or because a protected
/// path may end in it.
fn spares_comm(comm: &Text, protected: &Protected) -> bool {
    let comm = comm.as_bytes();
    protected.comms.iter().any(|known| cut(known.as_bytes()) == comm)
        || protected.paths.iter().any(|pattern| match alternatives(pattern.as_bytes()) {
            Some(patterns) => patterns.iter().any(|pattern| {
                let name = file_name(pattern);
                let literal = literal_prefix(name);
                if literal.len() < name.len() { comm.starts_with(cut(literal)) } else { cut(name) == comm }
            }),
            None => true,
        })
}

/// What stands before the first wildcard.
fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let end = pattern.iter().position(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'));
    end.and_then(|end| pattern.get(..end)).unwrap_or(pattern)
}

/// Whatever the dialect of the pattern: what it matches begins with what stands before its first
/// wildcard.
fn may_match(pattern: &[u8], path: &[u8]) -> bool {
    let prefix = literal_prefix(pattern);
    if prefix.len() == pattern.len() { path == pattern } else { path.starts_with(prefix) }
}

/// Writes out `{a,b}`; none when there is too much of it, or it is not closed.
fn alternatives(pattern: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_vec()];
    while let Some(pattern) = open.pop() {
        if done.len() + open.len() > MAX_ALTERNATIVES {
            return None;
        }
        // The innermost pair first: its opening brace is the last before the first closing one.
        let Some(close) = pattern.iter().position(|byte| *byte == b'}') else {
            if pattern.contains(&b'{') {
                return None;
            }
            done.push(pattern);
            continue;
        };
        let start = pattern.get(..close)?.iter().rposition(|byte| *byte == b'{')?;
        let (before, behind) = (pattern.get(..start)?, pattern.get(close + 1..)?);
        let inside = pattern.get(start + 1..close)?.split(|byte| *byte == b',');
        open.extend(inside.map(|part| [before, part, behind].concat()));
    }
    Some(done)
}
