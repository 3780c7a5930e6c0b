//! Tests handfast on widely used kernels: the oldest kernel that it supports, and Debian's two later ones, on both
//! architectures, with the shipped binaries. They test starts, and the limits of a compromised worker: on an old kernel, the
//! seccomp filter alone must enforce what Landlock also enforces on a newer one.
//!
//! QEMU runs each machine without KVM in about half a minute; the script `init` runs in the machine. The store of the machine
//! is a fake, because Vault is too large for it.

#[path = "../support/mod.rs"]
mod support;

mod console;
mod emulated;
mod machine;

use std::fmt::Write;

use console::Console;
use machine::{Architecture, Machine};
use serde_json::Value;

/// The optional kernel features that handfast uses.
struct Kernel {
    version: &'static str,
    /// tmpfs that is never swapped out, and memfds that nobody can execute.
    no_swap: bool,
    /// Every part of Landlock that the worker's sandbox uses.
    landlock: bool,
}

/// Debian's kernel 5.10 has no Landlock.
const LINUX_5_10: Kernel = Kernel { version: "5.10", no_swap: false, landlock: false };
/// This kernel has Landlock version 2, which covers neither truncation nor signals.
const LINUX_6_1: Kernel = Kernel { version: "6.1", no_swap: false, landlock: false };
const LINUX_6_12: Kernel = Kernel { version: "6.12", no_swap: true, landlock: true };

#[test]
fn it_starts_and_holds_on_linux_5_10_on_x86_64() {
    holds(Architecture::X86, &LINUX_5_10);
}

#[test]
fn it_starts_and_holds_on_linux_6_1_on_x86_64() {
    holds(Architecture::X86, &LINUX_6_1);
}

#[test]
fn it_starts_and_holds_on_linux_6_12_on_x86_64() {
    holds(Architecture::X86, &LINUX_6_12);
}

#[test]
fn it_starts_and_holds_on_linux_5_10_on_aarch64() {
    holds(Architecture::Arm, &LINUX_5_10);
}

#[test]
fn it_starts_and_holds_on_linux_6_1_on_aarch64() {
    holds(Architecture::Arm, &LINUX_6_1);
}

#[test]
fn it_starts_and_holds_on_linux_6_12_on_aarch64() {
    holds(Architecture::Arm, &LINUX_6_12);
}

fn holds(architecture: Architecture, kernel: &Kernel) {
    let Some(machine) = Machine::new(architecture, kernel.version) else { return };
    let console = machine.boot();
    let mut wrong = Wrong::default();
    let machine = console.section("machine");
    wrong.unless(machine.has(kernel.version) && machine.has(architecture.name()), "it is another machine");
    starts(&console, kernel, &mut wrong);
    missing_parts(&console, kernel, &mut wrong);
    fetches(&console, &mut wrong);
    for attacker in ["root", "user"] {
        attacks(&console, attacker, &mut wrong);
    }
    wrong.unless(console.has("end"), "it did not come to its end");
    assert!(
        wrong.0.is_empty(),
        "Linux {} on {}:\n{}\n{}",
        kernel.version,
        architecture.name(),
        wrong.0,
        console.path()
    );
}

/// Collects all errors: a machine takes too long to stop at the first error.
#[derive(Default)]
struct Wrong(String);

impl Wrong {
    fn unless(&mut self, fine: bool, what: impl std::fmt::Display) {
        if !fine {
            let _ = writeln!(self.0, "{what}");
        }
    }
}

