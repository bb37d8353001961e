//! Auto Scaling of any region that a pipeline names, with the agent's own credentials.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::cloud::AutoScaling;
use crate::cloud::aws;
use crate::cloud::aws::Aws;
use crate::orchestrator::runner::effects::clusters::Regions;

/// Regions that are kept at hand: more than AWS has. A further one is a name somebody made up.
const MAX: usize = 64;

pub(super) struct AwsRegions {
    settings: aws::Settings,
    known: Mutex<BTreeMap<String, Aws>>,
}

impl AwsRegions {
    pub(super) fn new(settings: aws::Settings) -> Self {
        Self { settings, known: Mutex::default() }
    }
}

#[async_trait]
impl Regions for AwsRegions {
    async fn region(&self, name: &str) -> Result<Arc<dyn AutoScaling>, String> {
        // It becomes part of the address that signed requests are sent to.
        let is_one = (1..=32).contains(&name.len()) && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !is_one {
            return Err("this is no name of a region".to_owned());
        }
        let mut known = self.known.lock().await;
        if let Some(aws) = known.get(name) {
            return Ok(Arc::new(aws.clone()));
        }
        if known.len() >= MAX {
            return Err(format!("pipelines have named {MAX} other regions before"));
        }
        let settings = aws::Settings { region: Some(name.to_owned()), ..self.settings.clone() };
        let aws = Aws::connect(&settings).await.map_err(|e| e.to_string())?;
        known.insert(name.to_owned(), aws.clone());
        Ok(Arc::new(aws))
    }
}
