//! The SDK's whole path against a server that answers, hangs or hangs up by script, on a real socket.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::*;
use crate::cloud::AutoScaling;
use crate::cloud::Compute;
use crate::cloud::GroupFilter;
use crate::cloud::LoadBalancing;
use crate::cloud::Metadata;
use crate::cloud::OwnInstance;
use crate::cloud::Resize;
use crate::model::GroupName;
use crate::model::HookResult;
use crate::model::InstanceId;
use crate::model::LifecycleState;
use crate::model::Notices;
use crate::model::TargetGroupArn;

/// What the server does with one request.
#[derive(Clone)]
enum Reply {
    Answer(u16, String),
    /// Reads the request and never answers.
    Hang,
    /// Reads the request and closes the connection.
    HangUp,
    /// Promises a longer body than it sends, then closes.
    CutOff,
}

/// Answers the nth request with the nth reply, over connections that are kept; afterwards with 418, which nothing repeats.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let script = Arc::new(Mutex::new(script.into_iter().collect::<VecDeque<_>>()));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let seen = Arc::clone(&requests);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&script), Arc::clone(&seen)));
            }
        });
        Self { address, requests, _tasks: tasks }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn count(&self, action: &str) -> usize {
        self.requests().iter().filter(|request| request.contains(&format!("Action={action}&"))).count()
    }

    async fn aws(&self) -> Aws {
        self.aws_with(Settings::default()).await
    }

    async fn aws_with(&self, settings: Settings) -> Aws {
        let keys = Keys { id: "AKIDEXAMPLE".into(), secret: "secret".into() };
        let settings = Settings {
            region: Some("eu-west-1".into()),
            endpoint: Some(self.address.clone()),
            keys: Some(keys),
            backoff: Duration::from_millis(1),
            ..settings
        };
        Aws::connect(&settings).await.expect("a region is given")
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Mutex<VecDeque<Reply>>>, seen: Arc<Mutex<Vec<String>>>) {
    while let Some(request) = read(&mut stream).await {
        seen.lock().unwrap().push(request);
        let reply = script.lock().unwrap().pop_front().unwrap_or(Reply::Answer(418, String::new()));
        let (head, body) = match reply {
            Reply::Answer(status, body) => {
                let extra =
                    "date: Thu, 01 Jan 1970 00:00:00 GMT\r\nx-amzn-requestid: r-2\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\n";
                (format!("HTTP/1.1 {status} Scripted\r\n{extra}content-length: {}\r\n\r\n", body.len()), body)
            }
            Reply::Hang => return std::future::pending().await,
            Reply::HangUp => return,
            Reply::CutOff => ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\n".to_owned(), "<Cut".to_owned()),
        };
        let cut = head.contains("close");
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() || cut {
            return;
        }
    }
}

/// One request, head and body; `None` when the client closed.
async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text.into_owned());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn groups_page(names: &[&str], token: Option<&str>) -> Reply {
    let members: String = names
        .iter()
        .map(|name| {
            format!(
                "<member><AutoScalingGroupName>{name}</AutoScalingGroupName><CreatedTime>2026-01-02T03:04:05.678Z</CreatedTime>\
                 <MinSize>1</MinSize><MaxSize>3</MaxSize><DesiredCapacity>2</DesiredCapacity><HealthCheckType>EC2</HealthCheckType></member>"
            )
        })
        .collect();
    let token = token.map(|token| format!("<NextToken>{token}</NextToken>")).unwrap_or_default();
    answer("DescribeAutoScalingGroups", &format!("<AutoScalingGroups>{members}</AutoScalingGroups>{token}"))
}

fn answer(action: &str, result: &str) -> Reply {
    Reply::Answer(200, format!("<{action}Response><{action}Result>{result}</{action}Result></{action}Response>"))
}

fn refusal(status: u16, code: &str, message: &str) -> Reply {
    let error = format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>");
    Reply::Answer(status, format!("<ErrorResponse>{error}</ErrorResponse>"))
}

fn html(status: u16) -> Reply {
    Reply::Answer(status, "<html><body>Internal Server Error</body></html>".to_owned())
}

