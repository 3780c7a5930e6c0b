//! `file:` secrets from files that something else has mounted: Docker secrets, Kubernetes Secrets, CSI volumes.
#![forbid(unsafe_code)]

use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use handfast_core::keys::{Key, Kind};
use handfast_core::{
    BoxFuture, Configured, Context, Definition, Fetched, Locator, MAX_SECRET, Problems, Provider, ProviderError,
    Settings,
};

/// The parts of this provider.
pub const DEFINITION: Definition = Definition {
    name: "file",
    locator: "/absolute/path",
    keys: &[Key::new(
        "root",
        Kind::String,
        "Only files below this directory are read; links below it must be relative.",
    )],
    parameters: &[],
    bootstrap: &[],
    configure,
};

struct FileProvider {
    root: Option<PathBuf>,
}

struct Reader {
    root: Option<PathBuf>,
    context: Context,
}

fn configure(settings: Settings, problems: &mut Problems) -> Box<dyn Configured> {
    let root = settings.table.string("root").map(PathBuf::from);
    if let (Some(root), Some(place)) = (&root, settings.table.place("root"))
        && !root.is_absolute()
    {
        problems.add(place, format!("`root` is \"{}\", expected an absolute path", root.display()));
    }
    Box::new(FileProvider { root })
}

impl Configured for FileProvider {
    fn check(&self, locator: &Locator) -> Result<(), (String, String)> {
        let path = Path::new(&locator.path);
        if !path.is_absolute() {
            return Err((
                format!("`{}` is not an absolute path", locator.path),
                format!("write `file:/{}`", locator.path),
            ));
        }
        if path.components().any(|component| component == Component::ParentDir) {
            return Err((format!("`{}` has `..` in it", locator.path), "write the path without `..`".into()));
        }
        match &self.root {
            Some(root) if below(path, root).is_none() => Err((
                format!("`{}` is not below `{}`, the provider's `root`", locator.path, root.display()),
                "use another instance of the provider, or change its `root`".into(),
            )),
            _ => Ok(()),
        }
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

fn below<'a>(path: &'a Path, root: &Path) -> Option<&'a Path> {
    path.strip_prefix(root).ok().filter(|rest| !rest.as_os_str().is_empty())
}
