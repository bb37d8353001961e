//! Reads of Auto Scaling. Eventually consistent: an answer may be as old as the region's bound, and each read draws its own age (draining.md §4.6).

use std::sync::Arc;

use serde::Serialize;

use super::Region;
use super::api::ApiError;
use super::api::ApiResult;
use super::group::Activity;
use super::group::GroupDescription;
use crate::model::GroupInstance;
use crate::model::GroupName;
use crate::model::InstanceId;
use crate::model::LifecycleState;

/// Most names a describe of groups takes, and most ids one of instances takes.
const NAMES_MAX: usize = 50;

/// Filters of `DescribeAutoScalingGroups`; all have to match, each one by any of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagFilter {
    /// `tag-key`.
    Key(Vec<String>),
    /// `tag-value`.
    Value(Vec<String>),
    /// `tag:<key>`.
    Tag(String, Vec<String>),
}

/// A group tag as `DescribeTags` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TagDescription {
    /// The group.
    pub group: GroupName,
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
}

/// An attachment of a group: `DescribeLoadBalancerTargetGroups`, `DescribeLoadBalancers`, `DescribeTrafficSources`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// ARN of a target group, or name of a classic load balancer.
    pub source: String,
    /// `elbv2` or `elb`.
    pub kind: &'static str,
    /// `Adding`, `Added`, `InService`.
    pub state: &'static str,
}

/// A policy of a group, minimal: the one an alarm of the scenario triggers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// The group.
    pub group: GroupName,
    /// Its name.
    pub name: &'static str,
    /// What it sets desired to.
    pub desired: u32,
}

impl Region {
    /// `DescribeAutoScalingGroups`, at most 50 names; no names = all. Unknown ones are absent from the answer. In order of names.
    pub fn describe_auto_scaling_groups(&mut self, names: &[GroupName], filters: &[TagFilter]) -> ApiResult<Vec<Arc<GroupDescription>>> {
        if names.len() > NAMES_MAX {
            return Err(ApiError::validation("The number of group names that may be passed in is limited to 50"));
        }
        let age = self.age();
        let wanted: Vec<GroupName> = if names.is_empty() { self.shown_names().into_iter().collect() } else { names.to_vec() };
        let shown = wanted.iter().filter_map(|name| self.shown_at(name, age));
        Ok(shown.filter(|d| filters.iter().all(|f| f.matches(d))).collect())
    }

    /// `DescribeAutoScalingInstances`, at most 50 ids; no ids = all. Unknown ones are dropped.
    pub fn describe_auto_scaling_instances(&mut self, ids: &[InstanceId]) -> ApiResult<Vec<GroupInstance>> {
        if ids.len() > NAMES_MAX {
            return Err(ApiError::validation("The number of instance ids that may be passed in is limited to 50"));
        }
        let age = self.age();
        let mut found = Vec::new();
        for name in self.shown_names() {
            let Some(shown) = self.shown_at(&name, age) else { continue };
            found.extend(shown.group.instances.iter().filter(|i| ids.is_empty() || ids.contains(&i.id)).cloned());
        }
        Ok(found)
    }

    /// `DescribeScalingActivities`, newest first; no group = all groups; no ids = all. One that began within the read's age is not there yet.
    pub fn describe_scaling_activities(&mut self, name: Option<&GroupName>, ids: &[String]) -> ApiResult<Vec<Activity>> {
        if let Some(name) = name {
            self.known_group(name)?;
        }
        let age = self.age();
        let then = self.wall_at(self.now.saturating_sub(age));
        let groups = self.groups.values().filter(|g| name.is_none_or(|n| &g.name == n));
        let meant = |a: &&Activity| (ids.is_empty() || ids.contains(&a.id)) && a.started <= then;
        let mut found: Vec<_> = groups.flat_map(|g| g.activities.iter().rev().filter(meant).cloned()).collect();
        if name.is_none() {
            found.sort_by_key(|a| std::cmp::Reverse(a.started));
        }
        Ok(found)
    }

    /// `DescribeTags` of groups, in order of group and key.
    pub fn describe_tags(&mut self) -> ApiResult<Vec<TagDescription>> {
        let tag = |g: &super::group::GroupState| {
            let group = g.name.clone();
            g.tags.clone().into_iter().map(move |(key, value)| TagDescription { group: group.clone(), key, value })
        };
        Ok(self.groups.values().flat_map(tag).collect())
    }

    /// `DescribePolicies`, minimal.
    pub fn describe_policies(&mut self, name: Option<&GroupName>) -> ApiResult<Vec<Policy>> {
        let groups = self.groups.values().filter(|g| name.is_none_or(|n| &g.name == n));
        Ok(groups.filter_map(|g| Some(Policy { group: g.name.clone(), name: "fights-back", desired: g.alarm? })).collect())
    }

    /// `DescribeLoadBalancerTargetGroups`.
    pub fn describe_load_balancer_target_groups(&mut self, name: &GroupName) -> ApiResult<Vec<Attachment>> {
        Ok(self.describe_traffic_sources(name)?.into_iter().filter(|a| a.kind == "elbv2").collect())
    }

    /// `DescribeLoadBalancers` of Auto Scaling: a group's classic ones.
    pub fn describe_group_load_balancers(&mut self, name: &GroupName) -> ApiResult<Vec<Attachment>> {
        Ok(self.describe_traffic_sources(name)?.into_iter().filter(|a| a.kind == "elb").collect())
    }

    /// `DescribeTrafficSources`: `Added` until a member is in service, `InService` then.
    pub fn describe_traffic_sources(&mut self, name: &GroupName) -> ApiResult<Vec<Attachment>> {
        let group = self.known_group(name)?;
        let serving = group.members.iter().filter_map(|id| self.instances.get(id)).any(|i| i.state == LifecycleState::InService);
        let state = if serving { "InService" } else { "Added" };
        let v2 = group.target_groups.iter().map(|arn| Attachment { source: arn.to_string(), kind: "elbv2", state });
        let classic = group.classics.iter().map(|name| Attachment { source: name.clone(), kind: "elb", state });
        Ok(v2.chain(classic).collect())
    }
}

impl TagFilter {
    fn matches(&self, d: &GroupDescription) -> bool {
        let tags = &d.group.tags;
        match self {
            Self::Key(keys) => keys.iter().any(|k| tags.contains_key(k)),
            Self::Value(values) => values.iter().any(|v| tags.values().any(|t| t == v)),
            Self::Tag(key, values) => tags.get(key).is_some_and(|t| values.contains(t)),
        }
    }
}
