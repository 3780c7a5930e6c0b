//! Reads configuration files into tables of settings, each value with its place.
#![forbid(unsafe_code)]

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use handfast_core::files::read_up_to;
use handfast_core::{Item, Place, Problems, Table, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use crate::error::reason;

/// A configuration larger than this is a mistake.
const MAX_CONFIGURATION: usize = 4 << 20;

/// One file: its settings, and who may change it.
pub struct Source {
    /// The file's name, as it was given.
    pub path: PathBuf,
    /// What stands in it.
    pub table: Table,
    /// Its owner and mode.
    pub metadata: Metadata,
}

/// Reads one file. What is wrong in it is added to `problems`, and the rest is still read.
pub fn read(path: &Path, problems: &mut Problems) -> Option<Source> {
    let name: Rc<str> = path.display().to_string().into();
    let unreadable = |problems: &mut Problems, why: String| {
        problems.add_with_hint(
            &Place::File { path: name.clone(), line: 1, column: 1 },
            format!("cannot read the configuration: {why}"),
            "`-c` and HANDFAST_CONFIG name the file; without them it is /etc/handfast.toml when that exists",
        );
    };
    let (text, metadata) = match read_text(path) {
        Ok(read) => read,
        Err(why) => {
            unreadable(problems, why);
            return None;
        }
    };
    let (document, errors) = DeTable::parse_recoverable(&text);
    let mut places = Places::new(name, &text);
    for error in errors {
        let message = format!("not TOML: {}", error.message().replace('\n', ", "));
        let offset = error.span().map_or(0, |span| span.start);
        match error.message().starts_with("unexpected leading zero") {
            true => problems.add_with_hint(&places.at(offset), message, "a file mode is a string: `mode = \"0400\"`"),
            false => problems.add(&places.at(offset), message),
        }
        // A second key of one name is TOML to the parser, and nothing about it is a guess.
        if error.message() != "duplicate key" {
            places.wrong.push(places.line(offset));
        }
    }
    Some(Source { path: path.to_owned(), table: table(document.into_inner(), &places, problems), metadata })
}

/// The whole file, as text that is wiped: `mock` keeps its secrets in the configuration.
fn read_text(path: &Path) -> Result<(Zeroizing<String>, Metadata), String> {
    let file = File::open(path).map_err(reason)?;
    let metadata = file.metadata().map_err(reason)?;
    if metadata.is_dir() {
        return Err("it is a directory".into());
    }
    let bytes = read_up_to(file, metadata.len(), MAX_CONFIGURATION)
        .map_err(reason)?
        .ok_or_else(|| format!("it is larger than {} MiB", MAX_CONFIGURATION >> 20))?;
    match std::str::from_utf8(bytes.expose()) {
        Ok(text) => Ok((Zeroizing::new(text.to_owned()), metadata)),
        Err(error) => Err(format!("byte {} is not UTF-8", error.valid_up_to() + 1)),
    }
}

/// Turns byte offsets into lines and columns.
struct Places<'t> {
    name: Rc<str>,
    text: &'t str,
    lines: Vec<usize>,
    /// Lines that are not TOML. What the parser makes of the rest of such a line is a guess: a value may have become a key.
    wrong: Vec<usize>,
}

impl<'t> Places<'t> {
    fn new(name: Rc<str>, text: &'t str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name, text, lines, wrong: Vec::new() }
    }

    /// The line of an offset, from 1.
    fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset)
    }

    fn at(&self, offset: usize) -> Place {
        let line = self.line(offset);
        let start = self.lines[line - 1];
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        Place::File { path: self.name.clone(), line, column }
    }
}

fn table(parsed: DeTable<'_>, places: &Places<'_>, problems: &mut Problems) -> Table {
    let mut entries: Vec<_> = parsed.into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut table = Table::default();
    for (key, value) in entries {
        // A table is named by its key; a value by itself, which is where a wrong one must be mended.
        let place = match value.get_ref() {
            DeValue::Table(_) => places.at(key.span().start),
            _ => places.at(value.span().start),
        };
        let value = convert(value, &place, places, problems);
        table.set(key.get_ref(), places.at(key.span().start), Item { place, value });
    }
    table
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

/// Reads every file in order; a later one replaces single keys.
pub fn read_all(paths: &[PathBuf], problems: &mut Problems) -> Vec<Source> {
    paths.iter().filter_map(|path| read(path, problems)).collect()
}

/// Who the app is, where that is known: uid, gid and groups.
pub type Writer<'a> = Option<(u32, u32, &'a [u32])>;

/// Refuses files that the app, or everybody, could have written. For root only: it would let them choose what root does.
pub fn refuse_writable(sources: &[(PathBuf, Metadata)], app: Writer<'_>, problems: &mut Problems) {
    use std::os::unix::fs::MetadataExt;
    for (path, metadata) in sources {
        let (owner, group, mode) = (metadata.uid(), metadata.gid(), metadata.mode());
        // An app that is root itself can write every file.
        let (by_owner, by_group) = match app {
            Some((uid, gid, groups)) if uid != 0 => (owner == uid, group == gid || groups.contains(&group)),
            _ => (false, false),
        };
        let who = if mode & 0o002 != 0 {
            "everybody"
        } else if by_owner {
            "the app's uid"
        } else if by_group && mode & 0o020 != 0 {
            "the app's group"
        } else {
            continue;
        };
        problems.add_with_hint(
            &Place::File { path: path.display().to_string().into(), line: 1, column: 1 },
            format!(
                "the configuration can be written by {who}: it is owned by {owner}:{group} with mode {:04o}",
                mode & 0o7777
            ),
            "it tells a process that runs as root what to do: make it root's, mode 0644",
        );
    }
}
