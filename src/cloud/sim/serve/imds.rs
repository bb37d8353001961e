//! Instance metadata, version 2 only, one service per instance under `/imds/{instance-id}`: both the Rust SDK and botocore keep the
//! path of `AWS_EC2_METADATA_SERVICE_ENDPOINT`, so an agent needs nothing but that variable.
//!
//! What must stay true: without a live token of this very instance nothing is told (401), and with metadata off nothing is told at all (403)
//! (draining.md §4.13). Tokens and credentials are for the client's own clock, so they live in real time, whatever the region's speed.

use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::time::Duration;

use serde_json::json;

use crate::cloud::sim::InstanceMetadata;
use crate::cloud::sim::MaintenanceEvent;
use crate::model::InstanceId;
use crate::model::Timestamp;

/// Header that asks for a token's life, in seconds.
pub(super) const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// Header that shows a token.
pub(super) const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
/// Longest life of a token, in seconds.
const MAX_TTL_S: u64 = 21_600;
/// Life of the credentials: longer than any run, shorter than the SDK's notion of forever.
const CREDENTIALS_LIFE: Duration = Duration::from_secs(6 * 3600);
/// How long a maintenance window is.
const EVENT_LENGTH: Duration = Duration::from_secs(2 * 3600);
/// Start of the session token of an instance's credentials; its id follows. It tells the server who calls.
const TOKEN_OF: &str = "simulated-";
/// The instance profile's role.
const ROLE: &str = "bellrock-agent";

/// A request, as far as the rules look at it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ask<'a> {
    pub(super) put: bool,
    /// From `/latest` on.
    pub(super) path: &'a str,
    pub(super) ttl: Option<&'a str>,
    pub(super) token: Option<&'a str>,
    /// A proxy's mark; tokens are not given through one.
    pub(super) forwarded: bool,
}

/// The instance whose credentials carry this session token.
pub(super) fn instance_of(session_token: &str) -> Option<&str> {
    session_token.strip_prefix(TOKEN_OF)
}

