//! The time from a change at the store until the file has it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::keeper::Keeper;
use crate::programs::Programs;
use crate::scratch::Scratch;
use crate::statistics::Samples;
use crate::store::{KEY_VALUE, Store};
use crate::{Result, bound};

/// How many changes are measured, and the longest time before each.
const OF_FILE: (u64, Duration) = (100, Duration::from_millis(500));
const OF_VAULT: (u64, Duration) = (20, Duration::from_secs(10));

/// Longer than any change may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn print(programs: &Programs, store: &Store) -> Result<()> {
    let source = Scratch::new(Path::new("/dev/shm"))?;
    let local = source.path().join("local");
    let write = |value: &str| -> Result<()> {
        let new = source.path().join("new");
        fs::write(&new, value)?;
        Ok(fs::rename(new, &local)?)
    };
    write("before")?;
    let configuration =
        format!("[watch]\nrefresh = \"1h\"\nquiet = \"0s\"\n[secrets.secret]\nfrom = \"file:{}\"\n", local.display());
    let times = measured(
        programs,
        store,
        &configuration,
        OF_FILE,
        |number| write(&number.to_string()),
        |number| number.to_string(),
    )?;
    tell("file, at once (inotify), no quiet", &times, 1.0);

    let configuration = format!(
        "mounts = {{ {KEY_VALUE} = \"kv-v2\" }}\n[watch]\nrefresh = \"10s\"\n\
         [secrets.secret]\nfrom = \"vault:{KEY_VALUE}/0#value\"\n"
    );
    let change = |number| {
        store.write(number);
        Ok(())
    };
    let times = measured(programs, store, &configuration, OF_VAULT, change, |number| format!("{number} of 0"))?;
    // 1.1 times `refresh`, `quiet`, and one second.
    tell("Vault, refresh 10 s, quiet 2 s", &times, 11.0 + 2.0 + 1.0);
    Ok(())
}

/// Makes so many changes, each after a random part of the pause. How long each took.
fn measured(
    programs: &Programs,
    store: &Store,
    configuration: &str,
    (count, pause): (u64, Duration),
    change: impl Fn(u64) -> Result<()>,
    expected: impl Fn(u64) -> String,
) -> Result<Vec<Duration>> {
    let mut keeper = Keeper::start("watch", programs, store, store.proxy(), &["watch"], configuration)?;
    keeper.wait_for("secret")?;
    let mut times = Vec::new();
    for number in 1..=count {
        std::thread::sleep(pause.mul_f64(fastrand::f64()));
        let start = Instant::now();
        change(number)?;
        while keeper.content("secret").as_deref() != Some(expected(number).as_bytes()) {
            if start.elapsed() > PATIENCE {
                return Err(format!("change {number} does not come: {}", keeper.log()).into());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        times.push(start.elapsed());
    }
    keeper.end()?;
    Ok(times)
}

fn tell(what: &str, times: &[Duration], most: f64) {
    let samples = Samples::new(times);
    let [least, median, longest] =
        [samples.minimum(), samples.median(), samples.percentile(100)].map(|time| time / 1e6);
    println!(
        "\n{what}: {} changes, {least:.4} s at least, {median:.4} s (median), {longest:.4} s at most",
        times.len()
    );
    bound::print("the longest", longest, most, " s");
}
