//! The programs that fetch the secrets and start the no-op: the floor, handfast, and consul-template if it is installed.

use std::fmt::Write;
use std::path::PathBuf;

use handfast_testservers::{Vault, find_program};

use crate::Result;
pub use crate::contender::Contender;
use crate::contender::show;
use crate::programs::Programs;
use crate::scratch::Scratch;

/// A Vault with secrets, and its address.
pub struct Setting<'a> {
    pub programs: &'a Programs,
    pub port: u16,
    floor: PathBuf,
    ca_file: PathBuf,
    token: String,
    scratch: Scratch,
}

impl<'a> Setting<'a> {
    pub fn new(vault: &Vault, programs: &'a Programs) -> Result<Self> {
        let port = vault.address().rsplit(':').next().and_then(|port| port.parse().ok()).ok_or("no port")?;
        let scratch = Scratch::new(&std::env::temp_dir())?;
        let ca_file = scratch.path().join("ca.pem");
        std::fs::copy(vault.ca_file(), &ca_file)?;
        let floor = programs.another("handfast-floor", "handfast-floor")?;
        Ok(Self { programs, port, floor, ca_file, token: vault.root_token().to_owned(), scratch })
    }

    /// All contenders with this number of secrets, the floor first.
    pub fn contenders(&self, count: usize) -> Result<Vec<Contender>> {
        let mut all = vec![self.floor(count)?, self.handfast(count)?];
        all.extend(self.consul_template(count)?);
        Ok(all)
    }

    pub fn floor(&self, count: usize) -> Result<Contender> {
        let address = format!("127.0.0.1:{}", self.port);
        let mut words = vec![show(&self.floor), "vault".into(), address, show(&self.ca_file), self.token.clone()];
        words.extend((0..count).map(|number| format!("bench/data/secret-{number}")));
        words.extend(["--".into(), show(&self.programs.noop)]);
        Contender::new("floor", &words, &[])
    }

    /// handfast with a token and with the kind of the mount in its configuration, which is the fastest configuration.
    pub fn handfast(&self, count: usize) -> Result<Contender> {
        let configuration = self.scratch.path().join("handfast.toml");
        std::fs::write(&configuration, "[providers.vault]\nmounts = { bench = \"kv-v2\" }\n")?;
        let mut words = vec![show(&self.programs.handfast), "run".into(), "-c".into(), show(&configuration)];
        for number in 0..count {
            words.extend(["--secret".into(), format!("secret-{number}=vault:bench/secret-{number}#value")]);
        }
        words.extend(["--".into(), show(&self.programs.noop)]);
        Contender::new("handfast", &words, &self.environment())
    }

    /// The rival that is closest with many secrets: it reads them concurrently. It writes its output to a disk.
    fn consul_template(&self, count: usize) -> Result<Option<Contender>> {
        let Some(program) = find_program("consul-template") else {
            println!("skipped: consul-template: not on PATH (go install github.com/hashicorp/consul-template@v0.41.1)");
            return Ok(None);
        };
        let mut template = String::new();
        for number in 0..count {
            let path = format!("bench/data/secret-{number}");
            writeln!(template, "{{{{ with secret \"{path}\" }}}}{{{{ .Data.data.value }}}}{{{{ end }}}}")?;
        }
        let (from, to) = (self.scratch.path().join(format!("{count}.tmpl")), self.scratch.path().join("out"));
        std::fs::write(&from, template)?;
        let words = [
            show(&program),
            "-once".into(),
            "-vault-renew-token=false".into(),
            "-vault-retry-attempts=1".into(),
            "-template".into(),
            format!("{}:{}", show(&from), show(&to)),
            "-exec".into(),
            show(&self.programs.noop),
        ];
        Contender::new("consul-template", &words, &self.environment()).map(Some)
    }

    fn environment(&self) -> [String; 3] {
        [
            format!("VAULT_ADDR=https://127.0.0.1:{}", self.port),
            format!("VAULT_CACERT={}", show(&self.ca_file)),
            format!("VAULT_TOKEN={}", self.token),
        ]
    }
}
