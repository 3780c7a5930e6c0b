//! Nothing of an engine outlives the process that started it, including containers.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use handfast_testservers::{Directory, Docker, find_program, require};

/// Tells the process that it is the one to be ended.
const VICTIM: &str = "HANDFAST_TEST_VICTIM";

/// The directories of control groups with this name, at most one level below a hierarchy.
fn control_groups(name: &str) -> Vec<String> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let own = [Path::new("/sys/fs/cgroup").to_owned()];
    let groups = hierarchies.chain(own).map(|hierarchy| hierarchy.join(name)).filter(|group| group.is_dir());
    groups.map(|group| group.display().to_string()).collect()
}

#[test]
fn an_engine_ends_with_its_containers_where_the_process_is_killed() {
    let busybox = find_program("busybox");
    if !require(busybox.is_some(), "busybox (Debian: busybox-static)") {
        return;
    }
    if std::env::var_os(VICTIM).is_some() {
        let docker = Docker::start().expect("the parent had one");
        let context = Directory::new();
        fs::copy(busybox.expect("it was found"), context.path().join("busybox")).expect("it can be read");
        context.write("Dockerfile", "FROM scratch\nCOPY busybox /\n");
        docker.build("sleeper", context.path(), &[]);
        for options in [&[][..], &["--privileged"]] {
            let words = [&["run", "--detach", "--network", "none"], options, &["sleeper", "/busybox", "sleep", "1000"]];
            docker.must(&words.concat());
        }
        assert_eq!(docker.must(&["ps", "--quiet"]).lines().count(), 2);
        println!("\nengine {}", docker.directory().display());
        drop(context);
        std::thread::sleep(Duration::from_secs(1000));
    }
    // Call it for its message.
    let Some(docker) = Docker::start() else { return };
    let directory = docker.directory().to_owned();
    assert!(directory.join("data").is_dir());
    drop(docker);
    assert!(!directory.exists(), "it ends with its value");

    let mut victim = Command::new(std::env::current_exe().expect("it is there"))
        .args(["--exact", "--nocapture", "an_engine_ends_with_its_containers_where_the_process_is_killed"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(victim.stdout.take().expect("piped")).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with("engine ")).expect("it says so");
    let directory = Path::new(line.split(' ').nth(1).expect("a directory"));
    let name = directory.file_name().expect("it has one").to_str().expect("made of ASCII");
    assert!(!control_groups(name).is_empty(), "the containers are in groups of that name");
    victim.kill().expect("it is our child");
    victim.wait().expect("it is our child");
    let deadline = Instant::now() + Duration::from_secs(30);
    // A control group can be removed only when it contains no process.
    while directory.exists() || !control_groups(name).is_empty() {
        assert!(Instant::now() < deadline, "still there: {} {:?}", directory.display(), control_groups(name));
        std::thread::sleep(Duration::from_millis(50));
    }
}
