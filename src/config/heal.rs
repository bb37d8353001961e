//! `[heal]` and its tables: what is probed and measured, and how far healing may go.
//!
//! Permits come from the embedded engine's Redis by themselves: it is shared, it is ours to write, and it is the fleet's own. The Redis that an Orca's
//! activity is read from is asked for them only when it is named in `heal.permits` too: a replica or a user who may only read may stand behind it.

use std::path::PathBuf;
use std::time::Duration;

use super::Store;
use super::keys::at_least_one;
use super::keys::bounded;
use super::kind::HttpUrl;
use super::kind::Names;
use super::kind::StoreUrl;
use super::kind::choice;
use super::kind::show_duration;
use super::kind::text_kind;
use super::sheet::Chosen;
use super::sheet::Sheet;
use crate::decide::heal::HealPolicy;
use crate::decide::heal::Level;
use crate::decide::heal::Limits;
use crate::decide::heal::ProbeRules;
use crate::orchestrator::probe::Asks;
use crate::orchestrator::probe::Definition;
use crate::orchestrator::probe::Settings;
use crate::orchestrator::probe::Wanted;
use crate::orchestrator::probe::Whose;
use crate::orchestrator::store::RedisPermits;
use crate::orchestrator::store::RedisSettings;

choice!(Level { "off" => Level::Off, "observe" => Level::Observe, "restart" => Level::Restart, "replace" => Level::Replace });

const SECOND: Duration = Duration::from_secs(1);
/// Beside its stop, a restart takes at least so long.
const START_LEAST: Duration = Duration::from_secs(30);
/// A call for a permit has so long: what is asked for can wait, and is asked for again.
const PERMIT_WITHIN: Duration = Duration::from_secs(2);
/// The engine tells of its own store, at no cost; believed as a probe of it is.
const OWN_STORE: ProbeRules = ProbeRules { every: Duration::from_secs(3), failures: 3, successes: 1 };
/// More restarts, or starts, within a window are no budget any more.
const COUNT_MOST: u32 = 20;

/// The keys of one probe.
struct Keys {
    url: &'static str,
    connect: &'static str,
    run: &'static str,
    every: &'static str,
    timeout: &'static str,
    failures: &'static str,
    successes: &'static str,
}

macro_rules! keys {
    ($table:literal) => {
        Keys {
            url: concat!("heal.", $table, ".url"),
            connect: concat!("heal.", $table, ".connect"),
            run: concat!("heal.", $table, ".run"),
            every: concat!("heal.", $table, ".every"),
            timeout: concat!("heal.", $table, ".timeout"),
            failures: concat!("heal.", $table, ".failures"),
            successes: concat!("heal.", $table, ".successes"),
        }
    };
}

/// Keys of `[heal]` that become part of the policy and of nothing else.
pub(super) fn is_policy(key: &str) -> bool {
    let what_is_asked = [".url", ".connect", ".run", ".timeout"].iter().any(|end| key.ends_with(end));
    key.starts_with("heal.") && !key.starts_with("heal.limits.") && !what_is_asked && !key.starts_with("heal.permits")
}

/// Where permits come from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Permits {
    Auto,
    Off,
    At(StoreUrl),
}

text_kind!(
    Permits,
    "\"auto\" (the embedded engine's Redis, where it has one), \"off\", or the address of a Redis that the fleet shares",
    |t: &str| match t {
        "auto" => Some(Permits::Auto),
        "off" => Some(Permits::Off),
        address => StoreUrl::from_text(address).map(Permits::At),
    },
    |p: &Permits| match p {
        Permits::Auto => "auto".to_owned(),
        Permits::Off => "off".to_owned(),
        Permits::At(url) => url.show().trim_matches('"').to_owned(),
    },
    exact |p: &Permits| match p {
        Permits::Auto => "auto".to_owned(),
        Permits::Off => "off".to_owned(),
        Permits::At(url) => url.0.clone(),
    }
);

/// What `[heal]` comes to.
pub(super) struct Healing {
    pub(super) policy: HealPolicy,
    pub(super) probes: Settings,
    pub(super) permits: Option<RedisSettings>,
}

/// What is decided, and what is looked at for it. `process` is the one that figures are of where no other is named; `store` is the embedded engine's.
pub(super) fn heal(sheet: &mut Sheet<'_>, process: Option<Whose>, store: Option<&Store>) -> Healing {
    let mut policy = ladder(sheet);
    let permits = permits(sheet, store);
    policy.permits = permits.is_some();
    let mut settings = Settings::default();
    (policy.liveness, settings.liveness) = probe(sheet, &keys!("liveness"));
    (policy.readiness, settings.readiness) = probe(sheet, &keys!("readiness"));
    (policy.store, settings.store) = probe(sheet, &keys!("store"));
    if store.is_some() {
        policy.store.get_or_insert(OWN_STORE);
    }
    limits(sheet, process, &mut policy, &mut settings);
    Healing { policy, probes: settings, permits }
}

