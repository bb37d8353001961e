//! EC2 and STS, as much of them as a drain, a rollback and a person on call look at.

use serde::Serialize;
use serde_json::json;

use super::Region;
use super::api::ApiError;
use super::api::ApiResult;
use super::instance::Ec2State;
use super::region::ACCOUNT;
use super::region::Event;
use super::spec::TemplateSpec;
use super::spec::VersionSpec;
use super::truth::Why;
use crate::cloud::CallerIdentity;
use crate::model::GroupName;
use crate::model::InstanceId;
use crate::model::Timestamp;

#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) id: String,
    pub(super) name: String,
    default: u64,
    versions: Vec<VersionSpec>,
}

/// A launch template as `DescribeLaunchTemplates` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TemplateDescription {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Number of the default version.
    pub default_version: u64,
    /// Number of the newest version.
    pub latest_version: u64,
}

/// A launch template version as `DescribeLaunchTemplateVersions` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TemplateVersion {
    /// Template id.
    pub id: String,
    /// Template name.
    pub name: String,
    /// Its number.
    pub version: u64,
    /// It is the default.
    pub is_default: bool,
    /// What it launches.
    pub spec: VersionSpec,
}

/// An instance as `DescribeInstances` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceDescription {
    /// Its id.
    pub id: InstanceId,
    /// AMI id.
    pub image: String,
    /// EC2 type.
    pub instance_type: String,
    /// State.
    pub state: Ec2State,
    /// Zone name.
    pub zone: String,
    /// Private address.
    pub private_ip: String,
    /// Launch time.
    pub launched: Timestamp,
    /// The group that launched it, as its `aws:autoscaling:groupName` tag says.
    pub group: Option<GroupName>,
}

impl Region {
    /// A launch template comes into being, and what its versions name with it; answers its id.
    pub fn add_template(&mut self, spec: TemplateSpec) -> String {
        for version in &spec.versions {
            self.stock(version);
        }
        let id = format!("lt-{}", self.hex(17));
        let template = Template { id: id.clone(), name: spec.name.clone(), default: spec.default_version.max(1), versions: spec.versions };
        self.templates.insert(spec.name, template);
        id
    }

    /// A template gets one more version; answers its number.
    pub fn add_template_version(&mut self, name: &str, version: VersionSpec) -> ApiResult<u64> {
        let name = self.template(name)?.name.clone();
        self.stock(&version);
        let Some(template) = self.templates.get_mut(&name) else { return Err(no_template(&name)) };
        template.versions.push(version);
        Ok(template.latest())
    }

    /// A launch template is deleted, with all its versions.
    pub fn remove_template(&mut self, name: &str) {
        self.templates.remove(name);
    }

    /// `DescribeLaunchTemplates`, by name or id; none = all.
    pub fn describe_launch_templates(&mut self, names: &[String]) -> ApiResult<Vec<TemplateDescription>> {
        for name in names {
            self.template(name)?;
        }
        let meant = self.templates.values().filter(|t| names.is_empty() || names.contains(&t.name) || names.contains(&t.id));
        let shown = |t: &Template| TemplateDescription {
            id: t.id.clone(),
            name: t.name.clone(),
            default_version: t.default,
            latest_version: t.latest(),
        };
        Ok(meant.map(shown).collect())
    }

    /// `DescribeLaunchTemplateVersions`; versions are numbers, `$Latest`, `$Default`; none = all.
    pub fn describe_launch_template_versions(&mut self, name: &str, versions: &[String]) -> ApiResult<Vec<TemplateVersion>> {
        let template = self.template(name)?;
        let mut numbers = Vec::new();
        for version in versions {
            numbers.push(self.resolve_version(&template.name, version)?.0);
        }
        let shown = template.versions.iter().zip(1..).filter(|(_, n)| versions.is_empty() || numbers.contains(n));
        let shown = shown.map(|(spec, version)| TemplateVersion {
            id: template.id.clone(),
            name: template.name.clone(),
            version,
            is_default: version == template.default,
            spec: spec.clone(),
        });
        Ok(shown.collect())
    }

    /// `DescribeInstances`; no ids = all, ended ones for an hour. An unknown id makes the call fail.
    pub fn describe_instances(&mut self, ids: &[InstanceId]) -> ApiResult<Vec<InstanceDescription>> {
        if let Some(id) = ids.iter().find(|id| !self.instances.contains_key(*id)) {
            return Err(ApiError::new("InvalidInstanceID.NotFound", format!("The instance ID '{id}' does not exist")));
        }
        let meant = self.instances.values().filter(|i| ids.is_empty() || ids.contains(&i.id));
        let shown = meant.map(|i| InstanceDescription {
            id: i.id.clone(),
            image: i.image.clone(),
            instance_type: i.instance_type.clone(),
            state: i.ec2,
            zone: i.zone.clone(),
            private_ip: i.private_ip.clone(),
            launched: self.wall_at(i.launched),
            group: i.group.clone(),
        });
        Ok(shown.collect())
    }

