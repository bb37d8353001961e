//! Texts with `${…}` in them, taken apart.

use super::error::Error;
use super::error::Problem;

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'s> {
    /// Stays as it is.
    Text(&'s str),
    /// What stands between `${` and its `}`.
    Code {
        /// As it was written, blanks included.
        source: &'s str,
        /// Where it starts: bytes from the start of the text.
        at: usize,
    },
}

/// Begins an expression.
pub const OPEN: &str = "${";

/// The parts of a text in order. The end of an expression is found by its brackets and quotes, so a `}` within a text or a map does not end it.
pub fn parts(text: &str) -> Result<Vec<Part<'_>>, Error> {
    let mut parts = Vec::new();
    let mut from = 0;
    while let Some(found) = text[from..].find(OPEN) {
        let open = from + found;
        if found > 0 {
            parts.push(Part::Text(&text[from..open]));
        }
        let at = open + OPEN.len();
        let end = end(text, at)?;
        if text[at..end].trim().is_empty() {
            return Err(Problem::Syntax("there is no expression between '${' and '}'".into()).at(open));
        }
        parts.push(Part::Code { source: &text[at..end], at });
        from = end + 1;
    }
    if from < text.len() {
        parts.push(Part::Text(&text[from..]));
    }
    Ok(parts)
}

/// Place of the `}` that ends the expression that starts at `from`.
fn end(text: &str, from: usize) -> Result<usize, Error> {
    let mut open = Vec::new();
    let mut places = text.as_bytes()[from..].iter().enumerate().map(|(n, byte)| (from + n, *byte));
    while let Some((at, byte)) = places.next() {
        let close = match byte {
            b'\'' | b'"' => {
                if !places.any(|(_, b)| b == byte) {
                    return Err(Problem::Syntax("the text is not closed".into()).at(at));
                }
                continue;
            }
            b'(' => b')',
            b'[' => b']',
            b'{' => b'}',
            b'}' if open.is_empty() => return Ok(at),
            b')' | b']' | b'}' => {
                if open.pop() != Some(byte) {
                    return Err(Problem::Syntax(format!("'{}' closes nothing", char::from(byte))).at(at));
                }
                continue;
            }
            _ => continue,
        };
        open.push(close);
    }
    Err(Problem::Syntax("there is no '}' to this '${'".into()).at(from - OPEN.len()))
}
