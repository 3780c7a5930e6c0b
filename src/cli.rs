//! The command line. clap checks its form (exit 64). The values are checked later, together with the configuration (exit 78).
//!
//! [`CommandLine`] is the one table of commands and options: parsing, help, completions and the manual page come from it.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::error::{ContextKind, ErrorKind};
use clap::{Args, Command, CommandFactory, Parser, Subcommand};
use handfast_core::{did_you_mean, escaped_excerpt, excerpt};

use crate::error::{Class, Error, Phase};

// In this table, each `///` comment is a text of the help.

/// Hands secrets to a process and lets go: on a tmpfs or in descriptors, never in the environment
#[derive(Debug, Parser)]
#[command(name = "handfast", version, disable_help_subcommand = true, arg_required_else_help = false, after_help = EXIT_CODES)]
struct CommandLine {
    #[command(subcommand)]
    invocation: Invocation,
}

const EXIT_CODES: &str = "Exit codes: 64 usage, 65 bad data, 66 not found, 69 unavailable, 70 bug, 71 system resource, 73 cannot deliver, \
                          76 not trusted, 77 denied, 78 configuration, 79 changed, 125 isolation not achieved, 126 not executable, \
                          127 command not found, 128+n signal n.";

/// What was asked for.
#[derive(Debug, Subcommand)]
// clap allows no doc comment on a flattened field, as `options` is.
#[allow(missing_docs)]
pub enum Invocation {
    Run(Run),
    /// Deliver files and exit 0: a Kubernetes init container
    Init {
        #[command(flatten)]
        options: Options,
    },
    /// Deliver files, then keep them fresh until TERM or INT: a Kubernetes sidecar; HUP reads everything again now
    Watch {
        #[command(flatten)]
        options: Options,
    },
    /// Exit 0 when every file is there, its keeper lives and none is stale, else 69: a probe that needs no shell
    Ready {
        #[command(flatten)]
        options: Options,
        /// How long to wait until it is so
        #[arg(long, value_name = "DURATION")]
        wait: Option<String>,
    },
    /// Say what a start would do: what goes where, as whom, from which provider, and what is missing here
    Check {
        #[command(flatten)]
        options: Options,
        /// The command whose start is meant: run, supervise (run --supervise), init or watch
        #[arg(long = "for", value_name = "COMMAND", default_value = "run")]
        purpose: String,
        /// Log in and fetch everything as a start would, say of each reference whether it is fine, and give it back
        #[arg(long)]
        online: bool,
        /// text or json
        #[arg(long, default_value = "text")]
        format: String,
    },
    /// Print the least-privilege policy that the references need, in the store's own language
    Policy {
        #[command(flatten)]
        options: Options,
        /// Ask the store for what the configuration does not say, such as the kind of a mount
        #[arg(long)]
        online: bool,
        /// Whose policy, where more than one is in use
        #[arg(value_name = "PROVIDER")]
        provider: Option<String>,
    },
    /// Copy this binary to PATH, mode 0755: for images without cp
    Install {
        /// Where to
        #[arg(value_name = "PATH", value_parser = path())]
        path: PathBuf,
    },
    /// Print the configuration's JSON schema
    Schema,
    /// Print completions for a shell
    Completions {
        /// bash, elvish, fish, powershell or zsh
        #[arg(value_name = "SHELL")]
        shell: String,
    },
    /// Print the manual page
    Man,
    /// Print what clap made: help or version
    #[command(skip)]
    Print(String),
}

