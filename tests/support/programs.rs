//! handfast and the tools, where each user can execute them.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const TOOLS: [&str; 6] = ["probe", "confine", "scan", "at-exec", "inject", "witness"];

static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// The directory with copies of them all, the same throughout a test process.
///
/// Copies, since the checkout may be one that only root can enter, and the app's user has to execute the probe.
pub fn programs() -> &'static Path {
    DIRECTORY.get_or_init(|| {
        let directory = PathBuf::from(format!("/tmp/handfast-programs-{}", std::process::id()));
        fs::create_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("it is ours");
        // SAFETY: the function neither unwinds nor needs anything that is gone by the time the process exits.
        assert_eq!(unsafe { libc::atexit(remove) }, 0, "there is room for one more function");
        let tools = tools();
        // By a program of its own: a file that a thread here writes could be held open by a child that another one starts
        // at the same time, and would then be too busy to be executed.
        let mut install = Command::new("install");
        install.args(["-m", "0755", "-t"]).arg(&directory).arg(handfast());
        install.args(TOOLS.map(|name| tools.join(name)));
        assert!(install.status().is_ok_and(|status| status.success()), "cannot copy the programs");
        directory
    })
}

/// The path of one of them.
pub fn program(name: &str) -> PathBuf {
    programs().join(name)
}

extern "C" fn remove() {
    if let Some(directory) = DIRECTORY.get() {
        let _ = fs::remove_dir_all(directory);
    }
}

fn handfast() -> PathBuf {
    let path = env::var_os("HANDFAST_BIN").map_or_else(|| env!("CARGO_BIN_EXE_handfast").into(), PathBuf::from);
    assert_eq!(path.file_name(), Some("handfast".as_ref()), "HANDFAST_BIN names the binary");
    path
}

/// HANDFAST_TOOLS, or else built now: as a package of its own, the tools are not built with handfast.
fn tools() -> PathBuf {
    if let Some(directory) = env::var_os("HANDFAST_TOOLS") {
        return directory.into();
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is below the target directory");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked", "--package", "handfast-testtools", "--target-dir"]).arg(target);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(cargo.status().is_ok_and(|status| status.success()), "cannot build the tools");
    target.join("debug")
}
