//! A rollback that is refused tells everything at once: what stops it, and what would spoil it.

use super::*;
use crate::model::Timestamp;

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_told_with_all_that_may_spoil_it() {
    let fleet = redeployed().with("spin-api-v001", (1, 1, 2), false);
    fleet.meddle("spin-ha-v024", |g| g.instances[0].protected = true);
    fleet.meddle("spin-ha-v023", |g| drop(g.suspended.insert(Process::HealthCheck, String::new())));
    let outcome = go(&fleet, &Request { service_urls: Vec::new(), ..request(600) }).await;
    let Outcome::Refused(refused) = &outcome else { panic!("{outcome:?}") };
    let refusals: Vec<&str> = refused.refusals.iter().map(Refusal::code).collect();
    let findings: Vec<&str> = refused.findings.iter().map(Finding::code).collect();
    assert_eq!((refusals, fleet.changes()), (vec!["rollback-one-group", "rollback-protected"], 0));
    let expected = [
        "preflight-health-check-suspended",
        "preflight-no-launch-source",
        "preflight-ec2-checks-only",
        "preflight-no-capacity-record",
        "preflight-no-service-url",
    ];
    assert_eq!(findings, expected);
    let text = show::outcome(&outcome, "bellrock rollback spin");
    let part = markdown::Part { region: "eu-west-1", plan: None, outcome: Some(&outcome), timeline: &[], journal: None };
    let (begun, ended) = (Timestamp(0), Timestamp(1));
    let account = markdown::Account { application: "spin", owner: "ann@laptop", begun, ended, parts: vec![part], again: "" };
    let document = markdown::document(&account);
    for code in expected.into_iter().chain(["rollback-one-group", "rollback-protected"]) {
        assert!(text.contains(&format!("[{code}]")), "{code}: {text}");
        assert!(document.contains(&format!("`{code}`")), "{code}: {document}");
    }
    let json = serde_json::to_value(refused).unwrap();
    assert_eq!((json["refusals"].as_array().map(Vec::len), json["findings"].as_array().map(Vec::len)), (Some(2), Some(5)));
}
