//! Frames of chance.
#![forbid(unsafe_code)]

use super::*;

#[test]
fn random_frames_are_taken_or_refused() {
    let mut random = fastrand::Rng::with_seed(1);
    let (ours, signals) = (plan(), signals::SignalFd::new(signals::Signals::NONE).unwrap());
    let (interrupts, pid) = (Interrupts::of_start(&signals), Pid::from_raw(i32::MAX));
    let (mut taken, mut malformed, mut lies) = (0, 0, 0);
    for _ in 0..50_000 {
        let (mut theirs, socket) = UnixStream::pair().unwrap();
        let mut bytes = ready();
        // Half of the inputs begin with an answer for every secret, so that the later checks are reached too.
        let whole = random.bool();
        if whole {
            bytes.extend([value(NEEDED, b"", b"x"), frame(Kind::Missing, OPTIONAL, b""), fields(1)].concat());
            bytes.extend(value(EVERY, random_name(&mut random), b"x"));
        }
        for _ in 0..random.usize(0..if whole { 2 } else { 8 }) {
            bytes.extend(random_frame(&mut random));
        }
        if random.bool() {
            bytes.extend(commit());
        }
        for _ in 0..random.usize(0..4).saturating_sub(1) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        theirs.write_all(&bytes).unwrap();
        drop(theirs);
        let mut gone = cage::gone(WaitStatus::Exited(pid, 0));
        let mut wait = interrupts.with_worker(&mut gone, Instant::now() + Duration::from_secs(30));
        match generation(&ours, &mut Socket::new(socket), &mut wait) {
            Ok(received) if received.failures.is_empty() => {
                assert!(received.arrived.len() <= MAX_VALUES);
                assert!(received.arrived.iter().all(|one| one.file.as_deref().is_none_or(valid_name)));
                taken += 1;
            }
            Err(error) if error.class == Class::Internal => lies += 1,
            Ok(_) | Err(_) => malformed += 1,
        }
    }
    assert!(taken > 1000 && malformed > 1000 && lies > 10_000, "{taken} {malformed} {lies}");
}

fn random_frame(random: &mut fastrand::Rng) -> Vec<u8> {
    let name = random_name(random);
    match random.u8(..10) {
        0 | 1 => value(NEEDED, b"", b"x"),
        2 => value(OPTIONAL, b"", b"x"),
        3 | 4 => frame(Kind::Missing, OPTIONAL, b""),
        5 => fields(random.u32(..3)),
        6 => value(EVERY, name, b"x"),
        7 => frame(Kind::Failed, random.usize(..4), &[random.u8(..8), 0, 0, 0, 1, 0, 0, 0, 1, random.u8(..)]),
        8 => (0..random.usize(..40)).map(|_| random.u8(..)).collect(),
        _ => [fields(1), value(EVERY, name, b"x")].concat(),
    }
}

fn random_name(random: &mut fastrand::Rng) -> &'static [u8] {
    let names: [&[u8]; 6] = [b"a", b"b", b"", b"optional", b"../x", b"\xff"];
    names[random.usize(..names.len())]
}
