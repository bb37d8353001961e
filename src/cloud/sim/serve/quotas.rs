//! Service Quotas, in JSON 1.1: the one quota that launches meet.

use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::Value;
use serde_json::json;

use super::Shared;
use super::reset;
use super::socket::Cut;
use crate::cloud::sim::Answer;
use crate::cloud::sim::ApiError;
use crate::cloud::sim::Region;

const ACTION: &str = "GetServiceQuota";

/// Whatever quota is asked for: the standard on-demand vCPUs are meant.
pub(super) async fn answer(shared: &Shared, caller: &str, request_id: &str, target: &str, cut: &Cut) -> Response {
    if target.rsplit('.').next() != Some(ACTION) {
        let unknown = ApiError::new("UnknownOperationException", format!("The simulated region has no {target}"));
        return said(request_id, Err(unknown));
    }
    let latency = shared.world().region.latency(caller, ACTION) / 2;
    shared.pass(latency).await;
    let answer = shared.world().region.call(caller, ACTION, Region::get_vcpu_quota);
    shared.pass(latency).await;
    match answer {
        Answer::Reply(answer) => {
            said(request_id, answer.map(|quota| json!({ "Quota": { "ServiceCode": "ec2", "Value": f64::from(quota) } })))
        }
        Answer::Hang => shared.hang(cut).await,
        Answer::Reset => reset(cut),
    }
}

fn said(request_id: &str, answer: Result<Value, ApiError>) -> Response {
    let (status, document) = match answer {
        Ok(document) => (StatusCode::OK, document),
        Err(e) => (StatusCode::from_u16(e.status).unwrap_or(StatusCode::BAD_REQUEST), json!({ "__type": e.code, "message": e.message })),
    };
    let headers = [(header::CONTENT_TYPE.as_str(), "application/x-amz-json-1.1"), ("x-amzn-requestid", request_id)];
    (status, headers, document.to_string()).into_response()
}
