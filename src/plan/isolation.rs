//! Who the app is, what it may do, and which of our variables it gets.
#![forbid(unsafe_code)]

use std::ffi::OsString;

use handfast_core::{Place, Problem, Problems, Table, excerpt, nearest};

use super::Isolation;
use crate::config::{Config, Environment, refuse_writable};
use crate::identity::{self, Accounts, Current, Identity, Name, Setting, UserName, Wanted};
use crate::sys::capabilities;

/// The isolation, and `HOME` where it changes.
pub fn isolation(config: &Config, problems: &mut Problems) -> Option<(Isolation, Option<OsString>)> {
    let app = &config.app;
    let before = problems.len();
    let capabilities = keep_capabilities(app, problems);
    let user = app.string("user").and_then(|text| match UserName::parse(text) {
        Ok(user) => Some(user),
        Err((message, hint)) => {
            problems.add_with_hint(app.place("user").unwrap_or(&Place::CommandLine), message, hint);
            None
        }
    });
    let groups = app.strings("groups").map(|groups| {
        let parse = |(text, place): (&str, &Place)| match Name::parse(text) {
            Ok(name) => Some(name),
            Err((message, hint)) => {
                problems.add_with_hint(place, message, hint);
                None
            }
        };
        groups.into_iter().filter_map(parse).collect()
    });
    let current = match Current::read() {
        Ok(current) => current,
        Err(error) => {
            let message = format!("cannot read this process' groups: {}", crate::error::reason(error));
            problems.add(&Place::CommandLine, message);
            return None;
        }
    };
    let wanted = Wanted { user, groups, allow_root: app.boolean("allow_root").unwrap_or(false) };
    let identity = if problems.len() == before { resolve(&wanted, &current, app, problems) } else { None };
    if current.uid == 0 {
        let app = identity.as_ref().map(|identity| (identity.uid, identity.gid, &*identity.groups));
        refuse_writable(&config.sources, app, problems);
    }
    let identity = identity?;
    let isolation = Isolation {
        uid: identity.uid,
        gid: identity.gid,
        groups: identity.groups,
        defaulted: identity.defaulted,
        capabilities,
        core_dumps: app.boolean("core_dumps").unwrap_or(false),
        strict: app.boolean("strict").unwrap_or(false),
    };
    Some((isolation, identity.home))
}

fn resolve(wanted: &Wanted, current: &Current, app: &Table, problems: &mut Problems) -> Option<Identity> {
    let found = match identity::resolve(wanted, current, Accounts::read) {
        Ok(identity) => return Some(identity),
        Err(found) => found,
    };
    for identity::Problem { setting, message, hint } in found {
        let place = match setting {
            Setting::User => app.place("user"),
            Setting::Groups(at) => app.strings("groups").and_then(|groups| Some(groups.get(at)?.1)),
        };
        problems.push(Problem { place: place.unwrap_or(&Place::CommandLine).clone(), message, hint });
    }
    None
}

fn keep_capabilities(app: &Table, problems: &mut Problems) -> u64 {
    let mut kept = 0;
    for (name, place) in app.strings("keep_capabilities").unwrap_or_default() {
        match capabilities::number(name) {
            Some(number) => kept |= capabilities::bit(number),
            None => {
                let message = format!("unknown capability `{}`", excerpt(name));
                match nearest(&name.to_ascii_uppercase(), capabilities::NAMES) {
                    Some(near) => problems.add_with_hint(place, message, format!("did you mean `{near}`?")),
                    None => {
                        problems.add_with_hint(place, message, "capabilities(7) lists them, such as `NET_BIND_SERVICE`")
                    }
                }
            }
        }
    }
    kept
}

/// What of handfast's environment the app gets.
pub struct AppEnvironment {
    /// Its entries, such as `NAME=value`.
    pub entries: Vec<OsString>,
    /// The names of those that were taken away.
    pub taken: Vec<String>,
}

impl AppEnvironment {
    /// As `env_keep` and `env_remove` say.
    pub fn read(app: &Table, environment: &Environment) -> Self {
        let list = |key: &str| -> Vec<String> {
            app.strings(key).unwrap_or_default().into_iter().map(|(name, _)| name.to_owned()).collect()
        };
        let (entries, taken) = environment.for_app(&list("env_keep"), &list("env_remove"));
        Self { entries, taken }
    }
}
