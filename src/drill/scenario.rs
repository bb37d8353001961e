//! What a drill plays: a small region, a script of what people and fate do to it, and the policy of its agents. All drawn from the seed.

mod heed;
mod sick;

use std::time::Duration;

use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use crate::cloud::sim;
use crate::cloud::sim::Behaviour;
use crate::cloud::sim::Boot;
use crate::cloud::sim::ClassicSpec;
use crate::cloud::sim::Endpoint;
use crate::cloud::sim::Era;
use crate::cloud::sim::GroupSpec;
use crate::cloud::sim::Incident;
use crate::cloud::sim::Lie;
use crate::cloud::sim::LoadBalancerSpec;
use crate::cloud::sim::Pick;
use crate::cloud::sim::SimTime;
use crate::cloud::sim::Span;
use crate::cloud::sim::Switch;
use crate::cloud::sim::TargetGroupSpec;
use crate::cloud::sim::TemplateSpec;
use crate::cloud::sim::Timed;
use crate::cloud::sim::Trouble;
use crate::cloud::sim::TroubleKind;
use crate::cloud::sim::Undocumented;
use crate::cloud::sim::VersionSpec;
use crate::cloud::sim::WorkSpec;
use crate::decide::AtDeadline;
use crate::decide::Policy;

use super::fleet::script;
use super::fleet::script::Script;
pub use sick::Sickness;

/// The scenarios there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// v023 → v024 with 40 executions under way, two clusters, one of them polling.
    Redeploy,
    /// The same, while machines and processes fall with work on them and lines to the store are cut.
    Crash,
    /// v024 goes bad while v023 is half drained; on-call rolls back.
    Rollback,
    /// A redeploy, perhaps with a rollback, under throttling, stale reads, lost replies, lying orchestrators and crashing agents.
    Storm,
    /// Some orchestrators hang, by themselves.
    SickOrchestrator,
    /// All orchestrators of a cluster hang, for a cause that they share.
    SickFleet,
    /// The store does not answer, and so no orchestrator does.
    SickStore,
    /// The disk of one instance is full.
    SickHost,
    /// AWS takes spot instances back; a redeploy follows, here and in those below.
    Spot,
    /// A policy scales a busy group in.
    ScaleIn,
    /// An instance refresh of a busy group.
    Refresh,
    /// All machines of a zone die at once.
    AzOutage,
}

impl Scenario {
    /// All of them, with what they show.
    pub const ALL: [(Scenario, &'static str); 12] = [
        (Scenario::Redeploy, "v023 is replaced by v024 under load; the old instances hand their work on, or run dry, and leave"),
        (Scenario::Crash, "a redeploy while machines and agents fall with work on them, at any instant; others go on with it"),
        (Scenario::Rollback, "v024 goes bad while v023 is half drained; on-call rolls back"),
        (Scenario::Storm, "a redeploy under throttling, stale reads, lost replies, lying orchestrators and agent crashes"),
        (Scenario::SickOrchestrator, "orchestrators hang one by one; each is restarted in its turn, within the budget"),
        (Scenario::SickFleet, "all orchestrators hang for one cause; nobody is replaced, and there is no storm of restarts"),
        (Scenario::SickStore, "the store does not answer, and so no orchestrator does; nobody is restarted"),
        (Scenario::SickHost, "the disk of one instance is full; it runs dry and is replaced, and nobody else"),
        (Scenario::Spot, "AWS takes spot instances back with two minutes' notice; they take no more work, and others go on with it"),
        (Scenario::ScaleIn, "a policy scales a busy group in; AWS is kept waiting until whom it picked has run dry"),
        (Scenario::Refresh, "an instance refresh replaces a busy group one by one, each when it has run dry"),
        (Scenario::AzOutage, "all machines of a zone die at once; others go on with their work"),
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redeploy => "redeploy",
            Self::Crash => "crash",
            Self::Rollback => "rollback",
            Self::Storm => "storm",
            Self::SickOrchestrator => "sick-orchestrator",
            Self::SickFleet => "sick-fleet",
            Self::SickStore => "sick-store",
            Self::SickHost => "sick-host",
            Self::Spot => "spot",
            Self::ScaleIn => "scale-in",
            Self::Refresh => "refresh",
            Self::AzOutage => "az-outage",
        }
    }

