//! The file does what the model does, whatever is asked in whatever order.

use proptest::prelude::*;

use super::*;
use crate::orchestrator::store::model::ModelStore;

/// One thing asked of both.
#[derive(Clone, Debug)]
enum Ask {
    Pass(u16),
    Beat(u8),
    EndSession(u8),
    Create(u8, u8, u16),
    Claim(u8, u8),
    ClaimOne(u8, u8),
    Write { lease: u8, set: u8, remove: u8, status: u8, taken: u8, notice: u8, then: u8 },
    Post(u8, u8),
    Inbox(u8, u8),
    Admit(u8, u8, u8),
    StartWaiting(u8, u8, bool),
    Remove(u8),
    Expire(u8, u8),
    List(u8, u8, u8, u8),
    Role(u8, u8),
    Save(u8, u8, u8),
    Outbox(u8),
    OutboxAgain(u8, u8),
}

fn asks() -> impl Strategy<Value = Ask> {
    let n = any::<u8>;
    prop_oneof![
        2 => (0..9_000_u16).prop_map(Ask::Pass),
        3 => n().prop_map(Ask::Beat),
        1 => n().prop_map(Ask::EndSession),
        3 => (n(), n(), 0..3_000_u16).prop_map(|(id, correlation, due)| Ask::Create(id, correlation, due)),
        5 => (n(), 1..4_u8).prop_map(|(who, max)| Ask::Claim(who, max)),
        2 => (n(), n()).prop_map(|(who, id)| Ask::ClaimOne(who, id)),
        9 => (n(), n(), n(), n(), n(), n(), n())
            .prop_map(|(lease, set, remove, status, taken, notice, then)| Ask::Write { lease, set, remove, status, taken, notice, then }),
        4 => (n(), n()).prop_map(|(id, what)| Ask::Post(id, what)),
        1 => (n(), n()).prop_map(|(lease, after)| Ask::Inbox(lease, after)),
        3 => (n(), n(), 1..3_u8).prop_map(|(lease, config, limit)| Ask::Admit(lease, config, limit)),
        2 => (n(), 1..3_u8, any::<bool>()).prop_map(|(config, limit, keep)| Ask::StartWaiting(config, limit, keep)),
        1 => n().prop_map(Ask::Remove),
        1 => (0..3_u8, 1..3_u8).prop_map(|(keep, step)| Ask::Expire(keep, step)),
        2 => (n(), n(), n(), n()).prop_map(|(kind, of, status, before)| Ask::List(kind, of, status, before)),
        1 => (n(), n()).prop_map(|(role, who)| Ask::Role(role, who)),
        2 => (n(), n(), n()).prop_map(|(id, name, expected)| Ask::Save(id, name, expected)),
        2 => n().prop_map(Ask::Outbox),
        1 => (n(), n()).prop_map(|(id, later)| Ask::OutboxAgain(id, later)),
    ]
}

fn who(n: u8) -> Session {
    session(["a", "b"][usize::from(n & 1)], ["1", "2"][usize::from(n >> 1 & 1)])
}

fn id(n: u8) -> ExecutionId {
    ExecutionId(format!("e{}", n % 6))
}

fn config(n: u8) -> String {
    format!("config{}", n % 2)
}

fn status(n: u8) -> Status {
    [Status::NotStarted, Status::Running, Status::Succeeded][usize::from(n % 3)]
}

fn message(n: u8) -> Message {
    match n % 4 {
        0 => Message::Restart { stage: "s".into(), by: "me".to_owned(), body: Object::new() },
        1 => Message::Pause { by: "me".to_owned() },
        2 => Message::ChildEnded { execution: id(n / 4) },
        _ => cancel(),
    }
}

fn of(n: u8) -> Listing {
    Listing {
        kind: if n.is_multiple_of(5) { ExecutionType::Orchestration } else { ExecutionType::Pipeline },
        application: format!("app{}", n % 2),
        pipeline_config_id: (!n.is_multiple_of(3)).then(|| config(n)),
        build_time: Timestamp(i64::from(n)),
        ..listing(&id(n).0)
    }
}

