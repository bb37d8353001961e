//! Many states, each with the plan or the refusal it must lead to.

use super::*;
use crate::model::testing;
use crate::model::testing::disabled;
use crate::rollback::facts::sort_out;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn group(name: &str, created: i64, sizes: (u32, u32, u32), members: u32) -> Group {
    testing::group(name, created, sizes, (0..members).map(|n| format!("i-{name}-{n}")))
}

fn tagged(mut group: Group, tags: impl IntoIterator<Item = (String, String)>) -> Group {
    group.tags.extend(tags);
    group
}

fn recorded(group: Group, sizes: &str) -> Group {
    tagged(group, [(crate::model::CAPACITY_TAG.to_owned(), sizes.to_owned())])
}

fn held(group: Group, owner: &str, generation: u64, expires: Timestamp) -> Group {
    tagged(group, Hold { generation, owner: owner.to_owned(), expires }.to_tags())
}

fn request() -> Request {
    Request { settle: Duration::from_secs(10), timeout: Duration::from_secs(600), ..Request::of("spin", "ann@laptop") }
}

fn wanted(name: &str, count: Option<u32>) -> Vec<Wanted> {
    vec![Wanted { name: name.to_owned(), count }]
}

fn decide(request: &Request, groups: Vec<Group>) -> Result<Plan, Vec<Refusal>> {
    plan(request, &sort_out(groups, &request.application), NOW).map_err(|refused| refused.refusals)
}

/// One line per group: `name before>during>after`, singletons with `!`, then what is resumed.
fn lines(plan: &Plan) -> Vec<String> {
    let line = |c: &ClusterPlan, g: &GroupPlan| {
        let mark = if c.singleton { "!" } else { "" };
        format!("{mark}{} {}>{}>{}", g.name, g.before.capacity, g.during, g.after.capacity)
    };
    plan.clusters.iter().flat_map(|c| c.groups().map(|g| line(c, g)).collect::<Vec<_>>()).collect()
}

fn codes(result: Result<Plan, Vec<Refusal>>) -> Vec<&'static str> {
    result.expect_err("a refusal").iter().map(Refusal::code).collect()
}

fn old() -> Group {
    disabled(group("spin-ha-v023", 1, (1, 1, 6), 1))
}

fn new() -> Group {
    group("spin-ha-v024", 2, (3, 3, 6), 3)
}

