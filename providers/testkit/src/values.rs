//! A value arrives byte for byte as it was stored.

use std::rc::Rc;

use handfast_core::{ErrorKind, MAX_SECRET};
use tokio::task::JoinSet;

use crate::fixture::{Fixture, Instance, possible};

/// An empty value is a value, and not a missing secret.
pub fn an_empty_value_arrives_empty<F: Fixture>() {
    arrives::<F>(b"");
}

/// The value must not pass through a C string.
pub fn a_value_with_nul_bytes_arrives_whole<F: Fixture>() {
    arrives::<F>(b"\0a\0\0b\0");
}

/// The value must not pass through a text type, which would replace bytes, or remove a byte order mark.
pub fn a_value_that_is_not_utf8_arrives_whole<F: Fixture>() {
    arrives::<F>(b"\xff\xfe\xef\xbb\xbf\xc3\x28\xed\xa0\x80\x80");
}

/// Only `?trim=newline` removes a line break, and handfast itself does that.
pub fn white_space_around_a_value_is_kept<F: Fixture>() {
    for value in [&b"hunter2\n"[..], b"\r\n hunter2\t \r\n\n", b"\n", b" "] {
        arrives::<F>(value);
    }
}

/// The document must not be parsed and written again, which would change white space, order of keys, escapes or numbers.
pub fn a_json_document_arrives_as_it_was_stored<F: Fixture>() {
    arrives::<F>(b"{ \"z\":1.0,\r\n\"a\" : \"\\u00e9/\\/\", \"big\":1e400, \"z2\":[ ]\n}\n");
}

/// The largest secret that handfast accepts.
pub fn a_value_of_one_mebibyte_arrives_whole<F: Fixture>() {
    arrives::<F>(&long(MAX_SECRET));
}

/// The provider itself must check the size, because the scheduler sees a value only when the whole value is in memory.
pub fn one_byte_more_than_the_largest_is_malformed<F: Fixture>() {
    let mut fixture = F::new();
    let Some(reference) = possible(fixture.put("long", &long(F::LARGEST + 1))) else { return };
    crate::run(async {
        let error = Instance::connect(&fixture).error(&reference).await;
        assert_eq!(error.kind, ErrorKind::Malformed, "{error}");
    });
}

/// One instance serves many fetches, and the first fetch does not consume the value.
pub fn a_secret_can_be_fetched_again<F: Fixture>() {
    let mut fixture = F::new();
    let Some(reference) = possible(fixture.put("again", b"the same")) else { return };
    crate::run(async {
        let instance = Instance::connect(&fixture);
        for _ in 0..3 {
            assert_eq!(instance.value(&reference).await, b"the same");
        }
    });
}

/// As many requests at the same time as handfast sends by default.
pub fn secrets_fetched_at_the_same_time_are_not_mixed_up<F: Fixture>() {
    let mut fixture = F::new();
    let value = |at: usize| format!("value-{at}-").repeat(at + 1).into_bytes();
    let answers: Vec<_> = (0..32).map(|at| fixture.put(&format!("secret-{at}"), &value(at))).collect();
    let Some(references) = possible(answers.into_iter().collect::<Result<Vec<_>, _>>()) else { return };
    crate::run(async {
        let instance = Rc::new(Instance::connect(&fixture));
        let mut running = JoinSet::new();
        for (at, reference) in references.into_iter().enumerate() {
            let instance = instance.clone();
            running.spawn_local(async move { (at, instance.value(&reference).await) });
        }
        while let Some(joined) = running.join_next().await {
            let (at, found) = joined.expect("a fetch does not panic");
            assert!(found == value(at), "secret-{at} got another's value");
        }
    });
}

fn arrives<F: Fixture>(value: &[u8]) {
    let mut fixture = F::new();
    // A value before and one after, so that an offset that is off by one is noticed.
    let neighbours = [fixture.put("a-before", b"AAAA"), fixture.put("z-after", b"ZZZZ")];
    let Some(reference) = possible(fixture.put("value", value)) else { return };
    crate::run(async {
        let instance = Instance::connect(&fixture);
        let found = instance.value(&reference).await;
        assert!(found == value, "{} bytes were stored, {} other bytes arrived", value.len(), found.len());
        for (neighbour, value) in neighbours.iter().flatten().zip([b"AAAA", b"ZZZZ"]) {
            assert_eq!(instance.value(neighbour).await, value);
        }
    });
}

/// A long value that every store accepts, since it is printable, and in which a lost or repeated part is noticed, since all parts
/// differ.
fn long(length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|at| format!("{at:07}\n").into_bytes()).collect();
    bytes.truncate(length);
    bytes
}
