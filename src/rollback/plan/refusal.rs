//! Why a rollback is not begun. Each reason has a code, and `runbooks/<code>.md` says what to do.

use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap;

use super::Finding;
use crate::model::GroupName;
use crate::model::InstanceId;

/// A reason to change nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No group of the region belongs to it.
    #[error("no server group of application {application} in this region and account")]
    NoSuchApplication {
        /// As asked.
        application: String,
    },
    /// The application has no such cluster.
    #[error("no cluster {cluster}; there are {}", .known.join(", "))]
    NoSuchCluster {
        /// As asked.
        cluster: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Versions cannot be told apart.
    #[error("{cluster}: not server groups by Spinnaker's naming: {}", list(.groups))]
    NamesNotSpinnakers {
        /// Cluster, or application when it is about all of it.
        cluster: String,
        /// The names.
        groups: Vec<GroupName>,
    },
    /// Nothing to go back to.
    #[error("{cluster} has one server group only ({}): nothing to go back to", list(.groups))]
    OneGroup {
        /// The cluster.
        cluster: String,
        /// The one.
        groups: Vec<GroupName>,
    },
    /// `--to` names what is not there.
    #[error("{cluster} has no version v{version:03} to go back to; there are {}", .known.join(", "))]
    NoSuchVersion {
        /// The cluster.
        cluster: String,
        /// As asked.
        version: u32,
        /// What there is, without the newest.
        known: Vec<String>,
    },
    /// `--to` names the version to get away from.
    #[error("{newest} is the newest version of {cluster}: that is the one a rollback retires")]
    VersionIsNewest {
        /// The cluster.
        cluster: String,
        /// The newest.
        newest: GroupName,
    },
    /// Somebody disabled both on purpose, or a deploy is half done.
    #[error("{cluster}: both versions are disabled ({}): nothing says which should serve", list(.groups))]
    BothDisabled {
        /// The cluster.
        cluster: String,
        /// Newest and previous.
        groups: Vec<GroupName>,
    },
    /// AWS is deleting it.
    #[error("{group} is being deleted ({status})")]
    GroupBeingDeleted {
        /// The group.
        group: GroupName,
        /// AWS's words.
        status: String,
    },
    /// A refresh replaces its instances.
    #[error("an instance refresh of {group} is under way ({status})")]
    RefreshInProgress {
        /// The group.
        group: GroupName,
        /// AWS's word.
        status: String,
    },
    /// Its instances could never be healthy behind it.
    #[error("{group} is attached to {load_balancer}, which is gone")]
    LoadBalancerGone {
        /// The group to restore.
        group: GroupName,
        /// Target group or classic load balancer.
        load_balancer: String,
    },
    /// It would wait for instances until its time was up.
    #[error("{group} cannot be restored: {}", .causes.iter().map(|cause| format!("[{}] {cause}", cause.code())).collect::<Vec<_>>().join("; "))]
    CannotLaunch {
        /// The group to restore.
        group: GroupName,
        /// What is in the way, each with a page of its own.
        causes: Vec<Finding>,
    },
    /// Its members would live on at 0/0/0, and somebody wanted that.
    #[error("Terminate is suspended on {group} although it is not disabled: its instances would not end")]
    TerminateSuspended {
        /// The group.
        group: GroupName,
    },
    /// Members that scaling in does not end.
    #[error("{group} has instances protected from scale-in: {}", ids(.instances))]
    Protected {
        /// The group.
        group: GroupName,
        /// Which.
        instances: Vec<InstanceId>,
    },
    /// Members that no size counts.
    #[error("{group} has instances in standby: {}", ids(.instances))]
    InStandby {
        /// The group.
        group: GroupName,
        /// Which.
        instances: Vec<InstanceId>,
    },
    /// Another rollback is at it.
    #[error("{group} is held by {owner} until {expires}")]
    Held {
        /// The group.
        group: GroupName,
        /// Who, or what is unintelligible.
        owner: String,
        /// Until when.
        expires: String,
    },
    /// Somebody's rollback was begun, has not ended, and nobody runs it any more.
    #[error("a rollback by {owner} is unfinished: its hold on {group} ended at {expired}")]
    Unfinished {
        /// A group of it.
        group: GroupName,
        /// Who began it.
        owner: String,
        /// Since when it is nobody's.
        expired: String,
    },
    /// What is unfinished is not what was asked for.
    #[error("{cluster}: another rollback is unfinished, which restores {restores}")]
    AnotherUnfinished {
        /// The cluster.
        cluster: String,
        /// What it restores.
        restores: GroupName,
    },
    /// How a group was found cannot be known, so that it could not be put back.
    #[error("{group}: {problem}")]
    RecordUnreadable {
        /// The group.
        group: GroupName,
        /// What is wrong with it.
        problem: String,
    },
    /// Two that are unfinished were asked different things.
    #[error("{cluster} was begun with {other}, another unfinished one with {was}")]
    WishesDiffer {
        /// One of them.
        cluster: String,
        /// What the other was asked.
        was: String,
        /// What this one was asked.
        other: String,
    },
    /// Nothing is unfinished.
    #[error("no rollback of {application} is unfinished")]
    NothingToResume {
        /// As asked.
        application: String,
    },
    /// Nothing is unfinished, and no finished rollback has left its traces.
    #[error("{cluster}: no rollback to undo")]
    NothingToUndo {
        /// The cluster, or the application when it is about all of it.
        cluster: String,
    },
    /// More than one poller runs already.
    #[error("{cluster} is a singleton, but {group} wants {desired} instances, and a restored group is never scaled down")]
    SingletonHasMany {
        /// The cluster.
        cluster: String,
        /// The group to restore.
        group: GroupName,
        /// Its desired capacity.
        desired: u32,
    },
    /// Wishes that cannot all be met.
    #[error("contradicting options: {what}")]
    Contradiction {
        /// Which.
        what: String,
    },
    /// A count other than 1 for a singleton.
    #[error("{cluster} is a singleton: {count} instances cannot be")]
    SingletonCount {
        /// The cluster.
        cluster: String,
        /// As asked.
        count: u32,
    },
    /// All is as a rollback would leave it.
    #[error("nothing to roll back: every cluster of {application} serves from the restored version, and nothing else runs")]
    NothingToDo {
        /// As asked.
        application: String,
    },
}

