//! Values that a user writes as text (durations, sizes, modes), and the bounds of values.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Reads a duration: numbers with units, such as `1m 30s`. An empty text and a number without a unit are refused.
pub fn parse_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok().filter(|duration| *duration <= Duration::from_secs(366 * 24 * 3600))
}

/// A duration as a message shows it: in whole seconds, such as `1m 30s`.
pub fn whole_seconds(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(duration.as_secs()))
}

/// The most strings in an array, because checking each string takes time.
pub const MAX_STRINGS: usize = 1024;

/// The accepted sizes: a larger size is a typing error.
pub const SIZES: RangeInclusive<u64> = 1..=1 << 40;

/// Reads a size: a number of bytes, or a number with `KiB`, `MiB` or `GiB`. Other units are refused, because `1MB` can mean two
/// different numbers.
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale).filter(|bytes| SIZES.contains(bytes))
}

/// Reads a file mode: three or four octal digits. A secret's file must not be executable, nor writable for everybody.
pub fn parse_mode(text: &str) -> Option<u32> {
    if !(3..=4).contains(&text.len()) || !text.bytes().all(|digit| (b'0'..=b'7').contains(&digit)) {
        return None;
    }
    u32::from_str_radix(text, 8).ok().filter(|mode| mode & !0o664 == 0 && mode & 0o444 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("1MiB"), Some(1 << 20));
        assert_eq!(parse_size("64 KiB"), Some(64 << 10));
        assert_eq!(parse_size("4096"), Some(4096));
        for text in ["", "MiB", "1MB", "1k", "-1", "0", "1.5MiB", "99999999999GiB"] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
    }

    #[test]
    fn modes() {
        assert_eq!(parse_mode("0400"), Some(0o400));
        assert_eq!(parse_mode("444"), Some(0o444));
        assert_eq!(parse_mode("0660"), Some(0o660));
        for text in ["", "4", "0200", "0666", "0500", "4400", "0o400", "0000", "00400", "-400", "+400"] {
            assert_eq!(parse_mode(text), None, "{text:?}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("1m 30s"), Some(Duration::from_secs(90)));
        for text in ["", "10", "-1s", "1x", "9999999999999999years"] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }
}
