//! The states: an application's groups as a table of few words, and what is asked for.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use bellrock::cloud::Blueprint;
use bellrock::cloud::Image;
use bellrock::cloud::Offer;
use bellrock::cloud::ScheduledAction;
use bellrock::cloud::Subnet;
use bellrock::model::CAPACITY_TAG;
use bellrock::model::Capacity;
use bellrock::model::Group;
use bellrock::model::GroupInstance;
use bellrock::model::GroupName;
use bellrock::model::HealthCheckType;
use bellrock::model::Hold;
use bellrock::model::InstanceHealth;
use bellrock::model::InstanceId;
use bellrock::model::LaunchSource;
use bellrock::model::LifecycleState;
use bellrock::model::Override;
use bellrock::model::Process;
use bellrock::model::RECORD_TAG;
use bellrock::model::TargetGroupArn;
use bellrock::model::Timestamp;
use bellrock::model::WarmPool;
use bellrock::rollback::Canary;
use bellrock::rollback::Facts;
use bellrock::rollback::Request;
use bellrock::rollback::Wanted;
use bellrock::rollback::facts::Backend;
use bellrock::rollback::facts::BackendFacts;
use bellrock::rollback::facts::Cluster;
use bellrock::rollback::facts::Member;
use bellrock::rollback::facts::Standing;
use bellrock::rollback::facts::Supply;
use bellrock::rollback::facts::Version;
use bellrock::rollback::facts::supply::Look;
use bellrock::rollback::facts::supply::Unread;
use bellrock::rollback::plan::GroupPlan;
use bellrock::rollback::record::Role;

pub const NOW: Timestamp = Timestamp(1_800_000_000_000);
const ME: &str = "ann@laptop";

pub struct State {
    pub name: &'static str,
    pub request: Request,
    pub facts: Facts,
}

/// A group being described; the order of creation is the order of the list.
#[derive(Clone)]
struct G(Group);

/// `min/desired/max`, with as many members in service as are desired.
fn g(name: &str, sizes: &str) -> G {
    let parts: Vec<u32> = sizes.split('/').map(|p| p.parse().expect("a number")).collect();
    let capacity = Capacity { min: parts[0], desired: parts[1], max: parts[2] };
    let name = GroupName::from(name);
    let group = Group {
        arn: String::new(),
        created: Timestamp(0),
        capacity,
        instances: Vec::new(),
        suspended: BTreeMap::new(),
        tags: BTreeMap::new(),
        target_groups: vec![TargetGroupArn::from("arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/gate/1")],
        classic_load_balancers: Vec::new(),
        status: None,
        health_check_type: HealthCheckType::Elb,
        health_check_grace_s: 60,
        launch: Some(LaunchSource { name: "orca".to_owned(), version: Some("1".to_owned()) }),
        availability_zones: vec!["a".to_owned()],
        subnets: Vec::new(),
        mixed: None,
        warm_pool: None,
        deletion_protection: None,
        retains_abandoned: false,
        name,
    };
    G(group).alive(capacity.desired)
}

impl G {
    fn alive(mut self, count: u32) -> Self {
        let name = self.0.name.clone();
        let member = |n| GroupInstance {
            id: InstanceId::from(format!("i-{name}-{n}").as_str()),
            group: name.clone(),
            zone: "a".to_owned(),
            state: LifecycleState::InService,
            health: InstanceHealth::Healthy,
            protected: false,
            launch: None,
            weight: 1,
        };
        self.0.instances = (0..count).map(member).collect();
        self
    }

    fn off(self) -> Self {
        self.without(&Process::DISABLING)
    }

    fn without(mut self, processes: &[Process]) -> Self {
        self.0.suspended.extend(processes.iter().map(|p| (p.clone(), String::new())));
        self
    }

    fn tag(mut self, key: &str, value: &str) -> Self {
        self.0.tags.insert(key.to_owned(), value.to_owned());
        self
    }

    fn had(self, sizes: &str) -> Self {
        self.tag(CAPACITY_TAG, sizes)
    }

    fn held_by(mut self, owner: &str, generation: u64, minutes: i64) -> Self {
        let hold = Hold { generation, owner: owner.to_owned(), expires: Timestamp(NOW.0 + minutes * 60_000) };
        self.0.tags.extend(hold.to_tags());
        self
    }

