//! The paths in references.

use handfast_core::{Complaint, Locator};

/// The path for the data that the session's own token wraps.
pub const UNWRAP: &str = "sys/wrapping/unwrap";

/// Whether a locator names every secret directly below a path: `kv/web/*`.
pub fn is_list(locator: &Locator) -> bool {
    locator.path.ends_with("/*")
}

/// The path of the request. A list's path keeps its slash at the end, because Vault's own client sends it, and policies include
/// it.
pub fn request_path(locator: &Locator) -> &str {
    locator.path.strip_suffix('*').filter(|_| is_list(locator)).unwrap_or(&locator.path)
}

/// Whether a locator is valid.
pub fn check(locator: &Locator) -> Result<(), Complaint> {
    let fail = |message: &str, hint: &str| Err(Complaint::new(message).hint(hint));
    let list = locator.path.strip_suffix("/*");
    let path = list.unwrap_or(&locator.path);
    let expected = "write the path as `vault kv get` or `vault read` takes it: `kv/web/db`";
    if path.is_empty() || path.starts_with('/') || path.ends_with('/') || path.contains("//") {
        return fail("the path has an empty part", expected);
    }
    if path.split('/').any(|part| part == "." || part == "..") {
        return fail("the path has `.` or `..` in it", expected);
    }
    if path.starts_with("v1/") {
        return fail("the path starts with `v1/`", "leave `v1/` out: the path is the one after it");
    }
    if list.is_none() && !path.contains('/') {
        return fail("the path names a mount, and nothing in it", expected);
    }
    if is_list(locator) && (locator.params.is_some() || !locator.parameters.is_empty()) {
        return fail("a list takes neither `params` nor a query", "name one secret, or leave them out");
    }
    if path == UNWRAP && (locator.params.is_some() || !locator.parameters.is_empty()) {
        return fail("what is unwrapped is the login's token", "leave `params` and the query out");
    }
    if let Some(version) = locator.parameter("version") {
        if !version.bytes().all(|byte| byte.is_ascii_digit()) || version.parse::<u32>().map_or(true, |n| n == 0) {
            return fail("`version` is not a number from 1 on", "`?version=3` is the third version of a KV 2 secret");
        }
        if locator.params.is_some() {
            return fail("`version` is of a KV 2 secret, and `params` makes it a write", "leave one of them out");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use handfast_core::SecretRef;

    use super::*;

    fn checked(reference: &str) -> Result<(), Complaint> {
        check(&SecretRef::parse(reference).unwrap().locator)
    }

    #[test]
    fn paths_have_the_form_of_vaults_commands() {
        for good in
            ["vault:kv/web/db", "vault:kv/web/db?version=3#a", "vault:kv/*", "vault:a/b.c/d e/..f", "vault:a/%3F"]
        {
            assert!(checked(good).is_ok(), "{good}");
        }
        for bad in [
            "vault:kv",
            "vault:/kv/web",
            "vault:kv/web/",
            "vault:kv//web",
            "vault:kv/../sys/raw",
            "vault:kv/./web",
            "vault:v1/kv/web",
            "vault:*",
            "vault:/*",
            "vault:kv/web?version=0",
            "vault:kv/web?version=latest",
            "vault:kv/web?version=-1",
            "vault:kv/web?version=4294967296",
            "vault:kv/web/*?version=1",
            "vault:sys/wrapping/unwrap?version=1",
        ] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
