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
use crate::fetch::{Change, Done, Due, Fetch, Notice, Outcome, Raw, Schedule};
use crate::plan::{OnChange, Plan};
use crate::sys::clock::{Alarm, boot_time};
use crate::sys::readable::Readable;
use crate::worker::frame::FIRST_GENERATION;
use crate::worker::order::Order;

/// The result of the first round.
pub struct First<'p> {
    pub schedule: Schedule<'p>,
    /// Its outcomes if the set of an earlier keeper stays.
    pub undelivered: Vec<Outcome>,
    /// By secret: when that keeper has read it last, and when it ends.
    pub times: Vec<(Duration, Option<Duration>)>,
}

/// Runs until the privileged process orders the end (`Over`), or has ended (`Delivered`).
pub async fn keep(
    plan: &Plan,
    fetch: &Fetch<'_>,
    First { mut schedule, undelivered, times }: First<'_>,
    socket: &UnixStream,
    listener: Option<Listener>,
) -> io::Result<Ending> {
    let orders = Orders::of(socket)?;
    let notices = schedule.begin(undelivered, boot_time());
    let watched: Vec<_> = fetch.files().collect();
    let inotify = files::open(&watched);
    let files = inotify.as_ref().map(|inotify| Files::watch(inotify, watched)).transpose()?;
    if files.is_some() {
        // Files that have changed since the first round: the watches did not exist then.
        schedule.read_now(fetch.files().map(|(job, _)| job), boot_time());
    }
    let tally =
        Rc::new(RefCell::new(Tally::new(plan.secrets.iter().map(|secret| secret.name.clone()), fetch.requests())));
    tally.borrow_mut().go_on_from(times);
    let mut server = JoinSet::new();
    if let Some(listener) = listener {
        server.spawn_local(metrics::serve(listener, tally.clone())?);
    }
    let (running, posts) = (JoinSet::new(), Posts::default());
    let generation = FIRST_GENERATION;
    let keeping = Keeping { plan, fetch, schedule, socket, orders, files, running, posts, tally, generation };
    keeping.report(notices, boot_time())?;
    keeping.until_the_end().await
}

/// The state of a worker that lives on.
struct Keeping<'k> {
    plan: &'k Plan,
    fetch: &'k Fetch<'k>,
    schedule: Schedule<'k>,
    socket: &'k UnixStream,
    orders: Orders<'k>,
    /// `None` if no local file is watched.
    files: Option<Files<'k>>,
    /// The reads, renewals and logins that are running.
    running: JoinSet<Raw>,
    posts: Posts,
    tally: Rc<RefCell<Tally>>,
    /// The number of the last generation.
    generation: u32,
}

impl Keeping<'_> {
    async fn until_the_end(mut self) -> io::Result<Ending> {
        let alarm = Alarm::new()?;
        let due = Readable::of(alarm.as_fd())?;
        loop {
            let now = boot_time();
            self.start_due_work(now)?;
            let changes = self.schedule.take_changes(now);
            if !changes.is_empty() {
                match self.deliver(changes).await? {
                    Some(ending) => return Ok(ending),
                    None => continue,
                }
            }
            alarm.set(self.schedule.next_due())?;
            tokio::select! {
                order = self.orders.next() => match order? {
                    Some(Order::Stop) => return Ok(Ending::Over),
                    Some(order) => self.carry_out(order)?,
                    None => return Ok(Ending::Delivered),
                },
                due = due.wait() => due?.clear_ready(),
                Some((endpoint, is_done)) = self.posts.next() => {
                    self.tally.borrow_mut().acted(&OnChange::Post(endpoint), is_done);
                }
                jobs = changed(&mut self.files) => self.schedule.read_now(jobs?.into_iter(), boot_time()),
                Some(raw) = self.running.join_next() => {
                    // As in a round: a task ends by returning.
                    if let Ok(raw) = raw {
                        self.take_result(raw)?;
                    }
                }
            }
        }
    }

    fn start_due_work(&mut self, now: Duration) -> io::Result<()> {
        self.schedule.count_requests(self.fetch.requests_made(), now);
        let (begun, notices) = self.schedule.take_due(now);
        self.report(notices, now)?;
        for due in begun {
            if let (Some(files), Due::Read(_, jobs)) = (&mut self.files, &due) {
                files.look_again(jobs);
            }
            self.fetch.start(due, &mut self.running);
        }
        Ok(())
    }

    /// Sends a generation, and waits for the verdict: the privileged process answers at once. `Some` if the worker is to end instead.
    async fn deliver(&mut self, changes: Vec<(usize, Change)>) -> io::Result<Option<Ending>> {
        self.generation += 1;
        send::changes(self.plan, self.generation, &changes, &mut &*self.socket)?;
        let is_delivered = loop {
            match self.orders.next().await? {
                Some(Order::Verdict(is_delivered)) => break is_delivered,
                Some(Order::Stop) => return Ok(Some(Ending::Over)),
                Some(order) => self.carry_out(order)?,
                None => return Ok(Some(Ending::Delivered)),
            }
        };
        if is_delivered {
            self.tally.borrow_mut().changed(changes.iter().map(|(secret, _)| *secret));
        }
        let now = boot_time();
        let notices = self.schedule.delivered(is_delivered, changes, now);
        self.report(notices, now)?;
        Ok(None)
    }

    fn take_result(&mut self, raw: Raw) -> io::Result<()> {
        let now = boot_time();
        let done = self.fetch.evaluate(raw, &mut self.running);
        for (provider, kind) in self.fetch.failures(&done) {
            self.tally.borrow_mut().failed(provider, kind);
        }
        let notices = match done {
            Done::Read(answers) => {
                answers.into_iter().flat_map(|(job, outcomes)| self.schedule.read_done(job, outcomes, now)).collect()
            }
            Done::Renewed(job, renewed) => self.schedule.renewed(job, renewed, now),
            Done::UpkeepDone(instance, result) => self.schedule.upkeep_done(instance, result, now),
        };
        self.report(notices, now)
    }

    /// Carries out an order that is allowed at any time.
    fn carry_out(&mut self, order: Order) -> io::Result<()> {
        match order {
            Order::Again => self.schedule.read_all(boot_time()),
            Order::Post(secret) => match self.plan.secrets.get(secret as usize).map(|secret| &secret.on_change) {
                Some(OnChange::Post(endpoint)) => self.posts.begin(endpoint),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            },
            Order::Acted(signal, is_done) => {
                self.tally.borrow_mut().acted(&signal.map_or(OnChange::Restart, OnChange::Signal), is_done);
            }
            Order::Verdict(_) | Order::Stop => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(())
    }

    fn report(&self, notices: Vec<Notice>, now: Duration) -> io::Result<()> {
        self.tally.borrow_mut().count_reads(&notices, now);
        send::notices(notices, &mut &*self.socket)
    }
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