    /// `ec2:TerminateInstances`: past Auto Scaling, past hooks and load balancers. Answers the states before and after.
    pub fn terminate_instances(&mut self, ids: &[InstanceId]) -> ApiResult<Vec<(InstanceId, Ec2State, Ec2State)>> {
        self.mutate("TerminateInstances", json!({"InstanceIds": ids}), |r| {
            let mut changes = Vec::new();
            for id in ids {
                let Some(i) = r.instances.get(id) else {
                    return Err(ApiError::new("InvalidInstanceID.NotFound", format!("The instance ID '{id}' does not exist")));
                };
                changes.push((id.clone(), i.ec2, if i.ec2 == Ec2State::Terminated { i.ec2 } else { Ec2State::ShuttingDown }));
            }
            for id in ids {
                let by = r.who();
                r.kill(id, Why::Ec2Request, by);
            }
            Ok(changes)
        })
    }

    /// The machine dies, and Auto Scaling does not know yet.
    pub(super) fn kill(&mut self, id: &InstanceId, why: Why, by: String) {
        let Some(i) = self.instances.get(id).filter(|i| !i.ec2.is_over()) else { return };
        let (group, executing) = (i.group.clone(), i.daemon.as_ref().map(super::orchestrator::Daemon::running).unwrap_or_default());
        if i.termination.is_none() {
            let n = self.truth.terminations.len();
            let termination = super::truth::Termination {
                at: self.now,
                instance: id.clone(),
                group,
                by,
                why,
                decremented: false,
                executing,
                stopped: None,
                lost: Vec::new(),
            };
            self.truth.terminations.push(termination);
            if let Some(i) = self.instances.get_mut(id) {
                i.termination = Some(n);
            }
        }
        // A launch that dies is noticed at once: it never came up.
        let launching = |i: &super::instance::Instance| i.in_service.is_none() && !i.state.is_ending();
        if let Some(group) = self.instances.get(id).filter(|i| launching(i)).and_then(|i| i.group.clone()) {
            self.begin_termination(id, false, why, "because it did not come up".into());
            self.steer(&group);
        }
        self.stop_machine(id);
        let notice = self.pace.notice.draw(&mut self.rng);
        self.after(notice, Event::CheckHealth(id.clone()));
    }

    pub(super) fn spot_end(&mut self, id: &InstanceId) {
        self.kill(id, Why::Spot, "spot".into());
    }

    /// `sts:GetCallerIdentity`.
    pub fn get_caller_identity(&mut self) -> ApiResult<CallerIdentity> {
        Ok(CallerIdentity { account: ACCOUNT.into(), arn: format!("arn:aws:sts::{ACCOUNT}:assumed-role/bellrock/{}", self.who()) })
    }

    /// `sts:AssumeRole`: the ARN of the session; any role of any account will do.
    pub fn assume_role(&mut self, role: &str, session: &str) -> ApiResult<CallerIdentity> {
        let mut parts = role.split(':').skip(4);
        let (Some(account), Some(name)) = (parts.next(), parts.next().and_then(|r| r.strip_prefix("role/"))) else {
            return Err(ApiError::validation(format!("{role} is invalid")));
        };
        Ok(CallerIdentity { account: account.to_owned(), arn: format!("arn:aws:sts::{account}:assumed-role/{name}/{session}") })
    }

    pub(super) fn template(&self, name: &str) -> ApiResult<&Template> {
        let found = self.templates.get(name).or_else(|| self.templates.values().find(|t| t.id == name));
        found.ok_or_else(|| no_template(name))
    }

    pub(super) fn resolve_version(&self, template: &str, version: &str) -> ApiResult<(u64, &VersionSpec)> {
        let template = self.template(template)?;
        let number = match version {
            "$Latest" => template.latest(),
            "" | "$Default" => template.default,
            n => n.parse().unwrap_or_default(),
        };
        let spec = usize::try_from(number).ok().and_then(|n| template.versions.get(n.checked_sub(1)?));
        spec.map(|spec| (number, spec)).ok_or_else(|| {
            ApiError::new(
                "InvalidLaunchTemplateId.VersionNotFound",
                format!("Could not find launch template version {version} of {}.", template.name),
            )
        })
    }
}

impl Template {
    fn latest(&self) -> u64 {
        u64::try_from(self.versions.len()).unwrap_or(u64::MAX)
    }
}

fn no_template(name: &str) -> ApiError {
    ApiError::new(
        "InvalidLaunchTemplateName.NotFoundException",
        format!("The specified launch template, with template name {name}, does not exist."),
    )
}
