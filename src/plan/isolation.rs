//! The app's identity and rights.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::OsString;

use handfast_core::{Place, Problem, Problems, Table, did_you_mean, excerpt};

use crate::config::{self, App, AppSettings, Config, Suspect, Trust};
use crate::identity::{self, Accounts, Current, Identity, Name, Setting, UserName, UserSettings};
use crate::sys::capabilities;

/// What the app may and may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolation {
    /// The app's uid: real, effective, saved and file system. Under `init` it only names the reader.
    pub uid: u32,
    /// The app's gid, likewise.
    pub gid: u32,
    /// The app's supplementary groups, sorted, each once.
    pub groups: Vec<u32>,
    /// Whether the ids are the default: started as root without a user, of which a warning says so.
    pub defaulted: bool,
    /// The capabilities that stay, in all five sets: a bit per number.
    pub capabilities: u64,
    /// Whether the app may dump core.
    pub core_dumps: bool,
    /// Whether what is best effort must succeed too.
    pub strict: bool,
}

/// The isolation, and the other settings that follow from the app's identity.
pub struct Decided {
    /// What it may and may not do.
    pub isolation: Isolation,
    /// `HOME`, where it changes.
    pub home: Option<OsString>,
    /// Who else may change the program that runs, with privileges.
    pub executable: Option<Suspect>,
}

/// Decides the app's isolation. The error says why the configuration is refused; no other problem of it is reported then.
pub fn isolation(config: &Config, problems: &mut Problems) -> Result<Option<Decided>, Problems> {
    let app = &config.app;
    let before = problems.len();
    let capabilities = keep_capabilities(app, problems);
    let user = app.string("user").and_then(|text| match UserName::parse(text) {
        Ok(user) => Some(user),
        Err(complaint) => {
            problems.add(app.place("user").unwrap_or(&Place::CommandLine), complaint);
            None
        }
    });
    let groups = app.strings("groups").map(|groups| {
        let parse = |(text, place): (&str, &Place)| match Name::parse(text) {
            Ok(name) => Some(name),
            Err(complaint) => {
                problems.add(place, complaint);
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
            return Ok(None);
        }
    };
    let wanted = UserSettings { user, groups, allow_root: app.boolean("allow_root").unwrap_or(false) };
    let identity = if problems.len() == before { resolve(&wanted, &current, app, problems) } else { None };
    let trusted = Trusted::ask(config, identity.as_ref(), &current);
    let refusals = trusted.refusals();
    if config.is_refused || !refusals.is_empty() {
        let mut refused = config.refusals.clone();
        refusals.into_iter().for_each(|(place, suspect)| config::refuse(place, suspect, &mut refused));
        return Err(refused);
    }
    let executable = trusted.executable();
    let Some(identity) = identity else { return Ok(None) };
    let isolation = Isolation {
        uid: identity.uid,
        gid: identity.gid,
        groups: identity.groups,
        defaulted: identity.defaulted,
        capabilities,
        core_dumps: app.boolean("core_dumps").unwrap_or(false),
        strict: app.boolean("strict").unwrap_or(false),
    };
    Ok(Some(Decided { isolation, home: identity.home, executable }))
}

/// Who else may change the configuration's files and handfast's program, for each identity that the app may have.
struct Trusted<'a> {
    config: &'a Config,
    executable: Vec<Suspect>,
    apps: Vec<Identity>,
}

impl<'a> Trusted<'a> {
    fn ask(config: &'a Config, planned: Option<&Identity>, current: &Current) -> Self {
        let executable = config.trust.map(Trust::executable).unwrap_or_default();
        let mut asked = config.app_settings.iter().flat_map(|settings| &settings.suspects).chain(&executable);
        let mut apps = Vec::new();
        if asked.any(Suspect::depends_on_app) {
            apps.extend(planned.cloned());
            apps.extend(possible_apps(config, current));
        }
        Self { config, executable, apps }
    }

    /// Why the configuration is refused, where it is.
    fn refusals(&self) -> Vec<(&Place, &Suspect)> {
        let of_file = |settings: &'a AppSettings| settings.suspects.iter().map(|suspect| (&settings.place, suspect));
        self.config.app_settings.iter().flat_map(of_file).filter(|(_, suspect)| self.counts(suspect)).collect()
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

/// Every identity that the app could have with some of the files left out: each file's `user` with each file's `groups`, and the
/// app of which no file says anything. A `user` of the environment or of the command line wins over every file's.
fn possible_apps(config: &Config, current: &Current) -> Vec<Identity> {
    let resolve = |user: Option<UserName>| {
        let wanted = UserSettings { user, groups: None, allow_root: true };
        identity::resolve(&wanted, current, Accounts::read).ok()
    };
    let files = &config.app_settings;
    let is_outside = config.app.item("user").is_some_and(|item| !matches!(item.place, Place::File { .. }));
    let texts: BTreeSet<&str> = match is_outside {
        true => config.app.string("user").into_iter().collect(),
        false => files.iter().filter_map(|settings| settings.user.as_deref()).collect(),
    };
    let named = texts.into_iter().filter_map(|text| {
        let user = UserName::parse(text).ok()?;
        let alone = UserName { user: user.user.clone(), group: None };
        resolve(Some(user)).or_else(|| resolve(Some(alone)))
    });
    let mut apps: Vec<Identity> = named.collect();
    let named = apps.len();
    if !is_outside || apps.is_empty() {
        apps.extend(resolve(None));
    }
    // Whether there is a `user` whichever file is left out: one from outside, or from a file that nobody else can change. Else a
    // file's `groups` may also be those of an app without a `user`.
    let is_named = is_outside || files.iter().any(|settings| settings.suspects.is_empty() && settings.user.is_some());
    let mut with_groups = Vec::new();
    for settings in files {
        let Some(groups) = &settings.groups else { continue };
        let groups: Vec<Name> = groups.iter().filter_map(|text| Name::parse(text).ok()).collect();
        let groups = identity::known_groups(&groups, Accounts::read);
        let last = if named == 0 || !is_named && settings.user.is_none() { apps.len() } else { named };
        with_groups.extend(apps[..last].iter().map(|app| Identity { groups: groups.clone(), ..app.clone() }));
    }
    apps.extend(with_groups);
    apps
}

fn resolve(wanted: &UserSettings, current: &Current, app: &Table, problems: &mut Problems) -> Option<Identity> {
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
                let hint = did_you_mean(&name.to_ascii_uppercase(), capabilities::NAMES)
                    .unwrap_or_else(|| "capabilities(7) lists them, such as `NET_BIND_SERVICE`".into());
                problems.add_with_hint(place, format!("unknown capability `{}`", excerpt(name)), hint);
            }
        }
    }
    kept
}
