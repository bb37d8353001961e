//! The real cloud, over AWS's SDK: [`Aws`] for Auto Scaling, load balancers of both generations, the caller identity and, by calls written by
//! hand, what launches need of EC2; [`Imds`] for instance metadata. Credentials, region and endpoints come from the SDK's standard chain (environment, profile, web identity, container,
//! instance metadata) unless [`Settings`] say otherwise.
//!
//! What must stay true:
//! - every call ends: an attempt within `attempt_timeout`, a call with its retries within `call_timeout`, and it waits no longer than that
//!   for its place in line before (the SDK alone waits for ever on a server that accepts and says nothing);
//! - reads and absolute writes are repeated on throttling, 5xx (that includes `ResourceContention` and answers without AWS's error document)
//!   and broken connections; `TerminateInstanceInAutoScalingGroup` is sent once, whatever happens (F21);
//! - a list is followed by its token alone: a page may be short or empty and not be the last one;
//! - SDK types stay in this folder: `convert` turns answers into facts, `call` turns failures into [`Error`].

mod autoscaling;
mod balancing;
mod call;
mod convert;
mod ec2;
mod iam;
mod imds;
mod signed;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::AppName;
use aws_config::BehaviorVersion;
use aws_config::Region;
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::Builder as HttpBuilder;
use aws_smithy_http_client::ConnectorBuilder;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

pub use call::Traffic;
pub use imds::Imds;

use super::Ask;
use super::Caller;
use super::CallerIdentity;
use super::Error;
use super::Kind;
use super::Result;
use super::Verdict;
use call::Gate;
use signed::Signed;

/// Attempts of a call that may be repeated; three back-offs between them. Four ride out a throttled second; more only feed the storm.
const ATTEMPTS: u32 = 4;

/// To open a connection. AWS answers in milliseconds; on a lossy path one SYN is repeated after 1 s, the next after 3 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What CloudTrail shows of who asked.
const APP_NAME: &str = "bellrock";

/// Overrides of what the SDK's chain would find, and bounds of a call.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Region name. Given, it spares the look into instance metadata, which costs 3 s where there is none.
    pub region: Option<String>,
    /// Profile of the shared configuration files.
    pub profile: Option<String>,
    /// One endpoint URL for every service: a simulated region, an emulator.
    pub endpoint: Option<String>,
    /// Access keys to use instead of the chain's. For endpoints that check none; a fleet has a role.
    pub keys: Option<Keys>,
    /// A role to act as, with the chain's credentials or the profile's asking for it.
    pub role: Option<Role>,
    /// Bound of a call: every attempt, every back-off. Also bounds the wait for a place in line before it.
    pub call_timeout: Duration,
    /// Bound of one attempt, connecting included.
    pub attempt_timeout: Duration,
    /// Longest first back-off (the real one is drawn between nothing and this; it doubles with each attempt).
    pub backoff: Duration,
    /// Calls of this process under way at once (a terminate waits in no line); the account's request bucket is shared with everybody else in it (draining.md §4.12).
    pub in_flight: usize,
    /// Where calls are counted; clones of these settings count in the same place.
    pub traffic: Traffic,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            region: None,
            profile: None,
            endpoint: None,
            keys: None,
            role: None,
            call_timeout: Duration::from_secs(20),
            attempt_timeout: Duration::from_secs(5),
            backoff: Duration::from_secs(1),
            in_flight: 8,
            traffic: Traffic::default(),
        }
    }
}

/// A role, and under which name CloudTrail shows what is done as it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// ARN of the role.
    pub arn: String,
    /// Name of the session: letters, digits and `+=,.@-_`, 2 to 64 of them.
    pub session: String,
}

