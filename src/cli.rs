//! The command line. clap checks its form; what a value means is checked later, with everything else (exit 78, not 64).
#![forbid(unsafe_code)]

mod plain;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};
use handfast_core::nearest;

use crate::error::{Class, Error, Phase};

/// What was asked for.
#[derive(Debug)]
pub enum Invocation {
    /// Become the app.
    Run(Options, Vec<OsString>),
    /// Deliver files, exit 0.
    Init(Options),
    /// Say what a start would do.
    Check {
        /// As for a start.
        options: Options,
        /// `--format`.
        format: String,
        /// `--online`.
        online: bool,
    },
    /// Print the least-privilege policy that the references need.
    Policy {
        /// As for a start.
        options: Options,
        /// The provider instance.
        provider: Option<String>,
        /// `--online`.
        online: bool,
    },
    /// Copy this binary.
    Install(PathBuf),
    /// Print the configuration's JSON schema.
    Schema,
    /// Print completions for a shell.
    Completions(String),
    /// Print the manual page.
    Man,
    /// Print what clap made: help or version.
    Print(String),
}

/// The options that `run`, `init` and `check` share, as given.
#[derive(Debug, Default)]
pub struct Options {
    /// `--config`, in order.
    pub config: Vec<PathBuf>,
    /// `--secret`, in order.
    pub secrets: Vec<String>,
    /// `--dir`.
    pub directory: Option<PathBuf>,
    /// `--user`.
    pub user: Option<String>,
    /// `--deadline`.
    pub deadline: Option<String>,
    /// `--log-format`.
    pub log_format: Option<String>,
    /// `--log-level`.
    pub log_level: Option<String>,
}

/// What the contract has and this version has not: absent from help, named when used.
const LATER_COMMANDS: &[&str] = &["watch", "ready"];
const LATER_OPTIONS: &[&str] = &["--supervise"];

/// Reads the arguments.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    plain::run(&arguments).map_or_else(|| any(&arguments), Ok)
}

/// Any command line. Apart, so that its tables take no room on the stack of a start.
#[inline(never)]
fn any(arguments: &[OsString]) -> Result<Invocation, Error> {
    match command().try_get_matches_from(arguments) {
        Ok(matches) => Ok(invocation(&matches)),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Invocation::Print(error.to_string()))
        }
        Err(error) => Err(usage(&error, arguments)),
    }
}

/// The log format that was asked for, found without parsing: a refused command line is reported in it too.
pub fn log_format(arguments: &[OsString]) -> Option<String> {
    let before_command = arguments.iter().take_while(|argument| *argument != "--");
    let texts: Vec<&str> = before_command.filter_map(|argument| argument.to_str()).collect();
    let joined = texts.iter().find_map(|text| text.strip_prefix("--log-format="));
    let separate = || texts.windows(2).find(|pair| pair[0] == "--log-format").map(|pair| pair[1]);
    joined.or_else(separate).map(str::to_owned)
}

fn run() -> Command {
    Command::new("run")
        .about("Fetch the secrets, deliver them, drop every privilege and become COMMAND")
        .args(options())
        .override_usage("handfast run [OPTIONS] [--] COMMAND [ARG]...")
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .help("The app and its arguments")
                .required(true)
                .num_args(1..)
                .trailing_var_arg(true)
                .allow_hyphen_values(false)
                .value_parser(OsStringValueParser::new()),
        )
}

/// The whole command line.
fn command() -> Command {
    let check = Command::new("check")
        .about("Say what a start would do: what goes where, as whom, from which provider, and what is missing here")
        .args(options())
        .arg(online(
            "Log in and fetch everything as a start would, say of each reference whether it is fine, and give it back",
        ))
        .arg(Arg::new("format").long("format").value_name("FORMAT").default_value("text").help("text or json"));
    let policy = Command::new("policy")
        .about("Print the least-privilege policy that the references need, in the store's own language")
        .args(options())
        .arg(online("Ask the store for what the configuration does not say, such as the kind of a mount"))
        .arg(Arg::new("provider").value_name("PROVIDER").help("Whose policy, where more than one is in use"));
    Command::new("handfast")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Hands secrets to a process and lets go: on a tmpfs or in descriptors, never in the environment")
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand(run())
        .subcommand(Command::new("init").about("Deliver files and exit 0: a Kubernetes init container").args(options()))
        .subcommand(check)
        .subcommand(policy)
        .subcommand(
            Command::new("install").about("Copy this binary to PATH, mode 0755: for images without cp").arg(
                Arg::new("path").value_name("PATH").required(true).help("Where to").value_parser(path()),
            ),
        )
        .subcommand(Command::new("schema").about("Print the configuration's JSON schema"))
        .subcommand(
            Command::new("completions")
                .about("Print completions for a shell")
                .arg(Arg::new("shell").value_name("SHELL").required(true).help("bash, elvish, fish, powershell or zsh")),
        )
        .subcommand(Command::new("man").about("Print the manual page"))
        .after_help(
            "Exit codes: 64 usage, 65 bad data, 66 not found, 69 unavailable, 70 bug, 71 system resource, 73 cannot deliver, \
             76 not trusted, 77 denied, 78 configuration, 125 isolation not achieved, 126 not executable, 127 command not found, \
             128+n signal n.",
        )
}

