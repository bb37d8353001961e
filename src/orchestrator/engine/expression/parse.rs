//! Text to [`Expr`]. Spring's grammar, without assignment, beans, arrays and anything that would need reflection.
//!
//! The choice is always made on the next character, so an error stands where the reader stopped understanding.

use winnow::Parser;
use winnow::error::ParserError;
use winnow::stream::LocatingSlice;
use winnow::stream::Location;
use winnow::stream::Stateful;
use winnow::stream::Stream;
use winnow::token::literal;
use winnow::token::take_while;

use super::error::Error;
use super::error::Problem;
use super::limit;
use super::syntax::Ask;
use super::syntax::Binary;
use super::syntax::Expr;
use super::syntax::Kind;
use super::syntax::Link;
use super::syntax::Unary;
use super::syntax::Which;

/// Reads a whole source.
pub fn parse(source: &str) -> Result<Expr, Error> {
    if source.len() > limit::SOURCE_CHARS && source.chars().count() > limit::SOURCE_CHARS {
        return Err(Problem::TooLong.at(0));
    }
    let mut input = Stateful { input: LocatingSlice::new(source), state: 0 };
    let read = expression(&mut input).and_then(|expr| {
        blank(&mut input);
        if rest(&input).is_empty() { Ok(expr) } else { Err(wanted(&input, "an operator or the end")) }
    });
    read.map_err(|fault| fault.problem.at(fault.at))
}

/// State: levels of nesting so far.
type Input<'s> = Stateful<LocatingSlice<&'s str>, u32>;

struct Fault {
    problem: Problem,
    at: usize,
}

impl ParserError<Input<'_>> for Fault {
    type Inner = Self;

    fn from_input(input: &Input<'_>) -> Self {
        wanted(input, "something else")
    }

    fn into_inner(self) -> Result<Self, Self> {
        Ok(self)
    }
}

fn wanted(input: &Input<'_>, what: &str) -> Fault {
    let found = match rest(input).chars().next() {
        Some(c) => format!("found '{c}'"),
        None => "the expression ends".to_owned(),
    };
    Fault { problem: Problem::Syntax(format!("expected {what}, {found}")), at: input.current_token_start() }
}

fn rest<'s>(input: &Input<'s>) -> &'s str {
    input.input.as_ref()
}

fn blank(input: &mut Input<'_>) {
    let gap = rest(input).len() - rest(input).trim_start_matches([' ', '\t', '\r', '\n']).len();
    input.next_slice(gap);
}

/// Takes `text` if it is next.
fn accept(input: &mut Input<'_>, text: &str) -> bool {
    let next = rest(input).starts_with(text);
    if next {
        input.next_slice(text.len());
    }
    next
}

fn expect(input: &mut Input<'_>, text: &'static str) -> Result<(), Fault> {
    blank(input);
    literal(text).void().parse_next(input).map_err(|_: Fault| wanted(input, &format!("'{text}'")))
}

fn is_start(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == '$'
}

fn is_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Takes this word, in any case, if it is next as a whole.
fn accept_word(input: &mut Input<'_>, word: &str) -> bool {
    let text = rest(input);
    let fits = text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word)) && !text[word.len()..].starts_with(is_part);
    if fits {
        input.next_slice(word.len());
    }
    fits
}

fn name(input: &mut Input<'_>) -> Result<String, Fault> {
    blank(input);
    if !rest(input).starts_with(is_start) {
        return Err(wanted(input, "a name"));
    }
    take_while(1.., is_part).parse_next(input).map(str::to_owned)
}

fn qualified(input: &mut Input<'_>) -> Result<String, Fault> {
    let mut whole = name(input)?;
    while accept(input, ".") {
        whole.push('.');
        whole.push_str(&name(input)?);
    }
    Ok(whole)
}

/// Goes one level deeper, and comes back.
fn nested<T>(input: &mut Input<'_>, inner: impl FnOnce(&mut Input<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
    if input.state >= limit::DEPTH {
        return Err(Fault { problem: Problem::TooDeep, at: input.current_token_start() });
    }
    input.state += 1;
    let read = inner(input);
    input.state -= 1;
    read
}

fn expression(input: &mut Input<'_>) -> Result<Expr, Fault> {
    nested(input, |input| {
        let first = level(input, 0)?;
        let at = first.at;
        blank(input);
        if accept(input, "?:") {
            let other = expression(input)?;
            return Ok(Expr { kind: Kind::Elvis(first.into(), other.into()), at });
        }
        if accept(input, "?") {
            let yes = expression(input)?;
            expect(input, ":")?;
            let no = expression(input)?;
            return Ok(Expr { kind: Kind::Ternary(first.into(), yes.into(), no.into()), at });
        }
        Ok(first)
    })
}