/// Status, content type and body.
pub(super) type Said = (u16, &'static str, String);

const TEXT: &str = "text/plain";
const JSON: &str = "application/json";

/// Answers one request at the real time `now`; `facts` is `None` where metadata is switched off; `key` makes the tokens of one server its own.
pub(super) fn answer(facts: Option<&InstanceMetadata>, ask: Ask<'_>, now: Timestamp, key: u64) -> Said {
    let Some(facts) = facts else { return refuse(403, "Forbidden") };
    if ask.put {
        return match ask.ttl.and_then(|t| t.parse::<u64>().ok()) {
            _ if ask.path != "/latest/api/token" => refuse(405, "Method Not Allowed"),
            _ if ask.forwarded => refuse(403, "Forbidden"),
            Some(ttl @ 1..=MAX_TTL_S) => (200, TEXT, issue(&facts.instance, now.plus(Duration::from_secs(ttl)), key)),
            Some(_) | None => refuse(400, "Bad Request"),
        };
    }
    if !ask.token.is_some_and(|t| is_live(t, &facts.instance, now, key)) {
        return refuse(401, "Unauthorized");
    }
    value(facts, ask.path.trim_end_matches('/'), now).map_or_else(|| refuse(404, "Not Found"), |(kind, body)| (200, kind, body))
}

fn value(facts: &InstanceMetadata, path: &str, now: Timestamp) -> Option<(&'static str, String)> {
    let text = |v: &str| Some((TEXT, v.to_owned()));
    let json = |v: serde_json::Value| Some((JSON, v.to_string()));
    let notices = &facts.notices;
    match path.strip_prefix("/latest/")? {
        "meta-data" => text("ami-id\nautoscaling/\nevents/\niam/\ninstance-id\ninstance-type\nlocal-ipv4\nplacement/\nspot/"),
        "meta-data/instance-id" => text(facts.instance.as_str()),
        "meta-data/ami-id" => text(&facts.image),
        "meta-data/instance-type" => text(&facts.instance_type),
        "meta-data/local-ipv4" => text(&facts.private_ip),
        "meta-data/placement/availability-zone" => text(&facts.zone),
        "meta-data/placement/region" => text(&facts.region),
        "meta-data/autoscaling/target-lifecycle-state" => text(notices.target_state.as_ref()?.as_str()),
        "meta-data/spot/instance-action" => {
            let (action, at) = notices.spot.as_ref()?;
            json(json!({"action": action, "time": seconds(*at)}))
        }
        "meta-data/spot/termination-time" => text(&seconds(notices.spot.as_ref().filter(|(action, _)| action == "terminate")?.1)),
        "meta-data/events/recommendations/rebalance" => json(json!({"noticeTime": seconds(notices.rebalance?)})),
        "meta-data/events/maintenance/scheduled" => json(notices.maintenance.iter().map(event).collect()),
        "meta-data/events/maintenance/history" => json(json!([])),
        "meta-data/iam/security-credentials" => text(ROLE),
        "meta-data/iam/security-credentials/bellrock-agent" => json(json!({
            "Code": "Success",
            "LastUpdated": seconds(now),
            "Type": "AWS-HMAC",
            "AccessKeyId": "ASIASIMULATEDREGION0",
            "SecretAccessKey": "simulated",
            "Token": format!("{TOKEN_OF}{}", facts.instance),
            "Expiration": seconds(now.plus(CREDENTIALS_LIFE)),
        })),
        "dynamic/instance-identity/document" => json(json!({
            "accountId": facts.account,
            "architecture": "x86_64",
            "availabilityZone": facts.zone,
            "billingProducts": null,
            "devpayProductCodes": null,
            "imageId": facts.image,
            "instanceId": facts.instance,
            "instanceType": facts.instance_type,
            "kernelId": null,
            "marketplaceProductCodes": null,
            "pendingTime": seconds(facts.pending_time),
            "privateIp": facts.private_ip,
            "ramdiskId": null,
            "region": facts.region,
            "version": "2017-09-30",
        })),
        _ => None,
    }
}

fn event(e: &MaintenanceEvent) -> serde_json::Value {
    json!({
        "NotBefore": day(e.not_before),
        "NotAfter": day(e.not_before.plus(EVENT_LENGTH)),
        "Code": e.code,
        "Description": "scheduled by the simulated region",
        "EventId": e.id,
        "State": "active",
    })
}

/// The way maintenance events write their times, alone among AWS's.
fn day(t: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(t.0).map_or_else(|_| t.to_string(), |t| t.strftime("%d %b %Y %H:%M:%S GMT").to_string())
}

fn refuse(status: u16, words: &str) -> Said {
    (status, TEXT, words.to_owned())
}

/// A token carries its own end and a mark that only this server makes, so none is kept.
fn issue(id: &InstanceId, ends: Timestamp, key: u64) -> String {
    format!("{:x}-{:016x}", ends.0, mark(id, ends, key))
}

fn is_live(token: &str, id: &InstanceId, now: Timestamp, key: u64) -> bool {
    let Some((ends, given)) = token.split_once('-') else { return false };
    let (Ok(ends), Ok(given)) = (i64::from_str_radix(ends, 16), u64::from_str_radix(given, 16)) else { return false };
    given == mark(id, Timestamp(ends), key) && now < Timestamp(ends)
}

fn mark(id: &InstanceId, ends: Timestamp, key: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (id, ends, key).hash(&mut hasher);
    hasher.finish()
}

/// Whole seconds, as instance metadata writes its times.
fn seconds(t: Timestamp) -> String {
    Timestamp(t.0 - t.0.rem_euclid(1000)).to_string().replace(".000Z", "Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::sim::Notices;
    use crate::model::LifecycleState;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);
    const KEY: u64 = 7;

    fn facts(id: &str) -> InstanceMetadata {
        InstanceMetadata {
            instance: id.into(),
            region: "us-east-1".into(),
            zone: "us-east-1a".into(),
            account: "123456789012".into(),
            image: "ami-1".into(),
            instance_type: "m5.large".into(),
            pending_time: NOW,
            private_ip: "10.0.0.1".into(),
            notices: Notices::default(),
        }
    }

    fn put(f: &InstanceMetadata, ttl: Option<&str>, forwarded: bool) -> Said {
        answer(Some(f), Ask { put: true, path: "/latest/api/token", ttl, forwarded, ..Ask::default() }, NOW, KEY)
    }

    fn token(f: &InstanceMetadata, ttl: &str) -> Said {
        put(f, Some(ttl), false)
    }

    fn get(f: &InstanceMetadata, path: &str, token: &str, now: Timestamp) -> Said {
        answer(Some(f), Ask { path, token: Some(token), ..Ask::default() }, now, KEY)
    }

    #[test]
    fn a_token_needs_a_life_between_a_second_and_six_hours() {
        let f = facts("i-1");
        assert_eq!(token(&f, "1").0, 200);
        assert_eq!(token(&f, "21600").0, 200);
        for bad in ["0", "21601", "-1", "x", ""] {
            assert_eq!(token(&f, bad).0, 400, "{bad}");
        }
        assert_eq!(put(&f, None, false).0, 400);
        assert_eq!(put(&f, Some("60"), true).0, 403, "through a proxy");
    }

    #[test]
    fn nothing_is_told_without_a_live_token_of_this_instance() {
        let (f, other) = (facts("i-1"), facts("i-2"));
        let t = token(&f, "60").2;
        let path = "/latest/meta-data/instance-id";
        assert_eq!(get(&f, path, &t, NOW), (200, TEXT, "i-1".into()));
        assert_eq!(answer(Some(&f), Ask { path, ..Ask::default() }, NOW, KEY).0, 401, "no token");
        assert_eq!(get(&f, path, "made-up", NOW).0, 401);
        assert_eq!(get(&other, path, &t, NOW).0, 401, "another instance's token");
        assert_eq!(get(&f, path, &t, NOW.plus(Duration::from_secs(60))).0, 401, "expired");
        assert_eq!(get(&f, path, &t, NOW.plus(Duration::from_millis(59_999))).0, 200);
    }

    #[test]
    fn metadata_that_is_off_tells_nothing_at_all() {
        let live = token(&facts("i-1"), "60").2;
        for ask in [
            Ask { put: true, path: "/latest/api/token", ttl: Some("60"), ..Ask::default() },
            Ask { path: "/latest/meta-data/instance-id", token: Some(&live), ..Ask::default() },
        ] {
            assert_eq!(answer(None, ask, NOW, KEY).0, 403);
        }
    }

    #[test]
    fn what_aws_has_not_set_is_not_found() {
        let f = facts("i-1");
        let t = token(&f, "60").2;
        for path in
            ["autoscaling/target-lifecycle-state", "spot/instance-action", "spot/termination-time", "events/recommendations/rebalance"]
        {
            assert_eq!(get(&f, &format!("/latest/meta-data/{path}"), &t, NOW).0, 404, "{path}");
        }
        assert_eq!(get(&f, "/latest/meta-data/events/maintenance/scheduled", &t, NOW).2, "[]");
        let notices =
            Notices { target_state: Some(LifecycleState::Terminated), spot: Some(("terminate".into(), NOW)), ..Notices::default() };
        let f = InstanceMetadata { notices, ..f };
        assert_eq!(get(&f, "/latest/meta-data/autoscaling/target-lifecycle-state", &t, NOW).2, "Terminated");
        assert_eq!(get(&f, "/latest/meta-data/spot/termination-time", &t, NOW).2, "2023-11-14T22:13:20Z");
    }
}
