//! Frames that no honest worker sends, through a real socketpair.
#![forbid(unsafe_code)]

mod later;
mod random;

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use handfast_core::{MAX_SECRET, SecretRef};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use std::os::unix::net::UnixStream;

use super::super::Interrupts;
use super::super::socket::await_end;
use super::*;
use crate::cage;
use crate::plan::{Deadline, Isolation, OnChange, Purpose, Swap, Watching};
use crate::sys::signals;

pub(super) const NEEDED: usize = 0;
pub(super) const OPTIONAL: usize = 1;
pub(super) const EVERY: usize = 2;

fn secret(name: &str, reference: &str, optional: bool) -> Secret {
    let reference = SecretRef::parse(reference).unwrap();
    Secret {
        name: name.into(),
        reference,
        instance: 0,
        optional,
        is_list: false,
        refresh: None,
        may_issue: false,
        may_end: false,
        on_change: OnChange::None,
    }
}

fn delivery(secret: usize, target: Target) -> Delivery {
    let (path_variables, number_variables) = (Vec::new(), Vec::new());
    Delivery { name: "x".into(), secret, target, path_variables, number_variables }
}

pub(super) fn plan() -> Plan {
    let file = |name: &str| Target::File { name: name.into(), mode: 0o400, owner: None };
    Plan {
        purpose: Purpose::Init,
        isolation: Isolation {
            uid: 1,
            gid: 1,
            groups: Vec::new(),
            defaulted: false,
            capabilities: 0,
            core_dumps: false,
            strict: false,
        },
        secrets: vec![
            secret("needed", "mock:needed", false),
            secret("optional", "mock:optional", true),
            secret("every", "mock:every#*", false),
        ],
        deliveries: vec![
            delivery(NEEDED, Target::Descriptor(3)),
            delivery(OPTIONAL, file("db-optional")),
            delivery(EVERY, file("db-*")),
        ],
        inherited: Vec::new(),
        files: None,
        swap: Swap::Warn,
        concurrency: 1,
        deadline: Deadline { started: Instant::now(), limit: Duration::from_secs(60) },
        watching: Watching::default(),
        revokes_on_exit: false,
        has_stores: false,
        environment: Vec::new(),
        provider_warnings: Vec::new(),
        executable: None,
    }
}

/// Receives from a worker that sends these bytes and ends.
fn receive(bytes: &[u8]) -> Result<Received> {
    receive_from(super::generation, write(bytes))
}

/// The same for a policy.
fn receive_policy(bytes: &[u8]) -> Result<Policy> {
    receive_from(super::policy, write(bytes))
}

pub(super) fn write(bytes: &[u8]) -> impl FnOnce(UnixStream) + Send {
    // The write fails where the reader has refused the first bytes and is gone.
    move |mut theirs| drop(theirs.write_all(bytes))
}

pub(super) fn receive_from<T>(
    receive: impl FnOnce(&Plan, &mut Socket, &mut WorkerWait<'_, '_>) -> Result<T>,
    worker: impl FnOnce(UnixStream) + Send,
) -> Result<T> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (interrupts, mut gone) = (Interrupts::default(), cage::gone(WaitStatus::Exited(Pid::from_raw(i32::MAX), 0)));
    let mut wait = interrupts.with_worker(&mut gone, Instant::now() + Duration::from_secs(30));
    let mut ours = Socket::new(ours);
    std::thread::scope(|scope| {
        scope.spawn(move || worker(theirs));
        let received = receive(&plan(), &mut ours, &mut wait)
            .and_then(|received| await_end(&mut ours, &mut wait).map(|()| received));
        ours.stream().shutdown(Shutdown::Both).unwrap();
        received
    })
}

fn frame(kind: Kind, secret: usize, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut batch = frame::Batch::default();
    batch.add(kind, 1, secret, [payload.into()]).unwrap();
    batch.send(&mut bytes).unwrap();
    bytes
}

fn ready() -> Vec<u8> {
    frame(Kind::Ready, 0, &[3])
}

fn commit() -> Vec<u8> {
    frame(Kind::Commit, 0, b"")
}

fn value(secret: usize, name: &[u8], bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(name.len()).unwrap().to_be_bytes();
    frame(Kind::Value, secret, &[&length, name, bytes].concat())
}

fn fields(count: u32) -> Vec<u8> {
    frame(Kind::Fields, EVERY, &count.to_be_bytes())
}

