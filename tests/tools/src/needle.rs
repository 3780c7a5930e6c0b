//! A value to search for, in each form in which it may have leaked.
//!
//! All patterns are stored inverted (each byte xor 0xff), so that a process that holds them can scan itself and find only
//! values that it was given.

/// Each byte of a pattern is combined with this byte.
pub(crate) const MASK: u8 = 0xff;
const HEX_LOWER: &[u8; 16] = b"0123456789abcdef";
const HEX_UPPER: &[u8; 16] = b"0123456789ABCDEF";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The shortest half of a pattern that is searched for alone: shorter halves occur by chance.
pub(crate) const SHORTEST_HALF: usize = 8;

/// A value to search for. It never holds the value in clear.
pub struct Needle {
    masked: Vec<u8>,
}

impl Needle {
    /// Parses hexadecimal digits.
    ///
    /// # Errors
    ///
    /// If the text is not pairs of hexadecimal digits, or is so short that hits occur by chance.
    pub fn from_hex(digits: &str) -> Result<Self, String> {
        Self::parse(digits, MASK)
    }

    /// Parses the hexadecimal digits of the *inverted* value. This is for a process that scans itself: otherwise the scan would
    /// find its arguments.
    ///
    /// # Errors
    ///
    /// The same as for [`Needle::from_hex`].
    pub fn from_masked_hex(digits: &str) -> Result<Self, String> {
        Self::parse(digits, 0)
    }

    fn parse(digits: &str, mask: u8) -> Result<Self, String> {
        let problem = || "a needle is at least 8 bytes in hexadecimal digits".to_owned();
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let pair = |pair: &[u8]| Some((digit(pair[0])? << 4 | digit(*pair.get(1)?)?) ^ mask);
        let masked: Vec<u8> = digits.as_bytes().chunks(2).map(pair).collect::<Option<_>>().ok_or_else(problem)?;
        if masked.len() < SHORTEST_HALF { Err(problem()) } else { Ok(Self { masked }) }
    }

    fn byte(&self, index: usize) -> u8 {
        self.masked[index] ^ MASK
    }

    fn hex(&self, digits: &[u8; 16]) -> Vec<u8> {
        let pair = |index| [digits[usize::from(self.byte(index) >> 4)], digits[usize::from(self.byte(index) & 15)]];
        (0..self.masked.len()).flat_map(pair).map(|digit| digit ^ MASK).collect()
    }

    /// The base64 characters that depend only on this value, if `before` bytes of other data precede it in its group.
    fn base64(&self, before: usize, alphabet: &[u8; 64]) -> Vec<u8> {
        let first = (before * 8).div_ceil(6);
        let end = (before + self.masked.len()) * 8 / 6;
        let bit = |position: usize| self.byte(position / 8 - before) >> (7 - position % 8) & 1;
        let sextet = |at: usize| (at * 6..at * 6 + 6).fold(0, |value, position| value << 1 | bit(position));
        (first..end).map(|at| alphabet[usize::from(sextet(at))] ^ MASK).collect()
    }

    /// All forms by name, inverted.
    pub(crate) fn patterns(&self) -> Vec<(&'static str, Vec<u8>)> {
        let mut all = vec![
            ("raw", self.masked.clone()),
            ("hex", self.hex(HEX_LOWER)),
            ("hex-upper", self.hex(HEX_UPPER)),
            ("base64", self.base64(0, BASE64)),
            ("base64+1", self.base64(1, BASE64)),
            ("base64+2", self.base64(2, BASE64)),
            ("base64url", self.base64(0, BASE64_URL)),
            ("base64url+1", self.base64(1, BASE64_URL)),
            ("base64url+2", self.base64(2, BASE64_URL)),
        ];
        // Many values have the same form in both alphabets or cases; report one hit only once.
        let mut seen: Vec<Vec<u8>> = Vec::new();
        all.retain(|(_, pattern)| {
            !seen.contains(pattern) && {
                seen.push(pattern.clone());
                true
            }
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_that_chance_could_make_is_refused() {
        for digits in ["", "00", "0011223344556", "zz112233445566778899", "00112233445566"] {
            assert!(Needle::from_hex(digits).is_err(), "{digits}");
        }
    }
}
