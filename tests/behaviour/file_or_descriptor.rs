//! Which programs take a secret from a descriptor, and which need a file: with the real programs: the
//! table of docs/apps.md.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

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
    let nobody = || as_nobody(Run::new()).timeout(Duration::from_secs(60));
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
    let deadline = Instant::now() + Duration::from_secs(20);
    let handshake = || {
        let mut command = Command::new(&openssl);
        let command = command.args(["s_client", "-starttls", "postgres", "-verify_return_error", "-CAfile"]);
        let address = format!("localhost:{port}");
        let output = command.arg(&certificate).args(["-connect", &address]).stdin(std::process::Stdio::null()).output();
        output.is_ok_and(|output| output.status.success())
    };
    while !handshake() {
        assert!(Instant::now() < deadline, "no TLS with this key");
        std::thread::sleep(Duration::from_millis(20));
    }
    running.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(running.finish().code, 0);
}

/// Standard output of the app, which ended well.
#[track_caller]
fn printed(run: Run) -> String {
    let outcome = run.start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    String::from_utf8_lossy(&outcome.stdout).trim().to_owned()
}

/// The secret `mock-a` in descriptor 3, for a program of an ordinary user's.
fn by_descriptor(program: &Path) -> Run {
    Run::new().args(["-s", "a=mock:a", "--user", "nobody"]).app([program])
}

/// The same secret in a file, whose path comes with it.
fn by_file(program: &Path) -> (Directory, String, Run) {
    let directory = Directory::in_memory();
    let path = directory.path().join("a").display().to_string();
    let run = by_descriptor(program).arg("--dir").arg(directory.path());
    (directory, path, run)
}

/// A directory that this user can write to.
fn home() -> Directory {
    let home = Directory::new();
    std::os::unix::fs::chown(home.path(), Some(65534), Some(65534)).expect("root may");
    home
}

#[test]
fn php_needs_a_file_or_the_descriptors_number() {
    needs_root!();
    let php = needs_program!("php");
    // It resolves the link of the descriptor, whose target is no path.
    let reads = |path: &str| format!("var_dump(@file_get_contents('{path}'));");
    assert_eq!(printed(by_descriptor(&php).args_of_app(&["-r", &reads("/dev/fd/3")])), "bool(false)");
    assert_eq!(printed(by_descriptor(&php).args_of_app(&["-r", &reads("php://fd/3")])), "string(6) \"mock-a\"");
    let (_directory, path, run) = by_file(&php);
    assert_eq!(printed(run.args_of_app(&["-r", &reads(&path)])), "string(6) \"mock-a\"");
}

#[test]
fn php_fpm_needs_a_file() {
    needs_root!();
    let client = needs_program!("cgi-fcgi");
    let versions = || fs::read_dir("/usr/sbin").into_iter().flatten().flatten().map(|entry| entry.path());
    let fpm =
        versions().find(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"php-fpm")));
    if !require(fpm.is_some(), "php-fpm") {
        return;
    }
    let fpm = fpm.expect("seen");
    let (_directory, path, with_file) = by_file(&fpm);
    for (run, path, expected) in [
        (by_descriptor(&fpm), "/dev/fd/3", "bool(false)"),
        (by_descriptor(&fpm), "php://fd/3", "bool(false)"),
        (with_file, &path, "string(6) \"mock-a\""),
    ] {
        let home = home();
        let script = home.write("read.php", format!("<?php var_dump(@file_get_contents('{path}'));"));
        let socket = home.path().join("socket");
        let pool = format!(
            "[global]\nerror_log = /dev/null\ndaemonize = no\n[www]\nlisten = {}\npm = static\npm.max_children = 1\n",
            socket.display()
        );
        let running = run.arg("--log-level").arg("error").app_arg("-y").app_arg(home.write("pool", pool)).spawn();
        let mut command = Command::new(&client);
        command.args(["-bind", "-connect"]).arg(&socket).env("SCRIPT_FILENAME", &script).env("REQUEST_METHOD", "GET");
        let deadline = Instant::now() + Duration::from_secs(20);
        let answer = loop {
            let answer = command.output().expect("it starts");
            if socket.exists() && answer.status.success() && !answer.stdout.is_empty() {
                break String::from_utf8_lossy(&answer.stdout).into_owned();
            }
            assert!(Instant::now() < deadline, "no answer: {answer:?}");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(answer.ends_with(&format!("{expected}\n")), "{path}: {answer}");
        running.signal(nix::sys::signal::Signal::SIGTERM);
        running.finish();
    }
}

