//! handfast hands secrets to a process and lets go.
//!
//! `commands/run.rs` lists the stages in order; `ARCHITECTURE.md` gives the reasons.
#![deny(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod cage;
pub mod cli;
pub mod commands;
pub mod config;
pub mod deliver;
pub mod error;
pub mod fetch;
pub mod identity;
pub mod keep;
pub mod launch;
pub mod lockdown;
pub mod plan;
pub mod registry;
pub mod report;
pub mod sys;
pub mod worker;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use cli::Invocation;
use commands::{check, init, install, policy, ready, run, watch};
use config::Environment;
use error::{Class, Error, Phase};
use nix::sys::signal::Signal;
use sys::signals::Signals;

/// Runs the command that the arguments name; the first argument is the program's name. The stages of a start are in [`run`].
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let started = Instant::now();
    std::panic::set_hook(Box::new(panicked));
    sys::allocator::on_exhaustion(exhausted);
    let environment = Environment::from(sys::environment::capture(config::is_credential));
    match start(&arguments, environment, started) {
        Ok(code) => code,
        Err(error) => {
            match arguments.get(1) {
                Some(command) if command == "ready" => drop(report::answer(&error, started.elapsed())),
                _ => report::failure(&error, started.elapsed()),
            }
            ExitCode::from(error.class.exit_code())
        }
    }
}

fn start(arguments: &[OsString], environment: Environment, started: Instant) -> error::Result<ExitCode> {
    let parsed = cli::parse(arguments.iter().cloned());
    let (settings, problems) =
        report::Settings::choose(arguments, parsed.as_ref().ok().and_then(Invocation::options), &environment);
    report::start(settings);
    let invocation = parsed?;
    if sys::process::secure_execution() {
        return Err(Error::new(
            Phase::Config,
            Class::Config,
            "handfast was started with more rights than its caller has: a set-id bit or file capabilities",
        )
        .hint("take them off the file: handfast must be started by root to drop root"));
    }
    if invocation.options().is_some() {
        check_descriptors()?;
    } else if !problems.is_empty() {
        return Err(config::error(problems));
    }
    match invocation {
        Invocation::Run(run) => return run::run(&run, environment, started, problems).map(ExitCode::from),
        Invocation::Init { options } => init::init(&options, environment, started, problems),
        Invocation::Watch { options } => watch::watch(&options, environment, started, problems),
        Invocation::Ready { options, wait } => ready::ready(&options, wait.as_deref(), environment, started, problems),
        Invocation::Check { options, purpose, format, online } => {
            let checked = check::check(&options, (&purpose, &format, online), environment, started, problems)?;
            print(&checked.text)?;
            checked.refusal.map_or(Ok(()), Err)
        }
        Invocation::Policy { options, provider, online } => {
            print(policy::policy(&options, (provider.as_deref(), online), environment, started, problems)?.as_bytes())
        }
        Invocation::Install { path } => install::install(&path),
        Invocation::Schema => print(&config::schema::schema()),
        Invocation::Completions { shell } => print(&cli::completions(&shell)?),
        Invocation::Man => print(&cli::manual()),
        Invocation::Print(text) => print(text.as_bytes()),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Fails unless this process can open as many descriptors as every start needs at one time. Checked first: a later step would report
/// another problem, such as an unreadable configuration.
fn check_descriptors() -> error::Result<()> {
    let pipes: std::io::Result<Vec<_>> = (0..3).map(|_| std::io::pipe()).collect();
    pipes.map(drop).map_err(|error| {
        Phase::Plan
            .cannot("open the six descriptors that every start needs", error)
            .hint("raise the limit (`ulimit -n`, `--ulimit nofile=`), or start handfast with fewer descriptors open")
    })
}

fn print(text: &[u8]) -> error::Result<()> {
    // Past RLIMIT_FSIZE, the write shall fail instead of killing us.
    sys::signals::block(Signals::of(&[Signal::SIGXFSZ]))
        .map_err(|error| Phase::Arguments.cannot("hold signals back", error))?;
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        // The reader, such as `head`, has closed the pipe because it needs no more.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Phase::Arguments.cannot("write to stdout", error)),
    }
}

/// The panic hook: prints the place of a bug and never the panic's message, which may quote a secret.
///
/// The hook ends the process before the panic runtime continues, so it makes no difference whether panics unwind or abort.
pub fn panicked(information: &std::panic::PanicHookInfo<'_>) {
    let place = information
        .location()
        .map_or_else(|| "an unknown place".to_owned(), |place| format!("{}:{}", place.file(), place.line()));
    let error = Error::new(Phase::Plan, Class::Internal, format!("a bug in handfast, at {place}"))
        .hint("please report it with this line");
    report::failure(&error, std::time::Duration::ZERO);
    sys::exit::now(i32::from(Class::Internal.exit_code()))
}

/// Ends a process that has no memory left. Allocates nothing.
fn exhausted() -> ! {
    report::out_of_memory();
    sys::exit::now(i32::from(Class::Os.exit_code()))
}
