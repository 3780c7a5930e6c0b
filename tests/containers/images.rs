//! The images that the tests start: handfast's, and three kinds of an app's with the probe in the app's place.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use handfast_testservers::{Directory, Docker};

use crate::support::{find_program, require};

/// handfast alone, as the Dockerfile makes it, but of the binary that is tested here.
pub const HANDFAST: &str = "handfast";

/// Nothing but handfast and the app.
pub const SCRATCH: &str = "app-scratch";

/// With busybox as a shell and all its tools, and no accounts.
pub const BUSYBOX: &str = "app-busybox";

/// With accounts (`app`, 10001:10001, also in the group `extra`, 10002), a home, and the directories of a distribution.
pub const DEBIAN: &str = "app-debian";

/// The engine, with all images built. `None` where there can be none.
pub fn engine() -> Option<&'static Docker> {
    static BUILT: OnceLock<()> = OnceLock::new();
    let busybox = busybox();
    // The engine first, for its message.
    let docker = Docker::shared()?;
    if !require(busybox.is_some(), "busybox (Debian: busybox-static)") {
        return None;
    }
    BUILT.get_or_init(|| build_all(docker, &busybox.expect("it was found")));
    Some(docker)
}

/// A static busybox of this machine's.
pub fn busybox() -> Option<PathBuf> {
    find_program("busybox").filter(|path| is_static(path))
}

/// handfast or one of the tools, static, whatever else was built.
pub fn static_program(name: &str) -> PathBuf {
    static DIRECTORIES: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    let (handfast, tools) = DIRECTORIES.get_or_init(static_programs);
    if name == "handfast" { handfast.clone() } else { tools.join(name) }
}

fn build_all(docker: &Docker, busybox: &Path) {
    let context = Directory::new();
    for name in ["handfast", "probe"] {
        fs::copy(static_program(name), context.path().join(name)).expect("it was built");
    }
    fs::copy(busybox, context.path().join("busybox")).expect("it was found");
    // The tools have everything that helps to debug them, which each search would have to read.
    let stripped = Command::new("strip").arg(context.path().join("probe")).status();
    assert!(stripped.is_ok_and(|status| status.success()), "cannot strip the probe");
    let build = |name: &str, dockerfile: &str| {
        context.write("Dockerfile", dockerfile);
        docker.build(name, context.path(), &[]);
    };
    build(HANDFAST, "FROM scratch\nCOPY handfast /handfast\nENTRYPOINT [\"/handfast\"]\n");
    let app = "COPY --from=handfast /handfast /handfast\nCOPY probe /probe\n\
        ENTRYPOINT [\"/handfast\", \"run\", \"--\"]\nCMD [\"/probe\"]\n";
    build(SCRATCH, &format!("FROM scratch\n{app}"));
    let busybox = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";
    build(BUSYBOX, &format!("{busybox}{app}"));
    let accounts = "RUN mkdir -p /etc /usr/bin /var/lib /home/app && mkdir -m 1777 /tmp && \
        echo 'root:x:0:0:root:/root:/bin/sh' >/etc/passwd && echo 'app:x:10001:10001::/home/app:/bin/sh' >>/etc/passwd && \
        echo 'root:x:0:' >/etc/group && echo 'app:x:10001:' >>/etc/group && echo 'extra:x:10002:app' >>/etc/group && \
        chown 10001:10001 /home/app\n";
    build(DEBIAN, &format!("{busybox}{accounts}{app}"));
}

/// handfast, and the directory of the tools.
fn static_programs() -> (PathBuf, PathBuf) {
    if let (Some(handfast), Some(tools)) = (env::var_os("HANDFAST_BIN"), env::var_os("HANDFAST_TOOLS")) {
        return (handfast.into(), tools.into());
    }
    let target = format!("{}-unknown-linux-musl", env::consts::ARCH);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is below the target directory");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked", "--package", "handfast", "--package", "handfast-testtools"]);
    cargo.args(["--bins", "--target", &target, "--target-dir"]).arg(directory);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).env(format!("CC_{}", target.replace('-', "_")), "musl-gcc");
    assert!(cargo.status().is_ok_and(|status| status.success()), "cannot build static programs");
    let built = directory.join(target).join("debug");
    (built.join("handfast"), built)
}

fn is_static(path: &Path) -> bool {
    let output = Command::new("readelf").arg("-lW").arg(path).output();
    output.is_ok_and(|output| output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("INTERP"))
}
