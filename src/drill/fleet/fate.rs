//! What befalls the machines of a play, at its time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Fleet;
use super::Host;
use super::host::Falls;
use super::host::Spot;
use super::script::Blow;
use super::script::What;
use crate::drill::station::open;
use crate::model::InstanceId;

/// A blow that waits for its spot for so long falls all the same.
const NO_LONGER: Duration = Duration::from_secs(30);

/// A job that has so long to go is a long one: an agent that fell is back before, and has the time to conclude something.
const LONG: Duration = Duration::from_secs(25);
/// Between two looks at whether somebody drains with a long job.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Has agents fall that drain with a long job, each of another machine, and cuts their lines for so long.
pub(super) async fn lie_in_wait(fleet: Arc<Fleet>, cuts: Vec<Duration>) {
    let mut struck: BTreeSet<InstanceId> = BTreeSet::new();
    for cut in cuts {
        let host = loop {
            let fits = |host: &&Arc<Host>| !struck.contains(&host.id) && host.is_alive() && host.is_closed() && host.works_for(LONG);
            if let Some(host) = open(&fleet.hosts).values().find(fits).cloned() {
                break host;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        struck.insert(host.id.clone());
        host.cut_off(cut);
        host.await_blow(Spot::Now, Falls::Process);
    }
}

/// Deals the blows.
pub(super) async fn befall(fleet: Arc<Fleet>, blows: Vec<Blow>) {
    let mut waiting: Vec<(Duration, Arc<Host>)> = Vec::new();
    for blow in blows {
        while let Some((at, host)) = waiting.pop_if(|(at, _)| *at <= blow.at) {
            tokio::time::sleep(at.saturating_sub(fleet.now())).await;
            host.strike();
        }
        tokio::time::sleep(blow.at.saturating_sub(fleet.now())).await;
        let Some(host) = choose(&fleet, &blow) else { continue };
        match blow.what {
            What::Falls(falls, spot) => {
                host.await_blow(spot, falls);
                waiting.insert(0, (blow.at + NO_LONGER, host));
            }
            What::Cut(time) => host.cut_off(time),
            What::Loses(time) => host.lose_calls(time),
        }
    }
    while let Some((at, host)) = waiting.pop() {
        tokio::time::sleep(at.saturating_sub(fleet.now())).await;
        host.strike();
    }
}

/// One that drains, one with work, or any that is up.
fn choose(fleet: &Fleet, blow: &Blow) -> Option<Arc<Host>> {
    let up: Vec<Arc<Host>> = open(&fleet.hosts).values().filter(|host| host.is_alive()).cloned().collect();
    let draining: Vec<&Arc<Host>> = up.iter().filter(|host| blow.draining && host.is_closed()).collect();
    let busy: Vec<&Arc<Host>> = up.iter().filter(|host| fleet.is_busy(&host.id)).collect();
    let fit = [draining, busy, up.iter().collect()].into_iter().find(|fit| !fit.is_empty())?;
    fit.get(blow.nth % fit.len()).map(|host| Arc::clone(host))
}
