//! What the names of cgroup directories say.
//!
//! Runtimes and systemd put everything an outsider needs into the path: the container's id, the
//! runtime's prefix, the pod's uid, the unit, the slice. The forms differ by runtime, by cgroup
//! driver (systemd or cgroupfs) and by OCI runtime (crun adds a level `container`), so the path is
//! read component by component from the leaf upwards, and the first that names a container wins:
//! with a runtime inside a container that is the inner one.
//!
//! Who may make cgroups may lie with names. A container that was given its part of the tree can
//! pose as another container within it, but what it makes always lies below its own directory:
//! the whole path is kept in `Workload::path` for those who care.

/// A container as the names tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    pub id: &'a [u8],
    pub runtime: &'static str,
    /// Dashed as Kubernetes writes it; empty when it is no pod.
    pub pod_uid: Vec<u8>,
}

/// All that the names tell.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Names<'a> {
    pub container: Option<Found<'a>>,
    pub unit: &'a [u8],
    pub slice: &'a [u8],
    /// The leaf itself settles it: names further up would add nothing.
    pub certain: bool,
}

/// `PREFIX` ID, as a scope of systemd (`docker-ID.scope`) or bare (`libpod-ID`, cgroupfs driver).
/// An id is 64 hex digits, which keeps `libpod-conmon-ID.scope` and `crio-conmon-ID.scope` out.
const PREFIXES: [(&[u8], &str); 6] = [
    (b"docker-", "docker"),
    (b"cri-containerd-", "containerd"),
    (b"crio-", "cri-o"),
    (b"libpod-", "podman"),
    (b"libpod-payload-", "podman"),
    (b"nerdctl-", "containerd"),
];

/// `SLICE:PREFIX:ID`: a runtime with the cgroupfs driver that was given a path for systemd.
const COLON_WORDS: [(&[u8], &str); 4] =
    [(b"docker", "docker"), (b"cri-containerd", "containerd"), (b"crio", "cri-o"), (b"libpod", "podman")];

/// Directories in which each child is a container.
const PARENTS: [(&[u8], &str, Shape); 4] = [
    (b"docker", "docker", Shape::Hex64),
    // containerd's namespace of Kubernetes; `ctr run` takes any name as id.
    (b"k8s.io", "containerd", Shape::Name),
    (b"lxc", "lxc", Shape::Name),
    (b"lxc.payload", "lxc", Shape::Name),
];

/// `PREFIX` NAME `SUFFIX`, where the name is free.
const NAMED: [(&[u8], &[u8], &str); 2] =
    [(b"lxc.payload.", b"", "lxc"), (b"systemd-nspawn@", b".service", "systemd-nspawn")];

const UNIT_SUFFIXES: [&[u8]; 5] = [b".service", b".scope", b".socket", b".mount", b".swap"];

#[derive(Clone, Copy)]
enum Shape {
    Hex64,
    Name,
}

impl Shape {
    fn fits(self, name: &[u8]) -> bool {
        match self {
            Self::Hex64 => is_hex(name, 64),
            Self::Name => !name.is_empty() && name != b"conmon",
        }
    }
}

fn is_hex(text: &[u8], digits: usize) -> bool {
    text.len() == digits && text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Reads the components of a path, the leaf last. `from_root`: the first is a child of the root,
/// not just the parent of the leaf.
pub(crate) fn read<'a>(components: &[&'a [u8]], from_root: bool) -> Names<'a> {
    let mut names = Names::default();
    let mut level = components;
    while let Some((name, above)) = level.split_last() {
        if names.container.is_none()
            && let Some((id, runtime)) = container(name, above, from_root)
        {
            let pod_uid = level.iter().rev().find_map(|name| pod_uid(name)).unwrap_or_default();
            let at_leaf = level.len() == components.len();
            names.certain = at_leaf && (!pod_uid.is_empty() || matches!(runtime, "docker" | "podman"));
            names.container = Some(Found { id, runtime, pod_uid });
        } else if names.container.is_none()
            && names.unit.is_empty()
            && UNIT_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        {
            // Only units within the container count, as the one around it is the runtime's scope.
            names.unit = name;
        }
        if names.slice.is_empty() && name.ends_with(b".slice") {
            names.slice = name;
        }
        level = above;
    }
    names
}

