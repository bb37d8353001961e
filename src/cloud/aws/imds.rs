//! Instance metadata, version 2 alone. The SDK's client keeps the session token, renews it, and never falls back to version 1.
//!
//! The endpoint comes from `AWS_EC2_METADATA_SERVICE_ENDPOINT` or the profile. No proxy is used, whatever the environment says: metadata is
//! of this machine. `AWS_EC2_METADATA_DISABLED` concerns the credential chain; who runs an agent asks for metadata.

use std::time::Duration;

use async_trait::async_trait;
use aws_config::imds::Client;
use aws_config::imds::client::error::ImdsError;
use aws_config::imds::client::error::TokenError;
use aws_config::provider_config::ProviderConfig;
use aws_sdk_autoscaling::error::SdkError;
use aws_smithy_http_client::Builder as HttpBuilder;
use futures::join;
use serde::Deserialize;

use super::call::chain;
use super::call::find;
use super::call::nonsense;
use crate::cloud::Error;
use crate::cloud::Identity;
use crate::cloud::Kind;
use crate::cloud::Metadata;
use crate::cloud::OwnInstance;
use crate::cloud::Result;
use crate::model::InstanceId;
use crate::model::Interruption;
use crate::model::LifecycleState;
use crate::model::Maintenance;
use crate::model::Notices;
use crate::model::Timestamp;

const IDENTITY: &str = "/latest/dynamic/instance-identity/document";
const TARGET_STATE: &str = "/latest/meta-data/autoscaling/target-lifecycle-state";

const INTERRUPTION: &str = "/latest/meta-data/spot/instance-action";
const REBALANCE: &str = "/latest/meta-data/events/recommendations/rebalance";
const MAINTENANCE: &str = "/latest/meta-data/events/maintenance/scheduled";

const GET_NOTICES: &str = "GetNotices";

/// Bound of a read: the service is in the machine's own hypervisor, and the caller asks again every few seconds anyway.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Bound of one attempt, so that a lost packet leaves time for a second one.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// Attempts of a read on 401 (the token ran out) and 5xx.
const ATTEMPTS: u32 = 3;

/// The metadata service of the instance we run on.
#[derive(Clone, Debug)]
pub struct Imds(Client);

impl Imds {
    /// A client of the service that the environment or the profile names; sends nothing.
    pub fn new() -> Self {
        Self(builder().build())
    }

    /// A client of the service at this URL; sends nothing.
    ///
    /// # Errors
    /// Refused when it is not a URL.
    pub fn at(endpoint: &str) -> Result<Self> {
        let refused = |message: String| Error {
            kind: Kind::Refused,
            action: "GetInstanceMetadata",
            code: "InvalidEndpoint".to_owned(),
            message,
            request_id: None,
        };
        Ok(Self(builder().endpoint(endpoint).map_err(|error| refused(format!("{endpoint}: {error}")))?.build()))
    }
}

fn builder() -> aws_config::imds::client::Builder {
    let http = HttpBuilder::new().build_http();
    let config = ProviderConfig::without_region().with_behavior_version(Some(super::behavior())).with_http_client(http);
    Client::builder().configure(&config).max_attempts(ATTEMPTS).operation_attempt_timeout(ATTEMPT_TIMEOUT).operation_timeout(CALL_TIMEOUT)
}

impl Default for Imds {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Metadata for Imds {
    async fn identity(&self) -> Result<Identity> {
        const ACTION: &str = "GetInstanceIdentity";
        let text: String = self.0.get(IDENTITY).await.map_err(|error| failure(ACTION, &error))?.into();
        let document: Document = serde_json::from_str(&text).map_err(|error| nonsense(ACTION, error.to_string()))?;
        Ok(Identity {
            own: OwnInstance(InstanceId::new(document.instance_id)),
            region: document.region,
            zone: document.availability_zone,
            account: document.account_id,
            image: document.image_id,
        })
    }

    async fn target_state(&self) -> Result<Option<LifecycleState>> {
        Ok(self.read("GetTargetLifecycleState", TARGET_STATE).await?.map(|word| LifecycleState::from(word.as_str())))
    }