    /// The scenario of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().map(|(scenario, _)| scenario).find(|s| s.name() == name)
    }
}

/// Who runs the work of a play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Runs {
    /// Bellrock's own engine, in the agent: work is handed on.
    Embedded,
    /// Another orchestrator on the instance, which the agent asks over its endpoints: work is waited for.
    Endpoint,
}

impl Runs {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Endpoint => "endpoint",
        }
    }
}

/// What is played: a scenario, on one of the orchestrators it can be played on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Piece {
    /// The scenario.
    pub scenario: Scenario,
    /// Who runs its work.
    pub orchestrator: Runs,
}

impl Piece {
    /// A scenario on this orchestrator; `None` when it cannot be played there.
    pub fn on(scenario: Scenario, orchestrator: Runs) -> Option<Self> {
        scenario.orchestrators().contains(&orchestrator).then_some(Self { scenario, orchestrator })
    }

    /// Every scenario on every orchestrator it can be played on.
    pub fn all() -> Vec<Self> {
        let on_each = |(scenario, _): (Scenario, _)| scenario.orchestrators().iter().map(move |o| Self { scenario, orchestrator: *o });
        Scenario::ALL.into_iter().flat_map(on_each).collect()
    }
}

impl From<Scenario> for Piece {
    /// On the orchestrator that it is for.
    fn from(scenario: Scenario) -> Self {
        Self { scenario, orchestrator: scenario.orchestrators()[0] }
    }
}

impl Scenario {
    /// On which orchestrators it can be played; the first is the one it is for.
    pub fn orchestrators(self) -> &'static [Runs] {
        match self {
            Self::Redeploy | Self::Spot => &[Runs::Embedded, Runs::Endpoint],
            Self::ScaleIn | Self::Refresh => &[Runs::Endpoint, Runs::Embedded],
            Self::Crash | Self::AzOutage => &[Runs::Embedded],
            Self::Rollback | Self::Storm | Self::SickOrchestrator | Self::SickFleet | Self::SickStore | Self::SickHost => &[Runs::Endpoint],
        }
    }
}

/// A drill ready to be played.
#[derive(Clone, Debug)]
pub struct Play {
    /// The region.
    pub region: sim::Scenario,
    /// The clusters that are redeployed.
    pub clusters: Vec<Cluster>,
    /// Of every agent.
    pub policy: Policy,
    /// What the embedded engines do and suffer; `None` = the region simulates another orchestrator.
    pub engines: Option<Script>,
    /// When the new server groups are made.
    pub deploy_at: SimTime,
    /// From the new groups' being healthy to the old ones' being disabled; both serve meanwhile.
    pub disabled_after: Duration,
    /// How long after the old groups were disabled the new ones go bad and on-call rolls back; `None` = they do not.
    pub goes_bad_after: Option<Duration>,
    /// Of a terminate call, the part at which its agent crashes, half of them before it and half after; 0 to 1.
    pub crash_at_call: f64,
    /// Mean time between crashes of one agent; `None` = none.
    pub crash_every: Option<Duration>,
    /// What befalls the person on call.
    pub oncall: Oncall,
    /// What is sick, in plays of that.
    pub sickness: Option<Sickness>,
    /// The agents take permits to heal, out of a book that is down with the store, where that is.
    pub permits: bool,
    /// The play ends then at the latest.
    pub limit: SimTime,
}

