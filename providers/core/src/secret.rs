//! The type of every secret.

use zeroize::Zeroizing;

/// Bytes of a secret or of a credential: wiped when dropped.
///
/// The type has no `Clone`, `Debug`, `Display` or `Serialize`, so that a secret cannot reach a log, an error or a copy by
/// accident. The only access is [`expose`](SecretValue::expose), which is easy to search for.
///
/// ```
/// println!("{:?}", handfast_core::SecretValue::from(vec![1]).expose());
/// ```
/// Without `expose`, none of these compiles:
///
/// ```compile_fail
/// println!("{:?}", handfast_core::SecretValue::from(vec![1]));
/// ```
/// ```compile_fail
/// println!("{}", handfast_core::SecretValue::from(vec![1]));
/// ```
/// ```compile_fail
/// let value = handfast_core::SecretValue::from(vec![1]);
/// let copy = value.clone();
/// ```
pub struct SecretValue(Zeroizing<Vec<u8>>);

impl SecretValue {
    /// A value of exactly `length` bytes, which `fill` writes in place, so that there is no second copy.
    pub fn filled<E>(length: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut bytes = Zeroizing::new(vec![0; length]);
        fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The bytes themselves. To review where secrets go, look at every call of this method.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<u8>> for SecretValue {
    /// Takes the bytes without copying: the vector's memory becomes the secret's.
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl From<Zeroizing<Vec<u8>>> for SecretValue {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}