#[test]
fn a_child_of_supervisord_needs_a_file() {
    needs_root!();
    let supervisord = needs_program!("supervisord");
    let (_directory, path, with_file) = by_file(&supervisord);
    for (run, path, expected) in [(by_descriptor(&supervisord), "/dev/fd/3", ""), (with_file, &path, "mock-a")] {
        let home = home();
        let at = |name: &str| home.path().join(name).display().to_string();
        let settings = format!(
            "[supervisord]\nnodaemon = true\nlogfile = /dev/null\nlogfile_maxbytes = 0\npidfile = {}\n\
             [program:a]\ncommand = /bin/sh -c \"cat {path}; kill $PPID\"\nstdout_logfile = {}\nautorestart = false\nstartsecs = 0\n",
            at("pid"),
            at("out")
        );
        let outcome = run.app_arg("-c").app_arg(home.write("supervisord.conf", settings)).start();
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert_eq!(fs::read_to_string(at("out")).unwrap_or_default(), expected, "{path}");
    }
}

#[test]
fn a_child_of_nodes_cluster_needs_a_file() {
    needs_root!();
    let node = needs_program!("node");
    let script = |path: &str| {
        format!(
            "const cluster = require('cluster');\n\
             const read = () => {{ try {{ return require('fs').readFileSync('{path}', 'utf8'); }} catch {{ return 'nothing'; }} }};\n\
             if (cluster.isPrimary) {{ console.log('primary', read()); cluster.fork(); }}\n\
             else {{ console.log('child', read()); process.exit(0); }}"
        )
    };
    let home = home();
    let by_path = |run: Run, path: &str| printed(run.app_arg(home.write("cluster.js", script(path))));
    assert_eq!(by_path(by_descriptor(&node), "/dev/fd/3"), "primary mock-a\nchild nothing");
    let (_directory, path, run) = by_file(&node);
    assert_eq!(by_path(run, &path), "primary mock-a\nchild mock-a");
}

/// npm's docker-secret 2.0.6 as its registry has it (`npm pack docker-secret`): the whole program, in `tests/data/docker-secret`.
const DOCKER_SECRET: &str = include_str!("../data/docker-secret/index.js");

