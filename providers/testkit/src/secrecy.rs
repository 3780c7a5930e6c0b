//! No error tells a secret: neither in its text, nor in what `{:?}` prints.

use std::hash::{BuildHasher, RandomState};

use crate::failures::{Told, everything_that_fails};
use crate::fixture::Fixture;

/// A text that stands nowhere by chance, to plant where a secret would stand.
pub fn canary() -> String {
    // Each `RandomState` has keys of its own, from the operating system's randomness.
    let [first, second] = [0u8, 1].map(|half| RandomState::new().hash_one(half));
    format!("canary{first:016x}{second:016x}")
}

/// Every failure that can be provoked, with a canary in each value, and those that the fixture has put into credentials and
/// into what stands next to the secrets.
pub fn no_error_tells_a_value_or_a_credential<F: Fixture>() {
    let value = canary();
    for Told { message, hint, debug, canaries } in everything_that_fails::<F>(value.as_bytes()) {
        let text = [message, hint.unwrap_or_default(), debug].join("\n");
        for canary in canaries.iter().chain([&value]) {
            assert!(!tells(&text, canary), "it tells a secret: {text}");
        }
    }
}

/// Whether a text holds a canary: as it is, in another case, as hex, or as numbers, as `{:?}` prints bytes. Half of it
/// is enough: a message may be cut.
pub fn tells(text: &str, canary: &str) -> bool {
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
            assert!(tells(&format!("cannot read it: {text}"), &canary), "{text}");
        }
        assert!(!tells("cannot read `canary`: no such file", &canary));
        assert_ne!(canary, super::canary());
    }
}
