//! One cell of the matrix: how its container is started, and how what came of it is judged.

use serde_json::{Value, json};

use crate::images::{BUSYBOX, DEBIAN, SCRATCH};
use crate::support::{Outcome, hex};

/// The secret that every cell delivers.
pub const SECRET: &str = "db-password";

/// A line of `matrix.txt`.
#[derive(Clone)]
pub struct Cell {
    pub number: usize,
    pub user: String,
    pub capabilities: String,
    pub read_only: bool,
    pub secrets: String,
    pub image: String,
    pub no_new_privileges: bool,
    pub terminal: bool,
    outcome: Vec<String>,
    bounding: String,
    warnings: Vec<String>,
    line: String,
}

/// What a container that was started as a cell's, but without handfast, finds.
pub struct Baseline(pub Value);

impl Cell {
    /// All of them. Panics at a line that is none.
    pub fn all() -> Vec<Self> {
        let lines = include_str!("matrix.txt").lines().filter(|line| !line.starts_with('#'));
        lines.enumerate().map(|(number, line)| Self::parse(number, line)).collect()
    }

    fn parse(number: usize, line: &str) -> Self {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let [user, capabilities, root, secrets, image, nnp, tty, outcome, bounding, warnings, reason] = columns[..]
        else {
            panic!("matrix.txt: not 11 columns: {line}");
        };
        assert!(!reason.is_empty(), "matrix.txt: no reason: {line}");
        let flag = |column: &str, set: &str, unset: &str| match column {
            found if found == set => true,
            found if found == unset => false,
            found => panic!("matrix.txt: `{found}` is neither {set} nor {unset}: {line}"),
        };
        let words = |column: &str| column.split(' ').filter(|word| *word != "-").map(str::to_owned).collect();
        Self {
            number,
            user: user.into(),
            capabilities: capabilities.into(),
            read_only: flag(root, "ro", "rw"),
            secrets: secrets.into(),
            image: image.into(),
            no_new_privileges: flag(nnp, "nnp", "-"),
            terminal: flag(tty, "tty", "-"),
            outcome: words(outcome),
            bounding: bounding.into(),
            warnings: words(warnings),
            line: line.trim().into(),
        }
    }

    /// The words of `docker run` for its user, capabilities and image, with or without handfast in front.
    pub fn words(&self, more: &[String], handfast: bool, command: &[&str]) -> Vec<String> {
        let mut words = more.to_vec();
        let mut add = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
        // Lines without colour, on a terminal too.
        add(&["--env", "NO_COLOR=1"]);
        if self.user != "root" {
            add(&["--user", &format!("{0}:{0}", self.user)]);
        }
        match &*self.capabilities {
            "default" => {}
            "none" => add(&["--cap-drop", "ALL"]),
            "setid" => add(&["--cap-drop", "ALL", "--cap-add", "SETUID", "--cap-add", "SETGID"]),
            "privileged" => add(&["--privileged"]),
            other => panic!("unknown capabilities {other}"),
        }
        if self.no_new_privileges {
            add(&["--security-opt", "no-new-privileges"]);
        }
        if self.read_only {
            add(&["--read-only"]);
        }
        if self.terminal {
            add(&["--tty"]);
        }
        match &*self.secrets {
            "none" => {}
            "tmpfs" => add(&["--env", "HANDFAST_DIR=/run/secrets", "--tmpfs", "/run/secrets"]),
            "disk" => add(&["--env", "HANDFAST_DIR=/run/secrets", "--volume", "/run/secrets"]),
            other => panic!("unknown place {other}"),
        }
        if handfast {
            add(&["--env", "DB_PASSWORD_FILE=handfast:file:/run/source/db-password"]);
        } else {
            add(&["--entrypoint", "/probe"]);
        }
        add(&[match &*self.image {
            "scratch" => SCRATCH,
            "busybox" => BUSYBOX,
            "debian" => DEBIAN,
            other => panic!("unknown image {other}"),
        }]);
        if handfast {
            add(&["/probe"]);
        }
        add(command);
        words
    }

    /// How what came of it differs from what is written: nothing, it is to be hoped.
    pub fn judge(&self, outcome: &Outcome, report: Option<&Value>, value: &str, baseline: &Baseline) -> Vec<String> {
        let mut found = Findings(Vec::new());
        // On a terminal, the engine has one stream for both.
        let printed = String::from_utf8_lossy(&outcome.stdout).into_owned() + &outcome.stderr;
        let lines: Vec<&str> = printed.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        match self.outcome[0].parse::<i32>() {
            Ok(code) => {
                found.compare("the exit code", json!(outcome.code), json!(code));
                let text = self.outcome[1..].join(" ");
                found.compare("the app's start", json!(report.is_some()), json!(false));
                let last =
                    lines.last().is_some_and(|line| line.starts_with("handfast: error: ") && line.contains(&text));
                found.compare(&format!("`{text}` in the last line of {lines:?}"), json!(last), json!(true));
            }
            Err(_) => {
                found.compare("the exit code", json!(outcome.code), json!(0));
                found.compare("all that handfast says", json!(warnings(&lines)), json!(self.warnings));
                match report {
                    Some(app) => self.judge_app(&mut found, app, value, &baseline.0),
                    None => found.0.push(format!("the app was never started: {lines:?}")),
                }
            }
        }
        let line = |difference: String| format!("{}\n    {difference}", self.line);
        found.0.into_iter().map(line).collect()
    }

