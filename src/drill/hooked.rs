//! Auto Scaling as an agent of a play meets it: every call is passed on, and hooks may add to some or change them.

use std::sync::Arc;

use async_trait::async_trait;

use crate::cloud;
use crate::cloud::AutoScaling;
use crate::cloud::GroupFilter;
use crate::cloud::OwnInstance;
use crate::cloud::Receipt;
use crate::cloud::Refresh;
use crate::cloud::Resize;
use crate::cloud::ScalingActivity;
use crate::cloud::ScheduledAction;
use crate::model::Group;
use crate::model::GroupInstance;
use crate::model::GroupName;
use crate::model::Hook;
use crate::model::HookResult;
use crate::model::InstanceId;
use crate::model::Process;

/// What is different; by default nothing is.
#[async_trait]
pub trait Hooks: Send + Sync + 'static {
    /// In place of a terminate call.
    async fn terminate_own(&self, cloud: &dyn AutoScaling, own: &OwnInstance, decrement: bool) -> cloud::Result<ScalingActivity> {
        cloud.terminate_own(own, decrement).await
    }

    /// In place of a heartbeat.
    async fn heartbeat(&self, cloud: &dyn AutoScaling, group: &GroupName, hook: &str, own: &OwnInstance) -> cloud::Result<Receipt> {
        cloud.heartbeat(group, hook, own).await
    }

    /// What a describe of groups shows.
    fn shown(&self, groups: Vec<Group>) -> Vec<Group> {
        groups
    }

    /// The tags that are written.
    fn tagged(&self, tags: &[(String, String)]) -> Vec<(String, String)> {
        tags.to_vec()
    }

    /// The processes that are resumed.
    fn resumed(&self, processes: &[Process]) -> Vec<Process> {
        processes.to_vec()
    }

    /// The members that are protected from scale-in, or are so no more.
    fn protected(&self, instances: &[InstanceId], _protected: bool) -> Vec<InstanceId> {
        instances.to_vec()
    }

    /// The change that is sent.
    fn sent(&self, change: Resize) -> Resize {
        change
    }
}

/// The cloud behind its hooks.
pub struct Hooked<H> {
    /// Whom calls are passed on to.
    pub cloud: Arc<dyn AutoScaling>,
    /// What is different.
    pub hooks: H,
}

#[async_trait]
impl<H: Hooks> AutoScaling for Hooked<H> {
    async fn terminate_own(&self, own: &OwnInstance, decrement: bool) -> cloud::Result<ScalingActivity> {
        self.hooks.terminate_own(&*self.cloud, own, decrement).await
    }

    async fn groups(&self, names: &[GroupName]) -> cloud::Result<Vec<Group>> {
        Ok(self.hooks.shown(self.cloud.groups(names).await?))
    }

    async fn find_groups(&self, filter: &GroupFilter) -> cloud::Result<Vec<Group>> {
        Ok(self.hooks.shown(self.cloud.find_groups(filter).await?))
    }

    async fn instance(&self, id: &InstanceId) -> cloud::Result<Option<GroupInstance>> {
        self.cloud.instance(id).await
    }

    async fn activities(&self, group: &GroupName, limit: u32) -> cloud::Result<Vec<ScalingActivity>> {
        self.cloud.activities(group, limit).await
    }

    async fn scheduled_actions(&self, group: &GroupName) -> cloud::Result<Vec<ScheduledAction>> {
        self.cloud.scheduled_actions(group).await
    }

    async fn running_refreshes(&self, group: &GroupName) -> cloud::Result<Vec<Refresh>> {
        self.cloud.running_refreshes(group).await
    }

    async fn policies(&self, group: &GroupName) -> cloud::Result<Vec<String>> {
        self.cloud.policies(group).await
    }

    async fn hook(&self, group: &GroupName, name: &str) -> cloud::Result<Option<Hook>> {
        self.cloud.hook(group, name).await
    }

    async fn heartbeat(&self, group: &GroupName, hook: &str, own: &OwnInstance) -> cloud::Result<Receipt> {
        self.hooks.heartbeat(&*self.cloud, group, hook, own).await
    }

    async fn complete(&self, group: &GroupName, hook: &str, own: &OwnInstance, result: HookResult) -> cloud::Result<Receipt> {
        self.cloud.complete(group, hook, own, result).await
    }

    async fn lower_min(&self, group: &GroupName, to: u32) -> cloud::Result<()> {
        let change = self.hooks.sent(Resize { min: Some(to), ..Resize::default() });
        self.cloud.resize(group, change).await.map(drop)
    }

    async fn resize(&self, group: &GroupName, change: Resize) -> cloud::Result<Receipt> {
        self.cloud.resize(group, self.hooks.sent(change)).await
    }

    async fn suspend(&self, group: &GroupName, processes: &[Process]) -> cloud::Result<Receipt> {
        self.cloud.suspend(group, processes).await
    }

    async fn resume(&self, group: &GroupName, processes: &[Process]) -> cloud::Result<Receipt> {
        self.cloud.resume(group, &self.hooks.resumed(processes)).await
    }

    async fn protect(&self, group: &GroupName, instances: &[InstanceId], protected: bool) -> cloud::Result<Receipt> {
        self.cloud.protect(group, &self.hooks.protected(instances, protected), protected).await
    }

    async fn enter_standby(&self, group: &GroupName, instances: &[InstanceId]) -> cloud::Result<Receipt> {
        self.cloud.enter_standby(group, instances).await
    }

    async fn put_tags(&self, group: &GroupName, tags: &[(String, String)]) -> cloud::Result<Receipt> {
        self.cloud.put_tags(group, &self.hooks.tagged(tags)).await
    }

    async fn delete_tags(&self, group: &GroupName, keys: &[String]) -> cloud::Result<Receipt> {
        self.cloud.delete_tags(group, keys).await
    }
}
