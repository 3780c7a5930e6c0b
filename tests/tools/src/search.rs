//! The search for needles, in pieces of memory.

use crate::needle::{MASK, Needle, SHORTEST_HALF};

/// The part of a pattern that was found. The allocator overwrites the first bytes of a freed block, so the second half counts
/// too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The whole pattern.
    Whole,
    /// Only the first half.
    Head,
    /// Only the second half.
    Tail,
}

impl Part {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Head => "head",
            Self::Tail => "tail",
        }
    }
}

/// A place where a needle was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The index of the needle, counted from 0.
    pub needle: usize,
    /// The form of the needle: `raw`, `hex`, `hex-upper`, `base64`, `base64+1`, …
    pub encoding: &'static str,
    /// The part of the needle.
    pub part: Part,
    /// The start of this part in the searched bytes.
    pub offset: usize,
    /// The end of this part.
    pub end: usize,
}

struct Pattern {
    needle: usize,
    encoding: &'static str,
    masked: Vec<u8>,
}

struct Anchor {
    pattern: usize,
    /// The start of this anchor in the pattern.
    start: usize,
    end: usize,
}

/// Searches for any number of needles in one pass.
pub struct Search {
    patterns: Vec<Pattern>,
    /// The anchors, ordered by their first two bytes.
    anchors: Vec<Anchor>,
    /// For each pair of bytes (in clear), the range of the anchors that begin with it.
    begins: Vec<(u16, u16)>,
    longest: usize,
}

impl Search {
    /// Prepares all forms of all needles.
    #[must_use]
    pub fn new(needles: &[Needle]) -> Self {
        let of = |(needle, value): (usize, &Needle)| {
            let pattern = move |(encoding, masked)| Pattern { needle, encoding, masked };
            value.patterns().into_iter().map(pattern).collect::<Vec<_>>()
        };
        let patterns: Vec<Pattern> = needles.iter().enumerate().flat_map(of).collect();
        let mut anchors = Vec::new();
        for (index, pattern) in patterns.iter().enumerate() {
            let (length, half) = (pattern.masked.len(), pattern.masked.len() / 2);
            let cuts = if half < SHORTEST_HALF { vec![(0, length)] } else { vec![(0, half), (half, length)] };
            for (start, end) in cuts {
                anchors.push(Anchor { pattern: index, start, end });
            }
        }
        let first = |anchor: &Anchor| {
            let masked = &patterns[anchor.pattern].masked;
            pair(masked[anchor.start] ^ MASK, masked[anchor.start + 1] ^ MASK)
        };
        anchors.sort_by_key(first);
        let mut begins = vec![(0, 0); 1 << 16];
        for (at, anchor) in (0..).zip(&anchors) {
            let range = &mut begins[first(anchor)];
            *range = (if range.1 == 0 { at } else { range.0 }, at + 1);
        }
        let longest = patterns.iter().map(|pattern| pattern.masked.len()).max().unwrap_or(0);
        Self { patterns, anchors, begins, longest }
    }

    /// The number of bytes of one piece that must be searched again with the next piece, so that no hit is lost between them.
    #[must_use]
    pub fn overlap(&self) -> usize {
        self.longest.saturating_sub(1)
    }

    /// Every place in `bytes` that contains a needle in any form. A whole needle is one hit.
    #[must_use]
    pub fn hits(&self, bytes: &[u8]) -> Vec<Hit> {
        let mut hits = Vec::new();
        for (at, two) in bytes.windows(2).enumerate() {
            let (start, end) = self.begins[pair(two[0], two[1])];
            let anchors = &self.anchors[usize::from(start)..usize::from(end)];
            hits.extend(anchors.iter().filter_map(|anchor| self.hit(bytes, at, anchor)));
        }
        hits
    }

