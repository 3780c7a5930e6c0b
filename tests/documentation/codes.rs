//! The exit codes of the pages, the help and the manual are those of `src/error.rs`.

use std::collections::{BTreeMap, BTreeSet};

use handfast::cli::{self, Invocation};
use handfast::error::Class;

use crate::pages::page;

/// The codes and the names of their classes, read from the one place that has them.
fn codes() -> BTreeMap<String, String> {
    let source = include_str!("../../src/error.rs");
    let arms = |function: &str| -> Vec<(String, String)> {
        let (_, body) = source.split_once(&format!("pub fn {function}")).expect("it is there");
        let lines = body.lines().take_while(|line| *line != "    }").filter_map(|line| line.split_once(" => "));
        let arms = lines.flat_map(|(classes, value)| {
            let value = value.trim_end_matches(',').trim_matches('"').to_owned();
            let class = |text: &str| text.trim().trim_start_matches("Class::").split('(').next().map(str::to_owned);
            classes.split('|').filter_map(class).map(|class| (class, value.clone())).collect::<Vec<_>>()
        });
        arms.collect()
    };
    let names: BTreeMap<String, String> = arms("name(self)").into_iter().collect();
    let codes = arms("exit_code(self)").into_iter().map(|(class, code)| {
        let code = if code == "128 + number" { "128+n".to_owned() } else { code };
        let name = names.get(&class).unwrap_or_else(|| panic!("{class} has no name")).clone();
        (code, name)
    });
    let codes: BTreeMap<String, String> = codes.collect();
    // That the reading is right, the code itself says.
    for (class, code) in [(Class::Usage, "64"), (Class::NotFound, "66"), (Class::CommandNotFound, "127")] {
        assert_eq!((class.exit_code().to_string(), class.name()), (code.to_owned(), codes[code].as_str()));
    }
    assert_eq!(codes["128+n"], Class::Signal(15).name());
    assert_eq!(codes.len(), 15, "{codes:?}");
    codes
}

#[test]
fn the_page_of_exit_codes_has_each_code_with_its_class() {
    let rows = page("docs/exit-codes.md").rows("# Exit codes");
    let documented: BTreeMap<String, String> =
        rows.iter().map(|row| (row[0].clone(), row[1].trim_matches('`').to_owned())).collect();
    assert_eq!(documented.len(), rows.len(), "a code is there twice");
    assert_eq!(documented, codes());
}

#[test]
fn troubleshooting_has_a_section_for_each_code() {
    let page = page("docs/troubleshooting.md");
    let headings = page.prose().filter_map(|(_, line)| line.strip_prefix("## "));
    let sections: BTreeSet<String> = headings.filter_map(|line| Some(line.split_once(": ")?.0.to_owned())).collect();
    assert_eq!(sections, codes().into_keys().collect());
}

#[test]
fn help_and_manual_name_the_same_codes() {
    let Ok(Invocation::Print(help)) = cli::parse(["handfast", "--help"].map(Into::into)) else { panic!("no help") };
    let manual = String::from_utf8(cli::manual()).expect("it is text").replace('\\', "");
    let codes: Vec<String> = codes().into_keys().collect();
    for (name, text) in [("help", help), ("manual", manual)] {
        let words: BTreeSet<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '+').collect();
        for code in &codes {
            assert!(words.contains(code.as_str()), "{name} does not name {code}");
        }
        let others = words.iter().filter(|word| word.parse::<u8>().is_ok_and(|number| (64..=127).contains(&number)));
        let unknown: Vec<_> = others.filter(|word| !codes.iter().any(|code| code == *word)).collect();
        assert!(unknown.is_empty(), "{name} names {unknown:?}");
    }
}