#[test]
fn the_plan_reads_so() {
    let polling = [disabled(group("spin-ha-polling-v023", 1, (0, 0, 1), 0)), group("spin-ha-polling-v024", 2, (1, 1, 1), 1)];
    let mut groups = vec![old(), new(), group("spin-redis", 1, (1, 1, 1), 1)];
    groups.extend(polling);
    let plan = decide(&request(), groups).unwrap();
    let expected = "\
Rollback of spin by ann@laptop
┌─────────────────┬──────────────────────┬─────────┬─────────────────┬────────────────────────────────────────┬───────────┐
│ cluster         ┆ server group         ┆         ┆ min/desired/max ┆ suspended                              ┆ instances │
╞═════════════════╪══════════════════════╪═════════╪═════════════════╪════════════════════════════════════════╪═══════════╡
│ spin-ha         ┆ spin-ha-v023         ┆ restore ┆ 1/1/6 → 3/3/6   ┆ Launch Terminate AddToLoadBalancer → - ┆ 1         │
│ spin-ha         ┆ spin-ha-v024         ┆ retire  ┆ 3/3/6 → 0/0/0   ┆ -                                      ┆ 3         │
│ spin-ha-polling ┆ spin-ha-polling-v023 ┆ restore ┆ 0/0/1 → 1/1/1   ┆ Launch Terminate AddToLoadBalancer → - ┆ 0         │
│ spin-ha-polling ┆ spin-ha-polling-v024 ┆ retire  ┆ 1/1/1 → 0/0/0   ┆ -                                      ┆ 1         │
└─────────────────┴──────────────────────┴─────────┴─────────────────┴────────────────────────────────────────┴───────────┘
spin-ha: restored and healthy first, then retired; generation 1
  3 as the newest group has
  AlarmNotification, AZRebalance, InstanceRefresh, ScheduledActions suspended meanwhile, and then as found
spin-ha-polling: retired first, then restored; generation 1
  exactly 1
  a singleton (its name says `polling`; --not-polling says otherwise): handed over, never two at once; nothing polls in between
  AlarmNotification, AZRebalance, InstanceRefresh, ScheduledActions suspended meanwhile, and then as found
spin-redis: no version in its name: left alone
warning: [preflight-no-launch-source] spin-ha-v023: AWS names neither launch template nor configuration; it has 1 of 3 instances, and may launch none
  next: restore another version with --to, or no more instances than live, with --cluster NAME=COUNT (runbooks/preflight-no-launch-source.md)
warning: [preflight-no-launch-source] spin-ha-polling-v023: AWS names neither launch template nor configuration; it has 0 of 1 instances, and may launch none
  next: restore another version with --to, or no more instances than live, with --cluster NAME=COUNT (runbooks/preflight-no-launch-source.md)
note: [preflight-no-load-balancer] spin-ha-v023 is behind no load balancer: in service is all that can be checked
  next: pass --service-url, so that something outside is asked (runbooks/preflight-no-load-balancer.md)
note: [preflight-no-capacity-record] spin-ha-v023: no record of what it had before it was drained; 3 instances as the newest group has, or as few as there may be
  next: say how many with --cluster NAME=COUNT (runbooks/preflight-no-capacity-record.md)
note: [preflight-no-load-balancer] spin-ha-polling-v023 is behind no load balancer: in service is all that can be checked
  next: pass --service-url, so that something outside is asked (runbooks/preflight-no-load-balancer.md)
note: [preflight-no-service-url] no --service-url: that users are served is not checked
  next: pass --service-url with what users reach (runbooks/preflight-no-service-url.md)
";
    assert_eq!(crate::rollback::show::plan(&plan), expected);
}

#[test]
fn sizes_follow_the_record_then_the_newest_group_and_never_shrink() {
    let one = group("spin-ha-v024", 2, (1, 1, 6), 1);
    let cases: Vec<(&str, Vec<Group>, Option<u32>, &str)> = vec![
        ("the newest's", vec![old(), new()], None, "spin-ha-v023 1/1/6>3/3/6>3/3/6"),
        ("the record wins", vec![recorded(old(), "2/5/6"), new()], None, "spin-ha-v023 1/1/6>5/5/6>2/5/6"),
        ("a record older than the newest's sizes", vec![recorded(old(), "1/2/6"), new()], None, "spin-ha-v023 1/1/6>3/3/6>1/3/6"),
        ("a record below the floor", vec![recorded(old(), "1/1/6"), one], None, "spin-ha-v023 1/1/6>2/2/6>1/2/6"),
        ("a senseless record", vec![recorded(old(), "9/1/6"), new()], None, "spin-ha-v023 1/1/6>3/3/6>3/3/6"),
        ("as asked", vec![recorded(old(), "2/5/6"), new()], Some(4), "spin-ha-v023 1/1/6>4/4/6>2/4/6"),
        ("max is raised", vec![old(), new()], Some(9), "spin-ha-v023 1/1/6>9/9/9>3/9/9"),
        ("never down", vec![disabled(group("spin-ha-v023", 1, (0, 5, 6), 5)), new()], None, "spin-ha-v023 0/5/6>5/5/6>3/5/6"),
        (
            "never down, though asked",
            vec![disabled(group("spin-ha-v023", 1, (0, 5, 6), 5)), new()],
            Some(2),
            "spin-ha-v023 0/5/6>5/5/6>3/5/6",
        ),
        (
            "a newest that is at nothing, with its record",
            vec![old(), recorded(group("spin-ha-v024", 2, (0, 0, 0), 0), "2/4/8")],
            None,
            "spin-ha-v023 1/1/6>4/4/6>2/4/6",
        ),
        ("nothing known", vec![old(), group("spin-ha-v024", 2, (0, 0, 4), 0)], None, "spin-ha-v023 1/1/6>2/2/6>1/2/6"),
        ("from 0/0/0", vec![disabled(group("spin-ha-v023", 1, (0, 0, 0), 0)), new()], None, "spin-ha-v023 0/0/0>3/3/3>3/3/3"),
    ];
    for (name, groups, count, expected) in cases {
        let request = Request { clusters: count.map_or_else(Vec::new, |c| wanted("spin-ha", Some(c))), ..request() };
        assert_eq!(lines(&decide(&request, groups).unwrap())[0], expected, "{name}");
    }
}

