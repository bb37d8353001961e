//! IAM, as far as somebody asks what they may do.

use super::Actions;
use super::query::Params;
use super::query::Xml;
use crate::cloud::sim::ACCOUNT;
use crate::cloud::sim::ApiResult;
use crate::cloud::sim::Region;

pub(super) const ACTIONS: Actions = &[("SimulatePrincipalPolicy", simulate), ("GetRole", role)];

fn simulate(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let denied = r.simulate_principal_policy(&p.owned("ActionNames"))?;
    x.list("EvaluationResults", p.owned("ActionNames"), |x, action| {
        let decision = if denied.contains(&action) { "explicitDeny" } else { "allowed" };
        x.text("EvalActionName", action).text("EvalResourceName", "*").text("EvalDecision", decision);
        x.texts("MatchedStatements", [""; 0]).texts("MissingContextValues", [""; 0]);
        x.list("ResourceSpecificResults", p.owned("ResourceArns"), |x, arn| {
            x.text("EvalResourceName", arn).text("EvalResourceDecision", decision);
            x.texts("MatchedStatements", [""; 0]).texts("MissingContextValues", [""; 0]);
        });
    });
    x.text("IsTruncated", false);
    Ok(())
}

fn role(_: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let name = p.required("RoleName")?;
    x.nest("Role", |x| {
        x.text("Path", "/").text("RoleName", name).text("Arn", format_args!("arn:aws:iam::{ACCOUNT}:role/{name}"));
    });
    Ok(())
}
