//! Reads configuration files into tables of settings, each value with its place.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use handfast_core::files::read_up_to;
use handfast_core::{Complaint, Item, MAX_REPORTED, Place, Problems, Table, Value};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};
use toml_parser::ParseError;
use toml_parser::parser::{Event, EventKind, RecursionGuard, ValidateWhitespace, parse_document};
use zeroize::Zeroizing;

use super::trust::{Opened, Refusal, Suspect, Trust};
use super::waiting::{Limits, Waiting};
use crate::error::{Result, reason};

/// The most bytes of a configuration file: a larger one is a mistake.
const MAX_CONFIGURATION: usize = 1 << 20;

/// One file: its settings, and who else may have written it.
pub struct Source {
    /// The file's first line: the place of problems with the whole file.
    pub place: Place,
    /// The settings in the file.
    pub table: Table,
    /// Who else may change the file. Empty if this process has no privilege to misuse.
    pub suspects: Vec<Suspect>,
}

/// Reads every file in order. Mistakes in a file are added to `problems`, and the rest of it is still read. A file that must not
/// be read is added to `refusals`.
pub fn read_all(
    paths: &[PathBuf],
    trust: Option<Trust>,
    limits: Limits,
    problems: &mut Problems,
    refusals: &mut Problems,
) -> Result<Vec<Source>> {
    let mut sources = Vec::with_capacity(paths.len());
    for path in paths {
        sources.extend(read(path, trust, limits, problems, refusals)?);
        limits.signal()?;
    }
    Ok(sources)
}

fn read(
    path: &Path,
    trust: Option<Trust>,
    limits: Limits,
    problems: &mut Problems,
    refusals: &mut Problems,
) -> Result<Option<Source>> {
    let name: Rc<str> = path.display().to_string().into();
    let place = Place::File { path: name.clone(), line: 1, column: 1 };
    let unreadable = |problems: &mut Problems, why: String| {
        problems.add_with_hint(
            &place,
            format!("cannot read the configuration: {why}"),
            "`-c` and HANDFAST_CONFIG name the file; without them it is /etc/handfast.toml when that exists",
        );
    };
    let opened = match trust {
        Some(trust) => trust.open(path).map(|Opened { file, suspects }| (File::from(file), suspects)),
        None => open(path).map(|file| (file, Vec::new())).map_err(Refusal::System),
    };
    let (file, suspects) = match opened {
        Ok(opened) => opened,
        Err(Refusal::System(error)) => {
            unreadable(problems, reason(error));
            return Ok(None);
        }
        Err(Refusal::Suspect(suspect)) => {
            refuse(&place, &suspect, refusals);
            return Ok(None);
        }
    };
    let text = match read_text(file, limits)? {
        Ok(text) => text,
        Err(why) => {
            unreadable(problems, why);
            return Ok(None);
        }
    };
    Ok(Some(Source { place, table: parse(&text, name, problems), suspects }))
}

/// Reports a suspect, who may change the file at `place`, as a problem.
pub fn refuse(place: &Place, suspect: &Suspect, problems: &mut Problems) {
    problems.add_with_hint(place, format!("the configuration {}", suspect.message()), suspect.hint());
}

/// Opens without waiting: a named pipe may have no writer yet.
fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// The whole file, as text that is wiped: `mock` keeps its secrets in the configuration. The inner error is the file's.
fn read_text(file: File, limits: Limits) -> Result<std::result::Result<Zeroizing<String>, String>> {
    let metadata = match file.metadata() {
        Ok(metadata) if metadata.is_dir() => return Ok(Err("it is a directory".into())),
        Ok(metadata) => metadata,
        Err(error) => return Ok(Err(reason(error))),
    };
    let read = if metadata.is_file() {
        read_up_to(file, metadata.len(), MAX_CONFIGURATION)
    } else {
        let mut waiting = Waiting::new(file, limits)?;
        let read = read_up_to(&mut waiting, 0, MAX_CONFIGURATION);
        if let Some(error) = waiting.ended {
            return Err(error);
        }
        read
    };
    let bytes = match read {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Err(format!("it is larger than {} MiB", MAX_CONFIGURATION >> 20))),
        Err(error) => return Ok(Err(reason(error))),
    };
    Ok(match std::str::from_utf8(bytes.expose()) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(error) => Err(format!("byte {} is not UTF-8", error.valid_up_to() + 1)),
    })
}

/// Parses a file. Mistakes are added to `problems`, and the rest is still read.
fn parse(text: &str, name: Rc<str>, problems: &mut Problems) -> Table {
    let (text, behind) = worth_reading(text);
    problems.add_unreported(behind);
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut places = Places::new(name, text);
    for error in errors {
        let offset = error.span().map_or(0, |span| span.start);
        problems.add_lazily(&places.at(offset), || {
            let message = format!("not TOML: {}", error.message().replace('\n', ", "));
            let is_mode = error.message().starts_with("unexpected leading zero");
            Complaint { message, hint: is_mode.then(|| "a file mode is a string: `mode = \"0400\"`".into()) }
        });
        // The parser understands a line with a duplicate key, so nothing on the line is a guess.
        if error.message() != "duplicate key" {
            places.wrong.insert(places.line(offset));
        }
    }
    table(document.into_inner(), &places, problems)
}

