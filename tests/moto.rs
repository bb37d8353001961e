//! The real cloud's code against somebody else's idea of AWS's wire: moto, a server that imitates AWS. It proves that requests are understood
//! and answers are read; it proves nothing about behaviour (moto enforces no min size and no suspended process).
//!
//! `tests/run` starts moto and names it in `BELLROCK_MOTO`.

#[path = "moto/server.rs"]
mod server;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use axum::routing::put;
use bellrock::cloud::AutoScaling;
use bellrock::cloud::Caller;
use bellrock::cloud::Compute;
use bellrock::cloud::GroupFilter;
use bellrock::cloud::Identity;
use bellrock::cloud::Kind;
use bellrock::cloud::LoadBalancing;
use bellrock::cloud::Metadata;
use bellrock::cloud::Resize;
use bellrock::cloud::TargetId;
use bellrock::cloud::TargetState;
use bellrock::cloud::aws::Aws;
use bellrock::cloud::aws::Imds;
use bellrock::cloud::aws::Keys;
use bellrock::cloud::aws::Settings;
use bellrock::model::GroupName;
use bellrock::model::InstanceHealth;
use bellrock::model::InstanceId;
use bellrock::model::LaunchSource;
use bellrock::model::LifecycleState;
use bellrock::model::Process;
use bellrock::model::TargetGroupArn;
use server::Moto;
use server::between;
use server::unique;

#[tokio::test]
async fn every_call_is_understood_by_moto_and_its_answers_are_read() {
    let moto = Moto::find("us-east-1");
    let (fleet, aws) = (moto.fleet("every").await, moto.aws().await);
    assert_eq!(aws.caller().await.expect("caller").account, "123456789012");

    let found = aws.groups(&[fleet.group.clone(), GroupName::new("nobody-v000")]).await.expect("groups");
    assert_eq!(found.len(), 1, "an unknown name is absent");
    let group = &found[0];
    assert_eq!((group.capacity.to_string().as_str(), group.instances.len()), ("1/2/3", 2));
    assert!(group.instances.iter().all(|one| one.state == LifecycleState::InService && one.health == InstanceHealth::Healthy));
    assert_eq!(group.tags.get("team"), Some(&fleet.classic));
    assert_eq!((&group.target_groups, &group.classic_load_balancers), (&vec![fleet.target_group.clone()], &vec![fleet.classic.clone()]));
    assert!(group.launch.as_ref().is_some_and(|launch| launch.version.is_none()) && group.created.0 > 0 && !group.is_disabled());
    let tagged = aws.find_groups(&GroupFilter::Tag { key: "team".into(), value: fleet.classic.clone() }).await.expect("find_groups");
    assert_eq!(tagged.iter().map(|group| &group.name).collect::<Vec<_>>(), [&fleet.group]);

    let id = group.instances[0].id.clone();
    assert_eq!(aws.instance(&id).await.expect("instance"), Some(group.instances[0].clone()));
    assert_eq!(aws.instance(&InstanceId::new("i-00000000000000000")).await.expect("instance"), None);

    aws.suspend(&fleet.group, &Process::DISABLING).await.expect("suspend");
    assert!(moto.group(&aws, &fleet).await.is_disabled());
    aws.resume(&fleet.group, &Process::DISABLING).await.expect("resume");
    assert!(moto.group(&aws, &fleet).await.suspended.is_empty());

    let members: Vec<InstanceId> = moto.group(&aws, &fleet).await.instances.iter().map(|i| i.id.clone()).collect();
    for protected in [true, false] {
        aws.protect(&fleet.group, &members, protected).await.expect("protect");
        assert!(moto.group(&aws, &fleet).await.instances.iter().all(|i| i.protected == protected));
    }

    aws.put_tags(&fleet.group, &[("bellrock:hold".into(), "1 & <2>".into())]).await.expect("put_tags");
    assert_eq!(moto.group(&aws, &fleet).await.tags["bellrock:hold"], "1 & <2>");
    aws.delete_tags(&fleet.group, &["bellrock:hold".into()]).await.expect("delete_tags");
    assert!(!moto.group(&aws, &fleet).await.tags.contains_key("bellrock:hold"));

    assert_eq!(aws.scheduled_actions(&fleet.group).await.expect("scheduled_actions")[0].name, fleet.classic);
    assert_eq!(aws.activities(&fleet.group, 5).await, Ok(vec![]), "moto keeps no activities");
    let error = aws.running_refreshes(&fleet.group).await.expect_err("moto answers HTML to what it does not know");
    assert_eq!((error.kind, error.code.as_str()), (Kind::Unavailable, "Http500"), "{error}");
    let change = Resize { min: Some(0), ..Resize::default() };
    let error = aws.resize(&GroupName::new("nobody-v000"), change).await.expect_err("no such group");
    assert_eq!((error.kind, error.code.as_str()), (Kind::Gone, "ValidationError"), "{error}");
    assert!(error.request_id.is_some());
}

