//! Who the app is, what it may do, and which of our variables it gets.
#![forbid(unsafe_code)]

use std::ffi::OsString;

use handfast_core::{Place, Problem, Problems, Table, excerpt, nearest};

use super::Isolation;
use crate::config::{self, App, Config, Environment, Suspect, Trust};
use crate::identity::{self, Accounts, Current, Identity, Name, Setting, UserName, Wanted};
use crate::sys::capabilities;

/// What follows from who the app is.
pub struct Decided {
    /// What it may and may not do.
    pub isolation: Isolation,
    /// `HOME`, where it changes.
    pub home: Option<OsString>,
    /// Who else may change the program that runs, with privileges.
    pub executable: Option<Suspect>,
}

/// Decides it.
pub fn isolation(config: &Config, problems: &mut Problems) -> Option<Decided> {
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
    let trusted = Trusted::ask(config, identity.as_ref(), &current);
    trusted.refuse_files(problems);
    let executable = trusted.executable();
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
    Some(Decided { isolation, home: identity.home, executable })
}

/// What speaks against the configuration's files and handfast's own, for whoever the app may be.
struct Trusted<'a> {
    config: &'a Config,
    executable: Vec<Suspect>,
    apps: Vec<Identity>,
}

impl<'a> Trusted<'a> {
    fn ask(config: &'a Config, planned: Option<&Identity>, current: &Current) -> Self {
        let executable = config.trust.map(Trust::executable).unwrap_or_default();
        let mut asked = config.suspects.iter().map(|(_, suspect)| suspect).chain(&executable);
        let mut apps = Vec::new();
        if asked.any(Suspect::depends_on_app) {
            apps.extend(planned.cloned());
            apps.extend(outside(config, current));
        }
        Self { config, executable, apps }
    }

    fn refuse_files(&self, problems: &mut Problems) {
        for (place, suspect) in self.config.suspects.iter().filter(|(_, suspect)| self.counts(suspect)) {
            config::refuse(place, suspect, problems);
        }
    }

    /// The first that speaks against the program that runs.
    fn executable(&self) -> Option<Suspect> {
        self.executable.iter().find(|suspect| self.counts(suspect)).cloned()
    }

    fn counts(&self, suspect: &Suspect) -> bool {
        let apps = self.apps.iter().map(|app| App { uid: app.uid, gid: app.gid, groups: &app.groups });
        suspect.counts_for(&apps.collect::<Vec<_>>())
    }
}

/// The app as it is where no file is asked: one could name another user than the one who has written it.
fn outside(config: &Config, current: &Current) -> Option<Identity> {
    let said = config.app.item("user").is_some_and(|item| !matches!(item.place, Place::File { .. }));
    let text = config.app.string("user").filter(|_| said);
    let user = text.and_then(|text| UserName::parse(text).ok());
    let wanted = Wanted { user, groups: None, allow_root: true };
    identity::resolve(&wanted, current, Accounts::read).ok()
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
                let hint = match nearest(&name.to_ascii_uppercase(), capabilities::NAMES) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "capabilities(7) lists them, such as `NET_BIND_SERVICE`".into(),
                };
                problems.add_with_hint(place, format!("unknown capability `{}`", excerpt(name)), hint);
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
