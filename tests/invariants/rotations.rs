//! Invariant 2 for readers of a keeper's files: one set after the other through the destination itself, as fast as it goes.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use handfast::cli::{self, Invocation};
use handfast::config::{self, Environment};
use handfast::deliver::{self, Arrived, Changes};
use handfast::plan::{self, Plan, Purpose};
use handfast::sys::environment::Captured;
use handfast::sys::signals::Signals;
use handfast_core::{Problems, SecretValue};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::support::Directory;

const FILES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A set stays for a minute, or until sixteen others have come: no reader here takes longer than this many.
const LONGEST_READ: u32 = 10;

/// A reader rests up to so many microseconds after each read, so that there are as many rotations as reads.
const LONGEST_REST: u64 = 500;

/// What no reader is doing.
const IDLE: u32 = u32::MAX;

#[test]
fn no_reader_finds_a_torn_file_a_mixed_set_or_a_missing_path() {
    let directory = Directory::in_memory();
    let (rotations, reads) = rotate(&directory, 100_000, Duration::from_secs(90));
    assert!(rotations > 20 && reads.iter().all(|reads| *reads > 0), "{rotations} sets, {reads:?}");
}

/// Publishes so many sets while four readers read, or as many as there is time for. How many, and how often each has read all files.
pub fn rotate(directory: &Directory, most: u32, longest: Duration) -> (u32, [u32; 4]) {
    let plan = plan(directory);
    let reserved = deliver::reserve_descriptors(&plan).expect("there is nothing to reserve");
    let mut destination = deliver::prepare(&plan, reserved).expect("it is memory");
    let first = FILES.iter().enumerate().map(|(file, _)| arrived(&plan, file, 0)).collect();
    destination.publish(&plan, first, &|| Ok(())).expect("there is room");
    let (current, begun, is_over) = (AtomicU32::new(0), [const { AtomicU32::new(IDLE) }; 4], AtomicBool::new(false));
    let start = Instant::now();
    std::thread::scope(|scope| {
        let readers = [0, 1, 2, 3].map(|reader| {
            let (begun, current, is_over, path) = (&begun[reader], &current, &is_over, directory.path());
            scope.spawn(move || {
                let mut reads = 0;
                while !is_over.load(SeqCst) {
                    begun.store(current.load(SeqCst), SeqCst);
                    if reader % 2 == 0 {
                        read_set(path)
                    } else {
                        read_paths(path)
                    }
                    begun.store(IDLE, SeqCst);
                    reads += 1;
                    std::thread::sleep(Duration::from_micros(fastrand::u64(..LONGEST_REST)));
                }
                reads
            })
        });
        'all: for rotation in (1..=most).take_while(|_| start.elapsed() < longest) {
            while begun.iter().any(|begun| begun.load(SeqCst).saturating_add(LONGEST_READ) < rotation) {
                // One that has failed says so below.
                if readers.iter().any(|reader| reader.is_finished()) {
                    break 'all;
                }
                std::thread::yield_now();
            }
            let changed = (0..FILES.len()).filter(|file| last_change(rotation, *file) == rotation);
            let changes =
                Changes { arrived: changed.map(|file| arrived(&plan, file, rotation)).collect(), ..Changes::default() };
            destination.publish_changes(&plan, changes, &|| Ok(())).expect("there is room");
            current.store(rotation, SeqCst);
        }
        is_over.store(true, SeqCst);
        (current.load(SeqCst), readers.map(|reader| reader.join().expect("it has found nothing wrong")))
    })
}

/// Opens the set once: all of its files are of one rotation.
fn read_set(path: &Path) {
    let data = File::open(path.join("..data")).expect("it is never missing");
    let mut rotation = 0;
    for (file, name) in FILES.iter().enumerate() {
        let opened =
            openat(&data, *name, OFlag::O_RDONLY, Mode::empty()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (of, text) = whole(file, File::from(opened)).unwrap_or_else(|error| panic!("{name}: {error}"));
        // The first file is another in each rotation.
        rotation = if file == 0 { of } else { rotation };
        assert_eq!(of, last_change(rotation, file), "`{name}` of rotation {rotation}: {text}");
    }
}

/// Opens each file by its name: it is there, and whole.
fn read_paths(path: &Path) {
    for (file, name) in FILES.iter().enumerate() {
        let opened = File::open(path.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        whole(file, opened).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// The rotation that a file was written in, and its text, which nothing may be missing of.
fn whole(file: usize, mut opened: File) -> io::Result<(u32, String)> {
    let mut text = String::new();
    opened.read_to_string(&mut text)?;
    let rotation = text.split(' ').next().and_then(|word| word.parse().ok());
    let rotation = rotation.unwrap_or_else(|| panic!("torn: {text}"));
    assert!(text == content(rotation, file), "torn: {text}");
    Ok((rotation, text))
}

fn content(rotation: u32, file: usize) -> String {
    format!("{rotation} {file} ").repeat(1 + (rotation as usize * 7 + file) % 300)
}

/// The last rotation up to this one that has changed a file: the first file changes in each, the second in every second one.
fn last_change(rotation: u32, file: usize) -> u32 {
    rotation - rotation % (file as u32 + 1)
}

fn arrived(plan: &Plan, file: usize, rotation: u32) -> Arrived {
    let secret = plan.secrets.iter().position(|secret| secret.name == FILES[file]).expect("it is planned");
    Arrived { secret, file: Some(FILES[file].into()), value: SecretValue::from(content(rotation, file).into_bytes()) }
}

fn plan(directory: &Directory) -> Plan {
    let mut words: Vec<OsString> = ["handfast", "watch", "--dir", directory.text()].map(OsString::from).into();
    FILES.iter().for_each(|name| words.extend(["-s".into(), format!("{name}=mock:{name}").into()]));
    let user = format!("{}:{}", nix::unistd::geteuid(), nix::unistd::getegid());
    let config = directory.path().with_extension("toml");
    fs::write(&config, format!("[app]\nuser = \"{user}\"\nallow_root = true\n")).expect("it is memory");
    words.extend(["--config".into(), config.clone().into()]);
    let Ok(Invocation::Watch { options }) = cli::parse(words) else { panic!("it is a watch") };
    let (mut problems, started) = (Problems::default(), Instant::now());
    let mut environment = Environment::from(Captured { entries: Vec::new() });
    let read = config::read(&options, &mut environment, Signals::NONE, started, &mut problems).expect("it is right");
    let (plan, _) = plan::make::make(read, &environment, Purpose::Watch, started, &mut problems).expect("it is right");
    fs::remove_file(config).expect("it is ours");
    plan
}
