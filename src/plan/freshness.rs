//! Reads the configuration about keeping secrets fresh.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::Duration;

use handfast_core::{Place, Problems, SecretRef, Table, excerpt, keys};
use nix::sys::signal::Signal;

use super::contents::Purpose;
use super::delivery::{Delivery, Target};
use super::endpoint::Endpoint;
use super::secret::Secret;
use super::watching::{OnChange, OnStale, QUIET, SPLAY, STOP_SIGNAL, STOP_TIMEOUT, Watching};
use crate::config::Declared;
use crate::sys::signals;

const REFRESH: Duration = Duration::from_secs(300);

/// The parameter of a reference to a version, which never changes.
const VERSION: &str = "version";

/// The settings of `[watch]` for each secret.
pub struct Freshness<'c> {
    table: &'c Table,
    on_change: OnChange,
    /// Whether the command is `watch`, which can send the app no signal.
    is_watch: bool,
    /// Whether the command is `run --supervise`, whose app may have descriptors.
    is_supervised: bool,
}

impl<'c> Freshness<'c> {
    /// Reads `[watch]`. A wrong value is a problem for every command; a value that a command cannot carry out, for this command alone.
    pub fn read(table: &'c Table, purpose: Purpose, problems: &mut Problems) -> (Self, Watching) {
        let is_watch = purpose == Purpose::Watch;
        let is_supervised = purpose == Purpose::Supervise;
        let on_change = on_change(table, is_watch, problems).unwrap_or(OnChange::None);
        let max_stale = match (table.string("max_stale"), table.place("max_stale")) {
            (Some("off"), _) | (None, _) | (_, None) => None,
            (Some(text), Some(place)) => {
                let duration = keys::parse_duration(text);
                match duration {
                    // Each secret would be stale whenever a read is due, however soon that succeeds.
                    Some(Duration::ZERO) => problems.add_with_hint(
                        place,
                        "`max_stale` is 0, expected more: no read succeeds in no time",
                        "`max_stale = \"off\"` lets no secret become stale because it cannot be read",
                    ),
                    Some(_) => {}
                    None => {
                        let text = excerpt(text);
                        problems.add(
                            place,
                            format!("`max_stale` is \"{text}\", expected \"off\" or a duration such as \"10m\""),
                        );
                    }
                }
                duration
            }
        };
        if let (Some(text), Some(place)) = (table.string("stop_signal"), table.place("stop_signal"))
            && signal(text).is_none()
        {
            problems.add(
                place,
                format!("`stop_signal` is \"{}\", expected a signal's name, such as \"TERM\"", excerpt(text)),
            );
        }
        let watching = Watching {
            quiet: table.duration("quiet").unwrap_or(QUIET),
            splay: table.duration("splay").unwrap_or(SPLAY),
            stop_signal: table.string("stop_signal").and_then(signal).unwrap_or(STOP_SIGNAL),
            stop_timeout: table.duration("stop_timeout").unwrap_or(STOP_TIMEOUT),
            max_stale,
            on_stale: if table.string("on_stale") == Some("exit") { OnStale::Exit } else { OnStale::Unready },
            metrics: metrics(table, problems),
        };
        (Self { table, on_change, is_watch, is_supervised }, watching)
    }

    /// The action of a change of this secret.
    pub fn on_change(&self, declared: &Declared, target: &Target, problems: &mut Problems) -> OnChange {
        let chosen = on_change(&declared.table, self.is_watch, problems).unwrap_or_else(|| self.on_change.clone());
        let (is_notified, is_snapshot) =
            (matches!(chosen, OnChange::Signal(_) | OnChange::Post(_)), matches!(target, Target::Descriptor(_)));
        if is_notified && is_snapshot && self.is_supervised {
            let place = declared.table.place("on_change").or_else(|| self.table.place("on_change"));
            let message = format!(
                "`on_change` of `{}` is \"{}\", and a descriptor is a snapshot: nothing but a restart shows the app another value",
                excerpt(&declared.name),
                chosen.describe()
            );
            let hint = "`on_change` of a descriptor is \"restart\" or \"none\"; a file can be read again";
            problems.add_with_hint(place.unwrap_or(&declared.place), message, hint);
        }
        chosen
    }

