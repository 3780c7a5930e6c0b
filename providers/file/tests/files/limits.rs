//! Files whose length differs from the length that the file system reports.

use std::fs::{self, File};
use std::io::Write;

use handfast_core::{ErrorKind, MAX_SECRET};
use handfast_testkit::Scratch;

use super::{assert_fails, read};

const TOO_LARGE: &str = "it is larger than 1048576 bytes";

#[test]
fn a_file_that_grows_while_it_is_read_is_read_up_to_the_limit() {
    let scratch = Scratch::new();
    let path = scratch.join("growing");
    let mut file = File::create(&path).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..MAX_SECRET / 512 + 1 {
                file.write_all(&[b'x'; 512]).unwrap();
            }
        });
        let error = loop {
            match read(&path) {
                Ok(value) => assert!(value.len() <= MAX_SECRET && value.iter().all(|byte| *byte == b'x')),
                Err(error) => break error,
            }
        };
        assert_fails(Err(error), ErrorKind::Malformed, TOO_LARGE);
    });
}

#[test]
fn a_file_of_a_tebibyte_takes_no_more_memory_than_the_limit() {
    let scratch = Scratch::new();
    let path = scratch.join("sparse");
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert_fails(read(&path), ErrorKind::Malformed, TOO_LARGE);
}

#[test]
fn holes_are_read_as_zeroes() {
    let scratch = Scratch::new();
    let path = scratch.join("hole");
    File::create(&path).unwrap().set_len(MAX_SECRET as u64).unwrap();
    assert_eq!(read(&path).unwrap(), vec![0; MAX_SECRET]);
    fs::write(&path, "").unwrap();
    assert_eq!(read(&path).unwrap(), b"");
}