fn terminated() -> Reply {
    let activity = "<Activity><ActivityId>a-1</ActivityId><AutoScalingGroupName>g</AutoScalingGroupName><Cause>c</Cause>\
        <StartTime>2026-01-02T03:04:05Z</StartTime><StatusCode>InProgress</StatusCode><Progress>0</Progress></Activity>";
    answer(TERMINATE, activity)
}

/// An address where nobody listens.
async fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    format!("http://{}", listener.local_addr().expect("bound"))
}

fn own() -> OwnInstance {
    OwnInstance(InstanceId::new("i-0123456789abcdef0"))
}

const TERMINATE: &str = "TerminateInstanceInAutoScalingGroup";
const DESCRIBE: &str = "DescribeAutoScalingGroups";

#[tokio::test]
async fn a_terminate_whose_answer_is_lost_is_sent_once_and_its_outcome_is_unknown() {
    for lost in [Reply::HangUp, Reply::Hang, Reply::CutOff, html(500), refusal(503, "ServiceUnavailable", "")] {
        // The first call leaves a connection in the pool: a client may be tempted to repeat on a fresh one.
        let server = Server::start([groups_page(&[], None), lost]).await;
        let aws = server.aws_with(Settings { attempt_timeout: Duration::from_millis(300), ..Settings::default() }).await;
        aws.find_groups(&GroupFilter::All).await.expect("warm-up");
        let error = aws.terminate_own(&own(), true).await.expect_err("the answer is lost");
        assert!(error.outcome_unknown(), "{error}");
        assert_eq!(server.count(TERMINATE), 1, "{error}");
        assert_eq!(aws.calls()[TERMINATE], 1);
    }
}

#[tokio::test]
async fn a_terminate_that_aws_turns_down_for_now_is_not_repeated_here_either() {
    for reply in [refusal(400, "Throttling", "Rate exceeded"), refusal(500, "ResourceContention", "contended")] {
        let server = Server::start([reply]).await;
        let error = server.aws().await.terminate_own(&own(), true).await.expect_err("turned down");
        assert!(error.is_retryable() && !error.outcome_unknown(), "{error}");
        assert_eq!(server.count(TERMINATE), 1);
    }
}

#[tokio::test]
async fn a_terminate_names_the_own_instance_and_the_decrement() {
    let server = Server::start([terminated()]).await;
    let activity = server.aws().await.terminate_own(&own(), true).await.expect("accepted");
    assert_eq!((activity.id.as_str(), activity.status), ("a-1", crate::cloud::ActivityStatus::Underway));
    let request = &server.requests()[0];
    assert!(request.contains("app/bellrock"), "CloudTrail is to show who asked: {request}");
    assert!(request.contains("InstanceId=i-0123456789abcdef0") && request.contains("ShouldDecrementDesiredCapacity=true"), "{request}");
}

#[tokio::test]
async fn a_terminate_does_not_wait_in_line_behind_reads() {
    let server = Server::start([Reply::Hang, terminated()]).await;
    let aws = server.aws_with(Settings { in_flight: 1, ..Settings::default() }).await;
    let group = GroupName::new("g");
    let read = aws.activities(&group, 1);
    let terminate = async {
        while server.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        aws.terminate_own(&own(), true).await
    };
    tokio::select! {
        read = read => panic!("the read hangs: {read:?}"),
        answer = terminate => assert_eq!(answer.expect("accepted").id, "a-1"),
    }
}

#[tokio::test]
async fn an_instance_is_looked_for_beyond_an_empty_page() {
    const ACTION: &str = "DescribeAutoScalingInstances";
    let ours = "<AutoScalingInstances><member><InstanceId>i-1</InstanceId><AutoScalingGroupName>g</AutoScalingGroupName>\
        <LifecycleState>InService</LifecycleState><HealthStatus>HEALTHY</HealthStatus></member></AutoScalingInstances>";
    let empty = answer(ACTION, "<AutoScalingInstances/><NextToken>t</NextToken>");
    let server = Server::start([empty, answer(ACTION, ours)]).await;
    let instance = server.aws().await.instance(&InstanceId::new("i-1")).await.expect("two pages");
    assert_eq!(instance.expect("found").group, GroupName::new("g"));
}