#[test]
fn the_right_versions_are_chosen() {
    let v = |name: &str, at: i64| group(name, at, (1, 2, 4), 2);
    let to = |to: u32| Request { to: Some(to), ..request() };
    let names = |request: &Request, groups: Vec<Group>| -> Vec<String> {
        let plan = decide(request, groups).unwrap();
        plan.clusters.iter().flat_map(|c| c.groups().map(|g| g.name.to_string()).collect::<Vec<_>>()).collect()
    };
    let three = || vec![disabled(v("spin-v022", 1)), disabled(v("spin-v023", 2)), v("spin-v024", 3)];
    assert_eq!(names(&request(), three()), ["spin-v023", "spin-v024"]);
    assert_eq!(names(&to(22), three()), ["spin-v022", "spin-v023", "spin-v024"], "what lives in between would work again");
    let idle = vec![disabled(v("spin-v022", 1)), disabled(group("spin-v023", 2, (0, 0, 4), 0)), v("spin-v024", 3)];
    assert_eq!(names(&to(22), idle), ["spin-v022", "spin-v024"], "what is disabled and empty is left alone");
    assert_eq!(decide(&request(), three()).unwrap().clusters[0].bystanders, [GroupName::from("spin-v022")]);
    let both = vec![disabled(v("spin-v022", 1)), v("spin-v023", 2), v("spin-v024", 3)];
    assert_eq!(names(&to(22), both), ["spin-v022", "spin-v023", "spin-v024"], "what is enabled in between goes too");
    assert_eq!(names(&request(), vec![disabled(v("spin-v999", 1)), v("spin-v000", 2)]), ["spin-v999", "spin-v000"]);
    assert_eq!(names(&request(), vec![disabled(v("spin-v999", 1)), v("spin-v000", 1)]), ["spin-v999", "spin-v000"], "same moment, wrapped");
    assert_eq!(
        names(&request(), vec![v("spin-v030", 9), disabled(v("spin-v031", 1))]),
        ["spin-v031", "spin-v030"],
        "created later is newer"
    );
    assert_eq!(names(&request(), vec![disabled(v("spin-v1", 1)), v("spin-v001", 2), v("spin-v002", 3)]), ["spin-v001", "spin-v002"]);
}

#[test]
fn what_is_suspended_for_another_reason_stays_suspended() {
    let mut odd = old();
    odd.suspended.remove(&Process::Terminate);
    odd.suspended.insert(Process::AZRebalance, String::new());
    let plan = decide(&request(), vec![odd, new()]).unwrap();
    assert_eq!(plan.clusters[0].resume, [Process::Launch, Process::AddToLoadBalancer]);
    assert_eq!(plan.clusters[0].restore.after.suspended, BTreeSet::from([Process::AZRebalance]));
    assert_eq!(plan.clusters[0].retire[0].before.suspended, plan.clusters[0].retire[0].after.suspended);
}

#[test]
fn a_disabled_group_that_still_runs_ends_because_its_terminate_is_resumed() {
    let plan = decide(&request(), vec![group("spin-ha-v023", 1, (1, 1, 6), 1), disabled(new())]).unwrap();
    let retired = &plan.clusters[0].retire[0];
    let left: Vec<&Process> = retired.before.suspended.difference(&retired.after.suspended).collect();
    assert_eq!(left, [&Process::Terminate]);
    assert!(plan.clusters[0].notes.iter().any(|n| n.contains("Terminate is resumed")), "{:?}", plan.clusters[0].notes);
}

