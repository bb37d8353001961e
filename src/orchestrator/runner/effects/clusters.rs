//! Counts the server groups of a cluster, for `clusterSize` preconditions.
//!
//! What must stay true: it reads and changes nothing. What cannot be counted whole is not counted as less: an account that is not this one, a region
//! that refuses or does not answer, end in a failure that says so.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;
use tokio_util::sync::CancellationToken;

use super::Performer;
use crate::cloud::AutoScaling;
use crate::cloud::GroupFilter;
use crate::orchestrator::engine::effect::AttemptKey;
use crate::orchestrator::engine::effect::Effect;
use crate::orchestrator::engine::effect::Outcome;

/// The words of the effects this carries out.
pub const WORDS: [&str; 1] = ["clusterSize"];

/// For all regions together; below the 30 seconds that the stage has.
const LIMIT: Duration = Duration::from_secs(20);
/// Regions one precondition may name: as many as AWS has, and a few.
const MAX_REGIONS: usize = 50;

/// Auto Scaling of each region of this account.
#[async_trait]
pub trait Regions: Send + Sync + 'static {
    /// Auto Scaling of the region of this name.
    ///
    /// # Errors
    /// For people: there is no way to it.
    async fn region(&self, name: &str) -> Result<Arc<dyn AutoScaling>, String>;
}

/// The performer.
pub struct Clusters {
    regions: Arc<dyn Regions>,
    accounts: Vec<String>,
}

impl Clusters {
    /// `accounts`: what pipelines call the account of these regions in `credentials`. One that names no account means this one.
    pub fn new(regions: Arc<dyn Regions>, accounts: Vec<String>) -> Self {
        Self { regions, accounts }
    }

    async fn count(&self, cluster: &str, region: &str, only_enabled: bool) -> Result<(String, u32), Outcome> {
        let failed = |error: String, retryable| Outcome::Failed { error: format!("{region}: {error}"), retryable };
        let scaling = self.regions.region(region).await.map_err(|e| failed(e, false))?;
        let groups = scaling.find_groups(&GroupFilter::All).await.map_err(|e| failed(e.to_string(), e.is_retryable()))?;
        let counts = groups.iter().filter(|group| !(only_enabled && group.is_disabled()));
        let of_cluster = counts.filter(|group| group.name.moniker().is_some_and(|moniker| moniker.cluster() == cluster));
        Ok((region.to_owned(), u32::try_from(of_cluster.count()).unwrap_or(u32::MAX)))
    }
}

#[async_trait]
impl Performer for Clusters {
    async fn perform(&self, _: &AttemptKey, effect: Effect, stop: &CancellationToken) -> Outcome {
        let failed = |error: String, retryable| Outcome::Failed { error, retryable };
        let Effect::ClusterSize { cluster, regions, credentials, only_enabled } = effect else {
            return failed(format!("{} is not done here", effect.word()), false);
        };
        if let Some(account) = credentials.filter(|account| !self.accounts.contains(account)) {
            return failed(
                format!(
                    "{account} is not an account of this instance; if it is, list the name in orchestrator.accounts of its configuration"
                ),
                false,
            );
        }
        if regions.len() > MAX_REGIONS {
            return failed(format!("{} regions are more than the {MAX_REGIONS} that are looked at", regions.len()), false);
        }
        let counts = try_join_all(regions.iter().map(|region| self.count(&cluster, region, only_enabled)));
        // Safe to cancel: it only reads.
        tokio::select! {
            counted = tokio::time::timeout(LIMIT, counts) => match counted {
                Ok(Ok(regions)) => Outcome::Sizes { regions },
                Ok(Err(failure)) => failure,
                Err(_) => failed(format!("not all regions answered within {} s", LIMIT.as_secs()), true),
            },
            () = stop.cancelled() => failed("it was stopped".to_owned(), true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::sim::GroupSpec;
    use crate::cloud::sim::Region;
    use crate::cloud::sim::Sim;
    use crate::cloud::sim::TemplateSpec;
    use crate::cloud::sim::VersionSpec;
    use crate::host::clock::SystemClock;
    use crate::model::GroupName;
    use crate::model::Process;
    use crate::model::Timestamp;

    struct One(Sim);

    #[async_trait]
    impl Regions for One {
        async fn region(&self, name: &str) -> Result<Arc<dyn AutoScaling>, String> {
            if name == "us-east-1" { Ok(Arc::new(self.0.cloud("agent"))) } else { Err("there is no such region".to_owned()) }
        }
    }

    async fn counted(effect: Effect) -> Outcome {
        let mut region = Region::new(7, Timestamp(1_790_000_000_000));
        let version = VersionSpec::default();
        region.add_template(TemplateSpec { name: "orca".into(), versions: vec![version], default_version: 1 });
        for name in ["orca-main-v001", "orca-main-v002", "orca-main", "orca-main-eu-v001", "orca-mainly-v001", "orca--main-v001"] {
            region.add_group(&GroupSpec { name: name.into(), template: "orca".into(), settled: true, ..GroupSpec::default() }).unwrap();
        }
        let sim = Sim::new(region, Arc::new(SystemClock::start()));
        sim.cloud("somebody").suspend(&GroupName::from("orca-main-v001"), &[Process::AddToLoadBalancer]).await.unwrap();
        let key = AttemptKey { execution: "e".into(), stage: "s".into(), started: 1, task: "1".into(), number: 1 };
        Clusters::new(Arc::new(One(sim)), vec!["prod".to_owned()]).perform(&key, effect, &CancellationToken::new()).await
    }

    fn of(regions: &[&str], credentials: Option<&str>, only_enabled: bool) -> Effect {
        let regions = regions.iter().map(|region| (*region).to_owned()).collect();
        Effect::ClusterSize { cluster: "orca-main".into(), regions, credentials: credentials.map(str::to_owned), only_enabled }
    }

    fn error(outcome: Outcome) -> (String, bool) {
        let Outcome::Failed { error, retryable } = outcome else { panic!("{outcome:?}") };
        (error, retryable)
    }

    #[tokio::test(start_paused = true)]
    async fn server_groups_of_the_cluster_are_counted_and_no_others() {
        let count = |n| Outcome::Sizes { regions: vec![("us-east-1".to_owned(), n)] };
        assert_eq!(counted(of(&["us-east-1"], None, false)).await, count(3));
        assert_eq!(counted(of(&["us-east-1"], Some("prod"), true)).await, count(2), "v001 is disabled");
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_counted_whole_is_not_counted_as_less() {
        let (why, again) = error(counted(of(&["us-east-1", "xx-east-1"], None, false)).await);
        assert!(why.starts_with("xx-east-1: ") && !again, "{why}");
        let (why, again) = error(counted(of(&["us-east-1"], Some("test"), false)).await);
        assert!(why.contains("orchestrator.accounts") && !again, "{why}");
        let (why, _) = error(counted(of(&["us-east-1"; 51], None, false)).await);
        assert!(why.contains("51 regions"), "{why}");
    }
}
