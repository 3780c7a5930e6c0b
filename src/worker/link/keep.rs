//! The exchange with a worker that lives on: its reports and generations, and the orders to it.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::interrupts::Interrupts;
use super::receive::{self, Message};
use super::socket;
use super::{Link, Open, send_bytes};
use crate::cage::system;
use crate::error::{Class, Error, Phase, Result};
use crate::plan::Plan;
use crate::sys::clock::Alarm;
use crate::worker::order::Order;

/// How long the rest of a generation may take to come, once it has begun: an honest worker sends it all at once.
const REST: Duration = Duration::from_secs(30);

/// The most orders to read again that a worker gets without sending a message in between.
const MOST_UNANSWERED: u32 = 64;

/// How long a worker may take to end after the order: longer than its own limit, and shorter than a container engine waits.
const STOPPING: Duration = Duration::from_millis(2300);

impl Link {
    /// Tells the worker whether its last generation was delivered; it lives on.
    pub fn report_delivery(&mut self, is_delivered: bool) -> Result<()> {
        // From here on the worker's end is a failure, and it revokes nothing if this process fails.
        self.is_ending = false;
        self.send_order(&Order::Verdict(is_delivered).encode())
    }

    /// Orders the worker to read every secret again now. Beyond [`MOST_UNANSWERED`] no further order is sent: the worker will read all
    /// secrets again anyway, and its socket has little room left.
    pub fn read_again(&mut self) -> Result<()> {
        if self.unanswered == MOST_UNANSWERED {
            return Ok(());
        }
        self.unanswered += 1;
        self.send_order(&Order::Again.encode())
    }

    /// Orders the worker to post the changes of these secrets, each to its own endpoint. The worker logs the results.
    pub fn post(&mut self, secrets: &[usize]) -> Result<()> {
        let order =
            |secret: &usize| u32::try_from(*secret).map_or_else(|_| Vec::new(), |secret| Order::Post(secret).encode());
        let orders: Vec<u8> = secrets.iter().flat_map(order).collect();
        if orders.is_empty() { Ok(()) } else { self.send_order(&orders) }
    }

    /// Waits until the worker sends a message or ends, a signal has come, or the alarm is due.
    pub fn wait(&mut self, interrupts: &Interrupts<'_>, alarm: &Alarm) -> Result<()> {
        let Open { worker, socket } = self.open()?;
        if !socket.is_empty() {
            return Ok(());
        }
        let awaited = [Some(socket.stream().as_fd()), Some(alarm.as_fd()), interrupts.descriptor(), worker.log.pipe()];
        let mut awaited: Vec<PollFd<'_>> =
            awaited.into_iter().flatten().map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN)).collect();
        match poll(&mut awaited, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(system("wait for the worker", error)),
        }
        worker.log.copy();
        Ok(())
    }

    /// The next message of the worker, if one has arrived.
    pub fn receive_message(&mut self, plan: &Plan, interrupts: &Interrupts<'_>) -> Result<Option<Message>> {
        let number = self.generation + 1;
        let Open { worker, socket } = self.open()?;
        let mut awaited = [PollFd::new(socket.stream().as_fd(), PollFlags::POLLIN)];
        match poll(&mut awaited, PollTimeout::ZERO) {
            Ok(0) | Err(Errno::EINTR) if socket.is_empty() => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(system("look for more from the worker", error)),
        }
        let mut wait = interrupts.with_worker(worker, Instant::now() + REST);
        let message = receive::message(plan, number, socket, &mut wait)?;
        self.unanswered = 0;
        if matches!(message, Message::Generation(_)) {
            self.generation = number;
        }
        Ok(Some(message))
    }

    /// Orders the worker to end, and waits for it with a bound. A worker that does not end in time is a warning, not a failure.
    pub fn stop(mut self) {
        let Some(Open { mut worker, mut socket }) = self.open.take() else { return };
        let sent =
            send_bytes(socket.stream(), &Order::Stop.encode()).map_err(|error| system("tell the worker to end", error));
        let nobody = Interrupts::default();
        let ended = sent.and_then(|()| {
            let mut wait = nobody.with_worker(&mut worker, Instant::now() + STOPPING);
            // Messages that the worker has sent before it got the order.
            while socket::discard_more(&mut socket, &mut wait)? {}
            Ok(())
        });
        if let Err(error) = ended {
            tracing::warn!(target: "handfast", "the worker did not let go of its stores in time: {}", error.message);
        }
    }

    /// Reports to the worker's metrics that an action of a change was done, or failed: a signal, or a restart (`None`).
    pub fn count_action(&mut self, signal: Option<u8>, is_done: bool) -> Result<()> {
        self.send_order(&Order::Acted(signal, is_done).encode())
    }

    /// Sends an order without waiting: a worker that reads its orders leaves room for one.
    fn send_order(&mut self, bytes: &[u8]) -> Result<()> {
        let Open { worker, socket } = self.open()?;
        match send_bytes(socket.stream(), bytes) {
            Ok(()) => Ok(()),
            Err(Errno::EPIPE | Errno::ECONNRESET) => Err(crate::cage::ended(worker.end())),
            Err(error) => Err(system("tell the worker", error)),
        }
    }

    fn open(&mut self) -> Result<&mut Open> {
        self.open.as_mut().ok_or_else(|| Error::new(Phase::Watch, Class::Internal, "the worker has ended already"))
    }
}
