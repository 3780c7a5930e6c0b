//! The number of user-mode instructions of a start until the app is executed, counted by `steps`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Result;
use crate::contender::show;
use crate::contenders::{Contender, Setting};
use crate::programs::Programs;

/// The instructions of the floor and of handfast with one secret, and of handfast with one made-up secret, which every start
/// runs.
pub fn print(setting: &Setting<'_>) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: instructions: needs root, because handfast makes itself unreadable for others");
        return Ok(());
    }
    let steps = setting.programs.another("handfast-testtools", "steps")?;
    let contenders = [setting.floor(1)?, setting.handfast(1)?, made_up(setting.programs)?];
    println!("\n{:<28}{:>14}{:>14}  thousands of instructions, in user mode", "", "first process", "worker");
    for contender in &contenders {
        let counted = count(&steps, &setting.programs.scratch("count"), contender)?;
        let thousands = |process: &str| match counted[process].as_u64() {
            Some(0) | None => "none".to_owned(),
            Some(count) => count.div_ceil(1000).to_string(),
        };
        println!("{:<28}{:>14}{:>14}", contender.name, thousands("first"), thousands("forked"));
    }
    Ok(())
}

fn made_up(programs: &Programs) -> Result<Contender> {
    let words = [&*show(&programs.handfast), "run", "--secret", "secret-0=mock:a", "--", &show(&programs.noop)];
    Contender::new("handfast, a made-up secret", &words.map(str::to_owned), &[])
}

fn count(steps: &Path, report: &Path, contender: &Contender) -> Result<Value> {
    let mut command = Command::new(steps);
    command.arg("--out").arg(report).arg("--").env_clear().stdin(Stdio::null());
    command.args(contender.command.iter().map(|word| OsStr::from_bytes(word.as_bytes())));
    // This takes minutes if the processor's stops are slow.
    command.env("HANDFAST_DEADLINE", "1h");
    for variable in &contender.environment {
        let (name, value) = variable.to_str()?.split_once('=').ok_or("NAME=VALUE")?;
        command.env(name, value);
    }
    let output = command.output()?;
    match output.status.success() {
        true => Ok(serde_json::from_slice(&std::fs::read(report)?)?),
        false => Err(format!("{}: {output:?}", contender.name).into()),
    }
}