#[tokio::test]
async fn load_balancers_of_both_generations_show_register_and_deregister() {
    let moto = Moto::find("us-east-2");
    let (fleet, aws) = (moto.fleet("balance").await, moto.aws().await);
    let facts = aws.target_groups(std::slice::from_ref(&fleet.target_group)).await.expect("target_groups");
    assert_eq!((&facts[0].name, facts[0].port, facts[0].health_interval_s), (&fleet.classic, Some(8080), 30));
    assert!(facts[0].load_balancers.is_empty());

    let health = aws.target_health(&fleet.target_group).await.expect("target_health");
    assert!(health.len() == 2 && health.iter().all(|target| target.state == TargetState::Healthy), "{health:?}");
    let one: TargetId = health[0].target.clone();
    aws.deregister_targets(&fleet.target_group, std::slice::from_ref(&one)).await.expect("deregister_targets");
    assert_eq!(aws.target_health(&fleet.target_group).await.expect("target_health").len(), 1);
    aws.register_targets(&fleet.target_group, std::slice::from_ref(&one)).await.expect("register_targets");
    assert_eq!(aws.target_health(&fleet.target_group).await.expect("target_health").len(), 2);

    let classic = aws.classic_health(&fleet.classic).await.expect("classic_health");
    assert!(classic.len() == 2 && classic.iter().all(|instance| instance.in_service), "{classic:?}");
    // moto lets nobody but the group itself take a group's instance out, so these two are tried where no group is attached.
    let spare = format!("{}-spare", fleet.classic);
    moto.create_classic(&spare).await;
    aws.register_classic(&spare, std::slice::from_ref(&one.instance)).await.expect("register_classic");
    assert_eq!(aws.classic_health(&spare).await.expect("classic_health")[0].instance, one.instance);
    aws.deregister_classic(&spare, std::slice::from_ref(&one.instance)).await.expect("deregister_classic");
    assert_eq!(aws.classic_health(&spare).await, Ok(vec![]));

    let gone = aws.target_health(&TargetGroupArn::new(format!("{}x", fleet.target_group))).await.expect_err("no such target group");
    assert_eq!(gone.kind, Kind::Gone, "{gone}");
}

#[tokio::test]
async fn an_instance_takes_itself_out_of_its_group() {
    let moto = Moto::find("us-west-1");
    let (fleet, aws) = (moto.fleet("leave").await, moto.aws().await);
    let us = moto.group(&aws, &fleet).await.instances[0].id.clone();
    let own = metadata_of(&us).await.own;
    aws.resize(&fleet.group, Resize { min: Some(0), ..Resize::default() }).await.expect("resize");
    let activity = aws.terminate_own(&own, true).await.expect("terminate_own");
    assert!(!activity.id.is_empty(), "{activity:?}");
    let left = moto.group(&aws, &fleet).await;
    assert_eq!(left.capacity.to_string(), "0/1/3");
    assert!(left.instance(&us).is_none());
    assert_eq!(aws.calls()["TerminateInstanceInAutoScalingGroup"], 1);
}

#[tokio::test]
async fn what_launches_need_is_read_as_somebody_else_writes_it() {
    let moto = Moto::find("ca-central-1");
    let (name, aws) = (unique("supply"), moto.aws().await);
    let ec2 = async |action: &str, fields: &[(&str, &str)]| moto.ask("ec2", "2016-11-15", action, fields).await;
    let subnets = ec2("DescribeSubnets", &[]).await;
    let (subnet, zone) = (between(&subnets, "<subnetId>", "</subnetId>"), between(&subnets, "<availabilityZone>", "</availabilityZone>"));
    let group = between(&ec2("DescribeSecurityGroups", &[]).await, "<groupId>", "</groupId>");
    ec2("CreateKeyPair", &[("KeyName", &name)]).await;
    let data = [
        ("LaunchTemplateName", name.as_str()),
        ("LaunchTemplateData.ImageId", "ami-12c6146b"),
        ("LaunchTemplateData.InstanceType", "m5.large"),
        ("LaunchTemplateData.KeyName", &name),
        ("LaunchTemplateData.SecurityGroupId.1", &group),
    ];
    ec2("CreateLaunchTemplate", &data).await;
    let source = LaunchSource { name: name.clone(), version: Some("1".into()) };
    let blueprint = aws.blueprint(&source).await.expect("a blueprint");
    assert_eq!((blueprint.image.as_deref(), blueprint.instance_type.as_deref()), (Some("ami-12c6146b"), Some("m5.large")));
    assert_eq!((blueprint.key_pair.as_ref(), blueprint.security_groups.as_slice()), (Some(&name), std::slice::from_ref(&group)));

    let one = |id: &str| [id.to_owned()];
    assert_eq!(aws.images(&one("ami-12c6146b")).await.expect("images")[0].state, "available");
    aws.key_pairs(&one(&name)).await.expect("key_pairs");
    aws.security_groups(&one(&group)).await.expect("security_groups");
    let found = aws.subnets(&one(&subnet)).await.expect("subnets");
    assert!(found[0].zone == zone && found[0].free_addresses > 0, "{found:?}");
    let offers = aws.offers(&["m5.large", "m5.novel"].map(str::to_owned), &one(&zone)).await.expect("offers");
    assert_eq!(offers.iter().map(|offer| offer.instance_type.as_str()).collect::<Vec<_>>(), ["m5.large"]);
    assert_eq!(aws.vcpus(&one("m5.large")).await.expect("vcpus")["m5.large"], 2);
    let before = aws.running().await.expect("running").get("m5.large").copied().unwrap_or_default();
    ec2("RunInstances", &[("ImageId", "ami-12c6146b"), ("InstanceType", "m5.large"), ("MinCount", "2"), ("MaxCount", "2")]).await;
    assert_eq!(aws.running().await.expect("running")["m5.large"], before + 2);

    let gone = [
        aws.images(&one("ami-00000000000000000")).await.map(drop),
        aws.key_pairs(&one("nobody's")).await,
        aws.security_groups(&[group.clone(), "sg-00000000000000000".into()]).await,
        aws.subnets(&one("subnet-00000000000000000")).await.map(drop),
        aws.blueprint(&LaunchSource { name: name.clone(), version: Some("7".into()) }).await.map(drop),
        aws.blueprint(&LaunchSource { name: "nobody's".into(), version: Some("1".into()) }).await.map(drop),
        aws.blueprint(&LaunchSource { name: "nobody's".into(), version: None }).await.map(drop),
    ];
    for answer in gone {
        let error = answer.expect_err("there is no such thing");
        assert_eq!(error.kind, Kind::Gone, "{error}");
    }
    let fleet = moto.fleet("supply-old").await;
    let configured = moto.group(&aws, &fleet).await.launch.expect("a launch configuration");
    let blueprint = aws.blueprint(&configured).await.expect("a blueprint");
    assert_eq!((blueprint.image.as_deref(), blueprint.instance_type.as_deref()), (Some("ami-12c6146b"), Some("t3.micro")));
}