#[tokio::test]
async fn reads_are_repeated_on_contention_on_html_on_throttling_and_each_attempt_is_counted() {
    let script = [refusal(500, "ResourceContention", ""), html(500), refusal(400, "Throttling", ""), groups_page(&["app-v001"], None)];
    let server = Server::start(script).await;
    let aws = server.aws().await;
    let groups = aws.groups(&[GroupName::new("app-v001")]).await.expect("the fourth attempt succeeds");
    assert_eq!(groups[0].created.to_string(), "2026-01-02T03:04:05.678Z");
    assert_eq!(aws.calls()[DESCRIBE], 4);
    let (calls, throttles) = (aws.traffic.calls.counts(), aws.traffic.throttles.counts());
    assert_eq!((calls, throttles), (BTreeMap::from([((DESCRIBE, "ok"), 1)]), BTreeMap::from([(DESCRIBE.to_owned(), 1)])));
}

#[tokio::test]
async fn absolute_writes_are_repeated_when_the_connection_breaks() {
    let server = Server::start([Reply::HangUp, answer("UpdateAutoScalingGroup", "")]).await;
    let change = Resize { min: Some(0), ..Resize::default() };
    server.aws().await.resize(&GroupName::new("g"), change).await.expect("the second attempt succeeds");
    assert_eq!(server.count("UpdateAutoScalingGroup"), 2);
}

#[tokio::test]
async fn a_lower_min_is_sent_once_so_that_it_cannot_land_after_a_siblings_end() {
    let server = Server::start([Reply::HangUp, answer("UpdateAutoScalingGroup", "")]).await;
    let error = server.aws().await.lower_min(&GroupName::new("g"), 2).await.expect_err("nobody knows");
    assert!(error.outcome_unknown(), "{error}");
    assert_eq!(server.count("UpdateAutoScalingGroup"), 1);
    let request = &server.requests()[0];
    assert!(request.contains("MinSize=2") && !request.contains("DesiredCapacity") && !request.contains("MaxSize"), "{request}");
}

#[tokio::test]
async fn what_time_it_is_for_aws_is_known_from_its_newest_answer_even_a_refusal() {
    let server = Server::start([Reply::Answer(403, String::new())]).await;
    let aws = server.aws().await;
    assert_eq!(aws.clock_ahead_ms(), None);
    aws.find_groups(&GroupFilter::All).await.expect_err("it is refused");
    let ahead = aws.clock_ahead_ms().expect("it has a date");
    assert!(ahead < -50 * 365 * 86_400_000, "{ahead} ms, and the server lives in 1970");
}

#[tokio::test]
async fn a_silent_server_costs_no_more_than_the_attempts_allowed() {
    let server = Server::start(vec![Reply::Hang; 10]).await;
    let aws = server.aws_with(Settings { attempt_timeout: Duration::from_millis(50), ..Settings::default() }).await;
    let error = aws.find_groups(&GroupFilter::All).await.expect_err("nobody answers");
    assert_eq!((error.kind, error.code.as_str()), (Kind::TimedOut, "Timeout"), "{error}");
    assert_eq!(aws.calls()[DESCRIBE], u64::from(ATTEMPTS));
}

#[tokio::test]
async fn the_bound_of_the_call_ends_it_before_its_attempts_are_used_up() {
    let server = Server::start(vec![Reply::Hang; 10]).await;
    let short = Settings { attempt_timeout: Duration::from_secs(60), call_timeout: Duration::from_millis(100), ..Settings::default() };
    let aws = server.aws_with(short).await;
    let error = aws.find_groups(&GroupFilter::All).await.expect_err("nobody answers");
    assert_eq!(error.kind, Kind::TimedOut, "{error}");
    assert_eq!(aws.calls()[DESCRIBE], 1);
}

#[tokio::test]
async fn a_list_is_followed_by_its_token_through_empty_pages() {
    let pages = [groups_page(&["a-v001"], Some("t1")), groups_page(&[], Some("t2")), groups_page(&["a-v002"], None)];
    let server = Server::start(pages).await;
    let groups = server.aws().await.find_groups(&GroupFilter::Tag { key: "k".into(), value: "v".into() }).await.expect("three pages");
    assert_eq!(groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["a-v001", "a-v002"]);
    let requests = server.requests();
    assert!(requests.iter().all(|request| request.contains("Filters.member.1.Name=tag%3Ak")), "{}", requests[0]);
    assert!(requests[2].contains("NextToken=t2"));
}

