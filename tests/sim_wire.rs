//! The simulated region over its wire, asked by AWS's own SDK: what the agent and the rollback will see, and what a person's tools see.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use aws_sdk_autoscaling as autoscaling;
use aws_sdk_autoscaling::config::BehaviorVersion;
use aws_sdk_autoscaling::config::Credentials;
use aws_sdk_autoscaling::config::ProvideCredentials;
use aws_sdk_autoscaling::config::Region as AwsRegion;
use aws_sdk_autoscaling::config::retry::RetryConfig;
use aws_sdk_autoscaling::config::timeout::TimeoutConfig;
use aws_sdk_autoscaling::error::ProvideErrorMetadata;
use aws_sdk_autoscaling::error::SdkError;
use aws_sdk_elasticloadbalancing as elb;
use aws_sdk_elasticloadbalancingv2 as elbv2;
use bellrock::cloud::Ask;
use bellrock::cloud::AutoScaling;
use bellrock::cloud::Caller;
use bellrock::cloud::Compute;
use bellrock::cloud::Kind;
use bellrock::cloud::Verdict;
use bellrock::cloud::aws::Aws;
use bellrock::cloud::aws::Keys;
use bellrock::cloud::aws::Settings;
use bellrock::cloud::sim::Region;
use bellrock::cloud::sim::serve::Server;
use bellrock::model::GroupName;
use bellrock::model::Timestamp;
use serde_json::Value;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

const OLD: &str = "orca-main-v023";
const NEW: &str = "orca-main-v024";

/// A served region that stands still but for jumps.
struct Sim {
    endpoint: String,
    http: reqwest::Client,
    _stop: oneshot::Sender<()>,
    _server: JoinSet<std::io::Result<()>>,
}

impl Sim {
    async fn start(scenario: Value) -> Self {
        let scenario = serde_json::from_value(scenario).expect("a scenario");
        let mut region = Region::new(1, Timestamp(1_700_000_000_000));
        region.load(&scenario).expect("loads");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(any, region, 0.0).await.expect("binds");
        let endpoint = server.endpoint();
        let (stop, stopped) = oneshot::channel::<()>();
        let mut tasks = JoinSet::new();
        tasks.spawn(server.run(async move { drop(stopped.await) }));
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().expect("a client");
        let sim = Self { endpoint, http, _stop: stop, _server: tasks };
        sim.post("advance", json!({"seconds": 600})).await;
        sim
    }

