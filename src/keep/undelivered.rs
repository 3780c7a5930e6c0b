//! Logs changes that cannot be delivered, for example because the directory is full.
#![forbid(unsafe_code)]

use std::time::Duration;

use handfast_core::whole_seconds;

use crate::error::{Class, Error};
use crate::sys::clock::boot_time;

/// Failures in a row.
#[derive(Default)]
pub struct Undelivered {
    /// When the first failure of the row was; `None` if the last change was delivered.
    since: Option<Duration>,
    failures: u32,
}

impl Undelivered {
    /// Logs one more failure: the first, and then each time that their number has doubled. A failure that does not pass by itself is
    /// logged once.
    pub fn failed(&mut self, error: &Error) {
        let since = *self.since.get_or_insert_with(boot_time);
        self.failures = self.failures.saturating_add(1);
        let (failures, lasted) = (self.failures, whole_seconds(boot_time().saturating_sub(since)));
        for Error { class, message, .. } in
            if error.parts.is_empty() { std::slice::from_ref(error) } else { &error.parts }
        {
            match failures {
                1 if *class == Class::Malformed => {
                    tracing::error!(target: "handfast", "a change was not delivered, the files stay as they were: {message}");
                }
                1 => {
                    tracing::warn!(target: "handfast", "a change was not delivered, the files stay as they were: {message}");
                }
                _ if failures.is_power_of_two() && *class != Class::Malformed => {
                    tracing::warn!(target: "handfast", "a change was not delivered, {failures} times in {lasted}: {message}");
                }
                _ => handfast_core::debug!("a change was not delivered, {failures} times in {lasted}: {message}"),
            }
        }
    }

    /// Notes that a change was delivered, and logs how long none could be.
    pub fn delivered(&mut self) {
        if let Some(since) = std::mem::take(self).since {
            let lasted = whole_seconds(boot_time().saturating_sub(since));
            tracing::info!(target: "handfast", "changes can be delivered again, after {lasted}");
        }
    }
}
