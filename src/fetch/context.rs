//! The surroundings of the providers, in the worker: environment, files, clock.
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use handfast_core::{BoxFuture, Clock, Context, Identities};

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

/// The real environment, files and clock. `several` is set for each instance.
pub fn context(environment: Environment) -> Context {
    let environment = Rc::new(environment);
    let files = Rc::new(handfast_core::files::System);
    let clock = Arc::new(SystemClock);
    let context = Context { environment, files, clock, identities: Identities::default(), several: false };
    Context { identities: registry::identities(&context), ..context }
}
