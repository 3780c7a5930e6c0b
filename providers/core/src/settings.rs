//! Settings as a user wrote them: values, each with its place.

use std::collections::BTreeSet;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::context::Environment;
use crate::problem::Place;
use crate::units;

/// A table of settings, in the order of the file.
#[derive(Default)]
pub struct Table {
    entries: Vec<(String, Place, Item)>,
}

/// A value and its place.
pub struct Item {
    /// The place of the value, or of the key if the value is a table.
    pub place: Place,
    /// The value as written.
    pub value: Value,
}

/// A value. Text is wiped when dropped, because the configuration of `mock` contains secrets.
#[allow(missing_docs)]
pub enum Value {
    String(Zeroizing<String>),
    Integer(i64),
    Float,
    Boolean(bool),
    Datetime,
    Array(Vec<Item>),
    Table(Table),
    /// A value that could not be read, which has been reported. Checks report nothing more about it.
    Wrong,
}

/// The settings of one provider instance, `[providers.NAME]`, checked against the keys that its provider declares.
pub struct Settings<'a> {
    /// The instance's name: the first part of a reference.
    pub instance: String,
    /// Its keys.
    pub table: Table,
    /// `[fetch]`, for the keys that an instance can override.
    pub fetch: &'a Table,
    /// The environment, for the variables that the store's vendor defines. A key of the table overrides them.
    pub environment: &'a dyn Environment,
}

impl Value {
    /// The kind of the value, for a message.
    pub fn describe(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float => "a float",
            Value::Boolean(_) => "a boolean",
            Value::Datetime => "a date",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
            Value::Wrong => "unreadable",
        }
    }
}

/// The typed readers return `None` for a missing key, and for a key that [`keys::check`](crate::keys::check) has already refused.
impl Table {
    /// The item under a key.
    pub fn item(&self, key: &str) -> Option<&Item> {
        self.entries.iter().find(|(name, ..)| name == key).map(|(_, _, item)| item)
    }

    /// Every key with its item.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Item)> {
        self.entries.iter().map(|(name, _, item)| (name.as_str(), item))
    }

    /// Every key with the place of the key itself.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &Place)> {
        self.entries.iter().map(|(name, place, _)| (name.as_str(), place))
    }

    /// Every item, mutable.
    pub fn items_mut(&mut self) -> impl Iterator<Item = &mut Item> {
        self.entries.iter_mut().map(|(_, _, item)| item)
    }

    /// A table from entries. Their keys must all be different.
    pub fn of_single_keys(entries: Vec<(String, Place, Item)>) -> Self {
        Self { entries }
    }

    /// How many keys it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sets a key at `place`, and replaces its old value.
    pub fn set(&mut self, key: &str, place: Place, item: Item) {
        self.remove(key);
        self.entries.push((key.to_owned(), place, item));
    }

    /// Removes a key, and returns its item.
    pub fn remove(&mut self, key: &str) -> Option<Item> {
        let at = self.entries.iter().position(|(name, ..)| name == key)?;
        Some(self.entries.remove(at).2)
    }

    /// Adds every key of `later`, and replaces the keys that are already there.
    pub fn merge(&mut self, later: Table) {
        if !self.entries.is_empty() {
            let replaced: BTreeSet<&str> = later.entries.iter().map(|(key, ..)| key.as_str()).collect();
            self.entries.retain(|(key, ..)| !replaced.contains(key.as_str()));
        }
        self.entries.extend(later.entries);
    }

    /// The keys and values, moved out of the table.
    pub fn into_entries(self) -> impl Iterator<Item = (String, Place, Item)> {
        self.entries.into_iter()
    }

    /// The place of a key's value.
    pub fn place(&self, key: &str) -> Option<&Place> {
        self.item(key).map(|item| &item.place)
    }

    /// A string.
    pub fn string(&self, key: &str) -> Option<&str> {
        match &self.item(key)?.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// A boolean.
    pub fn boolean(&self, key: &str) -> Option<bool> {
        match self.item(key)?.value {
            Value::Boolean(value) => Some(value),
            _ => None,
        }
    }

    /// An integer.
    pub fn integer(&self, key: &str) -> Option<i64> {
        match self.item(key)?.value {
            Value::Integer(value) => Some(value),
            _ => None,
        }
    }

    /// A duration, written as `"10s"`.
    pub fn duration(&self, key: &str) -> Option<Duration> {
        units::parse_duration(self.string(key)?)
    }

    /// A number of bytes, written as `"1MiB"` or as an integer.
    pub fn size(&self, key: &str) -> Option<u64> {
        match &self.item(key)?.value {
            Value::String(text) => units::parse_size(text),
            Value::Integer(bytes) => u64::try_from(*bytes).ok().filter(|bytes| units::SIZES.contains(bytes)),
            _ => None,
        }
    }

    /// The strings of an array.
    pub fn strings(&self, key: &str) -> Option<Vec<(&str, &Place)>> {
        match &self.item(key)?.value {
            Value::Array(items) if items.len() <= units::MAX_STRINGS => items
                .iter()
                .map(|item| match &item.value {
                    Value::String(text) => Some((text.as_str(), &item.place)),
                    _ => None,
                })
                .collect(),
            _ => None,
        }
    }

    /// A table.
    pub fn table(&self, key: &str) -> Option<&Table> {
        match &self.item(key)?.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }
}
