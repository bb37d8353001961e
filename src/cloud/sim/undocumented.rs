//! Where AWS is undocumented, or evidence about it conflicts (the **U** marks of draining.md): the region does either, by seed, and
//! Bellrock has to be right under both.

use std::time::Duration;

use rand::Rng;
use serde::Deserialize;
use serde::Serialize;

use super::span::secs;

/// One way the undocumented parts of AWS may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Undocumented {
    /// A second terminate of an instance that is ending already (draining.md §4.1).
    pub second_terminate: SecondTerminate,
    /// `TerminateInstanceInAutoScalingGroup` works although `Terminate` is suspended (§4.1).
    pub terminate_while_suspended: bool,
    /// A terminated instance stays in its group's describe, as `Terminated`, for a while; else it vanishes at once (§4.6).
    pub terminated_lingers: bool,
    /// An instance id that a classic load balancer does not know makes the whole `DescribeInstanceHealth` fail (§4.10).
    pub unknown_instance_fails_call: bool,
    /// A decrement during an instance refresh makes the refresh fail (§4.11).
    pub decrement_fails_refresh: bool,
    /// How long after `…:Wait` shows up its action is not yet found (§4.7, F67).
    #[serde(with = "secs")]
    pub hook_invisible: Duration,
}

/// What AWS does with a second terminate of an ending instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondTerminate {
    /// `ValidationError`.
    Refused,
    /// Success, and desired goes down once more.
    DecrementsAgain,
    /// Success, and nothing more happens.
    Accepted,
}

impl Default for Undocumented {
    /// The readings that look likeliest.
    fn default() -> Self {
        Self {
            second_terminate: SecondTerminate::Refused,
            terminate_while_suspended: true,
            terminated_lingers: false,
            unknown_instance_fails_call: true,
            decrement_fails_refresh: false,
            hook_invisible: Duration::ZERO,
        }
    }
}

impl Undocumented {
    /// One of the ways, by lot.
    pub fn draw(rng: &mut impl Rng) -> Self {
        Self {
            second_terminate: match rng.random_range(0..3) {
                0 => SecondTerminate::Refused,
                1 => SecondTerminate::DecrementsAgain,
                _ => SecondTerminate::Accepted,
            },
            terminate_while_suspended: rng.random(),
            terminated_lingers: rng.random(),
            unknown_instance_fails_call: rng.random(),
            decrement_fails_refresh: rng.random(),
            hook_invisible: if rng.random() { Duration::from_secs(rng.random_range(1..=6)) } else { Duration::ZERO },
        }
    }
}
