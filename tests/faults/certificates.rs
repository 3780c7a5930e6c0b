//! Certificates that people make, in a real TLS server of OpenSSL's: what each lacks, and what to do about it, is told; one that is
//! itself the trusted one is taken. Behind TLS the answers are a file in Vault's form: a fake of ours.

use std::process::Command;
use std::time::Duration;

use handfast_testservers::{Directory, Process, free_port};

use crate::support::{Outcome, Run, hex, needs_program};

/// Makes keys and certificates in a directory, as a user does.
struct Workshop {
    directory: Directory,
    openssl: String,
}

impl Workshop {
    fn new(openssl: &std::path::Path) -> Self {
        Self { directory: Directory::new(), openssl: openssl.to_str().expect("text").to_owned() }
    }

    /// Runs openssl in the directory.
    fn openssl(&self, words: &str) {
        let mut command = Command::new(&self.openssl);
        let output = command.args(words.split(' ')).current_dir(self.directory.path()).output().expect("it is there");
        assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A self-signed certificate `NAME.pem`, and its key.
    fn self_signed(&self, name: &str, key: &str, more: &str) {
        self.openssl(&format!(
            "req -x509 -nodes -days 2 -subj /CN={name} -newkey {key} -keyout {name}.key -out {name}.pem{more}"
        ));
    }

    /// A certificate of the authority `ca`, and its key.
    fn issued(&self, name: &str, key: &str, more: &str, extensions: &str) {
        self.openssl(&format!("req -nodes -subj /CN=127.0.0.1 -newkey {key} -keyout {name}.key -out {name}.csr"));
        let mut sign =
            format!("x509 -req -days 2 -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem{more}");
        if !extensions.is_empty() {
            self.directory.write("extensions", extensions);
            sign += " -extfile extensions";
        }
        self.openssl(&sign);
    }

    /// A start that asks a server with this certificate, and trusts that one.
    fn ask(&self, certificate: &str, trusted: &str) -> Outcome {
        let served = Directory::new();
        let port = free_port();
        for file in [format!("{certificate}.pem"), format!("{certificate}.key")] {
            served.write(&file, std::fs::read(self.directory.path().join(&file)).expect("it was made"));
        }
        std::fs::create_dir_all(served.path().join("v1/kv")).expect("it is ours");
        served.write("v1/kv/db", r#"{ "request_id": "1", "data": { "password": "there" } }"#);
        let (accept, pem, key) =
            (format!("127.0.0.1:{port}"), format!("{certificate}.pem"), format!("{certificate}.key"));
        // The weakest that OpenSSL lets a server have: it is handfast that is asked.
        let words = [
            &*self.openssl,
            "s_server",
            "-accept",
            &accept,
            "-cert",
            &pem,
            "-key",
            &key,
            "-WWW",
            "-cipher",
            "DEFAULT:@SECLEVEL=0",
        ];
        let mut server = Process::start("openssl s_server", served, &words, &[]);
        server.wait_for(|| std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        let config = format!(
            "[providers.vault]\naddress = \"https://127.0.0.1:{port}\"\nmounts = {{ kv = \"kv-v1\" }}\nroots = \"none\"\n\
             ca_file = \"{}/{trusted}.pem\"\n",
            self.directory.path().display()
        );
        let run = Run::new().config(&config).env("VAULT_TOKEN", "x").env("DB_FILE", "handfast:vault:kv/db#password");
        let outcome = run.start();
        assert!(outcome.elapsed < Duration::from_secs(5), "an untrusted server is not asked again: {outcome:?}");
        outcome
    }

    #[track_caller]
    fn refuses(&self, certificate: &str, trusted: &str, why: &str, hint: &str) {
        let outcome = self.ask(certificate, trusted);
        outcome.refused(76, why);
        let told = outcome.stderr.lines().find(|line| line.contains("hint: ")).unwrap_or_default();
        assert!(told.contains(hint), "no `{hint}`: {outcome:?}");
    }
}

const AUTHORITY: (&str, &str) = (
    "its certificate says of itself that it is an authority's (CA:TRUE)",
    "name the file of exactly this certificate in `ca_file`, or issue one with `basicConstraints = CA:FALSE`",
);
const NAMELESS: (&str, &str) = (
    "its certificate has no subject alternative name (SAN)",
    "a common name (CN) does not count: issue the certificate with the host of the address as its `subjectAltName`",
);
const FIRST: (&str, &str) = (
    "its certificate is of X.509's version 1",
    "issue one of version 3, which has a `subjectAltName`: `openssl x509 -req` needs `-extfile` or `-copy_extensions` for it",
);
const CLIENTS: (&str, &str) = (
    "its certificate is not valid for a server: its extended key usage leaves servers out",
    "issue it with `extendedKeyUsage = serverAuth`; a certificate for clients does not do",
);
const BY_P521: (&str, &str) = (
    "its certificate is signed with an ECDSA key on P-521, which is not supported here",
    "sign it with an RSA key of at least 2048 bits, an ECDSA key on P-256 or P-384, or an Ed25519 key, and SHA-256 or SHA-384",
);

const HERE: &str = " -addext subjectAltName=IP:127.0.0.1";
const P256: &str = "ec -pkeyopt ec_paramgen_curve:P-256";
const P521: &str = "ec -pkeyopt ec_paramgen_curve:P-521";

#[track_caller]
fn arrived(outcome: &Outcome) {
    assert_eq!(outcome.ran()["descriptors"][3]["content"], hex("there"), "{outcome:?}");
}

#[test]
fn a_self_signed_certificate_is_trusted_where_it_is_exactly_the_one_of_the_file() {
    let openssl = needs_program!("openssl");
    let shop = Workshop::new(&openssl);
    // What `openssl req -x509` makes says CA:TRUE.
    shop.self_signed("own", P256, HERE);
    arrived(&shop.ask("own", "own"));
    shop.self_signed("leaf", P256, &format!("{HERE} -addext basicConstraints=critical,CA:FALSE"));
    arrived(&shop.ask("leaf", "leaf"));
    // Another one with the same name and key is not the one that was named.
    shop.openssl("req -x509 -days 3 -subj /CN=own -key own.key -out again.pem -addext subjectAltName=IP:127.0.0.1");
    shop.refuses("own", "again", AUTHORITY.0, AUTHORITY.1);
    // Its name counts all the same.
    shop.self_signed("elsewhere", P256, " -addext subjectAltName=DNS:vault.internal,IP:10.0.0.1");
    shop.refuses(
        "elsewhere",
        "elsewhere",
        "its certificate is for another name",
        "is for: `vault.internal`, `10.0.0.1`; for an address it needs the address in its `subjectAltName`, as `IP:…`",
    );
    shop.self_signed("nameless", P256, "");
    shop.refuses("nameless", "nameless", NAMELESS.0, NAMELESS.1);
}

#[test]
fn what_is_wrong_with_a_certificate_is_told_with_what_to_do() {
    let openssl = needs_program!("openssl");
    let shop = Workshop::new(&openssl);
    shop.self_signed("ca", "rsa:2048", "");
    let here = "subjectAltName=IP:127.0.0.1\n";
    shop.issued("good", P256, "", here);
    arrived(&shop.ask("good", "ca"));
    shop.issued("nameless", P256, "", "keyUsage=digitalSignature\n");
    shop.refuses("nameless", "ca", NAMELESS.0, NAMELESS.1);
    shop.issued("first", P256, "", "");
    shop.refuses("first", "ca", FIRST.0, FIRST.1);
    shop.issued("old", P256, " -sha1", here);
    shop.refuses(
        "old",
        "ca",
        "its certificate is signed with SHA-1, which can be forged",
        "issue it anew, signed with SHA-256",
    );
    shop.issued("client", P256, "", &format!("{here}extendedKeyUsage=clientAuth\n"));
    shop.refuses("client", "ca", CLIENTS.0, CLIENTS.1);
    shop.issued("authority", P256, "", &format!("{here}basicConstraints=CA:TRUE\n"));
    shop.refuses("authority", "ca", AUTHORITY.0, AUTHORITY.1);
    // A server with such a key has nothing to sign the handshake with that we take.
    shop.issued("p521", P521, "", here);
    shop.refuses("p521", "ca", "it ended TLS with the alert HandshakeFailure", "ECDSA on P-256 or P-384");
    shop.self_signed("stranger", P256, HERE);
    shop.refuses("good", "stranger", "from an unknown authority", "`ca_file`");
}

#[test]
fn an_authority_whose_signatures_are_not_known_is_told() {
    let openssl = needs_program!("openssl");
    let shop = Workshop::new(&openssl);
    shop.self_signed("ca", P521, "");
    for (name, digest) in [("long", " -sha512"), ("short", " -sha256")] {
        shop.issued(name, P256, digest, "subjectAltName=IP:127.0.0.1\n");
        shop.refuses(name, "ca", BY_P521.0, BY_P521.1);
    }
}
