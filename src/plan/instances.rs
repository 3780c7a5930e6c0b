//! The provider instances that the secrets come from: what goes into the worker.
#![forbid(unsafe_code)]

use std::ops::Deref;
use std::path::PathBuf;

use handfast_core::{Configured, Sockets};

use super::Secret;

/// A provider instance in use.
pub struct Instance {
    /// Its name: the first part of a reference.
    pub name: String,
    /// The kind of provider.
    pub kind: &'static str,
    /// Its settings; the worker connects it.
    pub configured: Box<dyn Configured>,
}

/// The instances in use; [`Secret::instance`](super::Secret::instance) is an index into them.
#[derive(Default)]
pub struct Instances(Vec<Instance>);

impl Instances {
    /// The sockets that a worker with these instances needs.
    pub fn sockets(&self) -> Sockets {
        self.iter().map(|instance| instance.configured.sockets()).fold(Sockets::default(), |all, some| Sockets {
            internet: all.internet || some.internet,
            unix: all.unix || some.unix,
        })
    }

    /// The local file that a secret is read from, if it is one.
    pub fn file_of(&self, secret: &Secret) -> Option<PathBuf> {
        self[secret.instance].configured.file(&secret.reference.locator)
    }
}

impl Deref for Instances {
    type Target = [Instance];

    fn deref(&self) -> &[Instance] {
        &self.0
    }
}

impl FromIterator<Instance> for Instances {
    fn from_iter<I: IntoIterator<Item = Instance>>(instances: I) -> Self {
        Self(instances.into_iter().collect())
    }
}

impl IntoIterator for Instances {
    type Item = Instance;
    type IntoIter = std::vec::IntoIter<Instance>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
