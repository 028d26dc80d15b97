//! Where attacks are made: mounts and a network that belong to this test, and a container.

use crate::row::{Act, PYTHON, Place, SHELL};
use anyhow::{Context, Result, ensure};
use hostward_tests::{Part, Runc, child};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The host's places that attacks write to are copies or empty. The last line says that all is done.
const HOST: &str = r#"
set -e
mount -t tmpfs tmpfs /mnt
cp -a /etc/. /mnt
mount --move /mnt /etc
for place in /opt /run /dev/shm /var/log /var/spool /var/cache /usr/local/sbin; do mount -t tmpfs tmpfs $place; done
ip link set lo up
for address in 203.0.113.7 169.254.169.254; do ip address add $address/32 dev lo; done
echo ready
exec sleep infinity
"#;

/// The container's root has layers, as an engine makes it: what is written is not in the image.
const CONTAINER: &str = r#"
set -e
bundle=$1 state=$2 log=$3
mkdir -p "$bundle/layer"
mount -t tmpfs tmpfs "$bundle/layer"
mkdir "$bundle/layer/upper" "$bundle/layer/work"
mount -t overlay overlay -o "lowerdir=$bundle/rootfs,upperdir=$bundle/layer/upper,workdir=$bundle/layer/work" "$bundle/rootfs"
exec runc --root "$state" --log "$log" run --detach --bundle "$bundle" guest
"#;

/// They make a container privileged, together with its other settings.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_ADMIN",
    "CAP_SYS_CHROOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
];

/// Both places. Dropped, they are gone.
#[derive(Debug)]
pub(crate) struct Ground {
    holder: Child,
    runc: Option<Runc>,
    dir: TempDir,
    python: PathBuf,
}

impl Ground {
    /// Makes the host's side, and a container where the machine can.
    pub(crate) fn new() -> Result<Self> {
        // Below /tmp, whatever TMPDIR says: rules know that place.
        let dir = tempfile::Builder::new().prefix("hw-rules-").tempdir_in("/tmp")?;
        let program = "import os, sys; print(os.path.realpath(sys.executable)); print(sys.base_prefix)";
        let told = child::output(Command::new("python3").args(["-c", program]))?;
        let mut lines = told.lines();
        let python = PathBuf::from(lines.next().context("where Python is")?);
        let prefix = lines.next().context("where Python's library is")?.to_owned();
        let mut holder = Command::new("unshare")
            .args(["--mount", "--net", "sh", "-c", HOST])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("unshare")?;
        let mut line = String::new();
        let stdout = holder.stdout.take().context("the holder's output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let mut ground = Self { holder, runc: None, dir, python };
        ensure!(line == "ready\n", "no mounts and network of one's own");
        if Part::Runc.missing().is_none() {
            ground.runc = Some(ground.container(&prefix)?);
        }
        Ok(ground)
    }

    fn container(&self, prefix: &str) -> Result<Runc> {
        let runc = Runc::new("rules")?;
        let work = self.dir.path().display().to_string();
        let args = ["/bin/busybox", "sleep", "3600"];
        let bundle = runc.bundle("guest", &args, |spec| configure(spec, &work, prefix))?;
        let root = bundle.join("rootfs");
        for name in ["sh", "true", "mount"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name))?;
        }
        std::fs::create_dir_all(root.join("run/secrets"))?;
        std::fs::write(root.join("run/secrets/token"), "not a token")?;
        let status = Command::new("unshare")
            .args(["--mount", "sh", "-c", CONTAINER, "sh"])
            .args([&bundle, &runc.state_dir(), &self.dir.path().join("runc.log")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        let log = || std::fs::read_to_string(self.dir.path().join("runc.log")).unwrap_or_default();
        ensure!(status.success(), "no container: {}", log());
        Ok(runc)
    }

    /// How the agent finds the container.
    pub(crate) fn config(&self) -> String {
        let states = self.runc.as_ref().map(|runc| format!("{:?}", runc.state_dir().display().to_string()));
        format!("[runtime]\nstate_dirs = [{}]\n", states.unwrap_or_default())
    }

    /// Does it in the directory of this name, to its end; gives what it printed.
    pub(crate) fn run(&self, name: &str, act: Act) -> Result<String> {
        let place = self.dir.path().join(name);
        std::fs::create_dir(&place)?;
        let mut command = match (act.place, &self.runc) {
            (Place::Host, _) => self.on_host(&place),
            (Place::Container, Some(runc)) => in_container(Command::new("runc"), runc, &place),
            (Place::Terminal, Some(runc)) => {
                let mut terminal = Command::new(&self.python);
                terminal.args(["-c", "import pty, sys; pty.spawn(sys.argv[1:])", "runc"]);
                in_container(terminal, runc, &place)
            }
            (_, None) => anyhow::bail!("there is no container"),
        };
        match act.python {
            true => command.arg(&self.python).arg("-c").arg(format!("{PYTHON}\n{}", act.code)),
            false => command.args(["sh", "-c", &format!("{SHELL}\n{}", act.code)]),
        };
        let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// The directory of this name, as events tell it.
    pub(crate) fn place(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// A session of its own there, so that rules which count by session see one row alone.
    fn on_host(&self, place: &Path) -> Command {
        let namespaces = format!("/proc/{}/ns", self.holder.id());
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount={namespaces}/mnt")).arg(format!("--net={namespaces}/net"));
        command.args(["sh", "-c", r#"cd "$0" && exec setsid "$@""#]).arg(place);
        command
    }
}

fn in_container(mut runc_command: Command, runc: &Runc, place: &Path) -> Command {
    let terminal = runc_command.get_program() != "runc";
    runc_command.arg("--root").arg(runc.state_dir()).arg("exec").arg("--cwd").arg(place);
    runc_command.args(terminal.then_some("--tty")).arg("guest");
    runc_command
}

/// A privileged container that has the host's programs.
fn configure(spec: &mut Value, work: &str, prefix: &str) {
    let bind = |from: &str, options: &[&str]| json!({"type": "bind", "source": from, "destination": from, "options": options});
    for set in ["bounding", "effective", "permitted"] {
        put(spec, "/process/capabilities", set, json!(CAPABILITIES));
    }
    put(spec, "/root", "readonly", json!(false));
    put(spec, "/linux", "maskedPaths", json!([]));
    put(spec, "/linux", "readonlyPaths", json!([]));
    put(spec, "/linux", "resources", json!({"devices": [{"allow": true, "access": "rwm"}]}));
    let Some(mounts) = spec.pointer_mut("/mounts").and_then(Value::as_array_mut) else { return };
    for place in ["/usr", "/lib", "/lib64", prefix] {
        if Path::new(place).exists() {
            mounts.push(bind(place, &["rbind", "ro"]));
        }
    }
    mounts.push(bind(work, &["rbind", "rw"]));
}

fn put(spec: &mut Value, pointer: &str, key: &str, value: Value) {
    if let Some(object) = spec.pointer_mut(pointer).and_then(Value::as_object_mut) {
        object.insert(key.to_owned(), value);
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