/// Operators by level, weakest first; of signs that begin alike the longer one first.
const LEVELS: &[&[(&str, Binary)]] = &[
    &[("||", Binary::Or), ("or", Binary::Or)],
    &[("&&", Binary::And), ("and", Binary::And)],
    &[
        ("==", Binary::Equal),
        ("!=", Binary::NotEqual),
        ("<=", Binary::LessOrEqual),
        (">=", Binary::GreaterOrEqual),
        ("<", Binary::Less),
        (">", Binary::Greater),
        ("eq", Binary::Equal),
        ("ne", Binary::NotEqual),
        ("lt", Binary::Less),
        ("le", Binary::LessOrEqual),
        ("gt", Binary::Greater),
        ("ge", Binary::GreaterOrEqual),
        ("matches", Binary::Matches),
        ("between", Binary::Between),
        ("instanceof", Binary::InstanceOf),
    ],
    &[("+", Binary::Add), ("-", Binary::Subtract)],
    &[("*", Binary::Multiply), ("/", Binary::Divide), ("%", Binary::Remainder), ("div", Binary::Divide), ("mod", Binary::Remainder)],
    &[("^", Binary::Power)],
];

/// Comparisons do not chain: `a < b < c` has no meaning.
const COMPARISON: usize = 2;

fn level(input: &mut Input<'_>, n: usize) -> Result<Expr, Fault> {
    let Some(operators) = LEVELS.get(n) else { return unary(input) };
    let first = level(input, n + 1)?;
    let mut more = Vec::new();
    while more.is_empty() || n != COMPARISON {
        blank(input);
        let taken =
            operators.iter().find(|(sign, _)| if sign.starts_with(is_start) { accept_word(input, sign) } else { accept(input, sign) });
        let Some((_, op)) = taken else { break };
        more.push((*op, level(input, n + 1)?));
    }
    let at = first.at;
    Ok(if more.is_empty() { first } else { Expr { kind: Kind::Fold(first.into(), more), at } })
}

fn unary(input: &mut Input<'_>) -> Result<Expr, Fault> {
    blank(input);
    let at = input.current_token_start();
    let sign = match rest(input).chars().next() {
        Some('-') => Some((1, Unary::Minus)),
        Some('+') => Some((1, Unary::Plus)),
        Some('!') => Some((1, Unary::Not)),
        _ => None,
    };
    let sign = match sign {
        Some((length, op)) => {
            input.next_slice(length);
            Some(op)
        }
        None => accept_word(input, "not").then_some(Unary::Not),
    };
    match sign {
        Some(op) => Ok(Expr { kind: Kind::Unary(op, nested(input, unary)?.into()), at }),
        None => chain(input),
    }
}

fn chain(input: &mut Input<'_>) -> Result<Expr, Fault> {
    let start = start(input)?;
    let mut links = Vec::new();
    while let Some(link) = link(input)? {
        links.push(link);
    }
    let at = start.at;
    Ok(if links.is_empty() { start } else { Expr { kind: Kind::Chain(start.into(), links), at } })
}

fn link(input: &mut Input<'_>) -> Result<Option<Link>, Fault> {
    blank(input);
    let at = input.current_token_start();
    let ask = |ask, safe| Ok(Some(Link { ask, safe, at }));
    if accept(input, "[") {
        return ask(Ask::Index(bracketed(input)?), false);
    }
    let safe = accept(input, "?.");
    if !safe && !accept(input, ".") {
        return Ok(None);
    }
    blank(input);
    for (sign, which) in [("?[", Which::All), ("^[", Which::First), ("$[", Which::Last)] {
        if accept(input, sign) {
            return ask(Ask::Select(which, bracketed(input)?), safe);
        }
    }
    if accept(input, "![") {
        return ask(Ask::Project(bracketed(input)?), safe);
    }
    if accept(input, "[") {
        return ask(Ask::Index(bracketed(input)?), safe);
    }
    let name = name(input)?;
    match arguments(input)? {
        Some(arguments) => ask(Ask::Call(name, arguments), safe),
        None => ask(Ask::Name(name), safe),
    }
}

fn bracketed(input: &mut Input<'_>) -> Result<Box<Expr>, Fault> {
    let inner = expression(input)?;
    expect(input, "]")?;
    Ok(inner.into())
}

/// `(…)` if it is next.
fn arguments(input: &mut Input<'_>) -> Result<Option<Vec<Expr>>, Fault> {
    blank(input);
    if !accept(input, "(") {
        return Ok(None);
    }
    list(input, ")").map(Some)
}

/// Expressions up to `end`.
fn list(input: &mut Input<'_>, end: &'static str) -> Result<Vec<Expr>, Fault> {
    let mut items = Vec::new();
    blank(input);
    if accept(input, end) {
        return Ok(items);
    }
    loop {
        items.push(expression(input)?);
        blank(input);
        if !accept(input, ",") {
            expect(input, end)?;
            return Ok(items);
        }
    }
}

