//! The texts for AWS's codes and messages.

use super::*;

fn explained(code: &str, message: &str) -> ProviderError {
    let attempt = Attempt {
        what: "cannot read the secret `web/db`".into(),
        action: "secretsmanager:GetSecretValue",
        resource: "arn:aws:secretsmanager:eu-west-1:*:secret:web/db-??????".into(),
        region: "eu-west-1",
        restore: Some("aws secretsmanager restore-secret --secret-id web/db".into()),
    };
    let message = format!("{message} hunter2");
    let error = attempt.refused(&Refusal::of_item(Some(code), Some(&message)));
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    error
}

#[test]
fn a_code_and_a_message_select_a_text() {
    use ErrorKind::*;
    for (code, message, kind, text) in [
        ("ResourceNotFoundException", "Secrets Manager can't find the specified secret.", NotFound, "no such secret"),
        (
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
            NotFound,
            "no value yet",
        ),
        (
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret value for VersionId: x",
            NotFound,
            "no such version",
        ),
        ("ParameterNotFound", "", NotFound, "no such parameter"),
        ("ParameterVersionNotFound", "", NotFound, "no such version"),
        (
            "InvalidRequestException",
            "You can't perform this operation on the secret because it was marked for deletion.",
            NotFound,
            "scheduled for deletion",
        ),
        ("AccessDeniedException", "User: x is not authorized to perform: y", Denied, "access denied"),
        ("AccessDeniedException", "Access to KMS is not allowed", Denied, "KMS refuses"),
        (
            "AccessDeniedException",
            "The ciphertext refers to a customer master key that does not exist, or you are not allowed to access.",
            Denied,
            "KMS refuses",
        ),
        ("AccessDeniedException", "with an explicit deny in a service control policy", Denied, "control policy denies"),
        ("DecryptionFailure", "", Denied, "cannot be decrypted"),
        ("ThrottlingException", "Rate exceeded", Unavailable, "throttling"),
        ("ExpiredTokenException", "", Denied, "expired"),
        ("InvalidSignatureException", "Signature expired: 2015 is now earlier", Denied, "request time"),
        ("InvalidSignatureException", "The request signature we calculated", Denied, "not that of the access key"),
        ("UnrecognizedClientException", "", Denied, "does not know the access key"),
        ("ValidationException", "", Malformed, "(ValidationException)"),
        ("hunter2", "", Malformed, "as it is"),
    ] {
        let error = explained(code, message);
        assert_eq!(error.kind, kind, "{code} {message}");
        assert!(error.message.contains(text), "{code} {message}: {error}");
    }
}

#[test]
fn a_denial_says_what_to_allow() {
    let hint = explained("AccessDeniedException", "").hint.unwrap();
    assert_eq!(
        hint,
        "allow `secretsmanager:GetSecretValue` on `arn:aws:secretsmanager:eu-west-1:*:secret:web/db-??????`"
    );
}
