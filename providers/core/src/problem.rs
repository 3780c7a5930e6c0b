//! What is wrong with the input, and where.

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

/// One thing that is wrong with the input. All of them are reported at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// What is wrong and what is expected.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// The list that every check adds to: the first [`TOLD`] in order of place, and how many there are. What a hostile file can
/// make of it has a bound, however much is wrong.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    first: BTreeSet<Problem>,
    count: usize,
}

/// As many problems are told; of more only how many there are.
pub const TOLD: usize = 100;

impl Problems {
    /// Adds a complaint about what stands at a place; a text alone is a complaint without a hint.
    pub fn add(&mut self, place: &Place, complaint: impl Into<Complaint>) {
        self.add_lazily(place, || complaint.into());
    }

    /// Adds a problem with a hint.
    pub fn add_with_hint(&mut self, place: &Place, message: impl Into<String>, hint: impl Into<String>) {
        self.add_lazily(place, || Complaint::new(message).hint(hint));
    }

    /// Adds a complaint that costs something to make: it is made only where it will be told.
    pub fn add_lazily(&mut self, place: &Place, complaint: impl FnOnce() -> Complaint) {
        if self.first.len() >= TOLD && self.first.last().is_some_and(|last| last.place < *place) {
            self.count += 1;
            return;
        }
        let Complaint { message, hint } = complaint();
        self.push(Problem { place: place.clone(), message, hint });
    }

    /// Adds a problem that another check has made.
    pub fn push(&mut self, problem: Problem) {
        if self.first.insert(problem) {
            self.count += 1;
            if self.first.len() > TOLD {
                self.first.pop_last();
            }
        }
    }

    /// Adds problems that stand behind as many others as are told, and of which nothing but the number is known.
    pub fn add_untold(&mut self, count: usize) {
        self.count += count;
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether something is wrong at a place, of what will be told.
    pub fn are_at(&self, place: &Place) -> bool {
        self.first.iter().any(|problem| problem.place == *place)
    }

    /// How many problems there are so far: a caller compares it to see whether a step added one.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Those that are told, in order of place.
    pub fn into_sorted(self) -> Vec<Problem> {
        self.first.into_iter().collect()
    }
}

/// A text as a message quotes it: no more than its first line, and of a long one the start.
///
/// Behind the end of the line may stand the rest of the file, where a quote is not closed, with every value in it.
pub fn excerpt(text: &str) -> String {
    const LONGEST: usize = 200;
    let end = text.char_indices().enumerate().find(|(count, (_, c))| c.is_control() || *count == LONGEST);
    match end {
        Some((_, (at, _))) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The name among `known` that `wrong` was probably meant to be.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance costs the product of the lengths, and a user's text has no bound. It is never less than how much they differ in length.
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
    fn of_many_problems_the_first_are_told_and_all_are_counted() {
        let place = |line| Place::File { path: "a".into(), line, column: 1 };
        let mut problems = Problems::default();
        // Backwards, so that each is before all that are there.
        for line in (1..=1000).rev() {
            problems.add(&place(line), "wrong");
            problems.add(&place(line), "wrong");
        }
        problems.add_lazily(&place(5000), || panic!("it is not told"));
        problems.add(&Place::Environment, "wrong");
        assert_eq!(problems.len(), 1002);
        assert!(problems.are_at(&place(100)) && !problems.are_at(&place(101)));
        let told = problems.into_sorted();
        assert_eq!(told.len(), TOLD);
        assert!(told.iter().zip(1..).all(|(problem, line)| problem.place == place(line)));
    }

    #[test]
    fn nearest_is_near_and_costs_nothing_where_nothing_can_be() {
        assert_eq!(nearest("usr", ["user", "groups"]), Some("user"));
        assert_eq!(nearest("zzz", ["user", "groups"]), None);
        assert_eq!(nearest(&"a".repeat(10_000_000), ["user", &"a".repeat(9_999_999)]), None);
    }
}