#[test]
fn what_reads_each_entry_of_the_directory_must_pass_over_dots() {
    needs_root!();
    let node = needs_program!("node");
    let home = home();
    let module = home.write("docker-secret.js", DOCKER_SECRET).display().to_string();
    // It passes over directories, and not over links to directories; nor can it be told to.
    let reads =
        format!("console.log(JSON.stringify(require('{module}').getSecrets(process.env.CREDENTIALS_DIRECTORY)))");
    let (_directory, _, run) = by_file(&node);
    let outcome = run.args_of_app(&["-e", &reads]).start();
    outcome.says("EISDIR: illegal operation on a directory");
    assert_eq!((outcome.code, outcome.stdout.as_slice()), (1, &b""[..]), "{outcome:?}");
    // The same program reads what has no such link: a Docker secret's directory.
    let plain = Directory::in_memory();
    plain.write("a", "mock-a\n");
    fs::set_permissions(plain.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let reads = reads.replace("process.env.CREDENTIALS_DIRECTORY", &format!("'{}'", plain.text()));
    assert_eq!(printed(by_descriptor(&node).args_of_app(&["-e", &reads])), r#"{"a":"mock-a"}"#);
    // What to do instead: the path in the variable, or a program that passes over the names.
    let (_directory, path, run) = by_file(&node);
    let by_path = format!("console.log(require('fs').readFileSync('{path}', 'utf8'))");
    assert_eq!(printed(run.args_of_app(&["-e", &by_path])), "mock-a");
    let each = "const fs = require('fs'); const dir = process.env.CREDENTIALS_DIRECTORY;\n\
                const names = fs.readdirSync(dir).filter((name) => !name.startsWith('.'));\n\
                console.log(names.map((name) => fs.readFileSync(dir + '/' + name, 'utf8')).join());";
    let (_directory, _, run) = by_file(&node);
    assert_eq!(printed(run.args_of_app(&["-e", each])), "mock-a");
}

#[test]
fn ssh_needs_a_file() {
    needs_root!();
    let (keygen, ssh) = (needs_program!("ssh-keygen"), needs_program!("ssh"));
    let (directory, _) = ssh_key(&keygen);
    let target = Directory::in_memory();
    let run = |path: &str| {
        let reference = format!("key=file:{}/key", directory.text());
        let run = Run::new().arg("-s").arg(reference).args(["--user", "nobody"]).app([ssh.as_path()]);
        run.args_of_app(&["-o", "BatchMode=yes", "-p", "1", "-i", path, "127.0.0.1"])
    };
    // It closes what it inherits; nothing listens there, which is all that it says of a key that it can read.
    run("/dev/fd/3").start().says("Identity file /dev/fd/3 not accessible").says("Connection refused");
    let path = target.path().join("key").display().to_string();
    run(&path).arg("--dir").arg(target.path()).start().never_says("not accessible").says("Connection refused");
}

#[test]
fn libpq_takes_a_password_file_that_nobody_else_can_read() {
    needs_root!();
    let psql = postgres_program("psql");
    if !require(psql.is_some(), "psql") {
        return;
    }
    let psql = psql.expect("seen");
    let target = Directory::in_memory();
    let config = "[app]\n[secrets.pgpass]\nfrom = \"mock:a\"\npath_env = \"PGPASSFILE\"\n";
    let run = || Run::new().config(config).app([psql.as_path()]).args_of_app(&["-h", "127.0.0.1", "-p", "1", "-w"]);
    let warning = "WARNING: password file \"/dev/fd/3\" has group or world access";
    run().args(["--user", "nobody"]).start().says(warning);
    // The owner's own descriptor, and a file.
    as_nobody(run()).start().never_says("WARNING").says("Connection refused");
    let with_file = run().args(["--user", "nobody"]).arg("--dir").arg(target.path()).start();
    with_file.never_says("WARNING").says("Connection refused");
}

#[test]
fn a_shell_that_uses_number_3_needs_another_for_the_secret() {
    let script = "exec 3>/dev/null; cat \"$A_FILE\"";
    let run = |fd: &str| {
        let config = format!("[secrets.a]\nfrom = \"mock:a\"\nfd = {fd}\npath_env = \"A_FILE\"\n");
        Run::new().config(&config).app(["/bin/sh", "-c", script])
    };
    assert_eq!(printed(run("\"auto\"")), "");
    assert_eq!(printed(run("200")), "mock-a");
}

#[test]
fn gawk_reads_a_descriptor_once() {
    needs_root!();
    let gawk = needs_program!("gawk");
    // It takes the name for the number that it inherited, where it has read to the end.
    let twice = |path: &str| {
        format!("BEGIN {{ getline a < \"{path}\"; close(\"{path}\"); getline b < \"{path}\"; print a \",\" b }}")
    };
    assert_eq!(printed(by_descriptor(&gawk).app_arg(twice("/dev/fd/3"))), "mock-a,");
    let (_directory, path, run) = by_file(&gawk);
    assert_eq!(printed(run.app_arg(twice(&path))), "mock-a,mock-a");
}

#[test]
fn deno_without_all_permissions_needs_a_file() {
    needs_root!();
    let deno = handfast_testservers::deno();
    if !require(deno.is_some(), "Deno (tests/servers/build deno)") {
        return;
    }
    let deno = deno.expect("seen");
    // Whatever is below /dev needs all permissions.
    let (home, target) = (Directory::new(), Directory::tmpfs("mode=755"));
    // As root: others may not be able to enter where the tests have put it.
    let config = "[app]\nuser = \"0:0\"\nallow_root = true\n";
    let run = || Run::new().config(config).args(["-s", "a=mock:a"]).app([deno.as_path()]);
    let reads = |run: Run, path: &str, allow: &str| {
        let script = home.write("read.ts", format!("console.log(Deno.readTextFileSync('{path}'));"));
        let run = run.env("DENO_DIR", home.text()).env("NO_COLOR", "1").timeout(Duration::from_secs(60));
        run.args_of_app(&["run", "--no-prompt", allow]).app_arg(script).start()
    };
    let refused = reads(run(), "/dev/fd/3", "--allow-read");
    refused.says("NotCapable");
    assert_eq!(refused.code, 1);
    let path = target.path().join("a").display().to_string();
    let with_file = run().arg("--dir").arg(target.path());
    for outcome in
        [reads(run(), "/dev/fd/3", "--allow-all"), reads(with_file, &path, &format!("--allow-read={}", target.text()))]
    {
        assert_eq!((outcome.code, outcome.stdout.as_slice()), (0, b"mock-a\n".as_slice()), "{outcome:?}");
    }
}
