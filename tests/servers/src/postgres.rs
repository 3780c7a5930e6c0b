//! PostgreSQL from Debian, with its own directory.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use crate::directory::Directory;
use crate::process::{Process, free_port};
use crate::random;
use crate::requirements::{find_program, is_root, require};

/// The only account besides root's that exists everywhere: initdb does not run as root or without an account.
const NOBODY: u32 = 65534;

/// The name of the first user, who has all rights.
const OWNER: &str = "owner";

/// A database server.
pub struct Postgres {
    _process: Process,
    port: u16,
    password: String,
    psql: PathBuf,
}

impl Postgres {
    /// Starts a server on 127.0.0.1 that requires a password from every user.
    pub fn start() -> Option<Self> {
        let found = ["initdb", "postgres", "psql"].map(find_program);
        if !require(found.iter().all(Option::is_some), "initdb (Debian: postgresql)") {
            return None;
        }
        let [initdb, postgres, psql] = found.map(|path| path.expect("it was found"));
        let (directory, password, port) = (Directory::new(), random(""), free_port());
        directory.write("password", &password);
        let data = directory.file("data");
        if is_root() {
            chown(directory.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
        }
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(directory.path(), private).expect("it is ours");
        let as_user = |program: &PathBuf| -> Vec<String> {
            let mut command = Vec::new();
            if is_root() {
                let user = NOBODY.to_string();
                command.extend(["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"].map(str::to_owned));
                // The change of the user clears PDEATHSIG, so set it again.
                command.extend(["setpriv", "--pdeathsig", "KILL"].map(str::to_owned));
            }
            command.push(program.display().to_string());
            command
        };
        let initdb = as_user(&initdb);
        let made = Command::new(&initdb[0])
            .args(&initdb[1..])
            .args(["--auth=scram-sha-256", "--no-sync", "--no-locale", "--encoding=UTF8", "--pgdata", &data])
            .args(["--username", OWNER, "--pwfile", &directory.file("password")])
            .current_dir("/")
            .output()
            .expect("initdb starts");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let sockets = directory.path().display().to_string();
        let mut command = as_user(&postgres);
        command.extend(["-D", &data, "-k", &sockets, "-h", "127.0.0.1", "-F", "-p"].map(str::to_owned));
        command.push(port.to_string());
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let mut process = Process::start("postgres", directory, &command, &[]);
        process.wait_for(|| ask(&psql, port, OWNER, &password, "select 1"));
        Some(Self { _process: process, port, password, psql })
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The name and the password of the user with all rights.
    pub fn owner(&self) -> (&'static str, &str) {
        (OWNER, &self.password)
    }

    /// The result of a query by a user, in psql's plain format; `None` if it fails.
    pub fn query(&self, user: &str, password: &str, query: &str) -> Option<String> {
        ask(&self.psql, self.port, user, password, query)
    }
}

fn ask(psql: &PathBuf, port: u16, user: &str, password: &str, query: &str) -> Option<String> {
    let output = Command::new(psql)
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", user, "-d", "postgres", "-w", "-At", "-c", query])
        .env("PGPASSWORD", password)
        .output()
        .expect("psql starts");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
