//! Runs of a program that did not take place.
//!
//! The kernel does not run a program on a CPU on which it is running already: an interrupt came, or another task was
//! given the CPU in the middle of it. It counts how often, and tells it of a program's descriptor only.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Runs that the program behind `program` missed; none where the kernel does not tell (before 5.12).
pub(crate) fn of(program: BorrowedFd<'_>) -> Option<u64> {
    let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).ok()?;
    parse(&told)
}

fn parse(told: &str) -> Option<u64> {
    told.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misses_are_read_where_they_are_told() {
        assert_eq!(parse("pos:\t0\nrun_cnt:\t9\nrecursion_misses:\t17\nverified_insns:\t3\n"), Some(17));
        assert_eq!(parse("pos:\t0\nprog_id:\t4\n"), None);
        assert_eq!(parse("recursion_misses:\t\n"), None);
    }
}
