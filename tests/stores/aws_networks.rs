//! AWS' keys at the addresses that AWS itself has for them, in a network of the test's own: of a machine, of ECS' tasks, of EKS'
//! pods. The store is a fake too: it tells who has signed.

use std::net::TcpListener;
use std::path::Path;

use crate::support::{Directory, Run, hex, needs_root};
use handfast_testservers::{Authority, AwsMetadata, LINK_LOCAL, Moto, Server, in_own_network, require, take_address};
use serde_json::json;

/// A Secrets Manager that knows one secret, and whom it has given it to.
struct Store {
    server: Server,
    files: Directory,
}

impl Store {
    fn new() -> Self {
        let (authority, files) = (Authority::new(), Directory::new());
        files.write("ca.pem", authority.pem());
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let server = Server::json(listener, Some(&authority.server()), |_| {
            (200, json!({ "ARN": "arn", "Name": "db", "SecretString": "there" }))
        });
        Self { server, files }
    }

    /// A start without anything that AWS' own variables would say, but for these.
    fn run(&self, variables: &[(&str, &str)]) -> Run {
        let run = Run::new()
            .env("AWS_ENDPOINT_URL", self.server.address())
            .env("AWS_CA_BUNDLE", self.files.path().join("ca.pem"))
            .env("DB_FILE", "handfast:aws:sm/db");
        variables.iter().fold(run, |run, (name, value)| run.env(name, value))
    }

    /// The start gets its secret, with the keys of this id and for this region.
    #[track_caller]
    fn gives_to(&self, id: &str, variables: &[(&str, &str)]) {
        self.server.forget();
        let app = self.run(variables).start().ran();
        assert_eq!(app["descriptors"][3]["content"], hex("there"));
        let requests = self.server.requests();
        let authorization = requests[0].header("authorization").expect("it is signed");
        assert!(authorization.contains(&format!("Credential={id}/")), "{authorization}");
        assert!(authorization.contains("/us-east-1/secretsmanager/"), "{authorization}");
    }
}

/// What answers at port 80 of an address.
fn at(address: &str, id: &str) -> AwsMetadata {
    AwsMetadata::serve(TcpListener::bind((address, 80)).expect("the address is ours"), id, "secret")
}

const REGION: (&str, &str) = ("AWS_REGION", "us-east-1");

