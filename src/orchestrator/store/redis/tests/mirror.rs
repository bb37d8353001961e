//! The book in memory, by which rehearsals and models go, held against the script on a real server.

use std::collections::HashMap;

use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use redis::Commands;

use super::permits::permits;
use super::server::Server;
use super::*;
use crate::model::GroupName;
use crate::model::Permit;
use crate::model::PermitAnswer;
use crate::model::PermitRequest;
use crate::orchestrator::permits::Book;
use crate::orchestrator::permits::Permits;
use crate::orchestrator::permits::contract::LONG;
use crate::orchestrator::permits::contract::request;

/// What passes at once. No sum of these is near a lease, so that it does not matter how long the test takes.
const PASSES: Duration = Duration::from_secs(250);
const LIFE: &str = "bellrock:permits";
const GROUPS: [&str; 2] = ["a", "b"];

fn book_of(group: &str) -> String {
    format!("bellrock:permits:eu-west-1:123456789012:{group}")
}

fn older(group: &str) -> String {
    format!("older:{group}")
}

/// The server, with its clock as far ahead of where it is as was asked for: what is in the book is set back instead.
struct Shelf {
    raw: redis::Connection,
}

impl Shelf {
    fn pass(&mut self, time: Duration) {
        let ms = i64::try_from(time.as_millis()).unwrap();
        let opens: i64 = self.raw.hget(LIFE, "opens").unwrap();
        let _: i64 = self.raw.hset(LIFE, "opens", opens - ms).unwrap();
        for book in GROUPS.iter().flat_map(|group| [book_of(group), older(group)]) {
            let entries: HashMap<String, String> = self.raw.hgetall(&book).unwrap();
            for (holder, entry) in entries {
                let (number, until) = entry.split_once(' ').unwrap();
                let until = until.parse::<i64>().unwrap() - ms;
                let _: i64 = self.raw.hset(&book, holder, format!("{number} {until}")).unwrap();
            }
        }
    }

    fn copy(&mut self) {
        for group in GROUPS {
            let _: i64 = self.raw.del(older(group)).unwrap();
            let _: bool = redis::cmd("COPY").arg(book_of(group)).arg(older(group)).query(&mut self.raw).unwrap();
        }
    }

    /// Another server, with what was copied.
    fn fall_back(&mut self) {
        for group in GROUPS {
            let _: i64 = self.raw.del(book_of(group)).unwrap();
            let _: bool = redis::cmd("COPY").arg(older(group)).arg(book_of(group)).query(&mut self.raw).unwrap();
        }
        let _: i64 = self.raw.hset(LIFE, "life", "another").unwrap();
    }
}

fn told(answer: PermitAnswer) -> Option<(Vec<Permit>, bool)> {
    let PermitAnswer::Refused { held, closed } = answer else { return None };
    let mut holders: Vec<Permit> = held.into_iter().map(|(permit, _)| permit).collect();
    holders.sort();
    Some((holders, closed.is_some()))
}

#[tokio::test]
async fn random_sequences_get_the_same_answers_from_the_book_in_memory_as_from_the_script() {
    const SEQUENCES: u64 = 60;
    const QUESTIONS: usize = 40;
    let server = Server::start(&[]);
    let (one, mut shelf) = (permits(&server.url(), "", LIMIT), Shelf { raw: server.connection() });
    let (mut granted, mut refused, mut closed) = (0, 0, 0);
    for seed in 0..SEQUENCES {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let _: () = redis::cmd("FLUSHALL").query(&mut shelf.raw).unwrap();
        // Each begins closed, as a book that nobody wrote yet.
        let (mut now, mut book) = (Duration::ZERO, Book::default());
        book.lose(now, LONG);
        let noted = one.take(&request("first", 0, 1)).await.unwrap();
        assert!(matches!(noted, PermitAnswer::Refused { closed: Some(_), .. }), "{noted:?}");
        let mut older = book.clone();
        shelf.copy();
        for nth in 0..QUESTIONS {
            let group = GROUPS[rng.random_range(0..GROUPS.len())];
            let permit = |rng: &mut Pcg64Mcg| request(group, rng.random_range(0..3), rng.random_range(1..4)).permit;
            match rng.random_range(0..10) {
                0 => {
                    now += PASSES;
                    shelf.pass(PASSES);
                }
                1 => {
                    older = book.clone();
                    shelf.copy();
                }
                2 if rng.random_bool(0.3) => {
                    book.fall_back(older.clone(), now, LONG);
                    shelf.fall_back();
                    // It shows with the first question.
                    one.take(&request("first", 0, 1)).await.unwrap();
                }
                3 => {
                    let given = permit(&mut rng);
                    book.give(&GroupName::from(group), &given);
                    one.give(&GroupName::from(group), &given).await.unwrap();
                }
                _ => {
                    let asks = permit(&mut rng);
                    // Of each other holder, one at most: what was told of it last.
                    let mut gone: Vec<Permit> = (0..rng.random_range(0..3)).map(|_| permit(&mut rng)).collect();
                    gone.sort();
                    gone.dedup_by(|one, other| one.holder == other.holder);
                    gone.retain(|gone| gone.holder != asks.holder);
                    let (places, keeps) = (rng.random_range(1..4), rng.random_bool(0.3));
                    let asks = PermitRequest { permit: asks, places, keeps, gone, ..request(group, 0, 1) };
                    let (ours, theirs) = (told(book.take(now, &asks)), told(one.take(&asks).await.unwrap()));
                    assert_eq!(ours, theirs, "seed {seed}, question {nth}: {asks:?}");
                    closed += usize::from(ours.as_ref().is_some_and(|(_, closed)| *closed));
                    *if ours.is_none() { &mut granted } else { &mut refused } += 1;
                }
            }
        }
    }
    println!("{granted} granted and {refused} refused alike, {closed} of these by a closed book");
    assert!(granted > 100 && refused > 100 && closed > 100);
}