/// Delivery by descriptor, by file, and into handfast's own mount.
fn starts(console: &Console, kernel: &Kernel, wrong: &mut Wrong) {
    let start = console.section("descriptor");
    wrong.unless(start.code == 0, &start);
    let app: Value = start.lines().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    let descriptor = &app["descriptors"][3];
    let seals = if kernel.no_swap { 0x2f } else { 0x0f };
    let expected: [(&str, Value); 9] = [
        ("content", support::hex(b"mock-db").into()),
        ("mode", "100440".into()),
        ("uid", 0.into()),
        ("gid", 1000.into()),
        ("access", "r".into()),
        ("offset", 0.into()),
        ("seals", seals.into()),
        ("open_read", "ok".into()),
        ("open_write", "EACCES".into()),
    ];
    for (key, value) in expected {
        let found: &Value = &descriptor[key];
        wrong.unless(*found == value, format_args!("descriptor: {key} is {found}, not {value}"));
    }
    wrong.unless(app["descriptors"].as_array().is_some_and(|all| all.len() == 4), "descriptor: others are open");
    let status = &app["status"];
    wrong.unless(status["uids"] == serde_json::json!([1000, 1000, 1000, 1000]), "descriptor: it has other uids");
    wrong.unless(status["NoNewPrivs"] == 1, "descriptor: no_new_privs is missing");
    for set in ["CapAmb", "CapBnd", "CapEff", "CapInh", "CapPrm"] {
        wrong.unless(status[set] == "0000000000000000", format_args!("descriptor: {set} is not empty"));
    }

    let start = console.section("file");
    let delivered = start.lines().any(|line| line == "mock-db");
    let private = start.lines().any(|line| line.starts_with("-r--------") && line.contains(" 1000     1000 "));
    wrong.unless(start.code == 0 && delivered && private, &start);

    let start = console.section("mount");
    let delivered = start.lines().any(|line| line == "mock-db");
    let mount = start.lines().find(|line| line.contains(" /own ")).unwrap_or_default();
    let options = ["nosuid", "nodev", "noexec", "- tmpfs"].iter().all(|option| mount.contains(option));
    wrong.unless(start.code == 0 && delivered && options, &start);
    wrong.unless(mount.contains("noswap") == kernel.no_swap, &start);
    // The mount is not visible outside.
    wrong.unless(console.section("outside").lines().next().is_none(), "the mount is seen from outside");
}

/// handfast names the missing kernel features, and with `strict` it requires them.
fn missing_parts(console: &Console, kernel: &Kernel, wrong: &mut Wrong) {
    let check = console.section("check");
    wrong.unless(check.code == 0, &check);
    wrong.unless(check.has("not here") != (kernel.no_swap && kernel.landlock), &check);
    wrong.unless(check.has("tmpfs option `noswap`") != kernel.no_swap, &check);
    wrong.unless(check.has("Landlock") != kernel.landlock, &check);
    let start = console.section("descriptor");
    wrong.unless(
        start.has("Landlock") != kernel.landlock,
        format_args!("the start does not tell what it does:\n{start}"),
    );
    for name in ["strict", "strict-check"] {
        let strict = console.section(name);
        wrong.unless(strict.code == if kernel.landlock { 0 } else { 125 }, &strict);
    }
    wrong.unless(
        console.section("strict-check").has("MFD_NOEXEC_SEAL") != kernel.no_swap,
        "check: what is said of memfds",
    );
    wrong.unless(console.section("strict").has("it has started") == kernel.landlock, "strict: the app");
}

/// Fetches over the network by name, also if the worker is stopped meanwhile.
fn fetches(console: &Console, wrong: &mut Wrong) {
    for name in ["fetch", "stopped"] {
        let start = console.section(name);
        wrong.unless(start.code == 0 && start.has("from-the-store"), &start);
    }
    wrong.unless(console.section("stopped").has("T (stopped)"), "the worker was not stopped");
}

/// Every forbidden call is refused, nothing has changed, every required call works, and the start continues normally.
fn attacks(console: &Console, attacker: &str, wrong: &mut Wrong) {
    let start = console.section(attacker);
    let bad = ["HOLE ", "BROKEN ", "CHANGED "];
    for line in start.lines().filter(|line| bad.iter().any(|word| line.starts_with(word))) {
        wrong.unless(false, format_args!("{attacker}: {line}"));
    }
    let count = |word: &str| start.lines().filter(|line| line.starts_with(word)).count();
    wrong.unless(count("held ") > 250, format_args!("{attacker}: only {} attempts", count("held ")));
    wrong.unless(count("works ") > 15 && count("same ") >= 4, format_args!("{attacker}: what must work was not tried"));
    wrong.unless(
        start.code == 0 && start.has("from-the-store"),
        format_args!("{attacker}: the start ended with {}", start.code),
    );
}
