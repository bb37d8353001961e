//! What launches need, read from a simulated region that lacks some of it, or does not let it be read.

use super::*;
use crate::cloud::sim::Region;
use crate::cloud::sim::Scenario;
use crate::cloud::sim::Sim;
use crate::cloud::sim::Trouble;
use crate::cloud::sim::TroubleKind;
use crate::host::clock::VirtualClock;
use crate::model::Timestamp;
use serde_json::json;
use std::sync::Arc;

/// All that is read for a look ahead, and for nothing else.
const AHEAD: [&str; 11] = [
    "DescribeLaunchTemplateVersions",
    "DescribeImages",
    "DescribeKeyPairs",
    "DescribeSecurityGroups",
    "DescribeSubnets",
    "DescribeInstanceTypeOfferings",
    "DescribeInstanceTypes",
    "DescribeInstances",
    "GetServiceQuota",
    "DescribePolicies",
    "SimulatePrincipalPolicy",
];

/// Clusters `shop-cNN` of three, redeployed: v001 is disabled and empty, v002 serves. Every cluster has its own template and security group.
fn region(clusters: u32) -> (Sim, VirtualClock) {
    let start = Timestamp(1_800_000_000_000);
    let names: Vec<String> = (0..clusters).map(|n| format!("shop-c{n:02}")).collect();
    let group = |name: &str, push: &str, size: u32, suspended: &[&str]| {
        json!({ "name": format!("{name}-{push}"), "min": size, "max": 3, "desired": size, "template": name, "target_groups": [name],
                "suspended": suspended, "settled": true })
    };
    let disabling = ["Launch", "Terminate", "AddToLoadBalancer"];
    let groups = names.iter().flat_map(|name| [group(name, "v001", 0, &disabling), group(name, "v002", 3, &[])]);
    let listeners: Vec<_> = names.iter().enumerate().map(|(n, name)| json!([8000 + n, name])).collect();
    let version = |name: &str| json!({ "key_pair": "ops", "security_groups": ["sg-all", format!("sg-{name}")] });
    let scenario: Scenario = serde_json::from_value(json!({
        "pace": { "latency": 0.03, "react": 1 },
        "templates": names.iter().map(|name| json!({ "name": name, "versions": [version(name)] })).collect::<Vec<_>>(),
        "target_groups": names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
        "load_balancers": [{ "name": "shop", "listeners": listeners }],
        "groups": groups.collect::<Vec<_>>(),
    }))
    .unwrap();
    let clock = VirtualClock::start(start);
    let mut region = Region::new(1, start);
    region.load(&scenario).unwrap();
    (Sim::new(region, Arc::new(clock)), clock)
}

fn wanted() -> Request {
    Request { application: "shop".to_owned(), ..request(1200) }
}

