use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::super::Problem;
use super::super::Unknown;
use super::super::address;
use super::super::check;
use super::super::evaluate;
use super::super::limit;
use super::super::render;
use super::Facts;
use super::eval;
use super::facts;

fn problem(source: &str) -> Problem {
    match eval(source) {
        Err(error) => error.problem,
        Ok(value) => panic!("{} gives {}", &source[..source.len().min(80)], &value.to_string()[..20]),
    }
}

/// Runs on a stack as small as a runtime's worker has.
fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn nesting_is_bounded_and_the_bound_fits_the_stack() {
    on_a_small_stack(|| {
        assert_eq!(problem(&"(".repeat(20_000)), Problem::TooLong);
        for open in ["(", "{", "!", "-", "not ", "a[", "f(", "#f(", "a.?[", "a.![", "{a:", "a ? ", "a ?: "] {
            let source = open.repeat(1_500);
            assert_eq!(problem(&source), Problem::TooDeep, "{open}");
        }
        let depth = limit::DEPTH as usize - 1;
        for (open, close) in [("(", ")"), ("{", "}"), ("{a:", "}"), ("#toJson(", ")"), ("list.![", "]"), ("#root[", "]")] {
            let source = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            assert!(check(&source).is_ok(), "{open}");
            let _ = eval(&source);
        }
        let source = "!".repeat(depth) + "true";
        assert!(eval(&source).is_ok());
    });
}

#[test]
fn a_long_chain_is_not_deep() {
    on_a_small_stack(|| {
        assert_eq!(eval(&format!("0{}", "+1".repeat(4_900))), Ok(json!(4_900)));
        assert_eq!(eval(&format!("map{}", "?.x".repeat(3_000))), Ok(json!(null)));
        assert_eq!(eval(&format!("'a'{}", ".trim()".repeat(1_400))), Ok(json!("a")));
        assert_eq!(eval(&format!("true{}", " and true".repeat(1_000))), Ok(json!(true)));
    });
}

#[test]
fn a_source_may_be_as_long_as_orcas() {
    let text = "é".repeat(limit::SOURCE_CHARS - 2);
    assert_eq!(eval(&format!("'{text}'")), Ok(json!(text)));
    assert_eq!(problem(&format!("'{text}é'")), Problem::TooLong);
}

#[test]
fn growing_data_is_stopped() {
    let grow = format!("'aaaaaaaaaa'{}", ".replace('a', 'aaaaaaaaaa')".repeat(30));
    assert_eq!(problem(&grow), Problem::TooLarge);
    assert_eq!(problem(&format!("'a'{}", ".concat('').repeat(1000)".repeat(20))), Problem::TooLarge);
    let by_pattern = format!("'aaaaaaaaaa'{}", ".replaceAll('a+', '$0$0$0$0$0$0$0$0$0$0')".repeat(30));
    assert_eq!(problem(&by_pattern), Problem::TooLarge);
    assert_eq!(problem("'a' * 9223372036854775807"), Problem::TooLarge);
    assert_eq!(problem("'%999s'.format('').repeat(100000)"), Problem::TooLarge);
    let mut facts = facts();
    facts.context.insert("big".into(), "x".repeat(1 << 20).into());
    let copies = evaluate("{1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18}.![#root.big]", &facts, Unknown::Null);
    assert_eq!(copies.unwrap_err().problem, Problem::TooLarge);
}

#[test]
fn loops_are_stopped() {
    let mut facts = facts();
    facts.context.insert("many".into(), json!(vec![0; 1_000]));
    let cube = "many.![#root.many.![#root.many.![1]]].size()";
    assert_eq!(evaluate(cube, &facts, Unknown::Null).unwrap_err().problem, Problem::TooMuchWork);
    let patterns = "many.![#root.many.?['a' matches 'a.*b']].size()";
    assert_eq!(evaluate(patterns, &facts, Unknown::Null).unwrap_err().problem, Problem::TooMuchWork);
}

#[test]
fn a_pass_is_bounded_as_well_as_its_expressions() {
    let mut facts = facts();
    facts.context.insert("many".into(), json!(vec![0; 400]));
    let context = (0..200).map(|n| (n.to_string(), json!("${many.![#root.many.?[false]].size()}"))).collect();
    let rendered = super::super::render_object(&context, &facts, Unknown::Null);
    let done = rendered.value.values().filter(|value| **value == json!(400)).count();
    assert!((5..100).contains(&done), "{done}");
    assert!(rendered.summary.has_errors());
}

#[test]
fn regular_expressions_are_linear_and_small() {
    assert!(matches!(problem("'a'.matches('(\\w{1000}){1000}')"), Problem::Unfit(_)));
    let source = "('a' * 30000 + 'b').matches('(a+)+c')";
    assert_eq!(eval(source), Ok(json!(false)));
    assert!(matches!(problem("'a'.matches('((')"), Problem::Unfit(_)));
}

