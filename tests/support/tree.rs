//! A directory and all below it as lines that a test can compare.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A line per entry, in order: `./ 1777 0:0` for the directory itself, `name -> target 0:0` for a link, `name 400 0:0 value`
/// for a file. A generation of handfast's is `..handfast_N`, whatever its real name.
pub fn tree(path: &Path) -> Vec<String> {
    let mut lines = vec![line(path, "./")];
    walk(path, "", &mut lines);
    lines
}

fn walk(path: &Path, above: &str, lines: &mut Vec<String>) {
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it is there").path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().expect("an entry has a name").to_str().expect("made of ASCII");
        let name = format!("{above}{}", shortened(name));
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
            lines.push(line(&path, &format!("{name}/")));
            walk(&path, &format!("{name}/"), lines);
        } else {
            lines.push(line(&path, &name));
        }
    }
}

fn line(path: &Path, name: &str) -> String {
    let metadata = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let owner = format!("{}:{}", metadata.uid(), metadata.gid());
    if metadata.is_symlink() {
        let target = fs::read_link(path).expect("it is a link");
        return format!("{name} -> {} {owner}", shortened(target.to_str().expect("made of ASCII")));
    }
    let mode = metadata.mode() & 0o7777;
    if !metadata.is_file() {
        return format!("{name} {mode:o} {owner}");
    }
    let content = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    match content.len() {
        0..65 => format!("{name} {mode:o} {owner} {}", content.escape_ascii()),
        length => format!("{name} {mode:o} {owner} {length} bytes"),
    }
}

fn shortened(name: &str) -> &str {
    const GENERATION: &str = "..handfast_";
    if name.starts_with(GENERATION) && name.len() > 30 { "..handfast_N" } else { name }
}
