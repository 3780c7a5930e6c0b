//! What a worker that lives on may say after its first generation, and what it may not.
#![forbid(unsafe_code)]

use super::*;

fn frame(kind: Kind, generation: u32, secret: usize, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut batch = frame::Batch::default();
    batch.add(kind, generation, secret, [payload.into()]).unwrap();
    batch.send(&mut bytes).unwrap();
    bytes
}

fn value(secret: usize, name: &[u8], bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(name.len()).unwrap().to_be_bytes();
    frame(Kind::Value, 7, secret, &[&length, name, bytes].concat())
}

fn same(secret: usize, name: &[u8]) -> Vec<u8> {
    frame(Kind::Same, 7, secret, name)
}

fn fields(count: u32) -> Vec<u8> {
    frame(Kind::Fields, 7, EVERY, &count.to_be_bytes())
}

fn missing(secret: usize) -> Vec<u8> {
    frame(Kind::Missing, 7, secret, b"")
}

fn commit() -> Vec<u8> {
    frame(Kind::Commit, 7, 0, b"")
}

/// What generation 7 is to the receiver, with all that came before it.
fn message(frames: &[Vec<u8>]) -> Result<Message> {
    receive_from(|plan, socket, watch| super::super::message(plan, 7, socket, watch), write(&frames.concat()))
}

#[test]
fn a_later_generation_holds_only_what_has_changed() {
    let frames = [
        value(NEEDED, b"", b"new"),
        fields(2),
        value(EVERY, b"a", b"1"),
        same(EVERY, b"b"),
        missing(OPTIONAL),
        commit(),
    ];
    let Ok(Message::Generation(Ok(changes))) = message(&frames) else { panic!("not taken") };
    assert_eq!(changes.secrets(), [NEEDED, OPTIONAL, EVERY]);
    assert_eq!((changes.arrived.len(), changes.gone), (2, vec![OPTIONAL]));
    assert_eq!(changes.same, [(EVERY, "db-b".to_owned())]);
    let Ok(Message::Generation(Ok(changes))) = message(&[commit()]) else { panic!("not taken") };
    assert!(changes.secrets().is_empty());
}

#[test]
fn a_report_stands_by_itself() {
    let report = Report { is_success: true, needs_restart: false, next: Some(1500), end: Some(3000) };
    let Ok(Message::Report(secret, read)) = message(&[frame(Kind::Report, 1, OPTIONAL, &report.encode())]) else {
        panic!("not taken")
    };
    assert_eq!((secret, read), (OPTIONAL, report));
}

#[test]
fn a_worker_that_lies_later_is_a_bug_too() {
    let report = Report { is_success: true, needs_restart: false, next: None, end: None }.encode();
    let early = frame(Kind::Commit, 6, 0, b"");
    let late = frame(Kind::Commit, 8, 0, b"");
    for frames in [
        vec![early],
        vec![late],
        vec![frame(Kind::Commit, 1, 0, b"")],
        vec![value(NEEDED, b"", b"1"), value(NEEDED, b"", b"2"), commit()],
        vec![value(9, b"", b"1"), commit()],
        vec![missing(NEEDED), commit()],
        vec![missing(OPTIONAL), missing(OPTIONAL), commit()],
        vec![same(NEEDED, b"a"), commit()],
        vec![same(EVERY, b"a"), commit()],
        vec![fields(1), commit()],
        vec![fields(1), same(EVERY, b"a"), same(EVERY, b"b"), commit()],
        vec![fields(1), fields(1), same(EVERY, b"a"), commit()],
        vec![fields(1), same(EVERY, b"\xff"), commit()],
        vec![frame(Kind::Ready, 7, 0, &[3])],
        vec![frame(Kind::Policy, 7, 0, b"x")],
        vec![frame(Kind::Failed, 7, NEEDED, &frame::encode_failure(handfast_core::ErrorKind::Denied, 1, "no", None))],
        vec![frame(Kind::Report, 7, 9, &report)],
        // A report in the middle of a generation.
        vec![fields(1), frame(Kind::Report, 7, NEEDED, &report), same(EVERY, b"a"), commit()],
        vec![frame(Kind::Report, 7, NEEDED, &[3; 17])],
        vec![value(NEEDED, b"", b"1")],
    ] {
        match message(&frames) {
            Err(error) => assert_eq!(error.class, Class::Internal, "{}", error.message),
            Ok(_) => panic!("taken: {frames:?}"),
        }
    }
}

#[test]
fn a_generation_with_a_name_that_cannot_be_a_files_is_refused_whole() {
    for frames in [
        vec![fields(1), same(EVERY, b"../x"), commit()],
        vec![fields(2), same(EVERY, b"a"), value(EVERY, b"a", b"1"), commit()],
        vec![fields(1), value(EVERY, b"optional", b"1"), commit()],
    ] {
        let Ok(Message::Generation(Err(error))) = message(&frames) else { panic!("not refused: {frames:?}") };
        assert_eq!(error.class, Class::Malformed);
    }
    assert_eq!(plan().secrets.len(), 3);
}

#[test]
fn random_frames_are_taken_or_refused_later_too() {
    let mut random = fastrand::Rng::with_seed(19);
    for _ in 0..2000 {
        let frames: Vec<Vec<u8>> = (0..random.usize(1..6))
            .map(|_| {
                let payload: Vec<u8> = (0..random.usize(0..24)).map(|_| random.u8(..)).collect();
                let mut bytes = vec![random.u8(1..11), 0, 0, 0];
                bytes.extend(random.u32(6..9).to_be_bytes());
                bytes.extend(random.u32(0..5).to_be_bytes());
                bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
                [bytes, payload].concat()
            })
            .collect();
        if let Ok(Message::Generation(Ok(changes))) = message(&frames) {
            assert!(changes.secrets().iter().all(|secret| *secret < 3));
        }
    }
}
