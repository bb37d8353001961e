//! The rules of care, on a charge that is only said to stand somewhere.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use super::*;
use crate::host::clock::SystemClock;
use crate::model::InstanceId;
use crate::orchestrator::endpoint;

/// A charge that stands where it is put, and counts what is done to it.
struct Puppet {
    stand: watch::Sender<Stand>,
    begun: AtomicUsize,
    dies: bool,
    /// Where it stands when it was told to end; `None` = it does not end.
    ended: Option<Stand>,
    forgets: bool,
}

#[async_trait]
impl Charge for Puppet {
    fn kind(&self) -> &'static str {
        "process"
    }

    async fn look(&self) -> Stand {
        self.stand.borrow().clone()
    }

    async fn begin(&self) -> Result<(), Error> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let down = Stand::Down { run: Some(number.to_string()), exit: Some(Exit { code: Some(1), ..Exit::default() }) };
        self.stand.send_replace(if self.dies { down } else { up() });
        Ok(())
    }

    async fn end(&self, _: Duration) -> Result<(), Error> {
        let ended = self.ended.clone().ok_or_else(|| Error::NoAnswer("it still runs".into()))?;
        self.stand.send_replace(ended);
        Ok(())
    }

    async fn news(&self, stand: &Stand) {
        let _ = self.stand.subscribe().wait_for(|now| now != stand).await;
    }

    fn forgets(&self) -> bool {
        self.forgets
    }
}

fn up() -> Stand {
    Stand::Up { process: None, since: None, dropped_lines: 0, note: None }
}

fn care(at: &std::path::Path, stand: Stand, dies: bool) -> Supervised<Puppet> {
    let clock = Arc::new(SystemClock::start());
    let endpoint = Endpoint::new(endpoint::Settings::default(), &InstanceId::from("i-1"), clock.clone()).unwrap();
    let ended = Some(Stand::Down { run: Some("ended".into()), exit: Some(Exit { asked: true, ..Exit::default() }) });
    let puppet = Puppet { stand: watch::channel(stand).0, begun: AtomicUsize::new(0), dies, ended, forgets: false };
    Supervised::new(Arc::new(endpoint), puppet, Budget::default(), at.to_owned(), "i-1", clock, watch::channel(None).0)
}

/// Lets this much time pass beside it.
async fn pass(care: &Supervised<Puppet>, time: Duration) {
    let stop = CancellationToken::new();
    let over = async {
        tokio::time::sleep(time).await;
        stop.cancel();
    };
    let (_reloads, again) = watch::channel(0);
    tokio::join!(over, care.run(stop.clone(), again));
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn only_what_is_down_and_wanted_is_begun() {
    let at = tempfile::tempdir().unwrap();
    for stand in [up(), Stand::Moving("starting"), Stand::Moving("stopping"), Stand::Rest("x".into()), Stand::Unknown("x".into())] {
        let care = care(at.path(), stand.clone(), false);
        pass(&care, HOUR).await;
        assert_eq!(care.charge.begun.load(Ordering::Relaxed), 0, "{stand:?}");
    }
    let down = care(at.path(), Stand::Down { run: None, exit: None }, false);
    pass(&down, HOUR).await;
    assert_eq!(down.charge.begun.load(Ordering::Relaxed), 1);
    down.stop(HOUR).await.unwrap();
    pass(&down, HOUR).await;
    assert_eq!(down.charge.begun.load(Ordering::Relaxed), 1, "it shall not run");
    let next = care(at.path(), Stand::Down { run: None, exit: None }, false);
    pass(&next, HOUR).await;
    assert_eq!(next.charge.begun.load(Ordering::Relaxed), 0, "nor for the next agent");
    next.start().await.unwrap();
    pass(&next, HOUR).await;
    assert_eq!(next.charge.begun.load(Ordering::Relaxed), 1);
}

/// As a unit does, which is `inactive` whoever stopped it, and then perhaps forgotten.
#[tokio::test(start_paused = true)]
async fn what_we_stopped_is_begun_when_it_is_wanted_and_what_somebody_else_stopped_is_left_so() {
    for ended in [Stand::Rest("inactive".into()), Stand::Down { run: None, exit: None }] {
        let at = tempfile::tempdir().unwrap();
        let resting = |stand| {
            let mut care = care(at.path(), stand, false);
            (care.charge.ended, care.charge.forgets) = (Some(ended.clone()), true);
            care
        };
        let begun = |care: &Supervised<Puppet>| care.charge.begun.load(Ordering::Relaxed);
        let first = resting(up());
        first.stop(HOUR).await.unwrap();
        first.stop(HOUR).await.unwrap();
        pass(&first, HOUR).await;
        assert_eq!(begun(&first), 0, "it shall not run");
        let next = resting(first.charge.look().await);
        next.start().await.unwrap();
        pass(&next, HOUR).await;
        assert_eq!(begun(&next), 1, "the stop was ours, by the agent before: {ended:?}");
        next.restart(HOUR).await.unwrap();
        pass(&next, HOUR).await;
        assert_eq!(begun(&next), 2);
        next.charge.stand.send_replace(ended.clone());
        pass(&next, HOUR).await;
        next.stop(HOUR).await.unwrap();
        next.start().await.unwrap();
        pass(&next, HOUR).await;
        assert_eq!(begun(&next), 2, "somebody else stopped it: {ended:?}");
        let mut last = resting(ended.clone());
        last.start().await.unwrap();
        pass(&last, HOUR).await;
        assert_eq!(begun(&last), 0, "nor does the next agent begin it: {ended:?}");
        last.boot = "another".to_owned();
        last.start().await.unwrap();
        pass(&last, HOUR).await;
        assert_eq!(begun(&last), usize::from(ended != Stand::Rest("inactive".into())), "the host was started anew: {ended:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_stop_for_its_restart_is_still_wanted_and_begun_when_it_ends() {
    let at = tempfile::tempdir().unwrap();
    let mut care = care(at.path(), up(), false);
    care.charge.ended = None;
    assert!(matches!(care.restart(HOUR).await, Err(Error::NoAnswer(_))));
    pass(&care, HOUR).await;
    assert_eq!(care.charge.begun.load(Ordering::Relaxed), 0, "it lives");
    care.charge.stand.send_replace(Stand::Down { run: Some("late".into()), exit: None });
    pass(&care, HOUR).await;
    assert_eq!(care.charge.begun.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_cannot_be_recorded_stops_nothing() {
    let at = tempfile::tempdir().unwrap();
    let care = care(at.path(), up(), false);
    // The draft cannot be written where a directory is.
    std::fs::create_dir(at.path().join("upkeep.json.new")).unwrap();
    assert!(matches!(care.stop(HOUR).await, Err(Error::Refused(_))));
    assert_eq!(care.charge.look().await, up(), "it was not told to end");
}

/// The virtual clock of a paused runtime moves only what is measured by it; the budget's times of day stand still, so all starts are in one window.
#[tokio::test(start_paused = true)]
async fn one_that_never_stays_up_makes_no_storm() {
    let at = tempfile::tempdir().unwrap();
    let care = care(at.path(), Stand::Down { run: None, exit: None }, true);
    pass(&care, HOUR).await;
    let begun = care.charge.begun.load(Ordering::Relaxed);
    assert!(begun <= 5, "{begun} starts in one window");
    assert_eq!(care.report.borrow().as_ref().unwrap().last_exit.as_ref().unwrap().code, Some(1));
}
