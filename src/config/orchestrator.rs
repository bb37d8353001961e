//! `[orchestrator]` and its tables: how the orchestrator is looked at, switched, stopped and started.
//!
//! Every key is read whatever is chosen, so that it can be shown; one that belongs to something that is not chosen is a problem, since
//! its writer believes that it does something.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use super::Fleet;
use super::Orchestrator;
use super::engine;
use super::keys::bounded;
use super::kind::HttpUrl;
use super::kind::Kind;
use super::kind::RedisUrl;
use super::kind::choice;
use super::kind::text_kind;
use super::process;
use super::sheet::Chosen;
use super::sheet::Sheet;
use crate::decide::Policy;
use crate::orchestrator::endpoint::GenerationFrom;
use crate::orchestrator::endpoint::Hand;
use crate::orchestrator::endpoint::Key;
use crate::orchestrator::endpoint::PollAge;
use crate::orchestrator::endpoint::ReadBack;
use crate::orchestrator::endpoint::Redis;
use crate::orchestrator::endpoint::Request;
use crate::orchestrator::endpoint::Series;
use crate::orchestrator::endpoint::Settings;
use crate::orchestrator::endpoint::Source;
use crate::orchestrator::endpoint::Switch;
use crate::orchestrator::orca;
use crate::orchestrator::supervised;
use crate::orchestrator::web;

const SECOND: Duration = Duration::from_secs(1);
const SOURCES: &str = "orchestrator.activity.sources";
const SWITCH: &str = "orchestrator.intake.switch";