fn online(help: &'static str) -> Arg {
    Arg::new("online").long("online").action(ArgAction::SetTrue).help(help)
}

/// Any path: clap's own parser refuses an empty one, which is a wrong value like others.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

fn options() -> [Arg; 7] {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    [
        text("config", "FILE", "Configuration; default: $HANDFAST_CONFIG, then /etc/handfast.toml when it exists; a later FILE replaces single keys")
            .short('c')
            .action(ArgAction::Append)
            .value_parser(path()),
        text("secret", "NAME=REF", "One more secret, such as db-password=mock:db").short('s').action(ArgAction::Append),
        text("dir", "DIR", "Files directory, over [files] dir [env: HANDFAST_DIR]").value_parser(path()),
        text("user", "USER[:GROUP]", "The app's user, over [app] user; names or numbers [env: HANDFAST_USER]").short('u').allow_negative_numbers(true),
        text("deadline", "DURATION", "Whole-start deadline; default: 60s [env: HANDFAST_DEADLINE]"),
        text("log-format", "FORMAT", "text or json, on stderr; default: text [env: HANDFAST_LOG_FORMAT]"),
        text("log-level", "LEVEL", "error, warn, info or debug; default: warn [env: HANDFAST_LOG_LEVEL]"),
    ]
}

fn invocation(matches: &ArgMatches) -> Invocation {
    let text = |matches: &ArgMatches, name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    match matches.subcommand() {
        Some(("run", matches)) => Invocation::Run(read_options(matches), read_all(matches, "command")),
        Some(("init", matches)) => Invocation::Init(read_options(matches)),
        Some(("check", matches)) => Invocation::Check {
            options: read_options(matches),
            format: text(matches, "format"),
            online: matches.get_flag("online"),
        },
        Some(("policy", matches)) => Invocation::Policy {
            options: read_options(matches),
            provider: matches.get_one::<String>("provider").cloned(),
            online: matches.get_flag("online"),
        },
        Some(("install", matches)) => {
            Invocation::Install(matches.get_one::<PathBuf>("path").cloned().unwrap_or_default())
        }
        Some(("completions", matches)) => Invocation::Completions(text(matches, "shell")),
        Some(("man", _)) => Invocation::Man,
        _ => Invocation::Schema,
    }
}

fn read_options(matches: &ArgMatches) -> Options {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    Options {
        config: read_all(matches, "config"),
        secrets: read_all(matches, "secret"),
        directory: matches.get_one::<PathBuf>("dir").cloned(),
        user: text("user"),
        deadline: text("deadline"),
        log_format: text("log-format"),
        log_level: text("log-level"),
    }
}

fn read_all<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> Vec<T> {
    matches.get_many::<T>(name).into_iter().flatten().cloned().collect()
}

