//! The keys of each section: names, defaults, limits. The sample file and `bellrock config show` follow from here.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Fleet;
use super::Format;
use super::Http;
use super::Level;
use super::Log;
use super::Network;
use super::heal;
use super::kind::HttpUrl;
use super::kind::Limit;
use super::kind::choice;
use super::kind::show_duration;
use super::orchestrator;
use super::sheet::Chosen;
use super::sheet::Sheet;
use crate::cloud::aws;
use crate::decide::AtDeadline;
use crate::decide::HookNames;
use crate::decide::MinSize;
use crate::decide::OnRebalance;
use crate::decide::Policy;
use crate::decide::Siblings;
use crate::decide::Via;
use crate::orchestrator::endpoint::Source;
use crate::orchestrator::gate;
use crate::orchestrator::web;

/// How siblings are found, as a word; the tag has a key of its own.
enum Finding {
    Name,
    Tag,
}

choice!(Finding { "by-name" => Finding::Name, "by-tag" => Finding::Tag });
choice!(AtDeadline { "hold" => AtDeadline::Hold, "force" => AtDeadline::Force, "retain" => AtDeadline::Retain });
choice!(OnRebalance { "note" => OnRebalance::Note, "close-intake" => OnRebalance::CloseIntake });
choice!(MinSize { "lower" => MinSize::Lower, "hold" => MinSize::Hold });
choice!(Via { "aws" => Via::Aws, "spinnaker" => Via::Spinnaker });
choice!(Format { "auto" => Format::Auto, "text" => Format::Text, "json" => Format::Json });
choice!(Level { "error" => Level::Error, "warn" => Level::Warn, "info" => Level::Info, "debug" => Level::Debug, "trace" => Level::Trace });

const SECOND: Duration = Duration::from_secs(1);

/// Keys that become part of [`Policy`] and of nothing else.
pub(super) fn is_policy(key: &str) -> bool {
    const ELSEWHERE: [&str; 5] = [
        "orchestrator.activity.every",
        "orchestrator.activity.every_idle",
        "orchestrator.activity.sample_max_age",
        "orchestrator.stop.grace",
        "terminate.min_size",
    ];
    let of_the_fleet = key.starts_with("fleet.") && !key.starts_with("fleet.aws.") && key != "fleet.state_dir";
    of_the_fleet || key.starts_with("drain.") || key.starts_with("heed.") || heal::is_policy(key) || ELSEWHERE.contains(&key)
}

pub(super) fn fleet(sheet: &mut Sheet<'_>, policy: &mut Policy) -> Fleet {
    let state_dir = sheet.read("fleet.state_dir", PathBuf::from("/var/lib/bellrock"));
    policy.retired = sheet.read("fleet.retired", policy.retired);
    let finding = sheet.read("fleet.siblings", Finding::Name);
    let by_tag = Chosen { holds: matches!(finding, Finding::Tag), by: "fleet.siblings", what: "\"by-tag\"" };
    let tag = sheet.needed::<String>(&by_tag, "fleet.sibling_tag");
    policy.siblings = match finding {
        Finding::Name => Siblings::ByName,
        Finding::Tag => Siblings::ByTag(tag.unwrap_or_default()),
    };
    policy.successor_floor = sheet.read("fleet.successor_floor", policy.successor_floor);
    at_least_one(sheet, "fleet.successor_floor", policy.successor_floor, "a successor without a healthy instance takes nothing over");
    policy.agree_reads = sheet.read("fleet.agree_reads", policy.agree_reads);
    at_least_one(sheet, "fleet.agree_reads", policy.agree_reads, "nothing would be read before draining");
    policy.agree_over = sheet.read("fleet.agree_over", policy.agree_over);
    policy.describe_every = sheet.read("fleet.describe_every", policy.describe_every);
    bounded(sheet, "fleet.describe_every", policy.describe_every, 10 * SECOND, 3600 * SECOND);
    policy.metadata_every = sheet.read("fleet.metadata_every", policy.metadata_every);
    bounded(sheet, "fleet.metadata_every", policy.metadata_every, SECOND, 60 * SECOND);
    Fleet { state_dir }
}

