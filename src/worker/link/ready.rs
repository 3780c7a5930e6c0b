//! The first frame of a worker: it is in its cage, or it cannot listen for metrics.
#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;

use super::interrupts::WorkerWait;
use super::socket::{Socket, violation};
use crate::cage::Cage;
use crate::error::{Class, Error, Phase, Result, reason};
use crate::plan::Plan;
use crate::worker::frame::{FIRST_GENERATION, HEADER, Header, Kind};

/// No worker of ours sends these.
pub const OUT_OF_ORDER: &str = "a frame out of order";
pub const UNKNOWN_FRAME: &str = "a frame that does not exist";

/// The first frame: the cage stands.
pub fn ready(plan: &Plan, socket: &mut Socket, wait: &mut WorkerWait<'_, '_>) -> Result<Cage> {
    let header = header(FIRST_GENERATION, socket, wait)?;
    match (header.kind, header.secret, plan.watching.metrics) {
        (Kind::Ready, 0, _) => {
            let mut parts = [0];
            socket.read(&mut parts, wait)?;
            Ok(Cage::decode(parts[0]))
        }
        (Kind::NoListener, 0, Some(address)) => {
            let mut number = [0; 4];
            socket.read(&mut number, wait)?;
            Err(no_listener(address, i32::from_be_bytes(number)))
        }
        _ => Err(violation(OUT_OF_ORDER)),
    }
}

/// The header of a frame of this generation.
pub fn header(generation: u32, socket: &mut Socket, wait: &mut WorkerWait<'_, '_>) -> Result<Header> {
    let mut header = [0; HEADER];
    socket.read(&mut header, wait)?;
    let header = Header::decode(header).ok_or_else(|| violation(UNKNOWN_FRAME))?;
    if header.generation == generation { Ok(header) } else { Err(violation(OUT_OF_ORDER)) }
}

fn no_listener(address: SocketAddr, number: i32) -> Error {
    let why = reason(io::Error::from_raw_os_error(number));
    let error = Error::new(Phase::Plan, Class::Os, format!("cannot listen at `{address}` for metrics: {why}"));
    match number {
        libc::EADDRINUSE => error.hint("`metrics` in [watch] names another port, or another address of this machine"),
        libc::EADDRNOTAVAIL => {
            error.hint("`metrics` in [watch] names an address of this machine; all are 0.0.0.0, or [::]")
        }
        libc::EACCES => {
            error.hint("`metrics` in [watch] names a port above 1023: a lower one needs CAP_NET_BIND_SERVICE")
        }
        _ => error,
    }
}