    fn hit(&self, bytes: &[u8], at: usize, anchor: &Anchor) -> Option<Hit> {
        let Pattern { needle, encoding, ref masked } = self.patterns[anchor.pattern];
        if !matches(bytes, at, &masked[anchor.start..anchor.end]) {
            return None;
        }
        let whole = at.checked_sub(anchor.start).is_some_and(|start| matches(bytes, start, masked));
        let (part, length) = match (whole, anchor.start) {
            // The first half has reported this hit already.
            (true, 1..) => return None,
            (true, 0) => (Part::Whole, masked.len()),
            (false, 0) => (Part::Head, anchor.end),
            (false, 1..) => (Part::Tail, anchor.end - anchor.start),
        };
        Some(Hit { needle, encoding, part, offset: at, end: at + length })
    }
}

fn pair(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

fn matches(bytes: &[u8], at: usize, masked: &[u8]) -> bool {
    bytes
        .get(at..at + masked.len())
        .is_some_and(|found| found.iter().zip(masked).all(|(byte, mask)| byte ^ MASK == *mask))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    const VALUE: &[u8] = b"\x00canary\xff-0123456789>?~";

    fn search() -> Search {
        let digits: String = VALUE.iter().map(|byte| format!("{byte:02x}")).collect();
        Search::new(&[Needle::from_hex(&digits).expect("hexadecimal digits")])
    }

    fn found(bytes: &[u8]) -> Vec<(&'static str, Part, usize)> {
        search().hits(bytes).into_iter().map(|hit| (hit.encoding, hit.part, hit.offset)).collect()
    }

    /// A second, simple implementation of base64, to check the patterns.
    fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> Vec<u8> {
        let group = |group: &[u8]| {
            let word = group.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
            (0..=group.len()).map(move |at| alphabet[(word >> (18 - 6 * at) & 63) as usize]).collect::<Vec<_>>()
        };
        bytes.chunks(3).flat_map(group).collect()
    }

    #[test]
    fn a_clean_buffer_has_no_hits() {
        assert_eq!(found(&[0; 4096]), []);
        assert_eq!(found(b""), []);
    }

    #[test]
    fn the_value_itself_is_found_at_each_offset() {
        for before in 0..40 {
            let bytes = [vec![b'.'; before], VALUE.to_vec(), b"..".to_vec()].concat();
            assert_eq!(found(&bytes), [("raw", Part::Whole, before)]);
        }
    }

    #[test]
    fn both_cases_of_hex_are_found() {
        let hex: String = VALUE.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found(hex.as_bytes()), [("hex", Part::Whole, 0)]);
        assert_eq!(found(hex.to_uppercase().as_bytes()), [("hex-upper", Part::Whole, 0)]);
    }

    #[test]
    fn base64_is_found_at_each_alignment_in_both_alphabets() {
        for (alphabet, names) in
            [(STANDARD, ["base64", "base64+1", "base64+2"]), (URL, ["base64url", "base64url+1", "base64url+2"])]
        {
            for before in 0..9 {
                let bytes = [vec![b'x'; before], VALUE.to_vec(), b"after".to_vec()].concat();
                let hits = found(&base64(&bytes, alphabet));
                let hit = |hit: &&(&str, Part, usize)| hit.0 == names[before % 3] && hit.1 == Part::Whole;
                assert_eq!(hits.iter().filter(hit).count(), 1, "{before} bytes before: {hits:?}");
            }
        }
    }

    #[test]
    fn what_an_allocator_leaves_of_a_freed_value_is_found() {
        let mut bytes = VALUE.to_vec();
        bytes[..8].fill(0x55);
        assert_eq!(found(&bytes), [("raw", Part::Tail, VALUE.len() / 2)]);
        let mut bytes = VALUE.to_vec();
        bytes[VALUE.len() - 4..].fill(0);
        assert_eq!(found(&bytes), [("raw", Part::Head, 0)]);
    }

    #[test]
    fn the_search_itself_does_not_hold_the_value() {
        let search = search();
        assert!(search.patterns.iter().all(|pattern| search.hits(&pattern.masked).is_empty()));
    }
}
