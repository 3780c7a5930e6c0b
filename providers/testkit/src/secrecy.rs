//! No error contains a secret: neither its text nor its `{:?}`.

use std::hash::{BuildHasher, RandomState};

use crate::failures::{Failure, all_failures};
use crate::fixture::Fixture;

/// A random text to use as a secret, which occurs nowhere else.
pub fn canary() -> String {
    // Each `RandomState` has its own random keys.
    let [first, second] = [0u8, 1].map(|half| RandomState::new().hash_one(half));
    format!("canary{first:016x}{second:016x}")
}

/// Checks every failure that the fixture can cause, with a canary in each value, in the credentials and next to the secrets.
pub fn no_error_contains_a_value_or_a_credential<F: Fixture>() {
    let value = canary();
    for Failure { message, hint, debug, canaries } in all_failures::<F>(value.as_bytes()) {
        let text = [message, hint.unwrap_or_default(), debug].join("\n");
        for canary in canaries.iter().chain([&value]) {
            assert!(!contains(&text, canary), "it contains a secret: {text}");
        }
    }
}

/// Whether a text contains a canary: as it is, in another case, as hex, or as numbers, as `{:?}` prints bytes. Half of the canary
/// is enough, because a message may be shortened.
pub fn contains(text: &str, canary: &str) -> bool {
    let text = text.to_lowercase();
    let bytes = canary.as_bytes();
    [&bytes[..bytes.len() / 2], &bytes[bytes.len() / 2..]].into_iter().any(|half| {
        let plain = String::from_utf8_lossy(half).to_lowercase();
        let hex: String = half.iter().map(|byte| format!("{byte:02x}")).collect();
        let numbers = half.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        [plain, hex, numbers].iter().any(|form| text.contains(form))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_found_in_each_form() {
        let canary = canary();
        let bytes = canary.as_bytes();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        for text in [canary.clone(), canary.to_uppercase(), hex, format!("{bytes:?}"), canary[..20].to_owned()] {
            assert!(contains(&format!("cannot read it: {text}"), &canary), "{text}");
        }
        assert!(!contains("cannot read `canary`: no such file", &canary));
        assert_ne!(canary, super::canary());
    }
}
