//! The provider instances that the secrets come from: what goes into the worker.
#![forbid(unsafe_code)]

use std::ops::Deref;

use handfast_core::{Configured, Sockets};

/// A provider instance in use.
pub struct Instance {
    /// Its number in the plan: `Secret::instance`.
    pub index: usize,
    /// Its name: the first part of a reference.
    pub name: String,
    /// The kind of provider.
    pub kind: &'static str,
    /// Its settings; the worker connects it.
    pub configured: Box<dyn Configured>,
}

/// The instances in use, by [`Instance::index`].
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

    /// The instance of this number alone. It keeps its number.
    pub fn only(self, index: usize) -> Self {
        self.into_iter().filter(|instance| instance.index == index).collect()
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
