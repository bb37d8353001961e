//! Names of things in AWS, each its own type, so that one is never passed for another.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the name as it was written; nothing is checked or changed.
            pub fn new(name: impl Into<String>) -> Self {
                Self(name.into())
            }

            /// The name as AWS writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }
    };
}

name!(
    /// An EC2 instance id, `i-` and 8 or 17 hex digits.
    InstanceId
);
name!(
    /// The name of an Auto Scaling group; Spinnaker calls it a server group.
    GroupName
);
name!(
    /// The ARN of an ELBv2 target group.
    TargetGroupArn
);
