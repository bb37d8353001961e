//! What grows with the past, and with what is parked: nothing should.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellrock::orchestrator::store::Then;
use futures::StreamExt;
use futures::stream;
use serde_json::json;

use crate::Arguments;
use crate::Kind;
use crate::Result;
use crate::calls;
use crate::calls::Owner;
use crate::calls::Phase;
use crate::place;
use crate::place::Place;
use crate::submit;
use crate::submit::AT_ONCE;
use crate::submit::median;
use crate::workers::Options;
use crate::workers::Worker;

/// Executions put into the past at once.
const PART: usize = 10_000;
/// Executions that are measured in one round.
const MEASURED: usize = 500;
/// Questions that are measured in one round.
const ASKED: usize = 100;

/// By name of the call: microseconds each took, of this process and Redis together, in each round.
type Costs = BTreeMap<&'static str, Vec<f64>>;

/// The same calls in a store with few ended executions and in one with many, in turns.
pub(crate) async fn growth(arguments: &Arguments, few: usize, many: usize) -> Result<()> {
    let places = [Place::new(arguments)?, Place::new(arguments)?];
    let mut costs = [Costs::new(), Costs::new()];
    let mut opened = Vec::new();
    let mut backgrounds = Vec::new();
    for place in &places {
        let (store, background) = place::open(place.kind, &place.address, "growth").await?;
        opened.push(store);
        backgrounds.extend(background.map(|background| background.run()));
    }
    let work = async {
        let mut owners = Vec::new();
        for (store, (place, stored)) in opened.iter().zip(places.iter().zip([few, many])) {
            let owner = Owner::new(Arc::clone(store)).await?;
            for from in (0..stored).step_by(PART) {
                live(&owner, place, PART.min(stored - from), &mut Costs::new()).await?;
                eprint!("\r{} of {stored} stored", from + PART.min(stored - from));
            }
            eprintln!();
            owners.push(owner);
        }
        for _ in 0..arguments.rounds {
            for ((owner, place), costs) in owners.iter().zip(&places).zip(&mut costs) {
                let ended = live(owner, place, MEASURED, costs).await?;
                remove(owner, place, ended, costs).await?;
            }
        }
        Result::Ok(())
    };
    tokio::select! {
        _ = futures::future::join_all(backgrounds), if arguments.store == Kind::Redis => return Err("the store's background ended".into()),
        done = work => done?,
    }
    println!("| call | µs of processor with {few} stored | with {many} | ratio |\n|---|---|---|---|");
    for (call, few) in &costs[0] {
        let (few, many) = (median(few), median(&costs[1][call]));
        println!("| {call} | {few:.1} | {many:.1} | {:.2} |", many / few);
    }
    Ok(())
}

/// Takes so many executions of one task through their lives. Gives back their ids.
async fn live(owner: &Owner, place: &Place, executions: usize, costs: &mut Costs) -> Result<Vec<String>> {
    let mut phase = Phase::new(place);
    let mut note = |call, times| {
        let (own, server) = phase.ends(times);
        costs.entry(call).or_default().push(own + server);
    };
    submit::submit_all(&*owner.store, &submit::pipeline(json!([{"type": "noop", "name": "one"}])), executions).await?;
    note("create", executions);
    let claimed = owner.claim(executions).await?;
    note("claim", executions);
    let ids = claimed.iter().map(|claimed| claimed.lease.execution.0.clone()).collect();
    let mut lives = calls::decode(claimed)?;
    owner.advance(&mut lives)?;
    owner.write(calls::encode(&mut lives)).await?;
    note("start", executions);
    if executions == MEASURED {
        for _ in 0..ASKED {
            owner.store.active_by_instance().await?;
        }
        note("activeByInstance, 500 owned", ASKED);
    }
    owner.advance(&mut lives)?;
    let writes = calls::encode(&mut lives);
    if writes.iter().any(|write| write.then == Then::Keep) {
        return Err("an execution did not end".into());
    }
    owner.write(writes).await?;
    note("finish", executions);
    Ok(ids)
}

/// Takes them out again, so that the next round finds as many stored.
async fn remove(owner: &Owner, place: &Place, ids: Vec<String>, costs: &mut Costs) -> Result<()> {
    let mut phase = Phase::new(place);
    let count = ids.len();
    let remove = |id: String| async move { owner.store.remove(&id.as_str().into()).await };
    let mut removed = stream::iter(ids).map(remove).buffer_unordered(AT_ONCE);
    while let Some(done) = removed.next().await {
        if !done? {
            return Err("an ended execution was not removed".into());
        }
    }
    let (own, server) = phase.ends(count);
    costs.entry("remove").or_default().push(own + server);
    Ok(())
}

/// Memory of a worker before, while all of them are parked, and at most.
pub(crate) async fn parked(arguments: &Arguments, executions: usize, wait: u64) -> Result<()> {
    let place = Place::new(arguments)?;
    let mut worker = Worker::start(arguments, place.kind, &Options::new(&place, "worker"))?;
    worker.ready().await?;
    let (store, background) = place::open(place.kind, &place.address, "submitter").await?;
    let memory = || place::memory_of(worker.id());
    let waits = |seconds| {
        submit::pipeline(json!([
            {"type": "wait", "name": "one", "refId": "1", "waitTime": seconds},
            {"type": "wait", "name": "two", "refId": "2", "requisiteStageRefIds": ["1"], "waitTime": seconds},
        ]))
    };
    let work = async {
        // What a worker that has worked needs anyway, with as many owned at once as it ever owns.
        submit::submit_all(&*store, &waits(0), 2_000).await?;
        submit::until_ended(&*store).await?;
        let before = memory()?;
        submit::submit_all(&*store, &waits(wait), executions).await?;
        submit::until("all of them to be parked", async || Ok(store.next_due().await?.is_some() && submit::owned(&*store).await? == 0))
            .await?;
        let parked = memory()?;
        let mut most = parked;
        submit::until("their return", async || Ok(submit::owned(&*store).await? > 0)).await?;
        while submit::owned(&*store).await? > 0 {
            most = most.max(memory()?);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let again = memory()?;
        let each = |now: u64| (now as f64 - before as f64) / executions as f64;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!(
            "{executions} executions: worker {:.1} MiB before; parked {:.1} MiB, {:.0} bytes each; while they return at most {:.1} MiB; parked again {:.1} MiB, {:.0} bytes each",
            mib(before),
            mib(parked),
            each(parked),
            mib(most),
            mib(again),
            each(again)
        );
        Result::Ok(())
    };
    place::beside_background(background, work).await?
}
