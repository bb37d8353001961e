//! What can go wrong with a call to the cloud, classified once, here.

use std::fmt;

/// Begins the message of an error that came before AWS was asked: a source of credentials is silent or has expired, and may answer another time.
pub const NO_CREDENTIALS_NOW: &str = "no credentials for now";

/// An error of the cloud: what a caller can do about it ([`Kind`]) and AWS's own words, kept verbatim for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{action}: {kind}: {code}: {message}{}", self.request_id.as_deref().map(|id| format!(" (request {id})")).unwrap_or_default())]
pub struct Error {
    /// What a caller can do about it.
    pub kind: Kind,
    /// The API action, e.g. `DescribeAutoScalingGroups`.
    pub action: &'static str,
    /// AWS's code (`ValidationError`, `Throttling`), or ours for what never reached AWS (`Timeout`, `NoCredentials`, `NoMetadata`).
    pub code: String,
    /// AWS's message, verbatim.
    pub message: String,
    /// For AWS support.
    pub request_id: Option<String>,
}

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The account's request bucket is empty: slow down, then try again.
    Throttled,
    /// 5xx, connection refused: nothing was done as far as anybody can tell from a read; for a mutation the outcome is unknown.
    Unavailable,
    /// No answer in time, or the connection broke: the outcome is unknown.
    TimedOut,
    /// The thing is not there (any more).
    Gone,
    /// Not allowed, no or expired credentials, clock skew: a person has to act.
    Denied,
    /// Another change is under way (`ScalingActivityInProgress`, `ResourceContention`): try again later, after reading anew.
    Conflict,
    /// AWS understood and said no (`ValidationError` and its like): reading anew tells why.
    Refused,
    /// The answer makes no sense, or the request did not: a defect here or there.
    Bug,
}

impl Kind {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed_out",
            Self::Gone => "gone",
            Self::Denied => "denied",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Bug => "bug",
        }
    }
}

impl Error {
    /// Classifies an answer of AWS by its code, HTTP status and message. A status of 0 means that no HTTP answer came: then `code` is one of
    /// our own (`Timeout`, `ConnectionReset`, `ConnectionRefused`, `NoCredentials`, `NoMetadata`). An empty code is an answer without AWS's
    /// error document, e.g. the HTML of a broken front.
    pub fn classify(action: &'static str, code: &str, http_status: u16, message: &str, request_id: Option<String>) -> Self {
        let code = if code.is_empty() { format!("Http{http_status}") } else { code.to_owned() };
        Self { kind: kind_of(&code, http_status, message), action, code, message: message.to_owned(), request_id }
    }

    /// True when a mutation that failed so may have been carried out all the same (F21). A read never cares.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::TimedOut | Kind::Bug)
    }

    /// True when the same call may succeed later without anybody doing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, Kind::Throttled | Kind::Unavailable | Kind::TimedOut | Kind::Conflict)
    }
}

/// The code decides first: `ResourceContention` comes with status 500 and means something else than a broken server, `Throttling` with 400.
fn kind_of(code: &str, http_status: u16, message: &str) -> Kind {
    match code {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "Throttled"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "EC2ThrottledException"
        | "PriorRequestNotComplete"
        | "SlowDown" => Kind::Throttled,
        "Timeout" | "ConnectionReset" | "RequestTimeout" | "RequestTimeoutException" => Kind::TimedOut,
        "ConnectionRefused" | "NoMetadata" => Kind::Unavailable,
        "ScalingActivityInProgress"
        | "ScalingActivityInProgressFault"
        | "ResourceContention"
        | "ResourceContentionFault"
        | "ResourceInUse"
        | "ResourceInUseFault"
        | "InstanceRefreshInProgress"
        | "InstanceRefreshInProgressFault" => Kind::Conflict,
        "NoCredentials"
        | "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "AuthFailure"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "NotAuthorized"
        | "OptInRequired" => Kind::Denied,
        "InvalidAction" | "UnknownOperationException" | "MalformedQueryString" | "SerializationError" => Kind::Bug,
        "TargetGroupNotFound"
        | "LoadBalancerNotFound"
        | "AccessPointNotFound"
        | "ListenerNotFound"
        | "InvalidInstanceID.NotFound"
        | "InvalidAMIID.NotFound"
        | "ActiveInstanceRefreshNotFound"
        | "ActiveInstanceRefreshNotFoundFault" => Kind::Gone,
        "ValidationError" if names_an_absence(message) => Kind::Gone,
        "InvalidLaunchTemplateId.VersionNotFound" | "NoSuchEntity" => Kind::Gone,
        _ if code.ends_with(".NotFoundException") || code.ends_with(".NotFound") => Kind::Gone,
        _ => match http_status {
            429 => Kind::Throttled,
            401 | 403 => Kind::Denied,
            404 | 410 => Kind::Gone,
            408 | 504 => Kind::TimedOut,
            400..=499 => Kind::Refused,
            500..=599 => Kind::Unavailable,
            _ => Kind::Bug,
        },
    }
}

/// Auto Scaling says "not there" with `ValidationError` and tells it apart by words alone (draining.md §4.1, §4.7). Matched loosely: callers
/// read anew before they believe it.
fn names_an_absence(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["not found", "no managed instance", "no active lifecycle action"].iter().any(|words| message.contains(words))
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "no answer",
            Self::Gone => "gone",
            Self::Denied => "denied",
            Self::Conflict => "another change is under way",
            Self::Refused => "refused",
            Self::Bug => "unintelligible",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_outranks_the_status_and_the_words_tell_gone_from_refused() {
        let table = [
            ("Throttling", 400, "Rate exceeded", Kind::Throttled),
            ("", 429, "", Kind::Throttled),
            ("ResourceContention", 500, "", Kind::Conflict),
            ("ScalingActivityInProgress", 400, "", Kind::Conflict),
            ("", 500, "<html>", Kind::Unavailable),
            ("ServiceUnavailable", 503, "", Kind::Unavailable),
            ("Timeout", 0, "", Kind::TimedOut),
            ("ConnectionReset", 0, "", Kind::TimedOut),
            ("ConnectionRefused", 0, "", Kind::Unavailable),
            ("ValidationError", 400, "AutoScalingGroup name not found - null", Kind::Gone),
            ("ValidationError", 400, "No managed instance found for instance ID: i-1", Kind::Gone),
            ("ValidationError", 400, "Currently, desiredSize equals minSize (1).", Kind::Refused),
            ("TargetGroupNotFound", 400, "", Kind::Gone),
            ("InvalidLaunchTemplateId.NotFoundException", 400, "", Kind::Gone),
            ("InvalidLaunchTemplateId.VersionNotFound", 400, "", Kind::Gone),
            ("RequestExpired", 400, "", Kind::Denied),
            ("", 403, "", Kind::Denied),
            ("SerializationError", 200, "", Kind::Bug),
        ];
        for (code, status, message, kind) in table {
            assert_eq!(Error::classify("DescribeAutoScalingGroups", code, status, message, None).kind, kind, "{code} {status} {message}");
        }
    }

    #[test]
    fn only_an_answer_that_says_no_settles_what_became_of_a_mutation() {
        let unknown = |code, status| Error::classify("TerminateInstanceInAutoScalingGroup", code, status, "", None).outcome_unknown();
        assert!(unknown("Timeout", 0) && unknown("ConnectionReset", 0) && unknown("", 500) && unknown("SerializationError", 200));
        assert!(!unknown("Throttling", 400) && !unknown("ValidationError", 400) && !unknown("ResourceContention", 500));
    }
}
