//! The console output of a machine, in sections.

use std::collections::BTreeMap;
use std::fmt;

/// The whole output.
pub struct Console {
    sections: BTreeMap<String, Section>,
    path: String,
}

/// The output of one start, and its exit code.
#[derive(Clone)]
pub struct Section {
    name: String,
    text: String,
    pub code: i32,
}

impl Console {
    /// Parses a console output. The failure message names the file at `path`, which keeps the output.
    pub fn parse(text: &str, path: String) -> Self {
        let mut sections = BTreeMap::new();
        let mut current: Option<Section> = None;
        for line in text.lines().map(|line| line.trim_end_matches('\r')) {
            // A firmware clears the screen in the middle of a line.
            if let Some((_, name)) = line.split_once("== ") {
                let next = Section { name: name.to_owned(), text: String::new(), code: -1 };
                sections.extend(current.replace(next).map(|section| (section.name.clone(), section)));
            } else if let Some(section) = &mut current {
                match line.strip_prefix("code ").and_then(|code| code.parse().ok()) {
                    Some(code) => section.code = code,
                    // The kernel can print a message at any time.
                    None if line.starts_with('[') => {}
                    None => section.text += &format!("{line}\n"),
                }
            }
        }
        sections.extend(current.map(|section| (section.name.clone(), section)));
        Self { sections, path }
    }

    /// A section by its name. A missing section is empty and counts as failed.
    pub fn section(&self, name: &str) -> Section {
        let missing = || Section { name: name.into(), text: String::new(), code: -1 };
        self.sections.get(name).cloned().unwrap_or_else(missing)
    }

    pub fn has(&self, name: &str) -> bool {
        self.sections.contains_key(name)
    }

    pub fn path(&self) -> &str {
        &self.path
    }
}

impl Section {
    pub fn has(&self, text: &str) -> bool {
        self.text.contains(text)
    }

    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines()
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: exit code {}\n{}", self.name, self.code, self.text)
    }
}