fn start(input: &mut Input<'_>) -> Result<Expr, Fault> {
    blank(input);
    let at = input.current_token_start();
    let kind = match rest(input).chars().next() {
        Some('(') => {
            input.next_slice(1);
            let inner = expression(input)?;
            expect(input, ")")?;
            return Ok(inner);
        }
        Some(quote @ ('\'' | '"')) => Kind::Text(text(input, quote)?),
        Some('0'..='9') => number(input)?,
        Some('{') => braces(input)?,
        Some('#') => {
            input.next_slice(1);
            let name = name(input)?;
            match arguments(input)? {
                Some(arguments) => Kind::Function(name, arguments),
                None => Kind::Variable(name),
            }
        }
        // What is indexed is what is looked at; the chain takes the bracket.
        Some('[') => Kind::Variable("this".into()),
        Some(c) if is_start(c) => word(input)?,
        Some(_) | None => return Err(wanted(input, "a value")),
    };
    Ok(Expr { kind, at })
}

fn word(input: &mut Input<'_>) -> Result<Kind, Fault> {
    for (word, kind) in [("null", Kind::Null), ("true", Kind::Bool(true)), ("false", Kind::Bool(false))] {
        if accept_word(input, word) {
            return Ok(kind);
        }
    }
    if rest(input).starts_with("new ") {
        input.next_slice("new".len());
        let class = qualified(input)?;
        let arguments = arguments(input)?.ok_or_else(|| wanted(input, "'('"))?;
        return Ok(Kind::New(class, arguments));
    }
    let name = name(input)?;
    if name == "T" {
        blank(input);
        if accept(input, "(") {
            let class = qualified(input)?;
            expect(input, ")")?;
            return Ok(Kind::Type(class));
        }
    }
    Ok(match arguments(input)? {
        Some(arguments) => Kind::Call(name, arguments),
        None => Kind::Name(name),
    })
}

/// A quote is doubled to stand for itself; a backslash is a backslash.
fn text(input: &mut Input<'_>, quote: char) -> Result<String, Fault> {
    let begin = input.checkpoint();
    let mut whole = String::new();
    loop {
        input.next_slice(1);
        let Some(end) = rest(input).find(quote) else {
            input.reset(&begin);
            return Err(Fault { problem: Problem::Syntax("the text is not closed".into()), at: input.current_token_start() });
        };
        whole.push_str(input.next_slice(end));
        input.next_slice(1);
        if !rest(input).starts_with(quote) {
            return Ok(whole);
        }
        whole.push(quote);
    }
}

fn digits<'s>(input: &mut Input<'s>, radix: u32) -> Result<&'s str, Fault> {
    take_while(0.., move |c: char| c.is_digit(radix)).parse_next(input)
}

fn number(input: &mut Input<'_>) -> Result<Kind, Fault> {
    let at = input.current_token_start();
    let fault = || Fault { problem: Problem::Syntax("the number is too large".into()), at };
    if accept(input, "0x") || accept(input, "0X") {
        let value = i64::from_str_radix(digits(input, 16)?, 16).map_err(|_| fault())?;
        let _ = accept(input, "L") || accept(input, "l");
        return Ok(Kind::Int(value));
    }
    let mut whole = digits(input, 10)?.to_owned();
    let mut real = false;
    if rest(input).strip_prefix('.').is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit())) {
        input.next_slice(1);
        whole.push('.');
        whole.push_str(digits(input, 10)?);
        real = true;
    }
    if let Some(exponent) = rest(input).strip_prefix(['e', 'E']) {
        let sign = exponent.strip_prefix(['+', '-']).map_or("", |r| &exponent[..exponent.len() - r.len()]);
        if exponent[sign.len()..].starts_with(|c: char| c.is_ascii_digit()) {
            input.next_slice(1 + sign.len());
            whole = format!("{whole}e{sign}{}", digits(input, 10)?);
            real = true;
        }
    }
    if ["f", "F", "d", "D"].into_iter().any(|suffix| accept_word(input, suffix)) {
        real = true;
    } else if !real {
        let _ = accept_word(input, "L");
    }
    if rest(input).starts_with(is_part) {
        return Err(wanted(input, "the end of the number"));
    }
    if !real {
        return whole.parse().map(Kind::Int).map_err(|_| fault());
    }
    let value: f64 = whole.parse().map_err(|_| fault())?;
    if value.is_finite() { Ok(Kind::Real(value)) } else { Err(fault()) }
}

/// A list or a map: the first `:` tells.
fn braces(input: &mut Input<'_>) -> Result<Kind, Fault> {
    input.next_slice(1);
    blank(input);
    if accept(input, ":") {
        expect(input, "}")?;
        return Ok(Kind::Map(Vec::new()));
    }
    if accept(input, "}") {
        return Ok(Kind::List(Vec::new()));
    }
    let first = expression(input)?;
    blank(input);
    if !accept(input, ":") {
        let mut items = vec![first];
        if accept(input, ",") {
            items.extend(list(input, "}")?);
        } else {
            expect(input, "}")?;
        }
        return Ok(Kind::List(items));
    }
    let mut entries = vec![(first, expression(input)?)];
    loop {
        blank(input);
        if !accept(input, ",") {
            expect(input, "}")?;
            return Ok(Kind::Map(entries));
        }
        let key = expression(input)?;
        expect(input, ":")?;
        entries.push((key, expression(input)?));
    }
}