/// The id and runtime if the directory `name` below `above` is a container's.
fn container<'a>(name: &'a [u8], above: &[&[u8]], from_root: bool) -> Option<(&'a [u8], &'static str)> {
    let bare = name.strip_suffix(b".scope").unwrap_or(name);
    for (prefix, runtime) in PREFIXES {
        if let Some(id) = bare.strip_prefix(prefix)
            && is_hex(id, 64)
        {
            return Some((id, runtime));
        }
    }
    let mut words = name.rsplitn(3, |b| *b == b':');
    if let (Some(id), Some(word), Some(_slice)) = (words.next(), words.next(), words.next())
        && let Some((_, runtime)) = COLON_WORDS.iter().find(|(known, _)| *known == word)
        && is_hex(id, 64)
    {
        return Some((id, runtime));
    }
    for (prefix, suffix, runtime) in NAMED {
        if let Some(id) = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix))
            && !id.is_empty()
        {
            return Some((id, runtime));
        }
    }
    if let Some(parent) = above.last() {
        for (known, runtime, shape) in PARENTS {
            if *parent == known && shape.fits(name) {
                return Some((name, runtime));
            }
        }
        // containerd's default namespace has too common a name to be believed anywhere else.
        if from_root && above == [b"default".as_slice()] && Shape::Name.fits(name) {
            return Some((name, "containerd"));
        }
    }
    // Pods of a cgroupfs driver, ECS tasks, garden: an id, and no word on who runs it.
    is_hex(name, 64).then_some((name, ""))
}

