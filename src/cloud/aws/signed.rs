//! Calls to services whose SDK crate costs more than the few reads we need of it (EC2's alone doubles the build): the request is written by
//! hand, everything else is the SDK's. Credentials, signature, retries, time limits, proxies and the count are those of every other call.
//!
//! What must stay true: only reads go this way, each of which may be repeated; an answer is text, and nothing about it is believed before it
//! was parsed into a closed type.
//!
//! Known to be left out: dual-stack endpoints; `AWS_ENDPOINT_URL` names one where they are needed.

use std::fmt;

use aws_config::SdkConfig;
use aws_runtime::auth::SigV4OperationSigningConfig;
use aws_runtime::auth::sigv4::SCHEME_ID;
use aws_runtime::auth::sigv4::SigV4AuthScheme;
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_sdk_autoscaling::error::ErrorMetadata;
use aws_sdk_autoscaling::error::ProvideErrorMetadata;
use aws_sdk_autoscaling::error::SdkError;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::HttpStatusCodeClassifier;
use aws_smithy_runtime::client::retries::classifiers::TransientErrorClassifier;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::auth::AuthSchemeOptionResolverParams;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::orchestrator::OrchestratorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::Layer;
use aws_types::SigningName;
use aws_types::region::Region;
use aws_types::region::SigningRegion;
use aws_types::request_id::RequestId;
use aws_types::service_config::ServiceConfigKey;
use serde::Deserialize;

use super::call::Count;

/// A service that is spoken to by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// Query protocol, EC2's dialect.
    Ec2,
    /// Query protocol; one endpoint for a whole partition.
    Iam,
    /// JSON 1.1.
    Quotas,
}

impl Service {
    /// As the SDKs' configuration names it: `AWS_ENDPOINT_URL_EC2`, `AWS_ENDPOINT_URL_IAM`, `AWS_ENDPOINT_URL_SERVICE_QUOTAS`.
    fn id(self) -> &'static str {
        match self {
            Self::Ec2 => "EC2",
            Self::Iam => "IAM",
            Self::Quotas => "Service Quotas",
        }
    }

    /// As signatures and host names have it.
    fn signing_name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Iam => "iam",
            Self::Quotas => "servicequotas",
        }
    }

    /// Where it is signed for.
    fn signing_region(self, region: &str) -> &str {
        match self {
            Self::Ec2 | Self::Quotas => region,
            Self::Iam => Partition::of(region).home,
        }
    }

    /// AWS's own address of it.
    fn address(self, region: &str, fips: bool) -> String {
        let (name, Partition { suffix, home, .. }) = (self.signing_name(), Partition::of(region));
        match self {
            Self::Ec2 | Self::Quotas => format!("https://{name}{}.{region}.{suffix}", if fips { "-fips" } else { "" }),
            Self::Iam if home == Partition::COMMERCIAL.home => format!("https://{name}{}.{suffix}", if fips { "-fips" } else { "" }),
            Self::Iam => format!("https://{name}.{home}.{suffix}"),
        }
    }
}

/// A part of AWS with its own accounts and names (AWS General Reference, "Service endpoints", read 2026-11).
#[derive(Clone, Copy)]
struct Partition {
    prefix: &'static str,
    suffix: &'static str,
    home: &'static str,
}

impl Partition {
    const COMMERCIAL: Self = Self { prefix: "", suffix: "amazonaws.com", home: "us-east-1" };
    const OTHERS: [Self; 4] = [
        Self { prefix: "cn-", suffix: "amazonaws.com.cn", home: "cn-north-1" },
        Self { prefix: "us-gov-", suffix: "amazonaws.com", home: "us-gov-west-1" },
        Self { prefix: "us-isob-", suffix: "sc2s.sgov.gov", home: "us-isob-east-1" },
        Self { prefix: "us-iso-", suffix: "c2s.ic.gov", home: "us-iso-east-1" },
    ];

    fn of(region: &str) -> Self {
        Self::OTHERS.into_iter().find(|other| region.starts_with(other.prefix)).unwrap_or(Self::COMMERCIAL)
    }
}

/// What is sent.
#[derive(Clone, Debug)]
struct Message {
    kind: &'static str,
    target: Option<String>,
    body: String,
}

