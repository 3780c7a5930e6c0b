//! Problems with the input, each with its place.

use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use crate::complaint::Complaint;

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In a configuration file; line and column count from 1, the column in characters.
    File {
        /// The file, as it was named.
        path: Rc<str>,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// In the command's arguments.
    CommandLine,
    /// In an environment variable.
    Environment,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Place::CommandLine => f.write_str("command line"),
            Place::Environment => f.write_str("environment"),
        }
    }
}

/// A problem with the input. All problems are reported at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The place of the problem.
    pub place: Place,
    /// What is wrong, and what is expected.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// The list to which every check adds its problems. It keeps the first [`MAX_REPORTED`] problems in order of place, and counts
/// all, so that a hostile file cannot make it grow without bound.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    first: BTreeSet<Problem>,
    count: usize,
}

/// The most problems that are reported. Of the others, only the number is reported.
pub const MAX_REPORTED: usize = 100;

impl Problems {
    /// Adds a complaint about the input at a place. A plain text is a complaint without a hint.
    pub fn add(&mut self, place: &Place, complaint: impl Into<Complaint>) {
        self.add_lazily(place, || complaint.into());
    }

    /// Adds a problem with a hint.
    pub fn add_with_hint(&mut self, place: &Place, message: impl Into<String>, hint: impl Into<String>) {
        self.add_lazily(place, || Complaint::new(message).hint(hint));
    }

    /// Adds a complaint that is expensive to make. It is made only if it will be reported.
    pub fn add_lazily(&mut self, place: &Place, complaint: impl FnOnce() -> Complaint) {
        if self.first.len() >= MAX_REPORTED && self.first.last().is_some_and(|last| last.place < *place) {
            self.count += 1;
            return;
        }
        let Complaint { message, hint } = complaint();
        self.push(Problem { place: place.clone(), message, hint });
    }

    /// Adds a finished problem.
    pub fn push(&mut self, problem: Problem) {
        if self.first.insert(problem) {
            self.count += 1;
            if self.first.len() > MAX_REPORTED {
                self.first.pop_last();
            }
        }
    }

    /// Counts problems that come after so many others that they are not reported.
    pub fn add_unreported(&mut self, count: usize) {
        self.count += count;
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a problem at this place will be reported.
    pub fn are_at(&self, place: &Place) -> bool {
        self.first.iter().any(|problem| problem.place == *place)
    }

    /// How many problems there are so far. A caller compares the number to see whether a step has added a problem.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The problems that are reported, in order of place.
    pub fn into_sorted(self) -> Vec<Problem> {
        self.first.into_iter().collect()
    }
}

/// Shortens a text for a quotation in a message: to its first line, and to the start of a long line.
///
/// If a string in a configuration file is not closed, its text is the rest of the file, with every value in it.
pub fn excerpt(text: &str) -> String {
    const LONGEST: usize = 200;
    let end = text.char_indices().enumerate().find(|(count, (_, c))| c.is_control() || *count == LONGEST);
    match end {
        Some((_, (at, _))) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// As [`excerpt`], for a text that may contain control characters: they are escaped.
pub fn escaped_excerpt(text: &str) -> String {
    excerpt(&text.escape_debug().to_string())
}

/// The hint for a wrong name, if the user probably meant a name among `known`.
pub fn did_you_mean<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(wrong, known).map(|near| format!("did you mean `{near}`?"))
}

/// The name among `known` that the user probably meant by `wrong`, if any.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Computing the distance takes time in proportion to the product of the lengths, and a user's text has no bound. The distance
    // is at least the difference of the lengths, so most names need no computation.
    const LONGEST: usize = 256;
    let is_near = |length: usize, name: &&str| length.abs_diff(name.chars().count()) <= 1 + name.len() / 4;
    let length = wrong.chars().take(2 * LONGEST).count();
    known
        .into_iter()
        .filter(|name| wrong.len() <= LONGEST && name.len() <= LONGEST && is_near(length, name))
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_ends_with_the_line_and_after_200_characters() {
        for (text, expected) in
            [("", ""), ("0400", "0400"), ("ä \"b\"", "ä \"b\""), ("a\nb", "a…"), ("\0", "…"), ("\u{1b}[2J", "…")]
        {
            assert_eq!(excerpt(text), expected);
        }
        let long = "ä".repeat(200);
        assert_eq!(excerpt(&long), long);
        assert_eq!(excerpt(&format!("{long}b")), format!("{long}…"));
    }

    #[test]
    fn of_many_problems_the_first_are_reported_and_all_are_counted() {
        let place = |line| Place::File { path: "a".into(), line, column: 1 };
        let mut problems = Problems::default();
        // In reverse order, so that each new problem comes before all others.
        for line in (1..=1000).rev() {
            problems.add(&place(line), "wrong");
            problems.add(&place(line), "wrong");
        }
        problems.add_lazily(&place(5000), || panic!("it is not reported"));
        problems.add(&Place::Environment, "wrong");
        assert_eq!(problems.len(), 1002);
        assert!(problems.are_at(&place(100)) && !problems.are_at(&place(101)));
        let reported = problems.into_sorted();
        assert_eq!(reported.len(), MAX_REPORTED);
        assert!(reported.iter().zip(1..).all(|(problem, line)| problem.place == place(line)));
    }

    #[test]
    fn nearest_finds_similar_names_and_skips_long_texts() {
        assert_eq!(nearest("usr", ["user", "groups"]), Some("user"));
        assert_eq!(nearest("zzz", ["user", "groups"]), None);
        assert_eq!(nearest(&"a".repeat(10_000_000), ["user", &"a".repeat(9_999_999)]), None);
    }
}