#[test]
fn a_singleton_is_one_by_its_detail_or_by_word_unless_denied() {
    let cluster =
        |name: &str| vec![disabled(group(&format!("{name}-v001"), 1, (0, 0, 3), 0)), group(&format!("{name}-v002"), 2, (1, 1, 3), 1)];
    let with = |polling: &[&str], not: &[&str]| Request {
        polling: polling.iter().map(ToString::to_string).collect(),
        not_polling: not.iter().map(ToString::to_string).collect(),
        ..request()
    };
    assert_eq!(
        lines(&decide(&request(), cluster("spin-ha-polling")).unwrap()),
        ["!spin-ha-polling-v001 0/0/3>1/1/1>1/1/1", "!spin-ha-polling-v002 1/1/3>0/0/0>0/0/0"]
    );
    assert!(decide(&with(&["spin-ha"], &[]), cluster("spin-ha")).unwrap().clusters[0].singleton);
    assert!(!decide(&with(&[], &["spin-ha-polling"]), cluster("spin-ha-polling")).unwrap().clusters[0].singleton);
    assert!(decide(&request(), cluster("spin-polling")).unwrap().clusters[0].singleton, "the stack says so where there is no detail");
    let mut three = cluster("spin-ha-polling");
    three.push(group("spin-ha-polling-v000", 0, (1, 1, 1), 1));
    assert_eq!(decide(&request(), three).unwrap().clusters[0].retire.len(), 2, "an older poller that is enabled goes too");
}

#[test]
fn its_own_interrupted_run_is_taken_up_with_the_same_end() {
    let later = NOW.plus(Duration::from_secs(60));
    let restore = recorded(held(group("spin-ha-v023", 1, (3, 3, 6), 3), "ann@laptop", 4, later), "1/3/6");
    let newest = recorded(held(group("spin-ha-v024", 2, (0, 0, 0), 0), "ann@laptop", 4, later), "3/3/6");
    let plan = decide(&request(), vec![restore, newest]).unwrap();
    assert_eq!(lines(&plan), ["spin-ha-v023 3/3/6>3/3/6>1/3/6", "spin-ha-v024 0/0/0>0/0/0>0/0/0"]);
    assert_eq!(plan.clusters[0].generation, 4);
}

#[test]
fn an_expired_hold_is_nobodys_and_the_generation_goes_up() {
    let plan = decide(&request(), vec![held(old(), "bob@desk", 4, NOW), new()]).unwrap();
    assert_eq!(plan.clusters[0].generation, 5);
}

