//! Parsers of the files in `/proc/PID`, on bytes; proc_pid_stat(5), proc_pid_status(5), cgroups(7).

use hostward_event::raw::Credentials;

fn number<T: std::str::FromStr>(field: &[u8]) -> Option<T> {
    str::from_utf8(field).ok()?.trim().parse().ok()
}

/// An unsigned number and nothing else but blanks.
pub(crate) fn decimal(file: &[u8]) -> Option<u32> {
    number(file)
}

/// What is used of `stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub ppid: u32,
    pub pgid: u32,
    pub sid: u32,
    pub tty: u32,
    /// In clock ticks.
    pub start_ticks: u64,
}

impl Stat {
    /// The name stands in parentheses and may hold any, so the last closing one ends it.
    pub(crate) fn parse(file: &[u8]) -> Option<Self> {
        let end = file.iter().rposition(|b| *b == b')')?;
        let fields: Vec<&[u8]> =
            file.get(end + 1..)?.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()).collect();
        // Field 3 (state) is the first behind the name.
        let field = |n: usize| fields.get(n - 3).copied();
        let tty: i64 = number(field(7)?)?;
        Some(Self {
            ppid: number(field(4)?)?,
            pgid: number(field(5)?)?,
            sid: number(field(6)?)?,
            // Shown as a signed number of 32 bits.
            tty: u32::try_from(tty & 0xffff_ffff).ok()?,
            start_ticks: number(field(22)?)?,
        })
    }
}

/// What is used of `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Status {
    pub creds: Credentials,
    /// In the innermost pid namespace.
    pub vpid: u32,
}

impl Status {
    /// Lines that are missing (old kernels have no ambient capabilities) leave zeros.
    pub(crate) fn parse(file: &[u8]) -> Self {
        let mut status = Self::default();
        let creds = &mut status.creds;
        for line in file.split(|b| *b == b'\n') {
            let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
            let (Some(key), Some(value)) = (line.get(..colon), line.get(colon + 1..)) else { continue };
            match key {
                b"Uid" => [creds.uid, creds.euid, creds.suid, creds.fsuid] = four(value),
                b"Gid" => [creds.gid, creds.egid, creds.sgid, creds.fsgid] = four(value),
                b"CapInh" => creds.cap_inheritable = hex(value),
                b"CapPrm" => creds.cap_permitted = hex(value),
                b"CapEff" => creds.cap_effective = hex(value),
                b"CapBnd" => creds.cap_bounding = hex(value),
                b"CapAmb" => creds.cap_ambient = hex(value),
                b"NSpid" => status.vpid = words(value).last().and_then(number).unwrap_or_default(),
                _ => {}
            }
        }
        status
    }
}

fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn four(value: &[u8]) -> [u32; 4] {
    let mut numbers = words(value).map(|word| number(word).unwrap_or_default());
    std::array::from_fn(|_| numbers.next().unwrap_or_default())
}

fn hex(value: &[u8]) -> u64 {
    let text = str::from_utf8(value).unwrap_or_default();
    u64::from_str_radix(text.trim(), 16).unwrap_or_default()
}

/// The number in `mnt:[4026531841]`.
pub(crate) fn namespace(link: &[u8]) -> Option<u32> {
    let open = link.iter().position(|b| *b == b'[')?;
    number(link.get(open + 1..)?.strip_suffix(b"]")?)
}

/// A line of `cgroup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// `memory`, `cpu,cpuacct`, `name=systemd`; empty for the unified hierarchy.
    pub controllers: &'a [u8],
    pub path: &'a [u8],
}

