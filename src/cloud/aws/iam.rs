//! IAM, asked what the credentials in use may do, by hand-written calls.
//!
//! What must stay true: only a plain no counts. What depends on a condition that the simulation is not told of (a tag, an address) may be
//! allowed all the same, and session policies and those of VPC endpoints are seen by nobody here.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Aws;
use super::call::nonsense;
use super::call::pages;
use super::signed::Service;
use crate::cloud::Ask;
use crate::cloud::Caller;
use crate::cloud::Error;
use crate::cloud::Kind;
use crate::cloud::Result;
use crate::cloud::Told;
use crate::cloud::Verdict;

/// Of IAM's Query API.
const VERSION: &str = "2010-05-08";
/// Results to a page; IAM's largest.
const PAGE: &str = "1000";
const SIMULATE: &str = "SimulatePrincipalPolicy";

#[derive(Debug, Deserialize)]
struct Simulated {
    #[serde(rename = "SimulatePrincipalPolicyResult")]
    result: Results,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Results {
    evaluation_results: Members<Evaluation>,
    marker: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Members<T> {
    #[serde(rename = "member", default = "Vec::new")]
    all: Vec<T>,
}

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self { all: Vec::new() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Evaluation {
    eval_action_name: String,
    eval_decision: String,
    #[serde(default)]
    missing_context_values: Members<String>,
    /// Where resources were named, what was said of each, as far as IAM tells.
    #[serde(default)]
    resource_specific_results: Members<OfResource>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OfResource {
    eval_resource_decision: String,
    #[serde(default)]
    missing_context_values: Members<String>,
}

impl Evaluation {
    fn verdict(&self) -> Verdict {
        let of = |one: &OfResource| verdict(&one.eval_resource_decision, &one.missing_context_values);
        let of_resources = self.resource_specific_results.all.iter().map(of).max();
        of_resources.unwrap_or_else(|| verdict(&self.eval_decision, &self.missing_context_values))
    }
}

#[derive(Debug, Deserialize)]
struct RoleAnswer {
    #[serde(rename = "GetRoleResult")]
    result: RoleResult,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoleResult {
    role: Role,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Role {
    arn: String,
}

fn verdict(decision: &str, missing: &Members<String>) -> Verdict {
    match decision {
        "allowed" => Verdict::Allowed,
        "explicitDeny" => Verdict::Denied,
        "implicitDeny" if missing.all.is_empty() => Verdict::Denied,
        _ => Verdict::Unclear,
    }
}

/// Whose policies count: a user's own, or those of the role behind a session. `None` for who has none, such as the account's root.
fn principal(caller: &str) -> Option<String> {
    let parts: Vec<&str> = caller.splitn(6, ':').collect();
    let [_, partition, service, _, account, rest] = parts.as_slice() else { return None };
    match (*service, rest.split('/').collect::<Vec<_>>().as_slice()) {
        ("iam", ["user" | "role", ..]) => Some(caller.to_owned()),
        ("sts", ["assumed-role", role, _session]) => Some(format!("arn:{partition}:iam::{account}:role/{role}")),
        _ => None,
    }
}

impl Aws {
    /// What IAM says of these actions, each by its worst result.
    pub(super) async fn simulate(&self, ask: &Ask) -> Result<BTreeMap<String, Verdict>> {
        let who = match &ask.principal {
            Some(who) => who.clone(),
            None => self.caller().await?.arn,
        };
        let Some(mut source) = principal(&who) else {
            return Err(Error::classify(SIMULATE, "NoPrincipal", 400, &format!("{who} has no policies that could be asked for"), None));
        };
        match self.simulate_as(&source, ask).await {
            // A session's ARN does not tell its role's path.
            Err(error) if error.kind == Kind::Gone && source != who => source = self.role(&source).await?,
            other => return other,
        }
        self.simulate_as(&source, ask).await
    }

    async fn role(&self, arn: &str) -> Result<String> {
        const ACTION: &str = "GetRole";
        let name = arn.rsplit('/').next().unwrap_or_default().to_owned();
        let document = self.gate.pass(ACTION, self.signed.query(Service::Iam, VERSION, ACTION, &[("RoleName".to_owned(), name)])).await?;
        let answer: RoleAnswer = quick_xml::de::from_str(&document).map_err(|error| nonsense(ACTION, error.to_string()))?;
        Ok(answer.result.role.arn)
    }

    async fn simulate_as(&self, source: &str, ask: &Ask) -> Result<BTreeMap<String, Verdict>> {
        let found = pages(SIMULATE, usize::MAX, async |marker| {
            let mut fields = vec![("PolicySourceArn".to_owned(), source.to_owned()), ("MaxItems".to_owned(), PAGE.to_owned())];
            fields.extend(ask.actions.iter().zip(1..).map(|(action, n)| (format!("ActionNames.member.{n}"), (*action).to_owned())));
            fields.extend(ask.resources.iter().zip(1..).map(|(arn, n)| (format!("ResourceArns.member.{n}"), arn.clone())));
            for ((key, value), n) in ask.context.iter().zip(1..) {
                let mut field = |name: &str, value: &str| fields.push((format!("ContextEntries.member.{n}.{name}"), value.to_owned()));
                let (kind, values) = match value {
                    Told::Text(text) => ("string", vec![text.clone()]),
                    Told::Number(number) => ("numeric", vec![number.to_string()]),
                    Told::Texts(texts) => ("stringList", texts.clone()),
                };
                field("ContextKeyName", key);
                field("ContextKeyType", kind);
                for (value, n) in values.iter().zip(1..) {
                    field(&format!("ContextKeyValues.member.{n}"), value);
                }
            }
            fields.extend(marker.map(|marker| ("Marker".to_owned(), marker)));
            let document = self.gate.pass(SIMULATE, self.signed.query(Service::Iam, VERSION, SIMULATE, &fields)).await?;
            let answer: Simulated = quick_xml::de::from_str(&document).map_err(|error| nonsense(SIMULATE, error.to_string()))?;
            Ok((answer.result.evaluation_results.all, answer.result.marker))
        });
        Ok(worst(&found.await?))
    }
}

/// Each action with the worst that was said of it.
fn worst(found: &[Evaluation]) -> BTreeMap<String, Verdict> {
    let mut all = BTreeMap::new();
    for one in found {
        let verdict = all.entry(one.eval_action_name.clone()).or_insert(Verdict::Allowed);
        *verdict = one.verdict().max(*verdict);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_those_of_the_user_or_of_the_role_behind_the_session() {
        let table = [
            ("arn:aws:sts::123456789012:assumed-role/on-call/ann", Some("arn:aws:iam::123456789012:role/on-call")),
            ("arn:aws-cn:sts::123456789012:assumed-role/on-call/ann", Some("arn:aws-cn:iam::123456789012:role/on-call")),
            ("arn:aws:iam::123456789012:user/ops/ann", Some("arn:aws:iam::123456789012:user/ops/ann")),
            ("arn:aws:iam::123456789012:role/fleet/shop", Some("arn:aws:iam::123456789012:role/fleet/shop")),
            ("arn:aws:iam::123456789012:root", None),
            ("arn:aws:sts::123456789012:federated-user/ann", None),
            ("", None),
        ];
        for (caller, source) in table {
            assert_eq!(principal(caller).as_deref(), source, "{caller}");
        }
    }

    #[test]
    fn the_worst_result_of_an_action_counts_and_what_depends_on_an_untold_condition_is_unclear() {
        let document = "<SimulatePrincipalPolicyResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><SimulatePrincipalPolicyResult>\
             <EvaluationResults>\
             <member><EvalActionName>a:Allowed</EvalActionName><EvalDecision>allowed</EvalDecision><MatchedStatements/></member>\
             <member><EvalActionName>a:Denied</EvalActionName><EvalDecision>explicitDeny</EvalDecision><MissingContextValues/></member>\
             <member><EvalActionName>a:Nowhere</EvalActionName><EvalDecision>implicitDeny</EvalDecision></member>\
             <member><EvalActionName>a:ByTag</EvalActionName><EvalDecision>implicitDeny</EvalDecision>\
             <MissingContextValues><member>aws:ResourceTag/team</member></MissingContextValues></member>\
             <member><EvalActionName>a:Allowed</EvalActionName><EvalDecision>implicitDeny</EvalDecision></member>\
             <member><EvalActionName>a:OnOne</EvalActionName><EvalDecision>implicitDeny</EvalDecision><ResourceSpecificResults>\
             <member><EvalResourceName>x</EvalResourceName><EvalResourceDecision>allowed</EvalResourceDecision></member>\
             <member><EvalResourceName>y</EvalResourceName><EvalResourceDecision>implicitDeny</EvalResourceDecision><MissingContextValues>\
             <member>autoscaling:ResourceTag/team</member></MissingContextValues></member></ResourceSpecificResults></member>\
             <member><EvalActionName>a:Novel</EvalActionName><EvalDecision>perhaps</EvalDecision></member>\
             </EvaluationResults><IsTruncated>false</IsTruncated></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>";
        let answer: Simulated = quick_xml::de::from_str(document).expect("a document");
        let verdicts: Vec<(String, Verdict)> = worst(&answer.result.evaluation_results.all).into_iter().collect();
        let all = [
            ("a:Allowed", Verdict::Denied),
            ("a:ByTag", Verdict::Unclear),
            ("a:Denied", Verdict::Denied),
            ("a:Novel", Verdict::Unclear),
            ("a:Nowhere", Verdict::Denied),
            ("a:OnOne", Verdict::Unclear),
        ];
        assert_eq!(verdicts, all.map(|(action, verdict)| (action.to_owned(), verdict)));
    }
}
