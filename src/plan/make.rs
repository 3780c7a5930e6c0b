//! From the configuration to the plan. Every problem is found before anything is changed.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use handfast_core::{Place, Problems, Table, excerpt};

use super::catalog::{Catalog, check_ca_file};
use super::contents::{Deadline, Files, Plan, Purpose, Swap};
use super::environment::{AppEnvironment, set};
use super::freshness::Freshness;
use super::inherited::Inherited;
use super::instances::Instances;
use super::{declarations, isolation};
use crate::config::{Config, DEADLINE, Environment};
use crate::report;

/// Makes the plan, and the provider instances that it needs; `None` where there are problems, its own or those that were there before.
pub fn make(
    config: Config,
    environment: &Environment,
    purpose: Purpose,
    started: Instant,
    problems: &mut Problems,
) -> Option<(Plan, Instances)> {
    // First: no other problem of a refused configuration is reported, and no file that it names is opened.
    let isolation = match isolation::isolation(&config, problems) {
        Ok(isolation) => isolation,
        Err(refusals) => {
            *problems = refusals;
            return None;
        }
    };
    let files = files(&config, purpose, problems);
    let mut catalog = Catalog::configure(config.providers, &config.fetch, environment, problems);
    // Under `init` and `watch` there is no app.
    let inherited = match purpose.has_app() {
        true => Inherited::read(&config.app, environment, problems),
        false => Inherited::default(),
    };
    let app = AppEnvironment::read(&config.app, environment, problems);
    let rules = declarations::TargetRules {
        files: files.is_some(),
        only_files: (!purpose.has_app()).then(|| purpose.name()),
        mode: config.files.string("mode").and_then(handfast_core::keys::parse_mode).unwrap_or(0o400),
    };
    let (freshness, watching) = Freshness::read(&config.watch, purpose, problems);
    let (secrets, deliveries) =
        declarations::read(config.secrets, rules, &freshness, &inherited.numbers, &mut catalog, problems);
    if purpose == Purpose::Watch && secrets.is_empty() && problems.is_empty() {
        let hint = "`-s NAME=REF`, [secrets.NAME], or a variable with `handfast:` and a reference";
        problems.add_with_hint(&Place::CommandLine, "`watch` has no secret to keep fresh", hint);
    }
    let deadline = Deadline { started, limit: limit(&config.fetch, problems) };
    check_ca_file(&config.fetch, problems);
    check_proxy(&config.fetch, problems);
    if !problems.is_empty() {
        return None;
    }
    let isolation::Decided { isolation, home, executable } = isolation?;
    report::wait_until_deadline(deadline.at());
    for name in app.taken.iter().filter(|_| purpose.has_app()) {
        tracing::info!(target: "handfast", "the variable `{}` is not handed on to the app", excerpt(name));
    }
    let instances = catalog.in_use();
    let plan = Plan {
        purpose,
        isolation,
        secrets,
        deliveries,
        inherited: inherited.numbers,
        files,
        swap: if config.files.string("swap") == Some("refuse") { Swap::Refuse } else { Swap::Warn },
        concurrency: config.fetch.integer("concurrency").and_then(|count| usize::try_from(count).ok()).unwrap_or(32),
        deadline,
        watching,
        environment: entries(app.entries, home, inherited.untrue),
        has_stores: instances.sockets().any(),
        revokes_on_exit: instances.iter().any(|instance| instance.configured.revokes_on_exit()),
        provider_warnings: provider_warnings(&instances),
        executable,
    };
    Some((plan, instances))
}

/// The limit of the whole start.
fn limit(fetch: &Table, problems: &mut Problems) -> Duration {
    let limit = fetch.duration("deadline").unwrap_or(DEADLINE);
    if limit.is_zero() {
        problems.add(
            fetch.place("deadline").unwrap_or(&Place::CommandLine),
            "`deadline` is 0, expected more: nothing can be fetched in no time",
        );
    }
    limit
}

/// The entries of the app's environment that do not depend on the secrets.
fn entries(mut entries: Vec<OsString>, home: Option<OsString>, untrue: Vec<&str>) -> Vec<OsString> {
    if let Some(home) = home {
        set(&mut entries, "HOME", Some(&home));
    }
    for name in untrue {
        set(&mut entries, name, None);
    }
    entries
}

/// The warnings of the instances, each once, in order.
fn provider_warnings(instances: &Instances) -> Vec<String> {
    let mut warnings: Vec<String> = instances.iter().filter_map(|instance| instance.configured.warning()).collect();
    warnings.sort();
    warnings.dedup();
    warnings
}

fn files(config: &Config, purpose: Purpose, problems: &mut Problems) -> Option<Files> {
    let directory = directory(&config.files, problems);
    if directory.is_none() && !purpose.has_app() {
        let hint = "`--dir /run/secrets`, HANDFAST_DIR or `[files] dir`";
        let message = format!("`{}` delivers files, and no files directory is set", purpose.name());
        problems.add_with_hint(&Place::CommandLine, message, hint);
    }
    Some(Files { directory: directory?, size: config.files.size("size").unwrap_or(1 << 20) })
}

/// The files directory, where one is set.
pub fn directory(files: &Table, problems: &mut Problems) -> Option<PathBuf> {
    let item = files.item("dir")?;
    // A `dir` that is no string has been reported: the later checks run as with a directory.
    let directory = files.string("dir").map_or_else(|| Path::new("/"), Path::new);
    if directory.as_os_str().as_bytes().contains(&0) {
        problems.add(&item.place, "`dir` has a NUL character in it, which no path has");
    } else if !directory.is_absolute() {
        problems.add_with_hint(
            &item.place,
            format!("`dir` is \"{}\", expected an absolute path", excerpt(&directory.to_string_lossy())),
            "the app gets this path, and may run in another directory",
        );
    }
    // Without a trailing slash or doubled ones: the app gets `<dir>/<name>`.
    Some(directory.components().collect())
}

/// Checks `proxy` as far as possible before a provider uses it.
fn check_proxy(fetch: &Table, problems: &mut Problems) {
    if let (Some(proxy), Some(place)) = (fetch.string("proxy"), fetch.place("proxy"))
        && !matches!(proxy, "none" | "environment")
        && !["http://", "https://"].iter().any(|scheme| proxy.starts_with(scheme))
        // A provider that uses it has read it too.
        && !problems.are_at(place)
    {
        // A proxy's URL may hold a password: it is not quoted.
        problems.add(
            place,
            "`proxy` is neither \"none\" nor \"environment\" nor a URL that starts with http:// or https://",
        );
    }
}