    async fn get(&self, path: &str) -> Value {
        self.http.get(format!("{}{path}", self.endpoint)).send().await.expect("answers").json().await.expect("JSON")
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let answer = self.http.post(format!("{}/control/{path}", self.endpoint)).json(&body).send().await.expect("answers");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    fn autoscaling(&self, key: &str) -> autoscaling::Client {
        let timeouts = TimeoutConfig::builder().operation_timeout(Duration::from_secs(2)).build();
        autoscaling::Client::from_conf(
            autoscaling::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(AwsRegion::new("us-east-1"))
                .credentials_provider(Credentials::new(key, "secret", None, None, "test"))
                .endpoint_url(&self.endpoint)
                .retry_config(RetryConfig::disabled())
                .timeout_config(timeouts)
                .build(),
        )
    }

    async fn aws(&self) -> Aws {
        let keys = Keys { id: "test".into(), secret: "secret".into() };
        let (region, endpoint, backoff) = (Some("us-east-1".into()), Some(self.endpoint.clone()), Duration::from_millis(1));
        Aws::connect(&Settings { region, endpoint, keys: Some(keys), backoff, ..Settings::default() }).await.expect("a region is given")
    }

    fn elbv2(&self) -> elbv2::Client {
        elbv2::Client::from_conf(
            elbv2::Config::builder()
                .behavior_version(elbv2::config::BehaviorVersion::latest())
                .region(AwsRegion::new("us-east-1"))
                .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
                .endpoint_url(&self.endpoint)
                .build(),
        )
    }

    fn elb(&self) -> elb::Client {
        elb::Client::from_conf(
            elb::Config::builder()
                .behavior_version(elb::config::BehaviorVersion::latest())
                .region(AwsRegion::new("us-east-1"))
                .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
                .endpoint_url(&self.endpoint)
                .build(),
        )
    }

    async fn group(&self, name: &str) -> autoscaling::types::AutoScalingGroup {
        let found = self.autoscaling("test").describe_auto_scaling_groups().auto_scaling_group_names(name).send().await.expect("describes");
        found.auto_scaling_groups()[0].clone()
    }
}

fn small() -> Value {
    let group = |name: &str, min: u32, suspended: Value| {
        json!({"name": name, "min": min, "max": 4, "desired": 2, "template": "orca", "settled": true, "tags": {"owner": "delivery"},
            "target_groups": ["orca-main"], "classic_load_balancers": ["orca-classic"], "suspended": suspended})
    };
    json!({
        "undocumented": {}, "pace": {"latency": 0, "react": 1, "end": 30},
        "templates": [{"name": "orca", "versions": [{}]}],
        "target_groups": [{"name": "orca-main"}],
        "load_balancers": [{"name": "orca", "internal": true, "listeners": [[80, "orca-main"]]}],
        "classic_load_balancers": [{"name": "orca-classic", "internal": true}],
        "groups": [group(OLD, 1, json!(["AddToLoadBalancer"])), group(NEW, 2, json!([]))],
    })
}

fn refused<E: ProvideErrorMetadata, R>(result: Result<impl Sized, SdkError<E, R>>) -> (String, String) {
    let Err(SdkError::ServiceError(e)) = result else { panic!("not refused") };
    (e.err().code().unwrap_or_default().to_owned(), e.err().message().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_group_reads_back_as_it_was_made() {
    let sim = Sim::start(small()).await;
    let old = sim.group(OLD).await;
    assert_eq!((old.min_size(), old.max_size(), old.desired_capacity()), (Some(1), Some(4), Some(2)));
    assert_eq!(old.suspended_processes()[0].process_name(), Some("AddToLoadBalancer"));
    assert_eq!((old.tags()[0].key(), old.tags()[0].value()), (Some("owner"), Some("delivery")));
    assert_eq!(old.load_balancer_names(), ["orca-classic"]);
    let instance = &old.instances()[0];
    assert_eq!(instance.lifecycle_state().map(|s| s.as_str()), Some("InService"));
    assert_eq!(instance.launch_template().and_then(|l| l.version()), Some("1"));

    let entry = sim.autoscaling("test").describe_auto_scaling_instances().instance_ids(instance.instance_id().expect("an id")).send().await;
    let entry = entry.expect("describes").auto_scaling_instances()[0].clone();
    assert_eq!((entry.auto_scaling_group_name(), entry.health_status()), (Some(OLD), Some("HEALTHY")));

    let arn = &old.target_group_arns()[0];
    let target_groups = sim.elbv2().describe_target_groups().target_group_arns(arn).send().await.expect("describes");
    assert_eq!(target_groups.target_groups()[0].target_group_name(), Some("orca-main"));
    let health = sim.elbv2().describe_target_health().target_group_arn(arn).send().await.expect("describes");
    assert!(health.target_health_descriptions().iter().all(|d| d.target().and_then(|t| t.port()) == Some(8083)));
    let healthy =
        |d: &elbv2::types::TargetHealthDescription| d.target_health().and_then(|h| h.state()).is_some_and(|s| s.as_str() == "healthy");
    assert_eq!(health.target_health_descriptions().iter().filter(|d| healthy(d)).count(), 2, "the disabled group registered nothing");
    let classic = sim.elb().describe_instance_health().load_balancer_name("orca-classic").send().await.expect("describes");
    assert!(classic.instance_states().iter().all(|s| s.state() == Some("InService")) && classic.instance_states().len() == 2);
}

#[tokio::test]
async fn pages_join_up_and_a_page_too_large_is_refused() {
    let groups: Vec<Value> = (0..7).map(|n| json!({"name": format!("many-v{n:03}"), "template": "orca"})).collect();
    let sim = Sim::start(json!({"templates": [{"name": "orca", "versions": [{}]}], "groups": groups})).await;
    let client = sim.autoscaling("test");
    let pages = client.describe_auto_scaling_groups().max_records(3).into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let names: Vec<_> = pages.expect("pages").iter().filter_map(|g| g.auto_scaling_group_name().map(str::to_owned)).collect();
    assert_eq!(names, (0..7).map(|n| format!("many-v{n:03}")).collect::<Vec<_>>());
    assert_eq!(refused(client.describe_auto_scaling_groups().max_records(101).send().await).0, "ValidationError");
}

#[tokio::test]
async fn an_end_below_min_is_refused_in_aws_own_words_and_one_above_it_is_followed_to_its_activity() {
    let sim = Sim::start(small()).await;
    let client = sim.autoscaling("test");
    let id = sim.group(NEW).await.instances()[0].instance_id().expect("an id").to_owned();
    let end = |id: &str| client.terminate_instance_in_auto_scaling_group().instance_id(id).should_decrement_desired_capacity(true).send();
    let (code, message) = refused(end(&id).await);
    assert_eq!(code, "ValidationError");
    assert!(
        message.starts_with("Currently, desiredSize equals minSize (2). Terminating instance without replacement will violate"),
        "{message}"
    );
    assert_eq!(refused(end("i-00000000000000000").await).0, "ValidationError");

    let id = sim.group(OLD).await.instances()[0].instance_id().expect("an id").to_owned();
    let activity = end(&id).await.expect("accepted").activity.expect("an activity");
    assert!(activity.description().is_some_and(|d| d.contains(&id)) && activity.start_time().is_some());
    assert_eq!(sim.group(OLD).await.desired_capacity(), Some(1));
    sim.post("advance", json!({"seconds": 600})).await;
    assert_eq!(sim.group(OLD).await.instances().len(), 1);
    let activities = client.describe_scaling_activities().auto_scaling_group_name(OLD).send().await.expect("describes");
    let done = activities.activities().iter().find(|a| a.activity_id() == activity.activity_id()).expect("listed");
    assert_eq!(done.status_code().map(|s| s.as_str()), Some("Successful"));

    let truth = sim.get("/control/truth").await;
    let ended = truth["terminations"].as_array().expect("a list");
    assert_eq!(
        (ended.len(), &ended[0]["instance"], &ended[0]["by"], &ended[0]["decremented"]),
        (1, &json!(id), &json!("test"), &json!(true))
    );
    assert_eq!(truth["counts"]["test"]["TerminateInstanceInAutoScalingGroup"], json!(3));
}

#[tokio::test]
async fn suspending_nothing_in_particular_suspends_everything() {
    let sim = Sim::start(small()).await;
    let client = sim.autoscaling("test");
    client.suspend_processes().auto_scaling_group_name(NEW).scaling_processes("Launch").send().await.expect("suspends");
    assert_eq!(sim.group(NEW).await.suspended_processes().len(), 1);
    client.resume_processes().auto_scaling_group_name(NEW).scaling_processes("Launch").send().await.expect("resumes");
    assert!(sim.group(NEW).await.suspended_processes().is_empty());
    client.suspend_processes().auto_scaling_group_name(NEW).set_scaling_processes(Some(Vec::new())).send().await.expect("suspends");
    assert_eq!(sim.group(NEW).await.suspended_processes().len(), 9);
    let (code, message) = refused(client.suspend_processes().auto_scaling_group_name("nobody").send().await);
    assert!(code == "ValidationError" && message.contains("not found"), "{code}: {message}");
}

#[tokio::test]
async fn an_applied_call_whose_reply_is_lost_leaves_its_effect_and_no_answer() {
    let sim = Sim::start(small()).await;
    let rule = json!({"kind": "lose_reply", "actions": ["UpdateAutoScalingGroup", "SetDesiredCapacity"]});
    sim.post("trouble", json!({"rules": [rule]})).await;
    let lost = sim.autoscaling("test").update_auto_scaling_group().auto_scaling_group_name(OLD).min_size(0).send().await;
    assert!(matches!(lost, Err(SdkError::DispatchFailure(_) | SdkError::TimeoutError(_))), "{lost:?}");
    assert_eq!(sim.group(OLD).await.min_size(), Some(0), "applied all the same");

    sim.http.delete(format!("{}/control/trouble", sim.endpoint)).send().await.expect("answers");
    sim.post("trouble", json!({"rules": [{"kind": "throttle"}]})).await;
    assert_eq!(refused(sim.autoscaling("test").describe_tags().send().await).0, "Throttling");
    sim.http.delete(format!("{}/control/trouble", sim.endpoint)).send().await.expect("answers");
    sim.post("trouble", json!({"rules": [{"kind": "reset"}]})).await;
    assert!(matches!(sim.autoscaling("test").describe_tags().send().await, Err(SdkError::DispatchFailure(_))));
}

#[tokio::test]
async fn metadata_and_its_credentials_come_from_the_path_of_the_endpoint_and_name_the_caller() {
    let sim = Sim::start(small()).await;
    let id = sim.group(OLD).await.instances()[0].instance_id().expect("an id").to_owned();
    let imds = aws_config::imds::Client::builder().endpoint(format!("{}/imds/{id}", sim.endpoint)).expect("an address").build();
    let chain = aws_config::imds::credentials::ImdsCredentialsProvider::builder().imds_client(imds.clone()).build();
    let keys = chain.provide_credentials().await.expect("credentials");
    let config = sim.autoscaling("replaced").config().to_builder().credentials_provider(keys).build();
    autoscaling::Client::from_conf(config).describe_tags().send().await.expect("describes");
    assert_eq!(sim.get("/control/truth").await["counts"][&id]["DescribeTags"], json!(1));

    assert_eq!(imds.get("/latest/meta-data/instance-id").await.expect("told").as_ref(), id);
    let document: Value =
        serde_json::from_str(imds.get("/latest/dynamic/instance-identity/document").await.expect("told").as_ref()).expect("JSON");
    assert_eq!((&document["instanceId"], &document["region"]), (&json!(id), &json!("us-east-1")));

    let bare = sim.http.get(format!("{}/imds/{id}/latest/meta-data/instance-id", sim.endpoint)).send().await.expect("answers");
    assert_eq!(bare.status(), 401, "version 1 is not served");
    sim.post(&format!("instance/{id}"), json!("spot")).await;
    let notice: Value =
        serde_json::from_str(imds.get("/latest/meta-data/spot/instance-action").await.expect("told").as_ref()).expect("JSON");
    assert_eq!(notice["action"], json!("terminate"));
    sim.post(&format!("instance/{id}"), json!({"metadata": false})).await;
    let off =
        sim.http.put(format!("{}/imds/{id}/latest/api/token", sim.endpoint)).header("x-aws-ec2-metadata-token-ttl-seconds", "60").send();
    assert_eq!(off.await.expect("answers").status(), 403);
}

fn named(id: &str) -> [String; 1] {
    [id.to_owned()]
}

#[tokio::test]
async fn the_hand_written_calls_read_what_launches_need_and_what_is_lacking() {
    let mut scenario = small();
    scenario["templates"] = json!([{"name": "orca", "versions": [{"key_pair": "ops & <co>", "security_groups": ["sg-1", "sg-2"]}]}]);
    scenario["vcpu_quota"] = json!(64);
    let sim = Sim::start(scenario).await;
    let aws = sim.aws().await;
    let group = aws.groups(&[GroupName::from(OLD)]).await.expect("groups").remove(0);
    let blueprint = aws.blueprint(group.launch.as_ref().expect("a template")).await.expect("a blueprint");
    assert_eq!((blueprint.key_pair.as_deref(), blueprint.instance_type.as_deref()), (Some("ops & <co>"), Some("m5.large")));
    assert_eq!(blueprint.security_groups, ["sg-1", "sg-2"]);
    let image = blueprint.image.expect("an image");
    assert_eq!(aws.images(&named(&image)).await.expect("images")[0].state, "available");
    aws.key_pairs(&named("ops & <co>")).await.expect("a key pair");
    aws.security_groups(&blueprint.security_groups).await.expect("groups");
    let subnets = aws.subnets(&group.subnets).await.expect("subnets");
    let taken = group.instances.iter().filter(|i| i.zone == subnets[0].zone).count();
    assert!(subnets[0].free_addresses < 4091 && taken > 0, "{subnets:?}");
    let offers = aws.offers(&named("m5.large"), &group.availability_zones).await.expect("offers");
    assert_eq!(offers.len(), group.availability_zones.len());
    assert!(aws.offers(&named("m5.novel"), &group.availability_zones).await.expect("offers").is_empty());
    assert_eq!(aws.vcpus(&named("m5.large")).await.expect("vCPUs")["m5.large"], 2);
    assert!(aws.running().await.expect("instances")["m5.large"] >= 2);
    assert_eq!(aws.vcpu_quota().await.expect("a quota"), 64);

    let zone = subnets[0].zone.clone();
    for incident in [
        json!({"remove_image": image}),
        json!({"remove_key_pair": "ops & <co>"}),
        json!({"remove_security_group": "sg-2"}),
        json!({"remove_subnet": zone}),
        json!({"withdraw_type": {"instance_type": "m5.large", "zone": zone}}),
        json!({"remove_template": "orca"}),
    ] {
        assert_eq!(sim.post("incident", incident.clone()).await.0, 200, "{incident}");
    }
    let gone = [
        aws.images(&named(&image)).await.map(drop),
        aws.key_pairs(&named("ops & <co>")).await,
        aws.security_groups(&blueprint.security_groups).await,
        aws.subnets(&group.subnets).await.map(drop),
        aws.blueprint(group.launch.as_ref().expect("a template")).await.map(drop),
    ];
    for error in gone {
        let error = error.expect_err("it was taken away");
        assert!(error.kind == Kind::Gone && error.request_id.is_some(), "{error}");
    }
    assert_eq!(aws.offers(&named("m5.large"), &group.availability_zones).await.expect("offers").len(), group.availability_zones.len() - 1);
    let actions = ["autoscaling:DeleteTags", "autoscaling:SuspendProcesses"];
    let ask = Ask { actions: actions.to_vec(), resources: vec![group.arn.clone()], ..Ask::default() };
    let said = |verdicts: [Verdict; 2]| actions.map(str::to_owned).into_iter().zip(verdicts).collect::<BTreeMap<_, _>>();
    assert_eq!(aws.verdicts(&ask).await.expect("a simulation"), said([Verdict::Allowed, Verdict::Allowed]));
    sim.post("trouble", json!({"rules": [{"kind": "deny", "actions": ["DeleteTags"]}]})).await;
    assert_eq!(aws.verdicts(&ask).await.expect("a simulation"), said([Verdict::Denied, Verdict::Allowed]));
    sim.post("trouble", json!({"rules": [{"kind": "deny"}]})).await;
    assert_eq!(aws.vcpu_quota().await.expect_err("denied").kind, Kind::Denied);
    assert_eq!(aws.running().await.expect_err("denied").kind, Kind::Denied);
    let calls = aws.calls();
    assert!(calls["DescribeImages"] == 2 && calls["GetServiceQuota"] == 2, "hand-written calls are counted as others are: {calls:?}");
}

#[tokio::test]
async fn orders_that_make_no_sense_are_refused_and_name_what_is_wrong() {
    let sim = Sim::start(small()).await;
    let (status, body) = sim.post("scenario", json!({"scenario": {"grups": []}})).await;
    assert!(status == 400 && body["error"].as_str().is_some_and(|e| e.contains("grups")), "{status} {body}");
    assert_eq!(sim.post("scenario", json!({"scenario": "no-such"})).await.0, 400);
    assert_eq!(sim.post("advance", json!({"seconds": -1})).await.0, 400);
    assert_eq!(sim.post("advance", json!({"seconds": 1e12})).await.0, 400);
    assert_eq!(sim.post("instance/i-00000000000000000", json!("crash")).await.0, 404);
    let huge = sim.http.post(&sim.endpoint).header("content-type", "application/x-www-form-urlencoded").body("x".repeat(3 << 20));
    assert!(huge.send().await.map_or(true, |a| a.status() == 413), "a body without measure");
    let unknown = [("Action", "DropEverything"), ("Version", "2011-01-01")];
    let answer = sim.http.post(&sim.endpoint).form(&unknown).send().await.expect("answers");
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.expect("text").contains("<Code>InvalidAction</Code>"));
}
