//! `check`: what a start would do, said without doing it; online, up to the point where secrets would be delivered.
#![forbid(unsafe_code)]

use std::time::Instant;

use handfast_core::{Place, Problems, escaped_excerpt};
use nix::unistd::geteuid;
use serde_json::{Value, json};

use super::start;
use crate::cage;
use crate::cli::Options;
use crate::config::Environment;
use crate::deliver::{self, Inspection, Placement};
use crate::error::{Error, Result};
use crate::lockdown::{self, Duties, ProcessState};
use crate::plan::{Delivery, Instances, OnChange, Plan, Purpose, Secret, Target};
use crate::sys::capabilities;
use crate::worker::{self, Attempt, Rehearsal, Task, Tried, Watch};

/// What a check says.
pub struct Checked {
    /// The plan.
    pub text: Vec<u8>,
    /// Why a start would end, where it would.
    pub refusal: Option<Error>,
}

/// Plans a start and looks at what it would find; touches nothing. `online`, it also logs in and fetches every secret as the start
/// would, and gives back what was issued for it.
pub fn check(
    options: &Options,
    (purpose, format, online): (&str, &str, bool),
    mut environment: Environment,
    started: Instant,
    mut problems: Problems,
) -> Result<Checked> {
    let (purpose, as_json) = read(purpose, format, &mut problems);
    if online {
        start::begin()?;
    } else {
        start::refuse_emulator()?;
    }
    let (plan, instances) = start::make_plan(options, &mut environment, purpose, started, problems)?;
    let mut inspection = deliver::inspect(&plan);
    inspection.missing.extend(cage::missing());
    let found = (purpose != Purpose::Init).then(ProcessState::read);
    let stays = found.as_ref().and_then(|found| stays(&plan, inspection.capabilities, found.as_ref().ok()?));
    let refusal = foresee(&plan, &instances, found, &mut inspection).err();
    let warnings = environment
        .foreign_references()
        .into_iter()
        .chain(plan.warnings())
        .chain(inspection.warnings.iter().cloned())
        .collect();
    let mut providers: Vec<Provider> =
        instances.iter().map(|one| Provider { name: one.name.clone(), kind: one.kind, identity: None }).collect();
    // Whatever else would end the start: what is wrong with the references is worth knowing at once.
    let (online, failure) = match online {
        true => match attempt(&plan, instances, environment) {
            Ok(Attempt { tried, mut identities }) => {
                for (instance, provider) in providers.iter_mut().enumerate() {
                    provider.identity = identities.remove(&instance);
                }
                let failures: Vec<Error> = tried.iter().filter_map(Tried::failure).cloned().collect();
                let failure = (!failures.is_empty()).then(|| worker::sum(failures, plan.secrets.len()));
                (Some(tried), failure)
            }
            Err(error) => (None, Some(error)),
        },
        false => (None, None),
    };
    let refusal = refusal.or(failure);
    let view =
        View { plan: &plan, stays, providers, inspection: &inspection, warnings, online, refusal: refusal.as_ref() };
    let text = if as_json { view.json() } else { view.text() };
    Ok(Checked { text: text.into_bytes(), refusal })
}

/// Why a start would end before it asks a store for anything, found out in the start's order.
fn foresee(
    plan: &Plan,
    instances: &Instances,
    found: Option<Result<ProcessState>>,
    inspection: &mut Inspection,
) -> Result<()> {
    start::refuse(plan)?;
    deliver::check_limit(plan)?;
    let found = found.transpose()?;
    let rehearsal = Rehearsal::start(Task::of(plan), plan, instances)?;
    if let Some(found) = found {
        inspection.missing.extend(start::refuse_isolation(plan, &found)?);
    }
    inspection.refusal.take().map_or(Ok(()), Err)?;
    cage::foresee(plan.isolation.strict)?;
    rehearsal.end(plan)
}

