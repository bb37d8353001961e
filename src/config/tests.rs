//! Tables: what is written, and what comes of it.

use std::time::Duration;

use super::*;
use crate::decide::AtDeadline;
use crate::decide::HookNames;
use crate::decide::MinSize;
use crate::decide::OnRebalance;
use crate::decide::Siblings;
use crate::decide::Via;
use crate::decide::heal;
use crate::decide::heal::HealPolicy;
use crate::decide::heal::Limits;
use crate::decide::heal::ProbeRules;
use crate::orchestrator::endpoint::GenerationFrom;
use crate::orchestrator::endpoint::Hand;
use crate::orchestrator::endpoint::Key;
use crate::orchestrator::endpoint::PollAge;
use crate::orchestrator::endpoint::ReadBack;
use crate::orchestrator::endpoint::Redis;
use crate::orchestrator::endpoint::Request;
use crate::orchestrator::endpoint::Source;
use crate::orchestrator::endpoint::Switch;
use crate::orchestrator::probe::Asks;
use crate::orchestrator::runner::notify::mail;
use crate::orchestrator::runner::notify::slack;
use crate::orchestrator::runner::notify::webhook;
use crate::orchestrator::web;

const SAMPLE: &str = include_str!("../../systemd/bellrock.toml");

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn plain(text: &str, pairs: &[(&str, &str)]) -> Result<Config, Problems> {
    Config::parse(Path::new("b.toml"), text, &env(pairs))
}

/// Of an agent beside an orchestrator, unless the text says otherwise.
fn parse(text: &str, pairs: &[(&str, &str)]) -> Result<Config, Problems> {
    let mut env = env(pairs);
    if !text.contains("kind = ") {
        env.insert("BELLROCK_ORCHESTRATOR_KIND".to_owned(), "endpoint".to_owned());
    }
    Config::parse(Path::new("b.toml"), text, &env)
}

fn endpoint(config: &Config) -> &crate::orchestrator::endpoint::Settings {
    match &config.orchestrator {
        Orchestrator::Endpoint(settings) => settings,
        Orchestrator::Process(settings) => &settings.endpoint,
        Orchestrator::Unit(settings) => &settings.endpoint,
        Orchestrator::Embedded(_) => panic!("the engine is embedded"),
    }
}

fn engine(config: &Config) -> &Engine {
    match &config.orchestrator {
        Orchestrator::Embedded(engine) => engine,
        Orchestrator::Endpoint(_) | Orchestrator::Process(_) | Orchestrator::Unit(_) => panic!("something else runs the orchestrator"),
    }
}