    async fn notices(&self) -> Result<Notices> {
        let read = |path| self.read(GET_NOTICES, path);
        let (interruption, rebalance, maintenance) = join!(read(INTERRUPTION), read(REBALANCE), read(MAINTENANCE));
        heard(interruption, rebalance, maintenance)
    }
}

impl Imds {
    /// What stands at a path; `None` where nothing does.
    async fn read(&self, action: &'static str, path: &'static str) -> Result<Option<String>> {
        match self.0.get(path).await {
            Ok(text) => Ok(Some(text.as_ref().trim().to_owned()).filter(|text| !text.is_empty())),
            Err(ImdsError::ErrorResponse(answer)) if answer.response().status().as_u16() == 404 => Ok(None),
            Err(error) => Err(failure(action, &error)),
        }
    }
}

/// What the three documents say. An interruption is heeded whatever became of the others; without one, all have to be readable.
pub(super) fn heard(
    interruption: Result<Option<String>>,
    rebalance: Result<Option<String>>,
    maintenance: Result<Option<String>>,
) -> Result<Notices> {
    let read = |interruption: Option<&str>, rebalance: Option<&str>, maintenance: Option<&str>| {
        notices(interruption, rebalance, maintenance).map_err(|what| nonsense(GET_NOTICES, what))
    };
    let interrupted = read(interruption?.as_deref(), None, None)?.interruption;
    let others = rebalance.and_then(|r| maintenance.and_then(|m| read(None, r.as_deref(), m.as_deref())));
    match interrupted {
        Some(_) => Ok(Notices { interruption: interrupted, ..others.unwrap_or_default() }),
        None => others,
    }
}

/// The three documents, as they stand in instance metadata.
pub(super) fn notices(
    interruption: Option<&str>,
    rebalance: Option<&str>,
    maintenance: Option<&str>,
) -> std::result::Result<Notices, String> {
    #[derive(Deserialize)]
    struct Action {
        action: String,
        time: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Recommendation {
        notice_time: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Event {
        #[serde(default)]
        event_id: String,
        code: String,
        #[serde(default)]
        not_before: String,
        #[serde(default)]
        state: String,
    }
    fn document<T: serde::de::DeserializeOwned>(path: &str, text: Option<&str>) -> std::result::Result<Option<T>, String> {
        text.map(|text| serde_json::from_str(text).map_err(|error| format!("{path}: {error}"))).transpose()
    }
    let time = |path: &str, text: &str| Timestamp::parse(text).ok_or_else(|| format!("{path}: {text:?} is no time"));
    let interruption = document::<Action>(INTERRUPTION, interruption)?;
    let rebalance = document::<Recommendation>(REBALANCE, rebalance)?;
    let events = document::<Vec<Event>>(MAINTENANCE, maintenance)?.unwrap_or_default();
    let pending = events.into_iter().filter(|event| !matches!(event.state.as_str(), "completed" | "canceled"));
    Ok(Notices {
        interruption: interruption
            .map(|said| time(INTERRUPTION, &said.time).map(|at| Interruption { action: said.action, at }))
            .transpose()?,
        rebalance: rebalance.map(|said| time(REBALANCE, &said.notice_time)).transpose()?,
        maintenance: pending.map(|e| Maintenance { id: e.event_id, code: e.code, not_before: e.not_before }).collect(),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    instance_id: String,
    region: String,
    availability_zone: String,
    account_id: String,
    image_id: String,
}

/// Metadata that cannot be had. Switched off or forbidden is for a person to mend, all else may pass.
fn failure(action: &'static str, error: &ImdsError) -> Error {
    let status = match error {
        ImdsError::ErrorResponse(answer) => Some(answer.response().status().as_u16()),
        other => find::<SdkError<TokenError>>(other).and_then(|error| error.raw_response()).map(|answer| answer.status().as_u16()),
    };
    let (kind, message) = match status {
        Some(403) => (Kind::Denied, "instance metadata is switched off or forbidden (403)".to_owned()),
        Some(429) => (Kind::Throttled, "instance metadata asks us to slow down (429)".to_owned()),
        Some(status) => (Kind::Unavailable, format!("instance metadata answered {status}")),
        None => (Kind::Unavailable, format!("not on an EC2 instance, or in a container behind a hop limit of 1: {}", chain(error))),
    };
    Error { kind, action, code: "NoMetadata".to_owned(), message, request_id: None }
}
