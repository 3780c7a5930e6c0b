//! What `entries` says of a program whose functions are known.
#![cfg(target_arch = "x86_64")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = r#"
#include <sys/wait.h>
#include <unistd.h>
#define FUNCTION(name) __attribute__((noinline)) int name(int number) { __asm__ volatile(""); return number + 1; }
FUNCTION(before) FUNCTION(in_child) FUNCTION(in_both) FUNCTION(never)
int main(int count, char **words) {
    int status, number = before(0);
    if (count > 5) return never(0);
    if (fork() == 0) { for (int i = 0; i < 1000; i++) number = before(in_child(in_both(number))); _exit(number > 0 ? 0 : 1); }
    wait(&status);
    number = in_both(number);
    if (count > 1) execv(words[1], words + 1);
    return status || number != 2 ? 1 : 3;
}
"#;

/// A directory of this test's own, away at its end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Its functions by name, in hex.
fn functions(program: &Path) -> BTreeMap<String, String> {
    let output = Command::new("nm").arg(program).output().expect("binutils");
    let text = String::from_utf8(output.stdout).expect("names are text");
    let words = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let named = words.filter(|words| words.len() == 3 && "tT".contains(words[1]));
    named.map(|words| (words[2].to_owned(), words[0].trim_start_matches('0').to_owned())).collect()
}

#[test]
fn each_function_is_listed_with_the_process_that_entered_it_once_there_is_an_app() {
    let scratch = Scratch(std::env::temp_dir().join(format!("handfast-entries-{}", std::process::id())));
    let at = |name: &str| scratch.0.join(name);
    std::fs::create_dir_all(&scratch.0).expect("a directory");
    std::fs::write(at("program.c"), PROGRAM).expect("a file");
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-static", "-no-pie", "-o"]).args([at("program"), at("program.c")]);
    assert!(cc.status().expect("a C compiler").success());
    let functions = functions(&at("program"));
    let names = ["main", "before", "in_child", "in_both", "never"];
    let list: String = names.iter().map(|name| format!("{}\n", functions[*name])).collect();
    std::fs::write(at("list"), list).expect("a file");
    let entries = |app: &[&str]| {
        let mut entries = Command::new(env!("CARGO_BIN_EXE_entries"));
        entries.arg("--at").arg(at("list")).arg("--out").arg(at("out")).arg("--").arg(at("program")).args(app);
        entries.status().expect("it starts").code()
    };

    assert_eq!(entries(&[]), Some(3), "the program goes on as without breakpoints");
    assert!(!at("out").exists(), "it has become no app");

    assert_eq!(entries(&["/bin/sh", "-c", "exit 7"]), Some(7));
    let mut lines: Vec<String> = ["main first", "before first", "in_child forked", "in_both first"]
        .iter()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, process)| format!("{} {process}", functions[name]))
        .collect();
    lines.sort();
    let told = std::fs::read_to_string(at("out")).expect("it was written");
    let mut told: Vec<&str> = told.lines().collect();
    told.sort();
    assert_eq!(told, lines);
}
