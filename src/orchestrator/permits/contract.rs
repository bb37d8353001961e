//! What every book of permits promises. Leases that are not to run out are far longer than a slow machine is slow; the end of others is waited for.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::Permits;
use crate::model::GroupName;
use crate::model::Permit;
use crate::model::PermitAnswer;
use crate::model::PermitRequest;

/// A lease that does not run out during a test.
pub const LONG: Duration = Duration::from_secs(600);
/// A lease that is to run out.
pub const SHORT: Duration = Duration::from_millis(50);
/// For what is to come about by itself.
const SOON: Duration = Duration::from_secs(30);

/// A book to try a promise on, as two processes see it.
pub struct Ground {
    /// For one.
    pub permits: Arc<dyn Permits>,
    /// For the other.
    pub other: Arc<dyn Permits>,
    /// Held until the promise was tried.
    pub _keep: Box<dyn Any + Send + Sync>,
}

/// A question for the only place of a group.
pub fn request(group: &str, holder: usize, number: u64) -> PermitRequest {
    let permit = Permit { holder: format!("i-{holder:03}").as_str().into(), number };
    PermitRequest { group: GroupName::from(group), permit, places: 1, lease: LONG, keeps: false, gone: Vec::new() }
}

/// Asks, of a book that answers.
pub async fn is_granted(permits: &dyn Permits, request: &PermitRequest) -> bool {
    permits.take(request).await.unwrap() == PermitAnswer::Granted
}

