//! A QEMU machine: its files and its console output.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex};

use super::console::Console;
use super::support::{Directory, find_program, require};

/// The number of machines that run at once.
const AT_ONCE: usize = 2;

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

const TOOLS: [&str; 4] = ["inject", "probe", "confine", "store"];

#[derive(Clone, Copy)]
pub enum Architecture {
    X86,
    Arm,
}

impl Architecture {
    /// The kernel's name of the architecture.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        }
    }

    /// Debian's name; the QEMU program; the program that removes symbols; the variables with the path of handfast and of the
    /// directory of its tools.
    fn details(self) -> (&'static str, &'static str, &'static str, [&'static str; 2]) {
        match self {
            Self::X86 => ("amd64", "qemu-system-x86_64", "strip", ["HANDFAST_BIN", "HANDFAST_TOOLS"]),
            Self::Arm => (
                "arm64",
                "qemu-system-aarch64",
                "aarch64-linux-gnu-strip",
                ["HANDFAST_BIN_AARCH64", "HANDFAST_TOOLS_AARCH64"],
            ),
        }
    }
}

pub struct Machine {
    architecture: Architecture,
    version: &'static str,
    handfast: PathBuf,
    tools: PathBuf,
}

impl Machine {
    /// Prints a line and returns `None` if the machine cannot be built.
    pub fn new(architecture: Architecture, version: &'static str) -> Option<Self> {
        let (debian, qemu, _, variables) = architecture.details();
        let [handfast, tools] = variables.map(|name| std::env::var_os(name).map(PathBuf::from));
        let (Some(handfast), Some(tools)) = (handfast, tools) else {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            let line = format!("skipped: {name}: needs the static binary for {} (tests/run)\n", architecture.name());
            let _ = std::io::stderr().write_all(line.as_bytes());
            return None;
        };
        for program in [qemu, "cpio"] {
            if !require(find_program(program).is_some(), program) {
                return None;
            }
        }
        let download = Command::new(script("download")).args([debian, version]).stdout(Stdio::null()).status();
        let there = download.is_ok_and(|status| status.success());
        require(there, "the network, once, for a kernel of Debian's").then_some(Self {
            architecture,
            version,
            handfast,
            tools,
        })
    }

    /// Runs the machine to its end.
    pub fn boot(&self) -> Console {
        let root = Directory::new();
        self.lay_out(root.path());
        let (debian, ..) = self.architecture.details();
        let mut running = RUNNING.lock().expect("nobody panics while holding it");
        while *running == AT_ONCE {
            running = ENDED.wait(running).expect("as above");
        }
        *running += 1;
        drop(running);
        let output =
            Command::new(script("boot")).args([debian, self.version]).arg(root.path()).stdin(Stdio::null()).output();
        *RUNNING.lock().expect("as above") -= 1;
        ENDED.notify_one();
        let output = output.expect("the script can be started");
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let path = format!("{}/linux-{}-{debian}.log", env!("CARGO_TARGET_TMPDIR"), self.version);
        fs::write(&path, text.as_bytes()).expect("the directory is there");
        Console::parse(&text, path)
    }

    /// Writes the files of the machine's root file system, besides busybox.
    fn lay_out(&self, root: &Path) {
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).expect("it is ours");
        for name in ["bin", "dev", "etc", "files", "own", "proc", "sys", "tmp"] {
            fs::create_dir(root.join(name)).expect("it is new");
        }
        fs::copy(script("init"), root.join("init")).expect("it is there");
        self.install(&self.handfast, &root.join("bin/handfast"));
        for name in TOOLS {
            self.install(&self.tools.join(name), &root.join("bin").join(name));
        }
        let store =
            |host: &str| format!("[providers.vault]\naddress = \"http://{host}:8200\"\ndanger_plaintext = true\n");
        for (name, text) in [
            ("passwd", "root:x:0:0::/:/bin/sh\n".to_owned()),
            ("group", "root:x:0:\n".to_owned()),
            ("resolv.conf", "nameserver 127.0.0.1\n".to_owned()),
            ("strict.toml", "[app]\nstrict = true\n".to_owned()),
            ("store.toml", store("vault.test")),
            ("slow.toml", store("slow.test")),
        ] {
            fs::write(root.join("etc").join(name), text).expect("it is new");
        }
    }

    /// Copies a program without its symbols, which only take time to unpack.
    fn install(&self, from: &Path, to: &Path) {
        let (_, _, strip, _) = self.architecture.details();
        let stripped = Command::new(strip).arg("-o").args([to, from]).stderr(Stdio::null()).status();
        if !stripped.is_ok_and(|status| status.success()) {
            fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        }
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels").join(name)
}
