//! What befalls the machines of a play, at its time.

use std::sync::Arc;
use std::time::Duration;

use super::Fleet;
use super::Host;
use super::script::Blow;
use super::script::What;
use crate::drill::station::open;

/// A blow that waits for its spot for so long falls all the same.
const NO_LONGER: Duration = Duration::from_secs(30);

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