pub(super) fn aws(sheet: &mut Sheet<'_>) -> aws::Settings {
    let usual = aws::Settings::default();
    let region = sheet.optional::<String>("fleet.aws.region");
    let endpoint = sheet.optional::<HttpUrl>("fleet.aws.endpoint").map(|url| url.0);
    let call_timeout = sheet.read("fleet.aws.call_timeout", usual.call_timeout);
    bounded(sheet, "fleet.aws.call_timeout", call_timeout, SECOND, 120 * SECOND);
    let attempt_timeout = sheet.read("fleet.aws.attempt_timeout", usual.attempt_timeout);
    bounded(sheet, "fleet.aws.attempt_timeout", attempt_timeout, SECOND, 60 * SECOND);
    if sheet.are_sound(&["fleet.aws.call_timeout", "fleet.aws.attempt_timeout"]) {
        let wrong = format!("no attempt could take its {}", show_duration(attempt_timeout));
        sheet.check("fleet.aws.call_timeout", call_timeout >= attempt_timeout, wrong, "allowed: at least fleet.aws.attempt_timeout");
    }
    let in_flight = sheet.read("fleet.aws.in_flight", u32::try_from(usual.in_flight).unwrap_or(u32::MAX));
    at_least_one(sheet, "fleet.aws.in_flight", in_flight, "no call could be made");
    aws::Settings { region, endpoint, call_timeout, attempt_timeout, in_flight: usize::try_from(in_flight).unwrap_or(usize::MAX), ..usual }
}

pub(super) fn drain(sheet: &mut Sheet<'_>, policy: &mut Policy) {
    policy.dry_run = sheet.read("drain.dry_run", policy.dry_run);
    policy.soak = sheet.read("drain.soak", policy.soak);
    policy.keep = sheet.read("drain.keep", policy.keep);
    let percent = sheet.read("drain.budget_percent", u32::from(policy.budget_percent));
    match u8::try_from(percent) {
        Ok(percent @ 1..=100) => policy.budget_percent = percent,
        Ok(_) | Err(_) => sheet.wrong(
            "drain.budget_percent",
            format!("{percent} % would {}", if percent == 0 { "let no instance end" } else { "be more than the group" }),
            "allowed: 1 to 100",
        ),
    }
    policy.stale_bound = sheet.read("drain.stale_bound", policy.stale_bound);
    bounded(sheet, "drain.stale_bound", policy.stale_bound, SECOND, 300 * SECOND);
    policy.settle = sheet.read("drain.settle", policy.settle);
    policy.quiet = sheet.read("drain.quiet", policy.quiet);
    bounded(sheet, "drain.quiet", policy.quiet, SECOND, 86_400 * SECOND);
    let Limit(deadline) = sheet.read("drain.deadline", Limit(policy.deadline));
    policy.deadline = deadline;
    policy.at_deadline = sheet.read("drain.at_deadline", policy.at_deadline);
    policy.unknown_alert = sheet.read("drain.unknown_alert", policy.unknown_alert);
}

pub(super) fn heed(sheet: &mut Sheet<'_>, policy: &mut Policy) {
    const TERMINATING: &str = "heed.terminating_hook";
    const LAUNCHING: &str = "heed.launching_hook";
    policy.hooks = HookNames { launching: sheet.optional::<String>(LAUNCHING), terminating: sheet.optional::<String>(TERMINATING) };
    let launching = Chosen { holds: policy.hooks.launching.is_some(), by: LAUNCHING, what: "a launching hook" };
    policy.ready_within = sheet.chosen_or(&launching, "heed.ready_within", policy.ready_within);
    bounded(sheet, "heed.ready_within", policy.ready_within, 30 * SECOND, 48 * 3600 * SECOND);
    policy.margin = sheet.read("heed.margin", policy.margin);
    bounded(sheet, "heed.margin", policy.margin, SECOND, 100 * SECOND);
    policy.on_rebalance = sheet.read("heed.on_rebalance", policy.on_rebalance);
    policy.protect = sheet.read("heed.protect", policy.protect);
    if policy.at_deadline == AtDeadline::Retain {
        sheet.check(
            "drain.at_deadline",
            policy.hooks.terminating.is_some(),
            "\"retain\" abandons a lifecycle hook, and none is named",
            "name it in heed.terminating_hook",
        );
    }
}

