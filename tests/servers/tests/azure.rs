//! Microsoft's own clients accept the fake of Azure.

use std::process::Command;

use handfast_testservers::{Azure, Directory, microsofts_clients};

#[test]
fn microsofts_own_clients_find_what_they_expect() {
    let (Some(azure), Some(python)) = (Azure::start(), microsofts_clients()) else { return };
    let directory = Directory::new();
    let client = directory.write("client.pem", include_str!("data/client.pem"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/azure/check.py");
    let [_, (_, header)] = azure.app_service();
    let output = Command::new(python)
        .arg(script)
        .args([&azure.address(), azure.root()])
        .arg(azure.ca_file())
        .args([azure.metadata(), &header])
        .arg(client)
        .output()
        .expect("it starts");
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.contains("as Microsoft's clients expect"), "{told}{errors}");
}