/// A pair of access keys.
#[derive(Clone)]
pub struct Keys {
    /// Access key id.
    pub id: String,
    /// Secret access key; never shown.
    pub secret: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

/// AWS's control plane in one region, with one set of credentials. Clones share connections, the in-flight limit and the counts.
#[derive(Clone, Debug)]
pub struct Aws {
    autoscaling: aws_sdk_autoscaling::Client,
    elb: aws_sdk_elasticloadbalancing::Client,
    elbv2: aws_sdk_elasticloadbalancingv2::Client,
    sts: aws_sdk_sts::Client,
    signed: Signed,
    region: String,
    gate: Gate,
    traffic: Traffic,
}

impl Aws {
    /// Finds region and credential sources. Sends nothing to the control plane: whether the credentials are good shows in the first call.
    ///
    /// # Errors
    /// `NoRegion` (denied) when neither the settings nor the chain name one.
    pub async fn connect(settings: &Settings) -> Result<Self> {
        let config = load(settings).await;
        let Some(region) = config.region().map(ToString::to_string) else {
            return Err(Error {
                kind: Kind::Denied,
                action: "Connect",
                code: "NoRegion".to_owned(),
                message: "no region: give one, set AWS_REGION, or name it in the profile".to_owned(),
                request_id: None,
            });
        };
        let traffic = settings.traffic.clone();
        let counted = call::Count(traffic.clone());
        Ok(Self {
            autoscaling: aws_sdk_autoscaling::Client::from_conf(
                aws_sdk_autoscaling::config::Builder::from(&config).interceptor(counted.clone()).build(),
            ),
            elb: aws_sdk_elasticloadbalancing::Client::from_conf(
                aws_sdk_elasticloadbalancing::config::Builder::from(&config).interceptor(counted.clone()).build(),
            ),
            elbv2: aws_sdk_elasticloadbalancingv2::Client::from_conf(
                aws_sdk_elasticloadbalancingv2::config::Builder::from(&config).interceptor(counted.clone()).build(),
            ),
            sts: aws_sdk_sts::Client::from_conf(aws_sdk_sts::config::Builder::from(&config).interceptor(counted.clone()).build()),
            signed: Signed::new(config.clone(), region.clone(), counted),
            region,
            gate: Gate::new(settings.in_flight, settings.call_timeout, traffic.clone()),
            traffic,
        })
    }

    /// The region in use.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Requests sent so far by action, each attempt counted: what the account's request bucket was charged. Instance metadata is not in it.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.traffic.requests.counts()
    }
}

#[async_trait]
impl Caller for Aws {
    async fn caller(&self) -> Result<CallerIdentity> {
        const ACTION: &str = "GetCallerIdentity";
        let answer = self.gate.pass(ACTION, self.sts.get_caller_identity().send()).await?;
        Ok(CallerIdentity {
            account: convert::required(ACTION, "Account", answer.account())?.to_owned(),
            arn: convert::required(ACTION, "Arn", answer.arn())?.to_owned(),
        })
    }

    async fn verdicts(&self, ask: &Ask) -> Result<BTreeMap<String, Verdict>> {
        self.simulate(ask).await
    }
}

/// Makes aws-lc the process's cryptography, for every TLS user that does not choose by itself. Harmless when somebody else already did.
pub fn install_crypto() {
    let _already_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

async fn load(settings: &Settings) -> SdkConfig {
    let mut loader = aws_config::defaults(behavior())
        .app_name(AppName::new(APP_NAME).expect("letters alone"))
        .http_client(http_client())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(settings.backoff))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT.min(settings.attempt_timeout))
                .operation_attempt_timeout(settings.attempt_timeout)
                .operation_timeout(settings.call_timeout)
                .build(),
        );
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(endpoint) = &settings.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(Keys { id, secret }) = &settings.keys {
        loader = loader.credentials_provider(Credentials::new(id, secret, None, None, "settings"));
    }
    let config = loader.load().await;
    let Some(Role { arn, session }) = &settings.role else { return config };
    let role = AssumeRoleProvider::builder(arn).session_name(session).configure(&config).build().await;
    config.into_builder().credentials_provider(SharedCredentialsProvider::new(role)).build()
}

/// Pinned: a newer SDK must not change retries or timeouts by itself.
fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// One HTTP client for all services: left to itself each would load its own copy of the root certificates. Honours the proxy variables.
fn http_client() -> SharedHttpClient {
    HttpBuilder::new().build_with_connector_fn(|settings, components| {
        let mut connector = ConnectorBuilder::default()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
            .proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.build()
    })
}
