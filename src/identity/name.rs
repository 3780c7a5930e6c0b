//! Users and groups as settings write them: either a name or a number.
#![forbid(unsafe_code)]

use handfast_core::{Complaint, excerpt};

const EXPECTED: &str = "write a name, a uid, or both ids as uid:gid";

/// A user or a group, by name or by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// The number itself.
    Number(u32),
    /// A name, not yet looked up.
    Text(String),
}

/// `USER[:GROUP]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserName {
    /// The user.
    pub user: Name,
    /// The group, if there is one.
    pub group: Option<Name>,
}

impl UserName {
    /// Reads `USER[:GROUP]`.
    pub fn parse(text: &str) -> Result<Self, Complaint> {
        let wrong = |why: String| Complaint::new(format!("`{}` is no user: {why}", excerpt(text))).hint(EXPECTED);
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let part = |part: &str, what: &str| parse(part).map_err(|why| wrong(format!("the {what} {why}")));
        Ok(Self { user: part(user, "user")?, group: group.map(|group| part(group, "group")).transpose()? })
    }
}

impl Name {
    /// Reads one group.
    pub fn parse(text: &str) -> Result<Self, Complaint> {
        parse(text).map_err(|why| {
            Complaint::new(format!("`{}` is no group: it {why}", excerpt(text))).hint("write a name or a gid")
        })
    }
}

fn parse(text: &str) -> Result<Name, String> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        return parse_id(text).map(Name::Number);
    }
    // Other programs read a text that begins with a sign as a number. The other characters here cannot be part of a name in
    // /etc/passwd.
    let wrong = |character: char| character.is_whitespace() || character.is_control() || ":,/".contains(character);
    match text.chars().next() {
        None => Err("is empty".into()),
        Some('-' | '+') => Err("starts with a sign".into()),
        Some(_) => match text.chars().find(|character| wrong(*character)) {
            Some(character) => Err(format!("holds {character:?}")),
            None => Ok(Name::Text(text.into())),
        },
    }
}

/// Reads a number as an id: decimal digits only. Refuses values that other programs read differently.
pub(super) fn parse_id(text: &str) -> Result<u32, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is no decimal number".into());
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err("starts with 0, which some read as octal".into());
    }
    match text.parse() {
        // -1 as u32: system calls read it as "do not change".
        Ok(u32::MAX) | Err(_) => Err(format!("is larger than {}", u32::MAX - 1)),
        Ok(id) => Ok(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> Name {
        Name::Text(name.into())
    }

    #[test]
    fn names_and_numbers_are_told_apart() {
        for (written, user, group) in [
            ("app", text("app"), None),
            ("0", Name::Number(0), None),
            ("1000", Name::Number(1000), None),
            ("4294967294", Name::Number(4_294_967_294), None),
            ("1000:5", Name::Number(1000), Some(Name::Number(5))),
            ("app:5", text("app"), Some(Name::Number(5))),
            ("1000:www-data", Name::Number(1000), Some(text("www-data"))),
            ("_apt", text("_apt"), None),
            ("machine$", text("machine$"), None),
            ("systemd.x", text("systemd.x"), None),
            // Names and never numbers, although other programs read them as numbers.
            ("0x10", text("0x10"), None),
            ("1e3", text("1e3"), None),
            ("1_000", text("1_000"), None),
            ("٣", text("٣"), None),
        ] {
            assert_eq!(UserName::parse(written), Ok(UserName { user, group }), "{written}");
        }
    }

    #[test]
    fn what_is_neither_is_refused_with_the_reason() {
        for (written, why) in [
            ("", "the user is empty"),
            (":", "the user is empty"),
            (":5", "the user is empty"),
            ("1000:", "the group is empty"),
            ("-1", "the user starts with a sign"),
            ("+5", "the user starts with a sign"),
            ("1000:-1", "the group starts with a sign"),
            ("4294967295", "the user is larger than 4294967294"),
            ("4294967296", "the user is larger than 4294967294"),
            ("0:4294967295", "the group is larger than 4294967294"),
            ("99999999999999999999999", "the user is larger than 4294967294"),
            ("00", "the user starts with 0, which some read as octal"),
            ("010", "the user starts with 0, which some read as octal"),
            (" 5", "the user holds ' '"),
            ("5 ", "the user holds ' '"),
            ("5\n", "the user holds '\\n'"),
            ("5\0", "the user holds '\\0'"),
            ("a/b", "the user holds '/'"),
            ("a,b", "the user holds ','"),
            ("1:2:3", "the group holds ':'"),
            ("\u{2003}5", "the user holds '\\u{2003}'"),
        ] {
            let expected = format!("`{}` is no user: {why}", excerpt(written));
            assert_eq!(UserName::parse(written).unwrap_err().message, expected);
        }
        assert_eq!(Name::parse("").unwrap_err().message, "`` is no group: it is empty");
    }

    #[test]
    fn an_id_is_decimal_digits_only() {
        assert_eq!(parse_id("0"), Ok(0));
        for wrong in ["", "-0", "+1", "0x1", "1e3", " 1", "1 ", "٣", "01", "4294967295", "18446744073709551616"] {
            assert!(parse_id(wrong).is_err(), "{wrong}");
        }
    }
}
