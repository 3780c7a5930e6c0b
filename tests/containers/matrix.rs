//! handfast as the entrypoint of apps, in each way to start a container: `matrix.txt`.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use handfast_testservers::Docker;

use crate::cell::{Baseline, Cell, SECRET};
use crate::container::{Shared, run};
use crate::images::{BUSYBOX, DEBIAN, SCRATCH, engine};
use crate::support::Ledger;
use crate::traces;

/// How many containers start at a time: the engine itself takes most of it.
const AT_ONCE: usize = 4;

#[test]
fn each_way_to_start_a_container_ends_as_written_and_leaves_no_trace_of_the_secret() {
    let Some(docker) = engine() else { return };
    let mut ledger = Ledger::default();
    let shared = Shared::new();
    let value = ledger.add(SECRET);
    shared.source(SECRET, &value);
    let baseline = baselines(docker, &shared);
    let cells = Cell::all();
    let name = |cell: &Cell| format!("cell-{}", cell.number);
    let differences: Vec<String> = in_parallel(&cells, |cell| {
        let out = format!("/run/out/{}", name(cell));
        let named = [vec!["--name".into(), name(cell)], shared.words().to_vec()].concat();
        let outcome = start(docker, &cell.words(&named, true, &["--out", &out]));
        cell.judge(&outcome, shared.report(&name(cell)).as_ref(), &value, &baseline(cell))
    })
    .concat();
    assert!(differences.is_empty(), "{} of {} cells:\n{}", differences.len(), cells.len(), differences.join("\n"));
    let containers: Vec<String> = cells.iter().map(name).collect();
    let found = traces::search(docker, &ledger, &containers, &[SCRATCH, BUSYBOX, DEBIAN]);
    assert!(found.is_empty(), "{found:#?}");
    let remove: Vec<&str> = ["rm", "--volumes"].into_iter().chain(containers.iter().map(String::as_str)).collect();
    docker.must(&remove);
}

/// What the same containers find without handfast, by user, capabilities and `no-new-privileges`.
fn baselines(docker: &Docker, shared: &Shared) -> impl Fn(&Cell) -> Baseline {
    let key = |cell: &Cell| format!("direct-{}-{}-{}", cell.user, cell.capabilities, cell.image);
    let mut seen = BTreeSet::new();
    let first: Vec<Cell> = Cell::all().into_iter().filter(|cell| seen.insert(key(cell))).collect();
    in_parallel(&first, |cell| {
        let out = format!("/run/out/{}", key(cell));
        let outcome = start(docker, &cell.words(&shared.words(), false, &["--out", &out]));
        assert_eq!(outcome.code, 0, "{outcome:?}");
    });
    move |cell| Baseline(shared.report(&key(cell)).expect("it ended well"))
}

fn start(docker: &Docker, words: &[String]) -> crate::support::Outcome {
    run(docker, &words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// All results, in order.
fn in_parallel<I: Sync, O: Send>(inputs: &[I], work: impl Fn(&I) -> O + Sync) -> Vec<O> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((index, input)) = inputs.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed)) {
                    let output = work(input);
                    done.lock().expect("no other has panicked").push((index, output));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no other has panicked");
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, output)| output).collect()
}

#[test]
fn the_matrix_has_every_pair_of_ways() {
    let cells = Cell::all();
    assert!(cells.len() >= 60, "{}", cells.len());
    let ways = |cell: &Cell| {
        let flag = |set: bool, name: &str| format!("{name} {set}");
        [
            cell.user.clone(),
            format!("caps {}", cell.capabilities),
            format!("secrets {}", cell.secrets),
            cell.image.clone(),
            flag(cell.read_only, "read-only"),
            flag(cell.no_new_privileges, "no-new-privileges"),
            flag(cell.terminal, "terminal"),
        ]
    };
    let all: Vec<[String; 7]> = cells.iter().map(ways).collect();
    for (first, second) in (0..7).flat_map(|first| (0..first).map(move |second| (first, second))) {
        let of = |index: usize| all.iter().map(move |ways| ways[index].clone()).collect::<BTreeSet<_>>();
        let pairs: BTreeSet<(String, String)> =
            all.iter().map(|ways| (ways[first].clone(), ways[second].clone())).collect();
        assert_eq!(pairs.len(), of(first).len() * of(second).len(), "{pairs:?}");
    }
}