/// An answer that says no, or that nobody understands.
#[derive(Debug)]
pub(super) struct Failed(ErrorMetadata);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failed {}

impl ProvideErrorMetadata for Failed {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
    }
}

/// The sender of hand-written calls.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    config: SdkConfig,
    region: String,
    count: Count,
}

impl Signed {
    pub(super) fn new(config: SdkConfig, region: String, count: Count) -> Self {
        Self { config, region, count }
    }

    /// One call of the Query protocol: dotted names and their values. Answers AWS's XML.
    pub(super) async fn query(
        &self,
        service: Service,
        version: &str,
        action: &'static str,
        fields: &[(String, String)],
    ) -> Result<String, SdkError<Failed>> {
        let body = form(action, version, fields);
        self.send(service, action, Message { kind: "application/x-www-form-urlencoded; charset=utf-8", target: None, body }).await
    }

    /// One call of the JSON 1.1 protocol. Answers AWS's JSON.
    pub(super) async fn json(
        &self,
        service: Service,
        family: &str,
        action: &'static str,
        body: &serde_json::Value,
    ) -> Result<String, SdkError<Failed>> {
        let target = Some(format!("{family}.{action}"));
        self.send(service, action, Message { kind: "application/x-amz-json-1.1", target, body: body.to_string() }).await
    }

    async fn send(&self, service: Service, action: &'static str, message: Message) -> Result<String, SdkError<Failed>> {
        let mut operation = Operation::builder()
            .service_name(service.id())
            .operation_name(action)
            .behavior_version(super::behavior())
            .endpoint_url(&self.endpoint(service))
            .retry_classifier(AwsErrorCodeClassifier::<Failed>::new())
            .retry_classifier(TransientErrorClassifier::<Failed>::new())
            .retry_classifier(HttpStatusCodeClassifier::default())
            .interceptor(self.count.clone())
            .with_connection_poisoning()
            .runtime_plugin(self.signature(service));
        if let Some(http) = self.config.http_client() {
            operation = operation.http_client(http);
        }
        if let Some(retries) = self.config.retry_config() {
            operation = operation.standard_retry(retries);
        }
        if let Some(limits) = self.config.timeout_config() {
            operation = operation.timeout_config(limits.clone());
        }
        operation.serializer(request).deserializer(answer).build().invoke(message).await
    }

    /// The SDK's own order: what the program says, what was configured for the service, what was configured for all, AWS's address.
    fn endpoint(&self, service: Service) -> String {
        let own = || {
            let key = ServiceConfigKey::builder().service_id(service.id()).env("AWS_ENDPOINT_URL").profile("endpoint_url").build().ok()?;
            self.config.service_config()?.load_config(key)
        };
        let own = if self.config.get_origin("endpoint_url").is_client_config() { None } else { own() };
        let all = || self.config.endpoint_url().map(str::to_owned);
        own.or_else(all).unwrap_or_else(|| service.address(&self.region, self.config.use_fips().unwrap_or(false)))
    }

    fn signature(&self, service: Service) -> StaticRuntimePlugin {
        let mut layer = Layer::new("signature");
        layer.store_put(AuthSchemeOptionResolverParams::new(()));
        layer.store_put(SigV4OperationSigningConfig::default());
        layer.store_put(SigningName::from(service.signing_name()));
        layer.store_put(SigningRegion::from(Region::new(service.signing_region(&self.region).to_owned())));
        let components = RuntimeComponentsBuilder::new("signature")
            .with_auth_scheme(SigV4AuthScheme::new())
            .with_auth_scheme_option_resolver(Some(StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID])))
            .with_identity_cache(self.config.identity_cache());
        let components = match self.config.credentials_provider() {
            Some(credentials) => components.with_identity_resolver(SCHEME_ID, credentials),
            None => components,
        };
        StaticRuntimePlugin::new().with_config(layer.freeze()).with_runtime_components(components)
    }
}

