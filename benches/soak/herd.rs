//! Many keepers of one secret, started together: how many of their requests come in one second.

use std::time::{Duration, Instant};

use crate::Result;
use crate::keeper::Keeper;
use crate::programs::Programs;
use crate::requests::Requests;
use crate::store::{KEY_VALUE, Store};

/// The most requests for the secret in any second, for fifty keepers that read it each minute.
const BOUND: usize = 8;

/// Runs so many for so long. What is wrong.
pub fn run(programs: &Programs, store: &Store, count: usize, time: Duration) -> Result<Vec<String>> {
    let configuration = format!(
        "mounts = {{ {KEY_VALUE} = \"kv-v2\" }}\n[watch]\nrefresh = \"60s\"\n\
         [secrets.field]\nfrom = \"vault:{KEY_VALUE}/0#value\"\n"
    );
    let start = |_| Keeper::start("watch", programs, store, store.proxy(), &["watch"], &configuration);
    let mut keepers: Vec<Keeper> = (0..count).map(start).collect::<Result<_>>()?;
    for keeper in &mut keepers {
        keeper.wait_for("field")?;
    }
    let ready = Instant::now();
    std::thread::sleep(time);
    let place = format!("/v1/{KEY_VALUE}/data/0");
    let (mut starts, mut reads, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for keeper in &mut keepers {
        if keeper.has_ended()? {
            return Err(format!("a keeper has ended: {}", keeper.log()).into());
        }
        let mut is_first = true;
        for request in keeper.proxy.requests() {
            match request.place().starts_with(&place) {
                true if std::mem::take(&mut is_first) => starts.push(request.at),
                true => reads.push(request.at),
                false => others.push(request.at),
            }
        }
    }
    let second = Duration::from_secs(1);
    println!(
        "{count} keepers, all ready after {:.1?}, then {time:?}",
        ready - starts.iter().min().copied().unwrap_or(ready)
    );
    for (what, times) in [("first reads", starts), ("other requests: logins", others)] {
        let requests = Requests::new(times);
        println!("{what}: {}, at most {} in any second", requests.count(), requests.most_within(second));
    }
    let reads = Requests::new(reads);
    let most = reads.most_within(second);
    println!("later reads of the secret: {}, at most {most} in any second of at most {BOUND}", reads.count());
    let expected = count as f64 * time.as_secs_f64() / 60.0;
    let mut complaints = Vec::new();
    if most > BOUND {
        complaints.push(format!("{most} requests for one secret in a second"));
    }
    if (reads.count() as f64) < expected * 0.8 {
        complaints.push(format!("only {} reads, {expected:.0} are expected", reads.count()));
    }
    Ok(complaints)
}
