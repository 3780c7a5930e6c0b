//! moto: AWS in memory. It is nobody's fake of ours, and it checks signatures and what policies allow.
//!
//! Two things it does not do as AWS does, and a relay of ours in front of it does instead: it refuses in XML what a JSON service
//! of AWS refuses in JSON, and it closes the connection after each answer.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::OnceLock;

use ring::{digest, hmac};
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::client::{Answer, Client};
use crate::directory::Directory;
use crate::http::{Request, Server, Then, write_answer};
use crate::process::{Process, free_port};
use crate::random;
use crate::requirements::{built, require};

/// The user that may do everything.
const USER: &str = "web";

/// The region that requests are for where nothing else is said.
pub const REGION: &str = "us-east-1";

/// An AWS of its own.
pub struct Moto {
    _process: Process,
    /// The relay that speaks TLS.
    _relay: Option<Server>,
    address: String,
    authority: Authority,
    files: Directory,
    client: Client,
    access_key: AccessKey,
}

/// A user's access key: its id and its secret.
#[derive(Clone)]
pub struct AccessKey {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

impl Moto {
    /// A server over plain HTTP with one IAM user, who has an access key and may do everything. From then on every request
    /// has to be signed well, and allowed by a policy of the user's.
    pub fn start() -> Option<Self> {
        Self::launch(true)
    }

    fn launch(checks: bool) -> Option<Self> {
        let program = program()?;
        let port = free_port().to_string();
        let (authority, files) = (Authority::new(), Directory::new());
        files.write("ca.pem", authority.pem());
        let command = [&*program, "-H", "127.0.0.1", "-p", &port];
        let mut process = Process::start("moto", Directory::new(), &command, &[]);
        let address = format!("http://127.0.0.1:{port}");
        let client = Client::trusting(&authority.pem());
        process.wait_for(|| client.send("GET", &format!("{address}/moto-api/"), &[], b"").ok());
        let access_key = AccessKey { id: "AKIA".into(), secret: "none".into() };
        let mut moto = Self { _process: process, _relay: None, address, authority, files, client, access_key };
        moto.access_key = moto.new_user(USER, &json!([{ "Effect": "Allow", "Action": "*", "Resource": "*" }]));
        if checks {
            let answer = moto.client.send("POST", &format!("{}/moto-api/reset-auth", moto.address), &[], b"0");
            assert_eq!(answer.expect("it answers").status, 200);
        }
        Some(moto)
    }

    /// One over TLS that all tests of this process share: it costs some seconds and 170 MiB.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Moto>> = OnceLock::new();
        // The first for its message, which every test needs.
        program()?;
        SHARED.get_or_init(|| Self::start().map(Self::with_tls)).as_ref()
    }

