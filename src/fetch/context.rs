//! What the providers see of the outside, in the worker.
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use handfast_core::{BoxFuture, Clock, Context};

use crate::config::Environment;
use crate::registry;

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// The real environment, files and clock.
pub fn context(environment: Environment) -> Context {
    let environment = Rc::new(environment);
    Context {
        files: Rc::new(handfast_core::files::System),
        clock: Arc::new(SystemClock),
        aws: registry::aws_identity(environment.clone(), Arc::new(SystemClock)),
        environment,
    }
}