/// Why there is no plan, and what would have spoilt it besides: all of it at once, so that nobody mends one thing and meets the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Reasons not to.
    pub refusals: Vec<Refusal>,
    /// What may spoil a rollback once those are out of the way.
    pub findings: Vec<Finding>,
}

impl Refusal {
    /// For programs, and the name of the page in `runbooks/`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSuchApplication { .. } => "rollback-no-such-application",
            Self::NoSuchCluster { .. } => "rollback-no-such-cluster",
            Self::NamesNotSpinnakers { .. } => "rollback-names-not-spinnakers",
            Self::OneGroup { .. } => "rollback-one-group",
            Self::NoSuchVersion { .. } => "rollback-no-such-version",
            Self::VersionIsNewest { .. } => "rollback-version-is-newest",
            Self::BothDisabled { .. } => "rollback-both-disabled",
            Self::GroupBeingDeleted { .. } => "rollback-group-being-deleted",
            Self::RefreshInProgress { .. } => "rollback-refresh-in-progress",
            Self::LoadBalancerGone { .. } => "rollback-load-balancer-gone",
            Self::CannotLaunch { .. } => "rollback-cannot-launch",
            Self::TerminateSuspended { .. } => "rollback-terminate-suspended",
            Self::Protected { .. } => "rollback-protected",
            Self::InStandby { .. } => "rollback-in-standby",
            Self::Held { .. } => "rollback-held",
            Self::Unfinished { .. } => "rollback-unfinished",
            Self::AnotherUnfinished { .. } => "rollback-another-unfinished",
            Self::WishesDiffer { .. } => "rollback-wishes-differ",
            Self::RecordUnreadable { .. } => "rollback-record-unreadable",
            Self::NothingToResume { .. } => "rollback-nothing-to-resume",
            Self::NothingToUndo { .. } => "rollback-nothing-to-undo",
            Self::SingletonHasMany { .. } => "rollback-singleton-has-many",
            Self::Contradiction { .. } => "rollback-contradiction",
            Self::SingletonCount { .. } => "rollback-singleton-count",
            Self::NothingToDo { .. } => "rollback-nothing-to-do",
        }
    }

    /// What the person can do next.
    pub fn next_step(&self) -> String {
        match self {
            Self::NoSuchApplication { .. } => "check --region, --profile and the application's name".to_owned(),
            Self::NoSuchCluster { .. } => "name one of these with --cluster".to_owned(),
            Self::NamesNotSpinnakers { .. } => {
                "pass --cluster for clusters with versions in their names, or roll this one back by hand".to_owned()
            }
            Self::OneGroup { .. } => "name the other clusters with --cluster, or deploy the old version anew".to_owned(),
            Self::NoSuchVersion { .. } => "pass one of these to --to, or name the clusters that have it with --cluster".to_owned(),
            Self::VersionIsNewest { .. } => "pass an older version to --to, or leave it out".to_owned(),
            Self::BothDisabled { .. } => {
                "enable the one that should serve (resume AddToLoadBalancer), or wait for the deploy to end".to_owned()
            }
            Self::GroupBeingDeleted { .. } => "choose another version with --to".to_owned(),
            Self::RefreshInProgress { group, .. } => {
                format!("wait for it, or cancel it: aws autoscaling cancel-instance-refresh --auto-scaling-group-name {group}")
            }
            Self::CannotLaunch { causes, .. } => causes.iter().map(Finding::next_step).collect::<Vec<_>>().join("; "),
            Self::LoadBalancerGone { group, .. } => {
                format!(
                    "create it anew, detach it from {group} (aws autoscaling detach-traffic-sources), or choose another version with --to"
                )
            }
            Self::TerminateSuspended { group } => {
                format!(
                    "find out who suspended it, then: aws autoscaling resume-processes --auto-scaling-group-name {group} --scaling-processes Terminate"
                )
            }
            Self::Protected { group, instances } => format!(
                "aws autoscaling set-instance-protection --no-protected-from-scale-in --auto-scaling-group-name {group} --instance-ids {}",
                ids(instances).replace(',', "")
            ),
            Self::InStandby { group, instances } => format!(
                "put them back or end them: aws autoscaling exit-standby --auto-scaling-group-name {group} --instance-ids {}",
                ids(instances).replace(',', "")
            ),
            Self::Held { owner, .. } => {
                let wait = "talk to the holder; a dead holder's hold ends by itself at that time";
                // What is no name is what is wrong with the tag.
                if owner.contains(' ') { wait.to_owned() } else { format!("{wait}; or, when nobody is at it any more: --owner {owner}") }
            }
            Self::Unfinished { .. } => "finish it with --resume, or take it back with --undo".to_owned(),
            Self::AnotherUnfinished { .. } => "finish that one first with --resume, or take it back with --undo".to_owned(),
            Self::WishesDiffer { .. } => "say which with the option itself, or resume one cluster at a time with --cluster".to_owned(),
            Self::RecordUnreadable { group, .. } => {
                format!("use the newer bellrock that wrote it, or bring {group} in order by hand and delete the tag")
            }
            Self::NothingToResume { .. } => "check --region and --profile; to begin one, leave --resume out".to_owned(),
            Self::NothingToUndo { .. } => "check --region and --profile; to change versions, roll back with --to".to_owned(),
            Self::SingletonHasMany { group, .. } => {
                format!("bring {group} to 1 first, or pass --not-polling if two at once do no harm")
            }
            Self::Contradiction { .. } => "leave one of them out".to_owned(),
            Self::SingletonCount { .. } => "leave the count out, or pass --not-polling".to_owned(),
            Self::NothingToDo { .. } => {
                "if it still does not work, the restored version is not the cure: choose another with --to".to_owned()
            }
        }
    }
}

impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("code", self.code())?;
        map.serialize_entry("message", &self.to_string())?;
        map.serialize_entry("next", &self.next_step())?;
        map.end()
    }
}

fn ids(instances: &[InstanceId]) -> String {
    instances.iter().map(InstanceId::as_str).collect::<Vec<_>>().join(", ")
}

fn list(groups: &[GroupName]) -> String {
    groups.iter().map(GroupName::as_str).collect::<Vec<_>>().join(", ")
}
