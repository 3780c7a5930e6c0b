//! The policy with the least rights that references need, in Vault's language
//! (developer.hashicorp.com/vault/docs/concepts/policies): their paths, each with the capabilities that are used there.

use std::collections::{BTreeMap, BTreeSet};

use handfast_core::Locator;

use crate::explain::prefix_hint;
use crate::locator::{UNWRAP, is_list, request_path};
use crate::mounts::{Kind, Mount, Mounts, below, first};

/// The rules of a policy, by path.
#[derive(Default)]
struct Rules(BTreeMap<String, Rule>);

#[derive(Default)]
struct Rule {
    capabilities: BTreeSet<&'static str>,
    /// The condition under which the rule is needed; `None` if it is always needed.
    guess: Option<&'static str>,
}

/// The policy that these locators need. For a mount of unknown kind, it has the rules of both kinds.
pub fn hcl(mounts: &Mounts, namespace: Option<&str>, locators: &[&Locator]) -> String {
    let mut rules = Rules::default();
    for locator in locators {
        rules.add(locator, mounts.find(request_path(locator)));
    }
    let mut text = String::from("# What handfast's references need, and nothing else.\n");
    if let Some(namespace) = namespace {
        let namespace = namespace.escape_debug();
        text += &format!("# Write it in the namespace {namespace}: its paths are that namespace's.\n");
    }
    if rules.0.values().any(|rule| rule.guess.is_some()) {
        text += "# A mount whose kind is not known has two paths: `mounts` in the configuration tells it, or `handfast policy --online`.\n";
    }
    // Users easily write the paths of a policy in references.
    let prefix_note = |locator: &&Locator| {
        let path = request_path(locator);
        let mount = match mounts.find(path) {
            Some(mount) => Some(mount.path).filter(|_| mount.kind == Kind::Kv2),
            None => Some(first(path).to_owned()).filter(|_| locator.params.is_none()),
        }?;
        let line = format!("`{}`: {}.", locator.path, prefix_hint(&mount, below(path, &mount)?)?);
        // A line break would end the comment.
        Some(format!("# {}\n", line.replace(char::is_control, "?")))
    };
    text.extend(locators.iter().filter_map(prefix_note).collect::<BTreeSet<_>>());
    for (path, Rule { capabilities, guess }) in &rules.0 {
        text.push('\n');
        if let Some(guess) = guess {
            text += &format!("# {guess}\n");
        }
        if has_wildcard(path) {
            text +=
                "# A `*` at a path's end, and a `+` between slashes, stand for any name: this grants more than one.\n";
        }
        let capabilities: Vec<String> = capabilities.iter().map(|capability| format!("\"{capability}\"")).collect();
        text += &format!("path {} {{\n  capabilities = [{}]\n}}\n", quoted(path), capabilities.join(", "));
    }
    text
}

impl Rules {
    fn add(&mut self, locator: &Locator, mount: Option<Mount>) {
        let path = request_path(locator);
        // A wrapping token needs no policy to unwrap its data.
        if path == UNWRAP {
            return;
        }
        if locator.params.is_some() {
            // Only a cubbyhole distinguishes new paths (`create`) from existing paths; other engines that respond to a write need
            // only `update`.
            let creates = below(path, "cubbyhole").is_some();
            self.grant(path.to_owned(), creates.then_some("create").into_iter().chain(["update"]), None);
            return;
        }
        match mount {
            Some(Mount { path: mount, kind: Kind::Kv2 }) => self.kv2(locator, &mount, None),
            Some(_) => self.plain(locator, None),
            None => {
                self.plain(locator, Some("where its mount is not KV 2"));
                self.kv2(locator, first(path), Some("where its mount is KV 2"));
            }
        }
    }

    fn plain(&mut self, locator: &Locator, guess: Option<&'static str>) {
        let path = request_path(locator);
        if is_list(locator) {
            self.grant(path.to_owned(), ["list"], guess);
            self.grant(format!("{path}+"), ["read"], guess);
        } else {
            self.grant(path.to_owned(), ["read"], guess);
        }
    }

    fn kv2(&mut self, locator: &Locator, mount: &str, guess: Option<&'static str>) {
        let rest = below(request_path(locator), mount).unwrap_or_default();
        if is_list(locator) {
            self.grant(format!("{mount}/metadata/{rest}"), ["list"], guess);
            self.grant(format!("{mount}/data/{rest}+"), ["read"], guess);
        } else {
            self.grant(format!("{mount}/data/{rest}"), ["read"], guess);
        }
    }

    fn grant(
        &mut self,
        path: String,
        capabilities: impl IntoIterator<Item = &'static str>,
        guess: Option<&'static str>,
    ) {
        let rule = self.0.entry(path).or_insert_with(|| Rule { guess, ..Rule::default() });
        rule.capabilities.extend(capabilities);
        rule.guess = rule.guess.and(guess);
    }
}

/// Whether the path of one secret matches several in a policy. The `+` that a list adds is intended.
fn has_wildcard(path: &str) -> bool {
    let parts = path.strip_suffix("/+").unwrap_or(path);
    path.ends_with('*') || parts.split('/').any(|part| part == "+")
}

/// A path as an HCL string.
fn quoted(path: &str) -> String {
    format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests;
