//! The page of the command line has the commands, options and variables of the help.

use std::collections::BTreeSet;

use handfast::cli::{self, Invocation};

use crate::pages::page;

#[test]
fn the_page_of_the_command_line_has_what_the_help_has() {
    let page = page("docs/command-line.md");
    let rows = [page.rows("## Commands"), page.rows("## Options")].concat();
    let rows: Vec<String> = rows.into_iter().map(|row| row.concat()).collect();

    let help = help(&[]);
    let (_, listed) = help.split_once("\nCommands:\n").expect("it has commands");
    let listed = listed.lines().take_while(|line| !line.is_empty());
    let commands: BTreeSet<&str> = listed.filter_map(|line| line.split_whitespace().next()).collect();
    let documented = page.rows("## Commands");
    let documented = documented.iter().map(|row| row[0].trim_matches('`').split(' ').next().unwrap_or_default());
    assert_eq!(documented.collect::<BTreeSet<_>>(), commands);

    let helps: Vec<String> = commands.iter().map(|command| self::help(&[command])).chain([help.clone()]).collect();
    for prefix in ["--", "HANDFAST_"] {
        let of_help = words(&helps, prefix);
        assert!(of_help.len() >= 4, "{of_help:?}");
        assert_eq!(words(&rows, prefix), of_help);
    }
}

fn help(command: &[&str]) -> String {
    let words = ["handfast"].iter().chain(command).chain(&["--help"]).map(Into::into);
    let Ok(Invocation::Print(help)) = cli::parse(words) else { panic!("no help of {command:?}") };
    help
}

/// The words of the texts that begin with a prefix and go on.
fn words<'a>(texts: &'a [String], prefix: &str) -> BTreeSet<&'a str> {
    let words = texts.iter().flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c)));
    words.filter(|word| word.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty())).collect()
}
