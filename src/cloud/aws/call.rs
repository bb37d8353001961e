//! What every call shares: a place in line, a bound in time, the count, the failure in our words, pages.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_autoscaling::config::ConfigBag;
use aws_sdk_autoscaling::error::ProvideErrorMetadata;
use aws_sdk_autoscaling::error::SdkError;
use aws_sdk_autoscaling::operation::RequestId;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::cloud::Error;
use crate::cloud::Kind;
use crate::cloud::NO_CREDENTIALS_NOW;
use crate::cloud::Result;
use crate::model::Tally;

/// Pages of one list. At 100 a page that is twenty times the largest quota of groups AWS grants; past it the token goes in circles.
const MAX_PAGES: usize = 200;

/// Outcomes of a call beside [`Kind::word`].
const OK: &str = "ok";
const CROWDED: &str = "crowded";

/// Bytes of a strange answer that are shown to people.
const EXCERPT: usize = 120;

/// The in-flight limit of the process, and where its calls are counted.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    places: Arc<Semaphore>,
    bound: Duration,
    traffic: Traffic,
}

impl Gate {
    pub(super) fn new(in_flight: usize, bound: Duration, traffic: Traffic) -> Self {
        Self { places: Arc::new(Semaphore::new(in_flight.max(1))), bound, traffic }
    }

    /// Waits for a place, then for the answer. The first wait is bounded here.
    pub(super) async fn pass<T, E>(
        &self,
        action: &'static str,
        call: impl Future<Output = std::result::Result<T, SdkError<E>>>,
    ) -> Result<T>
    where
        E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let Ok(Ok(_place)) = timeout(self.bound, self.places.acquire()).await else {
            self.traffic.calls.add((action, CROWDED));
            return Err(crowded(action));
        };
        self.answered(action, call).await
    }

    /// The answer, or the failure in our words, without a place in line. The SDK's operation timeout bounds it.
    pub(super) async fn answered<T, E>(
        &self,
        action: &'static str,
        call: impl Future<Output = std::result::Result<T, SdkError<E>>>,
    ) -> Result<T>
    where
        E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let answer = call.await.map_err(|error| failure(action, error));
        self.traffic.calls.add((action, answer.as_ref().map_or_else(|error| error.kind.word(), |_| OK)));
        answer
    }
}

/// Nothing was sent, so the outcome is known: that is the difference from a timeout.
fn crowded(action: &'static str) -> Error {
    Error {
        kind: Kind::Throttled,
        action,
        code: "NoPlaceInLine".to_owned(),
        message: "this process has too many calls under way; nothing was sent".to_owned(),
        request_id: None,
    }
}

