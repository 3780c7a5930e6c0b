//! moto: AWS in memory. It is an independent project, and it checks signatures and policies.
//!
//! A relay in front of moto corrects two differences from AWS: moto sends the refusals of a JSON service in XML, and closes the
//! connection after each answer.

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

/// The user with all rights.
const USER: &str = "web";

/// The default region of requests.
pub const REGION: &str = "us-east-1";

/// A moto server.
pub struct Moto {
    _process: Process,
    /// The relay that terminates TLS.
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
    /// The id of the key.
    pub id: String,
    /// The secret of the key.
    pub secret: String,
}

impl Moto {
    /// Starts a server over plain HTTP with one IAM user, who has an access key and all rights. From then on, every request
    /// must have a valid signature, and a policy of the user must allow it.
    pub fn start() -> Option<Self> {
        Self::start_at("127.0.0.1")
    }

    /// The same at this address of the machine.
    pub fn start_at(host: &str) -> Option<Self> {
        Self::launch(host, true)
    }

    fn launch(host: &str, checks: bool) -> Option<Self> {
        let program = program()?;
        let port = free_port().to_string();
        let (authority, files) = (Authority::new(), Directory::new());
        files.write("ca.pem", authority.pem());
        let command = [&*program, "-H", host, "-p", &port];
        let mut process = Process::start("moto", Directory::new(), &command, &[]);
        let address = format!("http://{host}:{port}");
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

    /// A server over TLS that all tests of this process share: a server takes some seconds and 170 MiB.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Moto>> = OnceLock::new();
        // Call it first for its message, which every test must print.
        program()?;
        SHARED.get_or_init(|| Self::start().map(Self::with_tls)).as_ref()
    }

    /// Starts a server that accepts every request as signed and allowed, for tests about assuming a role: with its checks on,
    /// moto answers a role's login with 500.
    pub fn unchecked() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Moto>> = OnceLock::new();
        program()?;
        SHARED.get_or_init(|| Self::launch("127.0.0.1", false).map(Self::with_tls)).as_ref()
    }

    /// The same server over TLS, with a certificate of its own authority.
    pub fn with_tls(self) -> Self {
        let (client, address) = (self.client.clone(), self.address.clone());
        let relay = Server::start(Some(&self.authority.server()), move |request, stream| {
            pass_on(&client, &address, request, stream)
        });
        Self { address: relay.address(), _relay: Some(relay), ..self }
    }

    /// `http://HOST:PORT` or `https://…`, the endpoint of every service.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The server's authority, which can certify more servers.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The path of the authority's certificate.
    pub fn ca_file(&self) -> String {
        self.files.file("ca.pem")
    }

    /// The access key of the user with all rights.
    pub fn access_key(&self) -> (&str, &str) {
        (&self.access_key.id, &self.access_key.secret)
    }

    /// The AWS name of this user.
    pub fn user_arn(&self) -> String {
        format!("arn:aws:iam::123456789012:user/{USER}")
    }

    /// Creates a user whose only rights are these statements. Returns its access key.
    pub fn new_user(&self, name: &str, statements: &Value) -> AccessKey {
        let policy = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
        self.iam(&[("Action", "CreateUser"), ("UserName", name)]);
        let policy =
            [("Action", "PutUserPolicy"), ("UserName", name), ("PolicyName", "own"), ("PolicyDocument", &*policy)];
        self.iam(&policy);
        let key = self.iam(&[("Action", "CreateAccessKey"), ("UserName", name)]);
        AccessKey { id: element(&key, "AccessKeyId"), secret: element(&key, "SecretAccessKey") }
    }

    /// Creates a role that every user may assume, with all rights on secrets. Returns its ARN.
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

    /// Sends a request to IAM that must succeed. Returns the answer, which is XML.
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

    /// Sends a request that must succeed, such as `secretsmanager.CreateSecret` or `AmazonSSM.PutParameter`. Returns the
    /// answer.
    pub fn must(&self, target: &str, body: Value) -> Value {
        self.must_in(REGION, target, body)
    }

    /// Sends a request to another region.
    pub fn must_in(&self, region: &str, target: &str, body: Value) -> Value {
        let service = if target.starts_with("AmazonSSM.") { "ssm" } else { "secretsmanager" };
        let answer = self.send(service, region, ("x-amz-target", target), body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{target}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    /// Signature Version 4, as an implementation that is independent of the product's.
    fn send(&self, service: &str, region: &str, (name, value): (&str, &str), body: &[u8]) -> Answer {
        // No test compares it with a clock.
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
        // moto sometimes fails because it iterates over data that another thread changes.
        let mut answer = send();
        for _ in 0..5 {
            if answer.status >= 500 {
                answer = send();
            }
        }
        answer
    }
}

/// Passes on a request and its answer, and gives a refusal of IAM the form of a JSON service.
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
