//! Which programs take a secret from a descriptor, and which need a file: with the real programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::real_programs::postgres_program;
use crate::support::{Directory, Outcome, Run, needs_program, needs_root, require};

/// An account that is everywhere: OpenSSH and PostgreSQL ask who they are.
const NOBODY: &str = "65534";

/// A key of OpenSSH's and its public half, made here.
fn ssh_key(keygen: &Path) -> (Directory, String) {
    let directory = Directory::in_memory();
    let key = directory.path().join("key");
    let mut command = Command::new(keygen);
    let made = command.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(&key).status();
    assert!(made.is_ok_and(|status| status.success()), "ssh-keygen makes a key");
    let public = fs::read_to_string(key.with_extension("pub")).expect("it was made");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    (directory, public.trim().to_owned())
}

/// Started as this user, with its own directory for what it writes.
fn as_nobody(run: Run) -> Run {
    run.confine(&["--uid", NOBODY, "--gid", NOBODY, "--groups", "none"])
}

#[test]
fn openssh_takes_a_key_that_its_own_user_hands_over() {
    needs_root!();
    let keygen = needs_program!("ssh-keygen");
    let (directory, public) = ssh_key(&keygen);
    let key = directory.path().join("key");
    let run = || {
        let reference = format!("key=file:{}", key.display());
        Run::new().arg("-s").arg(reference).app([keygen.as_path()]).args_of_app(&["-y", "-f", "/dev/fd/3"])
    };
    let says = |outcome: Outcome| (outcome.code, String::from_utf8_lossy(&outcome.stdout).trim().to_owned());
    // Root hands it over to another user: its mode is 0440, and its owner is not who asks.
    assert_eq!(says(run().arg("--user").arg("nobody").start()), (0, public.clone()));
    // The owner itself asks: no bit of its group's may be set.
    nix::unistd::chown(&key, Some(65534.into()), Some(65534.into())).expect("root may");
    assert_eq!(says(as_nobody(run()).start()), (0, public));
}

#[test]
fn postgres_takes_the_key_of_its_certificate_from_its_own_user() {
    needs_root!();
    let openssl = needs_program!("openssl");
    let (Some(initdb), Some(postgres)) = (postgres_program("initdb"), postgres_program("postgres")) else {
        require(false, "initdb");
        return;
    };
    let home = Directory::new();
    let nobody = || as_nobody(Run::new()).timeout(std::time::Duration::from_secs(60));
    std::os::unix::fs::chown(home.path(), Some(65534), Some(65534)).expect("root may");
    let made = nobody().app([openssl.as_path()]).args_of_app(&["req", "-x509", "-newkey", "rsa:2048", "-nodes"]);
    let (key, certificate) = (home.path().join("key.pem"), home.path().join("certificate.pem"));
    let made =
        made.args_of_app(&["-subj", "/CN=localhost", "-keyout"]).app_arg(&key).app_arg("-out").app_arg(&certificate);
    assert_eq!(made.start().code, 0);
    let data = home.path().join("data");
    let made = nobody().app([initdb.as_path()]).args_of_app(&["--no-sync", "--no-locale", "--pgdata"]).app_arg(&data);
    assert_eq!(made.start().code, 0);
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let server = |key: &str| {
        nobody()
            .arg("-s")
            .arg(format!("key=file:{}", home.path().join("key.pem").display()))
            .app([postgres.as_path()])
            .args_of_app(&["-F", "-D", data.to_str().expect("text"), "-k", home.text(), "-p", &port.to_string()])
            .args_of_app(&["-c", "listen_addresses=localhost", "-c", "ssl=on", "-c", &format!("ssl_key_file={key}")])
            .args_of_app(&["-c", &format!("ssl_cert_file={}", certificate.display())])
            .spawn()
    };
    let running = server("/dev/fd/3");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let handshake = || {
        let mut command = Command::new(&openssl);
        let command = command.args(["s_client", "-starttls", "postgres", "-verify_return_error", "-CAfile"]);
        let address = format!("localhost:{port}");
        let output = command.arg(&certificate).args(["-connect", &address]).stdin(std::process::Stdio::null()).output();
        output.is_ok_and(|output| output.status.success())
    };
    while !handshake() {
        assert!(std::time::Instant::now() < deadline, "no TLS with this key");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    running.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(running.finish().code, 0);
}