    fn judge_app(&self, found: &mut Findings, app: &Value, value: &str, baseline: &Value) {
        let id: u32 = if self.user == "root" { 65532 } else { self.user.parse().expect("a number") };
        let (status, before) = (&app["status"], &baseline["status"]);
        let none = json!("0000000000000000");
        found.compare("uids", status["uids"].clone(), json!(vec![id; 4]));
        found.compare("gids", status["gids"].clone(), json!(vec![id; 4]));
        // Who stays, keeps them: some engines list the gid there, too.
        let groups = if self.user == "root" { json!([]) } else { before["groups"].clone() };
        found.compare("groups", status["groups"].clone(), groups);
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            found.compare(set, status[set].clone(), none.clone());
        }
        let bounding = if self.bounding == "empty" { none } else { before["CapBnd"].clone() };
        found.compare("CapBnd", status["CapBnd"].clone(), bounding);
        found.compare("NoNewPrivs", status["NoNewPrivs"].clone(), json!(1));
        // Whatever the engine confines it with.
        found.compare("Seccomp", status["Seccomp"].clone(), before["Seccomp"].clone());
        found.compare("RLIMIT_CORE", status["rlimits"]["CORE"].clone(), json!([0, 0]));
        found.compare("PID", status["pid"].clone(), json!(1));
        found.compare("uid 0 again", app["attempts"]["setresuid"].clone(), json!("EPERM"));
        found.compare("gid 0 again", app["attempts"]["setresgid"].clone(), json!("EPERM"));
        let open = if self.warnings.iter().any(|word| word == "stdio") { "EACCES" } else { "ok" };
        found.compare("/dev/stdout", app["attempts"]["stdout"].clone(), json!(open));
        found.compare("/dev/stderr", app["attempts"]["stderr"].clone(), json!(open));
        let home = if self.user == "root" { json!("/") } else { baseline["environ"]["HOME"].clone() };
        found.compare("HOME", app["environ"]["HOME"].clone(), home);
        self.judge_secret(found, app, value);
    }

    fn judge_secret(&self, found: &mut Findings, app: &Value, value: &str) {
        let owner = &self.outcome[2];
        let descriptors = app["descriptors"].as_array().map_or(&[][..], Vec::as_slice);
        let numbers: Vec<&Value> = descriptors.iter().map(|one| &one["fd"]).collect();
        let owned = |entry: &Value| format!("{}:{}", entry["uid"], entry["gid"]);
        let path = &app["environ"]["DB_PASSWORD_FILE"];
        if self.outcome[0] == "fd" {
            found.compare("descriptors", json!(numbers), json!([0, 1, 2, 3]));
            found.compare("the path", path.clone(), json!("/dev/fd/3"));
            let Some(memfd) = descriptors.get(3) else { return };
            found.compare("the content", memfd["content"].clone(), json!(hex(value)));
            found.compare("the mode", memfd["mode"].clone(), json!(format!("10{}", self.outcome[1])));
            found.compare("the owner", json!(owned(memfd)), json!(owner));
            found.compare("writing", memfd["write"].clone(), json!("EBADF"));
            found.compare(
                "opening to read, to write",
                json!([memfd["open_read"], memfd["open_write"]]),
                json!(["ok", "EACCES"]),
            );
            return;
        }
        found.compare("descriptors", json!(numbers), json!([0, 1, 2]));
        found.compare("the path", path.clone(), json!(format!("/run/secrets/{SECRET}")));
        let directory = &app["CREDENTIALS_DIRECTORY"];
        found.compare("the directory is a tmpfs", directory["filesystem"].clone(), json!("1021994"));
        found.compare("the content", directory["entries"][SECRET]["content"].clone(), json!(hex(value)));
        let entries = directory["entries"].as_object().into_iter().flatten();
        // Besides what handfast itself has there: its lock, and the mark of a set.
        let secrets = entries.filter(|(name, _)| !name.ends_with("/lock") && !name.ends_with("/..handfast"));
        let files: Vec<&Value> = secrets.map(|(_, entry)| entry).filter(|entry| entry["type"] == "file").collect();
        let [file] = files[..] else { return found.0.push(format!("not one file: {directory}")) };
        let mode = self.outcome[1].trim_start_matches('0');
        found.compare("the mode", file["mode"].clone(), json!(mode));
        found.compare("the owner", json!(owned(file)), json!(owner));
        found.compare("opening to write", file["open_write"].clone(), json!("EACCES"));
        // The engine's own tmpfs has none of our flags, ours has all.
        let flags = u32::from_str_radix(directory["mount_flags"].as_str().unwrap_or_default(), 16).unwrap_or_default();
        found.compare("nosuid, nodev, noexec", json!(flags & 0xe), json!(0xe));
    }
}

/// What was compared and differed.
struct Findings(Vec<String>);

impl Findings {
    fn compare(&mut self, what: &str, is: Value, expected: Value) {
        if is != expected {
            self.0.push(format!("{what}: {is}, expected {expected}"));
        }
    }
}

/// The lines by their short names; one that has none, as it is. A machine that swaps has one more, which is its own.
fn warnings(lines: &[&str]) -> Vec<String> {
    const NAMES: [(&str, &str); 3] = [
        ("the app runs as 65532:65532", "nobody"),
        ("is readable through its group", "group"),
        ("stays with its owner, so /dev/stdout may not open", "stdio"),
    ];
    let name = |line: &&str| {
        let known = NAMES.iter().find(|(text, _)| line.starts_with("handfast: warn: ") && line.contains(text));
        known.map_or_else(|| (*line).to_owned(), |(_, name)| (*name).to_owned())
    };
    lines.iter().filter(|line| !line.contains("can be swapped out")).map(name).collect()
}
