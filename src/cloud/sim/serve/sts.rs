//! STS: who the caller is, and roles. Any credentials do, and any role of any account.

use std::time::Duration;

use super::Actions;
use super::query::Params;
use super::query::Xml;
use crate::cloud::sim::ApiResult;
use crate::cloud::sim::Region;
use crate::model::Timestamp;

/// How long a session lasts where none is asked for; AWS's own default.
const SESSION: Duration = Duration::from_secs(3600);

pub(super) const ACTIONS: Actions = &[("GetCallerIdentity", caller), ("AssumeRole", assume)];

fn caller(r: &mut Region, _: &Params, x: &mut Xml) -> ApiResult<()> {
    let caller = r.get_caller_identity()?;
    x.text("Arn", caller.arn).text("UserId", "AROASIMULATEDREGION0:on-call").text("Account", caller.account);
    Ok(())
}

/// The access key is the session's name, and so is the caller of what is done with it.
fn assume(r: &mut Region, p: &Params, x: &mut Xml) -> ApiResult<()> {
    let session = p.required("RoleSessionName")?.to_owned();
    let assumed = r.assume_role(p.required("RoleArn")?, &session)?;
    let lasts = p.number::<u32>("DurationSeconds")?.map_or(SESSION, |seconds| Duration::from_secs(seconds.into()));
    let expires = Timestamp(r.wall().0 + i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX / 2));
    x.nest("Credentials", |x| {
        x.text("AccessKeyId", &session)
            .text("SecretAccessKey", "simulated")
            .text("SessionToken", "session-of-a-role")
            .text("Expiration", expires);
    });
    x.nest("AssumedRoleUser", |x| {
        x.text("AssumedRoleId", format_args!("AROASIMULATEDREGION0:{session}")).text("Arn", assumed.arn);
    });
    Ok(())
}