#[tokio::test]
async fn long_lists_are_read_to_their_end() {
    let moto = Moto::find("us-west-2");
    let many = unique("many");
    let names: Vec<GroupName> = (0..101).map(|n| GroupName::new(format!("{many}-v{n:03}"))).collect();
    for name in &names {
        moto.create_group(name, 0, 0, 0, &many, &[]).await;
    }
    let aws = moto.aws().await;
    let tagged = aws.find_groups(&GroupFilter::Tag { key: "team".into(), value: many.clone() }).await.expect("find_groups");
    assert_eq!((tagged.len(), aws.calls()["DescribeAutoScalingGroups"]), (101, 2));
    let named = aws.groups(&names).await.expect("groups");
    assert_eq!((named.len(), aws.calls()["DescribeAutoScalingGroups"]), (101, 5));
}

/// What a test has made for itself, all of it named after the test.
struct Fleet {
    group: GroupName,
    target_group: TargetGroupArn,
    classic: String,
}

impl Moto {
    async fn aws(&self) -> Aws {
        let settings = Settings {
            region: Some(self.region.into()),
            endpoint: Some(self.url.clone()),
            keys: Some(Keys { id: "testing".into(), secret: "testing".into() }),
            backoff: std::time::Duration::from_millis(10),
            ..Settings::default()
        };
        Aws::connect(&settings).await.expect("a region is given")
    }

    async fn group(&self, aws: &Aws, fleet: &Fleet) -> bellrock::model::Group {
        aws.groups(std::slice::from_ref(&fleet.group)).await.expect("groups").pop().expect("the group is there")
    }

    /// Two instances in one group behind a target group and a classic load balancer.
    async fn fleet(&self, name: &str) -> Fleet {
        let name: &str = &unique(name);
        let arn = self.create_target_group(name).await;
        self.create_classic(name).await;
        let group = GroupName::new(format!("{name}-v001"));
        self.create_group(&group, 1, 2, 3, name, &[("TargetGroupARNs.member.1", &arn), ("LoadBalancerNames.member.1", name)]).await;
        let nightly =
            [("AutoScalingGroupName", group.as_str()), ("ScheduledActionName", name), ("MinSize", "1"), ("Recurrence", "0 3 * * *")];
        self.ask("autoscaling", "2011-01-01", "PutScheduledUpdateGroupAction", &nightly).await;
        Fleet { group, target_group: TargetGroupArn::new(arn), classic: name.to_owned() }
    }
}

/// What instance metadata says on this instance.
async fn metadata_of(id: &InstanceId) -> Identity {
    let document = serde_json::json!({
        "instanceId": id.as_str(), "region": "us-east-1", "availabilityZone": "us-east-1a", "accountId": "123456789012", "imageId": "ami-1"
    });
    let document = document.to_string();
    let service = Router::new()
        .route("/latest/api/token", put(async || ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], "token")))
        .route("/latest/dynamic/instance-identity/document", get(async move || document))
        .fallback(async || StatusCode::NOT_FOUND);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let imds = Imds::at(&format!("http://{}", listener.local_addr().expect("bound"))).expect("a URL");
    tokio::select! {
        ended = axum::serve(listener, service) => panic!("the metadata service ended: {ended:?}"),
        identity = imds.identity() => identity.expect("identity"),
    }
}