/// The text up to the line after which no more errors are reported ([`MAX_REPORTED`]), and the number of errors after that line.
/// The text is cut because the parser lists every error in it, and an error about two bytes takes a hundred times as much memory.
fn worth_reading(text: &str) -> (&str, usize) {
    // A shorter text cannot have so many errors that their list is too large.
    const SHORT: usize = 16 << 10;
    // The depth to which the `toml` crate parses.
    const DEEPEST: u32 = 80;
    if text.len() <= SHORT {
        return (text, 0);
    }
    let mut at: Vec<usize> = Vec::new();
    let mut count = |error: ParseError| {
        at.push(error.unexpected().or_else(|| error.context()).map_or(0, |span| span.start()));
    };
    let source = toml_parser::Source::new(text);
    let tokens = source.lex().into_vec();
    let mut events: Vec<Event> = Vec::new();
    let mut checked = ValidateWhitespace::new(&mut events, source);
    parse_document(&tokens, &mut RecursionGuard::new(&mut checked, DEEPEST), &mut count);
    for event in events {
        match (event.kind(), source.get(event)) {
            (EventKind::SimpleKey, Some(raw)) => raw.decode_key(&mut (), &mut count),
            (EventKind::Scalar, Some(raw)) => drop(raw.decode_scalar(&mut (), &mut count)),
            _ => {}
        }
    }
    at.sort_unstable();
    let Some(last) = at.get(MAX_REPORTED) else { return (text, 0) };
    // The line is cut after SHORT bytes, because it may be as long as the file.
    let last = text.floor_char_boundary(*last);
    let most = text.floor_char_boundary(last + SHORT);
    let end = text[last..most].find('\n').map_or(most, |length| last + length + 1);
    (&text[..end], at.iter().filter(|at| **at >= end).count())
}

/// Turns byte offsets into lines and columns.
struct Places<'t> {
    name: Rc<str>,
    text: &'t [u8],
    lines: Vec<usize>,
    /// How many characters begin before each block of [`BLOCK`] bytes, so that a column in a long line is not counted from the
    /// line's start each time.
    characters: Vec<usize>,
    /// Lines that are not valid TOML. The parser only guesses the rest of such a line: a value may have become a key.
    wrong: BTreeSet<usize>,
}

const BLOCK: usize = 64;

impl<'t> Places<'t> {
    fn new(name: Rc<str>, text: &'t str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let text = text.as_bytes();
        let mut count = 0;
        let mut characters = Vec::with_capacity(text.len() / BLOCK + 1);
        for block in 0..=text.len() / BLOCK {
            characters.push(count);
            count += beginning(&text[block * BLOCK..text.len().min((block + 1) * BLOCK)]);
        }
        Self { name, text, lines, characters, wrong: BTreeSet::new() }
    }

    /// The line of an offset, from 1.
    fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset)
    }

    fn at(&self, offset: usize) -> Place {
        let line = self.line(offset);
        let start = self.lines[line - 1];
        let column = self.before(offset).saturating_sub(self.before(start)) + 1;
        Place::File { path: self.name.clone(), line, column }
    }

    /// How many characters begin before an offset.
    fn before(&self, offset: usize) -> usize {
        let block = offset.min(self.text.len()) / BLOCK;
        let rest = self.text.get(block * BLOCK..offset).unwrap_or_default();
        self.characters.get(block).copied().unwrap_or_default() + beginning(rest)
    }
}

/// How many characters begin in these bytes of UTF-8.
fn beginning(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

fn table(parsed: DeTable<'_>, places: &Places<'_>, problems: &mut Problems) -> Table {
    let mut entries: Vec<_> = parsed.into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let entry = |(key, value): (Spanned<DeString<'_>>, Spanned<DeValue<'_>>)| {
        let key_place = places.at(key.span().start);
        // The place of a table is its key. The place of a value is the value itself, where the user must correct it.
        let place = match value.get_ref() {
            DeValue::Table(_) => key_place.clone(),
            _ => places.at(value.span().start),
        };
        let value = convert(value, &place, places, problems);
        (key.into_inner().into_owned(), key_place, Item { place, value })
    };
    // TOML allows each key of a table once.
    Table::of_single_keys(entries.into_iter().map(entry).collect())
}

fn convert(value: Spanned<DeValue<'_>>, place: &Place, places: &Places<'_>, problems: &mut Problems) -> Value {
    if places.wrong.contains(&places.line(value.span().start)) {
        return Value::Wrong;
    }
    match value.into_inner() {
        DeValue::Table(inner) => Value::Table(table(inner, places, problems)),
        DeValue::String(text) => Value::String(Zeroizing::new(text.into_owned())),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => {
                problems.add(place, "an integer does not fit into 64 bits");
                Value::Wrong
            }
        },
        DeValue::Float(_) => Value::Float,
        DeValue::Boolean(value) => Value::Boolean(value),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(items) => Value::Array(
            items
                .into_iter()
                .map(|item| {
                    let place = places.at(item.span().start);
                    Item { value: convert(item, &place, places, problems), place }
                })
                .collect(),
        ),
    }
}
