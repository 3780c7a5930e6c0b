//! The same secret for a pod, which first becomes a role by its token: each fault at the login.

use std::time::Duration;

use handfast_testservers::{Authority, Fault, FaultProxy, Moto, random};

use super::line::AwsLine;
use crate::shared::{Line, each, meets_every_fault};
use crate::support::Run;

/// STS, whose operations stand in what it is sent; the stores have theirs in a header.
const STS: &str = "/";

/// A secret in moto, behind a proxy of its own, for a role.
struct PodLine {
    secrets: AwsLine,
    role: String,
    token: String,
}

impl Line for PodLine {
    const PLACES: &'static [&'static str] = &[STS];
    const REFERENCE: &'static str = AwsLine::REFERENCE;
    const BUSY: &'static str = "STS answers no more requests for now (throttling)";

    fn new() -> Option<Self> {
        let moto = Moto::unchecked()?;
        let (secrets, role, token) = (AwsLine::of(moto), moto.new_role(), random("eyJ."));
        secrets.files.write("token", &token);
        Some(Self { secrets, role, token })
    }

    fn proxy(&self) -> &FaultProxy {
        self.secrets.proxy()
    }

    fn authority(&self) -> &Authority {
        self.secrets.authority()
    }

    fn start(&self) -> Run {
        self.start_at(&self.proxy().address())
    }

    fn start_at(&self, address: &str) -> Run {
        self.secrets
            .start_as_nobody(address)
            .env("AWS_ROLE_ARN", &self.role)
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", self.secrets.files.file("token"))
    }

    fn redirected(&self) -> (i32, &'static str) {
        self.secrets.redirected()
    }

    fn secret(&self) -> &str {
        self.secrets.secret()
    }

    fn credential(&self) -> &str {
        &self.token
    }

    /// As of the stores, but that STS speaks XML: what is none of its own says no more than that.
    fn impossible() -> Vec<(Fault, i32, &'static str)> {
        const NONE: &str = "is none of STS'";
        let depth = [Fault::Deep(10_000), Fault::Deep(1_000_000)].map(|fault| (fault, 65, NONE));
        let pages = [Fault::GzipBomb, Fault::Html].map(|fault| (fault, 65, NONE));
        let same = AwsLine::impossible().into_iter();
        let same = same.filter(|(fault, ..)| matches!(fault, Fault::Huge | Fault::HugeInChunks | Fault::Status(_)));
        same.chain(pages).chain(depth).collect()
    }
}

meets_every_fault!(PodLine);

#[test]
fn a_login_is_tried_again_and_only_then_is_the_secret_asked_for() {
    each::<PodLine, _>(&[Fault::Status(503), Fault::Reset, Fault::Truncated], |line, fault| {
        const DEADLINE: Duration = Duration::from_secs(10);
        line.proxy().add(fault.clone().on(STS).times(2));
        line.starts(&line.run(DEADLINE).start(), DEADLINE);
        let logins = ["POST /"; 3];
        assert_eq!(line.proxy().lines(), [&logins[..], &["POST secretsmanager.GetSecretValue"]].concat());
    });
}