/// clap's error in our form: one line, and a hint.
fn usage(error: &clap::Error, arguments: &[OsString]) -> Error {
    let context = |kind| error.get(kind).map(|value| value.to_string());
    let refused =
        context(ContextKind::InvalidArg).or_else(|| context(ContextKind::InvalidSubcommand)).unwrap_or_default();
    // clap's `--dir <DIR>` and `<PATH>`, without the values' names.
    let named = refused.split(['=', ' ']).next().unwrap_or_default().trim_matches(['<', '>', '[', ']']);
    let subcommand = arguments.get(1).and_then(|argument| argument.to_str()).unwrap_or_default();
    let known = command().get_subcommands().any(|known| known.get_name() == subcommand);
    let help = if known { format!("see `handfast {subcommand} --help`") } else { "see `handfast --help`".to_owned() };
    let fail = |message: String| Error::new(Phase::Arguments, Class::Usage, message);
    match error.kind() {
        ErrorKind::UnknownArgument if LATER_OPTIONS.contains(&named) => {
            fail(format!("the option `{named}` is not in this version"))
        }
        ErrorKind::InvalidSubcommand if LATER_COMMANDS.contains(&named) => {
            fail(format!("the command `{named}` is not in this version"))
        }
        ErrorKind::UnknownArgument if refused.starts_with('-') => {
            let near = context(ContextKind::SuggestedArg).map(|near| format!("did you mean `{near}`?"));
            fail(format!("unknown option `{refused}`")).hint(near.unwrap_or(help))
        }
        ErrorKind::UnknownArgument => fail(format!("unexpected argument `{refused}`")).hint(help),
        ErrorKind::InvalidSubcommand => {
            let whole = command();
            let near = nearest(&refused, whole.get_subcommands().map(Command::get_name));
            let near = near.map(|near| format!("did you mean `{near}`?"));
            fail(format!("unknown command `{refused}`")).hint(near.unwrap_or(help))
        }
        ErrorKind::MissingSubcommand => {
            fail("a command is missing".into()).hint("run, init, check, policy, install, schema, completions or man")
        }
        ErrorKind::MissingRequiredArgument if subcommand == "run" => {
            fail("the app's command is missing".into()).hint("write `handfast run [OPTIONS] -- COMMAND [ARG]...`")
        }
        ErrorKind::MissingRequiredArgument => fail(format!("`{named}` is missing")).hint(help),
        ErrorKind::ArgumentConflict => fail(format!("`{named}` is given twice")).hint(help),
        ErrorKind::InvalidUtf8 => fail("an option's value is not UTF-8".into()).hint(help),
        ErrorKind::InvalidValue | ErrorKind::NoEquals | ErrorKind::WrongNumberOfValues | ErrorKind::TooFewValues => {
            fail(format!("`{named}` needs a value")).hint(help)
        }
        ErrorKind::TooManyValues => fail(format!("`{named}` takes no value")).hint(help),
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            fail(first.strip_prefix("error: ").unwrap_or(first).to_owned()).hint(help)
        }
    }
}

impl Invocation {
    /// The options, where it has them.
    pub fn options(&self) -> Option<&Options> {
        match self {
            Invocation::Run(options, _)
            | Invocation::Init(options)
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
                Error::new(Phase::Arguments, Class::Config, format!("no completions for `{}`", other.escape_debug()));
            return Err(error.hint("bash, elvish, fish, powershell or zsh"));
        }
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command(), "handfast", &mut text);
    Ok(text)
}

/// The manual page, handfast(1).
pub fn manual() -> Vec<u8> {
    let mut text = Vec::new();
    for (at, part) in std::iter::once(command()).chain(command().get_subcommands().cloned()).enumerate() {
        let part = if at == 0 { part } else { part.clone().display_name(format!("handfast {}", part.get_name())) };
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
    fn run_by_itself_reads_what_the_whole_command_line_reads() {
        for line in [
            "handfast run app",
            "handfast run -- app --help",
            "handfast run app -h --user x -- y",
            "handfast run -c a --config=b -s x=mock:x -sy=mock:y --secret z=mock:z --dir /run -u 1:2 -- -app -c",
            "handfast run --deadline 1s --log-format json --log-level=debug app",
        ] {
            let whole = command().try_get_matches_from(words(line)).unwrap();
            assert_eq!(format!("{:?}", parse(words(line)).unwrap()), format!("{:?}", invocation(&whole)), "{line}");
        }
    }

    #[test]
    fn help_and_errors_come_from_the_whole_command_line() {
        for line in ["handfast run --help", "handfast run -h", "handfast run -u 1 --help app"] {
            let Ok(Invocation::Print(text)) = parse(words(line)) else { panic!("no help for {line}") };
            assert!(text.contains("handfast run [OPTIONS] [--] COMMAND") && text.contains("--help"), "{text}");
        }
        for (line, message) in [
            ("handfast run", "the app's command is missing"),
            ("handfast run --usr x app", "unknown option `--usr`"),
            ("handfast run --version", "unknown option `--version`"),
            ("handfast run --supervise app", "the option `--supervise` is not in this version"),
            ("handfast run --user a --user b app", "`--user` is given twice"),
        ] {
            assert_eq!(parse(words(line)).unwrap_err().message, message, "{line}");
        }
    }
}
