//! Fetches secrets over TLS, hands each secret over in a memfd, and becomes the command. It is hand-written code on hyper and
//! rustls, without a worker, a drop of privileges, configuration, checks or messages. Its time is a lower bound for handfast's.
//!
//! `floor vault HOST:PORT CA_FILE TOKEN PATH... -- COMMAND`
//! `floor aws HOST:PORT CA_FILE KEY_ID:KEY NAME... -- COMMAND`
//! `floor azure HOST:PORT CA_FILE TOKEN NAME... -- COMMAND`
#![forbid(unsafe_code)]

mod aws;
mod azure;
mod connection;
mod single;
mod vault;

use std::error::Error;
use std::ffi::CString;
use std::io::Write;
use std::os::fd::{AsFd, IntoRawFd};

use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::task::LocalSet;

use connection::Server;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(store), Some(address), Some(ca), Some(credential)) =
        (arguments.next(), arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: floor vault|aws|azure HOST:PORT CA_FILE CREDENTIAL NAME... -- COMMAND".into());
    };
    let names: Vec<String> = arguments.by_ref().take_while(|word| word != "--").collect();
    let command: Vec<CString> = arguments.map(CString::new).collect::<Result<_, _>>()?;
    let server = Server::new(address, &ca)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, async {
        match &*store {
            "vault" => single::fetch(server, vault::Vault(credential), names).await,
            "aws" => aws::fetch(server, &credential, names).await,
            "azure" => single::fetch(server, azure::KeyVault(credential), names).await,
            other => Err(format!("no store `{other}`").into()),
        }
    })?;
    match nix::unistd::execv(&command[0], &command)? {}
}

/// Hands a value over in a memfd.
fn deliver(value: &str) -> Result<()> {
    let memfd = memfd_create(c"secret", MFdFlags::empty())?;
    let mut file = std::fs::File::from(memfd.as_fd().try_clone_to_owned()?);
    file.write_all(value.as_bytes())?;
    // The app owns the descriptor from now on.
    let _number = memfd.into_raw_fd();
    Ok(())
}