fn permits(sheet: &mut Sheet<'_>, store: Option<&Store>) -> Option<RedisSettings> {
    let prefix = sheet.optional::<String>("heal.permits_prefix");
    let settings = match (sheet.read("heal.permits", Permits::Auto), store) {
        (Permits::Auto, Some(Store::Redis(redis))) => Some(RedisSettings { read: None, ..redis.clone() }),
        (Permits::Auto | Permits::Off, _) => None,
        (Permits::At(url), _) => {
            Some(RedisSettings { url: url.0, read: None, prefix: prefix.clone().unwrap_or_default(), timeout: PERMIT_WITHIN })
        }
    };
    let own = sheet.is_written("heal.permits") && settings.is_some();
    sheet.check("heal.permits_prefix", prefix.is_none() || own, "has no effect here", "it belongs to heal.permits with an address");
    if let Some(settings) = settings.as_ref().filter(|_| own && sheet.are_sound(&["heal.permits", "heal.permits_prefix"]))
        && let Err(error) = RedisPermits::check(settings)
    {
        sheet.wrong("heal.permits", error.to_string(), "");
    }
    settings
}

fn ladder(sheet: &mut Sheet<'_>) -> HealPolicy {
    let usual = HealPolicy::default();
    let policy = HealPolicy {
        level: sheet.read("heal.level", usual.level),
        restarts: sheet.read("heal.restarts", usual.restarts),
        crash_loop: sheet.read("heal.crash_loop", usual.crash_loop),
        window: sheet.read("heal.window", usual.window),
        backoff: sheet.read("heal.backoff", usual.backoff),
        stop_grace: sheet.read("heal.stop_grace", usual.stop_grace),
        start_grace: sheet.read("heal.start_grace", usual.start_grace),
        turn: sheet.read("heal.turn", usual.turn),
        budget_percent: usual.budget_percent,
        end_unproven: sheet.read("heal.end_unproven", usual.end_unproven),
        trust_ec2_checks: sheet.read("heal.trust_ec2_checks", usual.trust_ec2_checks),
        ..usual
    };
    let most = format!("allowed: 0 to {COUNT_MOST}");
    sheet.check("heal.restarts", policy.restarts <= COUNT_MOST, "is no budget any more", most);
    let sound = (2..=COUNT_MOST).contains(&policy.crash_loop);
    sheet.check("heal.crash_loop", sound, "is no loop, or too late a finding", format!("allowed: 2 to {COUNT_MOST}"));
    bounded(sheet, "heal.window", policy.window, 60 * SECOND, 86_400 * SECOND);
    bounded(sheet, "heal.backoff", policy.backoff, SECOND, 3600 * SECOND);
    bounded(sheet, "heal.stop_grace", policy.stop_grace, SECOND, 600 * SECOND);
    bounded(sheet, "heal.start_grace", policy.start_grace, SECOND, 3600 * SECOND);
    bounded(sheet, "heal.turn", policy.turn, 10 * SECOND, 3600 * SECOND);
    if sheet.are_sound(&["heal.turn", "heal.stop_grace"]) {
        let least = policy.stop_grace + START_LEAST;
        let wrong = format!("a restart could last longer than {}, and meet the next instance's", show_duration(policy.turn));
        let allowed = format!("allowed: at least heal.stop_grace + {} = {}", show_duration(START_LEAST), show_duration(least));
        sheet.check("heal.turn", policy.turn >= least, wrong, allowed);
    }
    let percent = sheet.read("heal.budget_percent", u32::from(policy.budget_percent));
    let sound = u8::try_from(percent).ok().filter(|percent| (1..=100).contains(percent));
    sheet.check("heal.budget_percent", sound.is_some(), format!("{percent} % is no share of a group"), "allowed: 1 to 100");
    HealPolicy { budget_percent: sound.unwrap_or(policy.budget_percent), ..policy }
}

fn probe(sheet: &mut Sheet<'_>, keys: &Keys) -> (Option<ProbeRules>, Option<Definition>) {
    let url = sheet.optional::<HttpUrl>(keys.url).map(|url| Asks::Http(url.0));
    let connect = sheet.optional::<String>(keys.connect);
    sheet.check(keys.connect, connect.as_deref().is_none_or(is_address), "is no host and port", "allowed: \"cache:6379\", \"10.0.0.1:22\"");
    let run = sheet.optional::<Vec<String>>(keys.run).map(Asks::Command);
    let written = [keys.url, keys.connect, keys.run].into_iter().filter(|key| sheet.is_written(key)).collect::<Vec<_>>();
    if let [_, second, ..] = written.as_slice() {
        sheet.wrong(second, format!("and {} are two answers to one question", written[0]), "only one of them");
    }
    let chosen = Chosen { holds: !written.is_empty(), by: keys.url, what: "a probe: url, connect or run" };
    let every = sheet.chosen_or(&chosen, keys.every, 10 * SECOND);
    bounded(sheet, keys.every, every, SECOND, 600 * SECOND);
    let timeout = sheet.chosen_or(&chosen, keys.timeout, 3 * SECOND);
    bounded(sheet, keys.timeout, timeout, SECOND / 10, 30 * SECOND);
    let failures = sheet.chosen_or(&chosen, keys.failures, 3);
    at_least_one(sheet, keys.failures, failures, "what never failed would be sick");
    let successes = sheet.chosen_or(&chosen, keys.successes, 1);
    at_least_one(sheet, keys.successes, successes, "what never passed would be well");
    if sheet.are_sound(&[keys.every, keys.timeout]) {
        let wrong = format!("one probe would not have ended when the next is due, {} later", show_duration(every));
        sheet.check(keys.timeout, timeout <= every, wrong, format!("allowed: at most {}", keys.every));
    }
    match url.or(connect.map(Asks::Tcp)).or(run) {
        Some(asks) => (Some(ProbeRules { every, failures, successes }), Some(Definition { asks, timeout })),
        None => (None, None),
    }
}

