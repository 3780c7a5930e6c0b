//! The programs that fetch the secrets and start the no-op: the floor and handfast.

use std::path::PathBuf;

use handfast_testservers::Azure;

use crate::Result;
pub use crate::contender::Contender;
use crate::contender::show;
use crate::programs::Programs;
use crate::scratch::Scratch;

/// A Key Vault with secrets, and its address.
pub struct Setting<'a> {
    pub programs: &'a Programs,
    pub port: u16,
    floor: PathBuf,
    azure: &'a Azure,
    scratch: Scratch,
}

impl<'a> Setting<'a> {
    pub fn new(azure: &'a Azure, programs: &'a Programs) -> Result<Self> {
        let port = azure.address().rsplit(':').next().and_then(|port| port.parse().ok()).ok_or("no port")?;
        let scratch = Scratch::new(&std::env::temp_dir())?;
        std::fs::write(scratch.path().join("token"), azure.root())?;
        Ok(Self { programs, port, floor: programs.another("handfast-floor", "handfast-floor")?, azure, scratch })
    }

    /// All contenders with this number of secrets, the floor first.
    pub fn contenders(&self, count: usize) -> Result<Vec<Contender>> {
        Ok(vec![self.floor(count)?, self.handfast(count)?])
    }

    pub fn floor(&self, count: usize) -> Result<Contender> {
        let address = format!("127.0.0.1:{}", self.port);
        let ca_file = show(&self.azure.ca_file());
        let mut words = vec![show(&self.floor), "azure".into(), address, ca_file, self.azure.root().into()];
        words.extend((0..count).map(|number| format!("secret-{number}")));
        words.extend(["--".into(), show(&self.programs.noop)]);
        Contender::new("floor", &words, &[])
    }

    /// handfast with a token in a file: besides one request for each secret, it sends only the challenge request.
    pub fn handfast(&self, count: usize) -> Result<Contender> {
        let configuration = self.scratch.path().join("handfast.toml");
        let text = format!(
            "[providers.azure]\nvault = \"https://127.0.0.1:{}\"\nendpoint_suffix_check = false\nca_file = \"{}\"\n\
             auth = {{ method = \"token-file\", token_file = \"{}\" }}\n",
            self.port,
            show(&self.azure.ca_file()),
            show(&self.scratch.path().join("token"))
        );
        std::fs::write(&configuration, text)?;
        let mut words = vec![show(&self.programs.handfast), "run".into(), "-c".into(), show(&configuration)];
        for number in 0..count {
            words.extend(["--secret".into(), format!("secret-{number}=azure:secret-{number}")]);
        }
        words.extend(["--".into(), show(&self.programs.noop)]);
        Contender::new("handfast", &words, &[])
    }
}
