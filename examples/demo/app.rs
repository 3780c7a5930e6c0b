//! The app of the demo. It reads its two secrets as any program reads a file, then prints its environment, its rights and its
//! open descriptors.
//!
//! The app contains no code for handfast. It prints its secrets, which a real app must never do; these secrets are made up.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "an app prints")]

use std::error::Error;
use std::fs;
use std::{env, io};

fn main() -> Result<(), Box<dyn Error>> {
    println!("The app reads its secrets, each from the path in a variable:");
    for variable in ["DB_PASSWORD_FILE", "API_KEY_FILE"] {
        let path = env::var(variable)?;
        println!("    {variable}={path}  holds  {}", fs::read_to_string(&path)?);
    }

    println!("\nIts whole environment: paths and numbers, and no value of a secret.");
    println!("VAULT_TOKEN was there when handfast started; the app does not get it.");
    for (name, value) in env::vars() {
        println!("    {name}={value}");
    }

    println!("\nWhat it is and may do, from /proc/self/status: not root, no capability in use, and NoNewPrivs 1:");
    println!("no set-uid program will ever give it more. (Only root can empty CapBnd, a mere upper limit.)");
    let lines = ["Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"];
    for line in fs::read_to_string("/proc/self/status")?.lines() {
        if lines.iter().any(|name| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'))) {
            println!("    {}", line.replace('\t', " "));
        }
    }

    println!("\nIts open descriptors: 0, 1, 2, and each secret that is no file, in a sealed memfd. All else that was");
    println!("open when handfast started (the demo left descriptor 9 open on /) is closed.");
    for (number, target) in descriptors()? {
        println!("    {number} -> {target}");
    }
    Ok(())
}

/// The open descriptors in order of number, without the descriptor that is open only to read this list.
fn descriptors() -> io::Result<Vec<(u32, String)>> {
    let numbers = fs::read_dir("/proc/self/fd")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let numbers: Vec<u32> = numbers.collect();
    let link =
        |number: u32| Some((number, fs::read_link(format!("/proc/self/fd/{number}")).ok()?.display().to_string()));
    let mut open: Vec<_> = numbers.into_iter().filter_map(link).collect();
    open.sort();
    Ok(open)
}
