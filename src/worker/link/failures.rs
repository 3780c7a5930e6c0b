//! Turns providers' failures into the failure of a start: gives each its class, and sums up several.
#![forbid(unsafe_code)]

use handfast_core::ErrorKind;

use crate::error::{Class, Error, Phase};

/// The class of a provider's error.
pub fn class(kind: ErrorKind) -> Class {
    match kind {
        ErrorKind::Denied => Class::Denied,
        ErrorKind::NotFound => Class::NotFound,
        ErrorKind::Untrusted => Class::Untrusted,
        ErrorKind::Os => Class::Os,
        ErrorKind::Unavailable => Class::Unavailable,
        _ => Class::Malformed,
    }
}

/// One failure as it is, or several summed up as one. The class of the sum is the first in ORDER (the contract's order) that any
/// of them has.
pub fn sum(mut failures: Vec<Error>, secrets: usize) -> Error {
    const ORDER: [Class; 7] = [
        Class::Denied,
        Class::Untrusted,
        Class::NotFound,
        Class::Malformed,
        Class::Unavailable,
        Class::Os,
        Class::Internal,
    ];
    let rank = |error: &Error| ORDER.iter().position(|class| *class == error.class).unwrap_or(ORDER.len());
    failures.sort_by_key(rank);
    if failures.len() == 1 {
        return failures.remove(0);
    }
    let first = &failures[0];
    let references: Vec<&str> =
        failures.iter().filter_map(|error| Some(error.subject.as_ref()?.reference.as_str())).collect();
    let message = format!("{} of {secrets} secrets could not be fetched: {}", failures.len(), references.join(", "));
    let mut error = Error::new(Phase::Fetch, first.class, message);
    error.subject.clone_from(&first.subject);
    error.parts(failures)
}