#[tokio::test]
async fn a_list_that_never_ends_is_given_up() {
    let server = Server::start(vec![groups_page(&[], Some("again")); 300]).await;
    let error = server.aws().await.find_groups(&GroupFilter::All).await.expect_err("the token goes in circles");
    assert_eq!(error.kind, Kind::Bug);
    assert_eq!(server.requests().len(), 200);
}

#[tokio::test]
async fn names_are_asked_for_fifty_to_a_call_and_arns_twenty() {
    let names: Vec<GroupName> = (0..120).map(|n| GroupName::new(format!("g{n}"))).collect();
    let server = Server::start(vec![groups_page(&[], None); 3]).await;
    server.aws().await.groups(&names).await.expect("three calls");
    let mut sizes: Vec<usize> = server.requests().iter().map(|request| request.matches("AutoScalingGroupNames.member").count()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [20, 50, 50]);

    let arns: Vec<TargetGroupArn> = (0..21).map(|n| TargetGroupArn::new(format!("arn{n}"))).collect();
    let server = Server::start(vec![answer("DescribeTargetGroups", "<TargetGroups/>"); 2]).await;
    server.aws().await.target_groups(&arns).await.expect("two calls");
    assert_eq!(server.count("DescribeTargetGroups"), 2);
}

#[tokio::test]
async fn members_are_protected_fifty_to_a_call() {
    let server = Server::start(vec![answer("SetInstanceProtection", ""); 3]).await;
    let members: Vec<InstanceId> = (0..120).map(|n| InstanceId::new(format!("i-{n}"))).collect();
    server.aws().await.protect(&GroupName::new("g"), &members, true).await.expect("three calls");
    let sizes: Vec<usize> = server.requests().iter().map(|request| request.matches("InstanceIds.member").count()).collect();
    assert_eq!(sizes, [50, 50, 20]);
    assert!(server.requests().iter().all(|request| request.contains("ProtectedFromScaleIn=true")), "{:?}", server.requests());
}