    /// One more that takes every request for well signed and allowed, since moto answers 500 to a role's login where it checks
    /// them: for what is about becoming a role.
    pub fn unchecked() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Moto>> = OnceLock::new();
        program()?;
        SHARED.get_or_init(|| Self::launch(false).map(Self::with_tls)).as_ref()
    }

    /// The same over TLS, certified by an authority of its own.
    pub fn with_tls(self) -> Self {
        let (client, address) = (self.client.clone(), self.address.clone());
        let relay = Server::start(Some(&self.authority.server()), move |request, stream| {
            pass_on(&client, &address, request, stream)
        });
        Self { address: relay.address(), _relay: Some(relay), ..self }
    }

    /// `http://127.0.0.1:PORT` or `https://…`, the endpoint of each of its services.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The authority that certified it, and may certify more.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The path of that authority's certificate.
    pub fn ca_file(&self) -> String {
        self.files.file("ca.pem")
    }

    /// The access key of the user that may do everything.
    pub fn access_key(&self) -> (&str, &str) {
        (&self.access_key.id, &self.access_key.secret)
    }

    /// That user's name in AWS.
    pub fn user_arn(&self) -> String {
        format!("arn:aws:iam::123456789012:user/{USER}")
    }

    /// The access key of a new user that may do what these statements say, and nothing else.
    pub fn new_user(&self, name: &str, statements: &Value) -> AccessKey {
        let policy = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
        self.iam(&[("Action", "CreateUser"), ("UserName", name)]);
        let policy =
            [("Action", "PutUserPolicy"), ("UserName", name), ("PolicyName", "own"), ("PolicyDocument", &*policy)];
        self.iam(&policy);
        let key = self.iam(&[("Action", "CreateAccessKey"), ("UserName", name)]);
        AccessKey { id: element(&key, "AccessKeyId"), secret: element(&key, "SecretAccessKey") }
    }

    /// A new role that anybody may become, and that may do everything with secrets: its ARN.
    pub fn new_role(&self) -> String {
        let name = random("role-");
        let document = |statement: Value| json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
        let trust = document(json!({ "Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole" }));
        let policy = document(json!({ "Effect": "Allow", "Action": "secretsmanager:*", "Resource": "*" }));
        self.iam(&[("Action", "CreateRole"), ("RoleName", &name), ("AssumeRolePolicyDocument", &trust)]);
        let policy =
            [("Action", "PutRolePolicy"), ("RoleName", &*name), ("PolicyName", "own"), ("PolicyDocument", &*policy)];
        self.iam(&policy);
        format!("arn:aws:iam::123456789012:role/{name}")
    }

    /// A request to IAM that must succeed; its answer, which is XML.
    pub fn iam(&self, parameters: &[(&str, &str)]) -> String {
        let escaped = |text: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
            let one = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
            text.bytes().map(one).collect::<String>()
        };
        let pairs = parameters.iter().map(|(name, value)| format!("{name}={}", escaped(value)));
        let body = pairs.chain(["Version=2010-05-08".to_owned()]).collect::<Vec<_>>().join("&");
        let answer = self.send("iam", REGION, ("content-type", "application/x-www-form-urlencoded"), body.as_bytes());
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 200, "{parameters:?}: {text}");
        text
    }

    /// A request that must succeed, as `secretsmanager.CreateSecret` or `AmazonSSM.PutParameter`; its answer.
    pub fn must(&self, target: &str, body: Value) -> Value {
        self.must_in(REGION, target, body)
    }

    /// The same in another region.
    pub fn must_in(&self, region: &str, target: &str, body: Value) -> Value {
        let service = if target.starts_with("AmazonSSM.") { "ssm" } else { "secretsmanager" };
        let answer = self.send(service, region, ("x-amz-target", target), body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{target}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    /// Signature Version 4, as a second opinion on the product's.
    fn send(&self, service: &str, region: &str, (name, value): (&str, &str), body: &[u8]) -> Answer {
        // Nobody compares it with a clock.
        let (date, time) = ("20240102", "20240102T030405Z");
        let sum = |text: &[u8]| hex(digest::digest(&digest::SHA256, text).as_ref());
        let mac = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
        let host = self.address.rsplit('/').next().unwrap_or_default();
        let mut headers = vec![("host", host), (name, value), ("x-amz-date", time)];
        headers.sort_unstable();
        let signed = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let request = format!("POST\n/\n\n{lines}\n{signed}\n{}", sum(body));
        let scope = format!("{date}/{region}/{service}/aws4_request");
        let key = format!("AWS4{}", self.access_key.secret).into_bytes();
        let key = scope.split('/').fold(key, |key, part| mac(&key, part).as_ref().to_vec());
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sum(request.as_bytes()));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={}",
            self.access_key.id,
            hex(mac(&key, &text).as_ref())
        );
        headers.push(("authorization", &authorization));
        let send = || self.client.send("POST", &format!("{}/", self.address), &headers, body).expect("it answers");
        // It forgets at times that others change what it walks through.
        let mut answer = send();
        for _ in 0..5 {
            if answer.status >= 500 {
                answer = send();
            }
        }
        answer
    }
}

/// Passes a request on, and its answer back; a refusal of IAM's as a JSON service has it.
fn pass_on(client: &Client, address: &str, request: &Request, stream: &mut dyn Write) -> io::Result<Then> {
    let own = |name: &str| ["connection", "content-length", "transfer-encoding", "accept-encoding"].contains(&name);
    let others = |headers: &[(String, String)]| -> Vec<(String, String)> {
        headers.iter().filter(|(name, _)| !own(name)).cloned().collect()
    };
    fn borrowed(headers: &[(String, String)]) -> Vec<(&str, &str)> {
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
    let url = format!("{address}{}", request.path);
    let answer = client.send(&request.method, &url, &borrowed(&others(&request.headers)), &request.body)?;
    let text = String::from_utf8_lossy(&answer.body);
    if answer.status == 403 && request.header("x-amz-target").is_some() && text.contains("<Code>") {
        let kind = match &*element(&text, "Code") {
            "AccessDenied" => "AccessDeniedException",
            "SignatureDoesNotMatch" => "InvalidSignatureException",
            _ => "UnrecognizedClientException",
        };
        let body = json!({ "__type": kind, "Message": element(&text, "Message") }).to_string();
        return write_answer(stream, 400, &[("content-type", "application/x-amz-json-1.1")], body.as_bytes());
    }
    write_answer(stream, answer.status, &borrowed(&others(&answer.headers)), &answer.body)
}

fn program() -> Option<String> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| built("moto"));
    require(program.is_some(), "moto (tests/servers/build moto)");
    program.as_ref().map(|program| program.display().to_string())
}

fn element(xml: &str, name: &str) -> String {
    let start = xml.split_once(&format!("<{name}>")).expect("it is documented so").1;
    start.split('<').next().unwrap_or_default().to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
