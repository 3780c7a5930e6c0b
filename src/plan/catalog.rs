//! The provider instances: one for each `[providers.NAME]`, and the built-in ones that need no table.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use handfast_core::{
    Complaint, Configured, Definition, Place, Problems, SecretRef, Selection, Settings, Table, did_you_mean, excerpt,
    keys,
};

use super::instances::{Instance, Instances};
use crate::config::{Environment, Named, PROVIDER_KEYS};
use crate::registry::{self, Absence};

/// Every instance, used or not.
pub struct Catalog<'a> {
    entries: Vec<Entry>,
    /// `[fetch]`.
    fetch: &'a Table,
    environment: &'a Environment,
}

/// A reference that its provider has checked.
pub struct Resolved {
    /// The instance's number in the plan.
    pub instance: usize,
    /// Whether the reference names several secrets.
    pub is_list: bool,
    /// The shortest time between two reads of it.
    pub least_refresh: Duration,
    /// Whether its store may issue it for a time.
    pub may_issue: bool,
    /// Whether it may have an end.
    pub may_end: bool,
}

struct Entry {
    name: String,
    /// `None` where its table is wrong: a reference to it is then no further problem.
    configured: Option<(&'static Definition, Box<dyn Configured>)>,
    /// Its number in the plan, once a secret uses it.
    used: Option<usize>,
    /// Why its type, which the contract has, is not in this program.
    absent: Option<Absence>,
}

impl<'a> Catalog<'a> {
    /// Reads the settings of every instance.
    pub fn configure(
        providers: Vec<Named>,
        fetch: &'a Table,
        environment: &'a Environment,
        problems: &mut Problems,
    ) -> Self {
        let mut catalog = Self { entries: Vec::new(), fetch, environment };
        catalog.entries = providers.into_iter().map(|named| catalog.entry(named, problems)).collect();
        catalog
    }

    /// The number in the plan of the instance that a reference names, after its provider has checked the rest of it.
    pub fn resolve(&mut self, reference: &mut SecretRef, place: &Place, problems: &mut Problems) -> Option<Resolved> {
        let at = self.find(reference, place, problems)?;
        let quoted = excerpt(&reference.to_string());
        let used = self.entries.iter().filter(|entry| entry.used.is_some()).count();
        let entry = &mut self.entries[at];
        let (definition, configured) = entry.configured.as_ref()?;
        if entry.used.is_none() {
            for complaint in configured.missing() {
                problems.add(place, complaint.context(format!("`{quoted}`")));
            }
            let other = configured.identity_of().filter(|other| registry::find(other).is_none());
            if let Some((other, absence)) = other.and_then(|other| Some((other, registry::absence(other)?))) {
                let what = format!("`{quoted}`: its login needs the provider `{other}`, which");
                problems.push(absence.problem(place, &what));
            }
        }
        for (key, _) in &reference.locator.parameters {
            if !definition.parameters.contains(&key.as_str()) {
                let known = definition.parameters.iter().copied().chain(handfast_core::OWN_PARAMETERS);
                let hint = did_you_mean(key, known.clone()).unwrap_or_else(|| {
                    format!("`{}` takes: {}", definition.name, known.collect::<Vec<_>>().join(", "))
                });
                problems.add_with_hint(
                    place,
                    format!(
                        "`{quoted}` has `{}` in its query, which `{}` does not take",
                        excerpt(key),
                        definition.name
                    ),
                    hint,
                );
            }
        }
        if let Err(complaint) = configured.check(&reference.locator) {
            problems.add(place, complaint.context(format!("`{quoted}`")));
        }
        if reference.locator.params.is_some() && !definition.writes {
            match place {
                Place::File { .. } => {
                    problems.add(place, format!("`{quoted}`: `{}` takes no `params`", definition.name));
                }
                // `params` were written for the reference that this one replaces: `-s NAME=mock:x` tries any configuration.
                Place::CommandLine | Place::Environment => reference.locator.params = None,
            }
        }
        let is_list = configured.is_list(&reference.locator);
        if is_list && reference.selection == Selection::Every {
            let hint = "take `#*` out to get each secret as a file, or name one secret to get each of its fields";
            problems.add_with_hint(place, format!("`{quoted}` is every field of every secret of a list"), hint);
        }
        let least_refresh = configured.least_refresh();
        let may_issue = configured.may_issue(&reference.locator);
        let may_end = configured.may_end(&reference.locator);
        Some(Resolved { instance: *entry.used.get_or_insert(used), is_list, least_refresh, may_issue, may_end })
    }

    /// The instances that a secret uses, in order of their numbers.
    pub fn in_use(self) -> Instances {
        let mut used: Vec<_> = self.entries.into_iter().filter(|entry| entry.used.is_some()).collect();
        used.sort_by_key(|entry| entry.used);
        used.into_iter()
            .filter_map(|entry| {
                let (definition, configured) = entry.configured?;
                Some(Instance { name: entry.name, kind: definition.name, configured })
            })
            .collect()
    }

