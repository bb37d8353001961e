use proptest::prelude::*;
use serde_json::json;

use super::super::Problem;
use super::super::Unknown;
use super::super::address;
use super::super::check;
use super::super::check_text;
use super::super::evaluate;
use super::super::parse::parse;
use super::super::syntax::Ask;
use super::super::syntax::Binary;
use super::super::syntax::Expr;
use super::super::syntax::Kind;
use super::super::syntax::Link;
use super::super::syntax::Unary;
use super::super::syntax::Which;
use super::eval;
use super::facts;
use super::fails;
use super::holds;

#[test]
fn literals_are_what_they_say() {
    holds(&[
        ("null", json!(null)),
        ("TRUE", json!(true)),
        ("12", json!(12)),
        ("12L", json!(12)),
        ("0xff", json!(255)),
        ("1.5", json!(1.5)),
        ("1e3", json!(1000.0)),
        ("2f", json!(2.0)),
        ("'it''s'", json!("it's")),
        (r#""a ""b"" 'c'""#, json!("a \"b\" 'c'")),
        (r"'\W'", json!(r"\W")),
        ("{1, 'two', {3}}", json!([1, "two", [3]])),
        ("{}", json!([])),
        ("{:}", json!({})),
        ("{a: 1, 'b c': {d: n}, (key): 2}", json!({"a": 1, "b c": {"d": 7}, "key": 2})),
    ]);
}

#[test]
fn operators_bind_as_springs_do() {
    holds(&[
        ("1 + 2 * 3 ^ 2", json!(19)),
        ("(1 + 2) * 3", json!(9)),
        ("-n + 10", json!(3)),
        ("7 / 2", json!(3)),
        ("7 / 2.0", json!(3.5)),
        ("7 % 4", json!(3)),
        ("7 mod 4 + 8 DIV 2", json!(7)),
        ("2 ^ -1", json!(0.5)),
        ("'a' + 1 + 2", json!("a12")),
        ("1 + 2 + 'a'", json!("3a")),
        ("'x' + null + half", json!("xnull0.5")),
        ("'l' + words", json!("la,bb,ccc")),
        ("'m' + {k: 'v'}", json!("m{k=v}")),
        ("'ab' * 2", json!("abab")),
        ("1 == 1.0", json!(true)),
        ("'1' == 1", json!(false)),
        ("{1, 2} == {1, 2.0}", json!(true)),
        ("map.deep == {'er': {1, {x: 'y'}}}", json!(true)),
        ("n gt 3 and n LE 7 or false", json!(true)),
        ("not yes || !(n ne 7)", json!(true)),
        ("n > 3 && n < 5", json!(false)),
        ("'abc' < 'abd'", json!(true)),
        ("null < 1", json!(true)),
        ("'app-v001' matches 'app-v\\d+'", json!(true)),
        ("'xapp' matches 'a|app'", json!(false)),
        ("n between {5, 7}", json!(true)),
        ("n instanceof T(Integer)", json!(true)),
        ("yes ? 'a' : no ? 'b' : 'c'", json!("a")),
        ("nothing ?: empty ?: 'c'", json!("c")),
        ("n == 7 ? n + 1 : 0", json!(8)),
        ("'yes' and 'on'", json!(true)),
    ]);
    fails(&[
        ("1 / 0", "divided by zero"),
        ("9223372036854775807 + 1", "too large"),
        ("1 < 'a'", "cannot be compared"),
        ("n and true", "neither true nor false"),
        ("1 < 2 < 3", "expected an operator"),
        ("'a' - 1", "no number"),
        ("1.0 / 0", "not a number"),
    ]);
}

#[test]
fn the_right_side_is_left_alone_when_the_left_decides() {
    holds(&[
        ("false and 1/0 == 1", json!(false)),
        ("true or 1/0 == 1", json!(true)),
        ("name ?: 1/0", json!("app")),
        ("yes ? 1 : 1/0", json!(1)),
    ]);
}

#[test]
fn values_are_looked_into() {
    holds(&[
        ("map.k", json!("v")),
        ("map['k']", json!("v")),
        ("map[k]", json!("v")),
        ("map[#root.key]", json!("v")),
        ("map['other key']", json!(1)),
        ("map.deep.er[1].x", json!("y")),
        ("map['nope']", json!(null)),
        ("map.nope?.deeper?.deepest", json!(null)),
        ("nothing?.length()", json!(null)),
        ("nothing?.[0]", json!(null)),
        ("list[0] + list.size()", json!(6)),
        ("'abc'[1]", json!("b")),
        ("words.length", json!(3)),
        ("#root['name']", json!("app")),
        ("unheard == null", json!(true)),
        ("trigger.buildNumber == null", json!(true)),
        ("parameters.region", json!("us-east-1")),
        ("scmInfo.branch", json!("feature")),
        ("execution.stages[1].name", json!("Go on?")),
    ]);
    fails(&[
        ("nothing.x", "cannot be found on null"),
        ("nothing[0]", "cannot be indexed"),
        ("list[3]", "no element 3"),
        ("list[-1]", "no element -1"),
        ("list.name", "cannot be found on a list"),
        ("name.metaClass", "cannot be found on a text"),
        ("name.getClass()", "cannot be called on a text"),
        ("name.getMetaClass()", "cannot be called"),
    ]);
}

#[test]
fn a_refused_unknown_name_is_an_error_even_before_an_elvis() {
    let refused = |source| evaluate(source, &facts(), Unknown::Refused);
    assert!(matches!(refused("nope ?: 1").unwrap_err().problem, Problem::NoProperty { .. }));
    assert!(refused("map.nope").is_err());
    assert_eq!(refused("nothing ?: 1"), Ok(json!(1)));
    assert_eq!(refused("map['nope']"), Ok(json!(null)));
}

#[test]
fn lists_and_maps_are_selected_from_and_projected() {
    holds(&[
        ("people.?[age > 18].![name]", json!(["Ann", "Cid"])),
        ("people.^[age > 18].name", json!("Ann")),
        ("people.$[age > 18].name", json!("Cid")),
        ("people.^[age > 99]", json!(null)),
        ("list.?[#this > 1]", json!([3, 2])),
        ("list.![#this * #root.n]", json!([21, 7, 14])),
        ("words.![length()]", json!([1, 2, 3])),
        ("words.![#this.toUpperCase() + #root.n]", json!(["A7", "BB7", "CCC7"])),
        ("map.?[key == 'k']", json!({"k": "v"})),
        ("{a: 1, b: 2}.![value + key.length()]", json!([2, 3])),
        ("people.?[name matches '[AB].*'].?[age < 18][0].name", json!("Bob")),
        ("execution.stages.?[name == 'Broken'][0]['status'].toString() == 'TERMINAL'", json!(true)),
        ("execution.stages.?[type == 'manualJudgment'][0].context.judgmentInput", json!("roll back")),
        ("nothing?.?[true]", json!(null)),
        ("nothing?.![x]", json!(null)),
    ]);
    fails(&[("n.?[true]", "a number cannot be selected from"), ("nothing.![x]", "null cannot be projected")]);
}

#[test]
fn texts_have_javas_methods() {
    holds(&[
        ("'hello'.length() + 'hello'.indexOf('l')", json!(7)),
        ("'hello'.substring(1, 3) + 'hello'.substring(3)", json!("ello")),
        ("'a-b-c'.lastIndexOf('-')", json!(3)),
        ("'Hé'.toUpperCase().substring(1)", json!("É")),
        ("'a.b'.replace('.', '-')", json!("a-b")),
        ("'stack-1'.replaceAll('(\\w+)-(\\d)', '$2/$1')", json!("1/stack")),
        ("'aaa'.replaceFirst('a', '\\$')", json!("$aa")),
        ("'us-east-1,us-west-1,,'.split(',')", json!(["us-east-1", "us-west-1"])),
        ("'a1b2'.split('\\d', -1)", json!(["a", "b", ""])),
        ("'abc'.split('')", json!(["a", "b", "c"])),
        ("'a,b,c'.split(',', 2)", json!(["a", "b,c"])),
        ("''.split(',')", json!([""])),
        ("'AbC'.equalsIgnoreCase('aBc') && 'a'.equals('a') && !'a'.equals(null)", json!(true)),
        ("'  x '.trim().isEmpty()", json!(false)),
        ("'abc'.contains('b') and 'abc'.startsWith('a') and 'abc'.endsWith('c')", json!(true)),
        ("'%s-v%03d is %.1f%% %5s|%-3s|'.format(name, n, half, 'r', 'l')", json!("app-v007 is 0.5%     r|l  |")),
        ("words.contains('bb') and words.indexOf('ccc') == 2 and !words.isEmpty()", json!(true)),
        ("map.containsKey('k') && map.keySet().contains('deep') && map.get('k') == 'v'", json!(true)),
        ("map.getOrDefault('zip', 9) + map.size()", json!(12)),
        ("{a: 1, b: 2}.values()", json!([1, 2])),
        ("list.subList(1, 3)", json!([1, 2])),
        ("list.toString() + {k: 1}.toString()", json!("[3, 1, 2]{k=1}")),
        ("7.0.toString() + (1.0e10).toString()", json!("7.01.0E10")),
        ("half.intValue()", json!(0)),
    ]);
    fails(&[
        ("'abc'.substring(4)", "no character 4"),
        ("'abc'.substring(2, 1)", "before the start"),
        ("'a'.matches('(?=x)')", "look-around"),
        ("'a'.replaceAll('a', '$1')", "a group"),
        ("'a'.frobnicate(1)", "method frobnicate with 1 arguments"),
        ("'%d'.format('x')", "whole number"),
    ]);
}

#[test]
fn javas_types_are_a_short_list() {
    holds(&[
        ("T(java.lang.Math).max(3, T(Math).abs(-4))", json!(4)),
        ("T(Math).round(2.5) + T(Math).floorMod(-1, 3)", json!(5)),
        ("T(Integer).parseInt('12') + new Integer('3') + T(Long).valueOf('1')", json!(16)),
        ("T(String).join('-', 'a', 'b') + T(String).join('+', words)", json!("a-ba+bb+ccc")),
        ("T(String).format('%05.2f', 3.14159)", json!("03.14")),
        ("T(Boolean).parseBoolean('TRUE')", json!(true)),
        ("T(java.net.URLEncoder).encode('a b&ü', 'UTF-8')", json!("a+b%26%C3%BC")),
        ("T(java.time.LocalDate).now().plusDays(5).toString()", json!("2026-11-27")),
        ("T(java.time.LocalDateTime).parse('2026-03-01T10:00:00').minusHours(11)", json!("2026-02-28T23:00:00")),
        ("T(java.time.LocalDate).now().getDayOfWeek().name()", json!("SUNDAY")),
        ("T(java.time.LocalDate).now().dayOfWeek == T(java.time.DayOfWeek).SUNDAY", json!(true)),
        ("T(java.time.LocalDate).parse('2024-02-28').plusDays(1).isBefore(T(java.time.LocalDate).of(2024, 3, 1))", json!(true)),
        (
            "T(java.time.temporal.ChronoUnit).DAYS.between(T(java.time.LocalDate).parse('2026-01-01'), T(java.time.LocalDate).now())",
            json!(325),
        ),
        ("T(java.time.Instant).now().toEpochMilli()", json!(super::NOW.0)),
        ("new java.util.Date()", json!(super::NOW.0)),
        (
            "new java.text.SimpleDateFormat('yyyy-MM-dd''T''HH:mm:ss.SSS EEE h a').format(new java.util.Date())",
            json!("2026-11-22T16:30:05.123 Sun 4 PM"),
        ),
        (
            "T(java.util.UUID).randomUUID().toString().matches('[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}')",
            json!(true),
        ),
        ("T(Math).random() < 1 && new java.util.Random().nextInt(10) between {0, 9}", json!(true)),
    ]);
    fails(&[
        ("T(java.lang.System).exit(1)", "the type java.lang.System is not allowed"),
        ("T(java.lang.Runtime).runtime.exit(1)", "not allowed"),
        ("T(java.lang.Boolean).forName('java.net.URI')", "cannot be called on a type"),
        ("new java.net.URL('http://google.com').openConnection()", "not allowed"),
        ("new java.lang.Integer(1).wait(100000)", "cannot be called on a number"),
        ("new java.lang.Integer(1).class.simpleName", "cannot be found on a number"),
        ("T(java.time.LocalDate).now().plusDays(99999999999)", "out of range"),
        ("'%2000d'.format(1)", "too wide"),
    ]);
}

#[test]
fn functions_answer_from_the_execution() {
    holds(&[
        ("#stage('Deploy')['status']", json!("SUCCEEDED")),
        ("#stage('s3').hasFailed && !#stage('Broken').hasSucceeded", json!(true)),
        ("#stage('Broken').outputs.n", json!(1)),
        ("#stageByRefId('2').name", json!("Go on?")),
        ("#stageExists('Deploy') and !#stageExists('42')", json!(true)),
        ("#judgment('Go on?') == #judgement('Go on?')", json!(true)),
        ("#currentStage().name", json!("Broken")),
        ("#currentUser().split('@')[0]", json!("ann")),
        ("#toJson(list)", json!("[3,1,2]")),
        ("#toJson(list).contains('3')", json!(true)),
        ("#readJson('{\"a\": [1]}').a[0]", json!(1)),
        ("#readYaml('{a: 1}').a", json!(1)),
        ("#readAllYaml('--- 1\n--- [2]\n')", json!([1, [2]])),
        ("#toInt('12') + #toInt(parameters.count)", json!(15)),
        ("#toFloat('7.5')", json!(7.5)),
        ("#toBoolean('True') and !#toBoolean(null)", json!(true)),
        ("#fromBase64(#toBase64('Yo Dawg'))", json!("Yo Dawg")),
        ("#alphanumerical('a-b_c 1é')", json!("abc1")),
        ("#deployedServerGroups('Deploy')[0].ami", json!("ami-1")),
        ("#deployedServerGroups('Other')", json!([])),
        ("deployedServerGroups[0].serverGroup", json!("app-v001")),
        ("deployedServerGroups.![deployments[0].serverGroupName]", json!(["app-v001"])),
        ("#triggerResolvedArtifact('web').reference", json!("web:1")),
        ("#triggerResolvedArtifactByType('docker/image').name", json!("web")),
        ("#manifestLabelValue('Apply', 'Deployment', 'app')", json!("web")),
    ]);
    fails(&[
        ("#stage('nope')", "no such stage: 'nope' - #stage failed"),
        ("#judgment('Deploy')", "#judgment failed"),
        ("#toInt('x')", "'x' is no whole number"),
        ("#readJson('{')", "this is not JSON"),
        ("#toJson('${x}')", "result for toJson cannot contain an expression"),
        ("#unheard('x')", "method #unheard with 1 arguments"),
        ("#pipelineId('a', 'b/c')", "no slash"),
        ("#fromUrl('file:///etc/passwd')", "only http and https"),
        ("#fromUrl('http://localhost/')", "its neighbourhood"),
    ]);
}

#[test]
fn a_page_is_asked_for_and_read_when_it_came() {
    let mut facts = facts();
    let source = "#propertiesFromUrl('https://example.com/p')['a.b'] + #jsonFromUrl('https://example.com/j').x";
    let needed = |facts: &super::Facts| match evaluate(source, facts, Unknown::Null).unwrap_err().problem {
        Problem::Needs(url) => url,
        other => panic!("{other}"),
    };
    assert_eq!(needed(&facts), "https://example.com/p");
    facts.pages.insert("https://example.com/p".into(), Ok("# remark\na.b = one \\\n  two\nc:3".into()));
    assert_eq!(needed(&facts), "https://example.com/j");
    facts.pages.insert("https://example.com/j".into(), Ok("{\"x\": 1}".into()));
    assert_eq!(evaluate(source, &facts, Unknown::Null), Ok(json!("one two1")));
    facts.pages.insert("https://example.com/j".into(), Err("404".into()));
    assert!(evaluate(source, &facts, Unknown::Null).unwrap_err().to_string().contains("404"));
}

#[test]
fn a_pipelines_id_is_asked_for_by_application_and_name() {
    let mut facts = facts();
    let asked = |source: &str, facts: &super::Facts| evaluate(source, facts, Unknown::Null).map_err(|error| error.problem);
    let own = address::of_pipeline("app", "Roll / back").unwrap();
    assert_eq!(asked("#pipelineId('Roll / back')", &facts), Err(Problem::Needs(own.clone())));
    let other = address::of_pipeline("other", "x").unwrap();
    for source in ["#pipelineId('x', 'other')", "#pipelineIdInApplication('x', 'other')"] {
        assert_eq!(asked(source, &facts), Err(Problem::Needs(other.clone())), "{source}");
    }
    assert_eq!(address::named_pipeline(&own), Some(("app", "Roll / back")));
    facts.pages.insert(own.clone(), Ok("p-1".into()));
    assert_eq!(asked("#pipelineId('Roll / back')", &facts), Ok(json!("p-1")));
    facts.pages.insert(own, Err("there is no pipeline".into()));
    assert!(asked("#pipelineId('Roll / back')", &facts).unwrap_err().to_string().contains("there is no pipeline"));
    // Nobody reaches it as a page.
    assert!(asked("#fromUrl('pipeline://app/x')", &facts).unwrap_err().to_string().contains("only http"));
}

#[test]
fn chance_is_the_same_when_a_pass_is_run_again() {
    let draw =
        |seed| evaluate("{T(Math).random(), T(java.util.UUID).randomUUID()}", &super::Facts { seed, ..facts() }, Unknown::Null).unwrap();
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    assert_ne!(draw(1)[0], draw(1)[1]);
}

#[test]
fn an_error_stands_where_the_reader_stopped() {
    let at = |source: &str| check(source).unwrap_err().at;
    assert_eq!(at("1 + "), 4);
    assert_eq!(at("a.b)"), 3);
    assert_eq!(at("#stage('x'"), 10);
    assert_eq!(at("é == 'open"), 6);
    assert_eq!(at("{a: 1, b}"), 8);
    assert_eq!(at("1 2"), 2);
    assert_eq!(at("12abc"), 2);
    assert_eq!(at("99999999999999999999"), 0);
    let error = eval("map.k + list[9]").unwrap_err();
    assert_eq!(error.at, 12);
    assert_eq!(error.caret("map.k + list[9]"), "map.k + list[9]\n            ^");
    let error = check("a ==\né == )").unwrap_err();
    assert_eq!(error.caret("a ==\né == )"), "é == )\n  ^");
    assert_eq!(check_text("x ${a} ${1 +}").unwrap_err().at, 12);
    assert_eq!(check_text("x ${a").unwrap_err().at, 2);
    assert!(check_text("${a['}']} {} $x ${'${X}'}").is_ok());
}

fn expr() -> impl Strategy<Value = Expr> {
    let of = |kind| Expr { kind, at: 0 };
    let name = "[a-z][a-zA-Z0-9_]{0,5}".prop_filter("no word of the language", |name| {
        !["null", "true", "false", "new", "not", "or", "and", "eq", "ne", "lt", "le", "gt", "ge", "div", "mod"]
            .contains(&name.to_lowercase().as_str())
    });
    let leaf = prop_oneof![
        Just(Kind::Null),
        any::<bool>().prop_map(Kind::Bool),
        (0..i64::MAX).prop_map(Kind::Int),
        (0.0..1e300).prop_map(Kind::Real),
        "[^\0]{0,8}".prop_map(Kind::Text),
        name.clone().prop_map(Kind::Name),
        name.clone().prop_map(Kind::Variable),
        Just(Kind::Type("java.lang.Math".into())),
    ];
    leaf.prop_map(of).prop_recursive(4, 40, 4, move |inner| {
        let list = prop::collection::vec(inner.clone(), 0..4);
        let some = |inner: &BoxedStrategy<Expr>| inner.clone().prop_map(Box::new);
        let inner = inner.boxed();
        let which = prop_oneof![Just(Which::All), Just(Which::First), Just(Which::Last)];
        let ask = prop_oneof![
            name.clone().prop_map(Ask::Name),
            (name.clone(), list.clone()).prop_map(|(name, list)| Ask::Call(name, list)),
            some(&inner).prop_map(Ask::Index),
            some(&inner).prop_map(Ask::Project),
            (which, some(&inner)).prop_map(|(which, test)| Ask::Select(which, test)),
        ];
        let links = prop::collection::vec((ask, any::<bool>()).prop_map(|(ask, safe)| Link { ask, safe, at: 0 }), 1..4);
        let op = prop_oneof![Just(Binary::Equal), Just(Binary::LessOrEqual), Just(Binary::Matches), Just(Binary::Between)];
        let sum = prop_oneof![Just(Binary::Add), Just(Binary::Subtract)];
        let sign = prop_oneof![Just(Unary::Minus), Just(Unary::Plus), Just(Unary::Not)];
        let start = inner.clone().prop_filter("a chain is one chain", |e| !matches!(e.kind, Kind::Chain(..)));
        prop_oneof![
            (name.clone(), list.clone()).prop_map(|(name, list)| Kind::Function(name, list)),
            (name.clone(), list.clone()).prop_map(|(name, list)| Kind::Call(name, list)),
            list.clone().prop_map(|list| Kind::New("java.util.Date".into(), list)),
            list.prop_map(Kind::List),
            prop::collection::vec((inner.clone(), inner.clone()), 0..3).prop_map(Kind::Map),
            (start.prop_map(Box::new), links).prop_map(|(start, links)| Kind::Chain(start, links)),
            (sign, some(&inner)).prop_map(|(sign, value)| Kind::Unary(sign, value)),
            (some(&inner), op, inner.clone()).prop_map(|(left, op, right)| Kind::Fold(left, vec![(op, right)])),
            (some(&inner), prop::collection::vec((sum, inner.clone()), 1..4)).prop_map(|(first, rest)| Kind::Fold(first, rest)),
            (some(&inner), some(&inner), some(&inner)).prop_map(|(a, b, c)| Kind::Ternary(a, b, c)),
            (some(&inner), some(&inner)).prop_map(|(a, b)| Kind::Elvis(a, b)),
        ]
        .prop_map(of)
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(expr in expr()) {
        let printed = expr.to_string();
        prop_assume!(printed.len() < 8_000);
        let read = parse(&printed);
        prop_assert_eq!(read.as_ref().ok(), Some(&expr), "{}: {:?}", printed, read);
    }
}
