//! Broken configurations by the thousand: none ends in a panic, each problem has its place, and no value is in a message.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use crate::support::Directory;
use handfast::cli::Options;
use handfast::config::{self, Environment};
use handfast::error::Error;
use handfast::plan::{Purpose, make};
use handfast::sys::environment::{Captured, Entry};
use handfast::sys::signals::Signals;
use handfast_core::{Place, Problems, SecretValue};

/// Always the same, so that each run does the same.
const SECRET: &str = "q9Zx7Lw2Vb8Kp4Tn6Rj3";

const ROUNDS: usize = 10_000;

/// A configuration with every key, whose secrets are `@`.
const WHOLE: &str = r##"
[app]
user = "1000:1000" # a comment
allow_root = false
groups = ["10", '20']
keep_capabilities = ["NET_BIND_SERVICE"]
keep_fds = []
core_dumps = false
strict = true
env_keep = ["VAULT_TOKEN"]
env_remove = ["LEGACY_*", "*_B"]

[files]
dir = "/run/${SUB:-secrets}"
mode = "0440"
size = "1MiB"
swap = "warn"

[fetch]
deadline = "1m 30s"
concurrency = 0x20
proxy = "http://user:@@@@/"
roots = "builtin"

[providers.mock]
values = { db = "@", "a.b" = '@', json = '{"password":"@","list":["@"]}' }
latency = "1ms"
fail_first = 3

[providers.other]
type = "mock"
[providers.other.values]
x = """
@
"@" = @
"""
y = '''@'''

[providers.files]
type = "file"
root = "/etc"

[secrets.db]
from = "mock:db?decode=base64#/password"
fd = 7
path_env = "DB_FILE"
fd_env = "DB_FD"

[secrets."x.y"]
from = "other:${NAME}/x%23#*"
file = "x-*"
mode = "0400"
owner = "1:2"
optional = true

[secrets]
z = { from = "files:/etc/z", fd = "auto" }
"##;

/// What is put into it.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "\"", "'", "\"\"\"", "[", "]", "[[", "{", "}", "=", ".", ",", "#", "\n", "\r\n", "\t", " ", "\\", "\\u0000", "\0",
    "\u{1b}", "ä", "\u{202e}", "\u{feff}", "$", "${", "}", "$$", "${NAME}", "${VAULT_TOKEN}", "${1}", ":-", ":", "?",
    "*", "-", "+", "_", "0", "9223372036854775808", "-1", "0x", "1e9", "nan", "true", "1979-05-27", "[app]",
    "[secrets.", "from = ", "mock:", "vault:", "type = ", "null", "/", "..", "fd = ", "9", "a.b.c.d.e.f = 1",
    "\n[providers.mock]\n", "values = ",
];

/// A small generator of its own (xorshift64*), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).expect("it has 31 bits") % end.max(1)
    }

    /// A range of characters, mostly a short one.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = if self.below(10) == 0 { length } else { 12 };
        start..(start + self.below(most)).min(length)
    }

    fn mutate(&mut self, text: &mut Vec<char>) {
        let range = self.range(text.len());
        match self.below(6) {
            0 => {
                // Within a line: across lines a secret would come to stand where a mode belongs, and be told as a wrong one.
                let end = text[range.clone()].iter().position(|c| *c == '\n').map_or(range.end, |at| range.start + at);
                text.drain(range.start..end);
            }
            1 => {
                // A secret that somebody writes as a key or a name is told; this is about values where they belong.
                let copy: Vec<char> = text[range].iter().copied().filter(|c| *c != '@').collect();
                let at = self.below(text.len() + 1);
                text.splice(at..at, copy);
            }
            2 => text.truncate(text.len() - text.len() / (2 + self.below(8))),
            3 => {
                // Two lines change places.
                let mut lines: Vec<String> = text.iter().collect::<String>().split('\n').map(str::to_owned).collect();
                let (a, b) = (self.below(lines.len()), self.below(lines.len()));
                lines.swap(a, b);
                *text = lines.join("\n").chars().collect();
            }
            _ => {
                let piece = PIECES[self.below(PIECES.len())];
                text.splice(range.start..range.start, piece.chars());
            }
        }
    }
}