#[test]
fn read_data_is_bounded() {
    let bomb = (1..12).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]".to_owned(), |text, n| {
        let m = n - 1;
        format!("{text}\na{n}: &a{n} [*a{m},*a{m},*a{m},*a{m},*a{m},*a{m},*a{m},*a{m},*a{m}]")
    });
    let mut facts = facts();
    facts.context.insert("bomb".into(), bomb.into());
    facts.context.insert("deep".into(), "[".repeat(100_000).into());
    facts.context.insert("zeros".into(), format!("[{}0]", "0,".repeat(1 << 20)).into());
    assert!(evaluate("#readYaml(bomb)", &facts, Unknown::Null).is_err());
    assert!(evaluate("#readYaml(deep)", &facts, Unknown::Null).is_err());
    facts.context.insert("steps".into(), "- ".repeat(100_000).into());
    assert!(evaluate("#readYaml(steps)", &facts, Unknown::Null).unwrap_err().to_string().contains("too deep"));
    assert!(evaluate("#readJson(deep)", &facts, Unknown::Null).is_err());
    assert_eq!(evaluate("#readJson(zeros)", &facts, Unknown::Null).unwrap_err().problem, Problem::TooLarge);
}

#[test]
fn needs_are_bounded() {
    let context = (0..100).map(|n| (n.to_string(), json!(format!("${{#fromUrl('https://example.com/{n}')}}")))).collect();
    let rendered = super::super::render_object(&context, &facts(), Unknown::Null);
    assert_eq!(rendered.needs.len(), limit::NEEDS);
}

#[test]
fn this_machine_and_its_link_are_refused_in_every_notation() {
    for url in [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.0.0.1.:80/",
        "http://user@127.0.0.1/",
        "http://localhost",
        "http://LOCALHOST:8080/x",
        "http://a.localhost/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[fe80::1]/",
        "http://0.0.0.0/",
        "http://0/",
        "http://169.254.169.254/latest",
        "http://example.com\\@127.0.0.1/",
        "http:///x",
        "http://exam ple.com/",
        "http://ex%61mple.com/",
        "http://example.com:99999/",
        "https://１２７.0.0.1/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "example.com",
    ] {
        assert!(address::check(url).is_err(), "{url}");
    }
    for url in ["http://example.com", "HTTPS://api.example.com:8443/x?y=http://localhost#z", "http://10.0.0.1/", "http://[2001:db8::1]:80/"]
    {
        assert_eq!(address::check(url), Ok(()), "{url}");
    }
}

/// Debug builds on a busy machine included.
const LONGEST: Duration = Duration::from_secs(30);

proptest! {
    #![proptest_config(ProptestConfig { timeout: LONGEST.as_millis() as u32, fork: false, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(text in ".{0,200}") {
        let _ = eval(&text);
        let _ = render(&json!({ "a": format!("x${{{text}}}y"), "b": text }), &facts(), Unknown::Refused);
    }

    #[test]
    fn no_sequence_of_words_makes_it_panic(words in prop::collection::vec(prop::sample::select(WORDS), 0..24)) {
        let facts = Facts { pages: [("http://a.b/".to_owned(), Ok("a=1".to_owned()))].into(), ..facts() };
        let source = words.concat();
        let _ = evaluate(&source, &facts, Unknown::Null);
        let _ = render(&json!([source, format!("${{{source}}}")]), &facts, Unknown::Null);
    }
}

const WORDS: &[&str] = &[
    "${",
    "}",
    "(",
    ")",
    "[",
    "]",
    "{",
    ":",
    ",",
    ".",
    "?.",
    "?:",
    "? ",
    ".?[",
    ".![",
    ".^[",
    ".$[",
    "'",
    "''",
    "\"",
    "#this",
    "#root",
    "#stage(",
    "#toJson(",
    "#readYaml(",
    "#doNotEval(",
    "T(Math)",
    "T(java.time.LocalDate).now()",
    "T(String).format(",
    "new java.util.Date()",
    "map",
    "list",
    "people",
    "name",
    "n",
    "half",
    "nothing",
    "1",
    "-",
    "+",
    "*",
    "/",
    "%",
    "^",
    " eq ",
    " matches ",
    " between ",
    " and ",
    "!",
    ".size()",
    ".substring(1)",
    ".split('')",
    ".replaceAll('(.)','$1')",
    ".format(",
    ".get(0)",
    ".keySet()",
    "0x",
    "1e",
    ".5",
    "é",
    "\\",
    "$",
    "\n",
    ".plusDays(1)",
    "9223372036854775807",
    "'%-9$05.3x'",
];
