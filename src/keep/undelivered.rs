//! Changes that cannot be delivered, such as those of a directory that is full: what is said of them.
#![forbid(unsafe_code)]

use std::time::Duration;

use handfast_core::whole_seconds;

use crate::error::{Class, Error};
use crate::sys::clock::boot_time;

/// Failures in a row.
#[derive(Default)]
pub struct Undelivered {
    /// When the first was; `None` where the last change was delivered.
    since: Option<Duration>,
    failures: u32,
}

impl Undelivered {
    /// One more failure. The first is told, and then each time that there are twice as many; what does not pass by itself, once.
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

    /// A change was delivered.
    pub fn delivered(&mut self) {
        if let Some(since) = std::mem::take(self).since {
            let lasted = whole_seconds(boot_time().saturating_sub(since));
            tracing::info!(target: "handfast", "changes can be delivered again, after {lasted}");
        }
    }
}