/// What a start would say to this configuration; an empty list where it has no problem.
fn problems(path: &std::path::Path, token: &str) -> Problems {
    let variables = [("NAME", "name"), ("PATH", "/bin"), ("A_FD", "handfast:mock:a")];
    let mut entries: Vec<Entry> = variables.map(|(name, value)| Entry::Variable(name.into(), value.into())).into();
    entries.push(Entry::Credential("VAULT_TOKEN".into(), SecretValue::from(token.as_bytes().to_vec())));
    let mut environment = Environment::from(Captured { entries });
    let options = Options { config: vec![PathBuf::from(path)], ..Options::default() };
    let mut problems = Problems::default();
    let config = config::read(&options, &mut environment, Signals::NONE, Instant::now(), &mut problems)
        .expect("nothing ends it");
    let plan = make::make(config, &environment, Purpose::Run, Instant::now(), &mut problems);
    assert_eq!(plan.is_none(), !problems.is_empty(), "a plan, or problems");
    if let Some((plan, _)) = plan {
        assert!(plan.warnings().iter().all(|warning| !warning.contains(token)));
    }
    problems
}

#[test]
fn no_mutated_configuration_panics_hides_its_place_or_tells_a_value() {
    std::thread::scope(|scope| {
        for seed in [0x5eed_1234_5678_9abc, 0x0dd5_eed0_f00d_cafe] {
            scope.spawn(move || mutate_from(seed));
        }
    });
}

fn mutate_from(seed: u64) {
    let directory = Directory::in_memory();
    let path = directory.path().join("handfast.toml");
    let secret = SECRET.to_owned();
    let mut random = Random(seed);
    let (mut wrong, mut right) = (0, 0);
    for round in 0..ROUNDS {
        let mut text: Vec<char> = WHOLE.chars().collect();
        for _ in 0..=random.below(3) {
            random.mutate(&mut text);
        }
        let text: String = text.into_iter().collect::<String>().replace('@', &secret);
        fs::write(&path, &text).expect("it is ours");
        let found = problems(&path, &secret);
        if found.is_empty() {
            right += 1;
            continue;
        }
        wrong += 1;
        let lines: Vec<&str> = text.split('\n').collect();
        let found = found.into_sorted();
        for problem in &found {
            let Place::File { line, column, .. } = &problem.place else {
                // `user` is looked up also where nobody wrote it.
                assert!(matches!(problem.place, Place::CommandLine | Place::Environment));
                continue;
            };
            let there = lines.get(line - 1).unwrap_or_else(|| panic!("no such line, round {round}: {problem:?}"));
            assert!((1..=there.chars().count() + 1).contains(column), "round {round}: {problem:?}");
        }
        let mut again = Problems::default();
        found.into_iter().for_each(|problem| again.push(problem));
        tells_nothing(&config::error(again), &secret, round, &text);
    }
    // The mutations are neither harmless nor all fatal.
    assert!(wrong > ROUNDS / 4 && right > ROUNDS / 50, "{wrong} wrong, {right} right");
}

fn tells_nothing(error: &Error, secret: &str, round: usize, text: &str) {
    let said = format!("{} {}", error.message, error.hint.as_deref().unwrap_or_default());
    // Not even a part of it.
    let part = (0..=secret.len() - 8).map(|at| &secret[at..at + 8]).find(|part| said.contains(part));
    assert!(part.is_none(), "round {round}: {said}\n{text}");
    error.parts.iter().for_each(|part| tells_nothing(part, secret, round, text));
}

#[test]
fn configurations_without_bounds_are_refused_in_time() {
    let directory = Directory::in_memory();
    let path = directory.path().join("handfast.toml");
    let many = 100_000;
    let started = Instant::now();
    for text in [
        format!("[app]\nuser = {}", "[".repeat(many)),
        format!("[app]\n{}b = 1", "a.".repeat(many)),
        format!("[app]\nuser = {}", "{a=".repeat(many)),
        format!("[{}b]", "a.".repeat(many)),
        format!("[app]\n{} = 1\n", "a".repeat(1_000_000)),
        format!("[secrets.{}]\nfrom = \"{}\"\n", "a".repeat(500_000), "b".repeat(500_000)),
        "[[a]]\n".repeat(20_000),
    ] {
        fs::write(&path, &text).expect("it is ours");
        assert!(!problems(&path, "token").is_empty(), "{}", &text[..20]);
    }
    fs::write(&path, "#".repeat((1 << 20) + 1)).expect("it is ours");
    let found = problems(&path, "token").into_sorted();
    assert_eq!(found[0].message, "cannot read the configuration: it is larger than 1 MiB");
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}
