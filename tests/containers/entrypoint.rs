//! handfast as the entrypoint of an app's image.

use crate::container::run;
use crate::images::{SCRATCH, engine};
use crate::support::hex;

#[test]
fn an_app_in_an_image_of_its_own_gets_its_secret() {
    let Some(docker) = engine() else { return };
    let words = ["--tmpfs", "/run/secrets", "--env", "HANDFAST_DIR=/run/secrets"];
    let reference = ["--env", "DB_PASSWORD_FILE=handfast:mock:db", SCRATCH];
    let app = run(docker, &[&words[..], &reference].concat()).ran();
    assert_eq!(app["environ"]["DB_PASSWORD_FILE"], "/run/secrets/db-password");
    assert_eq!(app["CREDENTIALS_DIRECTORY"]["entries"]["db-password"]["content"], hex("mock-db"));
    assert_eq!(app["status"]["pid"], 1);
    // Without a directory, the same image delivers the same secret as a descriptor.
    let app = run(docker, &reference).ran();
    assert_eq!(app["environ"]["DB_PASSWORD_FILE"], "/dev/fd/3");
    assert_eq!(app["descriptors"][3]["content"], hex("mock-db"));
}
