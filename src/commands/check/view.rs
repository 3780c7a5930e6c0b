//! The findings of a check, as text and as JSON.
#![forbid(unsafe_code)]

use nix::unistd::geteuid;
use serde_json::{Value, json};

use crate::deliver::{Inspection, Placement};
use crate::error::Error;
use crate::plan::{Delivery, OnChange, Plan, Purpose, Secret, Target};
use crate::sys::capabilities;
use crate::worker::Tried;

/// The findings of a check.
pub struct View<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The process that would stay after the start, if any, and the capabilities that it would keep.
    pub stays: Option<(&'static str, u64)>,
    /// The instances in use.
    pub providers: Vec<Provider>,
    /// The places of the secrets, and the features that this system lacks.
    pub inspection: &'a Inspection,
    /// What a start would warn of.
    pub warnings: Vec<String>,
    /// The result for each secret, if the stores were asked.
    pub tried: Option<Vec<Tried>>,
    /// Why the start would end.
    pub refusal: Option<&'a Error>,
}

/// A provider instance, as the report shows it. The instance itself is in the worker.
pub struct Provider {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// How it logged in, if its store was asked and it chose among several ways.
    pub identity: Option<String>,
}

impl Provider {
    fn text(&self) -> String {
        let identity = self.identity.as_ref().map(|identity| format!(", logged in by {identity}")).unwrap_or_default();
        format!("{} ({}){identity}", self.name, self.kind)
    }
}

impl View<'_> {
    /// The report as text for people.
    pub fn text(&self) -> String {
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

    /// The width of the longest name.
    fn width(&self) -> usize {
        self.plan.secrets.iter().map(|secret| secret.name.len()).max().unwrap_or(0)
    }

    fn secrets(&self) -> Vec<String> {
        let width = self.width();
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
        let width = self.width();
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

    /// The URL of the metrics, for a command that serves metrics.
    fn metrics(&self) -> Option<String> {
        let address = self.plan.watching.metrics.filter(|_| self.plan.keeps_fresh())?;
        Some(format!("http://{address}/metrics"))
    }

    /// The result for each secret, a line each, with its hint on a line of its own.
    fn tried(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (secret, tried) in self.plan.secrets.iter().zip(self.tried.iter().flatten()) {
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

    /// The same as JSON; `None` if the stores were not asked, or none of their answers came back.
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
        Some(self.plan.secrets.iter().zip(self.tried.as_ref()?).map(one).collect())
    }

    /// The report as JSON.
    pub fn json(&self) -> String {
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
