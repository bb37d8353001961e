//! How long a wait usually takes, and what a person looks at when it takes longer. *Pure.*
//!
//! Durations are made of what AWS lets us read, the load balancers' checks and the hold's settle time, and of one assumption: how long an
//! instance takes to boot. They steer nothing; they say when to begin to wonder.

use std::time::Duration;

use super::advance::Stage;
use super::facts::Backend;
use super::facts::Facts;
use super::plan::ClusterPlan;

/// From a launch to a process that listens, of an image with a JVM in it. Assumed: AWS does not say, and images differ. Too short, and people look
/// for trouble where there is none; too long, and they begin to look late.
const BOOT: Duration = Duration::from_secs(120);
/// AWS takes instances out of a load balancer and begins to end them.
const ENDING: Duration = Duration::from_secs(60);

/// How long the stage a cluster waits in usually takes; `None` where it takes no time worth naming.
pub fn usual(plan: &ClusterPlan, facts: &Facts, stage: Stage, settle: Duration) -> Option<Duration> {
    match stage {
        Stage::Settle => Some(settle),
        Stage::Canary | Stage::Await => {
            let boot = if up(plan, facts, stage) { Duration::ZERO } else { BOOT };
            Some((boot + plan.first_health).max(settle))
        }
        Stage::Gone | Stage::PutBack => Some(ENDING),
        Stage::Hold | Stage::Freeze | Stage::Restore | Stage::Close | Stage::Verify | Stage::Bake | Stage::Release | Stage::Done => None,
    }
}

/// AWS calls as many instances healthy as there have to be; what is missing is a load balancer's word.
fn up(plan: &ClusterPlan, facts: &Facts, stage: Stage) -> bool {
    let enough = if stage == Stage::Canary { 1 } else { plan.count };
    facts.group(&plan.restore.name).is_some_and(|group| group.healthy_weight() >= enough)
}

/// The command that shows why it is late.
pub fn look_at(plan: &ClusterPlan, facts: &Facts, stage: Stage) -> String {
    let group = &plan.restore.name;
    let activities = |group| format!("aws autoscaling describe-scaling-activities --auto-scaling-group-name {group} --max-items 5");
    match stage {
        Stage::Hold | Stage::Settle | Stage::Release => {
            format!("aws autoscaling describe-auto-scaling-groups --auto-scaling-group-names {group} --query 'AutoScalingGroups[].Tags[]'")
        }
        Stage::Canary | Stage::Await | Stage::Verify | Stage::Bake => match plan.backends.first().filter(|_| up(plan, facts, stage)) {
            Some(Backend::TargetGroup(arn)) => format!("aws elbv2 describe-target-health --target-group-arn {arn}"),
            Some(Backend::Classic(name)) => format!("aws elb describe-instance-health --load-balancer-name {name}"),
            None => activities(group),
        },
        Stage::Close | Stage::Gone => activities(plan.retire.last().map_or(group, |group| &group.name)),
        Stage::Freeze | Stage::Restore | Stage::PutBack | Stage::Done => {
            format!("aws autoscaling describe-auto-scaling-groups --auto-scaling-group-names {group}")
        }
    }
}
