//! slapd from Debian, with a directory that has one user.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use crate::directory::Directory;
use crate::process::{Process, free_port};
use crate::random;
use crate::requirements::{find_program, require};

const USER: &str = "web";

/// An LDAP server.
pub struct Ldap {
    _process: Process,
    port: u16,
    password: String,
}

impl Ldap {
    /// Starts a server with the user `web`, who is in no group.
    pub fn start() -> Option<Self> {
        let (slapd, slapadd) = (find_program("slapd"), find_program("slapadd"));
        if !require(slapd.is_some() && slapadd.is_some(), "slapd") {
            return None;
        }
        let text = |path: Option<std::path::PathBuf>| path.expect("it was found").display().to_string();
        let (directory, password, port) = (Directory::new(), random(""), free_port());
        fs::create_dir(directory.path().join("data")).expect("it is ours");
        let configuration = directory.file("slapd.conf");
        // The password is not hashed: only this test can read the file.
        directory.write("slapd.conf", CONFIGURATION.replace("DIRECTORY", &directory.path().display().to_string()));
        directory.write("content.ldif", CONTENT.replace("PASSWORD", &password));
        let content = directory.file("content.ldif");
        let added = Command::new(text(slapadd)).args(["-q", "-f", &configuration, "-l", &content]).output();
        let added = added.expect("slapadd starts");
        assert!(added.status.success(), "slapadd: {}", String::from_utf8_lossy(&added.stderr));
        let url = format!("ldap://127.0.0.1:{port}");
        // With a debug level, even none, slapd stays in the foreground.
        let command = [&*text(slapd), "-f", &configuration, "-h", &url, "-d", "0"];
        let mut process = Process::start("slapd", directory, &command, &[]);
        process.wait_for(|| TcpStream::connect(("127.0.0.1", port)).ok());
        Some(Self { _process: process, port, password })
    }

    /// `ldap://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// The subtree with the users.
    pub fn user_dn(&self) -> &'static str {
        "ou=people,dc=example,dc=org"
    }

    /// The name of the user.
    pub fn user(&self) -> &'static str {
        USER
    }

    /// The password of the user.
    pub fn password(&self) -> &str {
        &self.password
    }
}

const CONFIGURATION: &str = "\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile DIRECTORY/slapd.pid
database mdb
suffix dc=example,dc=org
directory DIRECTORY/data
access to attrs=userPassword by anonymous auth by * none
access to * by * read
";

const CONTENT: &str = "\
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: uid=web,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: web
cn: web
sn: web
userPassword: PASSWORD
";