/// The process that would stay, where there would be one, and the capabilities that it would keep. `files` are those that later
/// files need.
fn stays(plan: &Plan, files: u64, found: &ProcessState) -> Option<(&'static str, u64)> {
    let duties = Duties { files, restarts: plan.may_restart() };
    match plan.purpose {
        Purpose::Supervise => Some(("supervisor", lockdown::of_supervisor(&plan.isolation, duties, found))),
        Purpose::Watch => Some(("keeper", files)),
        Purpose::Run | Purpose::Init => None,
    }
}

/// Asks the stores as a start would.
fn attempt(plan: &Plan, instances: Instances, environment: Environment) -> Result<Attempt> {
    lockdown::close_inherited(&[])?;
    let signals = start::signals()?;
    worker::attempt(plan, instances, environment, &Watch::new(&signals))
}

/// What `--for` and `--format` say.
fn read(purpose: &str, format: &str, problems: &mut Problems) -> (Purpose, bool) {
    let mut wrong = |message| problems.add(&Place::CommandLine, message);
    let purpose = match purpose {
        "run" => Purpose::Run,
        "supervise" => Purpose::Supervise,
        "init" => Purpose::Init,
        "watch" => Purpose::Watch,
        other => {
            wrong(format!("`--for` is \"{}\", expected run, supervise, init or watch", escaped_excerpt(other)));
            Purpose::Run
        }
    };
    if !matches!(format, "text" | "json") {
        wrong(format!("`--format` is \"{}\", expected text or json", escaped_excerpt(format)));
    }
    (purpose, format == "json")
}

struct View<'a> {
    plan: &'a Plan,
    /// The process that would stay, where there would be one, and the capabilities that it would keep.
    stays: Option<(&'static str, u64)>,
    /// The instances in use.
    providers: Vec<Provider>,
    inspection: &'a Inspection,
    warnings: Vec<String>,
    /// What became of each secret, where the stores were asked.
    online: Option<Vec<Tried>>,
    refusal: Option<&'a Error>,
}

/// A provider instance: the worker has taken the instance itself.
struct Provider {
    name: String,
    kind: &'static str,
    /// How it logged in, where its store was asked and it chose among several ways.
    identity: Option<String>,
}

impl Provider {
    fn text(&self) -> String {
        let identity = self.identity.as_ref().map(|identity| format!(", logged in by {identity}")).unwrap_or_default();
        format!("{} ({}){identity}", self.name, self.kind)
    }
}