async fn in_region<T>(sim: &Sim, clock: &VirtualClock, work: impl AsyncFnOnce(&World<'_>) -> T) -> T {
    let (cloud, journal, cancel) = (sim.cloud("ann"), Journal::none(), CancellationToken::new());
    let world = World {
        scaling: &cloud,
        compute: &cloud,
        caller: &cloud,
        balancing: &cloud,
        service: &Answers(true),
        clock,
        journal: &journal,
        sink: &Silent,
        cancel: &cancel,
        seed: 7,
    };
    work(&world).await
}

fn calls(sim: &Sim) -> u64 {
    sim.with(|r| r.truth().counts.get("ann").map_or(0, |by| by.values().sum()))
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_could_launch_nothing_is_refused_by_name_with_nothing_changed() {
    let (sim, clock) = region(3);
    sim.with(|r| r.remove_security_group("sg-shop-c01"));
    let Err(NoPlan::Refused(refused)) = in_region(&sim, &clock, async |world| prepare(world, &wanted()).await).await else {
        panic!("it has to be refused");
    };
    let refusals = refused.refusals;
    let [Refusal::CannotLaunch { group, causes }] = refusals.as_slice() else { panic!("{refusals:?}") };
    assert_eq!((group.as_str(), causes[0].code()), ("shop-c01-v001", "preflight-security-group-gone"));
    assert!(refusals[0].to_string().contains("sg-shop-c01") && refusals[0].next_step().contains("--to"), "{}", refusals[0]);
    let changed = sim.with(|r| r.truth().calls.iter().filter(|c| c.caller == "ann").count());
    assert_eq!(changed, 0);
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_read_or_is_not_answered_is_a_note_and_the_rollback_comes_to_its_end() {
    for kind in [TroubleKind::Deny, TroubleKind::Hang, TroubleKind::ServerError, TroubleKind::Throttle, TroubleKind::Reset] {
        let (sim, clock) = region(2);
        let trouble = AHEAD.into_iter().fold(Trouble::always(kind.clone()), Trouble::on);
        sim.with(|r| r.trouble(trouble));
        let began = clock.now().mono;
        let (plan, facts) = in_region(&sim, &clock, async |world| prepare(world, &wanted()).await).await.unwrap();
        assert!(clock.now().mono - began < Duration::from_secs(12), "{kind:?}: {:?}", clock.now().mono - began);
        let notes: Vec<&Finding> = plan.findings.iter().filter(|finding| finding.code() == "preflight-could-not-look").collect();
        // Types and subnets are asked for whatever becomes of the templates; images, keys and groups are not known without.
        assert!(notes.len() >= 4 && notes.iter().all(|note| note.severity() == Severity::Note), "{kind:?}: {notes:?}");
        let allowed = notes.iter().any(|note| note.next_step() == "allow ec2:DescribeSubnets, or look by hand");
        assert_eq!(allowed, kind == TroubleKind::Deny, "{notes:?}");
        let outcome = in_region(&sim, &clock, async |world| Outcome::from(execute(world, &plan, facts).await)).await;
        assert!(matches!(outcome, Outcome::Done(_)), "{kind:?}: {outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_in_passing_is_asked_again_and_told_to_nobody() {
    let second_round = ["DescribeImages", "DescribeKeyPairs", "DescribeSecurityGroups", "DescribeSubnets", "DescribeInstanceTypeOfferings"];
    for kind in [TroubleKind::Throttle, TroubleKind::ServerError, TroubleKind::Reset] {
        for actions in [&AHEAD[..], &second_round] {
            let (sim, clock) = region(2);
            let passing = Trouble::always(kind.clone()).during(Duration::ZERO, Duration::from_millis(250));
            sim.with(|r| r.trouble(actions.iter().fold(passing, |trouble, action| trouble.on(action))));
            let (plan, _) = in_region(&sim, &clock, async |world| prepare(world, &wanted()).await).await.unwrap();
            let untold = plan.findings.iter().all(|finding| finding.code() != "preflight-could-not-look");
            assert!(untold, "{kind:?} of {actions:?}: {:?}", plan.findings);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn looking_ahead_takes_two_rounds_of_reads_however_many_clusters_share_what_they_need() {
    let ahead = |sim: &Sim| {
        sim.with(|r| {
            let counts = r.truth().counts.get("ann").cloned().unwrap_or_default();
            AHEAD
                .iter()
                .filter(|a| !["DescribeLaunchTemplateVersions", "DescribePolicies", "SimulatePrincipalPolicy"].contains(a))
                .map(|a| counts.get(a).copied().unwrap_or(0))
                .sum::<u64>()
        })
    };
    for clusters in [1, 20] {
        let (sim, clock) = region(clusters);
        let began = clock.now().mono;
        let (plan, _) = in_region(&sim, &clock, async |world| prepare(world, &wanted()).await).await.unwrap();
        let took = clock.now().mono - began;
        assert_eq!(plan.clusters.len(), clusters as usize);
        assert!(plan.findings.iter().all(|finding| finding.code() != "preflight-could-not-look"), "{:?}", plan.findings);
        assert_eq!(ahead(&sim), 8, "of {} calls", calls(&sim));
        assert!(took <= Duration::from_millis(300), "{clusters} clusters: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_iam_says_no_to_is_told_before_anything_is_changed() {
    let (sim, clock) = region(2);
    sim.with(|r| r.trouble(Trouble::always(TroubleKind::Deny).on("SuspendProcesses").on("DeregisterTargets")));
    let (plan, _) = in_region(&sim, &clock, async |world| prepare(world, &wanted()).await).await.unwrap();
    let missing = plan.findings.iter().find(|finding| finding.code() == "preflight-permission-missing").expect("a finding");
    assert_eq!(missing.severity(), Severity::Warning);
    assert!(missing.to_string().ends_with("autoscaling:SuspendProcesses, elasticloadbalancing:DeregisterTargets"), "{missing}");
}
