//! STS: who the caller is. Any credentials do.

use super::Actions;
use super::query::Params;
use super::query::Xml;
use crate::cloud::sim::ApiResult;
use crate::cloud::sim::Region;

pub(super) const ACTIONS: Actions = &[("GetCallerIdentity", caller)];

fn caller(r: &mut Region, _: &Params, x: &mut Xml) -> ApiResult<()> {
    let caller = r.get_caller_identity()?;
    x.text("Arn", caller.arn).text("UserId", "AROASIMULATEDREGION0:on-call").text("Account", caller.account);
    Ok(())
}
