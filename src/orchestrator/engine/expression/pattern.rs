//! Regular expressions with Java's meaning of `matches`, `replaceAll` and `split`, in linear time.
//!
//! Look-around and back-references do not exist here; a pattern that has them is refused, and the refusal says so.

use regex::Captures;
use regex::Regex;
use regex::RegexBuilder;

use super::budget::Budget;
use super::error::Problem;
use super::limit;

/// Steps that compiling a pattern counts for: it takes up to some milliseconds.
const COMPILE: usize = 5_000;

fn compile(budget: &Budget, source: &str, text: &str) -> Result<Regex, Problem> {
    budget.work(COMPILE + text.len() / 16)?;
    let built = RegexBuilder::new(source).size_limit(limit::PATTERN_BYTES).dfa_size_limit(4 * limit::PATTERN_BYTES).build();
    built.map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Problem::unfit(format!("the regular expression cannot be used: {reason}"))
    })
}

/// The whole text matches.
pub fn matches(budget: &Budget, text: &str, source: &str) -> Result<bool, Problem> {
    compile(budget, &format!(r"\A(?:{source})\z"), text).map(|regex| regex.is_match(text))
}

/// Every match, or the first one, is replaced; `$1` and `${name}` in the replacement stand for groups, a backslash takes a character as it is.
pub fn replace(budget: &Budget, text: &str, source: &str, replacement: &str, all: bool) -> Result<String, Problem> {
    let regex = compile(budget, source, text)?;
    let mut made = String::new();
    let mut from = 0;
    for found in regex.captures_iter(text).take(if all { usize::MAX } else { 1 }) {
        let whole = found.get_match();
        push(budget, &mut made, &text[from..whole.start()])?;
        expand(budget, &mut made, &found, replacement)?;
        from = whole.end();
    }
    push(budget, &mut made, &text[from..])?;
    Ok(made)
}

fn push(budget: &Budget, made: &mut String, text: &str) -> Result<(), Problem> {
    budget.room(text.len())?;
    budget.work(1)?;
    made.push_str(text);
    Ok(())
}

fn expand(budget: &Budget, made: &mut String, found: &Captures<'_>, replacement: &str) -> Result<(), Problem> {
    let bad = || Problem::unfit("the replacement names a group that the regular expression does not have");
    let mut rest = replacement;
    while let Some(at) = rest.find(['$', '\\']) {
        push(budget, made, &rest[..at])?;
        let sign = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        if sign == b'\\' {
            let c = rest.chars().next().ok_or_else(|| Problem::unfit("the replacement ends in a backslash"))?;
            push(budget, made, &rest[..c.len_utf8()])?;
            rest = &rest[c.len_utf8()..];
            continue;
        }
        if let Some(named) = rest.strip_prefix('{') {
            let (name, after) = named.split_once('}').ok_or_else(bad)?;
            push(budget, made, found.name(name).ok_or_else(bad)?.as_str())?;
            rest = after;
            continue;
        }
        // As many digits as still name a group.
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let group = |n: usize| rest[..n].parse::<usize>().ok().filter(|group| *group < found.len());
        let length = (1..=digits).rev().find(|n| group(*n).is_some()).ok_or_else(bad)?;
        let text = group(length).and_then(|n| found.get(n)).map_or("", |m| m.as_str());
        push(budget, made, text)?;
        rest = &rest[length..];
    }
    push(budget, made, rest)
}

/// The pieces between matches. Without a positive `most` empty pieces at the end are dropped, unless it is negative.
pub fn split(budget: &Budget, text: &str, source: &str, most: i64) -> Result<Vec<String>, Problem> {
    let regex = compile(budget, source, text)?;
    let mut pieces = Vec::new();
    let mut from = 0;
    let is_full = |count: usize| most > 0 && usize::try_from(most).is_ok_and(|most| count + 1 >= most);
    for found in regex.find_iter(text) {
        if is_full(pieces.len()) {
            break;
        }
        // A match without width gives no empty piece before the first character.
        if found.end() == 0 {
            continue;
        }
        if found.is_empty() && found.start() == text.len() {
            continue;
        }
        budget.room(32 + found.start() - from)?;
        pieces.push(text[from..found.start()].to_owned());
        from = found.end();
    }
    budget.room(32 + text.len() - from)?;
    pieces.push(text[from..].to_owned());
    if most == 0 && pieces.len() > 1 {
        let kept = pieces.iter().rposition(|piece| !piece.is_empty()).map_or(0, |n| n + 1);
        pieces.truncate(kept);
    }
    Ok(pieces)
}
