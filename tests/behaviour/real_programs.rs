//! Programs that nobody here wrote get their secret from handfast, and prove that they used it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::support::{Directory, Run, Running, canary, find_program, needs_program, needs_root, require};
use nix::sys::signal::Signal;

/// A user that has no account: whoever runs as this has no rights but what handfast left.
const USER: u32 = 54321;

/// The one account besides root's that is everywhere.
const NOBODY: u32 = 65534;

/// A directory that only this user can enter.
fn private(user: u32) -> Directory {
    let directory = Directory::new();
    chown(directory.path(), Some(user), Some(user)).expect("root may");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).expect("root may");
    directory
}

/// Where the secret comes from, as Docker has it: `/run/secrets/NAME`.
fn source(name: &str, value: &str) -> Directory {
    let directory = Directory::in_memory();
    directory.write(name, value);
    directory
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Ends the program and waits for it.
fn stop(running: Running) {
    running.signal(Signal::SIGTERM);
    running.finish();
}

/// Tries until it works; a server takes its time.
fn until(what: &str, mut attempt: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !attempt() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One of PostgreSQL's own programs, past wrappers that are in some PATHs.
pub fn postgres_program(name: &str) -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let own = versions.map(|version| version.path().join("bin").join(name)).find(|path| path.is_file());
    own.or_else(|| find_program(name))
}

#[test]
fn postgres_takes_its_password_from_a_descriptor() {
    needs_root!();
    let (initdb, postgres, psql) = (postgres_program("initdb"), postgres_program("postgres"), postgres_program("psql"));
    if !require(initdb.is_some() && postgres.is_some() && psql.is_some(), "initdb") {
        return;
    }
    let (initdb, postgres, psql) = (initdb.expect("seen"), postgres.expect("seen"), psql.expect("seen"));
    let password = canary();
    let secrets = source("db-password", &password);
    let home = private(NOBODY);
    let data = home.path().join("data");
    // initdb refuses root, and who has no account: that it works at all shows who it is.
    let made = Run::new()
        .arg("--user")
        .arg("nobody")
        .arg("--secret")
        .arg(format!("db-password=file:{}/db-password", secrets.text()))
        .app([initdb.as_path()])
        .app_arg("--pwfile=/dev/fd/3")
        .args_of_app(&["--auth=scram-sha-256", "--username=app", "--no-sync", "--no-locale", "--pgdata"])
        .app_arg(&data)
        .timeout(Duration::from_secs(60))
        .start();
    assert_eq!(made.code, 0, "{made:?}");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(&data).expect("it was made")), NOBODY);

    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port().to_string();
    let server = Run::new()
        .arg("--user")
        .arg("nobody")
        .app([postgres.as_path()])
        .args_of_app(&[
            "-D",
            data.to_str().expect("text"),
            "-k",
            home.text(),
            "-c",
            "listen_addresses=",
            "-p",
            &port,
            "-F",
        ])
        .timeout(Duration::from_secs(60))
        .spawn();
    let ask = |password: &str| {
        Command::new(&psql)
            .args(["-h", home.text(), "-p", &port, "-U", "app", "-d", "postgres", "-w", "-At", "-c", "select 6 * 7"])
            .env("PGPASSWORD", password)
            .output()
            .expect("psql starts")
    };
    until("postgres does not answer", || ask(&password).status.success());
    assert_eq!(text(&ask(&password)), "42\n");
    let wrong = ask(&canary());
    assert!(!wrong.status.success() && text(&wrong).contains("password authentication failed"), "{wrong:?}");
    stop(server);
}

