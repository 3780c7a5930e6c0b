//! `file:` reads secrets from mounted files: Docker secrets, Kubernetes Secrets, CSI volumes.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use handfast_core::keys::{Key, Kind};
use handfast_core::{
    BoxFuture, Complaint, Configured, Context, Definition, Fetched, Locator, MAX_SECRET, Problems, Provider,
    ProviderError, Settings, excerpt,
};

/// The parts of this provider.
pub const DEFINITION: Definition = Definition {
    name: "file",
    keys: &[Key::new(
        "root",
        Kind::String,
        "Only files below this directory are read; links below it must be relative.",
    )
    .default("\"/\"")],
    parameters: &[],
    writes: false,
    bootstrap: &[],
    identity: None,
    configure,
};

struct FileProvider {
    /// The instance's name, for hints.
    instance: String,
    root: Option<PathBuf>,
}

struct Reader {
    root: Option<PathBuf>,
    context: Context,
}

fn configure(settings: Settings<'_>, problems: &mut Problems) -> Box<dyn Configured> {
    let root = settings.table.string("root").map(PathBuf::from);
    if let (Some(root), Some(place)) = (&root, settings.table.place("root")) {
        let written = root.display().to_string();
        let written = excerpt(&written);
        if !root.is_absolute() {
            problems.add(place, format!("`root` is \"{written}\", expected an absolute path"));
        } else if has_parent_component(root) {
            // References are compared with `root` name by name, so no file would be below a `root` that contains `..`.
            problems.add(place, format!("`root` is \"{written}\", expected a path without `..`"));
        }
    }
    Box::new(FileProvider { instance: settings.instance, root })
}

impl Configured for FileProvider {
    fn check(&self, locator: &Locator) -> Result<(), Complaint> {
        let path = Path::new(&locator.path);
        if !path.is_absolute() {
            return Err(Complaint::new(format!("`{}` is not an absolute path", locator.path)).hint(format!(
                "write `{}:/{}`",
                self.instance,
                locator.path.trim_start_matches("./")
            )));
        }
        if has_parent_component(path) {
            return Err(
                Complaint::new(format!("`{}` has `..` in it", locator.path)).hint("write the path without `..`")
            );
        }
        if locator.path.ends_with('/') {
            return Err(
                Complaint::new(format!("`{}` names a directory", locator.path)).hint("write the path of one file")
            );
        }
        match &self.root {
            Some(root) if below(path, root).is_none() => {
                let root = excerpt(&root.to_string_lossy());
                Err(Complaint::new(format!("`{}` is not below `{root}`, the provider's `root`", locator.path))
                    .hint("use another instance of the provider, or change its `root`"))
            }
            _ => Ok(()),
        }
    }

    fn file(&self, locator: &Locator) -> Option<PathBuf> {
        Some(PathBuf::from(&locator.path))
    }

    fn least_refresh(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn connect(self: Box<Self>, context: Context) -> Result<Rc<dyn Provider>, ProviderError> {
        Ok(Rc::new(Reader { root: self.root, context }))
    }
}

impl Provider for Reader {
    fn fetch<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Fetched, ProviderError>> {
        Box::pin(async move {
            let path = Path::new(&locator.path);
            let value = match &self.root {
                Some(root) => self.context.files.read(below(path, root).unwrap_or(path), Some(root), MAX_SECRET),
                None => self.context.files.read(path, None, MAX_SECRET),
            }?;
            Ok(Fetched::from(value))
        })
    }
}

fn has_parent_component(path: &Path) -> bool {
    path.components().any(|component| component == Component::ParentDir)
}

/// The rest of a path below a directory. Compares the paths as written, without following links.
fn below<'a>(path: &'a Path, root: &Path) -> Option<&'a Path> {
    path.strip_prefix(root).ok().filter(|rest| !rest.as_os_str().is_empty())
}