/// Who runs the orchestrator.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Runs {
    /// The agent does.
    Embedded,
    /// Something else does.
    Endpoint,
    /// The agent does, as a process.
    Process,
    /// systemd does, and the agent sees to it.
    Unit,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum SourceWord {
    ActiveByInstance,
    Metrics,
    Json,
    Redis,
    Command,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SwitchWord {
    SpinnakerAdmin,
    Http,
    Command,
    None,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum AuthWord {
    None,
    Bearer,
    Basic,
}

/// The words of `orchestrator.kind`.
pub const KINDS: &[&str] = &["embedded", "endpoint", "process", "unit"];

choice!(Runs {
    "embedded" => Runs::Embedded,
    "endpoint" => Runs::Endpoint,
    "process" => Runs::Process,
    "unit" => Runs::Unit,
});
choice!(SourceWord {
    "active-by-instance" => SourceWord::ActiveByInstance,
    "metrics" => SourceWord::Metrics,
    "json" => SourceWord::Json,
    "redis" => SourceWord::Redis,
    "command" => SourceWord::Command,
});
choice!(SwitchWord {
    "spinnaker-admin" => SwitchWord::SpinnakerAdmin,
    "http" => SwitchWord::Http,
    "command" => SwitchWord::Command,
    "none" => SwitchWord::None,
});
choice!(AuthWord { "none" => AuthWord::None, "bearer" => AuthWord::Bearer, "basic" => AuthWord::Basic });

text_kind!(
    Key,
    "\"own\" (our instance id), \"exact:NAME\" or \"host:NAME\" (any pid@NAME)",
    |t: &str| match t.split_once(':') {
        None => (t == "own").then_some(Key::Own),
        Some((_, "")) => None,
        Some(("exact", name)) => Some(Key::Exact(name.into())),
        Some(("host", name)) => Some(Key::Host(name.into())),
        Some(_) => None,
    },
    |k: &Key| match k {
        Key::Own => "own".to_owned(),
        Key::Exact(name) => format!("exact:{name}"),
        Key::Host(name) => format!("host:{name}"),
    }
);
text_kind!(Series, "a series such as 'threadpool_activeCount{id=\"messageHandlerPool\"}'", |t: &str| t.parse().ok(), |s: &Series| s
    .to_string());

/// Orca writes what is behind `activeByInstance` and its keys in Redis so often (spinnaker.md §1.3).
pub(super) const ORCA_HEARTBEAT: Duration = Duration::from_secs(60);

/// The second value: Orca, as a person mends it, for all kinds but "embedded".
pub(super) fn orchestrator(sheet: &mut Sheet<'_>, policy: &mut Policy, fleet: &Fleet) -> (Orchestrator, Option<orca::Settings>) {
    let runs = sheet.read("orchestrator.kind", Runs::Embedded);
    let embedded = runs == Runs::Embedded;
    let inside = engine::engine(sheet, embedded, &fleet.state_dir);
    if embedded {
        *policy = policy.clone().embedded();
    }
    let unit = process::unit(sheet, runs == Runs::Unit);
    sheet.within(Some(beside(runs)));
    let (outside, grace, mended) = endpoint(sheet, policy, runs, unit.as_deref(), &fleet.state_dir);
    sheet.within(None);
    let care = process::tables(sheet, runs == Runs::Process, runs == Runs::Unit);
    let inside = engine::tables(sheet, embedded, inside);
    if embedded {
        policy.stop_grace = Policy::default().embedded().stop_grace;
        (Orchestrator::Embedded(Box::new(inside)), None)
    } else {
        (care.with(unit, outside, grace), Some(mended))
    }
}

/// For what is asked of an orchestrator that is a process of its own.
fn beside(runs: Runs) -> Chosen {
    Chosen { holds: runs != Runs::Embedded, by: "orchestrator.kind", what: "\"endpoint\", \"process\" or \"unit\"" }
}

/// For how one is stopped, started and told that the agent does not look after.
fn elsewhere(runs: Runs) -> Chosen {
    Chosen { holds: runs == Runs::Endpoint, by: "orchestrator.kind", what: "\"endpoint\"" }
}

/// How it is asked, how long it has to stop, and how it is mended.
fn endpoint(
    sheet: &mut Sheet<'_>,
    policy: &mut Policy,
    runs: Runs,
    unit: Option<&str>,
    state_dir: &Path,
) -> (Settings, Duration, orca::Settings) {
    let HttpUrl(base) = sheet.read("orchestrator.url", HttpUrl("http://127.0.0.1:8083".into()));
    let usual = Settings::default();
    let limits = web::Limits {
        connect: sheet.read("orchestrator.connect_timeout", usual.limits.connect),
        total: sheet.read("orchestrator.timeout", usual.limits.total),
        body: usize::try_from(sheet.read("orchestrator.answer_limit_bytes", 4u32 << 20)).unwrap_or(usize::MAX),
    };
    bounded(sheet, "orchestrator.connect_timeout", limits.connect, SECOND / 10, 30 * SECOND);
    bounded(sheet, "orchestrator.timeout", limits.total, SECOND / 10, 60 * SECOND);
    sheet.check("orchestrator.answer_limit_bytes", limits.body >= 1024, "is too small for any answer", "allowed: 1024 or more");
    let command_timeout = sheet.read("orchestrator.command_timeout", usual.command_timeout);
    bounded(sheet, "orchestrator.command_timeout", command_timeout, SECOND / 10, 60 * SECOND);
    let auth =
        auth(sheet, ["orchestrator.auth", "orchestrator.token_file", "orchestrator.user", "orchestrator.password_file"], Chosen::always());
    let sources = sources(sheet, policy, &base);
    let intake = intake(sheet, &base);
    let looked_after = matches!(runs, Runs::Process | Runs::Unit);
    let by_unit = unit.map(|unit| Hand::Unit(unit.to_owned()));
    sheet.within(Some(elsewhere(runs)));
    let stop = hand(sheet, "orchestrator.stop.command", "orchestrator.stop.unit").or(by_unit.clone());
    sheet.within(Some(beside(runs)));
    let stops = looked_after || stop.is_some();
    let stopping = Chosen { holds: stops, by: "orchestrator.stop.command", what: "orchestrator.stop.command or orchestrator.stop.unit" };
    let grace = sheet.chosen_or(&stopping, "orchestrator.stop.grace", 90 * SECOND);
    bounded(sheet, "orchestrator.stop.grace", grace, SECOND, 3600 * SECOND);
    policy.stop_grace = stops.then_some(grace);
    sheet.within(Some(elsewhere(runs)));
    let start = hand(sheet, "orchestrator.start.command", "orchestrator.start.unit").or(by_unit);
    sheet.within(Some(beside(runs)));
    let starting =
        Chosen { holds: start.is_some(), by: "orchestrator.start.command", what: "orchestrator.start.command or orchestrator.start.unit" };
    let start_timeout = sheet.chosen_or(&starting, "orchestrator.start.timeout", usual.start_timeout);
    bounded(sheet, "orchestrator.start.timeout", start_timeout, SECOND, 3600 * SECOND);
    sheet.within(Some(elsewhere(runs)));
    let pid_file = sheet.optional::<PathBuf>("orchestrator.generation.pid_file");
    let generation_unit = sheet.optional::<String>("orchestrator.generation.unit");
    one_of(sheet, "orchestrator.generation.pid_file", pid_file.is_some(), "orchestrator.generation.unit", generation_unit.is_some());
    let generation = match runs {
        Runs::Process => Some(GenerationFrom::Kept(supervised::folder(state_dir))),
        Runs::Unit => unit.map(|unit| GenerationFrom::Unit(unit.to_owned())),
        Runs::Endpoint | Runs::Embedded => pid_file.map(GenerationFrom::PidFile).or(generation_unit.map(GenerationFrom::Unit)),
    };
    let mended = super::orca::orca(sheet, base, auth.clone(), limits.connect);
    let settings = Settings { sources, intake, stop, start, generation, limits, auth, command_timeout, start_timeout };
    // What the adapter would refuse and no key above has told already.
    if sheet.is_sound_below("orchestrator.") {
        for problem in settings.problems() {
            sheet.wrong("orchestrator.kind", problem, "");
        }
    }
    (settings, grace, mended)
}

/// Credentials under four keys: the choice, the token's file, the user, the password's file.
pub(super) fn auth(sheet: &mut Sheet<'_>, keys: [&'static str; 4], within: Chosen) -> web::Auth {
    let [choice, token_file, user, password_file] = keys;
    let word = sheet.chosen_or(&within, choice, AuthWord::None);
    let bearer = Chosen { holds: word == AuthWord::Bearer, by: choice, what: "\"bearer\"" };
    let basic = Chosen { holds: word == AuthWord::Basic, by: choice, what: "\"basic\"" };
    let token_file = sheet.needed::<PathBuf>(&bearer, token_file);
    let user = sheet.needed::<String>(&basic, user);
    let password_file = sheet.needed::<PathBuf>(&basic, password_file);
    match (word, token_file, user, password_file) {
        (AuthWord::Bearer, Some(path), _, _) => web::Auth::Bearer(path),
        (AuthWord::Basic, _, Some(user), Some(password_file)) => web::Auth::Basic { user, password_file },
        // What is missing was noted.
        (AuthWord::None | AuthWord::Bearer | AuthWord::Basic, ..) => web::Auth::None,
    }
}

fn sources(sheet: &mut Sheet<'_>, policy: &mut Policy, base: &str) -> Vec<Source> {
    // How often to look is asked of whoever runs it.
    let within = sheet.within(None);
    policy.activity_every = sheet.read("orchestrator.activity.every", policy.activity_every);
    bounded(sheet, "orchestrator.activity.every", policy.activity_every, SECOND, 600 * SECOND);
    policy.activity_every_idle = sheet.read("orchestrator.activity.every_idle", policy.activity_every_idle);
    bounded(sheet, "orchestrator.activity.every_idle", policy.activity_every_idle, SECOND, 3600 * SECOND);
    policy.sample_max_age = sheet.read("orchestrator.activity.sample_max_age", policy.sample_max_age);
    sheet.within(within);
    let words = sheet.read(SOURCES, Words(vec![SourceWord::ActiveByInstance])).0;
    sheet.check(
        SOURCES,
        !words.is_empty(),
        "without a source nobody ever knows whether it is idle",
        format!("allowed: {}", Words::allowed()),
    );
    let distinct: BTreeSet<_> = words.iter().collect();
    sheet.check(SOURCES, distinct.len() == words.len(), "names a source twice", "each source once");
    let chosen = |word, what| Chosen { holds: words.contains(&word), by: SOURCES, what };
    let by_key = words.contains(&SourceWord::ActiveByInstance) || words.contains(&SourceWord::Redis);
    let keyed = Chosen { holds: by_key, by: SOURCES, what: "\"active-by-instance\" or \"redis\"" };
    let key = sheet.chosen_or(&keyed, "orchestrator.activity.key", Key::Own);

    let by_instance = chosen(SourceWord::ActiveByInstance, "\"active-by-instance\"");
    let active_base = sheet.chosen::<HttpUrl>(&by_instance, "orchestrator.activity.active_by_instance.url");
    let refreshed = sheet.chosen_or(&by_instance, "orchestrator.activity.active_by_instance.refreshed", ORCA_HEARTBEAT);
    bounded(sheet, "orchestrator.activity.active_by_instance.refreshed", refreshed, SECOND, 3600 * SECOND);
    let metrics = chosen(SourceWord::Metrics, "\"metrics\"");
    let metrics_url = sheet.needed::<HttpUrl>(&metrics, "orchestrator.activity.metrics.url");
    let series = sheet.needed::<Series>(&metrics, "orchestrator.activity.metrics.series");
    let json = chosen(SourceWord::Json, "\"json\"");
    let json_url = sheet.needed::<HttpUrl>(&json, "orchestrator.activity.json.url");
    let pointer = sheet.chosen_or(&json, "orchestrator.activity.json.pointer", Pointer(String::new()));
    let redis = chosen(SourceWord::Redis, "\"redis\"");
    let redis_url = sheet.needed::<RedisUrl>(&redis, "orchestrator.activity.redis.url");
    let expiry = sheet.chosen_or(&redis, "orchestrator.activity.redis.expiry", 300 * SECOND);
    bounded(sheet, "orchestrator.activity.redis.expiry", expiry, 10 * SECOND, 86_400 * SECOND);
    let command = chosen(SourceWord::Command, "\"command\"");
    let argv = sheet.needed::<Vec<String>>(&command, "orchestrator.activity.command.run");

    let source = |word: &SourceWord| match word {
        SourceWord::ActiveByInstance => {
            let base = active_base.as_ref().map_or_else(|| base.to_owned(), |url| url.0.clone());
            Some(Source::ActiveByInstance { base, key: key.clone(), refreshed })
        }
        SourceWord::Metrics => Some(Source::Metrics { url: metrics_url.clone()?.0, series: series.clone()? }),
        SourceWord::Json => Some(Source::Json { url: json_url.clone()?.0, pointer: pointer.0.clone() }),
        SourceWord::Redis => Some(Source::Redis(Redis { url: redis_url.clone()?.0, key: key.clone(), expiry })),
        SourceWord::Command => Some(Source::Command { argv: argv.clone()? }),
    };
    words.iter().filter_map(source).collect()
}

fn intake(sheet: &mut Sheet<'_>, base: &str) -> Switch {
    let word = sheet.read(SWITCH, SwitchWord::SpinnakerAdmin);
    let chosen = |is, what| Chosen { holds: word == is, by: SWITCH, what };
    let none = chosen(SwitchWord::None, "\"none\"");
    let accepted = sheet.chosen_or(&none, "orchestrator.intake.accept_risk", false);
    if none.holds {
        let risk = "without a switch, work may arrive until the last moment and be lost";
        sheet.check(SWITCH, accepted, risk, "set orchestrator.intake.accept_risk = true, or name a switch");
    }
    let admin = chosen(SwitchWord::SpinnakerAdmin, "\"spinnaker-admin\"");
    let admin_base = sheet.chosen::<HttpUrl>(&admin, "orchestrator.intake.url");
    let poll_age = poll_age(sheet, &admin);
    let http = http_switch(sheet, &chosen(SwitchWord::Http, "\"http\""));
    let command = chosen(SwitchWord::Command, "\"command\"");
    let close = sheet.needed::<Vec<String>>(&command, "orchestrator.intake.command.close");
    let open = sheet.needed::<Vec<String>>(&command, "orchestrator.intake.command.open");
    let read = sheet.needed::<Vec<String>>(&command, "orchestrator.intake.command.read");
    let switch = match word {
        SwitchWord::SpinnakerAdmin => {
            Some(Switch::SpinnakerAdmin { base: admin_base.map_or_else(|| base.to_owned(), |url| url.0), poll_age })
        }
        SwitchWord::Http => http,
        SwitchWord::Command => close.zip(open).zip(read).map(|((close, open), read)| Switch::Command { close, open, read }),
        SwitchWord::None => None,
    };
    // Where a part is missing it was noted, and this value is never used.
    switch.unwrap_or(Switch::None)
}

fn poll_age(sheet: &mut Sheet<'_>, admin: &Chosen) -> Option<PollAge> {
    const URL: &str = "orchestrator.intake.poll_age.url";
    let url = sheet.chosen::<HttpUrl>(admin, URL);
    let set = Chosen { holds: url.is_some(), by: URL, what: URL };
    let series = sheet.chosen_or(
        &set,
        "orchestrator.intake.poll_age.series",
        Series { name: "queue_last_poll_age".into(), labels: Default::default() },
    );
    let usual = PollAge::new("", series);
    let closed_at = sheet.chosen_or(&set, "orchestrator.intake.poll_age.closed_at", usual.closed_at);
    bounded(sheet, "orchestrator.intake.poll_age.closed_at", closed_at, SECOND, 60 * SECOND);
    let spacing = sheet.chosen_or(&set, "orchestrator.intake.poll_age.spacing", usual.spacing);
    bounded(sheet, "orchestrator.intake.poll_age.spacing", spacing, SECOND / 10, 10 * SECOND);
    url.map(|url| PollAge { url: url.0, closed_at, spacing, ..usual })
}

fn http_switch(sheet: &mut Sheet<'_>, http: &Chosen) -> Option<Switch> {
    let close = request(
        sheet,
        http,
        ["orchestrator.intake.http.close_method", "orchestrator.intake.http.close_url", "orchestrator.intake.http.close_body"],
    );
    let open = request(
        sheet,
        http,
        ["orchestrator.intake.http.open_method", "orchestrator.intake.http.open_url", "orchestrator.intake.http.open_body"],
    );
    let url = sheet.needed::<HttpUrl>(http, "orchestrator.intake.http.read_url");
    let pointer = sheet.chosen::<Pointer>(http, "orchestrator.intake.http.read_pointer");
    let closed = sheet.needed::<serde_json::Value>(http, "orchestrator.intake.http.read_closed");
    let opened = sheet.chosen::<serde_json::Value>(http, "orchestrator.intake.http.read_open");
    if let Some(closed) = &closed {
        let wrong = "only of true and false can the opposite be told";
        sheet.check(
            "orchestrator.intake.http.read_closed",
            closed.is_boolean() || opened.is_some(),
            wrong,
            "set orchestrator.intake.http.read_open too",
        );
        sheet.check(
            "orchestrator.intake.http.read_open",
            opened.as_ref() != Some(closed),
            "is the same as read_closed",
            "two different values",
        );
    }
    let read = ReadBack { url: url?.0, pointer: pointer.map(|p| p.0), closed: closed?, open: opened };
    Some(Switch::Http { close: close?, open: open?, read })
}

fn request(sheet: &mut Sheet<'_>, http: &Chosen, keys: [&'static str; 3]) -> Option<Request> {
    let [method_key, url, body] = keys;
    let method = sheet.chosen_or(http, method_key, "POST".to_owned());
    let known = ["POST", "PUT", "PATCH", "DELETE", "GET"];
    sheet.check(method_key, known.contains(&method.as_str()), format!("\"{method}\" is no method"), format!("one of {}", known.join(", ")));
    let url = sheet.needed::<HttpUrl>(http, url);
    let body = sheet.chosen::<String>(http, body);
    Some(Request { method, url: url?.0, body })
}