/// What befalls the person on call, and what he does about it.
#[derive(Clone, Debug, Default)]
pub struct Oncall {
    /// Chance that his machine dies between two looks of the director.
    pub dies: f64,
    /// How the first runs of the command die; the ones after those live.
    pub deaths: Vec<Death>,
    /// What he types after a death.
    pub then: Then,
    /// He asks for one restored instance before the others.
    pub canary: bool,
    /// So many of each newest group are to be kept for the post-mortem.
    pub keep_bad: u32,
    /// Somebody else changes a group so long after the first run's beginning.
    pub meddled_after: Option<Duration>,
    /// What that somebody does.
    pub meddling: Meddling,
}

/// What somebody else does to a restored group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Meddling {
    /// Suspends its HealthCheck for a while.
    #[default]
    Health,
    /// Disables it again, once, as a deployer does.
    Disables,
}

/// When a run of the command dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// When it has heard of this many of its steps.
    AfterStep(u32),
    /// After this time, whatever is under way.
    After(Duration),
}

/// What the person on call types after his machine has died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// The same again.
    #[default]
    Again,
    /// `--resume`, on another machine.
    Resume,
    /// `--undo`, and then the same again.
    Undo,
}

/// One cluster of a play.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// `app-stack-detail`.
    pub name: String,
    /// The version that is replaced.
    pub old: GroupSpec,
    /// The version that replaces it.
    pub new: GroupSpec,
    /// Never two at once.
    pub polling: bool,
}

/// The application of every play.
pub const APPLICATION: &str = "shop";
/// A play's world clock shows this at its start: 2026-03-01T00:00:00Z, in milliseconds since the epoch.
pub const START_MS: i64 = 1_772_323_200_000;
/// The target group that users reach.
pub const USERS: &str = "shop-users";
/// The classic load balancer inside.
pub const INSIDE: &str = "shop-inside";
/// A group that has nothing to do with the play, and is to be left alone.
pub const BYSTANDER: &str = "till-main-v007";

/// Makes the play of a piece and a seed.
pub fn play(piece: impl Into<Piece>, seed: u64) -> Play {
    let Piece { scenario, orchestrator } = piece.into();
    let mut rng = Pcg64Mcg::seed_from_u64(seed ^ 0x6265_6c6c_726f_636b);
    let mut play = calm(&mut rng);
    if orchestrator == Runs::Embedded {
        embed(&mut play);
    }
    if scenario != Scenario::Crash && play.engines.is_some() {
        play.engines = Some(script::redeploy(&mut rng));
    }
    match scenario {
        Scenario::Redeploy => {}
        Scenario::Crash => {
            let mut script = script::crash(&mut rng);
            // Drawn apart: everything else of a play is what it was before anybody lay in wait.
            script.ambushes = script::ambushes(&mut Pcg64Mcg::seed_from_u64(seed ^ 0x616d_6275_7368));
            play.engines = Some(script);
        }
        Scenario::Rollback => {
            bad_night(&mut play, &mut rng);
            // Drawn apart: everything else of a night is what it was before anybody could be kept.
            play.oncall.keep_bad = pick(&mut Pcg64Mcg::seed_from_u64(seed ^ 0x6b65_6570), &[0, 0, 0, 1, 2]);
        }
        Scenario::Storm => storm(&mut play, &mut rng),
        Scenario::SickOrchestrator => sick::orchestrator(&mut play, &mut rng),
        Scenario::SickFleet => sick::fleet(&mut play, &mut rng),
        Scenario::SickStore => sick::store(&mut play, &mut rng),
        Scenario::SickHost => sick::host(&mut play, &mut rng),
        Scenario::Spot => heed::spot(&mut play, &mut rng),
        Scenario::ScaleIn => heed::scale_in(&mut play, &mut rng),
        Scenario::Refresh => heed::refresh(&mut play, &mut rng),
        Scenario::AzOutage => heed::az_outage(&mut play, &mut rng),
    }
    play
}

