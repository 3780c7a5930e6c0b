//! Secrets in the type that the HTTP library needs.

use bytes::Bytes;
use handfast_core::SecretValue;

/// A secret as shared bytes, which are wiped when the last reference is dropped.
pub fn wiped(value: SecretValue) -> Bytes {
    struct Wiped(SecretValue);
    impl AsRef<[u8]> for Wiped {
        fn as_ref(&self) -> &[u8] {
            self.0.expose()
        }
    }
    Bytes::from_owner(Wiped(value))
}