    fn found(self, record: &str) -> Self {
        self.tag(RECORD_TAG, record)
    }

    fn with(mut self, change: impl FnOnce(&mut Group)) -> Self {
        change(&mut self.0);
        self
    }
}

pub fn change(facts: &mut Facts, name: &GroupName, change: impl Fn(&mut Group)) {
    let groups = facts.clusters.values_mut().flat_map(|c| &mut c.versions).map(|v| &mut v.group);
    groups.filter(|g| &g.name == name).take(1).for_each(change);
}

/// The tags that the first step of a run writes.
pub fn hold(group: &mut Group, request: &Request, generation: u64, planned: &GroupPlan) {
    let hold = Hold { generation, owner: request.owner.clone(), expires: Timestamp(NOW.0 + 600_000) };
    group.tags.extend(hold.to_tags());
    group.tags.extend(planned.record.to_tags());
    let sizes = if planned.record.role == Role::Restore { planned.after.capacity } else { planned.before.capacity };
    if sizes.desired > 0 {
        group.tags.insert(CAPACITY_TAG.to_owned(), sizes.to_string());
    }
}

fn facts(groups: Vec<G>) -> Facts {
    let mut facts = Facts::default();
    for (at, G(mut group)) in groups.into_iter().enumerate() {
        group.created = Timestamp(i64::try_from(at).expect("few"));
        let Some(moniker) = group.name.moniker() else {
            facts.strange.push(group.name);
            continue;
        };
        let cluster: &mut Cluster = facts.clusters.entry(moniker.cluster().to_owned()).or_default();
        cluster.role = moniker.detail().or(moniker.stack()).map(str::to_owned);
        let (push, sequence) = (moniker.push().map(str::to_owned), moniker.sequence());
        for arn in &group.target_groups {
            let known = BackendFacts { listened: true, port: Some(8084), first_health: Duration::from_secs(20), ..BackendFacts::default() };
            let backend = facts.backends.entry(Backend::TargetGroup(arn.clone())).or_insert(known);
            // What is disabled was deregistered.
            for member in group.instances.iter().filter(|_| !group.is_disabled()) {
                let registered = Member { port: Some(8084), standing: Standing::Healthy, reason: None };
                backend.members.insert(member.id.clone(), vec![registered]);
            }
        }
        match (push, sequence) {
            (Some(push), Some(sequence)) => cluster.versions.push(Version { push, sequence, group }),
            (None, _) | (_, None) => cluster.unversioned.push(group.name),
        }
    }
    facts
}

fn ask() -> Request {
    Request { service_urls: vec!["https://gate/health".to_owned()], ..Request::of("spin", ME) }
}

fn only(name: &str, count: Option<u32>) -> Request {
    Request { clusters: vec![Wanted { name: name.to_owned(), count }], ..ask() }
}

fn to(version: u32) -> Request {
    Request { to: Some(version), ..ask() }
}

fn resume() -> Request {
    Request { resume: true, ..ask() }
}

fn undo() -> Request {
    Request { undo: true, ..ask() }
}

fn old() -> G {
    g("spin-ha-v023", "1/1/6").off()
}

fn new() -> G {
    g("spin-ha-v024", "3/3/6")
}

/// v023 with so many left, v024 with six.
fn six(left: u32) -> Vec<G> {
    vec![g("spin-ha-v023", &format!("{left}/{left}/6")).off(), g("spin-ha-v024", "6/6/6")]
}

const FREEZE: [Process; 4] = [Process::AlarmNotification, Process::AZRebalance, Process::InstanceRefresh, Process::ScheduledActions];
const FOUND_OLD: &str = "role=restore count=3 sizes=1/1/6 alive=1 suspended=Launch+Terminate+AddToLoadBalancer members=1";
const FOUND_NEW: &str = "role=retire count=3 sizes=3/3/6 alive=3 suspended=-";