#[test]
fn redis_takes_its_users_from_a_file() {
    needs_root!();
    let server = needs_program!("redis-server");
    let client = needs_program!("redis-cli");
    let (password, target, home) = (canary(), Directory::in_memory(), private(USER));
    let secrets = source("redis-users", &format!("user default off\nuser app on >{password} ~* +@all\n"));
    let socket = home.path().join("redis.sock");
    let running = Run::new()
        .arg("--user")
        .arg(USER.to_string())
        .arg("--dir")
        .arg(target.path())
        .env("REDIS_USERS_FILE", format!("handfast:file:{}/redis-users", secrets.text()))
        .app([server.as_path()])
        .args_of_app(&[
            "--port",
            "0",
            "--save",
            "",
            "--dir",
            home.text(),
            "--unixsocket",
            socket.to_str().expect("text"),
        ])
        .args_of_app(&["--aclfile", target.path().join("redis-users").to_str().expect("text")])
        .spawn();
    let ask = |password: &str| {
        let mut command = Command::new(&client);
        command.arg("-s").arg(&socket).args(["--user", "app", "--pass", password, "--no-auth-warning", "PING"]);
        command.output().expect("redis-cli starts")
    };
    until("redis does not answer", || text(&ask(&password)) == "PONG\n");
    let wrong = text(&ask(&canary()));
    assert!(wrong.contains("WRONGPASS"), "{wrong}");
    let nobody = Command::new(&client).arg("-s").arg(&socket).arg("PING").output().expect("redis-cli starts");
    assert!(text(&nobody).contains("NOAUTH"), "{}", text(&nobody));
    stop(running);
}

#[test]
fn redis_includes_a_file_with_its_password() {
    needs_root!();
    let server = needs_program!("redis-server");
    let client = needs_program!("redis-cli");
    let (password, home) = (canary(), private(USER));
    let secrets = source("redis", &format!("requirepass {password}\n"));
    let socket = home.path().join("redis.sock");
    // Without a directory the file is a descriptor, which redis opens by its path.
    let running = Run::new()
        .arg("--user")
        .arg(USER.to_string())
        .env("REDIS_FILE", format!("handfast:file:{}/redis", secrets.text()))
        .app([server.as_path()])
        .args_of_app(&["--include", "/dev/fd/3", "--port", "0", "--save", "", "--dir", home.text()])
        .args_of_app(&["--unixsocket", socket.to_str().expect("text")])
        .spawn();
    let ask = |password: &str| {
        let mut command = Command::new(&client);
        command
            .arg("-s")
            .arg(&socket)
            .args(["--pass", password, "--no-auth-warning", "PING"])
            .output()
            .expect("redis-cli starts")
    };
    until("redis does not answer", || text(&ask(&password)) == "PONG\n");
    assert!(text(&ask(&canary())).contains("WRONGPASS"));
    stop(running);
}

/// The system's own, which every user can execute.
fn python() -> Option<PathBuf> {
    Some(PathBuf::from("/usr/bin/python3")).filter(|path| path.is_file()).or_else(|| find_program("python3"))
}

#[test]
fn python_reads_its_credentials_directory_and_its_descriptors() {
    let python = python();
    if !require(python.is_some(), "python3") {
        return;
    }
    let (file, descriptor, target) = (canary(), canary(), Directory::in_memory());
    let secrets = source("one", &file);
    secrets.write("two", &descriptor);
    // As systemd's documentation has it for the file; twice for the descriptor, which is a path and a number.
    let script = "import os, hashlib\n\
        one = open(os.path.join(os.environ['CREDENTIALS_DIRECTORY'], 'one')).read()\n\
        two = open(os.environ['TWO_FILE']).read()\n\
        fds = dict(pair.split(':') for pair in os.environ['HANDFAST_FDS'].split(','))\n\
        again = os.read(int(fds['two']), 1000).decode()\n\
        print(*(hashlib.sha256(text.encode()).hexdigest() for text in (one, two, again)), os.getuid())\n\
        try:\n  open(os.path.join(os.environ['CREDENTIALS_DIRECTORY'], 'new'), 'w')\nexcept OSError:\n  pass\nelse:\n  print('can write')\n";
    let config = format!(
        "[files]\ndir = \"{}\"\n[secrets.one]\nfrom = \"file:{secrets}/one\"\n\
        [secrets.two]\nfrom = \"file:{secrets}/two\"\nfd = \"auto\"\npath_env = \"TWO_FILE\"\n",
        target.text(),
        secrets = secrets.text()
    );
    let run = Run::new().config(&config).app([python.expect("seen").as_path()]).args_of_app(&["-I", "-c", script]);
    let outcome = if crate::support::is_root() { run.arg("--user").arg(USER.to_string()) } else { run }.start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let sum = |value: &str| {
        let mut command = Command::new("sha256sum");
        let mut child = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("coreutils");
        std::io::Write::write_all(&mut child.stdin.take().expect("piped"), value.as_bytes()).expect("it reads");
        text(&child.wait_with_output().expect("it ends"))[..64].to_owned()
    };
    let user = if crate::support::is_root() { USER } else { nix::unistd::getuid().as_raw() };
    let mut expected = format!("{} {two} {two} {user}\n", sum(&file), two = sum(&descriptor));
    if !crate::support::is_root() {
        // Its own directory, which it may of course write to.
        expected.push_str("can write\n");
    }
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), expected, "{outcome:?}");
}

