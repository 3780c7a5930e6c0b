//! Stops the build with one sentence where handfast cannot run.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "it is how a build script talks to cargo")]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system != "linux") {
        println!(
            "cargo::error=handfast runs on Linux only: it is made of memfd, tmpfs, Landlock, seccomp and capabilities"
        );
    }
}