impl View<'_> {
    fn text(&self) -> String {
        let mut text = String::new();
        let isolation = &self.plan.isolation;
        let groups = if isolation.groups.is_empty() { "none".to_owned() } else { join(&isolation.groups) };
        line(&mut text, "app", &format!("uid {}, gid {}, groups {groups}", isolation.uid, isolation.gid));
        if self.plan.purpose.has_app() {
            line(&mut text, "capabilities", &capabilities::names(isolation.capabilities));
            if !self.plan.inherited.is_empty() {
                line(&mut text, "kept", &format!("descriptors {}, as found", join(&self.plan.inherited)));
            }
            line(&mut text, "core dumps", if isolation.core_dumps { "as found" } else { "none" });
        }
        if let Some((name, set)) = self.stays {
            line(&mut text, name, &format!("stays as uid {}, capabilities {}", geteuid(), capabilities::names(set)));
        }
        line(&mut text, "deadline", &humantime::format_duration(self.plan.deadline.limit).to_string());
        for (title, placement) in [("files", &self.inspection.files), ("descriptors", &self.inspection.descriptors)] {
            if let Some(Placement { medium, protection }) = placement {
                line(&mut text, title, &format!("{medium}, {protection}"));
            }
        }
        for (title, lines) in [
            ("secrets", self.secrets()),
            ("schedule", self.schedule()),
            ("metrics", self.metrics().into_iter().collect()),
            ("providers", self.providers.iter().map(Provider::text).collect()),
            ("online", self.tried()),
            ("not here", self.inspection.missing.clone()),
            ("warnings", self.warnings.clone()),
        ] {
            for (at, item) in lines.iter().enumerate() {
                line(&mut text, if at == 0 { title } else { "" }, item);
            }
        }
        text
    }

    fn deliveries(&self) -> impl Iterator<Item = (&Delivery, &Secret)> {
        self.plan.deliveries.iter().map(|delivery| (delivery, &self.plan.secrets[delivery.secret]))
    }

    fn secrets(&self) -> Vec<String> {
        let width = self.plan.secrets.iter().map(|secret| secret.name.len()).max().unwrap_or(0);
        self.deliveries()
            .map(|(delivery, secret)| {
                let optional = if secret.optional { ", optional" } else { "" };
                let (target, _) = self.target(&delivery.target);
                let variables: Vec<&str> =
                    delivery.path_variables.iter().chain(&delivery.number_variables).map(String::as_str).collect();
                let told =
                    if variables.is_empty() { String::new() } else { format!(", told by {}", variables.join(" and ")) };
                format!("{:width$}  {} -> {target}{told}{optional}", secret.name, secret.reference)
            })
            .collect()
    }

    /// When each secret is read again, and what a change does, for a command that keeps them fresh.
    fn schedule(&self) -> Vec<String> {
        let may_hold_leases =
            self.plan.purpose == Purpose::Supervise && self.plan.secrets.iter().any(|secret| secret.may_issue);
        if !self.plan.keeps_fresh() && !may_hold_leases {
            return Vec::new();
        }
        let width = self.plan.secrets.iter().map(|secret| secret.name.len()).max().unwrap_or(0);
        let line = |(delivery, secret): (&Delivery, &Secret)| {
            let name = &secret.name;
            let is_file = matches!(delivery.target, Target::File { .. });
            let Some(refresh) = secret.refresh else {
                let why = match secret.reference.locator.parameter("version") {
                    Some(_) => "the reference names a version",
                    None if secret.may_issue => {
                        "the app keeps the descriptor that it was started with, and a lease is renewed as long as the store lets it"
                    }
                    None => "the app keeps the descriptor that it was started with",
                };
                return format!("{name:width$}  never read again: {why}");
            };
            let then = match (is_file, &secret.on_change) {
                (true, OnChange::None) => "new files".into(),
                (true, other) => format!("new files, then {}", other.describe()),
                (false, OnChange::Restart) => "restart with a new descriptor".into(),
                (false, _) => "a new descriptor at the next restart".into(),
            };
            let each = humantime::format_duration(refresh);
            let (when, or) = match (secret.may_issue, secret.may_end) {
                (true, _) => ("renewed or issued anew in time where it has a lease or an end, else read again", ""),
                (false, true) => ("read again", ", and before its end where it has one"),
                (false, false) => ("read again", ""),
            };
            format!("{name:width$}  {when} each {each} ± 10 %{or}; a change: {then}")
        };
        self.deliveries().map(line).collect()
    }

    /// Where metrics are told, for a command that tells some.
    fn metrics(&self) -> Option<String> {
        let address = self.plan.watching.metrics.filter(|_| self.plan.keeps_fresh())?;
        Some(format!("http://{address}/metrics"))
    }

    /// What became of each secret, a line each, and a line for what to do about it.
    fn tried(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (secret, tried) in self.plan.secrets.iter().zip(self.online.iter().flatten()) {
            let reference = &secret.reference;
            match tried {
                Tried::Fine => lines.push(format!("{reference}: fine")),
                Tried::Missing => {
                    lines.push(format!("{reference}: not found, which is fine: `{}` is optional", secret.name))
                }
                Tried::Failed(error) => {
                    let why = error.subject.as_ref().map_or(&error.message, |subject| &subject.reason);
                    let (class, exit) = (error.class.name(), error.class.exit_code());
                    lines.push(format!("{reference}: {class}, exit {exit}: {why}"));
                    lines.extend(error.hint.as_ref().map(|hint| format!("  hint: {hint}")));
                }
            }
        }
        lines
    }

    /// The same for machines; nothing where the stores were not asked, or no answer of theirs came back.
    fn tried_json(&self) -> Option<Vec<Value>> {
        let one = |(secret, tried): (&Secret, &Tried)| {
            let error = tried.failure();
            let outcome = match tried {
                Tried::Fine => "fine",
                Tried::Missing => "missing",
                Tried::Failed(error) => error.class.name(),
            };
            json!({
                "name": secret.name,
                "from": secret.reference.to_string(),
                "outcome": outcome,
                "exit": error.map_or(0, |error| error.class.exit_code()),
                "attempts": error.and_then(|error| Some(error.subject.as_ref()?.attempts)),
                "message": error.map(|error| &error.message),
                "hint": error.and_then(|error| error.hint.as_ref()),
            })
        };
        Some(self.plan.secrets.iter().zip(self.online.as_ref()?).map(one).collect())
    }

    fn json(&self) -> String {
        let isolation = &self.plan.isolation;
        let placement = |placement: &Option<Placement>| {
            placement
                .as_ref()
                .map(|Placement { medium, protection }| json!({ "medium": medium, "protection": protection }))
        };
        let secrets: Vec<Value> = self
            .deliveries()
            .map(|(delivery, secret)| {
                json!({
                    "name": secret.name,
                    "from": secret.reference.to_string(),
                    "provider": secret.reference.provider,
                    "to": self.target(&delivery.target).1,
                    "path_env": delivery.path_variables,
                    "fd_env": delivery.number_variables,
                    "optional": secret.optional,
                    "refresh_ms": secret.refresh.map(|refresh| refresh.as_millis() as u64),
                    "may_be_issued": secret.may_issue,
                    "may_end": secret.may_end,
                    "on_change": secret.on_change.describe(),
                })
            })
            .collect();
        let provider = |one: &Provider| json!({ "name": one.name, "type": one.kind, "identity": one.identity });
        let providers: Vec<Value> = self.providers.iter().map(provider).collect();
        let list = |set| -> Vec<&str> {
            capabilities::numbers(set).map(|number| capabilities::NAMES[usize::from(number)]).collect()
        };
        let mut report = json!({
            "app": {
                "uid": isolation.uid,
                "gid": isolation.gid,
                "groups": isolation.groups,
                "capabilities": list(isolation.capabilities),
                "descriptors": self.plan.inherited,
                "core_dumps": isolation.core_dumps,
                "strict": isolation.strict,
            },
            "deadline_ms": self.plan.deadline.limit.as_millis() as u64,
            "secrets": secrets,
            "providers": providers,
            "online": self.tried_json(),
            "protection": { "files": placement(&self.inspection.files), "descriptors": placement(&self.inspection.descriptors) },
            "not_here": self.inspection.missing,
            "metrics": self.metrics(),
            "warnings": self.warnings,
            "exit": self.refusal.map_or(0, |error| error.class.exit_code()),
        });
        if let Some((name, set)) = self.stays {
            report[name] = json!({ "uid": geteuid().as_raw(), "capabilities": list(set) });
        }
        crate::report::printable_json(&format!("{report:#}\n"))
    }

    fn target(&self, target: &Target) -> (String, Value) {
        match target {
            Target::Descriptor(number) => (format!("descriptor {number}"), json!({ "fd": number })),
            Target::File { name, mode, owner } => {
                let directory = self.plan.files.as_ref().map(|files| files.directory.clone()).unwrap_or_default();
                let path = directory.join(name).display().to_string();
                let (uid, gid) = owner.unwrap_or((self.plan.isolation.uid, self.plan.isolation.gid));
                let mode = format!("{mode:04o}");
                let text = format!("{path}, mode {mode}, owner {uid}:{gid}");
                (text, json!({ "file": path, "mode": mode, "owner": format!("{uid}:{gid}") }))
            }
        }
    }
}

fn line(text: &mut String, title: &str, rest: &str) {
    let rest = crate::report::printable(rest);
    text.push_str(&format!("{title:12}  {rest}\n"));
}

fn join(numbers: &[impl ToString]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