/// Fetch the secrets, deliver them, drop every privilege and become COMMAND, or stay in front of it
#[derive(Debug, Parser)]
#[command(name = RUN, override_usage = "handfast run [OPTIONS] [--supervise[=group]] [--] COMMAND [ARG]...")]
#[allow(missing_docs)]
pub struct Run {
    #[command(flatten)]
    pub options: Options,
    /// Stay in front of the app as its PID 1: pass signals on to it, or to its process group, and reap orphans
    #[arg(long, value_name = "group", num_args = 0..=1, require_equals = true)]
    pub supervise: Option<Option<String>>,
    /// The app and its arguments
    #[arg(value_name = "COMMAND", required = true, num_args = 1.., trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

const RUN: &str = "run";

/// The options that `run`, `init`, `watch`, `ready`, `check` and `policy` share, as given.
#[derive(Args, Debug, Default)]
pub struct Options {
    /// Configuration; default: $HANDFAST_CONFIG, then /etc/handfast.toml when it exists; a later FILE replaces single keys
    #[arg(long, short, value_name = "FILE", value_parser = path())]
    pub config: Vec<PathBuf>,
    /// One more secret, such as db-password=mock:db
    #[arg(long = "secret", short, value_name = "NAME=REF")]
    pub secrets: Vec<String>,
    /// Files directory, over [files] dir [env: HANDFAST_DIR]
    #[arg(long = "dir", value_name = "DIR", value_parser = path())]
    pub directory: Option<PathBuf>,
    /// The app's user, over [app] user; names or numbers [env: HANDFAST_USER]
    #[arg(long, short, value_name = "USER[:GROUP]", allow_negative_numbers = true)]
    pub user: Option<String>,
    /// Whole-start deadline; default: 60s [env: HANDFAST_DEADLINE]
    #[arg(long, value_name = "DURATION")]
    pub deadline: Option<String>,
    /// text or json, on stderr; default: text [env: HANDFAST_LOG_FORMAT]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// error, warn, info or debug; default: warn [env: HANDFAST_LOG_LEVEL]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// Parses the arguments.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed = match arguments.get(1) {
        // The fast path of every start: building clap's tables for the other commands would take longer than the rest of the
        // parsing.
        Some(command) if command == RUN => Run::try_parse_from(&arguments[1..]).map(Invocation::Run),
        _ => CommandLine::try_parse_from(&arguments).map(|line| line.invocation),
    };
    match parsed {
        Ok(invocation) => Ok(invocation),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Invocation::Print(error.to_string()))
        }
        Err(error) => Err(usage(&error, &arguments)),
    }
}

/// The log format that a refused command line asks for. The error is printed in this format, even if the mistake comes before the
/// option.
pub fn log_format(arguments: &[OsString]) -> Option<String> {
    let before_command: Vec<&OsString> = arguments.iter().take_while(|argument| *argument != "--").collect();
    let mut command = Options::augment_args(Command::new("handfast").no_binary_name(true)).ignore_errors(true);
    (0..before_command.len()).find_map(|at| {
        // An option and its value are one argument or two.
        let matches = command.try_get_matches_from_mut(before_command[at..].iter().take(2)).ok()?;
        matches.get_one::<String>("log_format").cloned()
    })
}

/// Takes any path. clap's own parser refuses an empty path with exit 64, but an empty path is a wrong value (exit 78).
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Turns clap's error into handfast's form: one line, and a hint.
fn usage(error: &clap::Error, arguments: &[OsString]) -> Error {
    let context = |kind| error.get(kind).map(|value| excerpt(&value.to_string()));
    let refused =
        context(ContextKind::InvalidArg).or_else(|| context(ContextKind::InvalidSubcommand)).unwrap_or_default();
    // clap writes `--dir <DIR>` and `<PATH>`: leave out the names of the values.
    let named = refused.split(['=', ' ']).next().unwrap_or_default().trim_matches(['<', '>', '[', ']']);
    let subcommand = arguments.get(1).and_then(|argument| argument.to_str()).unwrap_or_default();
    let known = CommandLine::command().get_subcommands().any(|known| known.get_name() == subcommand);
    let help = if known { format!("see `handfast {subcommand} --help`") } else { "see `handfast --help`".to_owned() };
    let fail = |message: String| Error::new(Phase::Arguments, Class::Usage, message);
    match error.kind() {
        ErrorKind::UnknownArgument if refused.starts_with('-') => {
            let near = context(ContextKind::SuggestedArg).map(|near| format!("did you mean `{near}`?"));
            fail(format!("unknown option `{refused}`")).hint(near.unwrap_or(help))
        }
        ErrorKind::UnknownArgument => fail(format!("unexpected argument `{refused}`")).hint(help),
        ErrorKind::InvalidSubcommand => {
            let whole = CommandLine::command();
            let near = did_you_mean(&refused, whole.get_subcommands().map(Command::get_name));
            fail(format!("unknown command `{refused}`")).hint(near.unwrap_or(help))
        }
        ErrorKind::MissingSubcommand => fail("a command is missing".into())
            .hint("run, init, watch, ready, check, policy, install, schema, completions or man"),
        ErrorKind::MissingRequiredArgument if subcommand == "run" => {
            fail("the app's command is missing".into()).hint("write `handfast run [OPTIONS] -- COMMAND [ARG]...`")
        }
        ErrorKind::MissingRequiredArgument => fail(format!("`{named}` is missing")).hint(help),
        ErrorKind::ArgumentConflict => fail(format!("`{named}` is given twice")).hint(help),
        // A wrong value, as any other.
        ErrorKind::InvalidUtf8 => {
            Error::new(Phase::Config, Class::Config, "command line: an option's value is not UTF-8").hint(help)
        }
        ErrorKind::InvalidValue | ErrorKind::NoEquals | ErrorKind::WrongNumberOfValues | ErrorKind::TooFewValues => {
            fail(format!("`{named}` needs a value")).hint(help)
        }
        ErrorKind::TooManyValues => fail(format!("`{named}` takes no value")).hint(help),
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            fail(excerpt(first.strip_prefix("error: ").unwrap_or(first))).hint(help)
        }
    }
}

