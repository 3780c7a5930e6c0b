//! JSON as text. A delivered value is a part of the response's text: it is not parsed and serialized again.

use zeroize::Zeroizing;

/// Removes the white space between the tokens of a JSON text. Strings and numbers stay as they were written.
pub fn compact_json(text: &str) -> Zeroizing<String> {
    let mut compact = Zeroizing::new(String::with_capacity(text.len()));
    let (mut in_string, mut escaped) = (false, false);
    for character in text.chars() {
        if in_string {
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else if matches!(character, ' ' | '\t' | '\n' | '\r') {
            continue;
        } else {
            in_string = character == '"';
        }
        compact.push(character);
    }
    compact
}