/// `ID:CONTROLLERS:PATH`. The path may hold colons; the kernel refuses line feeds in it. One that was
/// removed while a process was in it is marked as deleted.
pub(crate) fn cgroup_lines(file: &[u8]) -> Vec<Line<'_>> {
    let lines = file.split(|b| *b == b'\n').filter_map(|line| {
        let mut fields = line.splitn(3, |b| *b == b':');
        let (_id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Line { controllers, path: path.strip_suffix(b" (deleted)").unwrap_or(path) })
    });
    lines.filter(|line| line.path.starts_with(b"/")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REST: &str =
        "S 41 42 43 34816 43 4194560 1 2 3 4 5 6 7 8 20 0 1 0 294264 1 2 18446744073709551615 0\n";

    #[test]
    fn a_name_cannot_pose_as_fields() {
        let want = Stat { ppid: 41, pgid: 42, sid: 43, tty: 34816, start_ticks: 294_264 };
        for name in [&b"cat"[..], b") R 1 (", b"a) S 1 1 1", b"\\n(((", b"\xff\xfe", b"", b"))))"] {
            let file = [b"77 (", name, b") ", REST.as_bytes()].concat();
            assert_eq!(Stat::parse(&file), Some(want), "{:?}", String::from_utf8_lossy(name));
        }
        let console =
            String::from_utf8([b"1 (x) ", REST.as_bytes()].concat()).unwrap().replace("34816", "-1");
        assert_eq!(Stat::parse(console.as_bytes()).unwrap().tty, u32::MAX);
        for cut in ["", "1 (x", "1 (x)", "1 (x) S 1 2", "1 (x) S a 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9"] {
            assert_eq!(Stat::parse(cut.as_bytes()), None, "{cut}");
        }
    }

    #[test]
    fn status_gives_ids_capabilities_and_the_inner_pid() {
        let file = b"Name:\tUid:\\n1\nUmask:\t0022\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nNSpid:\t100\t20\t3\nCapInh:\t0000000000000001\nCapPrm:\t000001fffeffffff\nCapEff:\t0000000000000002\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000004\n";
        let status = Status::parse(file);
        let creds = status.creds;
        assert_eq!([creds.uid, creds.euid, creds.suid, creds.fsuid], [1, 2, 3, 4]);
        assert_eq!([creds.gid, creds.egid, creds.sgid, creds.fsgid], [5, 6, 7, 8]);
        assert_eq!((creds.cap_inheritable, creds.cap_permitted), (1, 0x1ff_feff_ffff));
        assert_eq!((creds.cap_effective, creds.cap_bounding, creds.cap_ambient), (2, 0x1ff_ffff_ffff, 4));
        assert_eq!(status.vpid, 3);
        assert_eq!(Status::parse(b"Uid:\tx\n:\n\xff:\xff"), Status::default());
    }

    #[test]
    fn cgroup_lines_keep_odd_paths() {
        let file = b"9:name=systemd:/a:b\n4:cpu,cpuacct:/x\xff (deleted)\n0::/\nnonsense\n1:pids:relative\n";
        let lines = cgroup_lines(file);
        let told: Vec<(&[u8], &[u8])> = lines.iter().map(|line| (line.controllers, line.path)).collect();
        assert_eq!(told, [(&b"name=systemd"[..], &b"/a:b"[..]), (b"cpu,cpuacct", b"/x\xff"), (b"", b"/")]);
    }

    #[test]
    fn namespace_links_are_numbers() {
        assert_eq!(namespace(b"mnt:[4026531841]"), Some(4_026_531_841));
        assert_eq!([namespace(b"mnt:[]"), namespace(b"mnt:[1"), namespace(b"")], [None; 3]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(file: Vec<u8>) {
            let _ = (Stat::parse(&file), Status::parse(&file), namespace(&file), decimal(&file));
            prop_assert!(cgroup_lines(&file).iter().all(|line| line.path.starts_with(b"/")));
        }

        #[test]
        fn any_name_leaves_the_fields(name: Vec<u8>) {
            let file = [b"77 (", name.as_slice(), b") ", REST.as_bytes()].concat();
            prop_assert_eq!(Stat::parse(&file).map(|stat| (stat.ppid, stat.start_ticks)), Some((41, 294_264)));
        }
    }
}
