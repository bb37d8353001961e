//! Any text as one word of a tag's value, with no blank and no colon in it. Pure.
//!
//! What must stay true: AWS takes letters, numbers, blanks and `+-=.:/@_` in a tag of any service, and nothing else is written.

/// Before a byte that does not stand for itself, as two digits.
const ESCAPE: char = '_';

pub(super) fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"+-=./@".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("{ESCAPE}{b:02x}") }).collect()
}

pub(super) fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split(ESCAPE);
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(part.get(2..)?.as_bytes());
    }
    String::from_utf8(bytes).ok()
}