/// Follows a list to its end, by its token alone; at least `enough` items end it early.
pub(super) async fn pages<T, F>(action: &'static str, enough: usize, mut page: impl FnMut(Option<String>) -> F) -> Result<Vec<T>>
where
    F: Future<Output = Result<(Vec<T>, Option<String>)>>,
{
    let mut all = Vec::new();
    let mut token = None;
    for _ in 0..MAX_PAGES {
        let (items, next) = page(token).await?;
        all.extend(items);
        token = next.filter(|token| !token.is_empty());
        if token.is_none() || all.len() >= enough {
            all.truncate(enough);
            return Ok(all);
        }
    }
    Err(nonsense(action, format!("the list does not end after {MAX_PAGES} pages")))
}

/// An answer that makes no sense.
pub(super) fn nonsense(action: &'static str, message: impl Into<String>) -> Error {
    Error { kind: Kind::Bug, action, code: "SerializationError".to_owned(), message: message.into(), request_id: None }
}

/// The SDK's failure in our words.
fn failure<E>(action: &'static str, error: SdkError<E>) -> Error
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    let local = |code: &str, status: u16, message: String| Error::classify(action, code, status, &message, None);
    match &error {
        SdkError::ServiceError(answer) => {
            let (raw, meta) = (answer.raw(), answer.err().meta());
            let status = raw.status().as_u16();
            let request_id = meta.request_id().map(str::to_owned);
            if raw.status().is_success() {
                return Error { request_id, ..nonsense(action, chain(answer.err())) };
            }
            let message = meta.message().map_or_else(|| excerpt(raw), str::to_owned);
            Error::classify(action, meta.code().unwrap_or_default(), status, &message, request_id)
        }
        // The head of the answer came, its body did not.
        SdkError::ResponseError(answer) => local("ConnectionReset", answer.raw().status().as_u16(), chain(&error)),
        SdkError::TimeoutError(_) => local("Timeout", 0, chain(&error)),
        _ if let Some(cause) = find::<CredentialsError>(&error) => {
            let (lasting, cause) = (is_lasting(cause), chain(cause));
            if !lasting {
                return local("ConnectionRefused", 0, format!("{NO_CREDENTIALS_NOW}; nothing was sent: {cause}"));
            }
            local("NoCredentials", 0, format!("name a profile, set AWS_ACCESS_KEY_ID, or run where a role is attached; tried: {cause}"))
        }
        SdkError::DispatchFailure(sent) if sent.is_timeout() => local("Timeout", 0, chain(&error)),
        SdkError::DispatchFailure(sent) if sent.is_io() && never_connected(&error) => local("ConnectionRefused", 0, chain(&error)),
        SdkError::DispatchFailure(sent) if sent.is_io() => local("ConnectionReset", 0, chain(&error)),
        // Closed under the request, as a server does with a connection that it thinks is idle: the client calls it worth another try.
        SdkError::DispatchFailure(sent) if sent.as_other().is_some() => local("ConnectionReset", 0, chain(&error)),
        other => nonsense(action, chain(other)),
    }
}

/// True when asking for credentials again cannot help; a source that is slow or ill may answer the next time.
fn is_lasting(error: &CredentialsError) -> bool {
    matches!(error, CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_))
}

/// True when the operating system says that no connection came about, so nothing was sent.
pub(super) fn never_connected(error: &(dyn StdError + 'static)) -> bool {
    use io::ErrorKind;
    find::<io::Error>(error).is_some_and(|error| {
        matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable)
    })
}

/// The first cause of this type.
pub(super) fn find<'e, C: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e C> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The error and its causes in one line; the outer ones alone say nothing ("dispatch failure").
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut words: Vec<String> = causes(error).map(|cause| one_line(&cause.to_string())).collect();
    words.dedup();
    words.join(": ")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn causes<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |cause: &&'e (dyn StdError + 'static)| (*cause).source())
}

/// The beginning of an answer that carries no error document.
fn excerpt(raw: &HttpResponse) -> String {
    let body = raw.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
    let start: String = one_line(&body).chars().take(EXCERPT).collect();
    if start.is_empty() { "an empty answer".to_owned() } else { format!("not AWS's error document: {start}") }
}

/// Calls to the control plane since the process began, instance metadata not among them. Clones share the counts. Keys are actions that this code can
/// call, and [`Kind`]'s words.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Calls that came to an end, by action and outcome: `ok`, a word of [`Kind`], or `crowded` when nothing was sent for want of a place in line.
    pub calls: Tally<(&'static str, &'static str)>,
    /// Requests sent, by action, each attempt counted: what the account's request bucket was charged.
    pub requests: Tally<String>,
    /// Requests that were answered with a throttle, by action; most of them are repeated, and the call succeeds.
    pub throttles: Tally<String>,
    ahead_ms: Arc<Mutex<Option<i64>>>,
}

impl Traffic {
    /// By how much AWS's clock was ahead of ours in the newest answer, in ms.
    pub fn ahead_ms(&self) -> Option<i64> {
        *self.ahead_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`Self::ahead_ms`].
    pub fn set_ahead_ms(&self, ahead: i64) {
        *self.ahead_ms.lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
    }
}

/// The code in AWS's error document, which is XML of two shapes that have this in common.
fn error_code(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    let (code, _) = text.split_once("<Code>")?.1.split_once("</Code>")?;
    Some(code.trim())
}

/// By how much the clock of whoever wrote this header is ahead. It shows whole seconds: the half of one is what it hides on average.
fn ahead_ms(date: &str, now: SystemTime) -> Option<i64> {
    let theirs = DateTime::from_str(date, Format::HttpDate).ok()?.to_millis().ok()?;
    let ours = i64::try_from(now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis()).ok()?;
    theirs.checked_add(500)?.checked_sub(ours)
}

