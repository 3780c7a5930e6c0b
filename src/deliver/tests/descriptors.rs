//! Descriptors: reserved before the fetch, sealed and read-only after it.
#![forbid(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};

use super::*;

fn path(number: RawFd) -> String {
    format!("/proc/self/fd/{number}")
}

#[test]
fn a_secret_is_handed_over_sealed_and_read_only() {
    let wanted = run(plan(None, vec![descriptor("a", 400), descriptor("b", 401)]));
    let mut destination = prepare(&wanted).unwrap();
    assert!(fs::exists(path(400)).unwrap() && fs::exists(path(401)).unwrap());
    publish(&mut destination, &wanted, vec![value(0, b"one\0\xff"), value(1, b"")]).unwrap();
    let handover = destination.hand_over();
    assert_eq!(handover.numbers(), [400, 401]);
    let held = &handover.descriptors[0];
    let seals = fcntl(held, FcntlArg::F_GET_SEALS).unwrap();
    assert!(seals == 0x2f || seals == 0x0f, "{seals:#x}");
    assert_eq!(fcntl(held, FcntlArg::F_GETFL).unwrap() & OFlag::O_ACCMODE.bits(), OFlag::O_RDONLY.bits());
    assert_eq!(fcntl(held, FcntlArg::F_GETFD).unwrap() & FdFlag::FD_CLOEXEC.bits(), 0);
    let status = fs::metadata(path(400)).unwrap();
    assert_eq!((status.mode() & 0o7777, status.uid(), status.gid()), (0o400, our_ids().0, our_ids().1));
    assert_eq!(fs::read(path(400)).unwrap(), b"one\0\xff");
    assert_eq!(fs::read(path(401)).unwrap(), b"");
    // Who may open it for writing, as root may, still cannot write.
    if let Ok(mut writer) = OpenOptions::new().write(true).open(path(400)) {
        assert!(writer.write(b"x").is_err() && writer.set_len(0).is_err());
    }
    let mut start = [0; 3];
    fs::File::open(path(400)).unwrap().read_at(&mut start, 0).unwrap();
    assert_eq!(&start, b"one");
}

#[test]
fn a_missing_optional_secret_leaves_its_number_closed() {
    let wanted = run(plan(None, vec![descriptor("a", 410), descriptor("b", 411)]));
    let (published, destination) = start(&wanted, vec![value(1, b"x")]).unwrap();
    let handover = destination.hand_over();
    assert_eq!((handover.numbers(), published.has(0), published.has(1)), (vec![411], false, true));
    assert!(!fs::exists(path(410)).unwrap());
    drop(handover);
    assert!(!fs::exists(path(411)).unwrap());
}

#[test]
fn a_number_beyond_the_limit_is_refused_before_the_fetch() {
    let wanted = run(plan(None, vec![descriptor("a", 1_000_000_000)]));
    let error = failure(prepare(&wanted));
    let (limit, _) = nix::sys::resource::getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert_eq!(
        error.message,
        format!("cannot hold the secrets' descriptors: 1000000001 needed, RLIMIT_NOFILE allows {limit}")
    );
    assert_eq!(
        error.hint.as_deref(),
        Some("raise the limit (`ulimit -n`, `--ulimit nofile=`), choose lower numbers, or deliver into files")
    );
    assert_eq!(error.class.exit_code(), 71);
    assert_eq!(check_descriptor_limit(&wanted).unwrap_err().message, error.message);
}

#[test]
fn a_number_that_is_open_is_a_bug_of_ours() {
    let taken = crate::sys::fs::duplicate_from(std::os::fd::AsFd::as_fd(&std::io::stderr()), 420).unwrap();
    let error = failure(prepare(&run(plan(None, vec![descriptor("a", taken.as_raw_fd())]))));
    let message = format!("cannot reserve descriptor {}: it is already open in handfast", taken.as_raw_fd());
    assert_eq!((error.message, error.class.exit_code()), (message, 70));
}

#[test]
fn a_low_limit_fits_or_is_refused_before_the_fetch() {
    in_child(module_path!(), "a_low_limit_fits_or_is_refused_before_the_fetch", || {
        // Cargo leaves descriptors of its own open in the tests; a real start has closed them by now.
        (3..100).for_each(|number| nix::unistd::close(number).unwrap_or_default());
        let first = 3;
        let spare = 4;
        let secrets = |count| (0..count).map(|index| descriptor("a", first + index)).collect();
        let limit = (first + 5 + spare) as u64;
        setrlimit(Resource::RLIMIT_NOFILE, limit, limit).unwrap();
        let fits = run(plan(None, secrets(5)));
        start(&fits, (0..5).map(|index| value(index, b"x")).collect()).unwrap();
        let error = failure(prepare(&run(plan(None, secrets(6)))));
        let text = format!("cannot hold the secrets' descriptors: {} needed, RLIMIT_NOFILE allows {limit}", limit + 1);
        assert_eq!((error.message, error.class.exit_code()), (text, 71));
    });
}

#[test]
fn when_a_descriptor_fails_no_file_is_delivered() {
    in_child(module_path!(), "when_a_descriptor_fails_no_file_is_delivered", || {
        let memory = Memory::new();
        let wanted = run(plan(Some(&memory.0), vec![file("a"), descriptor("b", 430)]));
        SigSet::from(Signal::SIGXFSZ).thread_block().unwrap();
        setrlimit(Resource::RLIMIT_FSIZE, 100, 100).unwrap();
        let error = failure(start(&wanted, vec![value(0, b"1"), value(1, &[b'x'; 200])]));
        assert_eq!(error.message, "cannot write the memfd for descriptor 430: file too large");
        assert_eq!(error.class.exit_code(), 73);
        assert!(memory.entries().is_empty());
        assert!(!fs::exists(path(430)).unwrap());
    });
}
