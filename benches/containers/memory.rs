//! The memory that is charged to the control groups of containers.

use std::time::{Duration, Instant};

use handfast_testservers::{Directory, Docker, Memory};

use crate::Result;

/// The time that the fetch and the app last: enough to read the memory.
const LOOK: &str = "60";

/// Prints the memory that the kernel has charged to the app alone, to handfast while it fetches, and to the app that handfast
/// has become.
pub fn print(docker: &Docker) -> Result<()> {
    let directory = Directory::new();
    let slow = directory.write("slow.toml", format!("[providers.mock]\nlatency = \"{LOOK}s\"\n"));
    let slow = format!("{}:/etc/handfast.toml", slow.display());
    let secret: &[&str] = &["--env", "DB_FILE=handfast:mock:db"];
    let tmpfs: &[&str] = &["--env", "HANDFAST_DIR=/secrets", "--tmpfs", "/secrets"];
    let sleep = ["/busybox", "sleep", LOOK];
    println!(
        "\n{:<34}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "memory charged, KiB", "anonymous", "shared", "file", "kernel", "peak"
    );
    for (name, options, image, until) in [
        ("app alone", [secret, &[]].concat(), "direct", "busybox"),
        ("app alone, tmpfs", [secret, tmpfs].concat(), "direct", "busybox"),
        ("handfast, fetching", [secret, &["--volume", &slow]].concat(), "wrapped", "handfast"),
        ("app after handfast, 1 by fd", [secret, &[]].concat(), "wrapped", "busybox"),
        ("app after handfast, 1 as file", [secret, tmpfs].concat(), "wrapped", "busybox"),
    ] {
        let words = [&["run", "--detach", "--network", "none"], &options[..], &[image], &sleep].concat();
        let id = docker.must(&words);
        let memory = settled(docker, &id, until)?;
        let [anonymous, shared, file, kernel, peak] =
            [memory.anonymous, memory.shared, memory.file, memory.kernel, memory.peak].map(|bytes| bytes / 1024);
        println!("{name:<34}{anonymous:>10}{shared:>10}{file:>10}{kernel:>10}{peak:>10}");
        docker.must(&["rm", "--force", &id]);
    }
    Ok(())
}

/// Waits until the container's first process has been this program for a moment. The kernel counts in batches, and adds them up
/// every two seconds.
fn settled(docker: &Docker, id: &str, program: &str) -> Result<Memory> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let is = || docker.must(&["top", id, "-o", "pid,comm"]).contains(program);
    while !is() {
        if Instant::now() > deadline {
            return Err(format!("the container has not become {program}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_secs(3));
    Ok(docker.memory(id))
}
