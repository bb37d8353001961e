//! The book of permits on real servers: what every book promises, and what becomes of it when the server does not do as it should.

use redis::Commands;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;

use super::fleet::Ring;
use super::fleet::Watched;
use super::fleet::until;
use super::server::Server;
use super::*;
use crate::host::clock::SystemClock;
use crate::model::Clock;
use crate::model::Permit;
use crate::model::PermitAnswer;
use crate::model::PermitRequest;
use crate::orchestrator::permits::Home;
use crate::orchestrator::permits::Permits;
use crate::orchestrator::permits::contract;
use crate::orchestrator::permits::contract::Ground as Book;
use crate::orchestrator::permits::contract::is_granted;
use crate::orchestrator::permits::contract::request;
use crate::orchestrator::permits::contract::until_granted;

pub(super) fn permits(url: &str, prefix: &str, limit: Duration) -> Arc<RedisPermits> {
    permits_at(url, prefix, limit, ("eu-west-1", "123456789012"))
}

fn permits_at(url: &str, prefix: &str, limit: Duration, (region, account): (&str, &str)) -> Arc<RedisPermits> {
    let settings = Settings { url: url.to_owned(), read: None, prefix: prefix.to_owned(), timeout: limit };
    Arc::new(RedisPermits::open(settings, Home { region: region.to_owned(), account: account.to_owned() }).unwrap())
}

async fn book() -> Book {
    let server = Server::start(&[]);
    let (one, other) = (permits(&server.url(), "", LIMIT), permits(&server.url(), "", LIMIT));
    Book { permits: one, other, _keep: Box::new(server) }
}

contract::promises! { contract::each, book }

macro_rules! all_at {
    (($url:expr) $($promise:ident,)*) => {
        $({
            let prefix = concat!("{", stringify!($promise), "}");
            let book = Book { permits: permits($url, prefix, LIMIT), other: permits($url, prefix, LIMIT), _keep: Box::new(()) };
            contract::open(&*book.permits).await;
            contract::$promise(&book).await;
        })*
    };
}

#[tokio::test]
async fn every_promise_of_a_book_is_kept_behind_sentinels_and_on_a_cluster() {
    let servers = Watched::start().await;
    contract::promises! { all_at, &servers.url() }
    let ring = Ring::start(5_000).await;
    contract::promises! { all_at, &ring.url() }
}

/// Spinnaker names groups alike in all regions, and one Redis may serve several.
#[tokio::test]
async fn groups_of_one_name_in_two_regions_or_accounts_are_apart() {
    let server = Server::start(&[]);
    let one = permits(&server.url(), "", LIMIT);
    contract::open(&*one).await;
    let theirs = request("a", 1, 1);
    assert!(is_granted(&*one, &theirs).await);
    for elsewhere in [("us-east-1", "123456789012"), ("eu-west-1", "210987654321")] {
        let other = permits_at(&server.url(), "", LIMIT, elsewhere);
        // Nobody there lists the holder of here.
        let ours = PermitRequest { gone: vec![theirs.permit.clone()], ..request("a", 2, 1) };
        assert!(is_granted(&*other, &ours).await, "{elsewhere:?}: it has a place of its own");
        other.give(&theirs.group, &theirs.permit).await.unwrap();
    }
    let refused = one.take(&request("a", 3, 1)).await.unwrap();
    let PermitAnswer::Refused { held, closed: None } = refused else { panic!("{refused:?}") };
    let holders: Vec<&Permit> = held.iter().map(|(permit, _)| permit).collect();
    assert_eq!(holders, [&theirs.permit], "it was neither struck out nor given back by others, and nobody stands beside it");
}

#[tokio::test]
async fn a_book_that_nobody_wrote_yet_gives_nothing_for_a_lease() {
    let server = Server::start(&[]);
    let (one, clock) = (permits(&server.url(), "", LIMIT), SystemClock::start());
    let lease = Duration::from_millis(700);
    let ask = PermitRequest { lease, ..request("a", 1, 1) };
    let refused = one.take(&ask).await.unwrap();
    assert!(matches!(&refused, PermitAnswer::Refused { held, closed: Some(left) } if held.is_empty() && *left <= lease), "{refused:?}");
    until_granted(&*one, &ask).await;
    assert!(clock.now().mono >= lease - Duration::from_millis(1), "{:?}", clock.now().mono);
}

