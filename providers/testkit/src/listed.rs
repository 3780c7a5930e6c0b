//! Checks the texts of errors against a list.

use handfast_core::ProviderError;

/// Asserts that the text of an error is a line of `list`: its message, and its hint after a `|`. In a line, `~` stands for a part
/// that differs from run to run: ``cannot log in at `auth/~`: the role id is not valid | …``.
///
/// With HANDFAST_UPDATE in the environment, a missing text is printed instead.
#[track_caller]
#[allow(clippy::print_stderr)]
pub fn assert_listed(error: &ProviderError, list: &str) {
    let text = match &error.hint {
        Some(hint) => format!("{error} | {hint}"),
        None => error.to_string(),
    };
    if list.lines().any(|line| matches(line, &text)) {
        return;
    }
    assert!(std::env::var_os("HANDFAST_UPDATE").is_some(), "in no line of the list: {text}");
    eprintln!("in no line: {text}");
}

fn matches(line: &str, text: &str) -> bool {
    let mut parts = line.split('~');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_must_match_the_whole_text() {
        for (line, text, expected) in [
            ("a b", "a b", true),
            ("a b", "a b c", false),
            ("b", "a b", false),
            ("a ~ c", "a b c", true),
            ("a ~ c ~", "a b c d", true),
            ("a ~ c", "a b c d", false),
            ("a ~ x ~ c", "a b c", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(line, text), expected, "{line}: {text}");
        }
    }
}