/// The middle of a rollback by this owner: the old group is up and the newest untouched.
fn restored(owner: &str, minutes: i64) -> Vec<G> {
    vec![
        g("spin-ha-v023", "3/3/6")
            .without(&FREEZE)
            .held_by(owner, 4, minutes)
            .found(FOUND_OLD)
            .tag("bellrock:found-members-1", "i-spin-ha-v023-0")
            .had("3/3/6"),
        new().without(&FREEZE).held_by(owner, 4, minutes).found(FOUND_NEW).had("3/3/6"),
    ]
}

/// The same after the switch.
fn switched(owner: &str, minutes: i64) -> Vec<G> {
    let mut groups = restored(owner, minutes);
    groups[1] = g("spin-ha-v024", "0/0/0").without(&FREEZE).held_by(owner, 4, minutes).found(FOUND_NEW).had("3/3/6");
    groups
}

/// A rollback that has ended.
fn done() -> Vec<G> {
    let count = |g: G| g.tag("bellrock:generation", "4");
    vec![count(g("spin-ha-v023", "3/3/6")), count(g("spin-ha-v024", "0/0/0").had("3/3/6"))]
}

fn polling(old: &str, new: &str) -> Vec<G> {
    vec![g("spin-ha-polling-v023", old).off(), g("spin-ha-polling-v024", new)]
}

fn but(mut facts: Facts, change: impl FnOnce(&mut Facts)) -> Facts {
    change(&mut facts);
    facts
}

/// A state in which everything that launches of the old group need is there, but for what is taken away. `living` of its three live.
fn launching(living: u32, old: impl FnOnce(G) -> G, take: impl FnOnce(&mut Supply)) -> Facts {
    let old = old(g("spin-ha-v023", "0/0/6").off().alive(living)).with(|g| {
        g.subnets = ["subnet-a", "subnet-b"].map(str::to_owned).to_vec();
        g.availability_zones = ["a", "b"].map(str::to_owned).to_vec();
    });
    let subnet = |zone: &str| Subnet { id: format!("subnet-{zone}"), zone: zone.to_owned(), free_addresses: 100 };
    let blueprint = Blueprint {
        image: Some("ami-1".to_owned()),
        instance_type: Some("m5.large".to_owned()),
        key_pair: Some("ops".to_owned()),
        security_groups: ["sg-1", "sg-2"].map(str::to_owned).to_vec(),
    };
    let there = |id: &str| (id.to_owned(), Look::There(()));
    let mut supply = Supply {
        blueprints: [(LaunchSource { name: "orca".to_owned(), version: Some("1".to_owned()) }, Look::There(blueprint))].into(),
        images: [("ami-1".to_owned(), Look::There(Image { id: "ami-1".to_owned(), state: "available".to_owned() }))].into(),
        key_pairs: [there("ops")].into(),
        security_groups: ["sg-1", "sg-2"].map(there).into(),
        subnets: ["a", "b"].map(|zone| (format!("subnet-{zone}"), Look::There(subnet(zone)))).into(),
        offers: Some(["a", "b"].map(|zone| Offer { instance_type: "m5.large".to_owned(), zone: zone.to_owned() }).into()),
        vcpus: [("m5.large".to_owned(), 2), ("g5.xlarge".to_owned(), 4)].into(),
        running: Some([("m5.large".to_owned(), 10), ("g5.xlarge".to_owned(), 10)].into()),
        quota: Some(64),
        forbidden: Vec::new(),
        unread: Vec::new(),
    };
    take(&mut supply);
    but(facts(vec![old, new()]), |f| f.supply = supply)
}

fn same(g: G) -> G {
    g
}

fn gone<T>() -> Look<T> {
    Look::Gone("it does not exist".to_owned())
}

fn full(supply: &mut Supply, free: u32) {
    for look in supply.subnets.values_mut() {
        if let Look::There(subnet) = look {
            subnet.free_addresses = free;
        }
    }
}

fn unread(what: &'static str, permission: &'static str, denied: bool) -> Unread {
    Unread { what, permission, denied, problem: "AWS's words".to_owned() }
}

/// Members count for 4 each.
fn weighted(g: G) -> G {
    let choice = |one: &str| Override { instance_type: Some(one.to_owned()), weight: Some(4), launch: None };
    g.with(|g| {
        g.mixed = Some(vec![choice("m5.2xlarge"), choice("m6i.2xlarge")]);
        g.instances.iter_mut().for_each(|i| i.weight = 4);
    })
}