    /// Clears `refresh` of secrets in descriptors, unless a restart may give the app another one: a running app never gets it.
    pub fn clear_refresh_of_snapshots(&self, secrets: &mut [Secret], deliveries: &[Delivery]) {
        if !self.is_supervised || secrets.iter().any(|secret| secret.on_change == OnChange::Restart) {
            return;
        }
        let snapshots = deliveries.iter().filter(|delivery| matches!(delivery.target, Target::Descriptor(_)));
        snapshots.for_each(|delivery| secrets[delivery.secret].refresh = None);
    }

    /// How often this secret is read again; `None` where it never changes.
    pub fn refresh(
        &self,
        declared: &Declared,
        reference: &SecretRef,
        least: Duration,
        problems: &mut Problems,
    ) -> Option<Duration> {
        let own = declared.table.duration("refresh").zip(declared.table.place("refresh"));
        let common = || self.table.duration("refresh").zip(self.table.place("refresh"));
        let (refresh, place) = own.or_else(common).unwrap_or((REFRESH, &Place::CommandLine));
        if refresh < least {
            let (refresh, least) = (humantime::format_duration(refresh), humantime::format_duration(least));
            let (name, provider) = (excerpt(&declared.name), excerpt(&reference.provider));
            let message = format!("`refresh` of `{name}` is {refresh}, expected {least} or more from `{provider}`");
            problems.add(place, message);
        }
        reference.locator.parameter(VERSION).is_none().then_some(refresh)
    }
}

/// The address for metrics. Not a host name, and with a port.
fn metrics(table: &Table, problems: &mut Problems) -> Option<SocketAddr> {
    let (text, place) = table.string("metrics").zip(table.place("metrics"))?;
    let address = text.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
    if address.is_none() && text != "off" {
        let message = format!(
            "`metrics` is \"{}\", expected \"off\" or an address and a port, such as \"127.0.0.1:9102\"",
            excerpt(text)
        );
        problems.add_with_hint(place, message, "all addresses are \"0.0.0.0:9102\", or with IPv6 \"[::]:9102\"");
    }
    address
}

/// The action of a table's `on_change`, if it is set and valid.
fn on_change(table: &Table, is_watch: bool, problems: &mut Problems) -> Option<OnChange> {
    let (text, place) = table.string("on_change").zip(table.place("on_change"))?;
    let quoted = excerpt(text);
    match text.split_once(':') {
        None if text == "none" => return Some(OnChange::None),
        None if text == "restart" => return Some(OnChange::Restart),
        Some(("signal", _)) if is_watch => {
            let message = format!(
                "`on_change` is \"{quoted}\", and the app of `watch` is in another container: no signal gets there"
            );
            problems.add_with_hint(
                place,
                message,
                "write \"restart\" or \"post:http://127.0.0.1:PORT/PATH\", or let the app look at the files itself",
            );
        }
        Some(("signal", name)) if signal(name).is_some_and(can_be_handled) => {
            return signal(name).map(OnChange::Signal);
        }
        Some(("signal", _)) => {
            let message = format!(
                "`on_change` is \"{quoted}\", expected the name of a signal that an app can handle, such as \"signal:HUP\""
            );
            problems.add(place, message);
        }
        Some(("post", url)) => match Endpoint::parse(url) {
            Ok(endpoint) => return Some(OnChange::Post(endpoint)),
            Err(complaint) => problems.add(place, complaint),
        },
        // It may hold a password.
        Some(("http" | "https", _)) => problems.add(place, "`on_change` is a URL, expected `post:` before it"),
        _ => {
            let expected = "\"none\", \"restart\", \"signal:NAME\" or \"post:http://127.0.0.1:PORT/PATH\"";
            problems.add(place, format!("`on_change` is \"{quoted}\", expected {expected}"));
        }
    }
    None
}

/// The number of a signal by its name, with or without `SIG`.
fn signal(name: &str) -> Option<u8> {
    signals::number(&format!("SIG{}", name.trim_start_matches("SIG")))
}

/// Whether an app can have a handler for this signal.
fn can_be_handled(number: u8) -> bool {
    ![Signal::SIGKILL as u8, Signal::SIGSTOP as u8].contains(&number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_found_by_its_name() {
        assert_eq!((signal("HUP"), signal("SIGHUP"), signal("TERM")), (Some(1), Some(1), Some(15)));
        assert_eq!((signal("RTMIN"), signal("RTMIN+3"), signal("SIGRTMIN+30")), (Some(34), Some(37), Some(64)));
        assert_eq!((signal(""), signal("hup"), signal("1"), signal("RTMIN+31")), (None, None, None, None));
        assert_eq!(OnChange::Signal(1).describe(), "signal:HUP");
    }
}
