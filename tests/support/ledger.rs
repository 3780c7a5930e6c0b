//! Which values must be nowhere, and the search for them wherever a run may have left them.

use std::fs;
use std::path::Path;

use handfast_testtools::needle::Needle;
use handfast_testtools::search::Search;

use super::{canary, hex};

/// Fresh random values with names, and their search in every form: raw, hexadecimal, base64.
#[derive(Default)]
pub struct Ledger {
    values: Vec<(String, String)>,
}

impl Ledger {
    /// One more value, made up now; the name is for people.
    pub fn add(&mut self, name: &str) -> String {
        self.values.push((name.to_owned(), canary()));
        self.get(name).to_owned()
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> &str {
        let (_, value) = self.values.iter().find(|(known, _)| known == name).expect("it was added");
        value
    }

    /// All values, for [`Run::traced`](super::Run::traced) and the like.
    pub fn values(&self) -> Vec<&str> {
        self.values.iter().map(|(_, value)| value.as_str()).collect()
    }

    fn search(&self) -> Search {
        let needle = |(_, value): &(String, String)| Needle::from_hex(&hex(value)).expect("canaries are long enough");
        Search::new(&self.values.iter().map(needle).collect::<Vec<_>>())
    }

    /// What is found in these bytes: `NAME raw whole in PLACE`.
    pub fn find(&self, place: &str, bytes: &[u8]) -> Vec<String> {
        let hits = self.search().hits(bytes);
        let line = |hit: &handfast_testtools::search::Hit| {
            format!("{} {} {} in {place}", self.values[hit.needle].0, hit.encoding, hit.part.name())
        };
        hits.iter().map(line).collect()
    }

    /// What is found in the names and contents of everything at or below `path`, but for files at these paths.
    pub fn find_below(&self, path: &Path, except: &[&Path]) -> Vec<String> {
        let mut found = self.find("a name", path.as_os_str().as_encoded_bytes());
        let Ok(metadata) = fs::symlink_metadata(path) else { return found };
        if metadata.is_symlink() {
            let target = fs::read_link(path).unwrap_or_default();
            found.extend(self.find(&format!("the link {}", path.display()), target.as_os_str().as_encoded_bytes()));
        } else if metadata.is_dir() {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                found.extend(self.find_below(&entry.path(), except));
            }
        } else if metadata.is_file() && !except.contains(&path) {
            let bytes = fs::read(path).unwrap_or_default();
            found.extend(self.find(&path.display().to_string(), &bytes));
        }
        found
    }
}