#[tokio::test]
async fn an_empty_list_makes_no_call() {
    let server = Server::start([]).await;
    let (aws, group, arn) = (server.aws().await, GroupName::new("g"), TargetGroupArn::new("arn"));
    aws.groups(&[]).await.expect("groups");
    aws.suspend(&group, &[]).await.expect("suspend");
    aws.resume(&group, &[]).await.expect("resume");
    aws.protect(&group, &[], true).await.expect("protect");
    aws.enter_standby(&group, &[]).await.expect("enter_standby");
    aws.put_tags(&group, &[]).await.expect("put_tags");
    aws.delete_tags(&group, &[]).await.expect("delete_tags");
    aws.resize(&group, Resize::default()).await.expect("resize");
    aws.target_groups(&[]).await.expect("target_groups");
    aws.register_targets(&arn, &[]).await.expect("register_targets");
    aws.deregister_targets(&arn, &[]).await.expect("deregister_targets");
    aws.register_classic("lb", &[]).await.expect("register_classic");
    aws.deregister_classic("lb", &[]).await.expect("deregister_classic");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn failures_keep_aws_own_words_and_say_what_can_be_done() {
    let rows = [
        (refusal(400, "ValidationError", "min > max"), Kind::Refused, "ValidationError", "min > max"),
        (refusal(403, "AccessDenied", "not you"), Kind::Denied, "AccessDenied", "not you"),
        (Reply::Answer(200, "{\"not\": \"xml\"}".to_owned()), Kind::Bug, "SerializationError", ""),
        (html(404), Kind::Gone, "Http404", "not AWS's error document: <html><body>Internal Server Error</body></html>"),
    ];
    for (reply, kind, code, message) in rows {
        let error = Server::start([reply]).await.aws().await.find_groups(&GroupFilter::All).await.expect_err("an error");
        assert_eq!((error.kind, error.code.as_str()), (kind, code), "{error}");
        assert!(error.message.contains(message), "{error}");
        assert!(code.starts_with("Http") || kind == Kind::Bug || error.request_id.as_deref() == Some("r-2"), "{error:?}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    let server = Server::start(vec![Reply::CutOff; 4]).await;
    let error = server.aws().await.find_groups(&GroupFilter::All).await.expect_err("half an answer");
    assert_eq!((error.kind, error.code.as_str()), (Kind::TimedOut, "ConnectionReset"), "{error}");
}

#[tokio::test]
async fn a_closed_port_is_told_from_a_lost_answer() {
    let server = Server { address: closed_port().await, requests: Arc::default(), _tasks: JoinSet::new() };
    let error = server.aws().await.find_groups(&GroupFilter::All).await.expect_err("nobody listens");
    assert_eq!((error.kind, error.code.as_str()), (Kind::Unavailable, "ConnectionRefused"), "{error}");
}

#[tokio::test]
async fn metadata_is_read_with_a_token_and_an_absent_target_state_is_none() {
    let document = r#"{"instanceId":"i-1","region":"eu-west-1","availabilityZone":"eu-west-1a","accountId":"123456789012","imageId":"ami-1","pendingTime":"x"}"#;
    let [token, document] = ["token", document].map(|body| Reply::Answer(200, body.to_owned()));
    let server = Server::start([token, document, html(404), Reply::Answer(200, "Terminated".to_owned())]).await;
    let imds = Imds::at(&server.address).unwrap();
    let identity = imds.identity().await.expect("the document");
    assert_eq!((identity.own.id().as_str(), identity.zone.as_str(), identity.image.as_str()), ("i-1", "eu-west-1a", "ami-1"));
    assert_eq!(imds.target_state().await, Ok(None));
    assert_eq!(imds.target_state().await, Ok(Some(LifecycleState::Terminated)));
    let requests = server.requests();
    assert!(requests[0].starts_with("PUT /latest/api/token"));
    assert!(requests[1..].iter().all(|request| request.contains("x-aws-ec2-metadata-token: token")));
}

#[tokio::test]
async fn notices_are_read_where_they_stand_and_an_absent_path_says_nothing() {
    const SPOT: &str = r#"{"action": "terminate", "time": "2026-11-28T12:02:00Z"}"#;
    const REBALANCE: &str = r#"{"noticeTime": "2026-11-28T12:00:00Z"}"#;
    const EVENTS: &str = r#"[{"NotBefore": "21 Jan 2027 09:00:43 GMT", "Code": "system-reboot", "Description": "x", "EventId": "instance-event-1",
        "NotAfter": "21 Jan 2027 09:17:23 GMT", "State": "active"}, {"Code": "instance-stop", "EventId": "instance-event-0", "State": "completed"}]"#;
    let read = async |answers: [Reply; 3]| {
        let server = Server::start(std::iter::once(Reply::Answer(200, "token".to_owned())).chain(answers)).await;
        Imds::at(&server.address).unwrap().notices().await
    };
    assert_eq!(read([html(404), html(404), html(404)]).await, Ok(Notices::default()));
    let error = read([html(404), html(503), html(404)]).await.expect_err("nobody knows");
    assert_ne!(error.kind, Kind::Bug, "{error}");
    let noticed = super::imds::notices(Some(SPOT), Some(REBALANCE), Some(EVENTS)).unwrap();
    assert_eq!(noticed.interruption.map(|n| (n.action, n.at.to_string())), Some(("terminate".into(), "2026-11-28T12:02:00.000Z".into())));
    assert!(noticed.rebalance.is_some());
    let events: Vec<(&str, &str)> = noticed.maintenance.iter().map(|m| (m.id.as_str(), m.not_before.as_str())).collect();
    assert_eq!(events, [("instance-event-1", "21 Jan 2027 09:00:43 GMT")]);
    for (interruption, rebalance, maintenance) in [
        (Some("soon"), None, None),
        (Some(r#"{"action":"stop","time":"soon"}"#), None, None),
        (None, Some("{}"), None),
        (None, None, Some("{}")),
    ] {
        assert!(super::imds::notices(interruption, rebalance, maintenance).is_err(), "{interruption:?} {rebalance:?} {maintenance:?}");
    }
}

#[test]
fn an_interruption_is_heard_whatever_became_of_the_other_documents() {
    let spot = || Ok(Some(r#"{"action": "stop", "time": "2026-11-28T12:02:00Z"}"#.to_owned()));
    let failed = || Err(super::call::nonsense("GetNotices", "503".to_owned()));
    let senseless = || Ok(Some("soon".to_owned()));
    let heard = super::imds::heard;
    for (rebalance, maintenance) in [(failed(), Ok(None)), (Ok(None), failed()), (senseless(), senseless())] {
        let noticed = heard(spot(), rebalance, maintenance).expect("the interruption is readable");
        assert_eq!(noticed.interruption.map(|notice| notice.action).as_deref(), Some("stop"));
    }
    for (interruption, rebalance, maintenance) in
        [(failed(), Ok(None), Ok(None)), (Ok(None), failed(), Ok(None)), (Ok(None), Ok(None), senseless())]
    {
        assert!(heard(interruption, rebalance, maintenance).is_err());
    }
}

#[tokio::test]
async fn a_hook_is_answered_by_its_name_and_our_own_id_alone() {
    let shown = "<DescribeLifecycleHooksResponse><DescribeLifecycleHooksResult><LifecycleHooks><member>\
        <LifecycleHookName>drain</LifecycleHookName><HeartbeatTimeout>300</HeartbeatTimeout><GlobalTimeout>30000</GlobalTimeout>\
        </member></LifecycleHooks></DescribeLifecycleHooksResult></DescribeLifecycleHooksResponse>";
    let none = "<DescribeLifecycleHooksResponse><DescribeLifecycleHooksResult><LifecycleHooks/></DescribeLifecycleHooksResult></DescribeLifecycleHooksResponse>";
    let done = |action: &str| Reply::Answer(200, format!("<{action}Response><{action}Result/></{action}Response>"));
    let script = [
        Reply::Answer(200, shown.to_owned()),
        Reply::Answer(200, none.to_owned()),
        done("RecordLifecycleActionHeartbeat"),
        done("CompleteLifecycleAction"),
    ];
    let server = Server::start(script).await;
    let (aws, group, own) = (server.aws().await, GroupName::from("g"), OwnInstance::in_test("i-own"));
    let hook = aws.hook(&group, "drain").await.unwrap().unwrap();
    assert_eq!((hook.heartbeat, hook.limit), (Duration::from_secs(300), Duration::from_secs(30_000)));
    assert_eq!(aws.hook(&group, "other").await, Ok(None));
    aws.heartbeat(&group, "drain", &own).await.unwrap();
    aws.complete(&group, "drain", &own, HookResult::Continue).await.unwrap();
    let requests = server.requests();
    for request in &requests[2..] {
        let field = |field: &str| request.contains(field);
        assert!(field("LifecycleHookName=drain") && field("InstanceId=i-own") && field("AutoScalingGroupName=g"), "{request}");
    }
    assert!(requests[3].contains("LifecycleActionResult=CONTINUE"));
}

#[tokio::test]
async fn metadata_without_a_token_is_refused_and_version_one_is_never_tried() {
    let server = Server::start(vec![html(403); 4]).await;
    let error = Imds::at(&server.address).unwrap().identity().await.expect_err("switched off");
    assert_eq!((error.kind, error.code.as_str()), (Kind::Denied, "NoMetadata"), "{error}");
    assert!(server.requests().iter().all(|request| request.starts_with("PUT ")));
    let error = Imds::at(&closed_port().await).unwrap().target_state().await.expect_err("nobody listens");
    assert_eq!((error.kind, error.code.as_str()), (Kind::Unavailable, "NoMetadata"), "{error}");
}

#[tokio::test]
async fn metadata_that_says_nothing_is_given_up() {
    let server = Server::start(vec![Reply::Hang; 9]).await;
    let error = Imds::at(&server.address).unwrap().target_state().await.expect_err("nobody answers");
    assert_eq!((error.kind, error.code.as_str()), (Kind::Unavailable, "NoMetadata"), "{error}");
}

#[tokio::test]
async fn a_document_that_names_no_instance_is_not_taken_for_an_identity() {
    let server = Server::start(["token", "{}"].map(|body| Reply::Answer(200, body.to_owned()))).await;
    let error = Imds::at(&server.address).unwrap().identity().await.expect_err("nothing in it");
    assert_eq!(error.kind, Kind::Bug, "{error}");
}

#[test]
fn an_address_of_metadata_that_is_none_is_refused() {
    assert_eq!(Imds::at("not an address").expect_err("no URL").kind, Kind::Refused);
}

#[test]
fn keys_are_not_shown() {
    let shown = format!("{:?}", Keys { id: "AKID".into(), secret: "hidden".into() });
    assert!(shown.contains("AKID") && !shown.contains("hidden"));
}

fn images(ids: &[&str]) -> Reply {
    let items: String = ids.iter().map(|id| format!("<item><imageId>{id}</imageId><imageState>available</imageState></item>")).collect();
    Reply::Answer(200, format!("<DescribeImagesResponse><imagesSet>{items}</imagesSet></DescribeImagesResponse>"))
}

fn ec2_refusal(status: u16, code: &str) -> Reply {
    let error = format!("<Errors><Error><Code>{code}</Code><Message>words</Message></Error></Errors>");
    Reply::Answer(status, format!("<Response>{error}<RequestID>r</RequestID></Response>"))
}

#[tokio::test]
async fn a_hand_written_read_is_signed_counted_and_repeated_as_the_sdks_are() {
    let ids = ["ami-1".to_owned()];
    for trouble in [ec2_refusal(503, "RequestLimitExceeded"), html(500), Reply::HangUp, Reply::Hang, Reply::CutOff] {
        let server = Server::start([trouble, images(&["ami-1"])]).await;
        let aws = server.aws_with(Settings { attempt_timeout: Duration::from_millis(300), ..Settings::default() }).await;
        assert_eq!(aws.images(&ids).await.expect("the second try")[0].id, "ami-1");
        assert_eq!((server.count("DescribeImages"), aws.calls()["DescribeImages"]), (2, 2));
        let request = &server.requests()[1];
        assert!(request.contains("/eu-west-1/ec2/aws4_request") && request.contains("Version=2016-11-15&ImageId.1=ami-1"), "{request}");
        assert!(request.contains("app/bellrock"), "{request}");
    }
}

#[tokio::test]
async fn a_hand_written_read_that_fails_says_what_can_be_done() {
    let table = [
        (ec2_refusal(400, "InvalidAMIID.NotFound"), Kind::Gone, 1),
        (ec2_refusal(403, "UnauthorizedOperation"), Kind::Denied, 1),
        (ec2_refusal(401, "AuthFailure"), Kind::Denied, 1),
        (ec2_refusal(400, "InvalidParameterValue"), Kind::Refused, 1),
        (images(&["ami-2"]), Kind::Bug, 1),
        (Reply::Answer(200, "<html/>".to_owned()), Kind::Bug, 1),
        (html(500), Kind::Unavailable, 4),
        (ec2_refusal(503, "RequestLimitExceeded"), Kind::Throttled, 4),
    ];
    for (reply, kind, sent) in table {
        let server = Server::start(vec![reply; 4]).await;
        let error = server.aws().await.images(&["ami-1".to_owned()]).await.expect_err("it fails");
        assert_eq!((error.kind, server.count("DescribeImages")), (kind, sent), "{error}");
    }
}

#[tokio::test]
async fn a_quota_is_asked_for_in_json_and_an_odd_one_is_not_believed() {
    let quota = |value: &str| Reply::Answer(200, format!("{{\"Quota\":{{\"Value\":{value}}}}}"));
    let server = Server::start([
        quota("1920.0"),
        quota("-1"),
        quota("\"much\""),
        Reply::Answer(400, r#"{"__type":"NoSuchResourceException"}"#.into()),
    ])
    .await;
    let aws = server.aws().await;
    assert_eq!(aws.vcpu_quota().await, Ok(1920));
    assert!(server.requests()[0].to_ascii_lowercase().contains("x-amz-target: servicequotasv20190624.getservicequota"));
    for _ in 0..2 {
        assert_eq!(aws.vcpu_quota().await.expect_err("no number").kind, Kind::Bug);
    }
    assert_eq!(aws.vcpu_quota().await.expect_err("refused").code, "NoSuchResourceException");
}
