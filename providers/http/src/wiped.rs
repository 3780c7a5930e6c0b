//! Secrets as other libraries take bytes.

use bytes::Bytes;
use handfast_core::SecretValue;

/// A secret as shared bytes: wiped when the last of those who hold them lets go.
pub fn wiped(value: SecretValue) -> Bytes {
    struct Wiped(SecretValue);
    impl AsRef<[u8]> for Wiped {
        fn as_ref(&self) -> &[u8] {
            self.0.expose()
        }
    }
    Bytes::from_owner(Wiped(value))
}
