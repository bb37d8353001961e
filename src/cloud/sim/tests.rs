//! The region's promises.

mod calls;
mod endings;
mod groups;
mod traffic;

use std::time::Duration;

use super::*;
use crate::model::Capacity;
use crate::model::GroupName;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Timestamp;

const NAME: &str = "orca-main-v001";

fn name() -> GroupName {
    GroupName::from(NAME)
}

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// Nothing random but the seed's ids: fixed boot, fixed reactions.
fn region() -> Region {
    let mut r = Region::new(7, Timestamp(1_790_000_000_000));
    r.set_undocumented(Undocumented::default());
    r.set_pace(Pace {
        latency: Span::millis(50),
        react: Span::secs(1),
        end: Span::secs(20),
        linger: Span::secs(10),
        rebalance: Span::secs(60),
        notice: Span::secs(10),
        retry: Span::secs(60),
    });
    let boot = Boot { pending: Span::secs(20), service: Span::secs(30), failure: 0.0 };
    let orchestrator = Some(Behaviour { busy_lag: Span::secs(2), restart: Span::secs(10), ..Behaviour::default() });
    let version = VersionSpec { boot, orchestrator, ..VersionSpec::default() };
    r.add_template(TemplateSpec { name: "orca".into(), versions: vec![version.clone(), version], default_version: 1 });
    r.add_target_group(TargetGroupSpec { name: "api".into(), ..TargetGroupSpec::default() });
    r.add_load_balancer(&LoadBalancerSpec { name: "front".into(), internal: false, listeners: vec![(443, "api".into())] }).unwrap();
    r.add_target_group(TargetGroupSpec { name: "spare".into(), ..TargetGroupSpec::default() });
    r.add_classic_load_balancer(ClassicSpec { name: "old-front".into(), ..ClassicSpec::default() });
    r
}

fn spec(min: u32, max: u32, desired: u32) -> GroupSpec {
    GroupSpec { name: NAME.into(), min, max, desired: Some(desired), settled: true, ..GroupSpec::default() }
}

/// A region with one settled group.
fn with_group(min: u32, max: u32, desired: u32) -> (Region, Vec<InstanceId>) {
    with_spec(spec(min, max, desired))
}

fn with_spec(spec: GroupSpec) -> (Region, Vec<InstanceId>) {
    let mut r = region();
    let ids = r.add_group(&spec).unwrap();
    (r, ids)
}

fn pass(r: &mut Region, s: u64) {
    r.advance(r.now() + secs(s));
}

fn sizes(r: &Region) -> Capacity {
    r.group_now(&name()).unwrap().group.capacity
}

fn state(r: &Region, id: &InstanceId) -> LifecycleState {
    r.instance(id).unwrap().state.clone()
}

fn in_service(r: &Region) -> usize {
    r.group_now(&name()).unwrap().group.healthy_in_service()
}