/// A Secret volume as kubelet lays it out, in a directory: `..data` leads to the present generation, the names into it.
fn kubelet(directory: &Path, generation: &str, values: &[(&str, &str)]) {
    let made = directory.join(generation);
    fs::create_dir(&made).expect("it is ours");
    for (name, value) in values {
        fs::write(made.join(name), value).expect("it is ours");
        let link = directory.join(name);
        if !link.is_symlink() {
            symlink(Path::new("..data").join(name), link).expect("it is ours");
        }
    }
    symlink(generation, directory.join("..data_tmp")).expect("it is ours");
    fs::rename(directory.join("..data_tmp"), directory.join("..data")).expect("it is ours");
}

#[test]
fn secrets_come_from_what_docker_and_kubelet_mount() {
    needs_root!();
    // Docker's: a tmpfs with plain files of root's, in a place of its own; each is read by the worker, which keeps root's uid.
    let value = canary();
    let docker = source("db_password", &value);
    fs::set_permissions(docker.path().join("db_password"), fs::Permissions::from_mode(0o400)).expect("it is ours");
    let bind = format!("{}:/run/secrets/handfast-test:ro", docker.text());
    let existed = Path::new("/run/secrets").exists();
    let run = Run::new().confine(&["--tmpfs", "/run/secrets:mode=0755", "--bind", &bind]);
    let outcome = run
        .env("DB_PASSWORD_FILE", "handfast:file:/run/secrets/handfast-test/db_password")
        .app(["/bin/cat", "/dev/fd/3"])
        .start();
    assert_eq!((outcome.code, outcome.stdout.as_slice()), (0, value.as_bytes()), "{outcome:?}");

    // The place for the mount, which was made outside of it.
    if !existed {
        let _ = fs::remove_dir("/run/secrets");
    }

    // Kubelet's: links that lead out of nothing; with `root`, none may.
    let volume = Directory::in_memory();
    let (first, second) = (canary(), canary());
    kubelet(volume.path(), "..2024_01_01", &[("user", "web"), ("password", &first)]);
    let config = format!(
        "[providers.pod]\ntype = \"file\"\nroot = \"{volume}\"\n[secrets.password]\nfrom = \"pod:{volume}/password\"\n",
        volume = volume.text()
    );
    let read = || Run::new().config(&config).app(["/bin/cat", "/dev/fd/3"]).start();
    let outcome = read();
    assert_eq!((outcome.code, outcome.stdout.as_slice()), (0, first.as_bytes()), "{outcome:?}");
    kubelet(volume.path(), "..2024_01_02", &[("user", "web"), ("password", &second)]);
    let outcome = read();
    assert_eq!((outcome.code, outcome.stdout.as_slice()), (0, second.as_bytes()), "{outcome:?}");
    // A link that leaves the volume is not followed.
    let outside = source("password", "outside");
    fs::remove_file(volume.path().join("password")).expect("it is ours");
    symlink(outside.path().join("password"), volume.path().join("password")).expect("it is ours");
    let outcome = read();
    assert!(![0, 70].contains(&outcome.code) && !outcome.app_ran(), "{outcome:?}");
}
