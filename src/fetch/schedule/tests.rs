//! Many keepers of one secret that were started together: they spread their reads.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use handfast_core::{SecretRef, SecretValue, Term};

use super::{Order, Schedule};
use crate::fetch::outcome::{Outcome, Part};
use crate::plan::{Deadline, Isolation, OnChange, Plan, Purpose, Secret, Swap, Watching};

const KEEPERS: usize = 50;

/// The most requests in any second.
const BOUND: usize = 8;

/// How many herds are tried, and for how long each.
const HERDS: u64 = 200;
const MINUTES: u32 = 5;

const MINUTE: Duration = Duration::from_secs(60);
const START: Duration = Duration::from_secs(1000);
const LATENCY: Duration = Duration::from_millis(3);

/// Fifty random moments of a minute have nine within some second once in twenty thousand times.
#[test]
fn fifty_keepers_that_start_together_read_their_secret_at_most_eight_times_in_a_second() {
    let plan = plan();
    let (mut crossed, mut most) = (0, 0);
    for seed in 0..HERDS {
        fastrand::seed(seed);
        let mut times: Vec<Duration> = (0..KEEPERS).flat_map(|_| reads(&plan)).collect();
        times.sort();
        let a_minute = times.len() as f64 / f64::from(MINUTES);
        assert!((45.0..=55.0).contains(&a_minute), "{a_minute} reads a minute");
        let in_a_second =
            |at: usize| times[at..].iter().take_while(|time| **time < times[at] + Duration::from_secs(1)).count();
        let worst = (0..times.len()).map(in_a_second).max().unwrap_or(0);
        crossed += u32::from(worst > BOUND);
        most = most.max(worst);
    }
    assert!(crossed <= 1 && most > 4, "{crossed} of {HERDS} herds have crossed the bound, with {most} at most");
}

/// When one keeper reads its secret after its start.
fn reads(plan: &Plan) -> Vec<Duration> {
    let outcome = || {
        let value = SecretValue::from(b"the same".to_vec());
        Outcome { secret: 0, result: Ok(vec![Part { name: None, value }]), term: Term::Open, age: Duration::ZERO }
    };
    let mut schedule = Schedule::new(plan, [(0, &[0][..])].into_iter(), [true].into_iter(), &[outcome()], START);
    let mut times = Vec::new();
    while let Some(now) = schedule.next().filter(|next| *next < START + MINUTE * MINUTES) {
        for order in schedule.begin(now).0 {
            match order {
                Order::Read(_, jobs) => {
                    times.push(now);
                    for job in jobs {
                        schedule.take(job, vec![outcome()], now + LATENCY);
                    }
                }
                Order::Upkeep(instance, _) => drop(schedule.kept_up(instance, Ok(None), now)),
                Order::Renew(_) => panic!("there is no lease"),
            }
        }
    }
    times
}

fn plan() -> Plan {
    Plan {
        purpose: Purpose::Watch,
        isolation: Isolation {
            uid: 1,
            gid: 1,
            groups: Vec::new(),
            defaulted: false,
            capabilities: 0,
            core_dumps: false,
            strict: false,
        },
        secrets: vec![Secret {
            name: "db".into(),
            reference: SecretRef::parse("mock:db").unwrap(),
            instance: 0,
            optional: false,
            is_list: false,
            refresh: Some(MINUTE),
            may_issue: false,
            may_end: false,
            on_change: OnChange::None,
        }],
        deliveries: Vec::new(),
        inherited: Vec::new(),
        files: None,
        swap: Swap::Warn,
        concurrency: 32,
        deadline: Deadline { started: Instant::now(), limit: MINUTE },
        watching: Watching::default(),
        revokes_on_exit: false,
        environment: Vec::new(),
        provider_warnings: Vec::new(),
        executable: None,
    }
}
