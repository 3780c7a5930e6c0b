//! The programs that fetch the secrets and start the no-op: the floor and handfast.

use std::path::PathBuf;

use handfast_testservers::{Moto, REGION};

use crate::Result;
pub use crate::contender::Contender;
use crate::contender::show;
use crate::programs::Programs;

/// A moto server with secrets, and its address.
pub struct Setting<'a> {
    pub programs: &'a Programs,
    pub port: u16,
    floor: PathBuf,
    moto: &'a Moto,
}

impl<'a> Setting<'a> {
    pub fn new(moto: &'a Moto, programs: &'a Programs) -> Result<Self> {
        let port = moto.address().rsplit(':').next().and_then(|port| port.parse().ok()).ok_or("no port")?;
        Ok(Self { programs, port, floor: programs.another("handfast-floor", "handfast-floor")?, moto })
    }

    /// All contenders with this number of secrets, the floor first.
    pub fn contenders(&self, count: usize) -> Result<Vec<Contender>> {
        Ok(vec![self.floor(count)?, self.handfast(count)?])
    }

    pub fn floor(&self, count: usize) -> Result<Contender> {
        let (id, secret) = self.moto.access_key();
        let address = format!("127.0.0.1:{}", self.port);
        let mut words = vec![show(&self.floor), "aws".into(), address, self.moto.ca_file(), format!("{id}:{secret}")];
        words.extend((0..count).map(|number| format!("secret-{number}")));
        words.extend(["--".into(), show(&self.programs.noop)]);
        Contender::new("floor", &words, &[])
    }

    /// handfast with keys and a region in the environment.
    pub fn handfast(&self, count: usize) -> Result<Contender> {
        let mut words = vec![show(&self.programs.handfast), "run".into()];
        for number in 0..count {
            words.extend(["--secret".into(), format!("secret-{number}=aws:sm/secret-{number}")]);
        }
        words.extend(["--".into(), show(&self.programs.noop)]);
        let (id, secret) = self.moto.access_key();
        let environment = [
            format!("AWS_ENDPOINT_URL=https://127.0.0.1:{}", self.port),
            format!("AWS_CA_BUNDLE={}", self.moto.ca_file()),
            format!("AWS_REGION={REGION}"),
            format!("AWS_ACCESS_KEY_ID={id}"),
            format!("AWS_SECRET_ACCESS_KEY={secret}"),
        ];
        Contender::new("handfast", &words, &environment)
    }
}
