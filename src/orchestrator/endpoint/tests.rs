//! The endpoint over real sockets and real processes.

use std::path::Path;

use super::*;
use crate::host::clock::SystemClock;
use crate::orchestrator::test_server::Reply;
use crate::orchestrator::test_server::Server;

const ACTIVE: &str = "GET /executions/activeByInstance";
const ENABLED: &str = "GET /admin/instance/enabled";

fn endpoint(settings: Settings) -> Endpoint {
    Endpoint::new(settings, &InstanceId::from("i-1"), Arc::new(SystemClock::start())).unwrap()
}

fn argv(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

fn active_by_instance(server: &Server) -> Source {
    Source::ActiveByInstance { base: server.url("/"), key: Key::Own, refreshed: Duration::from_secs(60) }
}

fn is_unknown(activity: &Activity) -> bool {
    matches!(activity, Activity::Unknown { .. })
}

#[test]
fn a_process_that_is_hidden_is_not_gone() {
    let failed = |kind: std::io::ErrorKind| super::seen(Err(kind.into()));
    assert!(failed(std::io::ErrorKind::PermissionDenied).is_err(), "it may still be at work");
    assert!(failed(std::io::ErrorKind::NotFound).is_ok_and(|seen| seen.is_none()));
    assert!(failed(std::io::ErrorKind::InvalidData).is_ok_and(|seen| seen.is_none()), "an empty pid file");
}

#[tokio::test]
async fn idle_only_when_every_source_answers_and_is_idle() {
    let server = Server::start().await;
    server.says(ACTIVE, r#"{"i-1":0}"#).says("GET /metrics", "pool{id=\"a\"} 0\nprocess_start_time_seconds 7\n").says("GET /running", "[]");
    let sources = vec![
        active_by_instance(&server),
        Source::Metrics { url: server.url("/metrics"), series: "pool".parse().unwrap() },
        Source::Json { url: server.url("/running"), pointer: String::new() },
        Source::Command { argv: argv("echo 0") },
    ];
    let endpoint = endpoint(Settings { sources, ..Settings::default() });
    let sample = endpoint.activity().await;
    assert_eq!((sample.activity, sample.generation), (Activity::Idle, Some(Generation("started 7".to_owned()))));

    server.says("GET /running", "[1]");
    assert_eq!(endpoint.activity().await.activity, Activity::Busy { count: 1, executions: Vec::new() });

    for reply in
        [Reply::Now(404, Vec::new()), Reply::Now(500, b"[]".to_vec()), Reply::Now(204, b"".to_vec()), Reply::Now(302, b"[]".to_vec())]
    {
        server.on("GET /running", reply.clone());
        assert!(is_unknown(&endpoint.activity().await.activity), "{reply:?}");
    }
}

#[tokio::test]
async fn an_answer_too_long_too_late_or_not_there_is_unknown() {
    let server = Server::start().await;
    let limits = web::Limits { total: Duration::from_millis(300), body: 1000, ..web::Limits::default() };
    let endpoint = |source| endpoint(Settings { sources: vec![source], limits, ..Settings::default() });

    server.says(ACTIVE, format!(r#"{{"i-1":0{}}}"#, " ".repeat(2000)));
    assert!(is_unknown(&endpoint(active_by_instance(&server)).activity().await.activity));
    server.on(ACTIVE, Reply::Never);
    assert!(is_unknown(&endpoint(active_by_instance(&server)).activity().await.activity));
    let gone = Source::ActiveByInstance { base: "http://127.0.0.1:1".to_owned(), key: Key::Own, refreshed: Duration::from_secs(60) };
    assert!(is_unknown(&endpoint(gone).activity().await.activity));
}

#[tokio::test]
async fn a_look_counts_for_one_process_only() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let settings = |source: String| Settings {
        sources: vec![Source::Command { argv: argv(&source) }],
        generation: Some(GenerationFrom::PidFile(pid_file.clone())),
        ..Settings::default()
    };
    assert!(is_unknown(&endpoint(settings("echo 0".to_owned())).activity().await.activity), "no pid file");

    std::fs::write(&pid_file, std::process::id().to_string()).unwrap();
    let sample = endpoint(settings("echo 0".to_owned())).activity().await;
    assert_eq!(sample.activity, Activity::Idle);
    assert!(sample.generation.is_some());

    let restarts = format!("echo 1 > {}; echo 0", pid_file.display());
    let sample = endpoint(settings(restarts)).activity().await;
    assert!(is_unknown(&sample.activity), "{sample:?}");
    assert_eq!(sample.generation, None);
}

#[tokio::test]
async fn the_admin_switch_is_set_and_read_back() {
    let server = Server::start().await;
    let intake = Switch::SpinnakerAdmin { base: server.base.clone(), poll_age: None };
    let endpoint = endpoint(Settings { intake, ..Settings::default() });
    assert!(endpoint.abilities().intake);

    server.says("POST /admin/instance/enabled", "").says(ENABLED, r#"{"enabled":false}"#);
    endpoint.set_intake(false).await.unwrap();
    let asked = server.asked().pop().unwrap();
    assert_eq!((asked.body.as_str(), asked.headers["content-type"].to_str().unwrap()), (r#"{"enabled":false}"#, "application/json"));
    assert_eq!(endpoint.intake().await, Intake::Closed);

    server
        .on("POST /admin/instance/enabled", Reply::Now(400, br#"{"discovery":"eureka"}"#.to_vec()))
        .on(ENABLED, Reply::Now(404, Vec::new()));
    assert!(matches!(endpoint.set_intake(false).await, Err(Error::Refused(_))));
    assert!(matches!(endpoint.intake().await, Intake::Unknown { .. }), "accepted is not closed");
}

#[tokio::test]
async fn a_rising_poll_age_reads_back_where_the_get_is_missing() {
    let server = Server::start().await;
    let poll_age =
        PollAge { spacing: Duration::from_millis(1), ..PollAge::new(server.url("/metrics"), "queue_last_poll_age".parse().unwrap()) };
    let intake = Switch::SpinnakerAdmin { base: server.base.clone(), poll_age: Some(poll_age) };
    let endpoint = endpoint(Settings { intake, ..Settings::default() });
    let ages = |ages: [u32; 2]| Reply::InTurn(ages.map(|age| (200, format!("queue_last_poll_age {age}\n"))).to_vec());

    server.on("GET /metrics", ages([7_000, 8_000]));
    assert_eq!(endpoint.intake().await, Intake::Closed);
    server.on("GET /metrics", ages([20, 45]));
    assert_eq!(endpoint.intake().await, Intake::Open);
    server.says("GET /metrics", "");
    assert!(matches!(endpoint.intake().await, Intake::Unknown { .. }));
    server.on("GET /metrics", ages([7_000, 8_000])).on(ENABLED, Reply::Now(500, Vec::new()));
    assert!(matches!(endpoint.intake().await, Intake::Unknown { .. }), "a GET that is there and fails is not passed over");
}

#[tokio::test]
async fn http_and_command_switches_do_what_they_are_told() {
    let server = Server::start().await;
    server
        .on("PUT /pause?now=1", Reply::Now(204, Vec::new()))
        .on("DELETE /pause", Reply::Now(409, b"no".to_vec()))
        .says("GET /state", "PAUSED");
    let request = |method: &str, path: &str| Request { method: method.to_owned(), url: server.url(path), body: None };
    let read = ReadBack { url: server.url("/state"), pointer: None, closed: "PAUSED".into(), open: Some("RUNNING".into()) };
    let intake = Switch::Http { close: request("PUT", "/pause?now=1"), open: request("DELETE", "/pause"), read };
    let http = endpoint(Settings { intake, ..Settings::default() });
    assert_eq!(http.set_intake(false).await, Ok(()));
    assert_eq!(http.set_intake(true).await, Err(Error::Refused("HTTP 409: no".to_owned())));
    assert_eq!(http.intake().await, Intake::Closed);

    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("flag").display().to_string();
    let intake =
        Switch::Command { close: argv(&format!("echo closed > {flag}")), open: argv("exit 7"), read: argv(&format!("cat {flag}")) };
    let commands = endpoint(Settings { intake, ..Settings::default() });
    assert!(matches!(commands.intake().await, Intake::Unknown { .. }));
    assert_eq!(commands.set_intake(false).await, Ok(()));
    assert_eq!(commands.intake().await, Intake::Closed);
    assert!(matches!(commands.set_intake(true).await, Err(Error::Refused(_))));

    let none = endpoint(Settings::default());
    assert_eq!((none.intake().await, none.set_intake(false).await), (Intake::NoSwitch, Err(Error::Unable("switch its intake"))));
    assert_eq!(none.abilities(), Abilities { intake: false, stop: false, start: false });
}

#[tokio::test]
async fn credentials_come_from_their_file_at_each_call() {
    let server = Server::start().await;
    server.says(ACTIVE, r#"{"i-1":0}"#);
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    let settings = Settings { sources: vec![active_by_instance(&server)], auth: web::Auth::Bearer(token.clone()), ..Settings::default() };
    let endpoint = endpoint(settings);
    assert!(is_unknown(&endpoint.activity().await.activity), "no file");
    for secret in ["one", "two"] {
        std::fs::write(&token, format!("{secret}\n")).unwrap();
        assert_eq!(endpoint.activity().await.activity, Activity::Idle);
        assert_eq!(server.asked().pop().unwrap().headers["authorization"], format!("Bearer {secret}"));
    }
}

#[tokio::test]
async fn a_stop_that_only_told_the_process_waits_for_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let mut child = tokio::process::Command::new("sleep").arg("600").spawn().unwrap();
    std::fs::write(&pid_file, child.id().unwrap().to_string()).unwrap();
    let settings = |script: &str| Settings {
        stop: Some(Hand::Command(argv(script))),
        generation: Some(GenerationFrom::PidFile(pid_file.clone())),
        ..Settings::default()
    };
    let ignores = endpoint(settings("true")).stop(Duration::from_millis(300)).await;
    assert!(matches!(ignores, Err(Error::NoAnswer(_))), "{ignores:?}");
    assert!(matches!(endpoint(settings("exit 1")).stop(Duration::from_secs(20)).await, Err(Error::Refused(_))));
    let kill = endpoint(settings(&format!("kill $(cat {})", pid_file.display())));
    let (stopped, _) = tokio::join!(kill.stop(Duration::from_secs(20)), child.wait());
    assert_eq!(stopped, Ok(()));
}

/// A stand-in for systemctl that answers `show` with the given state, and everything else with success.
fn with_systemctl(settings: Settings, dir: &Path, active: &str) -> Endpoint {
    let file = dir.join("systemctl");
    let script = format!(
        "echo \"$@\" >> {}\n[ $1 = show ] && printf 'LoadState=loaded\\nActiveState={active}\\nMainPID=7\\nInvocationID=ab\\nExecMainStartTimestampMonotonic=9\\n'\nexit 0\n",
        dir.join("calls").display()
    );
    std::fs::write(&file, script).unwrap();
    let mut endpoint = endpoint(settings);
    endpoint.systemctl = Systemctl(vec!["sh".to_owned(), file.display().to_string()]);
    endpoint
}

#[tokio::test]
async fn a_unit_is_stopped_when_systemd_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let settings = || Settings {
        sources: vec![Source::Command { argv: argv("echo 0") }],
        stop: Some(Hand::Unit("orca.service".to_owned())),
        start: Some(Hand::Unit("orca.service".to_owned())),
        generation: Some(GenerationFrom::Unit("orca.service".to_owned())),
        ..Settings::default()
    };
    let grace = Duration::from_secs(20);
    let stopped = with_systemctl(settings(), dir.path(), "inactive");
    assert_eq!(stopped.stop(grace).await, Ok(()));
    assert_eq!(stopped.start().await, Ok(()));
    assert_eq!(stopped.activity().await.generation, Some(Generation("pid 7 started 9 us after boot, invocation ab".to_owned())));
    let calls = std::fs::read_to_string(dir.path().join("calls")).unwrap();
    assert!(calls.starts_with("stop -- orca.service\n") && calls.contains("\nstart -- orca.service\n"), "{calls}");

    let stubborn = with_systemctl(settings(), dir.path(), "active");
    assert!(matches!(stubborn.stop(grace).await, Err(Error::Refused(_))));
}

#[test]
fn what_can_never_work_is_refused_together() {
    let settings = Settings {
        sources: vec![
            Source::Json { url: "ftp://x".to_owned(), pointer: "running".to_owned() },
            Source::Redis(Redis { url: "http://x".to_owned(), key: Key::Own, expiry: Duration::from_secs(300) }),
            Source::Command { argv: Vec::new() },
        ],
        intake: Switch::SpinnakerAdmin { base: "orca".to_owned(), poll_age: None },
        stop: Some(Hand::Command(Vec::new())),
        ..Settings::default()
    };
    assert_eq!(settings.problems().len(), 6, "{:?}", settings.problems());
    assert!(Settings::default().problems().is_empty());
}