/// Asks until it is granted.
pub async fn until_granted(permits: &dyn Permits, request: &PermitRequest) {
    let granted = async {
        while !matches!(permits.take(request).await, Ok(PermitAnswer::Granted)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, granted).await.expect("it is granted at last");
}

/// A book that nobody has written yet gives nothing for a lease; this is a short one.
pub async fn open(permits: &dyn Permits) {
    let first = PermitRequest { lease: SHORT, ..request("first", 0, 1) };
    until_granted(permits, &first).await;
}

pub async fn no_more_are_granted_than_there_are_places(ground: &Ground) {
    let ask = |holder| PermitRequest { places: 2, ..request("a", holder, 1) };
    assert!(is_granted(&*ground.permits, &ask(1)).await && is_granted(&*ground.other, &ask(2)).await);
    let refused = ground.permits.take(&ask(3)).await.unwrap();
    let PermitAnswer::Refused { held, closed: None } = refused else { panic!("{refused:?}") };
    let mut holders: Vec<&str> = held.iter().map(|(permit, _)| permit.holder.as_str()).collect();
    holders.sort_unstable();
    assert_eq!(holders, ["i-001", "i-002"]);
    assert!(held.iter().all(|(permit, left)| permit.number == 1 && *left <= LONG && *left > LONG / 2), "{held:?}");
}

pub async fn of_many_that_ask_at_once_no_more_get_one_than_there_are_places(ground: &Ground) {
    let asked = (0..40).map(|n| {
        let permits = if n % 2 == 0 { &ground.permits } else { &ground.other };
        async move { is_granted(&**permits, &PermitRequest { places: 3, ..request("a", n, 1) }).await }
    });
    let granted = futures::future::join_all(asked).await;
    assert_eq!(granted.into_iter().filter(|granted| *granted).count(), 3);
}

pub async fn the_same_question_again_renews_it_and_takes_no_second_place(ground: &Ground) {
    let ask = PermitRequest { places: 2, ..request("a", 1, 1) };
    for permits in [&ground.permits, &ground.other, &ground.permits] {
        assert!(is_granted(&**permits, &ask).await);
    }
    assert!(is_granted(&*ground.other, &PermitRequest { places: 2, ..request("a", 2, 1) }).await);
}

pub async fn who_holds_one_keeps_it_when_there_are_fewer_places(ground: &Ground) {
    for holder in [1, 2] {
        assert!(is_granted(&*ground.permits, &PermitRequest { places: 2, ..request("a", holder, 1) }).await);
    }
    assert!(is_granted(&*ground.permits, &PermitRequest { keeps: true, ..request("a", 2, 1) }).await);
}

pub async fn one_that_is_not_renewed_runs_out(ground: &Ground) {
    assert!(is_granted(&*ground.permits, &PermitRequest { lease: SHORT, ..request("a", 1, 1) }).await);
    until_granted(&*ground.other, &request("a", 2, 1)).await;
    assert!(!is_granted(&*ground.permits, &request("a", 1, 1)).await, "it is another's now");
}

pub async fn one_that_is_given_back_is_free_at_once(ground: &Ground) {
    let ask = request("a", 1, 1);
    assert!(is_granted(&*ground.permits, &ask).await && !is_granted(&*ground.other, &request("a", 2, 1)).await);
    ground.permits.give(&ask.group, &ask.permit).await.unwrap();
    ground.permits.give(&ask.group, &ask.permit).await.unwrap();
    assert!(is_granted(&*ground.other, &request("a", 2, 1)).await);
}

pub async fn what_an_older_intent_says_late_changes_nothing(ground: &Ground) {
    let (old, new) = (request("a", 1, 1), request("a", 1, 2));
    assert!(is_granted(&*ground.permits, &old).await && is_granted(&*ground.permits, &new).await);
    ground.other.give(&old.group, &old.permit).await.unwrap();
    assert!(!is_granted(&*ground.other, &old).await);
    ground.other.give(&old.group, &old.permit).await.unwrap();
    assert!(!is_granted(&*ground.other, &request("a", 2, 1)).await, "the newer one is in force");
}

pub async fn one_whose_holder_is_gone_is_taken_over_before_it_runs_out(ground: &Ground) {
    let theirs = request("a", 1, 7);
    assert!(is_granted(&*ground.permits, &theirs).await);
    let stale = vec![Permit { number: 6, ..theirs.permit.clone() }];
    assert!(!is_granted(&*ground.other, &PermitRequest { gone: stale, ..request("a", 2, 1) }).await, "it is of another intent");
    assert!(is_granted(&*ground.other, &PermitRequest { gone: vec![theirs.permit], ..request("a", 2, 1) }).await);
    assert!(!is_granted(&*ground.permits, &request("a", 3, 1)).await, "one took it over, and one alone");
}

pub async fn groups_are_apart(ground: &Ground) {
    assert!(is_granted(&*ground.permits, &request("a", 1, 1)).await && is_granted(&*ground.permits, &request("b", 2, 1)).await);
    ground.permits.give(&GroupName::from("b"), &request("a", 1, 1).permit).await.unwrap();
    assert!(!is_granted(&*ground.permits, &request("a", 3, 1)).await);
}

/// Hands `$run` the names of all promises.
macro_rules! promises {
    ($run:path, $($with:tt)*) => {
        $run! { ($($with)*)
            no_more_are_granted_than_there_are_places,
            of_many_that_ask_at_once_no_more_get_one_than_there_are_places,
            the_same_question_again_renews_it_and_takes_no_second_place,
            who_holds_one_keeps_it_when_there_are_fewer_places,
            one_that_is_not_renewed_runs_out,
            one_that_is_given_back_is_free_at_once,
            what_an_older_intent_says_late_changes_nothing,
            one_whose_holder_is_gone_is_taken_over_before_it_runs_out,
            groups_are_apart,
        }
    };
}

pub(crate) use promises;

/// One test a promise.
macro_rules! each {
    (($ground:path) $($promise:ident,)*) => {
        $(
            #[tokio::test]
            async fn $promise() {
                let ground = $ground().await;
                $crate::orchestrator::permits::contract::open(&*ground.permits).await;
                $crate::orchestrator::permits::contract::$promise(&ground).await;
            }
        )*
    };
}

pub(crate) use each;

mod in_memory {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::super::Book;
    use super::Arc;
    use super::Duration;
    use super::Ground;
    use super::GroupName;
    use super::LONG;
    use super::Permit;
    use super::PermitAnswer;
    use super::PermitRequest;
    use super::Permits;
    use super::request;
    use crate::host::clock::SystemClock;
    use crate::model::Clock;
    use crate::orchestrator::store::StoreError;

    struct InMemory(Mutex<Book>, SystemClock);

    #[async_trait]
    impl Permits for InMemory {
        async fn take(&self, request: &PermitRequest) -> Result<PermitAnswer, StoreError> {
            Ok(self.0.lock().unwrap().take(self.1.now().mono, request))
        }

        async fn give(&self, group: &GroupName, permit: &Permit) -> Result<(), StoreError> {
            self.0.lock().unwrap().give(group, permit);
            Ok(())
        }
    }

    async fn ground() -> Ground {
        let book = Arc::new(InMemory(Mutex::default(), SystemClock::start()));
        Ground { permits: book.clone(), other: book, _keep: Box::new(()) }
    }

    super::promises! { super::each, ground }

    #[test]
    fn an_entry_that_a_book_has_again_lets_nobody_in_while_it_is_closed() {
        let (mut book, now) = (Book::default(), Duration::from_secs(1));
        let theirs = request("a", 1, 1);
        assert_eq!(book.take(now, &theirs), PermitAnswer::Granted);
        let older = book.clone();
        book.give(&theirs.group, &theirs.permit);
        assert_eq!(book.take(now, &request("a", 2, 1)), PermitAnswer::Granted);
        book.fall_back(older, now, LONG);
        let again = request("a", 1, 2);
        assert!(matches!(book.take(now, &again), PermitAnswer::Refused { closed: Some(_), .. }), "the other's is in force");
        assert_eq!(book.take(now + LONG, &again), PermitAnswer::Granted);
    }

    #[test]
    fn one_that_is_in_a_book_that_changed_servers_is_renewed_while_it_is_closed() {
        let (mut book, now) = (Book::default(), Duration::from_secs(1));
        let ours = request("a", 1, 1);
        assert_eq!(book.take(now, &ours), PermitAnswer::Granted);
        book.fall_back(book.clone(), now, LONG);
        assert_eq!(book.take(now, &ours), PermitAnswer::Granted);
    }
}