fn refused(frames: &[Vec<u8>]) -> (u8, String) {
    let error = match receive(&frames.concat()) {
        Err(error) => error,
        Ok(Received { mut failures, .. }) if failures.len() == 1 => failures.remove(0).1,
        Ok(_) => panic!("taken: {frames:?}"),
    };
    (error.class.exit_code(), error.message)
}

#[test]
fn a_complete_generation_is_taken() {
    let frames = [
        ready(),
        fields(2),
        value(EVERY, b"user", b"root"),
        value(NEEDED, b"", b"\0\xff"),
        frame(Kind::Missing, OPTIONAL, b""),
        frame(Kind::Identity, 0, b"machine\x1b"),
        value(EVERY, b"", b""),
        commit(),
    ];
    let Received { arrived, missing, failures, cage, identities } = receive(&frames.concat()).unwrap();
    assert_eq!(identities[&0], "machine\\u{1b}");
    assert_eq!((missing, failures.len()), (vec![OPTIONAL], 0));
    assert_eq!(cage, Cage::decode(3));
    let arrived: Vec<_> = arrived.iter().map(|one| (one.secret, one.file.as_deref(), one.value.expose())).collect();
    let expected: [(usize, Option<&str>, &[u8]); 3] =
        [(EVERY, Some("db-user"), b"root"), (NEEDED, None, b"\0\xff"), (EVERY, Some("db-"), b"")];
    assert_eq!(arrived, expected);
}

fn failed(secret: usize, text: &[u8]) -> Vec<u8> {
    frame(Kind::Failed, secret, &[&[1, 0, 0, 0, 1, 0, 0, 0, 2][..], text].concat())
}

#[test]
fn each_failure_stays_its_own() {
    let frames =
        [ready(), fields(1), value(EVERY, b"a", b""), failed(NEEDED, b"nohint"), failed(OPTIONAL, b"no"), commit()];
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&frames.concat()).unwrap();
    let (interrupts, mut gone) = (Interrupts::default(), cage::gone(WaitStatus::Exited(Pid::from_raw(i32::MAX), 0)));
    let mut wait = interrupts.with_worker(&mut gone, Instant::now() + Duration::from_secs(30));
    let Received { arrived, missing, failures, .. } = generation(&plan(), &mut Socket::new(ours), &mut wait).unwrap();
    assert_eq!((arrived.len(), arrived[0].value.len(), missing.len()), (1, 0, 0));
    let failures: Vec<_> =
        failures.iter().map(|(secret, error)| (*secret, &*error.message, error.hint.as_deref())).collect();
    let needed = "cannot fetch `needed` from `mock:needed`: no";
    let optional = "cannot fetch `optional` from `mock:optional`: no";
    assert_eq!(failures, [(NEEDED, needed, Some("hint")), (OPTIONAL, optional, None)]);
}

#[test]
fn of_a_policy_nothing_but_printable_text_is_taken() {
    let text = |bytes: &[u8]| frame(Kind::Policy, 0, bytes);
    let received = receive_policy(&[ready(), text("a\n\u{1b}[2Jé\u{202e}".as_bytes()), commit()].concat()).unwrap();
    assert_eq!(received.text.as_deref(), Some("a\n\\u{1b}[2Jé\\u{202e}"));
    assert!(receive_policy(&[ready(), commit()].concat()).unwrap().text.is_none(), "a store that tells nothing");
    let refused =
        receive_policy(&[ready(), failed(OPTIONAL, b"no"), failed(NEEDED, b"no"), commit()].concat()).unwrap();
    assert_eq!((refused.failures.len(), refused.text), (2, None));
    let out_of_order = "the worker sent a frame out of order";
    for (frames, expected) in [
        (vec![value(NEEDED, b"", b"x")], out_of_order),
        (vec![fields(0)], out_of_order),
        (vec![frame(Kind::Missing, OPTIONAL, b"")], out_of_order),
        (vec![text(b"a"), text(b"a")], out_of_order),
        (vec![text(b"a"), failed(NEEDED, b"no")], out_of_order),
        (vec![failed(NEEDED, b"no"), text(b"a")], out_of_order),
        (vec![frame(Kind::Policy, 1, b"a")], out_of_order),
        (vec![failed(NEEDED, b"no"), failed(NEEDED, b"no")], "the worker sent a secret twice"),
        (vec![failed(3, b"no")], "the worker sent a secret that is not in the plan"),
        (vec![text(b"\xff")], "the worker sent a policy that is not UTF-8"),
        (vec![text(b"")], "the worker sent a frame that does not exist"),
        (vec![text(b"a"), commit(), b"x".to_vec()], "the worker sent something after its commit"),
    ] {
        let frames = [vec![ready()], frames].concat();
        let error = receive_policy(&frames.concat()).err().unwrap();
        assert_eq!((error.class.exit_code(), &*error.message), (70, expected), "{frames:?}");
    }
}

