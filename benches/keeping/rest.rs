//! Memory and wake-ups of keepers that have little to do.

use std::time::Duration;

use crate::keeper::Keeper;
use crate::process::Sample;
use crate::programs::Programs;
use crate::store::{FIELDS, KEY_VALUE, Store};
use crate::{Result, bound};

/// How long a keeper has after its start, and how long its wake-ups are counted.
const SETTLES: Duration = Duration::from_secs(15);
const COUNTED: Duration = Duration::from_secs(120);

/// The bounds of the supervisor and of its worker, in KiB.
const SUPERVISOR: f64 = 2560.0;
const WORKER: f64 = 8192.0;

/// The most wake-ups of a supervisor in a minute.
const WAKE_UPS: f64 = 2.0;

/// The bound of both processes of `watch`, in KiB.
const WATCH: f64 = 12288.0;

const WATCHES: [&str; 1] = ["watch"];
const SUPERVISES: [&str; 4] = ["run", "--supervise", "--", "/bin/sleep"];

/// The memory of both processes and how often they have woken up, for secrets that are read each minute.
pub fn print(programs: &Programs, store: &Store) -> Result<()> {
    let watch = "[watch]\nrefresh = \"60s\"\n";
    let secrets = |reference: &dyn Fn(usize) -> String| -> String {
        (0..FIELDS).map(|at| format!("[secrets.secret-{at}]\nfrom = \"{}\"\n", reference(at))).collect()
    };
    let mock = format!("{watch}{}", secrets(&|at| format!("mock:{at}")));
    let never = mock.replace("60s", "300d");
    let vault = format!(
        "mounts = {{ {KEY_VALUE} = \"kv-v2\" }}\n{watch}{}",
        secrets(&|at| format!("vault:{KEY_VALUE}/{at}#value"))
    );
    let supervises = [&SUPERVISES[..], &["1000"]].concat();
    let mut keepers = Vec::new();
    for (name, words, configuration) in [
        ("supervise, nothing due", &supervises[..], &never),
        ("supervise, mock each minute", &supervises, &mock),
        ("supervise, Vault each minute", &supervises, &vault),
        ("watch, nothing due", &WATCHES, &never),
        ("watch, mock each minute", &WATCHES, &mock),
        ("watch, Vault each minute", &WATCHES, &vault),
    ] {
        let mut keeper = Keeper::start(name, programs, store, store.proxy(), words, configuration)?;
        keeper.wait_for("..handfast/alive")?;
        keepers.push(keeper);
    }
    let both = |keeper: &Keeper| -> Result<[Sample; 2]> {
        Ok([Sample::of(keeper.pid())?, Sample::of(keeper.worker()?.ok_or("there is no worker")?)?])
    };
    std::thread::sleep(SETTLES);
    let before = keepers.iter().map(both).collect::<Result<Vec<_>>>()?;
    std::thread::sleep(COUNTED);
    println!(
        "\n{FIELDS} secrets as files; memory in KiB\n{:<48}{:>8}{:>8}{:>10}{:>10}{:>18}",
        "", "peak", "at rest", "anonymous", "others", "wake-ups a minute"
    );
    for (keeper, before) in keepers.iter().zip(before) {
        let after = both(keeper)?;
        let processes = [("privileged", before[0], after[0]), ("worker", before[1], after[1])];
        let a_minute =
            |before: Sample, after: &Sample| (after.sleeps - before.sleeps) as f64 * 60.0 / COUNTED.as_secs_f64();
        for (process, before, after) in processes {
            let (Sample { anonymous, resident, peak, .. }, a_minute) = (after, a_minute(before, &after));
            let name = format!("{}: {process}", keeper.name);
            println!("{name:<48}{peak:>8}{resident:>8}{anonymous:>10}{:>10}{a_minute:>18.1}", resident - anonymous);
        }
        let [privileged, worker] = &after;
        if keeper.name.starts_with("watch") {
            bound::print("both processes, peak", (privileged.peak + worker.peak) as f64, WATCH, " KiB");
        } else {
            bound::print("supervisor, at rest", privileged.resident as f64, SUPERVISOR, " KiB");
            bound::print("worker, peak", worker.peak as f64, WORKER, " KiB");
            bound::print("supervisor, wake-ups a minute", a_minute(before[0], privileged), WAKE_UPS, "");
        }
    }
    Ok(())
}
