//! Properties that hold for every text that is parsed as a reference, tested with many generated texts.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, reason = "what is not there fails its test")]

use handfast_core::{Complaint, Decode, OWN_PARAMETERS, SecretRef, Selection};

/// A generator of pseudo-random numbers (xorshift64*). Its numbers are the same in each run, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
    }

    fn pick<'p>(&mut self, from: &[&'p str]) -> &'p str {
        from[self.next(from.len())]
    }

    /// A text of pieces with a meaning to the parser, pieces without one, and any characters.
    fn text(&mut self) -> String {
        const PIECES: &[&str] = &[
            "mock",
            "file",
            "vault",
            ":",
            ":",
            "#",
            "#",
            "?",
            "?",
            "&",
            "=",
            "=",
            "/",
            "%",
            "%3F",
            "%23",
            "%25",
            "%2",
            "%3f",
            "decode",
            "base64",
            "decode=base64",
            "trim=newline",
            "version",
            "*",
            "a",
            "é",
            "€",
            "%é",
            "\0",
            "\n",
            "\u{7f}",
            "\u{85}",
            " ",
            "..",
            "-",
            "_",
            "~0",
            "~1",
        ];
        let mut text = String::new();
        for _ in 0..self.next(12) {
            match self.next(8) {
                0 => text.extend(char::from_u32(self.next(0x11_0000) as u32)),
                _ => text.push_str(self.pick(PIECES)),
            }
        }
        text
    }
}

#[test]
fn no_text_makes_the_parser_panic_and_a_parsed_reference_displays_as_written() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..100_000 {
        // Half of the texts begin as a reference does, since few others would pass the first check.
        let text = if random.next(2) == 0 { random.text() } else { format!("mock:a{}", random.text()) };
        match SecretRef::parse(&text) {
            Ok(reference) => {
                read += 1;
                assert_eq!(reference.to_string(), text);
                assert_eq!(SecretRef::parse(&reference.to_string()).unwrap(), reference);
                holds(&reference, &text);
            }
            Err(Complaint { message, hint }) => {
                refused += 1;
                assert!(
                    !message.is_empty() && hint.is_some_and(|hint| !hint.is_empty()),
                    "{text:?} is refused without a word"
                );
                assert!(!message.contains(char::is_control), "{message:?}");
            }
        }
    }
    assert!(read > 10_000 && refused > 10_000, "{read} were read, {refused} refused: the generator is one-sided");
}

/// Checks the properties of a parsed reference.
fn holds(reference: &SecretRef, text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(text.starts_with(&format!("{}:", reference.provider)), "{text:?}");
    assert!(!reference.locator.path.is_empty(), "{text:?}");
    assert!(OWN_PARAMETERS.iter().all(|key| reference.locator.parameter(key).is_none()), "{text:?}");
    assert!(reference.locator.parameters.is_sorted(), "{text:?}");
    assert_eq!(reference.selection == Selection::Whole, !text.contains('#'), "{text:?}");
    if reference.decode == Decode::Base64 {
        assert!(text.contains("decode=base64"), "{text:?}");
    }
}

#[test]
fn any_path_can_be_written_as_a_locator() {
    let mut random = Random(1);
    for _ in 0..10_000 {
        let path: String = random.text().chars().filter(|c| !c.is_control()).collect();
        if path.is_empty() {
            continue;
        }
        let written = path.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
        let reference = SecretRef::parse(&format!("file:{written}")).unwrap();
        assert_eq!(reference.locator.path, path);
        assert_eq!((reference.selection, reference.locator.parameters.len()), (Selection::Whole, 0));
    }
}
