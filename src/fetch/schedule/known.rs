//! The known values of a secret, as digests: a change is found without keeping the values.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use handfast_core::SecretValue;

use crate::fetch::outcome::{Change, Part, Piece};

/// A delivered value is gone after this many reads in a row without it.
const READS_WITHOUT: u32 = 2;

/// Makes digests with keys of this process, so that a digest reveals nothing to another process.
#[derive(Default)]
pub struct Digests(RandomState, RandomState);

impl Digests {
    /// The digest of a value.
    pub fn of(&self, value: &SecretValue) -> u128 {
        let half = |key: &RandomState| u128::from(key.hash_one(value.expose()));
        half(&self.0) << 64 | half(&self.1)
    }
}

/// The digests of a secret's values, by name (`None` for a single value). Empty if the secret is missing.
pub type Values = BTreeMap<Option<String>, u128>;

/// The values of a set that an earlier keeper has published.
#[derive(Default)]
pub struct EarlierValues {
    /// Makes the digests: later values are compared with the same keys.
    pub digests: Digests,
    /// By secret.
    pub values: Vec<Values>,
    /// By secret: when it was read last, and when it ends.
    pub times: Vec<(Duration, Option<Duration>)>,
}

/// The known values of a secret.
#[derive(Default)]
pub struct Known {
    /// The delivered values.
    delivered: Values,
    /// For each delivered value: how many reads in a row were without it.
    absences: BTreeMap<Option<String>, u32>,
    /// The values of the last read, if they are a change.
    pending: Option<(Values, Change)>,
    /// When the delivered value ends.
    end: Option<Duration>,
    /// Whether the pending change could not be delivered.
    is_undelivered: bool,
}

impl Known {
    /// The values of the first read; none if the secret is missing.
    pub fn first(digests: &Digests, parts: &[Part]) -> Self {
        Self::delivered_before(parts.iter().map(|part| (part.name.clone(), digests.of(&part.value))).collect())
    }

    /// These values, which are delivered already.
    pub fn delivered_before(delivered: Values) -> Self {
        Self { delivered, ..Self::default() }
    }

    /// Sets the end of the delivered value, unless a change is pending.
    pub fn set_end(&mut self, end: Option<Duration>) {
        if !self.is_pending() {
            self.end = end;
        }
    }

    /// Compares the values of a read with the delivered ones. Returns whether they are a change that was not known before.
    pub fn compare(&mut self, digests: &Digests, parts: Vec<Part>) -> bool {
        let mut values = Values::new();
        let mut pieces = Vec::new();
        for Part { name, value } in parts {
            let digest = digests.of(&value);
            let piece = if self.delivered.get(&name) == Some(&digest) { Piece::Same } else { Piece::Value(value) };
            pieces.push((name.clone(), piece));
            values.insert(name, digest);
        }
        self.absences.retain(|name, _| !values.contains_key(name));
        for (name, digest) in self.delivered.iter().filter(|(name, _)| !values.contains_key(name)).collect::<Vec<_>>() {
            let count = self.absences.entry(name.clone()).or_default();
            *count += 1;
            if *count < READS_WITHOUT {
                pieces.push((name.clone(), Piece::Same));
                values.insert(name.clone(), *digest);
            }
        }
        if values == self.delivered {
            (self.pending, self.is_undelivered) = (None, false);
            return false;
        }
        let is_news = self.pending.as_ref().is_none_or(|(before, _)| *before != values);
        self.pending = Some((values, Change(pieces)));
        is_news
    }

    /// Whether a change is pending.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Takes the pending change, with the digests to know once it is delivered.
    pub fn take_pending(&mut self) -> Option<(Values, Change)> {
        self.pending.take()
    }

    /// Puts back a change that was not delivered.
    pub fn put_back(&mut self, values: Values, change: Change) {
        (self.pending, self.is_undelivered) = (Some((values, change)), true);
    }

    /// `Some` if a change could not be delivered: when the value that is delivered instead ends.
    pub fn undelivered(&self) -> Option<Option<Duration>> {
        self.is_undelivered.then_some(self.end)
    }

    /// The change was delivered.
    pub fn delivered(&mut self, values: Values) {
        self.absences.retain(|name, _| values.contains_key(name));
        (self.delivered, self.is_undelivered) = (values, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(values: &[(&str, &str)]) -> Vec<Part> {
        let part = |(name, value): &(&str, &str)| Part {
            name: (!name.is_empty()).then(|| (*name).to_owned()),
            value: SecretValue::from(value.as_bytes().to_vec()),
        };
        values.iter().map(part).collect()
    }

    fn shape(known: &mut Known) -> Vec<(String, bool)> {
        let Some((values, Change(pieces))) = known.take_pending() else { return Vec::new() };
        known.delivered(values);
        pieces.into_iter().map(|(name, piece)| (name.unwrap_or_default(), matches!(piece, Piece::Value(_)))).collect()
    }

    #[test]
    fn equal_values_are_no_change_and_a_way_back_is_none_either() {
        let digests = Digests::default();
        let mut known = Known::first(&digests, &parts(&[("", "a")]));
        assert!(!known.compare(&digests, parts(&[("", "a")])) && !known.is_pending());
        assert!(known.compare(&digests, parts(&[("", "b")])) && known.is_pending());
        assert!(!known.compare(&digests, parts(&[("", "b")])) && known.is_pending(), "it was known before");
        assert!(known.compare(&digests, parts(&[("", "c")])));
        assert!(!known.compare(&digests, parts(&[("", "a")])) && !known.is_pending());
        assert!(known.compare(&digests, parts(&[("", "c")])));
        assert_eq!(shape(&mut known), [(String::new(), true)]);
        assert!(!known.compare(&digests, parts(&[("", "c")])));
    }

    #[test]
    fn a_value_is_gone_after_two_reads_without_it() {
        let digests = Digests::default();
        let mut known = Known::first(&digests, &parts(&[("", "a")]));
        assert!(!known.compare(&digests, Vec::new()) && !known.is_pending());
        assert!(!known.compare(&digests, parts(&[("", "a")])));
        assert!(!known.compare(&digests, Vec::new()), "the reads before it came back do not count");
        assert!(known.compare(&digests, Vec::new()));
        assert_eq!(shape(&mut known), []);
        assert!(known.compare(&digests, parts(&[("", "a")])), "and it comes back at once");
    }

    #[test]
    fn only_what_differs_in_a_list_is_sent() {
        let digests = Digests::default();
        let mut known = Known::first(&digests, &parts(&[("a", "1"), ("b", "1")]));
        assert!(known.compare(&digests, parts(&[("a", "2"), ("c", "1")])));
        let expected = [("a", true), ("c", true), ("b", false)].map(|(name, value)| (name.to_owned(), value));
        assert_eq!(shape(&mut known), expected);
        assert!(known.compare(&digests, parts(&[("a", "2"), ("c", "1")])));
        assert_eq!(shape(&mut known), [("a", false), ("c", false)].map(|(name, value)| (name.to_owned(), value)));
    }
}
