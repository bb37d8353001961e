//! Inputs: valid ones, and what becomes of them in bad hands.

use rand::Rng;
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_pcg::Pcg64Mcg;

/// Longest input, in bytes.
const LONGEST: usize = 64 << 10;
/// Mutations of one input.
const MOST: u32 = 6;

/// What parsers trip over.
const WORDS: &[&str] = &[
    "0",
    "-1",
    "-0",
    "1e999",
    "-1e-999",
    "0.1",
    "NaN",
    "Infinity",
    "+Inf",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "9223372036854775807",
    "4294967296",
    "2147483648",
    "99999999999999999999999999999999999999",
    "0x7fffffffffffffff",
    "1.7976931348623157e309",
    "null",
    "true",
    "false",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\x",
    "\u{0}",
    "\u{feff}",
    "\u{202e}",
    "ä",
    "𝕏",
    "ﷺ",
    "\r\n",
    "\n\n",
    "\t",
    " ",
    "=",
    ":",
    ",",
    ";",
    "/",
    "//",
    "..",
    "*",
    "?",
    "#",
    "$",
    "${",
    "${#",
    "}",
    "{",
    "{{",
    "}}",
    "[",
    "]",
    "(",
    ")",
    "<",
    ">",
    "|",
    "&",
    "%",
    "%s",
    "'",
    "''",
    "`",
    "- ",
    "---",
    "!!",
    "&a [*a,*a]",
    "v000",
    "v999",
    "-v",
    "T",
    "Z",
    "+14:00",
    "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z",
    "-009999-01-01T00:00:00Z",
    "L",
    "W",
    "15W",
    "6#5",
    "H",
    "H(0-59)",
    "*/0",
    "0-",
    "1-99999",
    "@",
    ".*",
    "(a*)*$",
    "\"\"\"",
    "'''",
    "[[",
    "]]",
    "[a]\n",
    "__proto__",
    "new java.util.Date()",
    "T(java.lang.Math)",
    ".?[true]",
    ".![#this]",
    " matches ",
    " instanceof ",
    "#stage('Bake')",
    "#root",
    "#this",
];

/// The input of this seed.
pub fn input(seeds: &[&str], seed: u64) -> Vec<u8> {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut input = pick(seeds, &mut random).as_bytes().to_vec();
    for _ in 0..random.random_range(0..=MOST) {
        mutate(&mut input, seeds, &mut random);
        input.truncate(LONGEST);
    }
    input
}

fn pick<'a>(seeds: &[&'a str], random: &mut Pcg64Mcg) -> &'a str {
    seeds.choose(random).copied().unwrap_or_default()
}

fn mutate(input: &mut Vec<u8>, seeds: &[&str], random: &mut Pcg64Mcg) {
    let at = random.random_range(0..=input.len());
    match random.random_range(0..12u8) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.random_range(0..8u8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.random();
            }
        }
        2 => drop(input.drain(range(input.len(), random))),
        3 => {
            let piece = input[range(input.len(), random)].to_vec();
            let times = if random.random_bool(0.1) { 200 } else { random.random_range(1..4usize) };
            put(input, at, &piece.repeat(times));
        }
        4 => {
            let other = pick(seeds, random).as_bytes();
            let piece = &other[range(other.len(), random)];
            put(input, at, piece);
        }
        5 => {
            let other = pick(seeds, random).as_bytes();
            input.truncate(at);
            input.extend_from_slice(&other[random.random_range(0..=other.len())..]);
        }
        6 | 7 => put(input, at, WORDS.choose(random).copied().unwrap_or_default().as_bytes()),
        8 => number(input, random),
        9 => nest(input, at, random),
        10 => {
            let word = *[b'a', b'0', b' ', b'"', b'[', b'-', 0xff].choose(random).unwrap_or(&b'a');
            let length = if random.random_bool(0.1) { 40_000 } else { random.random_range(1..3_000) };
            put(input, at, &vec![word; length]);
        }
        _ => input.truncate(at),
    }
}

fn range(length: usize, random: &mut Pcg64Mcg) -> std::ops::Range<usize> {
    let from = random.random_range(0..=length);
    let longest = if random.random_bool(0.2) { length - from } else { (length - from).min(24) };
    from..from + random.random_range(0..=longest)
}

fn put(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    input.splice(at..at, piece.iter().copied().take(LONGEST)).for_each(drop);
}

/// Puts another number where one stands.
fn number(input: &mut Vec<u8>, random: &mut Pcg64Mcg) {
    let starts: Vec<usize> =
        (0..input.len()).filter(|at| input[*at].is_ascii_digit() && (*at == 0 || !input[at - 1].is_ascii_digit())).collect();
    let Some(start) = starts.choose(random).copied() else { return };
    let digits = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = if random.random_bool(0.5) { WORDS[random.random_range(0..18)].to_owned() } else { random.random::<u64>().to_string() };
    input.splice(start..start + digits, number.bytes()).for_each(drop);
}

/// Wraps what follows in many levels, closed or not.
fn nest(input: &mut Vec<u8>, at: usize, random: &mut Pcg64Mcg) {
    const LEVELS: &[(&str, &str)] =
        &[("[", "]"), ("{\"a\":", "}"), ("(", ")"), ("${", "}"), ("!", ""), ("-", ""), ("a.", ""), ("{", "}"), ("x[", "]"), ("a = [", "]")];
    let (open, close) = LEVELS.choose(random).copied().unwrap_or(("[", "]"));
    let levels = if random.random_bool(0.2) { 10_000 } else { random.random_range(1..200) };
    if random.random_bool(0.5) {
        let end = random.random_range(at..=input.len());
        put(input, end, close.repeat(levels).as_bytes());
    }
    put(input, at, open.repeat(levels).as_bytes());
}