fn hand(sheet: &mut Sheet<'_>, command_key: &'static str, unit_key: &'static str) -> Option<Hand> {
    let command = sheet.optional::<Vec<String>>(command_key);
    let unit = sheet.optional::<String>(unit_key);
    one_of(sheet, command_key, command.is_some(), unit_key, unit.is_some());
    command.map(Hand::Command).or(unit.map(Hand::Unit))
}

fn one_of(sheet: &mut Sheet<'_>, key: &'static str, is_set: bool, other: &'static str, other_is_set: bool) {
    sheet.check(key, !(is_set && other_is_set), format!("and {other} are two answers to one question"), "only one of them");
}

/// A list of words.
struct Words(Vec<SourceWord>);

impl Kind for Words {
    fn allowed() -> String {
        format!("a list of words, each {}", SourceWord::allowed())
    }

    fn from_toml(value: &toml::de::DeValue<'_>) -> Option<Self> {
        value.as_array()?.iter().map(|word| SourceWord::from_toml(word.get_ref())).collect::<Option<_>>().map(Self)
    }

    fn from_text(text: &str) -> Option<Self> {
        text.split(',').map(|word| SourceWord::from_text(word.trim())).collect::<Option<_>>().map(Self)
    }

    fn show(&self) -> String {
        format!("[{}]", self.0.iter().map(Kind::show).collect::<Vec<_>>().join(", "))
    }
}

/// RFC 6901.
#[derive(Clone)]
struct Pointer(String);

text_kind!(
    Pointer,
    "a JSON pointer such as \"/status/running\", or \"\" for the whole document",
    |t: &str| (t.is_empty() || t.starts_with('/')).then(|| Pointer(t.to_owned())),
    |p: &Pointer| p.0.clone()
);