/// SIGKILL of a master whose last grants had not reached its replica. The bound that holds over it: nobody is given a permit before all that were lost
/// have run out by their holders' own clocks.
#[tokio::test]
async fn a_failover_that_loses_grants_gives_nothing_before_they_have_run_out() {
    let mut servers = Watched::start().await;
    let url = servers.url();
    let (one, other) = (permits(&url, "", Duration::from_millis(500)), permits(&url, "", Duration::from_millis(500)));
    contract::open(&*one).await;
    let synced: i64 = redis::cmd("WAIT").arg(1).arg(5_000).query(&mut servers.master.connection()).unwrap();
    assert_eq!(synced, 1);
    redis::cmd("CONFIG").arg("SET").arg("masterauth").arg("wrong").exec(&mut servers.replica.connection()).unwrap();
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("replica").exec(&mut servers.master.connection()).unwrap();

    let (clock, lease) = (SystemClock::start(), Duration::from_secs(12));
    let asked = clock.now().mono;
    let theirs = PermitRequest { lease, ..request("a", 1, 1) };
    assert!(is_granted(&*one, &theirs).await);
    servers.master.kill();
    let ours = PermitRequest { lease, ..request("a", 2, 1) };
    let (mut unanswered, mut closed) = (None, 0_u32);
    let granted = async {
        loop {
            match other.take(&ours).await {
                Ok(PermitAnswer::Granted) => return clock.now().mono,
                Ok(PermitAnswer::Refused { closed: Some(_), .. }) => closed += 1,
                Ok(refused) => panic!("the grant had not reached the replica: {refused:?}"),
                Err(StoreError::Unavailable(_)) => unanswered = Some(clock.now().mono),
                Err(error) => panic!("{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let granted = tokio::time::timeout(Duration::from_secs(60), granted).await.expect("it is granted at last");
    let outage = unanswered.expect("the failover was felt") - asked;
    assert!(granted >= asked + lease && closed > 0, "granted after {:?}", granted - asked);
    assert!(outage < lease, "else this shows nothing: no master for {outage:?}");
    println!(
        "failover: no answer for {outage:?}, closed in {closed} answers, the next permit {:?} after the lost one was asked for",
        granted - asked
    );
    // Who held what was lost is told, and its place is another's.
    let told = loop {
        match one.take(&PermitRequest { keeps: true, ..theirs.clone() }).await {
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            answer => break answer,
        }
    };
    assert!(matches!(&told, Ok(PermitAnswer::Refused { .. })), "{told:?}");
}

#[tokio::test]
async fn who_still_holds_what_a_failover_lost_may_enter_it_again() {
    let mut server = Server::start(&[]);
    let (one, other) = (permits(&server.url(), "", LIMIT), permits(&server.url(), "", LIMIT));
    contract::open(&*one).await;
    let theirs = request("a", 1, 1);
    assert!(is_granted(&*one, &theirs).await);
    server.restart();
    until_granted(&*one, &PermitRequest { keeps: true, ..theirs }).await;
    let refused = other.take(&request("a", 2, 1)).await.unwrap();
    assert!(matches!(&refused, PermitAnswer::Refused { held, closed: Some(_) } if held.len() == 1), "{refused:?}");
}

/// A replica takes over that lacks a giving back, and the grant to another that it made room for.
#[tokio::test]
async fn an_entry_that_a_failover_brought_back_lets_nobody_in_while_another_s_permit_is_lost() {
    let server = Server::start(&[]);
    let (one, other) = (permits(&server.url(), "", LIMIT), permits(&server.url(), "", LIMIT));
    contract::open(&*one).await;
    let mut raw = server.connection();
    let theirs = request("a", 1, 1);
    assert!(is_granted(&*one, &theirs).await);
    let kept: bool = redis::cmd("COPY").arg("bellrock:permits:eu-west-1:123456789012:a").arg("older").query(&mut raw).unwrap();
    assert!(kept);
    one.give(&theirs.group, &theirs.permit).await.unwrap();
    assert!(is_granted(&*other, &request("a", 2, 1)).await);
    redis::cmd("RENAME").arg("older").arg("bellrock:permits:eu-west-1:123456789012:a").exec(&mut raw).unwrap();
    redis::cmd("HSET").arg(&["bellrock:permits", "life", "another"]).exec(&mut raw).unwrap();
    let again = one.take(&request("a", 1, 2)).await.unwrap();
    assert!(matches!(&again, PermitAnswer::Refused { closed: Some(_), .. }), "{again:?}");
    assert!(is_granted(&*one, &theirs).await, "what was not given back is renewed");
}

#[tokio::test]
async fn a_shorter_lease_beside_a_longer_one_cuts_neither_it_nor_the_closed_time_short() {
    let server = Server::start(&[]);
    let one = permits(&server.url(), "", LIMIT);
    contract::open(&*one).await;
    let mut raw = server.connection();
    assert!(is_granted(&*one, &PermitRequest { places: 3, ..request("a", 1, 1) }).await);
    let short = PermitRequest { places: 3, lease: contract::SHORT, ..request("a", 2, 1) };
    until_granted(&*one, &short).await;
    let left: u64 = redis::cmd("PTTL").arg("bellrock:permits:eu-west-1:123456789012:a").query(&mut raw).unwrap();
    assert!(Duration::from_millis(left) > contract::LONG / 2, "the book is forgotten in {left} ms");
    redis::cmd("HSET").arg(&["bellrock:permits", "life", "another"]).exec(&mut raw).unwrap();
    let refused = one.take(&PermitRequest { lease: contract::SHORT, ..request("a", 3, 1) }).await.unwrap();
    assert!(matches!(&refused, PermitAnswer::Refused { closed: Some(left), .. } if *left > contract::LONG / 2), "{refused:?}");
}

#[tokio::test]
async fn a_server_whose_clock_was_set_back_holds_nothing_for_longer_than_a_lease() {
    let server = Server::start(&[]);
    let one = permits(&server.url(), "", LIMIT);
    contract::open(&*one).await;
    let mut raw = server.connection();
    assert!(is_granted(&*one, &request("a", 1, 1)).await);
    let far = "99999999999999";
    redis::cmd("HSET").arg(&["bellrock:permits:eu-west-1:123456789012:a", "i-001", &format!("1 {far}")]).exec(&mut raw).unwrap();
    redis::cmd("HSET").arg(&["bellrock:permits", "opens", far]).exec(&mut raw).unwrap();
    for _ in 0..2 {
        let refused = one.take(&request("a", 2, 1)).await.unwrap();
        let PermitAnswer::Refused { held, closed: Some(closed) } = refused else { panic!("{refused:?}") };
        assert!(closed <= contract::LONG && held.iter().all(|(_, left)| *left <= contract::LONG), "{held:?}, closed for {closed:?}");
    }
    let kept: String = raw.hget("bellrock:permits:eu-west-1:123456789012:a", "i-001").unwrap();
    assert!(!kept.contains(far), "it runs out");
}

#[tokio::test]
async fn a_full_server_gives_nothing_keeps_what_there_is_and_goes_on_afterwards() {
    let server = Server::start(&["--repl-ping-replica-period", "1"]);
    let (one, other) = (permits(&server.url(), "", LIMIT), permits(&server.url(), "", LIMIT));
    contract::open(&*one).await;
    let mut raw = server.connection();
    let mut order = |words: &[&str]| redis::cmd(words[0]).arg(&words[1..]).exec(&mut raw).unwrap();
    // Redis refuses writes after a snapshot that failed, whatever for. Here its name is a folder's.
    std::fs::create_dir(server.dir().join("dump.rdb")).unwrap();
    std::fs::write(server.dir().join("dump.rdb/full"), "").unwrap();
    let failed = || {
        let info: String = redis::cmd("INFO").arg("persistence").query(&mut server.connection()).unwrap();
        info.contains("rdb_last_bgsave_status:err")
    };
    order(&["BGSAVE"]);
    until("the snapshot failed", failed).await;
    let troubles = [
        (["CONFIG", "SET", "maxmemory", "1"].as_slice(), ["CONFIG", "SET", "maxmemory", "0"].as_slice()),
        (&["CONFIG", "SET", "save", "3600 1"], &["CONFIG", "SET", "save", ""]),
        (&["CONFIG", "SET", "min-replicas-to-write", "1"], &["CONFIG", "SET", "min-replicas-to-write", "0"]),
    ];
    for (n, (no, yes)) in (1..).zip(troubles) {
        let theirs = request("a", 1, n);
        assert!(is_granted(&*one, &theirs).await);
        order(no);
        for ask in [request("b", 2, n), theirs.clone(), request("a", 2, n)] {
            let answer = other.take(&ask).await;
            // Who is refused is told so without a write.
            let sound = matches!(&answer, Err(StoreError::Full(_)) | Ok(PermitAnswer::Refused { .. }));
            assert!(sound, "{no:?}: {answer:?}");
        }
        assert!(matches!(other.take(&request("b", 2, n)).await, Err(StoreError::Full(_))), "{no:?}");
        order(yes);
        assert!(!is_granted(&*other, &request("a", 2, n)).await, "it is held all the same");
        one.give(&theirs.group, &theirs.permit).await.unwrap();
        assert!(is_granted(&*other, &request("a", 2, n)).await);
        other.give(&theirs.group, &request("a", 2, n).permit).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_is_stopped_costs_the_limit_and_a_question_that_arrives_late_is_one_place() {
    let server = Server::start(&[]);
    let (one, other) = (permits(&server.url(), "", Duration::from_millis(300)), permits(&server.url(), "", LIMIT));
    contract::open(&*one).await;
    let signal = |signal| kill_process(Pid::from_child(&server.child), signal).unwrap();
    let clock = SystemClock::start();
    signal(Signal::STOP);
    let lost = one.take(&request("a", 1, 1)).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    assert!(clock.now().mono < Duration::from_secs(3), "{:?}", clock.now().mono);
    signal(Signal::CONT);
    // Nobody knows whether it was granted: it was, as soon as the server went on.
    let mut raw = server.connection();
    until("the late question is carried out", || raw.hexists("bellrock:permits:eu-west-1:123456789012:a", "i-001").unwrap()).await;
    assert!(!is_granted(&*other, &request("a", 2, 1)).await);
    assert!(is_granted(&*one, &request("a", 1, 1)).await, "asked again it is the same one");
}

#[tokio::test]
async fn a_user_who_may_not_ask_how_the_server_is_gets_permits_all_the_same() {
    let server = Server::start(&[]);
    let rules = ["SETUSER", "agent", "on", ">hush", "~*", "&*", "+@all", "-info"];
    redis::cmd("ACL").arg(&rules).exec(&mut server.connection()).unwrap();
    let url = format!("redis://agent:hush@127.0.0.1:{}/", server.port);
    let one = permits(&url, "", LIMIT);
    contract::open(&*one).await;
    assert!(is_granted(&*one, &request("a", 1, 1)).await);
}