/// Gate's settings only where Spinnaker is the hand.
pub(super) fn terminate(sheet: &mut Sheet<'_>, policy: &mut Policy) -> Option<gate::Settings> {
    policy.via = sheet.read("terminate.via", policy.via);
    policy.min_size = sheet.read("terminate.min_size", policy.min_size);
    let spinnaker = || Chosen { holds: policy.via == Via::Spinnaker, by: "terminate.via", what: "\"spinnaker\"" };
    let chosen = spinnaker();
    let base = sheet.needed::<HttpUrl>(&chosen, "terminate.spinnaker.gate_url");
    let account = sheet.needed::<String>(&chosen, "terminate.spinnaker.account");
    let user = sheet.chosen_or(&chosen, "terminate.spinnaker.user", "bellrock".to_owned());
    let usual = web::Limits::default();
    let limits = web::Limits {
        connect: sheet.chosen_or(&chosen, "terminate.spinnaker.connect_timeout", usual.connect),
        // Gate answers for Orca and Orca's store behind it.
        total: sheet.chosen_or(&chosen, "terminate.spinnaker.timeout", 10 * SECOND),
        ..usual
    };
    bounded(sheet, "terminate.spinnaker.connect_timeout", limits.connect, SECOND / 10, 30 * SECOND);
    bounded(sheet, "terminate.spinnaker.timeout", limits.total, SECOND, 60 * SECOND);
    let auth = orchestrator::auth(
        sheet,
        ["terminate.spinnaker.auth", "terminate.spinnaker.token_file", "terminate.spinnaker.login", "terminate.spinnaker.password_file"],
        spinnaker(),
    );
    match policy.via {
        Via::Aws => None,
        Via::Spinnaker => Some(gate::Settings { base: base?.0, user, account: account?, limits, auth }),
    }
}

pub(super) fn http(sheet: &mut Sheet<'_>) -> Http {
    let listen = sheet.read("http.listen", SocketAddr::from((Ipv4Addr::LOCALHOST, 7010)));
    sheet.check(
        "http.listen",
        listen.ip().is_loopback(),
        format!("{} can be reached from other machines", listen.ip()),
        "allowed: 127.0.0.0/8 and [::1]; for others there is http.network.listen",
    );
    let socket = sheet.read("http.socket", PathBuf::from("/run/bellrock/agent.sock"));
    // sockaddr_un holds 108 bytes with the closing zero.
    sheet.check("http.socket", socket.as_os_str().len() < 108, "is too long for a unix socket", "allowed: at most 107 bytes");
    let tokens_file = sheet.optional::<PathBuf>("http.tokens_file");
    let network = network(sheet);
    Http { listen, socket, tokens_file, network }
}

fn network(sheet: &mut Sheet<'_>) -> Option<Network> {
    const LISTEN: &str = "http.network.listen";
    let listen = sheet.optional::<SocketAddr>(LISTEN);
    let chosen = Chosen { holds: sheet.is_written(LISTEN), by: LISTEN, what: "the network port" };
    let certificate_file = sheet.needed::<PathBuf>(&chosen, "http.network.certificate_file");
    let key_file = sheet.needed::<PathBuf>(&chosen, "http.network.key_file");
    if chosen.holds && !sheet.is_written("http.tokens_file") {
        sheet.wrong(LISTEN, "the network port needs http.tokens_file", "nobody could ask; `bellrock token new` makes a token");
    }
    Some(Network { listen: listen?, certificate_file: certificate_file?, key_file: key_file? })
}

pub(super) fn log(sheet: &mut Sheet<'_>) -> Log {
    Log { level: sheet.read("log.level", Level::Info), format: sheet.read("log.format", Format::Auto) }
}

