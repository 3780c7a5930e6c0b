//! The life of a worker after its first generation: it reads secrets again when they are due, and sends their changes.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use handfast_core::Ending;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::task::JoinSet;

use super::files::{self, Files};
use super::metrics::{self, Listener, Tally};
use super::post::Posts;
use super::send;
use crate::fetch::{Done, Due, Fetch, Notice, Schedule};
use crate::plan::{OnChange, Plan};
use crate::sys::clock::{Alarm, boot_time};
use crate::sys::readable::Readable;
use crate::worker::frame::FIRST_GENERATION;
use crate::worker::order::Order;

/// Runs until the privileged process orders the end (`Over`), or has ended (`Delivered`).
pub async fn keep(
    plan: &Plan,
    fetch: &Fetch<'_>,
    mut schedule: Schedule<'_>,
    socket: &UnixStream,
    listener: Option<Listener>,
) -> io::Result<Ending> {
    let mut orders = Orders::of(socket)?;
    let alarm = Alarm::new()?;
    let due = Readable::of(alarm.as_fd())?;
    let watched: Vec<_> = fetch.files().collect();
    let inotify = files::open(&watched);
    let mut files = inotify.as_ref().map(|inotify| Files::watch(inotify, watched)).transpose()?;
    if files.is_some() {
        // Files that have changed since the first round: the watches did not exist then.
        schedule.read_now(fetch.files().map(|(job, _)| job), boot_time());
    }
    let mut running = JoinSet::new();
    let mut posts = Posts::default();
    let tally =
        Rc::new(RefCell::new(Tally::new(plan.secrets.iter().map(|secret| secret.name.clone()), fetch.requests())));
    let mut server = JoinSet::new();
    if let Some(listener) = listener {
        server.spawn_local(metrics::serve(listener, tally.clone())?);
    }
    let tell = |notices: Vec<Notice>, now: Duration| {
        tally.borrow_mut().count_reads(&notices, now);
        send::notices(notices, &mut &*socket)
    };
    let mut generation = FIRST_GENERATION;
    let now = boot_time();
    tell(schedule.all_notices(now), now)?;
    loop {
        let now = boot_time();
        schedule.count_requests(fetch.requests_made(), now);
        let (begun, notices) = schedule.take_due(now);
        tell(notices, now)?;
        for due in begun {
            if let (Some(files), Due::Read(_, jobs)) = (&mut files, &due) {
                files.look_again(jobs);
            }
            fetch.start(due, &mut running);
        }
        let changes = schedule.take_changes(now);
        if !changes.is_empty() {
            generation += 1;
            send::changes(plan, generation, &changes, &mut &*socket)?;
            // Nothing else happens meanwhile: the privileged process answers at once.
            let is_delivered = loop {
                match orders.next().await? {
                    Some(Order::Verdict(is_delivered)) => break is_delivered,
                    Some(Order::Stop) => return Ok(Ending::Over),
                    Some(order) => carry_out_order(order, plan, &mut schedule, &mut posts, &tally)?,
                    None => return Ok(Ending::Delivered),
                }
            };
            if is_delivered {
                tally.borrow_mut().changed(changes.iter().map(|(secret, _)| *secret));
            }
            let now = boot_time();
            tell(schedule.delivered(is_delivered, changes, now), now)?;
            continue;
        }
        alarm.set(schedule.next_due())?;
        tokio::select! {
            order = orders.next() => match order? {
                Some(Order::Stop) => return Ok(Ending::Over),
                Some(order) => carry_out_order(order, plan, &mut schedule, &mut posts, &tally)?,
                None => return Ok(Ending::Delivered),
            },
            due = due.wait() => due?.clear_ready(),
            Some((endpoint, is_done)) = posts.next() => tally.borrow_mut().acted(&OnChange::Post(endpoint), is_done),
            jobs = changed(&mut files) => schedule.read_now(jobs?.into_iter(), boot_time()),
            Some(raw) = running.join_next() => {
                // As in a round: a task ends by returning.
                let Ok(raw) = raw else { continue };
                let now = boot_time();
                let done = fetch.evaluate(raw, &mut running);
                fetch.failures(&done).into_iter().for_each(|(provider, kind)| tally.borrow_mut().failed(provider, kind));
                let notices = match done {
                    Done::Read(answers) => {
                        answers.into_iter().flat_map(|(job, outcomes)| schedule.read_done(job, outcomes, now)).collect()
                    }
                    Done::Renewed(job, renewed) => schedule.renewed(job, renewed, now),
                    Done::UpkeepDone(instance, upkeep_done) => schedule.upkeep_done(instance, upkeep_done, now),
                };
                tell(notices, now)?;
            }
        }
    }
}

/// Carries out an order that is allowed at any time.
fn carry_out_order(
    order: Order,
    plan: &Plan,
    schedule: &mut Schedule<'_>,
    posts: &mut Posts,
    tally: &RefCell<Tally>,
) -> io::Result<()> {
    match order {
        Order::Again => schedule.read_all(boot_time()),
        Order::Post(secret) => match plan.secrets.get(secret as usize).map(|secret| &secret.on_change) {
            Some(OnChange::Post(endpoint)) => posts.begin(endpoint),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        },
        Order::Acted(signal, is_done) => {
            tally.borrow_mut().acted(&signal.map_or(OnChange::Restart, OnChange::Signal), is_done);
        }
        Order::Verdict(_) | Order::Stop => return Err(io::ErrorKind::InvalidData.into()),
    }
    Ok(())
}

/// The requests whose files have changed.
async fn changed(files: &mut Option<Files<'_>>) -> io::Result<Vec<usize>> {
    match files {
        Some(files) => files.changed().await,
        None => std::future::pending().await,
    }
}

/// Reads the orders of the privileged process.
struct Orders<'s> {
    socket: Readable<'s>,
    /// The bytes of an incomplete order.
    partial: Vec<u8>,
}

impl<'s> Orders<'s> {
    fn of(socket: &'s UnixStream) -> io::Result<Self> {
        Readable::of(socket.as_fd()).map(|socket| Self { socket, partial: Vec::new() })
    }

    /// The next order; `None` if the privileged process has ended.
    async fn next(&mut self) -> io::Result<Option<Order>> {
        loop {
            let mut ready = self.socket.wait().await?;
            let mut byte = [0];
            match recv(self.socket.number(), &mut byte, MsgFlags::MSG_DONTWAIT) {
                Ok(0) | Err(Errno::ECONNRESET) => return Ok(None),
                Ok(_) => {
                    self.partial.push(byte[0]);
                    if self.partial.len() > Order::following_bytes(self.partial[0]) {
                        let order = Order::decode(&std::mem::take(&mut self.partial));
                        return order.map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into());
                    }
                }
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