fn good(text: &str) -> Config {
    parse(text, &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Asserts on the whole list of problems, one line each.
fn assert_problems(text: &str, pairs: &[(&str, &str)], expected: &[&str]) {
    let problems = parse(text, pairs).err().unwrap_or_else(|| panic!("no problem in:\n{text}"));
    let lines: Vec<String> = problems.0.iter().map(Problem::to_string).collect();
    assert_eq!(lines, expected, "in:\n{text}");
}

#[test]
fn nothing_written_is_the_engine_in_a_file_of_this_machine() {
    let config = plain("", &[]).unwrap();
    assert_eq!(engine(&config).store, Store::File("/var/lib/bellrock/engine.db".into()));
    assert_eq!((config.policy.settle, config.policy.quiet), (Duration::from_secs(1), Duration::from_secs(4)));
    assert!(config.policy.stop_grace.is_some());
    assert!(config.effective().iter().all(|s| s.from == Place::Default));
    let elsewhere = plain("[fleet]\nstate_dir = \"/srv/b\"", &[]).unwrap();
    assert_eq!(engine(&elsewhere).store, Store::File("/srv/b/engine.db".into()));
}

#[test]
fn every_key_of_the_engine_can_be_configured() {
    let text = r#"
        [orchestrator]
        kind = "embedded"
        redis = "redis+sentinel://me:hush@a:26379,b:26379/main/2"
        redis_read = "redis://me:hush@replica"
        redis_prefix = "{b}:"
        lease = "9s"
        owned = 50
        handoff = false
        polling_safeguard = 0
        zone = "Europe/Berlin"
        accounts = ["prod"]
        definitions = "/etc/bellrock/pipelines"
        [orchestrator.webhooks]
        hosts = ["*.example.com"]
        local = ["localhost"]
        [orchestrator.expressions]
        hosts = ["pages.example.com"]
        [orchestrator.jobs]
        environment = []
        [orchestrator.history]
        age = "never"
        "#;
    let config = plain(text, &[]).unwrap();
    let redis = crate::orchestrator::store::RedisSettings {
        url: "redis+sentinel://me:hush@a:26379,b:26379/main/2".into(),
        read: Some("redis://me:hush@replica".into()),
        prefix: "{b}:".into(),
        timeout: Duration::from_secs(3),
    };
    let expected = Engine {
        store: Store::Redis(redis),
        lease: Duration::from_secs(9),
        owned: 50,
        handoff: false,
        polling_safeguard: 0,
        zone: jiff::tz::TimeZone::get("Europe/Berlin").unwrap(),
        reach: crate::orchestrator::runner::effects::http::Reach {
            hosts: vec!["*.example.com".into()],
            local: vec!["localhost".into()],
            pages: vec!["pages.example.com".into()],
        },
        job_environment: Vec::new(),
        history: None,
        accounts: vec!["prod".into()],
        definitions: Some("/etc/bellrock/pipelines".into()),
        notifications: Notifications::default(),
    };
    assert_eq!(*engine(&config), expected);
    let shown: Vec<&String> = config.effective().iter().filter_map(|s| s.value.as_ref()).collect();
    assert!(shown.iter().all(|value| !value.contains("hush")), "a password is shown");
    assert!(shown.iter().any(|value| value.contains("me:***@a:26379,b:26379/main/2")));
}

#[test]
fn every_way_to_people_can_be_configured() {
    let text = r#"
        [orchestrator.notifications]
        link = "https://bellrock.example.com"
        [orchestrator.notifications.email]
        server = "smtp.example.com"
        from = "Bellrock <bellrock@example.com>"
        security = "tls"
        user = "bellrock"
        password_file = "/p"
        [orchestrator.notifications.slack]
        token_file = "/s"
        [orchestrator.notifications.webhook]
        url = "https://hooks.example.com/bellrock"
        token_file = "/w"
        token_header = "X-Api-Key"
        "#;
    let link_base = Some("https://bellrock.example.com".to_owned());
    let expected = Notifications {
        email: Some(mail::Settings {
            host: "smtp.example.com".into(),
            port: 465,
            security: mail::Security::Tls,
            from: "Bellrock <bellrock@example.com>".into(),
            user: Some(("bellrock".into(), "/p".into())),
            link_base: link_base.clone(),
        }),
        slack: Some(slack::Settings {
            by: slack::By::Bot { token_file: "/s".into(), api: "https://slack.com/api".into() },
            link_base: link_base.clone(),
        }),
        webhook: Some(webhook::Settings {
            url: "https://hooks.example.com/bellrock".into(),
            auth: web::Auth::Header { name: "x-api-key".parse().unwrap(), file: "/w".into() },
            link_base,
        }),
    };
    let config = plain(text, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(engine(&config).notifications, expected);
    let relay = plain("[orchestrator.notifications.email]\nserver = \"localhost\"\nfrom = \"b@x.org\"\nsecurity = \"none\"", &[]).unwrap();
    assert_eq!(engine(&relay).notifications.email.as_ref().map(|mail| mail.port), Some(25));
}

#[test]
fn a_way_to_people_that_cannot_work_is_reported() {
    let problems = |text: &str| plain(text, &[]).unwrap_err().0.iter().map(Problem::to_string).collect::<Vec<_>>();
    let said = problems(
        "[orchestrator.notifications.email]\nserver = \"mx\"\nport = 70000\nsecurity = \"none\"\nuser = \"u\"\n\
         [orchestrator.notifications.slack]\nurl_file = \"/a\"\ntoken_file = \"/b\"\n\
         [orchestrator.notifications.webhook]\ntoken_header = \"X-Key\"\n",
    );
    for part in [
        "email.server needs orchestrator.notifications.email.from",
        "email.user needs orchestrator.notifications.email.password_file",
        "email.port: is no port",
        "email.user: its password would be sent without TLS",
        "slack.token_file: and orchestrator.notifications.slack.url_file are two ways",
        "webhook.token_header: has no effect here; it belongs to orchestrator.notifications.webhook.token_file",
    ] {
        assert!(said.iter().any(|line| line.contains(part)), "{part} in {said:#?}");
    }
    assert_eq!(said.len(), 6, "{said:#?}");
    let said = problems("[orchestrator.notifications.email]\nserver = \"mx\"\nfrom = \"nobody\"");
    assert!(said.len() == 1 && said[0].contains("email.from: email: \"nobody\" is no sender"), "{said:?}");
    let said = problems("[orchestrator]\nkind = \"endpoint\"\n[orchestrator.notifications.slack]\nurl_file = \"/a\"");
    assert!(said[0].contains("set orchestrator.kind = \"embedded\""), "{said:?}");
}

#[test]
fn keys_of_the_other_kind_are_reported_with_the_kind_they_need() {
    for (text, expected) in [
        (
            "[orchestrator]\nurl = \"http://h\"\n[orchestrator.activity]\nsources = [\"json\"]\n[orchestrator.stop]\nunit = \"orca\"",
            vec![
                "b.toml:2:7: orchestrator.url: has no effect here; set orchestrator.kind = \"endpoint\", \"process\" or \"unit\"",
                "b.toml:4:11: orchestrator.activity.sources: has no effect here; set orchestrator.kind = \"endpoint\", \"process\" or \"unit\"",
                "b.toml:6:8: orchestrator.stop.unit: has no effect here; set orchestrator.kind = \"endpoint\"",
            ],
        ),
        (
            "[orchestrator]\nkind = \"endpoint\"\nstore = \"/x\"",
            vec!["b.toml:3:9: orchestrator.store: has no effect here; it belongs to orchestrator.kind = \"embedded\""],
        ),
        (
            "[orchestrator]\nredis_prefix = \"x\"\nlease = \"1s\"",
            vec![
                "b.toml:2:16: orchestrator.redis_prefix: has no effect here; it belongs to orchestrator.redis",
                "b.toml:3:9: orchestrator.lease: 1s is too short; allowed: 2s to 5m",
            ],
        ),
        (
            "[orchestrator]\nredis = \"redis://h\"\nstore = \"/x\"",
            vec!["b.toml:3:9: orchestrator.store: and orchestrator.redis are two places; only one of them"],
        ),
        (
            "[orchestrator]\nredis = \"redis+cluster://h\"",
            vec![
                "b.toml:2:9: orchestrator.redis: the store refused: in a Redis Cluster the prefix of all keys has to hold a hash tag, such as {bellrock}:",
            ],
        ),
    ] {
        let problems = plain(text, &[]).err().unwrap_or_else(|| panic!("no problem in:\n{text}"));
        assert_eq!(problems.0.iter().map(Problem::to_string).collect::<Vec<_>>(), expected, "in:\n{text}");
    }
}

#[test]
fn a_process_and_a_unit_are_an_endpoint_that_is_looked_after() {
    let text = "[orchestrator]\nkind = \"process\"\nstop.grace = \"30s\"\n[orchestrator.process]\ncommand = [\"java\", \"-jar\", \"orca.jar\"]\n\
                environment = [\"JAVA_OPTS=-Xmx2g -Da=b\"]\nstop_signal = \"SIGINT\"";
    let config = good(text);
    let Orchestrator::Process(settings) = &config.orchestrator else { panic!("{:?}", config.orchestrator) };
    assert_eq!(settings.variables.0, [("JAVA_OPTS".to_owned(), "-Xmx2g -Da=b".to_owned())]);
    assert_eq!((settings.stop_signal.name(), settings.grace, settings.budget.starts), ("SIGINT", Duration::from_secs(30), 5));
    assert_eq!(settings.endpoint.generation, Some(GenerationFrom::Kept("/var/lib/bellrock/orchestrator".into())));
    assert_eq!(config.policy.stop_grace, Some(Duration::from_secs(30)));

    let config = good("[orchestrator]\nkind = \"unit\"\nunit = \"orca.service\"\n[orchestrator.restart]\nstarts = 2");
    let Orchestrator::Unit(settings) = &config.orchestrator else { panic!("{:?}", config.orchestrator) };
    assert_eq!((settings.unit.as_str(), settings.budget.starts), ("orca.service", 2));
    assert_eq!(settings.endpoint.stop, Some(Hand::Unit("orca.service".into())));
    assert_eq!(
        (&settings.endpoint.start, &settings.endpoint.generation),
        (&settings.endpoint.stop, &Some(GenerationFrom::Unit("orca.service".into())))
    );
    assert_eq!(config.policy.stop_grace, Some(Duration::from_secs(90)));
}

#[test]
fn what_the_chosen_kind_does_not_read_or_cannot_do_without_is_a_problem() {
    for (text, expected) in [
        (
            "[orchestrator]\nkind = \"process\"",
            "b.toml:2:8: orchestrator.kind: \"process\" needs orchestrator.process.command; allowed there: a program and its arguments, e.g. [\"/usr/bin/systemctl\", \"stop\", \"orca\"] (in the environment: JSON)",
        ),
        (
            "[orchestrator]\nkind = \"unit\"",
            "b.toml:2:8: orchestrator.kind: \"unit\" needs orchestrator.unit; allowed there: a text that is not empty",
        ),
        (
            "[orchestrator]\nkind = \"endpoint\"\nunit = \"x\"",
            "b.toml:3:8: orchestrator.unit: has no effect here; it belongs to orchestrator.kind = \"unit\"",
        ),
        (
            "[orchestrator]\nkind = \"process\"\nprocess.command = [\"x\"]\nstop.unit = \"x\"",
            "b.toml:4:13: orchestrator.stop.unit: has no effect here; set orchestrator.kind = \"endpoint\"",
        ),
        (
            "[orchestrator]\nkind = \"process\"\nprocess.command = [\"x\"]\nprocess.environment = [\"A b=c\"]",
            "b.toml:4:23: orchestrator.process.environment: [\"A b=c\"] is not understood; allowed: a list such as [\"JAVA_OPTS=-Xmx2g\", \"NAME=value\"] (in the environment: JSON)",
        ),
        (
            "[orchestrator]\nkind = \"endpoint\"\nrestart.starts = 3",
            "b.toml:3:18: orchestrator.restart.starts: has no effect here; it belongs to orchestrator.kind = \"process\" or \"unit\"",
        ),
    ] {
        let problems = plain(text, &[]).err().unwrap_or_else(|| panic!("no problem in:\n{text}"));
        assert_eq!(problems.0.iter().map(Problem::to_string).collect::<Vec<_>>(), [expected], "in:\n{text}");
    }
}

#[test]
fn nothing_written_beside_an_orchestrator_is_the_default_policy() {
    let config = good("");
    assert_eq!(config.policy, Policy::default());
    assert_eq!(
        endpoint(&config).sources,
        [Source::ActiveByInstance { base: "http://127.0.0.1:8083".into(), key: Key::Own, refreshed: Duration::from_secs(60) }]
    );
    assert_eq!(endpoint(&config).intake, Switch::SpinnakerAdmin { base: "http://127.0.0.1:8083".into(), poll_age: None });
    assert_eq!((&config.gate, config.http.listen), (&None, "127.0.0.1:7010".parse().unwrap()));
}

#[test]
fn each_wrong_value_is_reported_where_it_stands() {
    for (text, expected) in [
        (
            "[drain]\nsoak = 30",
            "b.toml:2:8: drain.soak: 30 is not understood; allowed: a duration such as \"250ms\", \"30s\", \"5m\", \"1h30m\" or \"2d\"",
        ),
        ("[drain]\n\n  keep = -1", "b.toml:3:10: drain.keep: -1 is not understood; allowed: a whole number, 0 or more"),
        ("[drain]\ndry_run = \"yes\"", "b.toml:2:11: drain.dry_run: \"yes\" is not understood; allowed: true or false"),
        ("[drain]\nbudget_percent = 0", "b.toml:2:18: drain.budget_percent: 0 % would let no instance end; allowed: 1 to 100"),
        ("[drain]\nbudget_percent = 300", "b.toml:2:18: drain.budget_percent: 300 % would be more than the group; allowed: 1 to 100"),
        ("[drain]\nstale_bound = \"10ms\"", "b.toml:2:15: drain.stale_bound: 10ms is too short; allowed: 1s to 5m"),
        (
            "[drain]\nat_deadline = \"kill\"",
            "b.toml:2:15: drain.at_deadline: \"kill\" is not understood; allowed: one of \"hold\", \"force\", \"retain\"",
        ),
        ("[terminate]\nmin_size = \"x\"", "b.toml:2:12: terminate.min_size: \"x\" is not understood; allowed: one of \"lower\", \"hold\""),
        (
            "[http]\nlisten = \"0.0.0.0:80\"",
            "b.toml:2:10: http.listen: 0.0.0.0 can be reached from other machines; allowed: 127.0.0.0/8 and [::1]; for others there is http.network.listen",
        ),
        (
            "[http]\nlisten = \"localhost\"",
            "b.toml:2:10: http.listen: \"localhost\" is not understood; allowed: address:port, e.g. \"127.0.0.1:7010\"",
        ),
        ("[http]\nsocket = \"run/x\"", "b.toml:2:10: http.socket: \"run/x\" is not understood; allowed: an absolute path"),
        (
            "[fleet]\nsuccessor_floor = 0",
            "b.toml:2:19: fleet.successor_floor: 0: a successor without a healthy instance takes nothing over; allowed: 1 or more",
        ),
        ("[fleet]\nagree_reads = 0", "b.toml:2:15: fleet.agree_reads: 0: nothing would be read before draining; allowed: 1 or more"),
        ("[fleet]\ndescribe_every = \"1s\"", "b.toml:2:18: fleet.describe_every: 1s is too short; allowed: 10s to 1h"),
        ("[fleet]\nstate_dir = \" \"", "b.toml:2:13: fleet.state_dir: \" \" is not understood; allowed: an absolute path"),
        (
            "[orchestrator]\nurl = \"127.0.0.1:8083\"",
            "b.toml:2:7: orchestrator.url: \"127.0.0.1:8083\" is not understood; allowed: an address such as \"http://127.0.0.1:8083\"",
        ),
        (
            "[orchestrator.activity]\nsources = []",
            "b.toml:2:11: orchestrator.activity.sources: without a source nobody ever knows whether it is idle; allowed: a list of words, each one of \"active-by-instance\", \"metrics\", \"json\", \"redis\", \"command\"",
        ),
        (
            "[orchestrator.activity]\nsources = [\"json\", \"json\"]\njson.url = \"http://h\"",
            "b.toml:2:11: orchestrator.activity.sources: names a source twice; each source once",
        ),
        (
            "[orchestrator.activity]\nkey = \"i-1\"",
            "b.toml:2:7: orchestrator.activity.key: \"i-1\" is not understood; allowed: \"own\" (our instance id), \"exact:NAME\" or \"host:NAME\" (any pid@NAME)",
        ),
        (
            "[orchestrator.stop]\ncommand = []",
            "b.toml:2:11: orchestrator.stop.command: [] is not understood; allowed: a program and its arguments, e.g. [\"/usr/bin/systemctl\", \"stop\", \"orca\"] (in the environment: JSON)",
        ),
        (
            "[orchestrator]\nkind = \"java\"",
            "b.toml:2:8: orchestrator.kind: \"java\" is not understood; allowed: one of \"embedded\", \"endpoint\", \"process\", \"unit\"",
        ),
        (
            "[log]\nlevel = \"loud\"",
            "b.toml:2:9: log.level: \"loud\" is not understood; allowed: one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
        ),
    ] {
        assert_problems(text, &[], &[expected]);
    }
}

#[test]
fn each_unknown_key_is_reported_with_what_was_meant() {
    for (text, expected) in [
        ("[drain]\nqiet = \"1m\"", "b.toml:2:1: drain.qiet: is unknown; did you mean drain.quiet?"),
        ("[dran]\nquiet = \"1m\"", "b.toml:1:2: dran: is unknown; did you mean [drain]?"),
        ("[foo]\nx = 1", "b.toml:1:2: foo: is unknown; sections: drain, fleet, heal, heed, http, log, notify, orchestrator, terminate"),
        (
            "[http]\nport = 1",
            "b.toml:2:1: http.port: is unknown; keys of [http]: listen, network.certificate_file, network.key_file, network.listen, socket, tokens_file",
        ),
        ("drain = 1", "b.toml:1:1: drain: is a section, not a key; write [drain] and its keys below"),
        ("[[drain]]\nkeep = 1", "b.toml:1:3: drain: is a section, not a key; write [drain] and its keys below"),
        (
            "[http.listen]\nport = 1",
            "b.toml:1:1: http.listen: [http.listen] is not understood; allowed: address:port, e.g. \"127.0.0.1:7010\"",
        ),
        (
            "[orchestrator.activity.metrics]\nserie = 'x'",
            "b.toml:2:1: orchestrator.activity.metrics.serie: is unknown; did you mean orchestrator.activity.metrics.series?",
        ),
    ] {
        assert_problems(text, &[], &[expected]);
    }
}

#[test]
fn each_impossible_combination_is_reported() {
    let none =
        "without a switch, work may arrive until the last moment and be lost; set orchestrator.intake.accept_risk = true, or name a switch";
    for (text, expected) in [
        ("[drain]\nquiet = \"20s\"", "b.toml:2:9: drain.quiet: 20s is too short to be sure; allowed: at least 2 × orchestrator.activity.every + orchestrator.activity.sample_max_age = 25s".to_owned()),
        ("[orchestrator.activity]\nsample_max_age = \"4s\"", "b.toml:2:18: orchestrator.activity.sample_max_age: a sample would be too old before the next one, 5s later; allowed: at least orchestrator.activity.every".into()),
        ("[drain]\nat_deadline = \"force\"", "b.toml:2:15: drain.at_deadline: \"force\" never happens without a deadline; set drain.deadline, or leave \"hold\"".into()),
        ("[drain]\nsoak = \"1h\"\ndeadline = \"1h\"", "b.toml:3:12: drain.deadline: 1h passes before an idle instance could have ended; allowed: more than drain.soak + drain.settle + drain.quiet = 1h1m45s".into()),
        ("[drain]\nsettle = \"10s\"", "b.toml:2:10: drain.settle: activeByInstance may show what was so 1m ago, before the intake was closed; allowed: at least orchestrator.activity.active_by_instance.refreshed + orchestrator.activity.every = 1m5s".into()),
        ("[fleet.aws]\nattempt_timeout = \"6s\"", "b.toml:2:19: fleet.aws.attempt_timeout: a terminate call of 6s could end after the next instance's turn began; allowed: at most drain.stale_bound".into()),
        ("[fleet]\nsiblings = \"by-tag\"", "b.toml:2:12: fleet.siblings: \"by-tag\" needs fleet.sibling_tag; allowed there: a text that is not empty".into()),
        ("[fleet]\nsibling_tag = \"x\"", "b.toml:2:15: fleet.sibling_tag: has no effect here; it belongs to fleet.siblings = \"by-tag\"".into()),
        ("[fleet.aws]\ncall_timeout = \"2s\"", "b.toml:2:16: fleet.aws.call_timeout: no attempt could take its 5s; allowed: at least fleet.aws.attempt_timeout".into()),
        ("[orchestrator.activity.json]\nurl = \"http://h\"", "b.toml:2:7: orchestrator.activity.json.url: has no effect here; it belongs to orchestrator.activity.sources = \"json\"".into()),
        ("[orchestrator.activity]\nsources = [\"command\"]", "b.toml:2:11: orchestrator.activity.sources: \"command\" needs orchestrator.activity.command.run; allowed there: a program and its arguments, e.g. [\"/usr/bin/systemctl\", \"stop\", \"orca\"] (in the environment: JSON)".into()),
        ("[orchestrator.intake]\nswitch = \"none\"", format!("b.toml:2:10: orchestrator.intake.switch: {none}")),
        ("[orchestrator.intake]\nswitch = \"none\"\naccept_risk = false", format!("b.toml:2:10: orchestrator.intake.switch: {none}")),
        ("[orchestrator.intake]\naccept_risk = true", "b.toml:2:15: orchestrator.intake.accept_risk: has no effect here; it belongs to orchestrator.intake.switch = \"none\"".into()),
        ("[orchestrator.intake.poll_age]\nclosed_at = \"9s\"", "b.toml:2:13: orchestrator.intake.poll_age.closed_at: has no effect here; it belongs to orchestrator.intake.poll_age.url".into()),
        ("[orchestrator.stop]\ngrace = \"30s\"", "b.toml:2:9: orchestrator.stop.grace: has no effect here; it belongs to orchestrator.stop.command or orchestrator.stop.unit".into()),
        ("[orchestrator.stop]\ncommand = [\"x\"]\nunit = \"x\"", "b.toml:2:11: orchestrator.stop.command: and orchestrator.stop.unit are two answers to one question; only one of them".into()),
        ("[orchestrator.generation]\npid_file = \"/x\"\nunit = \"x\"", "b.toml:2:12: orchestrator.generation.pid_file: and orchestrator.generation.unit are two answers to one question; only one of them".into()),
        ("[orchestrator]\nauth = \"bearer\"", "b.toml:2:8: orchestrator.auth: \"bearer\" needs orchestrator.token_file; allowed there: an absolute path".into()),
        ("[terminate.spinnaker]\nuser = \"me\"", "b.toml:2:8: terminate.spinnaker.user: has no effect here; it belongs to terminate.via = \"spinnaker\"".into()),
    ] {
        assert_problems(text, &[], &[&expected]);
    }
    assert_problems(
        "[terminate]\nvia = \"spinnaker\"",
        &[],
        &[
            "b.toml:2:7: terminate.via: \"spinnaker\" needs terminate.spinnaker.account; allowed there: a text that is not empty",
            "b.toml:2:7: terminate.via: \"spinnaker\" needs terminate.spinnaker.gate_url; allowed there: an address such as \"http://127.0.0.1:8083\"",
        ],
    );
    let http = "[orchestrator.intake]\nswitch = \"http\"\n[orchestrator.intake.http]\nclose_url = \"http://h\"\nopen_url = \"http://h\"\nread_url = \"http://h\"\nclose_method = \"FETCH\"\nread_closed = \"off\"";
    assert_problems(
        http,
        &[],
        &[
            "b.toml:7:16: orchestrator.intake.http.close_method: \"FETCH\" is no method; one of POST, PUT, PATCH, DELETE, GET",
            "b.toml:8:15: orchestrator.intake.http.read_closed: only of true and false can the opposite be told; set orchestrator.intake.http.read_open too",
        ],
    );
}

#[test]
fn a_port_for_others_needs_tls_and_tokens() {
    let network = "[http.network]\nlisten = \"0.0.0.0:7011\"\ncertificate_file = \"/c\"\nkey_file = \"/k\"\n";
    let config = good(&format!("[http]\ntokens_file = \"/t\"\n{network}"));
    let expected = Network { listen: "0.0.0.0:7011".parse().unwrap(), certificate_file: "/c".into(), key_file: "/k".into() };
    assert_eq!((config.http.tokens_file, config.http.network), (Some("/t".into()), Some(expected)));
    assert_eq!(good("[http]\ntokens_file = \"/t\"").http.network, None);
    assert_problems(
        "[http.network]\nlisten = \"0.0.0.0:7011\"",
        &[],
        &[
            "b.toml:2:10: http.network.listen: the network port needs http.network.certificate_file; allowed there: an absolute path",
            "b.toml:2:10: http.network.listen: the network port needs http.network.key_file; allowed there: an absolute path",
            "b.toml:2:10: http.network.listen: the network port needs http.tokens_file; nobody could ask; `bellrock token new` makes a token",
        ],
    );
    assert_problems(
        network,
        &[],
        &[
            "b.toml:2:10: http.network.listen: the network port needs http.tokens_file; nobody could ask; `bellrock token new` makes a token",
        ],
    );
    assert_problems(
        "[http.network]\nkey_file = \"/k\"",
        &[],
        &["b.toml:2:12: http.network.key_file: has no effect here; it belongs to the network port"],
    );
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = "[drain]\nquiet = \"3s\"\nqiet = 4\nsoak = 30\n[foo]\nx = 1\n[log]\nlevel = \"loud\"\n";
    let pairs = [
        ("BELLROCK_HTTP_LISTEN", "[::]:1"),
        ("BELLROCK_DRAIN_QUITE", "3s"),
        ("BELLROCK_HEED_X", "1"),
        ("BELLROCK_CASES", "ours, but no key"),
    ];
    assert_problems(
        text,
        &pairs,
        &[
            "b.toml:2:9: drain.quiet: 3s is too short to be sure; allowed: at least 2 × orchestrator.activity.every + orchestrator.activity.sample_max_age = 25s",
            "b.toml:3:1: drain.qiet: is unknown; did you mean drain.quiet?",
            "b.toml:4:8: drain.soak: 30 is not understood; allowed: a duration such as \"250ms\", \"30s\", \"5m\", \"1h30m\" or \"2d\"",
            "b.toml:5:2: foo: is unknown; sections: drain, fleet, heal, heed, http, log, notify, orchestrator, terminate",
            "b.toml:8:9: log.level: \"loud\" is not understood; allowed: one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
            "environment BELLROCK_DRAIN_QUITE: overrides no key; did you mean BELLROCK_DRAIN_QUIET?",
            "environment BELLROCK_HEED_X: overrides no key",
            "environment BELLROCK_HTTP_LISTEN: http.listen: :: can be reached from other machines; allowed: 127.0.0.0/8 and [::1]; for others there is http.network.listen",
        ],
    );
}

#[test]
fn a_text_that_is_no_toml_is_told_so_line_by_line_and_nothing_is_guessed_of_it() {
    let text = "[drain]\nquiet = \"3s\"\nkeep = = 3\n[foo]\nx = 1\n[log]\nformat = \"text\nx = ]\n";
    let pairs = [("BELLROCK_HTTP_LISTEN", "[::]:1"), ("BELLROCK_DRAIN_QUITE", "3s")];
    let expected = [
        "b.toml:3:8: extra `=`, expected nothing",
        "b.toml:7:15: invalid basic string, expected `\"`",
        "b.toml:8:5: missing array opening, expected `[`",
    ];
    assert_problems(text, &pairs, &expected);
    assert_problems("[drain\nkeep = 1\n[foo]\n", &[], &["b.toml:1:7: unclosed table, expected `]`"]);
}

#[test]
fn what_is_written_twice_is_named() {
    for (text, expected) in [
        ("[drain]\nkeep = 1\nkeep = 2", "b.toml:3:1: duplicate key: keep is written twice"),
        ("[drain]\nkeep = 1\n[log]\n[drain]\nsoak = \"1m\"", "b.toml:4:2: duplicate key: drain is written twice"),
    ] {
        assert_problems(text, &[], &[expected]);
    }
}

#[test]
fn the_environment_overrides_the_file_key_by_key() {
    let text = "[drain]\nquiet = \"1m\"\nsettle = \"20s\"";
    let pairs = [
        ("BELLROCK_DRAIN_QUIET", "2m"),
        ("BELLROCK_DRAIN_SETTLE", ""),
        ("BELLROCK_FLEET_AWS_REGION", "eu-west-1"),
        ("BELLROCK_DRAIN_KEEP", "2"),
        ("BELLROCK_DRAIN_DRY_RUN", "true"),
        ("BELLROCK_ORCHESTRATOR_ACTIVITY_SOURCES", "command, active-by-instance"),
        ("BELLROCK_ORCHESTRATOR_ACTIVITY_COMMAND_RUN", r#"["/bin/jobs", "--count"]"#),
    ];
    let config = parse(text, &pairs).unwrap();
    assert_eq!(config.policy.quiet, Duration::from_secs(120));
    assert_eq!(config.policy.settle, Duration::from_secs(20));
    assert_eq!((config.policy.keep, config.policy.dry_run), (2, true));
    assert_eq!(config.aws.region.as_deref(), Some("eu-west-1"));
    assert_eq!(endpoint(&config).sources[0], Source::Command { argv: vec!["/bin/jobs".into(), "--count".into()] });
    let from = |key| config.effective().iter().find(|s| s.key == key).unwrap().from.to_string();
    assert_eq!(from("drain.quiet"), "environment BELLROCK_DRAIN_QUIET");
    assert_eq!(from("drain.settle"), "b.toml:3:10");
    assert_eq!(from("drain.soak"), "default");
    assert_problems(
        "",
        &[("BELLROCK_DRAIN_QUIET", "soon")],
        &[
            "environment BELLROCK_DRAIN_QUIET: drain.quiet: soon is not understood; allowed: a duration such as \"250ms\", \"30s\", \"5m\", \"1h30m\" or \"2d\"",
        ],
    );
}

#[test]
fn every_field_of_the_policy_can_be_configured() {
    let config = good(
        r#"
        [fleet]
        retired = true
        siblings = "by-tag"
        sibling_tag = "cluster"
        successor_floor = 2
        agree_reads = 4
        agree_over = "2m"
        describe_every = "2m"
        metadata_every = "10s"
        [orchestrator.activity]
        every = "4s"
        every_idle = "30s"
        sample_max_age = "10s"
        [orchestrator.stop]
        unit = "orca"
        grace = "45s"
        [drain]
        dry_run = true
        soak = "1h"
        keep = 1
        budget_percent = 10
        stale_bound = "8s"
        settle = "72s"
        quiet = "40s"
        deadline = "6h"
        at_deadline = "force"
        unknown_alert = "7m"
        [heed]
        terminating_hook = "drain"
        launching_hook = "ready"
        ready_within = "20m"
        margin = "15s"
        on_rebalance = "close-intake"
        protect = true
        [terminate]
        via = "spinnaker"
        min_size = "hold"
        spinnaker = { gate_url = "https://gate", account = "mgmt" }
        "#,
    );
    let seconds = Duration::from_secs;
    // Without `..`, so that a field which is added is a field that is configured.
    let expected = Policy {
        describe_every: seconds(120),
        metadata_every: seconds(10),
        activity_every: seconds(4),
        activity_every_idle: seconds(30),
        settle: seconds(72),
        quiet: seconds(40),
        sample_max_age: seconds(10),
        unknown_alert: seconds(420),
        successor_floor: 2,
        agree_reads: 4,
        agree_over: seconds(120),
        soak: seconds(3600),
        keep: 1,
        budget_percent: 10,
        stale_bound: seconds(8),
        deadline: Some(seconds(21_600)),
        at_deadline: AtDeadline::Force,
        min_size: MinSize::Hold,
        retired: true,
        stop_grace: Some(seconds(45)),
        via: Via::Spinnaker,
        siblings: Siblings::ByTag("cluster".into()),
        hooks: HookNames { launching: Some("ready".into()), terminating: Some("drain".into()) },
        ready_within: seconds(1200),
        margin: seconds(15),
        on_rebalance: OnRebalance::CloseIntake,
        protect: true,
        dry_run: true,
        heal: HealPolicy::default(),
    };
    assert_eq!(config.policy, expected);
    assert_eq!(endpoint(&config).stop, Some(Hand::Unit("orca".into())));
    let gate = config.gate.unwrap();
    assert_eq!((gate.base.as_str(), gate.account.as_str(), gate.user.as_str()), ("https://gate", "mgmt", "bellrock"));
}

#[test]
fn every_source_switch_and_hand_can_be_configured() {
    let config = good(
        r#"
        [orchestrator]
        url = "http://orca:8083/"
        auth = "basic"
        user = "me"
        password_file = "/p"
        [orchestrator.activity]
        sources = ["redis", "json", "metrics", "command", "active-by-instance"]
        key = "host:orca-1"
        sample_max_age = "75s"
        redis = { url = "redis://:hush@cache:6379", expiry = "30m" }
        json = { url = "http://h/x", pointer = "/a" }
        metrics = { url = "http://h/m", series = 'busy{pool="x"}' }
        command = { run = ["/bin/jobs"] }
        active_by_instance = { url = "http://gate", refreshed = "10s" }
        [orchestrator.intake.poll_age]
        url = "http://h/m"
        closed_at = "7s"
        [orchestrator.start]
        command = ["/bin/start", "orca"]
        [orchestrator.generation]
        unit = "orca"
        [drain]
        quiet = "2m"
        "#,
    );
    let o = endpoint(&config);
    let key = Key::Host("orca-1".into());
    let expected = [
        Source::Redis(Redis { url: "redis://:hush@cache:6379".into(), key: key.clone(), expiry: Duration::from_secs(1800) }),
        Source::Json { url: "http://h/x".into(), pointer: "/a".into() },
        Source::Metrics { url: "http://h/m".into(), series: "busy{pool=\"x\"}".parse().unwrap() },
        Source::Command { argv: vec!["/bin/jobs".into()] },
        Source::ActiveByInstance { base: "http://gate".into(), key, refreshed: Duration::from_secs(10) },
    ];
    assert_eq!(o.sources, expected);
    let poll_age = PollAge { closed_at: Duration::from_secs(7), ..PollAge::new("http://h/m", "queue_last_poll_age".parse().unwrap()) };
    assert_eq!(o.intake, Switch::SpinnakerAdmin { base: "http://orca:8083/".into(), poll_age: Some(poll_age) });
    assert_eq!(o.auth, web::Auth::Basic { user: "me".into(), password_file: "/p".into() });
    assert_eq!((&o.stop, &o.start), (&None, &Some(Hand::Command(vec!["/bin/start".into(), "orca".into()]))));
    assert_eq!(o.generation, Some(GenerationFrom::Unit("orca".into())));
    assert!(config.effective().iter().all(|s| !s.value.as_ref().is_some_and(|v| v.contains("hush"))), "a password is shown");

    let http = "[orchestrator.intake]\nswitch = \"http\"\nhttp = { close_url = \"http://h/c\", close_body = \"{}\", open_method = \"PUT\", open_url = \"http://h/o\", read_url = \"http://h/r\", read_pointer = \"/on\", read_closed = \"off\", read_open = \"on\" }";
    let request =
        |method: &str, url: &str, body: Option<&str>| Request { method: method.into(), url: url.into(), body: body.map(Into::into) };
    let read = ReadBack { url: "http://h/r".into(), pointer: Some("/on".into()), closed: "off".into(), open: Some("on".into()) };
    let expected = Switch::Http { close: request("POST", "http://h/c", Some("{}")), open: request("PUT", "http://h/o", None), read };
    assert_eq!(endpoint(&good(http)).intake, expected);
    let command = "[orchestrator.intake]\nswitch = \"command\"\ncommand = { close = [\"c\"], open = [\"o\"], read = [\"r\"] }";
    let expected = Switch::Command { close: vec!["c".into()], open: vec!["o".into()], read: vec!["r".into()] };
    assert_eq!(endpoint(&good(command)).intake, expected);
    assert_eq!(endpoint(&good("[orchestrator.intake]\nswitch = \"none\"\naccept_risk = true")).intake, Switch::None);
}

#[test]
fn every_key_of_healing_can_be_configured() {
    let text = r#"
        [heal]
        permits = "redis://:hush@cache:6379/2"
        permits_prefix = "fleet:"
        level = "replace"
        restarts = 2
        window = "30m"
        backoff = "20s"
        stop_grace = "20s"
        start_grace = "4m"
        budget_percent = 10
        turn = "90s"
        crash_loop = 4
        end_unproven = true
        trust_ec2_checks = true
        [heal.liveness]
        url = "http://127.0.0.1:8083/health"
        every = "5s"
        timeout = "2s"
        failures = 4
        successes = 2
        [heal.readiness]
        run = ["/bin/ready", "now"]
        [heal.store]
        connect = "cache:6379"
        [heal.limits]
        memory_mib = 6000
        memory_growth_mib_per_h = 100
        cpu_percent = 98
        threads = 900
        files = 4000
        pid_file = "/run/orca.pid"
        mounts = ["/", "/var"]
        disk_free_percent = 4
        inodes_free_percent = 5
        load_percent = 300
        oom_kills = true
        clock_offset = "5s"
        every = "20s"
        over = "10m"
        "#;
    let config = good(text);
    let usual = ProbeRules { every: Duration::from_secs(10), failures: 3, successes: 1 };
    let expected = HealPolicy {
        level: heal::Level::Replace,
        liveness: Some(ProbeRules { every: Duration::from_secs(5), failures: 4, successes: 2 }),
        readiness: Some(usual),
        store: Some(usual),
        limits: Limits {
            memory_bytes: Some(6000 << 20),
            memory_growth_bytes_per_h: Some(100 << 20),
            cpu_percent: Some(98),
            threads: Some(900),
            files: Some(4000),
            disk_free_percent: Some(4),
            inodes_free_percent: Some(5),
            load_percent: Some(300),
            oom_kills: true,
            clock_offset: Some(Duration::from_secs(5)),
        },
        vitals_every: Duration::from_secs(20),
        limits_over: Duration::from_secs(600),
        crash_loop: 4,
        restarts: 2,
        window: Duration::from_secs(1800),
        backoff: Duration::from_secs(20),
        stop_grace: Duration::from_secs(20),
        start_grace: Duration::from_secs(240),
        turn: Duration::from_secs(90),
        budget_percent: 10,
        permits: true,
        end_unproven: true,
        trust_ec2_checks: true,
    };
    assert_eq!(config.policy.heal, expected);
    let permits = config.permits.as_ref().map(|redis| (redis.url.as_str(), redis.prefix.as_str()));
    assert_eq!(permits, Some(("redis://:hush@cache:6379/2", "fleet:")));
    let asks = [&config.probes.liveness, &config.probes.readiness, &config.probes.store].map(|d| d.as_ref().map(|d| d.asks.clone()));
    assert_eq!(
        asks,
        [
            Some(Asks::Http("http://127.0.0.1:8083/health".into())),
            Some(Asks::Command(vec!["/bin/ready".into(), "now".into()])),
            Some(Asks::Tcp("cache:6379".into())),
        ]
    );
    let before = good("[heal.liveness]\nconnect = \"a:1\"");
    assert_eq!(before.needs_restart(&good("[heal]\nlevel = \"observe\"\n[heal.liveness]\nconnect = \"a:1\"\nevery = \"9s\"")), [""; 0]);
    assert_eq!(before.needs_restart(&good("[heal.liveness]\nconnect = \"b:1\"")), ["heal.liveness.connect"]);
}

#[test]
fn permits_come_from_the_engines_redis_or_where_they_are_said_to_come_from() {
    let embedded = "[orchestrator]\nkind = \"embedded\"\nredis = \"redis://cache:6379\"\nredis_prefix = \"x:\"\nlease = \"9s\"\n";
    let place = |text: &str| good(text).permits.map(|redis| (redis.url, redis.prefix, redis.timeout.as_secs()));
    assert_eq!(place(embedded), Some(("redis://cache:6379".to_owned(), "x:".to_owned(), 3)));
    assert_eq!(place(&format!("{embedded}[heal]\npermits = \"off\"")), None);
    assert_eq!(place(""), None, "a file is of one machine");
    let orca = "[orchestrator]\nkind = \"endpoint\"\n[orchestrator.activity]\nsample_max_age = \"2m\"\nsources = [\"redis\"]\n[orchestrator.activity.redis]\nurl = \"redis://orca:6379\"\n[drain]\nquiet = \"5m\"\n";
    assert_eq!(place(orca), None, "what is read there may be a replica");
    let named = format!("{orca}[heal]\npermits = \"redis+sentinel://a:1,b:2/main/0\"");
    assert_eq!(place(&named), Some(("redis+sentinel://a:1,b:2/main/0".to_owned(), String::new(), 2)));
    for text in [embedded, orca, &named] {
        let config = good(text);
        assert_eq!(config.policy.heal.permits, config.permits.is_some());
        assert_eq!(config.policy.heal.store.is_some(), text == embedded, "the engine tells of its own store");
    }
    assert_eq!(good(embedded).needs_restart(&good(&format!("{embedded}[heal]\npermits = \"off\""))), ["heal.permits"]);
}

#[test]
fn healing_that_cannot_work_is_reported() {
    for (text, problem) in [
        ("[heal]\nturn = \"40s\"", "allowed: at least heal.stop_grace + 30s = 2m"),
        ("[heal]\ncrash_loop = 1", "allowed: 2 to 20"),
        ("[heal]\npermits = \"cache\"", "or the address of a Redis that the fleet shares"),
        ("[heal]\npermits = \"redis+cluster://a:1\"", "has to hold a hash tag"),
        ("[heal]\npermits_prefix = \"x\"", "it belongs to heal.permits with an address"),
        ("[heal]\nbudget_percent = 0", "allowed: 1 to 100"),
        ("[heal.liveness]\nevery = \"5s\"", "it belongs to a probe: url, connect or run"),
        ("[heal.liveness]\nconnect = \"cache\"", "is no host and port"),
        ("[heal.liveness]\nconnect = \"a:1\"\nrun = [\"x\"]", "two answers to one question"),
        ("[heal.store]\nconnect = \"a:1\"\nevery = \"2s\"", "heal.store.timeout: one probe would not have ended"),
        ("[heal.limits]\nmemory_mib = 10", "nobody says which process it is of"),
        ("[heal.limits]\ndisk_free_percent = 3", "without heal.limits.mounts nothing is looked at"),
        ("[heal.limits]\nmounts = [\"/\"]", "heal.limits.mounts: has no effect here"),
        ("[heal.limits]\nevery = \"9s\"", "it belongs to a limit in [heal.limits]"),
    ] {
        let problems = parse(text, &[]).err().map(|problems| problems.to_string()).unwrap_or_default();
        assert!(problems.contains(problem), "{text}\n{problems}");
    }
}

#[test]
fn the_sample_names_every_key_with_its_default() {
    let sample = plain(SAMPLE, &[]).unwrap();
    assert!(sample.effective().iter().all(|s| s.from == Place::Default), "the sample sets something");
    let mut section = String::new();
    let mut written = BTreeMap::new();
    for line in SAMPLE.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((name, value)) = line.strip_prefix('#').filter(|l| !l.starts_with(' ')).and_then(|l| l.split_once(" = ")) {
            assert_eq!(written.insert(format!("{section}.{name}"), value), None, "{section}.{name} stands there twice");
        }
    }
    for setting in sample.effective() {
        let value = written.remove(setting.key).unwrap_or_else(|| panic!("{} is not in the sample", setting.key));
        match &setting.value {
            Some(default) => assert_eq!(value, default, "{}", setting.key),
            None => {
                let (section, name) = setting.key.rsplit_once('.').unwrap();
                let problems = parse(&format!("[{section}]\n{name} = {value}"), &[]).err().map(|p| p.to_string()).unwrap_or_default();
                assert!(!problems.contains("not understood"), "the example of {}: {problems}", setting.key);
            }
        }
    }
    assert!(written.is_empty(), "the sample has what is no key: {written:?}");
}

#[test]
fn a_file_that_was_named_has_to_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("absent.toml");
    assert!(matches!(Config::load(Some(&path), &env(&[])), Err(Error::Unreadable { path: at, .. }) if at == path));
    std::fs::write(&path, "[log]\nlevel = \"debug\"\n").unwrap();
    assert_eq!(Config::load(Some(&path), &env(&[])).unwrap().log.level, Level::Debug);
}

#[test]
fn what_only_decides_is_taken_over_and_what_the_agent_is_made_of_wants_a_restart() {
    let before = good("");
    let decides =
        "[fleet]\nretired = true\n[drain]\nquiet = \"1m\"\n[terminate]\nmin_size = \"hold\"\n[orchestrator.activity]\nevery = \"6s\"";
    assert_eq!(before.needs_restart(&good(decides)), [""; 0]);
    let made_of =
        "[fleet]\nstate_dir = \"/x\"\naws.in_flight = 2\n[log]\nlevel = \"warn\"\n[orchestrator.stop]\nunit = \"orca\"\n[drain]\nkeep = 1";
    let keys = ["fleet.state_dir", "fleet.aws.in_flight", "orchestrator.stop.unit", "log.level"];
    assert_eq!(before.needs_restart(&good(made_of)), keys);
}

#[test]
fn a_password_that_was_changed_wants_a_restart_and_is_not_shown() {
    let with = |password: &str| {
        good(&format!(
            "[drain]\nquiet = \"3m\"\n[orchestrator.activity]\nsources = [\"redis\"]\nsample_max_age = \"2m\"\n[orchestrator.activity.redis]\nurl = \"redis://:{password}@cache:6379\""
        ))
    };
    let (before, after) = (with("hush"), with("quiet"));
    assert_eq!(before.needs_restart(&after), ["orchestrator.activity.redis.url"]);
    assert_eq!(before.needs_restart(&with("hush")), [""; 0]);
    let shown = format!("{:?}", after.effective());
    assert!(!shown.contains("quiet@") && shown.contains("***@cache"), "{shown}");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    /// The whole sample with all its keys set, then bent: whatever comes of it, every problem has a place in the text.
    #[test]
    fn no_text_breaks_the_reader(at in 0..SAMPLE.len(), cut in 0usize..40, put in "[\\PC\n]{0,12}") {
        let text: String = SAMPLE.lines().map(|l| l.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(l)).flat_map(|l| [l, "\n"]).collect();
        let start = text.floor_char_boundary(at.min(text.len()));
        let end = text.floor_char_boundary((start + cut).min(text.len()));
        let bent = format!("{}{put}{}", &text[..start], &text[end..]);
        let lines = bent.lines().count();
        for problem in parse(&bent, &[]).err().map(|p| p.0).unwrap_or_default() {
            if let Place::File { line, column, .. } = problem.place {
                proptest::prop_assert!((1..=lines + 1).contains(&line) && column >= 1);
            }
        }
    }
}

#[test]
fn an_orcas_queue_is_named_for_a_persons_commands_and_no_agent_is_restarted_for_it() {
    let none = parse("", &[]).unwrap();
    assert!(none.orca.as_ref().is_some_and(|orca| orca.store.is_none() && orca.base == "http://127.0.0.1:8083"));
    let text = "[orchestrator.orca]\nqueue_redis = \"redis://u:hush@cache:6379/1\"\npartition = \"blue\"\nzombie_age = \"1h\"";
    let config = parse(text, &[]).unwrap();
    let store = config.orca.as_ref().unwrap().store.as_ref().unwrap();
    assert_eq!((store.queue.as_str(), &store.executions_redis), ("orca.task.queue", &None));
    assert_eq!((store.rules.age, store.rules.partition.as_deref()), (Duration::from_secs(3600), Some("blue")));
    assert!(!format!("{store:?} {:?}", config.effective()).contains("hush@cache"), "a password is shown");
    assert_eq!(none.needs_restart(&config), Vec::<&str>::new());
    assert!(plain("", &[]).unwrap().orca.is_none(), "the agent runs pipelines itself");
    for (text, wrong) in [
        ("[orchestrator.orca]\nqueue = \"x\"", "orchestrator.orca.queue"),
        ("[orchestrator.orca]\nqueue_redis = \"http://x\"", "orchestrator.orca.queue_redis"),
        ("[orchestrator.orca]\nqueue_redis = \"redis://x\"\nzombie_age = \"1s\"", "orchestrator.orca.zombie_age"),
    ] {
        assert!(parse(text, &[]).unwrap_err().to_string().contains(wrong), "{text}");
    }
}
