//! moto: AWS in memory. It is nobody's fake of ours, and it checks signatures.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::client::Client;
use crate::directory::Directory;
use crate::process::{Process, free_port};
use crate::requirements::{built, require};

/// The one user that there is.
const USER: &str = "web";

/// An AWS of its own, over plain HTTP.
pub struct Moto {
    _process: Process,
    address: String,
    access_key_id: String,
    secret_access_key: String,
}

impl Moto {
    /// A server with one IAM user, who has an access key. From then on every request has to be signed well.
    pub fn start() -> Option<Self> {
        static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
        let program = PROGRAM.get_or_init(|| built("moto"));
        if !require(program.is_some(), "moto (tests/servers/build moto)") {
            return None;
        }
        let program = program.as_ref().expect("it was found").display().to_string();
        let port = free_port();
        let command = [&*program, "-H", "127.0.0.1", "-p", &port.to_string()];
        let mut process = Process::start("moto", Directory::new(), &command, &[]);
        let address = format!("http://127.0.0.1:{port}");
        let client = Client::trusting("");
        process.wait_for(|| client.send("GET", &format!("{address}/moto-api/"), &[], b"").ok());
        let iam = |action: &str| {
            let headers = [
                ("content-type", "application/x-www-form-urlencoded"),
                // Which service is meant stands in the credential; the signature does not count yet.
                ("authorization", "AWS4-HMAC-SHA256 Credential=AKIA/20200101/us-east-1/iam/aws4_request"),
            ];
            let body = format!("Action={action}&Version=2010-05-08&UserName={USER}");
            let answer = client.send("POST", &format!("{address}/"), &headers, body.as_bytes()).expect("it answers");
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!(answer.status, 200, "{action}: {text}");
            text
        };
        iam("CreateUser");
        let key = iam("CreateAccessKey");
        let element = |name: &str| {
            let start = key.split_once(&format!("<{name}>")).expect("it is documented so").1;
            start.split('<').next().unwrap_or_default().to_owned()
        };
        let (access_key_id, secret_access_key) = (element("AccessKeyId"), element("SecretAccessKey"));
        let strict = client.send("POST", &format!("{address}/moto-api/reset-auth"), &[], b"0").expect("it answers");
        assert_eq!(strict.status, 200);
        Some(Self { _process: process, address, access_key_id, secret_access_key })
    }

    /// `http://127.0.0.1:PORT`, the endpoint of each of its services.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The user's access key: its id and its secret.
    pub fn access_key(&self) -> (&str, &str) {
        (&self.access_key_id, &self.secret_access_key)
    }

    /// The user's name in AWS.
    pub fn user_arn(&self) -> String {
        format!("arn:aws:iam::123456789012:user/{USER}")
    }
}