#[test]
fn each_obstacle_is_refused_with_its_code() {
    let polling = |sizes| vec![disabled(group("spin-ha-polling-v001", 1, sizes, 1)), group("spin-ha-polling-v002", 2, (1, 1, 1), 1)];
    let named = |name: &str, count| Request { clusters: wanted(name, count), ..request() };
    let to = |to| Request { to: Some(to), ..request() };
    let (ha, two) = (|| vec!["spin-ha".to_owned()], || vec![old(), new()]);
    let api = vec![disabled(group("spin-api-v001", 1, (1, 1, 1), 1)), group("spin-api-v002", 2, (1, 1, 1), 1)];
    let later = NOW.plus(Duration::from_secs(1));
    let deleting = Group { status: Some("Delete in progress".to_owned()), ..old() };
    let garbled = tagged(old(), [(crate::model::HOLD_TAG.to_owned(), "?".to_owned())]);
    let (mut stuck, mut odd, mut protected, mut parked) = (new(), old(), new(), new());
    stuck.suspended.insert(Process::Terminate, String::new());
    odd.suspended.insert(Process::AZRebalance, String::new());
    protected.instances[1].protected = true;
    parked.instances[1].state = LifecycleState::Standby;
    let idle = vec![group("spin-ha-v023", 1, (3, 3, 6), 3), group("spin-ha-v024", 2, (0, 0, 0), 0)];
    let cases: Vec<(&str, Request, Vec<Group>)> = vec![
        ("rollback-no-such-application", request(), vec![group("other-v001", 1, (1, 1, 1), 1)]),
        ("rollback-names-not-spinnakers", request(), vec![group("spin blue", 1, (1, 1, 1), 1)]),
        ("rollback-names-not-spinnakers", request(), vec![group("spin-ha", 1, (1, 1, 1), 1)]),
        ("rollback-names-not-spinnakers", request(), vec![group("spin-ha", 0, (1, 1, 1), 1), old(), new()]),
        ("rollback-names-not-spinnakers", named("spin-redis", None), vec![group("spin-redis", 0, (1, 1, 1), 1), old(), new()]),
        ("rollback-no-such-cluster", named("spin-hah", None), vec![old(), new()]),
        ("rollback-no-such-cluster", Request { prefix: Some("spin-x".to_owned()), ..request() }, vec![old(), new()]),
        ("rollback-no-such-cluster", Request { polling: vec!["spin-poll".to_owned()], ..request() }, vec![old(), new()]),
        ("rollback-one-group", request(), vec![new()]),
        ("rollback-no-such-version", to(7), vec![old(), new()]),
        ("rollback-version-is-newest", to(24), vec![old(), new()]),
        ("rollback-both-disabled", request(), vec![old(), disabled(new())]),
        ("rollback-group-being-deleted", request(), vec![deleting, new()]),
        ("rollback-held", request(), vec![held(old(), "bob@desk", 1, later), new()]),
        ("rollback-held", request(), vec![held(group("spin-ha-v022", 0, (1, 1, 1), 1), "bob@desk", 1, later), old(), new()]),
        ("rollback-terminate-suspended", request(), vec![old(), stuck]),
        ("rollback-terminate-suspended", to(22), vec![disabled(group("spin-ha-v022", 0, (1, 1, 1), 1)), odd, new()]),
        ("rollback-protected", request(), vec![old(), protected]),
        ("rollback-in-standby", request(), vec![old(), parked]),
        ("rollback-held", request(), vec![garbled, new()]),
        ("rollback-singleton-has-many", request(), polling((0, 2, 3))),
        ("rollback-singleton-count", named("spin-ha-polling", Some(2)), polling((0, 1, 3))),
        ("rollback-nothing-to-do", request(), idle),
        (
            "rollback-contradiction",
            Request { clusters: [wanted("spin-ha", Some(2)), wanted("spin-ha", None)].concat(), ..request() },
            two(),
        ),
        ("rollback-contradiction", Request { polling: ha(), not_polling: ha(), ..request() }, two()),
        ("rollback-contradiction", Request { polling: ha(), ..named("spin-api", None) }, [two(), api].concat()),
    ];
    for (code, request, groups) in cases {
        assert_eq!(codes(decide(&request, groups)), [code]);
    }
}

#[test]
fn a_refresh_is_refused_and_all_obstacles_are_told_together() {
    let request = request();
    let mut facts = sort_out(
        vec![Group { status: Some("Delete in progress".to_owned()), ..old() }, new(), group("spin-x-v001", 1, (1, 1, 1), 1)],
        "spin",
    );
    facts.refreshing.insert(GroupName::from("spin-ha-v024"), "InProgress".to_owned());
    let found = codes(plan(&request, &facts, NOW).map_err(|refused| refused.refusals));
    assert_eq!(found, ["rollback-one-group", "rollback-refresh-in-progress", "rollback-group-being-deleted"]);
}

#[test]
fn clusters_that_serve_already_are_left_alone_beside_others() {
    let groups = vec![old(), new(), group("spin-api-v001", 1, (2, 2, 2), 2), group("spin-api-v002", 2, (0, 0, 0), 0)];
    let plan = decide(&request(), groups).unwrap();
    assert_eq!((plan.clusters.len(), plan.clusters[0].cluster.as_str()), (1, "spin-ha"));
    assert!(plan.notes[0].starts_with("spin-api: spin-api-v001 serves already"), "{:?}", plan.notes);
}

#[test]
fn only_the_groups_of_the_plan_are_looked_at_closer() {
    let facts = sort_out(vec![old(), new(), group("spin-ha-v001", 0, (1, 1, 1), 1)], "spin");
    assert_eq!(involved(&request(), &facts), BTreeSet::from([GroupName::from("spin-ha-v023"), GroupName::from("spin-ha-v024")]));
}
