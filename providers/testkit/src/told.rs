//! What users are told, word for word.

use handfast_core::ProviderError;

/// Asserts that all that an error says, its message and its hint behind a `|`, is a line of `list`, in which `~` stands for
/// what is another each time: `cannot log in at `auth/~`: the role id is not valid | …`.
///
/// With HANDFAST_UPDATE in the environment, what is in no line is printed instead.
#[track_caller]
#[allow(clippy::print_stderr)]
pub fn assert_told(error: &ProviderError, list: &str) {
    let told = match &error.hint {
        Some(hint) => format!("{error} | {hint}"),
        None => error.to_string(),
    };
    if list.lines().any(|line| fits(line, &told)) {
        return;
    }
    assert!(std::env::var_os("HANDFAST_UPDATE").is_some(), "in no line of the list: {told}");
    eprintln!("in no line: {told}");
}

fn fits(line: &str, told: &str) -> bool {
    let mut parts = line.split('~');
    let Some(mut rest) = parts.next().and_then(|first| told.strip_prefix(first)) else { return false };
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
    fn a_line_fits_from_end_to_end() {
        for (line, told, expected) in [
            ("a b", "a b", true),
            ("a b", "a b c", false),
            ("b", "a b", false),
            ("a ~ c", "a b c", true),
            ("a ~ c ~", "a b c d", true),
            ("a ~ c", "a b c d", false),
            ("a ~ x ~ c", "a b c", false),
            ("", "a", false),
        ] {
            assert_eq!(fits(line, told), expected, "{line}: {told}");
        }
    }
}