#[test]
fn a_worker_that_lies_is_a_bug_and_its_set_is_not_taken() {
    let needed = || value(NEEDED, b"", b"x");
    let rest = || [frame(Kind::Missing, OPTIONAL, b""), fields(0), commit()].concat();
    let failure = |bytes: &[u8]| frame(Kind::Failed, NEEDED, bytes);
    let with = |header: &[(usize, u8)], mut frame: Vec<u8>| {
        header.iter().for_each(|(at, byte)| frame[*at] = *byte);
        frame
    };
    let no_frame = "the worker sent a frame that does not exist";
    let out_of_order = "the worker sent a frame out of order";
    let twice = "the worker sent a secret twice";
    let ended = "the worker ended early, with exit code 0";
    let missing = "the worker sent a secret twice, or a needed one as missing";
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        (ended, vec![]),
        (ended, vec![ready()]),
        (ended, vec![ready()[..7].to_vec()]),
        (ended, vec![ready(), needed()[..18].to_vec()]),
        (ended, vec![ready(), needed(), frame(Kind::Missing, OPTIONAL, b""), fields(0)]),
        (no_frame, vec![ready(), with(&[(0, 9)], commit())]),
        (no_frame, vec![ready(), with(&[(1, 1)], needed())]),
        (no_frame, vec![ready(), with(&[(12, 0xff)], needed())]),
        // A name that is longer than its frame, longer than any name may be, or on a secret without fields.
        (no_frame, vec![ready(), frame(Kind::Value, NEEDED, &[0, 2, b'x'])]),
        (no_frame, vec![ready(), fields(1), value(EVERY, &[b'x'; 256], b"")]),
        (no_frame, vec![ready(), value(NEEDED, b"x", b"")]),
        (no_frame, vec![ready(), value(NEEDED, b"", &vec![0; MAX_SECRET + 1])]),
        (no_frame, vec![ready(), failure(&[9, 0, 0, 0, 1, 0, 0, 0, 0])]),
        (no_frame, vec![ready(), failure(&[0, 0, 0, 0, 1, 0, 0, 0, 1, 0xff])]),
        (no_frame, vec![ready(), failure(&[0, 0, 0, 0, 1, 0, 0, 0, 0, 0xff])]),
        (no_frame, vec![ready(), failure(&[0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff])]),
        ("the worker sent a name that is not UTF-8", vec![ready(), fields(1), value(EVERY, b"\xff", b"")]),
        (out_of_order, vec![needed()]),
        (out_of_order, vec![commit()]),
        (out_of_order, vec![ready(), ready()]),
        // Nobody has asked for metrics.
        (out_of_order, vec![frame(Kind::NoListener, 0, &[0, 0, 0, 98])]),
        (out_of_order, vec![ready(), with(&[(7, 2)], needed())]),
        (out_of_order, vec![with(&[(11, 1)], ready())]),
        (out_of_order, vec![ready(), needed(), rest()[..36].to_vec(), with(&[(11, 1)], commit())]),
        ("the worker sent a secret that is not in the plan", vec![ready(), value(3, b"", b"")]),
        ("the worker sent a secret that is not in the plan", vec![ready(), with(&[(8, 0xff)], needed())]),
        (twice, vec![ready(), needed(), needed()]),
        (twice, vec![ready(), needed(), failure(&[0, 0, 0, 0, 1, 0, 0, 0, 0])]),
        (twice, vec![ready(), failure(&[0, 0, 0, 0, 1, 0, 0, 0, 0]), needed()]),
        (twice, vec![ready(), fields(1), fields(1)]),
        (twice, vec![ready(), fields(1), value(EVERY, b"a", b""), value(EVERY, b"b", b"")]),
        (twice, vec![ready(), value(EVERY, b"a", b"")]),
        (twice, vec![ready(), frame(Kind::Fields, NEEDED, &[0, 0, 0, 1])]),
        (missing, vec![ready(), frame(Kind::Missing, NEEDED, b"")]),
        (missing, vec![ready(), frame(Kind::Missing, EVERY, b"")]),
        (missing, vec![ready(), frame(Kind::Missing, OPTIONAL, b""), frame(Kind::Missing, OPTIONAL, b"")]),
        (out_of_order, vec![ready(), frame(Kind::Policy, 0, b"x")]),
        (no_frame, vec![ready(), frame(Kind::Identity, 1, b"x")]),
        ("the worker sent an identity that is not UTF-8", vec![ready(), frame(Kind::Identity, 0, b"\xff")]),
        (
            "the worker sent an identity twice",
            vec![ready(), frame(Kind::Identity, 0, b"x"), frame(Kind::Identity, 0, b"x")],
        ),
        ("the worker sent a commit before every answer", vec![ready(), commit()]),
        (
            "the worker sent a commit before every answer",
            vec![
                ready(),
                needed(),
                frame(Kind::Missing, OPTIONAL, b""),
                fields(u32::MAX),
                value(EVERY, b"a", b""),
                commit(),
            ],
        ),
        ("the worker sent something after its commit", vec![ready(), needed(), rest(), b"x".to_vec()]),
        ("the worker sent something after its commit", vec![ready(), needed(), rest(), ready()]),
    ];
    for (expected, frames) in cases {
        assert_eq!(refused(&frames), (70, expected.into()), "{frames:?}");
    }
}

