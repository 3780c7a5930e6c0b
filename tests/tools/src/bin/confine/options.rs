//! The options.

use std::ffi::OsString;

use handfast_testtools::capabilities;
use handfast_testtools::limits::LIMITS;
use handfast_testtools::start::value;
use nix::sys::resource::{RLIM_INFINITY, Resource};

use crate::seccomp::Denial;
use crate::signals;

/// A requested mount: `--tmpfs` or `--bind`.
pub enum Mount {
    Tmpfs { path: String, options: String },
    Bind { from: String, to: String, options: String },
}

/// The requested start state. `None` and empty lists change nothing.
#[derive(Default)]
pub struct Options {
    /// `--clean`: only descriptors 0 to 2 are open, and no signal is ignored or blocked, whatever the state of the tests' own
    /// parent.
    pub clean: bool,
    /// `--close 0,1,2`
    pub close: Vec<i32>,
    /// `--ignore PIPE,CHLD,34`
    pub ignore: Vec<i32>,
    /// `--block USR1`
    pub block: Vec<i32>,
    /// `--deny NAME=ERRNO,…`: see `seccomp.rs` for the names.
    pub deny: Vec<Denial>,
    /// `--bounding LIST`: exactly these; with `--caps` alone, the list of `--caps`.
    pub bounding: Option<u64>,
    /// `--caps LIST`: permitted and effective.
    pub permitted: Option<u64>,
    /// `--inheritable LIST`
    pub inheritable: Option<u64>,
    /// `--ambient LIST`: also added to the permitted and inheritable sets.
    pub ambient: Option<u64>,
    /// `--securebits N`
    pub securebits: Option<i32>,
    /// `--groups 1,2|none`
    pub groups: Option<Vec<u32>>,
    /// `--uid N`: only the capabilities of `--caps` and `--ambient` stay.
    pub uid: Option<u32>,
    /// `--gid N`
    pub gid: Option<u32>,
    /// `--rlimit NOFILE=16[:HARD]`: one number sets both limits; `unlimited` means no limit.
    pub limits: Vec<(Resource, u64, u64)>,
    /// `--open-junk N`: this many inherited descriptors, one of them at the limit minus one.
    pub junk: usize,
    /// `--userns[=UID:GID]`: a user namespace that maps only the present ids, to these (0:0).
    pub user_namespace: Option<(u32, u32)>,
    /// `--mountns`; `--tmpfs` and `--bind` imply it.
    pub mount_namespace: bool,
    /// `--tmpfs PATH[:OPTIONS]` and `--bind SOURCE:TARGET[:OPTIONS]`, in the order given; directories are created.
    pub mounts: Vec<Mount>,
    /// `--setup SCRIPT`: run by `sh -eu` after the mounts, as root if `confine` was started as root.
    pub setup: Vec<String>,
    /// `--umask OCTAL`
    pub umask: Option<u32>,
    /// `--cwd PATH`
    pub directory: Option<String>,
    /// `--nice N`
    pub nice: Option<i32>,
    /// `--setenv NAME=VALUE`, `--unsetenv NAME`
    pub variables: Vec<(String, Option<String>)>,
    /// `--chroot PATH`
    pub chroot: Option<String>,
    /// The command: all words from the first word that is not an option, or from `--`.
    pub command: Vec<OsString>,
}

impl Options {
    /// Reads the arguments.
    pub fn parse(arguments: Vec<OsString>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            match argument.to_str() {
                Some("--") => {
                    options.command = rest.collect();
                    break;
                }
                Some(option) if option.starts_with("--") => options.option(option, &mut rest)?,
                _ => {
                    options.command = std::iter::once(argument).chain(rest).collect();
                    break;
                }
            }
        }
        Ok(options)
    }

    fn option(&mut self, option: &str, rest: &mut impl Iterator<Item = OsString>) -> Result<(), String> {
        let text = match option {
            "--clean" => {
                self.clean = true;
                return Ok(());
            }
            "--mountns" => {
                self.mount_namespace = true;
                return Ok(());
            }
            "--userns" => {
                self.user_namespace = Some((0, 0));
                return Ok(());
            }
            option => match option.strip_prefix("--userns=") {
                Some(ids) => {
                    let (uid, gid) = ids.split_once(':').ok_or("--userns=UID:GID")?;
                    self.user_namespace = Some((number(option, uid)?, number(option, gid)?));
                    return Ok(());
                }
                None => value(option, rest)?,
            },
        };
        match option {
            "--close" => self.close = numbers(option, &text)?,
            "--ignore" => self.ignore = signals::numbers(&text)?,
            "--block" => self.block = signals::numbers(&text)?,
            "--deny" => self.deny = text.split(',').map(Denial::parse).collect::<Result<_, _>>()?,
            "--bounding" => self.bounding = Some(capabilities::set(&text)?),
            "--caps" => self.permitted = Some(capabilities::set(&text)?),
            "--inheritable" => self.inheritable = Some(capabilities::set(&text)?),
            "--ambient" => self.ambient = Some(capabilities::set(&text)?),
            "--securebits" => self.securebits = Some(number(option, &text)?),
            "--groups" if text == "none" => self.groups = Some(Vec::new()),
            "--groups" => self.groups = Some(numbers(option, &text)?),
            "--uid" => self.uid = Some(number(option, &text)?),
            "--gid" => self.gid = Some(number(option, &text)?),
            "--rlimit" => self.limits.push(limit(&text)?),
            "--open-junk" => self.junk = number(option, &text)?,
            "--tmpfs" => {
                let (path, options) = text.split_once(':').unwrap_or((&text, ""));
                self.mounts.push(Mount::Tmpfs { path: path.to_owned(), options: options.to_owned() });
            }
            "--bind" => {
                let (from, rest) = text.split_once(':').ok_or("--bind SOURCE:TARGET")?;
                let (to, options) = rest.split_once(':').unwrap_or((rest, ""));
                self.mounts.push(Mount::Bind { from: from.into(), to: to.into(), options: options.into() });
            }
            "--setup" => self.setup.push(text),
            "--umask" => self.umask = Some(u32::from_str_radix(&text, 8).map_err(|_| "--umask is octal")?),
            "--cwd" => self.directory = Some(text),
            "--nice" => self.nice = Some(number(option, &text)?),
            "--setenv" => {
                let (name, value) = text.split_once('=').ok_or("--setenv NAME=VALUE")?;
                self.variables.push((name.to_owned(), Some(value.to_owned())));
            }
            "--unsetenv" => self.variables.push((text, None)),
            "--chroot" => self.chroot = Some(text),
            _ => return Err(format!("unknown option {option}")),
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(option: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{option}: {text} is no such number"))
}

fn numbers<T: std::str::FromStr>(option: &str, list: &str) -> Result<Vec<T>, String> {
    list.split(',').map(|text| number(option, text)).collect()
}

fn limit(text: &str) -> Result<(Resource, u64, u64), String> {
    let (name, values) = text.split_once('=').ok_or("--rlimit NAME=SOFT[:HARD]")?;
    let (_, resource) =
        *LIMITS.iter().find(|(known, _)| *known == name).ok_or_else(|| format!("unknown limit {name}"))?;
    let value = |text: &str| if text == "unlimited" { Ok(RLIM_INFINITY) } else { number("--rlimit", text) };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    Ok((resource, value(soft)?, value(hard)?))
}
