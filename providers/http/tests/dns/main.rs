//! Name look-up in the static musl program with a pod's resolv.conf: `ndots:5`, a search list, and name servers that sometimes
//! fail.
//!
//! The test starts itself again in a new network and mount namespace, serves DNS and HTTP there, and runs the example `resolve`,
//! built for musl. It needs root and the musl target; without them it prints a line `skipped: …`, which is a failure with
//! `CI=true`.
// Without the test harness, clippy does not see that this is a test.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod cases;
mod name_server;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Instant;

use cases::{CASES, Case};
use name_server::{NameServer, Reply};

const INSIDE: &str = "--inside";
/// The resolv.conf that kubelet writes.
const POD: &str = "nameserver 127.0.0.1\nsearch a.b svc.cluster.local\noptions ndots:5\n";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == INSIDE) {
        return inside(Path::new(&arguments[at + 1]));
    }
    let program = match prepare() {
        Ok(program) => program,
        Err(why) => {
            println!("skipped: {why}");
            let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            return if ci { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .arg(INSIDE)
        .arg(program)
        .status()
        .unwrap();
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Builds the example for musl, if this machine can run the test.
fn prepare() -> Result<PathBuf, String> {
    let able = Command::new("unshare")
        .args(["--net", "--mount", "ip", "link", "set", "lo", "up"])
        .stderr(Stdio::null())
        .status();
    if !able.is_ok_and(|status| status.success()) {
        return Err("namespaces of our own need root, unshare and ip".into());
    }
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("there is no target directory")?;
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "handfast-http", "--example", "resolve", "--target", &target])
        .arg("--target-dir")
        .arg(directory)
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !built.status.success() {
        // Only the musl target may be missing on a machine that builds the rest. Any other error is a failure of the crate.
        let errors = String::from_utf8_lossy(&built.stderr);
        assert!(errors.contains("target may not be installed") || errors.contains("musl-gcc"), "{errors}");
        return Err(format!("the target {target} or musl-gcc is not installed"));
    }
    Ok(directory.join(target).join("debug/examples/resolve"))
}

fn inside(program: &Path) -> ExitCode {
    let run = |command: &str, arguments: &[&str]| {
        assert!(Command::new(command).args(arguments).status().unwrap().success(), "{command} {arguments:?}");
    };
    run("ip", &["link", "set", "lo", "up"]);
    run("mount", &["-t", "tmpfs", "none", "/mnt"]);
    fs::write("/mnt/resolv.conf", POD).unwrap();
    fs::write("/mnt/hosts", "127.9.9.9 localhost\n").unwrap();
    run("mount", &["--bind", "/mnt/resolv.conf", "/etc/resolv.conf"]);
    run("mount", &["--bind", "/mnt/hosts", "/etc/hosts"]);
    serve_http();
    let names = NameServer::start();
    let mut failed = 0;
    for case in CASES {
        let verdict = check(case, &names, program);
        println!("test {} ... {}", case.name, verdict.as_ref().map_or_else(|why| why.as_str(), |took| took.as_str()));
        failed += usize::from(verdict.is_err());
    }
    let verdict = check_without_threads(&names, program);
    println!(
        "test no_thread_for_a_look_up_is_the_systems_fault ... {}",
        verdict.as_ref().map_or_else(|why| why.as_str(), |()| "ok")
    );
    failed += usize::from(verdict.is_err());
    println!("{} passed; {failed} failed", CASES.len() + 1 - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a case. Returns the time that it took, or the reason for its failure.
fn check(case: &Case, names: &NameServer, program: &Path) -> Result<String, String> {
    names.serve(case.zone);
    let start = Instant::now();
    let output = Command::new(program).arg(format!("http://{}:8080/", case.host)).output().unwrap();
    let took = start.elapsed();
    let text = String::from_utf8_lossy(&output.stdout);
    let queried = names.queried();
    if !text.starts_with(case.expected) {
        return Err(format!(
            "FAILED: expected `{}`, got `{}` after {took:?}; queried {queried:?}",
            case.expected,
            text.trim()
        ));
    }
    if took > case.within {
        return Err(format!("FAILED: took {took:?}, at most {:?} are allowed", case.within));
    }
    if let Some(name) = case.never_queried.filter(|name| queried.contains(*name)) {
        return Err(format!("FAILED: {name} was queried"));
    }
    Ok(format!("ok ({took:.1?}: {})", text.trim()))
}

/// If the user may have only one thread, the look-up cannot start another one.
fn check_without_threads(names: &NameServer, program: &Path) -> Result<(), String> {
    names.serve(|_, _| Reply::Addresses(&["127.0.0.2"]));
    // A copy that any user can reach, in the test's own mount namespace.
    fs::copy(program, "/mnt/resolve").unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=54321", "--clear-groups", "prlimit", "--nproc=1", "/mnt/resolve", "http://store.example:8080/"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    match text.starts_with("Os cannot ask http://store.example:8080: out of memory or threads") {
        true => Ok(()),
        false => Err(format!("FAILED: {text} {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// Responds to every request with the address that the client has connected to.
fn serve_http() {
    for address in ["0.0.0.0:8080", "[::1]:8080"] {
        let listener = TcpListener::bind(address).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer_http(stream);
            }
        });
    }
}

fn answer_http(mut stream: TcpStream) -> std::io::Result<()> {
    let _ = stream.read(&mut [0; 4096])?;
    let body = stream.local_addr()?.ip().to_string();
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}