fn pool(state: &str, size: u32) -> WarmPool {
    WarmPool { state: state.to_owned(), min: 1, size }
}

fn scheduled(on: &str, minutes: i64) -> Facts {
    let due = ScheduledAction { name: "office-hours".to_owned(), due: Some(Timestamp(NOW.0 + minutes * 60_000)) };
    but(facts(vec![old(), new()]), |f| drop(f.scheduled.insert(GroupName::from(on), Ok(vec![due]))))
}

pub fn all() -> Vec<State> {
    let mut all = Vec::new();
    let mut state = |name, request, facts| all.push(State { name, request, facts });
    // Who is restored.
    state("a half drained group behind a bad one", ask(), facts(vec![old(), new()]));
    state("an old group without members", ask(), facts(vec![old().alive(0), new()]));
    state("an old group at nothing", ask(), facts(vec![g("spin-ha-v023", "0/0/0").off(), new()]));
    state("an old group that still has everything", ask(), facts(vec![g("spin-ha-v023", "3/3/6").off(), new()]));
    state("an old group that is enabled and serves too", ask(), facts(vec![g("spin-ha-v023", "3/3/6"), new()]));
    state("a newest group that never came up", ask(), facts(vec![old(), new().alive(0)]));
    state("a newest group at nothing", ask(), facts(vec![old(), g("spin-ha-v024", "0/0/6")]));
    state("a newest group that is disabled too", ask(), facts(vec![old(), new().off()]));
    state("a newest group that is disabled, the old one enabled", ask(), facts(vec![g("spin-ha-v023", "1/1/6"), new().off()]));
    state("three versions", ask(), facts(vec![g("spin-ha-v022", "0/0/6").off(), old(), new()]));
    state("three versions, the oldest still drains", ask(), facts(vec![g("spin-ha-v022", "1/1/6").off(), old(), new()]));
    state("to the one before the last", to(22), facts(vec![g("spin-ha-v022", "1/1/6").off(), old(), new()]));
    state(
        "to the one before the last, the last is empty",
        to(22),
        facts(vec![g("spin-ha-v022", "1/1/6").off(), g("spin-ha-v023", "0/0/6").off(), new()]),
    );
    state("to a version that is not there", to(7), facts(vec![old(), new()]));
    state("to the newest", to(24), facts(vec![old(), new()]));
    state(
        "versions that wrapped",
        ask(),
        facts(vec![g("spin-ha-v998", "0/0/6").off(), g("spin-ha-v999", "1/1/6").off(), g("spin-ha-v000", "3/3/6")]),
    );
    state("one version alone", ask(), facts(vec![new()]));
    state(
        "one cluster of two by name",
        only("spin-api", None),
        facts(vec![old(), new(), g("spin-api-v001", "1/1/2").off(), g("spin-api-v002", "2/2/2")]),
    );
    state(
        "clusters by prefix",
        Request { prefix: Some("spin-a".to_owned()), ..ask() },
        facts(vec![old(), new(), g("spin-api-v001", "1/1/2").off(), g("spin-api-v002", "2/2/2")]),
    );
    state("a prefix that nothing has", Request { prefix: Some("spin-x".to_owned()), ..ask() }, facts(vec![old(), new()]));
    state("a cluster that is not there", only("spin-hah", None), facts(vec![old(), new()]));
    state(
        "the same cluster twice",
        Request { clusters: [only("spin-ha", None).clusters, only("spin-ha", Some(2)).clusters].concat(), ..ask() },
        facts(vec![old(), new()]),
    );
    state("an application that is not there", ask(), Facts::default());
    state("a name that is not Spinnaker's", ask(), facts(vec![g("spin blue", "1/1/1")]));
    state("a cluster with a group without a version", ask(), facts(vec![g("spin-ha", "1/1/1"), old(), new()]));
    state("a cluster beside it without versions", ask(), facts(vec![g("spin-redis", "1/1/1"), old(), new()]));
    state("all is rolled back already", ask(), facts(done()));
    state(
        "one cluster is rolled back already",
        ask(),
        facts([done(), vec![g("spin-api-v001", "1/1/2").off(), g("spin-api-v002", "2/2/2")]].concat()),
    );
    // How many.
    state("a record of what it had (F53)", ask(), facts(vec![old().had("2/5/6"), new()]));
    state("a record that is older than the newest's sizes", ask(), facts(vec![old().had("1/2/6"), new()]));
    state("what its agents recorded", ask(), facts(vec![old().had("2/5/6@v024"), new()]));
    state("what its agents recorded under a version that is gone since", ask(), facts(vec![old().had("2/5/6@v025"), new()]));
    state(
        "what its agents recorded under an older version",
        ask(),
        facts(vec![g("spin-ha-v022", "0/0/0").off(), old().had("2/5/6@v022"), new()]),
    );
    state("what its agents recorded while a deployer had pinned it", ask(), facts(vec![old().had("5/5/6@v024"), new()]));
    state(
        "what its agents wrote over a rollback's own, which had enabled it",
        resume(),
        facts({
            let held = |group: G, record: &str| group.without(&FREEZE).held_by(ME, 4, 5).found(record);
            let found = "role=restore count=5 sizes=1/1/6 alive=1 suspended=Launch+Terminate+AddToLoadBalancer";
            vec![
                held(g("spin-ha-v023", "5/5/6"), found).had("2/5/6@v024"),
                held(new(), "role=retire count=5 sizes=3/3/6 alive=3 suspended=-").had("3/3/6"),
            ]
        }),
    );
    state("what its agents recorded in an earlier life", ask(), facts(vec![g("spin-ha-v023", "1/1/6").had("2/5/6@v024"), new()]));
    state("a record that makes no sense", ask(), facts(vec![old().had("9/1/6"), new()]));
    state("a record with more room than there is", ask(), facts(vec![g("spin-ha-v023", "0/0/0").off().had("2/4/8"), new()]));
    state("a number that was asked for", only("spin-ha", Some(5)), facts(vec![old(), new()]));
    state("a number beyond max", only("spin-ha", Some(9)), facts(vec![old(), new()]));
    state("a number below what it has", only("spin-ha", Some(1)), facts(vec![g("spin-ha-v023", "0/5/6").off(), new()]));
    state("a newest group of one", ask(), facts(vec![old(), g("spin-ha-v024", "1/1/6")]));
    // One first.
    state("a group of six", ask(), facts(six(0)));
    state("a group of six with two that live", ask(), facts(six(2)));
    state("a group of six that wants six already", ask(), facts(six(6)));
    state("a group of six, all at once", Request { canary: Canary::Never, ..ask() }, facts(six(0)));
    state("a group of six of which one serves", ask(), facts(vec![g("spin-ha-v023", "1/1/6"), g("spin-ha-v024", "6/6/6")]));
    state("a group of three, one first", Request { canary: Canary::Always, ..ask() }, facts(vec![old(), new()]));
    state(
        "a group of six that is undone",
        undo(),
        facts({
            let found = "role=restore count=6 sizes=0/0/6 alive=0 suspended=Launch+Terminate+AddToLoadBalancer members=0";
            let held = |group: G, record: &str| group.without(&FREEZE).held_by(ME, 4, 5).found(record).had("6/6/6");
            vec![
                held(g("spin-ha-v023", "1/1/6"), found),
                held(g("spin-ha-v024", "6/6/6"), "role=retire count=6 sizes=6/6/6 alive=6 suspended=-"),
            ]
        }),
    );
    state("a polling cluster, one first", Request { canary: Canary::Always, ..ask() }, facts(polling("0/0/1", "1/1/1")));
    // Singletons (S14).
    state("a polling cluster", ask(), facts(polling("0/0/1", "1/1/1")));
    state("a polling cluster whose old one lives", ask(), facts(polling("1/1/1", "1/1/1")));
    state("a polling cluster with two pollers", ask(), facts(polling("0/2/3", "1/1/1")));
    state("a polling cluster with a count", only("spin-ha-polling", Some(2)), facts(polling("0/0/1", "1/1/1")));
    state(
        "a polling cluster that is none",
        Request { not_polling: vec!["spin-ha-polling".to_owned()], ..ask() },
        facts(polling("0/0/1", "1/1/1")),
    );
    state(
        "a cluster that is said to poll",
        Request { polling: vec!["spin-ha".to_owned()], ..ask() },
        facts(vec![g("spin-ha-v023", "0/0/1").off(), g("spin-ha-v024", "1/1/1")]),
    );
    state("a third poller that drains", ask(), facts([vec![g("spin-ha-polling-v022", "1/1/1").off()], polling("0/0/1", "1/1/1")].concat()));
    // What stands in the way.
    state(
        "the old group is being deleted (F61)",
        ask(),
        facts(vec![old().with(|g| g.status = Some("Delete in progress".to_owned())), new()]),
    );
    state(
        "an instance refresh (F61)",
        ask(),
        but(facts(vec![old(), new()]), |f| drop(f.refreshing.insert(GroupName::from("spin-ha-v024"), "InProgress".to_owned()))),
    );
    state("a target group that is gone", ask(), but(facts(vec![old(), new()]), |f| f.backends.values_mut().for_each(|b| b.gone = true)));
    state("the newest cannot end its instances", ask(), facts(vec![old(), new().without(&[Process::Terminate])]));
    state("the newest has a protected instance", ask(), facts(vec![old(), new().with(|g| g.instances[1].protected = true)]));
    state("the newest has one in standby", ask(), facts(vec![old(), new().with(|g| g.instances[1].state = LifecycleState::Standby)]));
    state("somebody else holds it (F59)", ask(), facts(vec![old().held_by("bob@desk", 2, 5), new()]));
    state("a hold that nobody understands", ask(), facts(vec![old().tag("bellrock:hold", "?"), new()]));
    state(
        "several reasons at once",
        ask(),
        facts(vec![
            old().with(|g| g.status = Some("Delete in progress".to_owned())),
            new().with(|g| g.instances[0].protected = true),
            g("spin-api-v001", "1/1/1"),
        ]),
    );
    // What is found suspended (F58, S12).
    state("scheduled actions are off already", ask(), facts(vec![old().without(&[Process::ScheduledActions]), new()]));
    state("everything is off already", ask(), facts(vec![old().without(&FREEZE), new().without(&FREEZE)]));
    state("HealthCheck is off (F56)", ask(), facts(vec![old().without(&[Process::HealthCheck]), new()]));
    // Preflight.
    state("a scheduled action is due", ask(), scheduled("spin-ha-v023", 10));
    state("a scheduled action is due tomorrow", ask(), scheduled("spin-ha-v023", 24 * 60));
    state("a scheduled action on the newest", ask(), scheduled("spin-ha-v024", 24 * 60));
    state(
        "scheduled actions that may not be read",
        ask(),
        but(facts(vec![old(), new()]), |f| drop(f.scheduled.insert(GroupName::from("spin-ha-v023"), Err("AccessDenied".to_owned())))),
    );
    state("no load balancer", ask(), facts(vec![old().with(|g| g.target_groups.clear()), new()]));
    state("no listener", ask(), but(facts(vec![old(), new()]), |f| f.backends.values_mut().for_each(|b| b.listened = false)));
    state("EC2's checks alone", ask(), facts(vec![old().with(|g| g.health_check_type = HealthCheckType::Ec2), new()]));
    state("no template any more (F54)", ask(), facts(vec![old().with(|g| g.launch = None), new()]));
    state("CloudFormation's group (F61)", ask(), facts(vec![old().tag("aws:cloudformation:stack-name", "spin"), new()]));
    state("an unhealthy member", ask(), facts(vec![old().with(|g| g.instances[0].health = InstanceHealth::Unhealthy), new()]));
    state("no service to ask", Request { service_urls: Vec::new(), ..ask() }, facts(vec![old(), new()]));
    // What launches need (F54), and what may fight.
    let image_gone = |s: &mut Supply| drop(s.images.insert("ami-1".to_owned(), gone()));
    state("all that launches need is there", ask(), launching(0, same, |_| {}));
    state("the image is gone (F54)", ask(), launching(0, same, image_gone));
    state("the image is gone, and all that is needed lives", ask(), launching(3, same, image_gone));
    state("the image is gone, and no more than lives is asked for", only("spin-ha", Some(2)), launching(2, same, image_gone));
    state(
        "the image is gone, and a warm pool has enough",
        ask(),
        launching(1, |g| g.with(|g| g.warm_pool = Some(pool("Stopped", 2))), image_gone),
    );
    state(
        "the image is disabled",
        ask(),
        launching(0, same, |s| {
            drop(s.images.insert("ami-1".to_owned(), Look::There(Image { id: "ami-1".to_owned(), state: "disabled".to_owned() })))
        }),
    );
    state("the key pair is gone (F54)", ask(), launching(1, same, |s| drop(s.key_pairs.insert("ops".to_owned(), gone()))));
    state("a security group is gone (F54)", ask(), launching(1, same, |s| drop(s.security_groups.insert("sg-2".to_owned(), gone()))));
    state("the template is gone (F54)", ask(), launching(1, same, |s| s.blueprints.values_mut().for_each(|look| *look = gone())));
    state("one of two subnets is gone", ask(), launching(0, same, |s| drop(s.subnets.insert("subnet-a".to_owned(), gone()))));
    state("every subnet is gone", ask(), launching(0, same, |s| s.subnets.values_mut().for_each(|look| *look = gone())));
    state(
        "one subnet is gone and of the other nobody knows",
        ask(),
        launching(0, same, |s| {
            s.subnets.insert("subnet-a".to_owned(), gone());
            s.subnets.remove("subnet-b");
            s.unread.push(unread("subnets", "ec2:DescribeSubnets", false));
        }),
    );
    state("subnets with too few addresses", ask(), launching(0, same, |s| full(s, 1)));
    state("subnets with just enough addresses", ask(), launching(1, same, |s| full(s, 1)));
    state("full subnets, and all that is needed lives", ask(), launching(3, same, |s| full(s, 0)));
    state("the type is offered nowhere", ask(), launching(0, same, |s| s.offers = Some(BTreeSet::new())));
    state(
        "the type is offered in one zone of two",
        ask(),
        launching(0, same, |s| s.offers.as_mut().expect("offers").retain(|offer| offer.zone == "a")),
    );
    state("a quota that is short", ask(), launching(0, same, |s| s.quota = Some(25)));
    state("a quota that is just enough", ask(), launching(0, same, |s| s.quota = Some(26)));
    state(
        "reads that are denied",
        ask(),
        launching(0, same, |s| {
            *s = Supply {
                unread: vec![unread("images", "ec2:DescribeImages", true), unread("key pairs", "ec2:DescribeKeyPairs", true)],
                ..Supply::default()
            };
        }),
    );
    state(
        "what IAM says no to",
        ask(),
        launching(0, same, |s| s.forbidden = vec!["autoscaling:SuspendProcesses".to_owned(), "autoscaling:DeleteTags".to_owned()]),
    );
    state("several things that launches need are gone", ask(), {
        launching(0, same, |s| {
            s.key_pairs.insert("ops".to_owned(), gone());
            s.images.insert("ami-1".to_owned(), gone());
        })
    });
    state(
        "its own, before the switch, and the image is gone by now",
        ask(),
        but(facts(restored(ME, 5)), |f| {
            f.supply = launching(0, same, image_gone).supply;
            f.clusters.values_mut().flat_map(|c| &mut c.versions).for_each(|v| v.group.instances.truncate(1));
        }),
    );
    state("a warm pool on the newest", ask(), facts(vec![old(), new().with(|g| g.warm_pool = Some(pool("Running", 3)))]));
    state(
        "weights",
        ask(),
        facts(vec![weighted(g("spin-ha-v023", "0/4/24").off().alive(1)), weighted(g("spin-ha-v024", "12/12/24").alive(3))]),
    );
    state(
        "weights, and the restored one serves already",
        ask(),
        facts(vec![weighted(g("spin-ha-v023", "12/12/24").alive(3)), g("spin-ha-v024", "0/0/0")]),
    );
    state(
        "deletion protection on the newest",
        ask(),
        facts(vec![old(), new().with(|g| g.deletion_protection = Some("prevent-all-deletion".to_owned()))]),
    );
    state(
        "a scaling policy",
        ask(),
        but(facts(vec![old(), new()]), |f| drop(f.policies.insert(GroupName::from("spin-ha-v023"), vec!["cpu-60".to_owned()]))),
    );
    // An unfinished one (F62).
    state("its own, before the switch", ask(), facts(restored(ME, 5)));
    state("its own, after the switch", ask(), facts(switched(ME, 5)));
    state("its own, expired", ask(), facts(restored(ME, -5)));
    state("its own, and another version is asked for", to(22), facts([vec![g("spin-ha-v022", "1/1/6").off()], restored(ME, 5)].concat()));
    state("somebody's, alive", ask(), facts(restored("bob@desk", 5)));
    state("somebody's, alive, to be resumed", resume(), facts(restored("bob@desk", 5)));
    state("somebody's, dead", ask(), facts(restored("bob@desk", -5)));
    state("somebody's, dead, resumed", resume(), facts(restored("bob@desk", -5)));
    state(
        "somebody's, dead, resumed beside another cluster",
        resume(),
        facts([restored("bob@desk", -5), polling("0/0/1", "1/1/1")].concat()),
    );
    state("nothing to resume", resume(), facts(vec![old(), new()]));
    state("a record that nobody understands", ask(), facts(vec![old().found("role=other"), new()]));
    // Undone.
    // Kept for the post-mortem.
    let keep = |count| Request { keep_bad: count, ..ask() };
    let standby = |g: &mut Group| g.instances.iter_mut().take(1).for_each(|i| i.state = LifecycleState::Standby);
    state("two of the newest are kept", keep(2), facts(vec![old(), new()]));
    state("more are to be kept than there are", keep(10), facts(vec![old(), new()]));
    state(
        "nobody of a polling cluster is kept",
        keep(1),
        facts(vec![g("spin-ha-polling-v023", "0/0/1").off(), g("spin-ha-polling-v024", "1/1/1")]),
    );
    state(
        "one that an earlier rollback keeps is in nobody's way",
        Request { to: Some(22), ..keep(1) },
        facts(vec![
            g("spin-ha-v022", "1/1/6").off(),
            g("spin-ha-v023", "0/0/0").alive(1).tag("bellrock:kept", "i-spin-ha-v023-0").with(standby),
            new(),
        ]),
    );
    state(
        "whom the first run chose is kept by its rerun, and is in standby already",
        ask(),
        facts({
            let mut groups = restored(ME, 5);
            let newest = g("spin-ha-v024", "2/2/6").alive(3).without(&FREEZE).held_by(ME, 4, 5);
            groups[1] = newest.found(&format!("{FOUND_NEW} keeps=yes")).had("3/3/6").tag("bellrock:kept", "i-spin-ha-v024-0").with(standby);
            groups
        }),
    );
    state("undone before the switch", undo(), facts(restored(ME, 5)));
    state("undone before the switch, by somebody else", undo(), facts(restored("bob@desk", -5)));
    state(
        "undone before the switch, begun by a build that names no members",
        undo(),
        facts({
            let mut groups = restored(ME, 5);
            groups[0] = groups[0].clone().found("role=restore count=3 sizes=1/1/6 alive=1 suspended=Launch+Terminate+AddToLoadBalancer");
            groups
        }),
    );
    state("undone after the switch", undo(), facts(switched(ME, 5)));
    state("undone after the end", undo(), facts(done()));
    state("nothing to undo", undo(), facts(vec![old(), new()]));
    state(
        "undone with a policy's sizes on the newest",
        undo(),
        facts({
            let mut groups = restored(ME, 5);
            groups[1] = g("spin-ha-v024", "3/5/6").without(&FREEZE).held_by(ME, 4, 5).found(FOUND_NEW);
            groups
        }),
    );
    state(
        "an undoing that is unfinished, rolled back plainly",
        ask(),
        facts({
            let mut groups = switched(ME, 5);
            groups[1] = groups[1].clone().found("role=restore count=3 sizes=3/3/6 alive=3 suspended=- undoes=yes");
            groups
        }),
    );
    state(
        "an undoing that is unfinished, resumed",
        resume(),
        facts({
            let mut groups = switched(ME, 5);
            groups[1] = groups[1].clone().found("role=restore count=3 sizes=3/3/6 alive=3 suspended=- undoes=yes");
            groups
        }),
    );
    all
}
