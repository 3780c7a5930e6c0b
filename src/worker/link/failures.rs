//! Turns providers' failures into the failure of a start: gives each its class, and sums up several.
#![forbid(unsafe_code)]

use crate::error::{Class, Error, Phase, Subject};
use crate::plan::Secret;

/// How many references the sum of failures names: it is one line.
const MOST_REFERENCES: usize = 16;

/// The failure of one secret.
pub fn of_secret(secret: &Secret, class: Class, attempts: u32, message: &str, hint: Option<String>) -> Error {
    let tries = if attempts > 1 { format!(" ({attempts} attempts)") } else { String::new() };
    let (provider, reference) = (secret.reference.provider.clone(), secret.reference.to_string());
    let reason = format!("{message}{tries}");
    let message = format!("cannot fetch `{}` from `{reference}`: {reason}", secret.name);
    let subject = Subject { provider, reference, attempts, reason };
    let mut error = Error::new(Phase::Fetch, class, message).about(subject);
    error.hint = hint;
    error
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
    let references = failures.iter().filter_map(|error| Some(error.subject.as_ref()?.reference.as_str()));
    let shown: Vec<&str> = references.take(MOST_REFERENCES).collect();
    let more = failures.len().saturating_sub(shown.len());
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let mut message =
        format!("{} of {secrets} secrets could not be fetched: {}{more}", failures.len(), shown.join(", "));
    // Kubernetes shows the last line alone, as the termination message: so the line says why the exit code came.
    if let Some(subject) = &first.subject {
        message = format!("{message}; the first: {}", subject.reason);
    }
    let mut error = Error::new(Phase::Fetch, first.class, message);
    error.subject.clone_from(&first.subject);
    error.parts(failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(class: Class, reference: &str) -> Error {
        let mut error = Error::new(Phase::Fetch, class, format!("cannot fetch `{reference}`"));
        error.subject = Some(Subject {
            provider: "a".into(),
            reference: reference.into(),
            attempts: 1,
            reason: "no such secret".into(),
        });
        error
    }

    #[test]
    fn the_sum_has_the_reason_for_its_exit_code_and_a_bounded_list() {
        let denied = failure(Class::Denied, "a:last");
        let missing = (0..40).map(|number| failure(Class::NotFound, &format!("a:{number}")));
        let sum = sum(missing.chain([denied]).collect(), 50);
        assert_eq!(sum.class, Class::Denied);
        assert!(
            sum.message.starts_with("41 of 50 secrets could not be fetched: a:last, a:0, a:1, "),
            "{}",
            sum.message
        );
        assert!(sum.message.ends_with(", a:14 and 25 more; the first: no such secret"), "{}", sum.message);
    }
}
