//! The panic hook, in processes of its own: it tells the place and never the payload, and ends the process with 70.
//!
//! The shipped binary panics nowhere that a test could reach, and aborts on a panic where a test build unwinds. It makes no
//! difference: the hook ends the process before the panic runtime is asked, which the cases below show. Nothing is unwound, no
//! `catch_unwind` is reached, and a panic that cannot unwind at all ends in the same way.

use std::panic::{catch_unwind, set_hook};
use std::process::{Command, ExitCode};

use handfast::report::{self, Format};

const SECRET: &str = "hunter2";

/// How a process panics, and with what settings.
const CASES: &[(&str, fn())] = &[
    ("with a message", || panic!("the value is {SECRET}")),
    ("with any payload", || std::panic::panic_any(SECRET.to_owned())),
    ("with an error that quotes", || assert!(SECRET.parse::<u8>().map_err(|_| SECRET).unwrap() > 0)),
    ("at an index", || assert!([1][std::hint::black_box(7)] > 0)),
    ("in a thread", || drop(std::thread::spawn(|| panic!("{SECRET}")).join())),
    ("where it is caught", || drop(catch_unwind(|| panic!("{SECRET}")))),
    ("where nothing can unwind", || cannot_unwind()),
    ("while something is dropped", || {
        let _tells = Tells;
        panic!("{SECRET}");
    }),
];

extern "C" fn cannot_unwind() {
    panic!("{SECRET}");
}

struct Tells;

impl Drop for Tells {
    fn drop(&mut self) {
        eprintln!("something was unwound");
    }
}

pub fn run(is_wanted: &dyn Fn(&str) -> bool) -> bool {
    if !is_wanted("panics::") {
        return true;
    }
    for (case, _) in CASES {
        for format in ["text", "json"] {
            let mut child = Command::new(std::env::current_exe().expect("it runs"));
            let output =
                child.args(["panic", case, format]).env("RUST_BACKTRACE", "1").output().expect("it can be started");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(70), "{case}, {format}: {stderr}");
            assert!(output.stdout.is_empty() && !stderr.contains(SECRET), "{case}, {format}: {stderr}");
            check_text(&stderr, format);
        }
    }
    println!("{} ways to panic: each is told and ends with 70", CASES.len());
    true
}

pub fn panic_as(case: &str, format: &str) -> ExitCode {
    set_hook(Box::new(handfast::panicked));
    let format = if format == "json" { Format::Json } else { Format::Text };
    report::start(report::Settings { format, ..report::Settings::default() });
    let (_, provoke) = CASES.iter().find(|(name, _)| *name == case).expect("a case");
    provoke();
    println!("still here");
    ExitCode::SUCCESS
}

/// File and line, and nothing else.
fn check_text(stderr: &str, format: &str) {
    if format == "json" {
        let line: serde_json::Value = serde_json::from_str(stderr).expect("one line of JSON");
        assert_eq!((&line["exit"], &line["class"]), (&70.into(), &"internal".into()));
        assert_eq!(line["hint"], "please report it with this line");
        assert!(line["message"].as_str().is_some_and(|text| text.starts_with("a bug in handfast, at ")), "{line}");
        return;
    }
    let (hint, error) = stderr.split_once('\n').expect("two lines");
    assert_eq!(hint, "handfast: hint: please report it with this line");
    let place = error
        .strip_prefix("handfast: error: a bug in handfast, at ")
        .and_then(|rest| rest.strip_suffix(" (internal, exit 70)\n"));
    let (file, line) = place.and_then(|place| place.rsplit_once(':')).unwrap_or_else(|| panic!("{stderr}"));
    assert!(file.ends_with(".rs") && line.parse::<u32>().is_ok(), "{stderr}");
}
