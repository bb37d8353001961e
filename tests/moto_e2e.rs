//! Rollback and drain as processes against moto: the same wire, somebody else's idea of AWS. moto enforces no min size, boots at once and finds
//! every target healthy, so what counts here is what is left in the end, not what was waited for.
//!
//! `tests/run` starts moto and names it in `BELLROCK_MOTO`; without it these tests fail.

#[path = "moto/server.rs"]
mod server;

#[path = "fleet/process.rs"]
#[allow(dead_code, reason = "the engine's tests use the rest")]
mod process;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use axum::routing::put;
use bellrock::cloud::AutoScaling;
use bellrock::cloud::aws::Aws;
use bellrock::cloud::aws::Keys;
use bellrock::cloud::aws::Settings;
use bellrock::model::Group;
use bellrock::model::GroupName;
use bellrock::model::HOLD_TAG;
use bellrock::model::InstanceId;
use bellrock::model::Process;
use process::Agent;
use process::bellrock;
use process::until;
use serde_json::Value;
use serde_json::json;
use server::Moto;
use server::unique;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_rollback_of_two_clusters_leaves_moto_as_it_leaves_the_simulated_region() {
    let (moto, app) = (Moto::find("eu-west-1"), unique("shop"));
    let arn = moto.create_target_group(&app).await;
    let behind = [("TargetGroupARNs.member.1", arn.as_str())];
    let name = |rest: &str| GroupName::new(format!("{app}-{rest}"));
    let (old, new, old_poller, new_poller) = (name("main-v023"), name("main-v024"), name("polling-v023"), name("polling-v024"));
    moto.create_group(&old, 0, 1, 4, &app, &behind).await;
    moto.create_group(&old_poller, 0, 0, 1, &app, &[]).await;
    moto.create_group(&new, 2, 3, 4, &app, &behind).await;
    moto.create_group(&new_poller, 1, 1, 1, &app, &[]).await;
    let aws = connect(&moto).await;
    for disabled in [&old, &old_poller] {
        aws.suspend(disabled, &Process::DISABLING).await.expect("suspend");
    }

    let home = tempfile::tempdir().expect("a temporary directory");
    let front = in_front_of(&moto).await;
    let mut env = environment(&moto, &front.address);
    env.push(("XDG_STATE_HOME".into(), home.path().display().to_string()));
    let args = ["rollback", &app, "--yes", "--output", "json", "--settle", "1s", "--timeout", "2m"];
    let ended = bellrock(&args, &env).output().await.expect("runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    assert_eq!((ended.status.code(), &report["outcome"]), (Some(0), &json!("done")), "{report:#}\n{said}");

    for (name, count) in [(&old, 3), (&old_poller, 1)] {
        let group = read(&aws, name).await;
        assert_eq!((group.capacity.desired, group.healthy_in_service()), (count, count as usize), "{group:?}");
        assert!(group.suspended.is_empty() && !group.tags.contains_key(HOLD_TAG), "{group:?}");
    }
    for name in [&new, &new_poller] {
        let group = read(&aws, name).await;
        assert_eq!((group.capacity.to_string().as_str(), group.instances.len()), ("0/0/0", 0), "{group:?}");
        assert!(!group.tags.contains_key(HOLD_TAG), "{group:?}");
    }
}

#[tokio::test]
async fn a_superseded_instance_takes_itself_out_of_its_group_in_moto_although_its_agent_is_killed() {
    let (moto, app) = (Moto::find("eu-central-1"), unique("drain"));
    let (old, new) = (GroupName::new(format!("{app}-main-v023")), GroupName::new(format!("{app}-main-v024")));
    moto.create_group(&old, 2, 2, 4, &app, &[]).await;
    moto.create_group(&new, 2, 2, 4, &app, &[]).await;
    let aws = connect(&moto).await;
    let us = read(&aws, &old).await.instances[0].id.clone();
    let (around, open) = around(&us, moto.region).await;

    let dir = tempfile::tempdir().expect("a temporary directory");
    let orchestrator = format!(
        "[orchestrator]\nkind = \"endpoint\"\nurl = \"{}\"\n[orchestrator.activity]\nevery = \"1s\"\nevery_idle = \"1s\"\nsample_max_age = \"1s\"\n\
         [orchestrator.activity.active_by_instance]\nrefreshed = \"1s\"\n",
        around.address
    );
    let env = environment(&moto, &moto.url);
    let mut env: Vec<(&str, String)> = env.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
    env.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT", around.address.clone()));
    let mut agent = Agent::start(us.as_str(), dir.path(), &orchestrator, &env);
    until("the agent to be ready", SOON, async || agent.status().await.filter(|s| s["ready"] == true)).await;
    aws.suspend(&old, &Process::DISABLING).await.expect("suspend");
    let waiting = until("the drain to begin", SOON, async || agent.phase().await.filter(|p| p == "confirming_idle")).await;
    println!("killed in {}", agent.kill(&waiting).await);
    agent.restart();
    until("the instance to be gone", SOON, async || {
        assert!(!agent.has_ended(), "the agent of {} ended:\n{}", agent.id, agent.tail());
        agent.phase().await.filter(|p| p == "gone")
    })
    .await;

    assert!(!open.load(Ordering::SeqCst), "intake was closed");
    let left = read(&aws, &old).await;
    assert_eq!(left.capacity.to_string(), "1/1/4");
    assert!(left.instance(&us).is_none() && left.instances.len() == 1);
    assert_eq!(read(&aws, &new).await.capacity.to_string(), "2/2/4");
    assert_eq!((agent.deeds("terminate"), agent.deeds("lower")), (1, 1), "{:#?}", agent.audit());
}

fn environment(moto: &Moto, endpoint: &str) -> Vec<(String, String)> {
    let env = [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", moto.region),
        ("AWS_ACCESS_KEY_ID", "testing"),
        ("AWS_SECRET_ACCESS_KEY", "testing"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ];
    env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

async fn connect(moto: &Moto) -> Aws {
    let keys = Some(Keys { id: "testing".into(), secret: "testing".into() });
    let settings = Settings { region: Some(moto.region.into()), endpoint: Some(moto.url.clone()), keys, ..Settings::default() };
    Aws::connect(&settings).await.expect("a region is given")
}

async fn read(aws: &Aws, name: &GroupName) -> Group {
    aws.groups(std::slice::from_ref(name)).await.expect("groups").pop().expect("the group is there")
}

/// An HTTP service of the test's own on a free port, for as long as it is held.
struct Service {
    address: String,
    _serving: JoinSet<std::io::Result<()>>,
}

async fn serve(routes: Router) -> Service {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, routes).await });
    Service { address, _serving: serving }
}

/// What is around the agent on an instance: its metadata, and an idle orchestrator with a switch, which is answered too.
async fn around(us: &InstanceId, region: &str) -> (Service, Arc<AtomicBool>) {
    let zone = format!("{region}a");
    let document = json!({"instanceId": us, "region": region, "availabilityZone": zone, "accountId": "123456789012", "imageId": "ami-1"});
    let active = json!({ us.as_str(): {"overdue": false, "count": 0, "executions": []} });
    let open = Arc::new(AtomicBool::new(true));
    let (reads, writes) = (open.clone(), open.clone());
    let switch = get(async move || Json(json!({"enabled": reads.load(Ordering::SeqCst)})));
    let routes = Router::new()
        .route("/latest/api/token", put(async || ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], "token")))
        .route("/latest/dynamic/instance-identity/document", get(async move || document.to_string()))
        .route("/executions/activeByInstance", get(async move || Json(active)))
        .route(
            "/admin/instance/enabled",
            switch.post(async move |Json(order): Json<Value>| {
                writes.store(order["enabled"] == true, Ordering::SeqCst);
                Json(json!({}))
            }),
        )
        .fallback(async || StatusCode::NOT_FOUND);
    (serve(routes).await, open)
}

/// moto answers HTML to `DescribeInstanceRefreshes`, which it does not know; a rollback rightly goes nowhere while it cannot tell whether a
/// refresh runs. This answers it as an account without any does, and hands everything else on.
async fn in_front_of(moto: &Moto) -> Service {
    let (url, http) = (moto.url.clone(), process::client());
    let none = "<DescribeInstanceRefreshesResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\">\
        <DescribeInstanceRefreshesResult><InstanceRefreshes/></DescribeInstanceRefreshesResult>\
        <ResponseMetadata><RequestId>0</RequestId></ResponseMetadata></DescribeInstanceRefreshesResponse>";
    serve(Router::new().fallback(async move |headers: HeaderMap, form: String| {
        if form.contains("Action=DescribeInstanceRefreshes") {
            return (StatusCode::OK, none.to_owned());
        }
        let mut request = http.post(&url).body(form);
        for name in [AUTHORIZATION, CONTENT_TYPE] {
            request = request.header(&name, headers.get(&name).expect("a signed form"));
        }
        let answer = request.send().await.expect("moto answers");
        (answer.status(), answer.text().await.expect("a body"))
    }))
    .await
}