    fn find(&mut self, reference: &SecretRef, place: &Place, problems: &mut Problems) -> Option<usize> {
        let name = &reference.provider;
        let (quoted, quoted_name) = (excerpt(&reference.to_string()), excerpt(name));
        if let Some(at) = self.entries.iter().position(|entry| entry.name == *name) {
            if let Some(absence) = self.entries[at].absent {
                // The problem of its table has the hint.
                let absence = Absence { hint: None, ..absence };
                problems.push(absence.problem(place, &format!("`{quoted}`: the provider `{quoted_name}`")));
            }
            return Some(at);
        }
        if registry::find(name).is_some() {
            let named = Named { name: name.clone(), place: place.clone(), table: Table::default() };
            let entry = self.entry(named, problems);
            self.entries.push(entry);
            return Some(self.entries.len() - 1);
        }
        if let Some(absence) = registry::absence(name) {
            problems.push(absence.problem(place, &format!("`{quoted}`: the provider `{quoted_name}`")));
            return None;
        }
        problems.add_lazily(place, || {
            let built_in = registry::DEFINITIONS.iter().map(|definition| definition.name);
            let known: BTreeSet<&str> = built_in.chain(self.entries.iter().map(|entry| entry.name.as_str())).collect();
            let hint = did_you_mean(name, known.iter().copied())
                .unwrap_or_else(|| format!("the providers here are: {}", excerpt(&Vec::from_iter(known).join(", "))));
            Complaint::new(format!("`{quoted}`: unknown provider `{quoted_name}`")).hint(hint)
        });
        None
    }

    fn entry(&self, named: Named, problems: &mut Problems) -> Entry {
        let Named { name, place, mut table } = named;
        let broken = |name, absent| Entry { name, configured: None, used: None, absent };
        // Each line about the instance has its name.
        if !(1..=128).contains(&name.len())
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        {
            problems.add_with_hint(
                &place,
                format!("`{}` cannot be a provider's name", excerpt(&name)),
                "letters, digits, `-` and `_`, 1 to 128",
            );
            return broken(name, None);
        }
        let kind = table.string("type").unwrap_or(&name).to_owned();
        let type_place = table.place("type").unwrap_or(&place).clone();
        let Some(definition) = registry::find(&kind) else {
            let absent = registry::absence(&kind);
            if let Some(absence) = absent {
                problems.push(absence.problem(&type_place, &format!("the provider `{kind}`")));
            } else {
                let known = || registry::DEFINITIONS.iter().map(|definition| definition.name);
                let hint = did_you_mean(&kind, known())
                    .unwrap_or_else(|| format!("`type` is one of: {}", known().collect::<Vec<_>>().join(", ")));
                problems.add_with_hint(&type_place, format!("unknown provider type `{}`", excerpt(&kind)), hint);
            }
            return broken(name, absent);
        };
        keys::check(&table, &format!("providers.{}", excerpt(&name)), &[PROVIDER_KEYS, definition.keys], problems);
        check_ca_file(&table, problems);
        table.remove("type");
        let settings = Settings { instance: name.clone(), table, fetch: self.fetch, environment: self.environment };
        let configured = (definition.configure)(settings, problems);
        Entry { name, configured: Some((definition, configured)), used: None, absent: None }
    }
}

/// Whether `ca_file` can be opened. Never waits: a named pipe could have no writer.
pub fn check_ca_file(table: &Table, problems: &mut Problems) {
    let Some((path, place)) = table.string("ca_file").zip(table.place("ca_file")) else { return };
    if let Err(error) = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        problems.add(place, format!("cannot read `ca_file`, `{}`: {}", excerpt(path), crate::error::reason(error)));
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use handfast_core::{Context, Locator, Provider, ProviderError};

    use super::*;
    use crate::sys::environment::Captured;

    /// Logs in as the identity of a provider that no handfast has.
    struct Fake;

    impl Configured for Fake {
        fn check(&self, _: &Locator) -> Result<(), Complaint> {
            Ok(())
        }

        fn identity_of(&self) -> Option<&'static str> {
            Some("exec")
        }

        fn connect(self: Box<Self>, _: Context) -> Result<Rc<dyn Provider>, ProviderError> {
            Err(ProviderError::new(handfast_core::ErrorKind::Os, "never asked"))
        }
    }

    #[test]
    fn a_login_that_needs_a_provider_which_is_not_here_is_refused_once() {
        let definition = registry::find("mock").expect("it is always here");
        let (fetch, environment) = (Table::default(), Environment::from(Captured::default()));
        let configured: Option<(_, Box<dyn Configured>)> = Some((definition, Box::new(Fake)));
        let entry = Entry { name: "store".into(), configured, used: None, absent: None };
        let mut catalog = Catalog { entries: vec![entry], fetch: &fetch, environment: &environment };
        let mut problems = Problems::default();
        for text in ["store:a", "store:b"] {
            let mut reference = SecretRef::parse(text).expect("it is one");
            assert!(catalog.resolve(&mut reference, &Place::CommandLine, &mut problems).is_some());
        }
        let told = problems.into_sorted();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].message, "`store:a`: its login needs the provider `exec`, which is not in this version");
    }
}