fn calm(rng: &mut Pcg64Mcg) -> Play {
    let size = rng.random_range(3..=4);
    let clusters = vec![cluster("shop-main", size, false), cluster("shop-main-polling", 1, true)];
    let boot = Boot { pending: Span::between(10, 25), service: Span::between(15, 45), failure: 0.0 };
    let orchestrator = Behaviour { era: pick(rng, &[Era::A, Era::B, Era::C]), slots: 16, ..Behaviour::default() };
    let version = |image: &str| VersionSpec { image: image.to_owned(), boot, orchestrator: Some(orchestrator), ..VersionSpec::default() };
    let template = TemplateSpec { name: "orca".to_owned(), versions: vec![version("ami-023"), version("ami-024")], default_version: 1 };
    let policy = Policy {
        describe_every: Duration::from_secs(60),
        metadata_every: Duration::from_secs(15),
        agree_over: Duration::from_secs(30),
        // These orchestrators count at once; what lags is the showing up of work just taken.
        settle: Duration::from_secs(10),
        sample_max_age: Duration::from_secs(15),
        budget_percent: 34,
        ..Policy::default()
    };
    let bystander = GroupSpec { name: BYSTANDER.to_owned(), ..cluster("till-main", 1, false).old };
    let groups = clusters.iter().map(|c| c.old.clone()).chain([bystander]).collect();
    let incidents = clusters.iter().flat_map(|c| work(c, if c.polling { 8 } else { 32 })).collect();
    Play {
        region: sim::Scenario {
            undocumented: Some(Undocumented::default()),
            templates: vec![template],
            target_groups: vec![TargetGroupSpec { name: USERS.to_owned(), ..TargetGroupSpec::default() }],
            load_balancers: vec![LoadBalancerSpec { name: "shop".to_owned(), internal: false, listeners: vec![(443, USERS.to_owned())] }],
            classic_load_balancers: vec![ClassicSpec { name: INSIDE.to_owned(), internal: true, ..ClassicSpec::default() }],
            groups,
            incidents,
            stale_bound: Duration::ZERO,
            ..sim::Scenario::default()
        },
        clusters,
        policy,
        engines: None,
        deploy_at: Duration::from_secs(60),
        disabled_after: Duration::ZERO,
        goes_bad_after: None,
        crash_at_call: 0.0,
        crash_every: None,
        oncall: Oncall::default(),
        sickness: None,
        permits: false,
        limit: Duration::from_secs(2 * 3600),
    }
}

/// A rollback by a person whose machine dies, in bad weather, with somebody else at the same groups: each of them in some plays.
fn bad_night(play: &mut Play, rng: &mut Pcg64Mcg) {
    play.goes_bad_after = Some(Duration::from_secs(rng.random_range(240..600)));
    let deaths = pick(rng, &[0, 1, 1, 2]);
    // A rollback of these two clusters takes about thirty steps and two minutes; with a canary a minute more.
    play.oncall.deaths = (0..deaths)
        .map(|_| match rng.random_bool(0.6) {
            true => Death::AfterStep(rng.random_range(1..32)),
            false => Death::After(Duration::from_millis(rng.random_range(200..150_000))),
        })
        .collect();
    play.oncall.then = pick(rng, &[Then::Again, Then::Resume, Then::Undo]);
    play.oncall.meddled_after = rng.random_bool(0.2).then(|| Duration::from_secs(rng.random_range(5..120)));
    play.oncall.meddling = pick(rng, &[Meddling::Health, Meddling::Disables]);
    play.oncall.canary = rng.random_bool(0.4);
    if play.oncall.then == Then::Undo {
        little_work(play);
    }
    if rng.random_bool(0.5) {
        return;
    }
    play.region.stale_bound = play.policy.stale_bound.mul_f64(rng.random_range(0.0..0.9));
    for kind in
        [TroubleKind::Throttle, TroubleKind::ServerError, TroubleKind::Reset, TroubleKind::LoseReply, TroubleKind::ResourceContention]
    {
        play.region.trouble.push(Trouble::always(kind).with_probability(pick(rng, &[0.0, 0.02, 0.08])));
    }
}

