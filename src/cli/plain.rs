//! What is plainly a start, for speed: read without clap's tables, which help, completions and errors are made of. Whatever is unusual in
//! any way is left to clap.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};

use super::{Invocation, Options};

/// Reads it; `None` where it takes a second look.
pub fn run(arguments: &[OsString]) -> Option<Invocation> {
    let mut rest = arguments.get(2..).filter(|_| arguments[1] == "run")?;
    let mut options = Options::default();
    loop {
        let (first, after) = rest.split_first()?;
        let word = first.to_str()?;
        if word == "--" || !word.starts_with('-') {
            let command = if word == "--" { after } else { rest };
            return (!command.is_empty()).then(|| Invocation::Run(options, command.to_vec()));
        }
        let (name, value, after) = match word.split_once('=').filter(|_| word.starts_with("--")) {
            Some((name, value)) => (name, OsStr::new(value), after),
            None => after.split_first().map(|(value, after)| (word, value.as_os_str(), after))?,
        };
        let plain = !value.is_empty() && !value.as_encoded_bytes().starts_with(b"-");
        options.set(name, value).filter(|()| plain)?;
        rest = after;
    }
}

impl Options {
    /// Sets an option that is there, and not set twice where that is wrong.
    fn set(&mut self, name: &str, value: &OsStr) -> Option<()> {
        let text = || value.to_str().map(str::to_owned);
        match name {
            "--config" | "-c" => self.config.push(value.into()),
            "--secret" | "-s" => self.secrets.push(text()?),
            "--dir" => once(&mut self.directory, value.into())?,
            "--user" | "-u" => once(&mut self.user, text()?)?,
            "--deadline" => once(&mut self.deadline, text()?)?,
            "--log-format" => once(&mut self.log_format, text()?)?,
            "--log-level" => once(&mut self.log_level, text()?)?,
            _ => return None,
        }
        Some(())
    }
}

fn once<T>(field: &mut Option<T>, value: T) -> Option<()> {
    field.replace(value).is_none().then_some(())
}

#[cfg(test)]
mod tests {
    use super::super::{command, invocation};
    use super::*;

    /// Every command line of up to three of these words, and many longer ones.
    #[test]
    fn what_is_plainly_a_start_is_the_same_to_clap() {
        const WORDS: &str = "app|--|-s|-sx|-s=x|--secret|--secret=x|-c|--config|--dir|--dir=|--user|--user=1|-u|--log-level|\
                             --log-level=a=b|x=mock:x|-||--help";
        let words: Vec<&str> = WORDS.split('|').collect();
        let mut lines: Vec<Vec<&str>> = vec![vec![]];
        for _ in 0..3 {
            let longer = lines.iter().flat_map(|line| words.iter().map(move |word| [&line[..], &[word]].concat()));
            lines = longer.chain([vec![]]).collect();
        }
        let mut random = fastrand::Rng::with_seed(1);
        lines.extend((0..4000).map(|_| (0..random.usize(4..9)).map(|_| words[random.usize(..words.len())]).collect()));
        let mut plain = 0;
        for line in lines {
            let line: Vec<OsString> = ["handfast", "run"].iter().chain(&line).map(OsString::from).collect();
            let Some(read) = run(&line) else { continue };
            let whole = command().try_get_matches_from(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
            assert_eq!(format!("{read:?}"), format!("{:?}", invocation(&whole)), "{line:?}");
            plain += 1;
        }
        assert!(plain > 1000, "{plain}");
    }
}