/// What a store answers, as text; and the ownership it gave, kept for later asks.
async fn answer(store: &dyn Store, ask: &Ask, leases: &mut Vec<Lease>) -> String {
    let lease = |n: u8| leases.get(usize::from(n) % leases.len().max(1)).cloned();
    let mut claimed = Vec::new();
    let text = match ask.clone() {
        Ask::Pass(_) => format!("{:?}", store.now().await),
        Ask::Beat(n) => format!("{:?}", store.beat(&who(n), LEASE).await),
        Ask::EndSession(n) => format!("{:?}", store.end_session(&who(n)).await),
        Ask::Create(n, correlation, due) => {
            let correlation_id = (correlation.is_multiple_of(3)).then(|| format!("c{}", correlation % 2));
            let due = store.now().await.unwrap().plus(Duration::from_millis(due.into()));
            format!("{:?}", store.create(NewExecution { listing: of(n), correlation_id, due, ..new("") }).await)
        }
        Ask::Claim(n, max) => {
            claimed = store.claim(&who(n), max.into()).await.unwrap();
            format!("{claimed:?}")
        }
        Ask::ClaimOne(n, which) => {
            claimed = store.claim_one(&who(n), &id(which)).await.unwrap().into_iter().collect();
            format!("{claimed:?}")
        }
        Ask::Write { lease: n, set, remove, status: to, taken, notice, then } => {
            let Some(lease) = lease(n) else { return String::new() };
            let number = lease.execution.0.as_bytes()[1] - b'0';
            let now = store.now().await.unwrap();
            let text = Write {
                number: u32::from(set / 7 % 3),
                set: vec![(format!("f{}", set % 3), set.to_string())],
                remove: (remove.is_multiple_of(2)).then(|| format!("f{}", remove % 3)).into_iter().collect(),
                stage_index: (set.is_multiple_of(4)).then(|| vec![set.to_string()]),
                listing: (to.is_multiple_of(2)).then(|| Listing {
                    status: status(to),
                    end_time: (to % 3 == 2).then_some(now),
                    ..of(number)
                }),
                taken: (taken % 6).into(),
                notices: (notice.is_multiple_of(3))
                    .then(|| Notice {
                        number: (notice % 5).into(),
                        event: notice.to_string(),
                        to: Object::new(),
                        stage: None,
                        details: Object::new(),
                    })
                    .into_iter()
                    .collect(),
                ..write(
                    &lease,
                    match then % 6 {
                        0 | 1 => Then::Keep,
                        2 => Then::Park { due: None },
                        3 | 4 => Then::Park { due: Some(now.plus(Duration::from_millis(u64::from(then) * 10))) },
                        _ => Then::Finish,
                    },
                )
            };
            format!("{:?}", store.write(text).await)
        }
        Ask::Post(n, what) => format!("{:?}", store.post(&id(n), &message(what)).await),
        Ask::Inbox(n, after) => match lease(n) {
            Some(lease) => format!("{:?}", store.inbox(&lease, (after % 4).into()).await),
            None => String::new(),
        },
        Ask::Admit(n, which, limit) => match lease(n) {
            Some(lease) => format!("{:?}", store.admit(&lease, &config(which), limit.into()).await),
            None => String::new(),
        },
        Ask::StartWaiting(n, limit, keep) => format!("{:?}", store.start_waiting(&config(n), limit.into(), keep).await),
        Ask::Remove(n) => format!("{:?}", store.remove(&id(n)).await),
        Ask::Expire(keep, step) => {
            let older_than = Timestamp(200);
            format!("{:?}", store.expire(Retention { older_than, keep: keep.into(), step: step.into() }).await)
        }
        Ask::List(kind, scope, statuses, before) => {
            let query = Query {
                kind: [None, Some(ExecutionType::Pipeline), Some(ExecutionType::Orchestration)][usize::from(kind % 3)],
                application: (scope.is_multiple_of(2)).then(|| format!("app{}", scope / 2 % 2)),
                pipeline_config_id: (scope.is_multiple_of(3)).then(|| config(scope)),
                statuses: (0..statuses % 3).map(status).collect(),
                before: (before.is_multiple_of(2)).then(|| id(before / 2)),
                limit: usize::from(before % 4) + 1,
            };
            format!("{:?}", store.list(&query).await)
        }
        Ask::Role(role, n) => format!("{:?}", store.take_role(&format!("r{}", role % 2), &who(n), LEASE).await),
        Ask::Save(n, name, expected) => {
            let definition = DefinitionVersion {
                id: format!("d{}", n % 3),
                application: format!("app{}", name % 2),
                name: format!("n{}", name / 2 % 2),
                version: 0,
                by: "me".to_owned(),
                at: Timestamp(0),
                deleted: n.is_multiple_of(5),
                document: serde_json::json!({ "n": n }),
            };
            format!("{:?}", store.save_definition(definition, (expected.is_multiple_of(2)).then(|| u64::from(expected % 8 / 2))).await)
        }
        Ask::Outbox(max) => format!("{:?}", store.outbox(usize::from(max % 3), Duration::from_secs(3)).await),
        Ask::OutboxAgain(n, later) => {
            let name = format!("{}:{}", id(n), n % 5);
            if later.is_multiple_of(2) {
                return format!("{:?}", store.outbox_done(&name).await);
            }
            let at = store.now().await.unwrap().plus(Duration::from_millis(u64::from(later) * 20));
            format!("{:?}", store.outbox_again(&name, at).await)
        }
    };
    leases.extend(claimed.into_iter().map(|c| c.lease));
    text
}

/// All that can be seen from outside.
async fn view(store: &dyn Store) -> String {
    let mut text = format!("{:?}\n{:?}\n", store.next_due().await, store.active_by_instance().await);
    for n in 0..6 {
        text += &format!("{:?}\n", store.load(&id(n)).await);
    }
    for n in 0..4 {
        text += &format!("{:?}\n", store.with_messages(&who(n)).await);
    }
    for application in [None, Some("app0"), Some("app1")] {
        for after in [None, Some("d0"), Some("d1")] {
            text += &format!("{:?}\n", store.definitions(application, after, 2).await);
        }
    }
    for n in 0..3 {
        let id = format!("d{n}");
        text += &format!("{:?} {:?}\n", store.definition_history(&id, 2).await, store.definition(&id, Some(1)).await);
        text += &format!("{:?}\n", store.definition_named("app1", &format!("n{n}")).await);
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_file_does_what_the_model_does(asks in proptest::collection::vec(asks(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let (_directory, path) = directory();
            let clock = HandClock::at(1_000_000);
            let model = ModelStore::new(clock.clone());
            let file = EmbeddedStore::open(&path, clock.clone()).await.unwrap();
            let (mut of_model, mut of_file) = (Vec::new(), Vec::new());
            for ask in &asks {
                if let Ask::Pass(ms) = ask {
                    clock.pass(Duration::from_millis((*ms).into()));
                }
                let expected = answer(&model, ask, &mut of_model).await;
                prop_assert_eq!(answer(&file, ask, &mut of_file).await, expected, "{:?}", ask);
            }
            prop_assert_eq!(view(&file).await, view(&model).await);
            Ok(())
        })?;
    }
}