/// Whether it names a host and a port.
fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn limits(sheet: &mut Sheet<'_>, process: Option<Whose>, policy: &mut HealPolicy, settings: &mut Settings) {
    let usual = HealPolicy::default();
    let mib = |value: Option<u32>| value.map(|mib| u64::from(mib) << 20);
    let memory_bytes = mib(sheet.optional("heal.limits.memory_mib"));
    let memory_growth_bytes_per_h = mib(sheet.optional("heal.limits.memory_growth_mib_per_h"));
    let cpu_percent = sheet.optional::<u32>("heal.limits.cpu_percent");
    let threads = sheet.optional::<u32>("heal.limits.threads");
    let files = sheet.optional::<u32>("heal.limits.files");
    let pid_file = sheet.optional::<PathBuf>("heal.limits.pid_file").map(Whose::PidFile);
    let mounts = sheet.optional::<Names>("heal.limits.mounts").map(|names| names.0).unwrap_or_default();
    let disk_free_percent = sheet.optional::<u32>("heal.limits.disk_free_percent");
    let inodes_free_percent = sheet.optional::<u32>("heal.limits.inodes_free_percent");
    let load_percent = sheet.optional::<u32>("heal.limits.load_percent");
    let oom_kills = sheet.read("heal.limits.oom_kills", false);
    let clock_offset = sheet.optional::<Duration>("heal.limits.clock_offset");
    if let Some(offset) = clock_offset {
        // What is told of a clock that AWS's answers show is right within a second or so.
        bounded(sheet, "heal.limits.clock_offset", offset, 2 * SECOND, 240 * SECOND);
    }
    let limits = Limits {
        memory_bytes,
        memory_growth_bytes_per_h,
        cpu_percent,
        threads,
        files,
        disk_free_percent,
        inodes_free_percent,
        load_percent,
        oom_kills,
        clock_offset,
    };
    let some = Chosen { holds: !limits.is_empty(), by: "heal.limits.memory_mib", what: "a limit in [heal.limits]" };
    policy.vitals_every = sheet.chosen_or(&some, "heal.limits.every", usual.vitals_every);
    bounded(sheet, "heal.limits.every", policy.vitals_every, SECOND, 600 * SECOND);
    policy.limits_over = sheet.chosen_or(&some, "heal.limits.over", usual.limits_over);
    bounded(sheet, "heal.limits.over", policy.limits_over, SECOND, 86_400 * SECOND);
    for key in ["heal.limits.disk_free_percent", "heal.limits.inodes_free_percent"] {
        let value = if key.contains("disk") { disk_free_percent } else { inodes_free_percent };
        sheet.check(key, value.is_none_or(|percent| percent <= 100), "is more than all of it", "allowed: 0 to 100");
        sheet.check(key, value.is_none() || !mounts.is_empty(), "without heal.limits.mounts nothing is looked at", "name them");
    }
    let absolute = mounts.iter().all(|mount| mount.starts_with('/'));
    sheet.check("heal.limits.mounts", absolute, "names what is no absolute path", "allowed: [\"/\", \"/var/lib\"]");
    let looked_at = mounts.is_empty() || disk_free_percent.is_some() || inodes_free_percent.is_some();
    let belongs = "set heal.limits.disk_free_percent or heal.limits.inodes_free_percent";
    sheet.check("heal.limits.mounts", looked_at, "has no effect here", belongs);
    let whose = pid_file.or(process);
    for (key, set) in [
        ("heal.limits.memory_mib", memory_bytes.is_some()),
        ("heal.limits.memory_growth_mib_per_h", memory_growth_bytes_per_h.is_some()),
        ("heal.limits.cpu_percent", cpu_percent.is_some()),
        ("heal.limits.threads", threads.is_some()),
        ("heal.limits.files", files.is_some()),
    ] {
        let known = !set || whose.is_some();
        sheet.check(key, known, "nobody says which process it is of", "set heal.limits.pid_file or orchestrator.generation");
    }
    settings.wanted = Wanted {
        usage: memory_bytes.is_some() || memory_growth_bytes_per_h.is_some() || cpu_percent.is_some(),
        threads: threads.is_some(),
        files: files.is_some(),
        mounts: mounts.into_iter().map(PathBuf::from).collect(),
        load: load_percent.is_some(),
        oom_kills,
    };
    settings.whose = whose;
    policy.limits = limits;
}