/// Few and long executions: some of the old group are gone when it is restored, and come anew; others are busy through an undoing.
fn little_work(play: &mut Play) {
    let main = play.clusters[0].name.clone();
    for timed in &mut play.region.incidents {
        if let Incident::Work(work) = &mut timed.what
            && timed.at < play.deploy_at
            && work.queue == main
        {
            (work.count, work.length) = (2, Span::between(900, 1500));
        }
    }
}

/// The agents run the work themselves, with the settings that the configuration gives them then.
fn embed(play: &mut Play) {
    for version in &mut play.region.templates[0].versions {
        version.orchestrator = None;
    }
    play.region.incidents.clear();
    play.policy = play.policy.clone().embedded();
    play.engines = Some(Script::default());
}

fn cluster(name: &str, size: u32, polling: bool) -> Cluster {
    let group = |sequence: u32| GroupSpec {
        name: format!("{name}-v{sequence:03}"),
        min: size,
        max: size + 2,
        desired: Some(size),
        template: "orca".to_owned(),
        version: if sequence == 23 { "1" } else { "2" }.to_owned(),
        target_groups: vec![USERS.to_owned()],
        classic_load_balancers: vec![INSIDE.to_owned()],
        settled: sequence == 23,
        ..GroupSpec::default()
    };
    Cluster { name: name.to_owned(), old: group(23), new: group(24), polling }
}

/// Work that is under way when the deploy begins, and some that comes later.
fn work(cluster: &Cluster, count: u32) -> [Timed; 2] {
    let spec = |count, over| WorkSpec {
        queue: cluster.name.clone(),
        application: APPLICATION.to_owned(),
        count,
        length: Span::between(60, 1200),
        over: Duration::from_secs(over),
    };
    [
        Timed { at: Duration::from_secs(1), what: Incident::Work(spec(count, 50)) },
        Timed { at: Duration::from_secs(120), what: Incident::Work(spec(count / 2, 1200)) },
    ]
}

fn storm(play: &mut Play, rng: &mut Pcg64Mcg) {
    let bound = play.policy.stale_bound;
    play.region.stale_bound = bound.mul_f64(rng.random_range(0.0..0.9));
    play.region.undocumented = Some(Undocumented { terminate_while_suspended: rng.random_bool(0.8), ..Undocumented::draw(rng) });
    if rng.random_bool(0.5) {
        play.goes_bad_after = Some(Duration::from_secs(rng.random_range(60..900)));
        play.oncall.dies = pick(rng, &[0.0, 0.005, 0.015]);
    }
    let min = pick(rng, &[0, 1, 2, 3]);
    let cluster = &mut play.clusters[0];
    for group in [&mut cluster.old, &mut cluster.new, &mut play.region.groups[0]] {
        group.min = group.min.min(min);
    }
    play.disabled_after = pick(rng, &[Duration::ZERO, Duration::ZERO, Duration::from_secs(120), Duration::from_secs(600)]);
    play.policy.stop_grace = rng.random_bool(0.4).then_some(Duration::from_secs(30));
    play.policy.budget_percent = pick(rng, &[10, 34, 60]);
    play.policy.soak = pick(rng, &[Duration::ZERO, Duration::from_secs(600)]);
    if rng.random_bool(0.2) {
        play.policy.deadline = Some(Duration::from_secs(1800));
        play.policy.at_deadline = AtDeadline::Hold;
    }
    play.crash_at_call = pick(rng, &[0.0, 0.3, 0.7]);
    play.crash_every = pick(rng, &[None, Some(Duration::from_secs(900)), Some(Duration::from_secs(200))]);
    for version in &mut play.region.templates[0].versions {
        if let Some(orchestrator) = &mut version.orchestrator {
            let kinds = [Switch::Obeys, Switch::Obeys, Switch::Forgets, Switch::Forgets, Switch::Forgets, Switch::Ignores, Switch::Refuses];
            orchestrator.switch = pick(rng, &kinds);
        }
    }
    troubles(play, rng);
    trickle(play, rng);
    incidents(play, rng);
}

