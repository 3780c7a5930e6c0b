//! Lists the files of a directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::explain;
use crate::error::{ErrorKind, ProviderError};

/// The most entries. A directory of certificates has far fewer: the system's has about 300.
const MOST_ENTRIES: usize = 4096;

/// See [`Files::list`](super::Files::list).
pub fn files(directory: &Path) -> Result<Vec<PathBuf>, ProviderError> {
    let (mut files, mut pending, mut seen) = (Vec::new(), vec![directory.to_owned()], 0);
    while let Some(here) = pending.pop() {
        let failure =
            |error: io::Error| explain::cannot_list(&here, error.raw_os_error().map_or(Errno::EIO, Errno::from_raw));
        for entry in fs::read_dir(&here).map_err(failure)? {
            let entry = entry.map_err(failure)?;
            seen += 1;
            if seen > MOST_ENTRIES {
                let message = format!("cannot read `{}`: it holds more than {MOST_ENTRIES} files", directory.display());
                return Err(ProviderError::new(ErrorKind::Malformed, message));
            }
            if entry.file_name().as_encoded_bytes().starts_with(b"..") {
                continue;
            }
            let kind = entry.file_type().map_err(failure)?;
            // A dangling link counts as a file: the error comes when the file is read.
            let leads_to_directory = || fs::metadata(entry.path()).is_ok_and(|target| target.is_dir());
            if kind.is_dir() {
                pending.push(entry.path());
            } else if !(kind.is_symlink() && leads_to_directory()) {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A new directory for one test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("handfast-list-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let name = |path: PathBuf| path.strip_prefix(&self.0).unwrap().to_str().unwrap().to_owned();
            files(&self.0).unwrap().into_iter().map(name).collect()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_mounted_volume_is_listed_once() {
        let volume = Scratch::new("volume");
        fs::create_dir_all(volume.0.join("..2026_01_01")).unwrap();
        fs::write(volume.0.join("..2026_01_01/ca.pem"), "").unwrap();
        symlink("..2026_01_01", volume.0.join("..data")).unwrap();
        symlink("..data/ca.pem", volume.0.join("ca.pem")).unwrap();
        assert_eq!(volume.names(), ["ca.pem"]);
    }

    #[test]
    fn files_in_subdirectories_are_listed_and_those_of_linked_directories_are_not() {
        let place = Scratch::new("below");
        fs::create_dir_all(place.0.join("below/more")).unwrap();
        for name in ["z.pem", "below/a.pem", "below/more/b", ".hidden"] {
            fs::write(place.0.join(name), "").unwrap();
        }
        symlink("below", place.0.join("again")).unwrap();
        symlink(".", place.0.join("loop")).unwrap();
        symlink("nowhere", place.0.join("dangling")).unwrap();
        assert_eq!(place.names(), [".hidden", "below/a.pem", "below/more/b", "dangling", "z.pem"]);
    }

    #[test]
    fn the_error_says_why_a_directory_cannot_be_listed() {
        let place = Scratch::new("failures");
        let file = place.0.join("file");
        fs::write(&file, "").unwrap();
        for (path, part) in [(place.0.join("none"), "no such directory"), (file, "it is not a directory")] {
            let error = files(&path).unwrap_err();
            assert_eq!(
                (error.kind, error.message),
                (ErrorKind::NotFound, format!("cannot read `{}`: {part}", path.display()))
            );
        }
        let forbidden = explain::cannot_list(&place.0, Errno::EACCES);
        assert_eq!(forbidden.kind, ErrorKind::Denied);
        assert!(
            forbidden.message.contains("permission denied: owned by")
                && forbidden
                    .hint
                    .as_ref()
                    .is_some_and(|hint| hint.contains(" or one of its groups list it (mode `r`)")),
            "{forbidden:?}"
        );
        for number in 0..=MOST_ENTRIES {
            fs::write(place.0.join(number.to_string()), "").unwrap();
        }
        let endless = files(&place.0).unwrap_err();
        assert_eq!(endless.kind, ErrorKind::Malformed);
        assert!(endless.message.contains("`: it holds more than "), "{endless:?}");
    }
}