fn form(action: &str, version: &str, fields: &[(String, String)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", action).append_pair("Version", version).extend_pairs(fields).finish()
}

fn request(message: Message) -> Result<HttpRequest, BoxError> {
    let mut request = HttpRequest::new(SdkBody::from(message.body));
    request.set_method("POST")?;
    request.set_uri("/")?;
    request.headers_mut().try_insert("content-type", message.kind)?;
    request.headers_mut().try_insert("user-agent", concat!("app/bellrock bellrock/", env!("CARGO_PKG_VERSION")))?;
    if let Some(target) = message.target {
        request.headers_mut().try_insert("x-amz-target", target)?;
    }
    Ok(request)
}

fn answer(response: &HttpResponse) -> Result<String, OrchestratorError<Failed>> {
    let body = String::from_utf8_lossy(response.body().bytes().unwrap_or_default());
    if response.status().is_success() {
        return Ok(body.into_owned());
    }
    let mut meta = ErrorMetadata::builder();
    if let Some((code, message)) = complaint(&body) {
        meta = meta.code(code);
        meta = message.into_iter().fold(meta, |meta, message| meta.message(message));
    }
    if let Some(id) = response.headers().request_id() {
        meta = meta.custom("aws_request_id", id);
    }
    Err(OrchestratorError::operation(Failed(meta.build())))
}

/// Code and message of an error document in either dialect of XML, or in JSON; `None` for anything else.
fn complaint(body: &str) -> Option<(String, Option<String>)> {
    #[derive(Deserialize)]
    struct Error {
        #[serde(rename = "Code")]
        code: String,
        #[serde(rename = "Message")]
        message: Option<String>,
    }
    #[derive(Deserialize)]
    struct Errors {
        #[serde(rename = "Error")]
        error: Error,
    }
    #[derive(Deserialize)]
    struct Ec2 {
        #[serde(rename = "Errors")]
        errors: Errors,
    }
    #[derive(Deserialize)]
    struct Json {
        #[serde(rename = "__type")]
        code: String,
        #[serde(alias = "Message")]
        message: Option<String>,
    }
    let error = quick_xml::de::from_str::<Ec2>(body).map(|document| document.errors.error);
    if let Ok(error) = error.or_else(|_| quick_xml::de::from_str::<Errors>(body).map(|document| document.error)) {
        return Some((error.code, error.message));
    }
    let error = serde_json::from_str::<Json>(body).ok()?;
    // Some services put the shape's namespace before the code.
    let code = error.code.rsplit('#').next().unwrap_or_default().to_owned();
    Some((code, error.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_its_own_addresses() {
        let table = [
            (Service::Ec2, "eu-west-1", false, "https://ec2.eu-west-1.amazonaws.com"),
            (Service::Ec2, "us-gov-west-1", true, "https://ec2-fips.us-gov-west-1.amazonaws.com"),
            (Service::Iam, "eu-west-1", false, "https://iam.amazonaws.com"),
            (Service::Iam, "us-east-2", true, "https://iam-fips.amazonaws.com"),
            (Service::Iam, "cn-northwest-1", false, "https://iam.cn-north-1.amazonaws.com.cn"),
            (Service::Iam, "us-gov-east-1", false, "https://iam.us-gov-west-1.amazonaws.com"),
            (Service::Quotas, "cn-north-1", false, "https://servicequotas.cn-north-1.amazonaws.com.cn"),
        ];
        for (service, region, fips, address) in table {
            assert_eq!(service.address(region, fips), address);
        }
    }

    #[test]
    fn an_error_document_is_read_in_every_dialect_and_anything_else_is_none() {
        let ec2 = "<?xml version=\"1.0\"?><Response><Errors><Error><Code>InvalidAMIID.NotFound</Code><Message>a &amp; b</Message></Error>\
                   </Errors><RequestID>r</RequestID></Response>";
        assert_eq!(complaint(ec2), Some(("InvalidAMIID.NotFound".into(), Some("a & b".into()))));
        let iam = "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error><Type>Sender</Type><Code>NoSuchEntity</Code>\
                   <Message>none</Message></Error><RequestId>r</RequestId></ErrorResponse>";
        assert_eq!(complaint(iam), Some(("NoSuchEntity".into(), Some("none".into()))));
        let json = r#"{"__type":"com.amazonaws.servicequotas#AccessDeniedException","Message":"no"}"#;
        assert_eq!(complaint(json), Some(("AccessDeniedException".into(), Some("no".into()))));
        for strange in
            ["", "<html><body>500</body></html>", "<Response>", "null", "{}", "<Response><Errors></Errors></Response>", "\u{0}<<>"]
        {
            assert_eq!(complaint(strange), None, "{strange}");
        }
    }
}
