//! How secrets are kept fresh: when each is read again, what a change does, and when a secret counts as stale.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::Duration;

use super::endpoint::Endpoint;

/// `[watch] quiet`, unless it is said.
pub const QUIET: Duration = Duration::from_secs(2);

/// `[watch] splay`, unless it is said.
pub const SPLAY: Duration = Duration::from_secs(30);

/// `[watch] stop_signal`, unless it is said: TERM.
pub const STOP_SIGNAL: u8 = libc::SIGTERM as u8;

/// `[watch] stop_timeout`, unless it is said.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// `[watch]`, for the keeper of the secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watching {
    /// Changes this close together are one generation.
    pub quiet: Duration,
    /// A restart waits a random part of this.
    pub splay: Duration,
    /// The signal with which a restart ends the app.
    pub stop_signal: u8,
    /// How long the app has to end then.
    pub stop_timeout: Duration,
    /// How long no read may succeed once one was due.
    pub max_stale: Option<Duration>,
    /// The consequence of a stale secret.
    pub on_stale: OnStale,
    /// The address at which the worker serves metrics, if it does.
    pub metrics: Option<SocketAddr>,
}

/// The consequence of a stale secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStale {
    /// `ready` fails.
    Unready,
    /// The keeper ends too.
    Exit,
}

/// The action of a change besides the new files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnChange {
    /// Nothing.
    None,
    /// The app is restarted.
    Restart,
    /// The app gets a signal, given by its number.
    Signal(u8),
    /// The worker posts to an endpoint of the app.
    Post(Endpoint),
}

impl OnChange {
    /// As it is written, but without the query of a URL.
    pub fn describe(&self) -> String {
        match self {
            OnChange::None => "none".into(),
            OnChange::Restart => "restart".into(),
            OnChange::Signal(number) => {
                format!("signal:{}", crate::sys::signals::name(*number).trim_start_matches("SIG"))
            }
            OnChange::Post(endpoint) => format!("post:{}", endpoint.shown()),
        }
    }
}

impl Default for Watching {
    fn default() -> Self {
        Self {
            quiet: QUIET,
            splay: SPLAY,
            stop_signal: STOP_SIGNAL,
            stop_timeout: STOP_TIMEOUT,
            max_stale: None,
            on_stale: OnStale::Unready,
            metrics: None,
        }
    }
}
