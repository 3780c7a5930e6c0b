//! The started containers: containers of the no-op, in pairs without and with handfast.

use std::ffi::CString;

use handfast_testservers::Docker;

use crate::Result;

/// One `docker run`.
pub struct Contender {
    pub name: String,
    pub command: Vec<CString>,
    pub environment: Vec<CString>,
}

/// The two containers of a pair differ only in handfast: with a secret as a descriptor, and as a file.
pub fn pairs(docker: &Docker) -> Result<[[Contender; 2]; 2]> {
    let descriptor: &[&str] = &["--env", "DB_FILE=handfast:mock:db"];
    let file: &[&str] = &["--env", "DB_FILE=handfast:mock:db", "--env", "HANDFAST_DIR=/secrets", "--tmpfs", "/secrets"];
    let pair = |what: &str, options: &[&str]| -> Result<[Contender; 2]> {
        Ok([
            contender(docker, format!("no-op, {what}"), options, "direct")?,
            contender(docker, format!("handfast, 1 {what}"), options, "wrapped")?,
        ])
    };
    Ok([pair("by fd", descriptor)?, pair("as file", file)?])
}

fn contender(docker: &Docker, name: String, options: &[&str], image: &str) -> Result<Contender> {
    let words = [&["run", "--rm", "--network", "none"], options, &[image, "/noop"]].concat();
    let command = docker.command(&words);
    let text = |word: &std::ffi::OsStr| CString::new(word.as_encoded_bytes());
    let environment = command.get_envs().filter_map(|(name, value)| {
        let pair = [name.as_encoded_bytes(), b"=", value?.as_encoded_bytes()].concat();
        Some(CString::new(pair))
    });
    Ok(Contender {
        name,
        command: [command.get_program()].into_iter().chain(command.get_args()).map(text).collect::<Result<_, _>>()?,
        environment: environment.collect::<Result<_, _>>()?,
    })
}
