//! Giving back what a store has given, where the start fails after the fetch: another worker does it, as confined as the first
//! one, with what that one has sent for it. The privileged process hands its bytes on and looks into none of them.
#![forbid(unsafe_code)]

use std::io::Read;
use std::time::Duration;

use handfast_core::SecretValue;

use crate::cage::{self, Ends, Forked, system};
use crate::config::Environment;
use crate::error::{Result, reason};
use crate::fetch;
use crate::plan::Instance;
use crate::sys;

/// How long it is waited for: what it gives itself, and a moment.
const PATIENCE: Duration = Duration::from_millis(2300);

/// What is to be given back should the start fail.
#[derive(Default)]
pub struct Undo {
    instances: Vec<Kept>,
    environment: Option<Environment>,
}

/// A provider instance that talks to a store, under its index in the plan.
struct Kept {
    index: usize,
    instance: Instance,
    bytes: Option<SecretValue>,
}

impl Undo {
    /// Keeps what a second worker would need of the settings and the environment, without a credential.
    pub(super) fn keep(&mut self, instances: Vec<Instance>, environment: Environment) {
        let instances = instances.into_iter().enumerate();
        let kept = instances.map(|(index, instance)| Kept { index, instance, bytes: None });
        self.instances = kept.filter(|kept| kept.instance.configured.sockets().any()).collect();
        self.environment = (!self.instances.is_empty()).then(|| environment.without_credentials());
    }

    /// Takes in what an instance has to give back; `false` where there is no such instance, or it has said so before.
    pub(super) fn take(&mut self, index: usize, bytes: SecretValue) -> bool {
        let kept = self.instances.iter_mut().find(|kept| kept.index == index && kept.bytes.is_none());
        kept.map(|kept| kept.bytes = Some(bytes)).is_some()
    }

    /// Everything has been said: lets go of the settings that are not needed.
    pub(super) fn settle(&mut self) {
        self.instances.retain(|kept| kept.bytes.is_some());
        if self.instances.is_empty() {
            self.environment = None;
        }
    }

    /// Does the rest of a start, and gives back what it was given where that fails. Best effort: the failure stays what it was.
    pub fn guard<T>(start: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let mut undo = Self::default();
        let outcome = start(&mut undo);
        undo.settle();
        if outcome.is_err()
            && let Some(environment) = undo.environment
            && let Err(error) = give_back(undo.instances, environment)
        {
            tracing::warn!(target: "handfast", "cannot give back what was issued, which ends by itself: {}", error.message);
        }
        outcome
    }
}

fn give_back(instances: Vec<Kept>, environment: Environment) -> Result<()> {
    let (worker, mut socket) = match cage::fork()? {
        // The worker never returns from here.
        Forked::Worker(ends) => work(instances, environment, ends),
        Forked::Privileged(worker, socket) => (worker, socket),
    };
    drop((instances, environment));
    // It says nothing: its socket closes with it. Its end is made sure of at the end of this function.
    let _worker = worker;
    let ended = socket.set_read_timeout(Some(PATIENCE)).and_then(|()| socket.read(&mut [0]));
    ended.map(drop).map_err(|error| system("wait for the worker that gives back", error))
}

fn work(instances: Vec<Kept>, environment: Environment, ends: Ends) -> ! {
    let (instances, told): (Vec<_>, Vec<_>) =
        instances.into_iter().filter_map(|kept| Some((kept.instance, kept.bytes?))).unzip();
    // The socket closes with the process: that is all that it says.
    let Ends { socket, log, parent } = ends;
    let code = match cage::enter(parent, &socket, log, cage::sockets(&instances)) {
        Ok(_) => {
            let runtime = fetch::Runtime::new(&instances);
            let parts = instances.into_iter().zip(told).collect();
            i32::from(runtime.map(|runtime| runtime.undo(parts, environment)).is_err())
        }
        Err(error) => {
            tracing::warn!(target: "handfast", "the worker that gives back cannot lock itself up: {}", reason(error));
            1
        }
    };
    sys::exit::now(code)
}

#[cfg(test)]
mod tests {
    use handfast_core::{Configured, Context, Locator, Provider, ProviderError, Sockets};

    use super::*;
    use crate::sys::environment::Captured;

    struct Remote(bool);

    impl Configured for Remote {
        fn check(&self, _: &Locator) -> std::result::Result<(), handfast_core::Complaint> {
            Ok(())
        }

        fn sockets(&self) -> Sockets {
            Sockets { internet: self.0, unix: false }
        }

        fn connect(self: Box<Self>, _: Context) -> std::result::Result<std::rc::Rc<dyn Provider>, ProviderError> {
            unreachable!("nothing is given back here")
        }
    }

    fn kept() -> Undo {
        let instance = |remote| Instance { name: "x".into(), kind: "x", configured: Box::new(Remote(remote)) };
        let mut undo = Undo::default();
        let captured = Captured::of(&[("HTTPS_PROXY", "http://proxy:3128")], &[("VAULT_TOKEN", "hunter2")]);
        undo.keep(vec![instance(false), instance(true), instance(true)], captured.into());
        undo
    }

    #[test]
    fn only_an_instance_that_talks_to_a_store_has_something_to_give_back_and_says_so_once() {
        let bytes = || SecretValue::from(b"x".to_vec());
        let mut undo = kept();
        assert!(!undo.take(0, bytes()), "it talks to no store");
        assert!(undo.take(1, bytes()) && undo.take(2, bytes()));
        assert!(!undo.take(1, bytes()), "it has said so before");
        assert!(!undo.take(3, bytes()), "it does not exist");
    }

    #[test]
    fn settings_and_environment_are_kept_only_while_they_are_needed() {
        let mut undo = kept();
        let environment = undo.environment.as_ref().expect("there are stores");
        assert!(environment.raw("HTTPS_PROXY").is_some());
        assert!(
            !environment.is_credential("OTHER")
                && handfast_core::Environment::credential(environment, "VAULT_TOKEN").is_none()
        );
        undo.take(2, SecretValue::from(b"x".to_vec()));
        undo.settle();
        assert_eq!((undo.instances.len(), undo.environment.is_some()), (1, true));
        let mut undo = kept();
        undo.settle();
        assert_eq!((undo.instances.len(), undo.environment.is_some()), (0, false));
    }
}