/// The pod's uid in `podUID` (cgroupfs driver), `…-podU_I_D.slice` (systemd driver) and
/// `…-podU_I_D.slice:WORD:ID`. A static pod has a hash of 32 digits for a uid.
fn pod_uid(name: &[u8]) -> Option<Vec<u8>> {
    let slice = name.split(|b| *b == b':').next().unwrap_or(name);
    let uid = match slice.strip_suffix(b".slice") {
        Some(slice) => {
            let at = slice.windows(4).rposition(|part| part == b"-pod")?;
            slice.get(at + 4..)?
        }
        None => slice.strip_prefix(b"pod")?,
    };
    if is_hex(uid, 32) {
        return Some(uid.to_vec());
    }
    let dashed: Vec<u8> = uid.iter().map(|b| if *b == b'_' { b'-' } else { *b }).collect();
    let groups: Vec<&[u8]> = dashed.split(|b| *b == b'-').collect();
    let fits = groups.len() == 5 && groups.iter().zip([8, 4, 4, 4, 12]).all(|(group, n)| is_hex(group, n));
    fits.then_some(dashed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const U: &str = "f4bcdb5f-4b5b-4b5b-9d5c-0a1b2c3d4e5f";

    fn components(path: &str) -> Vec<&[u8]> {
        path.split('/').filter(|part| !part.is_empty()).map(str::as_bytes).collect()
    }

    /// Path with ID, U and U_ for the long parts; then id, runtime, pod, unit, slice, and whether
    /// leaf and parent alone say the same and are certain.
    type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str, bool);

    #[rustfmt::skip]
    const LAYOUTS: [Row; 41] = [
        ("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_.slice/cri-containerd-ID.scope", "ID", "containerd", "U", "", "kubepods-besteffort-podU_.slice", true),
        ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_.slice/cri-containerd-ID.scope", "ID", "containerd", "U", "", "kubepods-burstable-podU_.slice", true),
        ("/kubepods.slice/kubepods-podU_.slice/cri-containerd-ID.scope", "ID", "containerd", "U", "", "kubepods-podU_.slice", true),
        ("/kubepods.slice/kubepods-podU_.slice/cri-containerd-ID.scope/container", "ID", "containerd", "U", "", "kubepods-podU_.slice", false),
        ("/kubepods/besteffort/podU/ID", "ID", "", "U", "", "", true),
        ("/kubepods/podU/ID", "ID", "", "U", "", "", true),
        ("/kubepods/burstable/podU/crio-ID", "ID", "cri-o", "U", "", "", true),
        ("/k8s.io/web-1", "web-1", "containerd", "", "", "", false),
        ("/k8s.io/ID", "ID", "containerd", "", "", "", false),
        ("/default/busy", "busy", "containerd", "", "", "", false),
        ("/a/default/busy", "", "", "", "", "", false),
        ("/system.slice/docker-ID.scope", "ID", "docker", "", "", "system.slice", true),
        ("/docker/ID", "ID", "docker", "", "", "", true),
        ("/docker/ID/system.slice/ssh.service", "ID", "docker", "", "ssh.service", "system.slice", false),
        ("/machine.slice/libpod-ID.scope", "ID", "podman", "", "", "machine.slice", true),
        ("/libpod_parent/libpod-ID", "ID", "podman", "", "", "", true),
        ("/machine.slice/libpod-ID.scope/container", "ID", "podman", "", "", "machine.slice", false),
        ("/machine.slice/machine-libpod_pod_ID.slice/libpod-ID.scope/container", "ID", "podman", "", "", "machine-libpod_pod_ID.slice", false),
        ("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container", "ID", "podman", "", "", "user.slice", false),
        ("/kubepods.slice/kubepods-podU_.slice/crio-ID.scope", "ID", "cri-o", "U", "", "kubepods-podU_.slice", true),
        ("/kubepods.slice/kubepods-podU_.slice/crio-ID.scope/container", "ID", "cri-o", "U", "", "kubepods-podU_.slice", false),
        ("/machine.slice/libpod-conmon-ID.scope", "", "", "", "libpod-conmon-ID.scope", "machine.slice", false),
        ("/system.slice/crio-conmon-ID.scope", "", "", "", "crio-conmon-ID.scope", "system.slice", false),
        ("/libpod_parent/conmon", "", "", "", "", "", false),
        ("/kubepods-besteffort-podU_.slice:cri-containerd:ID", "ID", "containerd", "U", "", "", true),
        ("/system.slice/containerd.service/kubepods-burstable-podU_.slice:cri-containerd:ID", "ID", "containerd", "U", "", "system.slice", true),
        ("/docker/ID/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podU_.slice/cri-containerd-ID.scope", "ID", "containerd", "U", "", "kubelet-kubepods-podU_.slice", true),
        ("/ecs/4f2ab/ID", "ID", "", "", "", "", false),
        ("/lxc.payload.web/system.slice/nginx.service", "web", "lxc", "", "nginx.service", "system.slice", false),
        ("/lxc.payload.web", "web", "lxc", "", "", "", false),
        ("/lxc/101/ns", "101", "lxc", "", "", "", false),
        ("/lxc.monitor.web", "", "", "", "", "", false),
        ("/machine.slice/systemd-nspawn@deb.service/payload", "deb", "systemd-nspawn", "", "", "machine.slice", false),
        ("/system.slice/ssh.service", "", "", "", "ssh.service", "system.slice", false),
        ("/system.slice/system-getty.slice/getty@tty1.service", "", "", "", "getty@tty1.service", "system-getty.slice", false),
        ("/user.slice/user-1000.slice/session-3.scope", "", "", "", "session-3.scope", "user-1000.slice", false),
        ("/user.slice/user-1000.slice/user@1000.service/init.scope", "", "", "", "init.scope", "user-1000.slice", false),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-term.scope", "", "", "", "app-gnome-term.scope", "app.slice", false),
        ("/system.slice/docker.service/workers/a", "", "", "", "docker.service", "system.slice", false),
        ("/init.scope", "", "", "", "init.scope", "", false),
        ("/", "", "", "", "", "", false),
    ];

    #[test]
    fn every_known_layout_is_read() {
        let fill = |text: &str| text.replace("U_", &U.replace('-', "_")).replace('U', U).replace("ID", ID);
        for (path, id, runtime, pod, unit, slice, certain) in LAYOUTS {
            let filled = fill(path);
            let names = read(&components(&filled), true);
            let got = names.container.as_ref().map(|found| {
                (
                    String::from_utf8_lossy(found.id).into_owned(),
                    found.runtime,
                    String::from_utf8(found.pod_uid.clone()).unwrap(),
                )
            });
            let want = (!id.is_empty()).then(|| (fill(id), runtime, fill(pod)));
            assert_eq!(got, want, "{path}");
            assert_eq!((names.unit, names.slice), (fill(unit).as_bytes(), fill(slice).as_bytes()), "{path}");
            assert_eq!(names.certain, certain, "{path}");

            let all = components(&filled);
            let short = read(&all[all.len().saturating_sub(2)..], false);
            assert_eq!(short.certain, certain, "leaf and parent of {path}");
            if certain {
                assert_eq!(short.container, names.container, "leaf and parent of {path}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(path: Vec<Vec<u8>>, from_root: bool) {
            let components: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
            let names = read(&components, from_root);
            prop_assert!(names.container.is_none_or(|found| !found.id.is_empty()));
        }

        #[test]
        fn names_near_the_forms_are_read(path in "/(docker|lxc|k8s.io|pod|-pod|:|crio-|[0-9a-f]{64}|[.](slice|scope|service)|/){0,12}") {
            let _ = read(&components(&path), true);
        }
    }
}
