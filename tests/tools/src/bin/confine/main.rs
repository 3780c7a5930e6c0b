//! Starts a command in a given state, as an ordinary or an odd runtime would start handfast.
//!
//! `confine [OPTION]… [--] COMMAND [ARGUMENT]…`, see `options.rs`. The order of the options does not matter; [`prepare`] has a
//! fixed order of steps. A step that fails prints one line and exits with 99.

#![no_main]

mod descriptors;
mod identity;
mod mounts;
mod options;
mod seccomp;
mod signals;

use std::ffi::{CString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use handfast_testtools::start::{arguments, fail};
use nix::errno::Errno;

use options::Options;

/// # Safety
///
/// Called once, by the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: these are what the C library passed in.
    let arguments = unsafe { arguments(argc, argv) };
    let why = Options::parse(arguments).and_then(|options| prepare(&options).and_then(|()| become_command(&options)));
    match why {
        Ok(never) => match never {},
        Err(why) => fail("confine", &why),
    }
}

/// Adds the name of the step to its error.
trait Step<T> {
    fn step(self, what: &str) -> Result<T, String>;
}

impl<T, E: std::fmt::Display> Step<T> for Result<T, E> {
    fn step(self, what: &str) -> Result<T, String> {
        self.map_err(|error| format!("{what}: {error}"))
    }
}

fn prepare(options: &Options) -> Result<(), String> {
    if options.clean {
        descriptors::close_inherited()?;
        signals::reset()?;
    }
    // Root mounts before it changes its uid. An ordinary user can mount only in a user namespace that makes it root.
    let early = nix::unistd::geteuid().is_root();
    if early {
        mounts::all(options)?;
        setup(options)?;
    }
    for (resource, soft, hard) in &options.limits {
        nix::sys::resource::setrlimit(*resource, *soft, *hard).step("--rlimit")?;
    }
    if let Some(nice) = options.nice {
        // SAFETY: takes no pointer; 0 is this process.
        Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) }).step("--nice")?;
    }
    descriptors::open_junk(options.junk)?;
    identity::switch(options)?;
    if let Some(ids) = options.user_namespace {
        identity::enter_user_namespace(ids)?;
    }
    if !early {
        mounts::all(options)?;
        setup(options)?;
    }
    if let Some(root) = &options.chroot {
        nix::unistd::chroot(root.as_str()).step("--chroot")?;
        nix::unistd::chdir("/").step("--chroot")?;
    }
    if let Some(directory) = &options.directory {
        nix::unistd::chdir(directory.as_str()).step("--cwd")?;
    }
    if let Some(mask) = options.umask {
        // SAFETY: takes no pointer, can't fail.
        unsafe { libc::umask(mask) };
    }
    environment(options);
    identity::raise(options)?;
    seccomp::install(options, || identity::settle(options))?;
    signals::set(options)?;
    // This is the last step: afterwards there may be no standard error to report an error on.
    descriptors::close(&options.close);
    Ok(())
}

/// Runs the commands that prepare the files for the start, such as a killed run's leftovers on a private mount.
fn setup(options: &Options) -> Result<(), String> {
    for script in &options.setup {
        let status = Command::new("/bin/sh").args(["-euc", script]).status().step("--setup")?;
        if !status.success() {
            return Err(format!("--setup: {script}: {status}"));
        }
    }
    Ok(())
}

fn environment(options: &Options) {
    for (name, value) in &options.variables {
        match value {
            // SAFETY: this process has one thread.
            Some(value) => unsafe { std::env::set_var(name, value) },
            // SAFETY: as above.
            None => unsafe { std::env::remove_var(name) },
        }
    }
}

/// Finds the command through PATH, as changed by `--setenv`.
fn become_command(options: &Options) -> Result<std::convert::Infallible, String> {
    let words: Result<Vec<CString>, _> = options.command.iter().map(|word| CString::new(word.as_bytes())).collect();
    let words = words.step("the command")?;
    let name = words.first().ok_or("no command")?;
    nix::unistd::execvp(name, &words).step(&format!("cannot execute {}", name.to_string_lossy()))
}