#[test]
fn a_field_whose_name_cannot_be_a_files_is_malformed() {
    let answers = |names: &[&str]| {
        let mut frames = vec![ready(), value(NEEDED, b"", b"x"), value(OPTIONAL, b"", b"x")];
        frames.push(fields(u32::try_from(names.len()).unwrap()));
        frames.extend(names.iter().map(|name| value(EVERY, name.as_bytes(), b"hunter2")));
        frames.push(commit());
        frames
    };
    let long = "x".repeat(126);
    for name in ["../x", "a/b", "/etc/x", "a\0b", "a\n", "é", " ", "a*\u{7f}", long.as_str()] {
        let text = "cannot deliver `every` from `mock:every#*`: the name of one of its fields cannot be a file's";
        // Any number of bad names is one failure, and none of them is quoted: a bad name could be any text.
        assert_eq!(refused(&answers(&[name, "good", "a\\b", "..\\"])), (65, text.into()), "{name:?}");
    }
    let text = "cannot deliver `every` from `mock:every#*`: the file `db-optional` would be another's too";
    assert_eq!(refused(&answers(&["optional"])), (65, text.into()));
    let text = "cannot deliver `every` from `mock:every#*`: the file `db-a` would be another's too";
    assert_eq!(refused(&answers(&["a", "a"])), (65, text.into()));
}

#[test]
fn a_secret_of_a_list_whose_name_cannot_be_a_files_is_named() {
    let mut plan = plan();
    plan.secrets[EVERY].is_list = true;
    let mut receiver = Receiver::new(&plan, FIRST_GENERATION);
    for (name, told) in [("with space", "with space"), ("\u{e9}\u{202e}", "\u{e9}\\u{202e}"), ("a\nb", "a…")] {
        let refused = receiver.take_name(EVERY, &plan.secrets[EVERY], name, name);
        assert_eq!(refused.unwrap_err(), format!("the name of its secret `{told}` cannot be a file's"));
    }
}

#[test]
fn a_flood_is_cut_off() {
    let flood = |name: &'static [u8], bytes: usize, most: usize| {
        let error = receive_from(super::generation, |mut theirs| {
            let begin = [ready(), fields(u32::MAX)].concat();
            theirs.write_all(&begin).unwrap();
            let one = value(EVERY, name, &vec![0; bytes]);
            let sent = (0..100_000).take_while(|_| theirs.write_all(&one).is_ok()).count();
            // The socket's buffer may hold more than was read.
            assert!(sent * one.len() < most * one.len() + (4 << 20), "{sent} of {bytes}");
        });
        let error = error.err().unwrap();
        assert_eq!(error.message, "3 secrets gave more than 4096 values or 64 MiB");
        assert_eq!(error.class.exit_code(), 65);
    };
    flood(b"a", MAX_SECRET, 65);
    flood(b"/", 0, 4097);
    flood(b"/", MAX_SECRET, 65);
}