impl Invocation {
    /// The shared options, if the command has them.
    pub fn options(&self) -> Option<&Options> {
        match self {
            Invocation::Run(Run { options, .. })
            | Invocation::Init { options }
            | Invocation::Watch { options }
            | Invocation::Ready { options, .. }
            | Invocation::Check { options, .. }
            | Invocation::Policy { options, .. } => Some(options),
            _ => None,
        }
    }
}

/// The completions for a shell.
pub fn completions(shell: &str) -> Result<Vec<u8>, Error> {
    use clap_complete::Shell::{Bash, Elvish, Fish, PowerShell, Zsh};
    let shell = match shell {
        "bash" => Bash,
        "elvish" => Elvish,
        "fish" => Fish,
        "powershell" => PowerShell,
        "zsh" => Zsh,
        other => {
            let error =
                Error::new(Phase::Arguments, Class::Config, format!("no completions for `{}`", escaped_excerpt(other)));
            return Err(error.hint("bash, elvish, fish, powershell or zsh"));
        }
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "handfast", &mut text);
    Ok(text)
}

/// The manual page, handfast(1).
pub fn manual() -> Vec<u8> {
    let mut text = Vec::new();
    let whole = CommandLine::command();
    for (at, part) in std::iter::once(&whole).chain(whole.get_subcommands()).cloned().enumerate() {
        let name = format!("handfast {}", part.get_name());
        let part = if at == 0 { part } else { part.display_name(name) };
        // Writing to memory cannot fail.
        drop(clap_mangen::Man::new(part).render(&mut text));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_table_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn everything_after_the_command_is_the_apps() {
        let line = "handfast run -c a --config=b -s x=mock:x -sy=mock:y --dir /run -u -1 app -c --help -- y";
        let Ok(Invocation::Run(Run { options, command, .. })) = parse(words(line)) else { panic!("not read: {line}") };
        assert_eq!(options.config, [PathBuf::from("a"), "b".into()]);
        assert_eq!(options.secrets, ["x=mock:x", "y=mock:y"]);
        assert_eq!((options.directory, options.user.as_deref()), (Some("/run".into()), Some("-1")));
        assert_eq!(command, words("app -c --help -- y"));
        let line = "handfast run --deadline 1s -- -app --log-level";
        let Ok(Invocation::Run(Run { command, .. })) = parse(words(line)) else { panic!("not read: {line}") };
        assert_eq!(command, words("-app --log-level"));
    }

    #[test]
    fn supervision_takes_no_word_of_the_command() {
        for (line, expected) in [
            ("handfast run app", None),
            ("handfast run --supervise app", Some(None)),
            ("handfast run --supervise -- app", Some(None)),
            ("handfast run --supervise=group app", Some(Some("group".to_owned()))),
            ("handfast run app --supervise", None),
        ] {
            let Ok(Invocation::Run(run)) = parse(words(line)) else { panic!("not read: {line}") };
            assert_eq!((run.supervise, run.command[0].to_str()), (expected, Some("app")), "{line}");
        }
    }

    #[test]
    fn a_refused_command_line_still_has_its_log_format() {
        for line in [
            "handfast run --log-format json --bogus app",
            "handfast run --bogus x --log-format=json app",
            "handfast rnu --dir --log-format json",
            "handfast run --log-format json",
        ] {
            assert!(parse(words(line)).is_err(), "{line}");
            assert_eq!(log_format(&words(line)).as_deref(), Some("json"), "{line}");
        }
        for line in
            ["handfast run --bogus -- app --log-format json", "handfast", "handfast run --log-format", "handfast -h"]
        {
            assert_eq!(log_format(&words(line)), None, "{line}");
        }
    }

    #[test]
    fn help_and_errors_are_of_the_command_in_question() {
        for line in ["handfast run --help", "handfast run -h", "handfast run -u 1 --help app"] {
            let Ok(Invocation::Print(text)) = parse(words(line)) else { panic!("no help for {line}") };
            assert!(
                text.contains("handfast run [OPTIONS] [--supervise[=group]] [--] COMMAND") && text.contains("--help"),
                "{text}"
            );
        }
        for (line, message) in [
            ("handfast run", "the app's command is missing"),
            ("handfast run --usr x app", "unknown option `--usr`"),
            ("handfast run --version", "unknown option `--version`"),
            ("handfast run --user a --user b app", "`--user` is given twice"),
        ] {
            assert_eq!(parse(words(line)).unwrap_err().message, message, "{line}");
        }
    }
}