/// What no single key can tell.
pub(super) fn combinations(sheet: &mut Sheet<'_>, policy: &Policy, sources: &[Source], aws: &aws::Settings) {
    const ATTEMPT: &str = "fleet.aws.attempt_timeout";
    const EVERY: &str = "orchestrator.activity.every";
    const MAX_AGE: &str = "orchestrator.activity.sample_max_age";
    if sheet.are_sound(&["drain.quiet", EVERY, MAX_AGE]) {
        let least = 2 * policy.activity_every + policy.sample_max_age;
        let wrong = format!("{} is too short to be sure", show_duration(policy.quiet));
        let allowed = format!("allowed: at least 2 × {EVERY} + {MAX_AGE} = {}", show_duration(least));
        sheet.check("drain.quiet", policy.quiet >= least, wrong, allowed);
    }
    if sheet.are_sound(&[EVERY, MAX_AGE]) && sources.iter().any(|s| matches!(s, Source::Redis(_))) {
        let least = orchestrator::ORCA_HEARTBEAT + policy.activity_every * 2;
        let heartbeat = show_duration(orchestrator::ORCA_HEARTBEAT);
        let wrong = format!("Orca's keys in Redis are up to {heartbeat} old, so none would ever count");
        sheet.check(
            MAX_AGE,
            policy.sample_max_age >= least,
            wrong,
            format!("allowed: at least 60s + 2 × {EVERY} = {}", show_duration(least)),
        );
    }
    if let Some(refreshed) = slowest_map(sources)
        && sheet.are_sound(&["drain.settle", EVERY])
    {
        let least = refreshed + policy.activity_every;
        let wrong = format!("activeByInstance may show what was so {} ago, before the intake was closed", show_duration(refreshed));
        let allowed = format!("allowed: at least orchestrator.activity.active_by_instance.refreshed + {EVERY} = {}", show_duration(least));
        sheet.check("drain.settle", policy.settle >= least, wrong, allowed);
    }
    if sheet.are_sound(&[ATTEMPT, "drain.stale_bound"]) {
        let wrong = format!("a terminate call of {} could end after the next instance's turn began", show_duration(aws.attempt_timeout));
        sheet.check(ATTEMPT, aws.attempt_timeout <= policy.stale_bound, wrong, "allowed: at most drain.stale_bound");
    }
    if sheet.are_sound(&[EVERY, MAX_AGE]) {
        let wrong = format!("a sample would be too old before the next one, {} later", show_duration(policy.activity_every));
        sheet.check(MAX_AGE, policy.sample_max_age >= policy.activity_every, wrong, format!("allowed: at least {EVERY}"));
    }
    if sheet.are_sound(&["drain.deadline", "drain.at_deadline"]) {
        let happens = policy.at_deadline == AtDeadline::Hold || policy.deadline.is_some();
        sheet.check("drain.at_deadline", happens, "\"force\" never happens without a deadline", "set drain.deadline, or leave \"hold\"");
    }
    if let Some(deadline) = policy.deadline
        && sheet.are_sound(&["drain.deadline", "drain.soak", "drain.settle", "drain.quiet"])
    {
        let least = policy.soak + policy.settle + policy.quiet;
        let wrong = format!("{} passes before an idle instance could have ended", show_duration(deadline));
        let allowed = format!("allowed: more than drain.soak + drain.settle + drain.quiet = {}", show_duration(least));
        sheet.check("drain.deadline", deadline > least, wrong, allowed);
    }
}

/// How old the counts may be that carry no time, when there is no other source to contradict them (F1, F3). What else Orca shows comes from the same
/// heartbeat, but for its keys in Redis, which tell when they were written.
fn slowest_map(sources: &[Source]) -> Option<Duration> {
    let maps = sources.iter().filter_map(|source| match source {
        Source::ActiveByInstance { refreshed, .. } => Some(*refreshed),
        Source::Metrics { .. } | Source::Json { .. } | Source::Redis(_) | Source::Command { .. } => None,
    });
    let exact = |source: &Source| !matches!(source, Source::ActiveByInstance { .. });
    maps.max().filter(|_| !sources.iter().any(exact))
}

pub(super) fn bounded(sheet: &mut Sheet<'_>, key: &'static str, value: Duration, least: Duration, most: Duration) {
    sheet.check(
        key,
        (least..=most).contains(&value),
        format!("{} is too {}", show_duration(value), if value < least { "short" } else { "long" }),
        format!("allowed: {} to {}", show_duration(least), show_duration(most)),
    );
}

pub(super) fn at_least_one(sheet: &mut Sheet<'_>, key: &'static str, value: u32, why: &str) {
    sheet.check(key, value > 0, format!("0: {why}"), "allowed: 1 or more");
}
