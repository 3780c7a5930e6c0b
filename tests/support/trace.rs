//! What strace saw of handfast: each system call, by which of its two processes.

use std::fs;

use super::{Directory, Outcome, Run};

/// The calls of a run, from handfast's start to the app's.
#[derive(Debug)]
pub struct Trace {
    /// The calls, in the order in which they began.
    pub calls: Vec<Call>,
    /// The process that becomes the app; every other one is the worker.
    pub privileged: i32,
}

/// One system call.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// Who made it.
    pub process: i32,
    /// Its name.
    pub name: String,
    /// Its arguments as strace writes them: descriptors with their paths, `3</etc/passwd>`.
    pub arguments: String,
    /// What it returned; empty where it never did.
    pub result: String,
    /// The line on which it began.
    pub began: usize,
    /// The line on which it was over.
    pub ended: usize,
}

impl Call {
    /// Whether it returned something that is no error.
    pub fn succeeded(&self) -> bool {
        !self.result.is_empty() && !self.result.starts_with("-1") && !self.result.starts_with('?')
    }

    /// The first text between quotation marks: the path that was asked for.
    pub fn path(&self) -> &str {
        self.arguments.split('"').nth(1).unwrap_or_default()
    }

    /// Where a descriptor that was opened leads, or the path that could not be opened.
    pub fn opened(&self) -> &str {
        let resolved = self.result.split_once('<').map(|(_, rest)| rest.trim_end_matches("(deleted)"));
        resolved.and_then(|rest| rest.strip_suffix('>')).unwrap_or_else(|| self.path())
    }

    /// Whether it makes a process or a thread.
    pub fn forks(&self) -> bool {
        ["clone", "clone3", "fork", "vfork"].contains(&self.name.as_str())
    }
}

impl Trace {
    /// Starts the run under strace, waits for its end and reads what was seen.
    pub fn of(run: Run) -> (Outcome, Self) {
        Self::with(run, &[])
    }

    /// The same with more options for strace.
    pub fn with(run: Run, options: &[&str]) -> (Outcome, Self) {
        let place = Directory::new();
        let path = place.path().join("trace");
        let mut command = vec!["strace", "-f", "-y", "-qq", "-s", "512", "-o"];
        command.push(path.to_str().expect("made of ASCII"));
        command.extend(options);
        let outcome = run.through(&command).start();
        let text = String::from_utf8_lossy(&fs::read(&path).expect("strace has written it")).into_owned();
        (outcome, Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut calls: Vec<Call> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let Some((process, rest)) = line.split_once(' ') else { continue };
            let (Ok(process), rest) = (process.parse(), rest.trim_start()) else { continue };
            if let Some(resumed) = rest.strip_prefix("<... ") {
                let open = calls.iter_mut().rfind(|call| call.process == process && call.result.is_empty());
                if let (Some(call), Some((_, end))) = (open, resumed.split_once(" resumed>")) {
                    finish(call, &format!("{}{end}", call.arguments), number);
                }
                continue;
            }
            let Some((name, rest)) = rest.split_once('(') else { continue };
            if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                continue;
            }
            let mut call = Call { process, name: name.to_owned(), began: number, ended: usize::MAX, ..Call::default() };
            match rest.strip_suffix(" <unfinished ...>") {
                Some(begun) => begun.clone_into(&mut call.arguments),
                None => finish(&mut call, rest, number),
            }
            calls.push(call);
        }
        Self::cut(calls)
    }

    /// Without what was before handfast, and without the app.
    fn cut(mut calls: Vec<Call>) -> Self {
        let executes = |call: &Call| call.name == "execve" && call.result == "0";
        let start = calls.iter().position(|call| executes(call) && call.path().ends_with("/handfast"));
        calls.drain(..start.expect("handfast was started"));
        let privileged = calls[0].process;
        let next = calls.iter().skip(1).position(|call| call.process == privileged && executes(call));
        calls.truncate(next.map_or(calls.len(), |next| next + 2));
        Self { calls, privileged }
    }

    /// The privileged process' calls, its own start and the app's included.
    pub fn privileged(&self) -> impl DoubleEndedIterator<Item = &Call> {
        self.calls.iter().filter(|call| call.process == self.privileged)
    }

    /// Those of the worker and its threads.
    pub fn worker(&self) -> impl DoubleEndedIterator<Item = &Call> {
        self.calls.iter().filter(|call| call.process != self.privileged)
    }

    /// The privileged process' first successful call of that name with this among its arguments.
    pub fn first(&self, name: &str, argument: &str) -> &Call {
        // What glibc asks of `openat`, musl asks of `open`.
        let same = |call: &Call| call.name == name || (call.name == "open" && name == "openat");
        self.privileged()
            .find(|call| same(call) && call.succeeded() && call.arguments.contains(argument))
            .unwrap_or_else(|| panic!("no {name}({argument}) in {self:#?}"))
    }
}

fn finish(call: &mut Call, rest: &str, line: usize) {
    let (arguments, result) = rest.rsplit_once(" = ").unwrap_or((rest, "?"));
    let arguments = arguments.trim_end();
    call.arguments = arguments.strip_suffix(')').unwrap_or(arguments).to_owned();
    result.trim().clone_into(&mut call.result);
    call.ended = line;
}