/// Counts each attempt as it goes out, and notes what time it was for whoever answered.
#[derive(Clone, Debug)]
pub(super) struct Count(pub(super) Traffic);

#[dyn_dispatch_hint]
impl Intercept for Count {
    fn name(&self) -> &'static str {
        "Count"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        if let Some(call) = config.load::<Metadata>() {
            self.0.requests.add(call.name().to_owned());
        }
        Ok(())
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let date = context.response().headers().get("date").zip(components.time_source());
        if let Some(ahead) = date.and_then(|(date, clock)| ahead_ms(date, clock.now())) {
            self.0.set_ahead_ms(ahead);
        }
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let (status, body) = (context.response().status(), context.response().body());
        if status.is_success() {
            return Ok(());
        }
        let code = body.bytes().and_then(error_code).unwrap_or_default();
        let throttled = Error::classify("", code, status.as_u16(), "", None).kind == Kind::Throttled;
        if let Some(call) = config.load::<Metadata>().filter(|_| throttled) {
            self.0.throttles.add(call.name().to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Never = std::result::Result<(), SdkError<CredentialsLike>>;

    /// Some modelled error of the SDK.
    type CredentialsLike = aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityError;

    #[test]
    fn a_date_header_says_how_far_ahead_its_writer_is() {
        let at = |ms: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        let date = "Thu, 01 Jan 1970 01:00:00 GMT";
        assert_eq!(ahead_ms(date, at(3_600_500)), Some(0));
        assert_eq!(ahead_ms(date, at(3_540_500)), Some(60_000));
        assert_eq!(ahead_ms(date, at(7_200_500)), Some(-3_600_000));
        assert_eq!(ahead_ms("yesterday", at(0)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_in_line_is_told_that_nothing_was_sent() {
        let traffic = Traffic::default();
        let gate = Gate::new(1, Duration::from_secs(20), traffic.clone());
        let first = gate.pass("First", std::future::pending::<Never>());
        let second = gate.pass("Second", async { panic!("sent over the limit") as Never });
        let error = tokio::select! {
            biased;
            _ = first => panic!("it never ends"),
            answer = second => answer.expect_err("no place"),
        };
        assert!(error.is_retryable() && !error.outcome_unknown(), "{error}");
        assert_eq!(traffic.calls.counts(), BTreeMap::from([(("Second", "crowded"), 1)]));
    }

    #[test]
    fn the_code_is_found_in_both_shapes_of_an_error_document() {
        let query =
            "<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>";
        let ec2 = "<Response><Errors><Error><Code>RequestLimitExceeded</Code></Error></Errors></Response>";
        assert_eq!(error_code(query.as_bytes()), Some("Throttling"));
        assert_eq!(error_code(ec2.as_bytes()), Some("RequestLimitExceeded"));
        assert_eq!((error_code(b"<html>"), error_code(b"<Code>cut"), error_code(&[0xff])), (None, None, None));
    }

    #[test]
    fn missing_credentials_are_for_a_person_to_mend() {
        use aws_smithy_runtime_api::client::result::ConnectorError;
        let cause = CredentialsError::not_loaded("no credentials found in chain. Attempted:\n  Environment");
        let error: SdkError<CredentialsLike> = SdkError::dispatch_failure(ConnectorError::other(cause.into(), None));
        let error = failure("GetCallerIdentity", error);
        assert_eq!((error.kind, error.code.as_str()), (Kind::Denied, "NoCredentials"), "{error}");
        assert!(error.message.contains("found in chain. Attempted: Environment"), "{error}");
        for cause in [CredentialsError::provider_timed_out(Duration::from_secs(1)), CredentialsError::provider_error("status 503")] {
            let error: SdkError<CredentialsLike> = SdkError::dispatch_failure(ConnectorError::other(cause.into(), None));
            let error = failure("GetCallerIdentity", error);
            assert_eq!(error.kind, Kind::Unavailable, "it may come back: {error}");
        }
    }
}
