//! The stores that the commands of the README and of docs/stores.md ask, all of them at once, with the secrets that those name.

use std::fs;

use handfast_testservers::{AZURES_NAMES, Azure, Directory, Moto, REGION, TENANT, Vault};
use serde_json::json;

use crate::support::canary;

/// A Vault, an AWS and an Azure, and what leads to them.
pub struct Stores {
    vault: Vault,
    moto: Moto,
    azure: Azure,
    /// An application's id, and its client secret.
    application: (String, String),
    files: Directory,
    /// References, and the values that they stand for.
    pub secrets: [(&'static str, String); 6],
}

impl Stores {
    /// In a network of the test's own, where Azure's port is free.
    pub fn start() -> Option<Self> {
        let (vault, moto, azure) = (Vault::start()?, Moto::start()?.with_tls(), Azure::in_this_network()?);
        let [mounted, of_vault, of_manager, of_parameters, of_azure] = [(); 5].map(|()| canary());
        vault.must("POST", "secret/data/web/db", json!({ "data": { "password": of_vault } }));
        let secret = json!({ "Name": "web/db", "SecretString": json!({ "password": of_manager }).to_string() });
        moto.must("secretsmanager.CreateSecret", secret);
        let parameter = json!({ "Name": "/prod/web/api-key", "Value": of_parameters, "Type": "SecureString" });
        moto.must("AmazonSSM.PutParameter", parameter);
        azure.set_at("web.vault.azure.net", "db-password", &of_azure);

        let files = Directory::new();
        let authorities = [vault.ca_file().to_owned(), moto.ca_file().into(), azure.ca_file()];
        let authorities = authorities.map(|path| fs::read_to_string(path).expect("it is there"));
        files.write("authorities.pem", authorities.concat());
        files.write("handfast.toml", "[fetch]\nca_file = \"/authorities.pem\"\n");
        let secrets = [
            ("mock:db", "mock-db".to_owned()),
            ("file:/run/source/db", mounted),
            ("vault:secret/web/db#password", of_vault),
            ("aws:sm/web/db#password", of_manager),
            ("aws:ssm/prod/web/api-key", of_parameters),
            ("azure:web/db-password", of_azure),
        ];
        Some(Self { application: azure.application(), vault, moto, azure, files, secrets })
    }

    /// The value of a reference.
    pub fn secret(&self, reference: &str) -> &str {
        let found = self.secrets.iter().find(|(known, _)| *known == reference);
        &found.unwrap_or_else(|| panic!("nobody has {reference}")).1
    }

    /// What somebody who may read them has in the environment.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let (id, secret) = self.moto.access_key();
        vec![
            ("VAULT_ADDR", self.vault.address().to_owned()),
            ("VAULT_TOKEN", self.vault.root_token().to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", id.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", secret.to_owned()),
            ("AZURE_TENANT_ID", TENANT.to_owned()),
            ("AZURE_CLIENT_ID", self.application.0.clone()),
            ("AZURE_CLIENT_SECRET", self.application.1.clone()),
        ]
    }

    /// Options of `docker run`, for what is not as it is elsewhere: the clouds are on this machine, and nobody knows who has
    /// certified them. Azure has its own names here, AWS has not.
    pub fn options(&self) -> String {
        let hosts = AZURES_NAMES.map(|name| format!("--add-host {name}:127.0.0.1 ")).concat();
        let mount = |name: &str, path: &str| format!("--volume {}:{path}:ro", self.files.file(name));
        format!(
            "--network host {hosts}--env AWS_ENDPOINT_URL={} {} {}",
            self.moto.address(),
            mount("authorities.pem", "/authorities.pem"),
            mount("handfast.toml", "/etc/handfast.toml")
        )
    }

    /// How many requests for secrets have come to the vault `web` of Azure, under its own name.
    pub fn asked_azure(&self) -> usize {
        let hosts = self.azure.requests().into_iter().filter(|request| request["host"] == AZURES_NAMES[1]);
        hosts.filter(|request| request["authorized"] == true && request["method"] == "GET").count()
    }
}