#[test]
fn machines_and_containers_find_their_keys_where_aws_has_them() {
    needs_root!();
    in_own_network(|| {
        let store = Store::new();
        ["169.254.170.2/32", "169.254.170.23/32"].into_iter().for_each(take_address);
        let (_machine, task) = (at(LINK_LOCAL, "ASIAMACHINE"), at("169.254.170.2", "ASIATASK"));
        let pod = at("169.254.170.23", "ASIAPOD");
        // Not even a region is said: the machine knows it.
        store.gives_to("ASIAMACHINE", &[]);
        store.gives_to("ASIATASK", &[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/task"), REGION]);
        assert_eq!(task.lines(), ["GET /v2/credentials/task"]);
        let token = store.files.write("token", pod.authorization());
        let token = token.to_str().expect("text");
        let full = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials");
        store.gives_to("ASIAPOD", &[full, ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token), REGION]);
        // A task without a role: nobody else's keys are taken for its own.
        let run = store.run(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/none"), REGION]);
        run.start().refused(77, "cannot get the container's AWS credentials: http://169.254.170.2 answered 404");
    });
}

#[test]
fn a_profiles_role_has_the_tasks_or_the_machines_keys_as_its_source() {
    needs_root!();
    in_own_network(|| {
        let store = Store::new();
        take_address("169.254.170.2/32");
        let (_machine, _task) = (at(LINK_LOCAL, "ASIAMACHINE"), at("169.254.170.2", "ASIATASK"));
        let authority = Authority::new();
        let first = std::fs::read_to_string(store.files.path().join("ca.pem")).expect("it is ours");
        store.files.write("both.pem", format!("{first}{}", authority.pem()));
        let sts = Server::start(Some(&authority.server()), |_, stream| {
            let keys =
                "<AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>x</SecretAccessKey><SessionToken>t</SessionToken>";
            handfast_testservers::write_answer(stream, 200, &[], keys.as_bytes())
        });
        for (source, id) in [("EcsContainer", "ASIATASK"), ("Ec2InstanceMetadata", "ASIAMACHINE")] {
            let profile = format!(
                "[default]\nrole_arn = arn:aws:iam::1:role/web\ncredential_source = {source}\nregion = us-east-1\n"
            );
            let config = store.files.write("config", profile);
            sts.forget();
            store.gives_to(
                "ASIAROLE",
                &[
                    ("AWS_CONFIG_FILE", config.to_str().expect("text")),
                    ("AWS_CA_BUNDLE", store.files.path().join("both.pem").to_str().expect("text")),
                    ("AWS_ENDPOINT_URL_STS", &sts.address()),
                    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/task"),
                ],
            );
            let requests = sts.requests();
            let signed = requests[0].header("authorization").expect("it is signed");
            assert!(signed.contains(&format!("Credential={id}/")), "{source}: {signed}");
        }
    });
}

#[test]
fn by_ipv6_too() {
    needs_root!();
    if !require(Path::new("/proc/net/if_inet6").exists(), "IPv6") {
        return;
    }
    in_own_network(|| {
        let store = Store::new();
        ["fd00:ec2::254/128", "fd00:ec2::23/128"].into_iter().for_each(take_address);
        let (machine, pod) = (at("fd00:ec2::254", "ASIAMACHINE6"), at("fd00:ec2::23", "ASIAPOD6"));
        store.gives_to("ASIAMACHINE6", &[("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6")]);
        assert!(machine.lines().contains(&"PUT /latest/api/token".to_owned()));
        let token = store.files.write("token", pod.authorization());
        let full = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://[fd00:ec2::23]/v1/credentials");
        let token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.to_str().expect("text"));
        store.gives_to("ASIAPOD6", &[full, token, REGION]);
    });
}

/// As in Compose, where LocalStack is another container: over http, at an address of the network.
#[test]
fn an_endpoint_in_clear_text_elsewhere_is_asked_only_where_that_is_said() {
    needs_root!();
    in_own_network(|| {
        take_address("198.51.100.7/32");
        let Some(moto) = Moto::start_at("198.51.100.7") else { return };
        moto.must("secretsmanager.CreateSecret", json!({ "Name": "prod/db", "SecretString": "of the manager" }));
        let parameter = json!({ "Name": "/prod/key", "Value": "of the parameter", "Type": "SecureString" });
        moto.must("AmazonSSM.PutParameter", parameter);
        let (id, secret) = moto.access_key();
        let run = |settings: &str| {
            Run::new()
                .config(&format!("[providers.aws]\nregion = \"us-east-1\"\n{settings}"))
                .env("AWS_ACCESS_KEY_ID", id)
                .env("AWS_SECRET_ACCESS_KEY", secret)
                .env("DB_FILE", "handfast:aws:sm/prod/db")
                .env("KEY_FILE", "handfast:aws:ssm/prod/key")
        };
        let (address, port) = (moto.address(), moto.address().rsplit(':').next().expect("a port"));
        let (key, allowed) = (format!("endpoint = \"{address}\"\n"), "danger_plaintext = true\n");
        for settings in [key.clone(), format!("{key}danger_plaintext = false\n")] {
            let outcome = run(&settings).start();
            outcome.refused(78, &format!("{address} is not encrypted, and not on this machine"));
            outcome.says("`danger_plaintext = true`");
        }
        for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL_SSM"] {
            let outcome = run("").env(variable, address).start();
            outcome.refused(78, "is not encrypted, and not on this machine");
            outcome.says(variable).says("`danger_plaintext = true`");
        }
        for outcome in [
            run(&format!("{key}{allowed}")).start(),
            run(allowed).env("AWS_ENDPOINT_URL", address).start(),
            run(allowed)
                .env("AWS_ENDPOINT_URL_SECRETS_MANAGER", address)
                .env("AWS_ENDPOINT_URL_SSM", format!("http://198.51.100.7:{port}/"))
                .start(),
        ] {
            let app = outcome.ran();
            assert_eq!(app["descriptors"][3]["content"], hex("of the manager"), "{outcome:?}");
            assert_eq!(app["descriptors"][4]["content"], hex("of the parameter"), "{outcome:?}");
            outcome.says("warn: `danger_plaintext`");
        }
    });
}