/// Short work that comes in for as long as the drains last, so that an orchestrator whose intake is open for a moment has some at once.
fn trickle(play: &mut Play, rng: &mut Pcg64Mcg) {
    if rng.random_bool(0.4) {
        return;
    }
    for cluster in &play.clusters {
        let spec = WorkSpec {
            queue: cluster.name.clone(),
            application: APPLICATION.to_owned(),
            count: rng.random_range(50..250),
            length: Span::between(5, 90),
            over: Duration::from_secs(1500),
        };
        play.region.incidents.push(Timed { at: Duration::from_secs(200), what: Incident::Work(spec) });
    }
    if rng.random_bool(0.5) {
        // With nothing long under way the drains run dry soon.
        play.region.incidents.retain(|i| !matches!(&i.what, Incident::Work(w) if w.length.max > Duration::from_secs(90)));
    }
}

/// What befalls the instances of the old groups; those of the polling cluster only crash.
fn incidents(play: &mut Play, rng: &mut Pcg64Mcg) {
    let restless = rng.random_bool(0.5);
    for cluster in &play.clusters {
        let members = cluster.old.desired.unwrap_or_default() as usize;
        let on = |rng: &mut Pcg64Mcg| Pick::Nth { group: cluster.old.name.clone(), nth: rng.random_range(0..members) };
        for _ in 0..if restless { 4 * members } else { 0 } {
            let at = Duration::from_secs(rng.random_range(240..1800));
            play.region.incidents.push(Timed { at, what: Incident::Crash(on(rng)) });
        }
        if cluster.polling {
            continue;
        }
        for _ in 0..rng.random_range(0..8) {
            let on = on(rng);
            let length = Span::secs(rng.random_range(10..300));
            let what = match rng.random_range(0..4) {
                0 => Incident::Crash(on),
                1 => Incident::HangOrchestrator { on, r#for: length },
                2 => Incident::Lie {
                    on,
                    lie: Lie::Zero,
                    endpoint: Some(pick(rng, &[Endpoint::ActiveByInstance, Endpoint::Metrics])),
                    r#for: length,
                },
                _ => {
                    let lie = pick(rng, &[Lie::MissingKey, Lie::Malformed, Lie::NotFound, Lie::Old(120), Lie::ServerError, Lie::Hang]);
                    Incident::Lie { on, lie, endpoint: None, r#for: length }
                }
            };
            play.region.incidents.push(Timed { at: Duration::from_secs(rng.random_range(60..2400)), what });
        }
    }
}

fn troubles(play: &mut Play, rng: &mut Pcg64Mcg) {
    let rare = [0.0, 0.02, 0.1];
    for kind in [
        TroubleKind::Throttle,
        TroubleKind::ServerError,
        TroubleKind::Unavailable,
        TroubleKind::Hang,
        TroubleKind::Reset,
        TroubleKind::LoseReply,
        TroubleKind::ResourceContention,
        TroubleKind::ScalingActivityInProgress,
    ] {
        play.region.trouble.push(Trouble::always(kind).with_probability(pick(rng, &rare)));
    }
    if rng.random_bool(0.5) {
        let lost = Trouble::always(TroubleKind::LoseReply).on("TerminateInstanceInAutoScalingGroup");
        play.region.trouble.push(lost.with_probability(0.7));
    }
    if rng.random_bool(0.3) {
        let from = Duration::from_secs(rng.random_range(200..1500));
        let blackout = Trouble::always(TroubleKind::Throttle).during(from, from + Duration::from_secs(600));
        play.region.trouble.push(blackout);
    }
}

fn pick<T: Clone>(rng: &mut Pcg64Mcg, from: &[T]) -> T {
    from[rng.random_range(0..from.len())].clone()
}
