//! The differences between `run --supervise` and its peers, each with its reason.

use super::Place::{Child, Pid1};
use super::{Difference, FRESH, Place};

const BOTH: &[Place] = &[Child, Pid1];

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        fact: "starts that fail",
        places: BOTH,
        ours: "not in PATH 127, not there 127, no name 127, below a file 127, not executable 126, a directory 126, \
               no such interpreter 126, no interpreter 126, empty 126",
        theirs: &[
            (
                "tini",
                "not in PATH 127, not there 127, no name 127, below a file 1, not executable 126, a directory 126, \
                 no such interpreter 127, no interpreter 9, empty 0",
            ),
            (
                "dumb-init",
                "not in PATH 2, not there 2, no name 2, below a file 2, not executable 2, a directory 2, \
                 no such interpreter 2, no interpreter 9, empty 0",
            ),
            (
                "catatonit",
                "not in PATH 1, not there 1, no name 1, below a file 1, not executable 1, a directory 1, \
                 no such interpreter 1, no interpreter 9, empty 0",
            ),
        ],
        why: "126 and 127 are a shell's codes: a program that is there and cannot be executed, and none. The peers execute what has \
              no interpreter with /bin/sh; handfast starts no shell.",
    },
    Difference {
        fact: "an orphan's parent is the supervisor",
        places: &[Child],
        ours: "yes",
        theirs: &[("dumb-init", "no")],
        why: "dumb-init reaps orphans as PID 1 only.",
    },
    Difference {
        fact: "the end of an app, at the child in its group",
        places: &[Child],
        ours: "15",
        theirs: &[("tini", ""), ("catatonit", "")],
        why: "Who wants signals for the whole group wants no rest of it; dumb-init does the same.",
    },
    Difference {
        fact: "variables",
        places: BOTH,
        ours: "EMPTY= HOME=/none NOTIFY_SOCKET=@x ODD NAME=x=y PATH=… TWO_LINES=a\nb",
        theirs: &[(
            FRESH,
            "CREDENTIALS_DIRECTORY=… EMPTY= HOME=/none NOTIFY_SOCKET=@x ODD NAME=x=y PATH=… TWO_LINES=a\nb",
        )],
        why: "It has a file.",
    },
    Difference {
        fact: "variables of sockets for another process",
        places: BOTH,
        ours: "",
        theirs: &all("LISTEN_FDS=2 LISTEN_PID=999999"),
        why: "The descriptors that they name are closed.",
    },
    Difference {
        fact: "variables of a store",
        places: BOTH,
        ours: "VAULT_ADDR=http://127.0.0.1",
        theirs: &all("VAULT_ADDR=http://127.0.0.1 VAULT_TOKEN=token"),
        why: "A bootstrap credential is not for the app.",
    },
    Difference {
        fact: "signals of an ordinary start",
        places: BOTH,
        ours: "ignored: , blocked: , pending: ",
        theirs: &[("catatonit", "ignored: , blocked: 20-22, pending: ")],
        why: "catatonit leaves its app the mask with which it takes the terminal.",
    },
    Difference {
        fact: "signals that were ignored",
        places: BOTH,
        ours: "ignored: 1-2 10-11 13 21-22 36, blocked: , pending: ",
        theirs: &[
            ("dumb-init", "ignored: 36, blocked: , pending: "),
            ("catatonit", "ignored: 1-2 10-11 13 21-22 36, blocked: 20-22, pending: "),
        ],
        why: "dumb-init gives all but real-time signals their default action: `nohup` before it has no effect.",
    },
    Difference {
        fact: "signals that were blocked",
        places: BOTH,
        ours: "ignored: , blocked: 4 15 17-18 20-21 40, pending: ",
        theirs: &[
            ("dumb-init", "ignored: , blocked: , pending: "),
            ("catatonit", "ignored: , blocked: 4 15 17-18 20-22 40, pending: "),
        ],
        why: "As above: dumb-init unblocks all, and catatonit blocks TTOU too.",
    },
    Difference {
        fact: "NoNewPrivs",
        places: BOTH,
        ours: "1",
        theirs: &all("0"),
        why: "handfast's app never gets more rights than it has.",
    },
    Difference {
        fact: "the limit of core files",
        places: BOTH,
        ours: "[0,0]",
        theirs: &all("[4096,4096]"),
        why: "A core file would hold secrets; `core_dumps` allows it.",
    },
    Difference {
        fact: "open descriptors",
        places: BOTH,
        ours: "0 pipe, 1 pipe, 2 pipe",
        theirs: &all("0 pipe, 1 pipe, 2 pipe, 3 /proc, 4 socket, 99 /"),
        why: "A leaked descriptor can lead out of the container; `keep_fds` names those that the app needs.",
    },
    Difference {
        fact: "descriptors without stdin",
        places: BOTH,
        ours: "0 /dev/null, 1 pipe, 2 pipe",
        theirs: &[("tini", "exit 1"), ("dumb-init", "1 pipe, 2 pipe"), ("catatonit", "1 pipe, 2 pipe")],
        why: "The app's first file would become its stdin. tini does not start.",
    },
    Difference {
        fact: "descriptors without any",
        places: BOTH,
        ours: "0 /dev/null, 1 /dev/null, 2 /dev/null",
        theirs: &[("tini", "exit 1"), ("dumb-init", ""), ("catatonit", "")],
        why: "As above.",
    },
    Difference {
        fact: "the supervisor holds the app's stdin",
        places: BOTH,
        ours: "no",
        theirs: &all("yes"),
        why: "A writer shall notice that the app has closed it.",
    },
    Difference {
        fact: "the supervisor holds the app's stdout",
        places: BOTH,
        ours: "no",
        theirs: &all("yes"),
        why: "A reader shall see the end that the app has made.",
    },
    Difference {
        fact: "the app leads a process group",
        places: BOTH,
        ours: "yes",
        theirs: &[("dumb-init", "no")],
        why: "Without a group of its own, the app gets the keys' signals twice: of the terminal, and passed on.",
    },
    Difference {
        fact: "signals that are passed on",
        places: &[Child],
        ours: "1-8 10-16 18 20-64",
        theirs: &[
            ("tini", "1-3 10 12-16 18 20 23-30 34-64"),
            ("dumb-init", "1-8 10-16 18 23-31 34-64"),
            ("catatonit", "1-3 10 12-16 18 23-30 34-64"),
        ],
        why: "handfast passes on all that can be caught, but CHLD: what another process sends is meant for the app.",
    },
    Difference {
        fact: "signals that are passed on",
        places: &[Pid1],
        ours: "1-8 10-16 18 20-64",
        theirs: &[
            ("tini", "1-3 10 12-16 18 20 23-30 34-64"),
            ("dumb-init", "1-8 10-16 18 20-31 34-64"),
            ("catatonit", "1-3 10 12-16 18 23-30 34-64"),
        ],
        why: "As above. PID 1 is not stopped, so dumb-init passes on 20 to 22 too.",
    },
    Difference {
        fact: "signals that end the supervisor",
        places: &[Child],
        ours: "",
        theirs: &[("tini", "4-8 11 31-33"), ("dumb-init", "32-33"), ("catatonit", "4-8 11 31-33")],
        why: "They leave faults, and what the C library hides, their default action; the app is then without a supervisor.",
    },
    Difference {
        fact: "signals that stop the supervisor",
        places: &[Child],
        ours: "",
        theirs: &[("dumb-init", "20-22")],
        why: "handfast stops once the app has stopped: it may handle them.",
    },
    Difference {
        fact: "real-time signals keep their values",
        places: BOTH,
        ours: "yes",
        theirs: &all("no"),
        why: "handfast queues them as they were queued.",
    },
    Difference {
        fact: "an app that TSTP stops",
        places: &[Child],
        ours: "app T, supervisor T; after CONT app S",
        theirs: &[
            ("tini", "app T, supervisor S; after CONT app S"),
            ("dumb-init", "app T, supervisor S; after CONT app S"),
            ("catatonit", "app S, supervisor S; after CONT app S"),
        ],
        why: "A shell sees a stop of its own child only. catatonit's app blocks the signal.",
    },
    Difference {
        fact: "an app that TSTP stops",
        places: &[Pid1],
        ours: "app S, supervisor S; after CONT app S",
        theirs: &[
            ("tini", "app T, supervisor S; after CONT app S"),
            ("dumb-init", "app T, supervisor S; after CONT app S"),
        ],
        why: "PID 1 cannot be stopped, and nobody would continue its app.",
    },
    Difference {
        fact: "an app that TTIN stops",
        places: &[Child],
        ours: "app T, supervisor T; after CONT app S",
        theirs: &[
            ("tini", "app T, supervisor S; after CONT app S"),
            ("dumb-init", "app T, supervisor S; after CONT app S"),
            ("catatonit", "app S, supervisor S; after CONT app S"),
        ],
        why: "As for TSTP.",
    },
    Difference {
        fact: "an app that TTIN stops",
        places: &[Pid1],
        ours: "app T, supervisor S; after CONT app S",
        theirs: &[("catatonit", "app S, supervisor S; after CONT app S")],
        why: "catatonit's app blocks the signal.",
    },
    Difference {
        fact: "an app on a terminal",
        places: BOTH,
        ours: "S leads front",
        theirs: &[("dumb-init", "S follows front")],
        why: "As for its process group.",
    },
    Difference {
        fact: "an app that ^Z stops",
        places: &[Child],
        ours: "app T leads back, supervisor T leads back",
        theirs: &[
            ("tini", "app T leads front, supervisor S leads back"),
            ("dumb-init", "app T follows back, supervisor T leads back"),
            ("catatonit", "app S leads front, supervisor S leads back"),
        ],
        why: "The shell gets its terminal back. With tini nobody reads from it any more; catatonit's app blocks the signal.",
    },
    Difference {
        fact: "an app that ^Z stops",
        places: &[Pid1],
        ours: "app S leads front, supervisor S follows back",
        theirs: &[
            ("tini", "app T leads front, supervisor S follows back"),
            ("dumb-init", "app T follows back, supervisor S follows back"),
        ],
        why: "PID 1 cannot be stopped, and nobody would continue its app.",
    },
    Difference {
        fact: "an app that reads in the background",
        places: &[Child],
        ours: "app T leads back, supervisor T leads back",
        theirs: &[
            ("tini", "app S leads front, supervisor S leads back"),
            ("dumb-init", "app T follows back, supervisor T leads back"),
            ("catatonit", "app S leads front, supervisor S leads back"),
        ],
        why: "tini and catatonit take the terminal from the shell that has it.",
    },
    Difference {
        fact: "an app that reads in the background",
        places: &[Pid1],
        ours: "app S leads front, supervisor S follows back",
        theirs: &[("dumb-init", "app T follows back, supervisor S follows back")],
        why: "From the namespace, no supervisor can tell the shell's group from its own: it takes the terminal, and dumb-init never does.",
    },
];

/// The same for all other programs.
const fn all(value: &'static str) -> [(&'static str, &'static str); 3] {
    [("tini", value), ("dumb-init", value), ("catatonit", value)]
}
