//! A running moto, and how to make things in it.
#![allow(dead_code, clippy::disallowed_methods, reason = "each test uses its part; the environment tells where the server is")]

use bellrock::model::GroupName;

/// A running moto, spoken to in plain Query requests for what Bellrock itself never does: creating things.
pub struct Moto {
    pub url: String,
    pub region: &'static str,
    http: reqwest::Client,
}

impl Moto {
    /// A region for each test: whatever touches one group in moto makes it register the targets of all groups of the region anew.
    pub fn find(region: &'static str) -> Self {
        let url = std::env::var("BELLROCK_MOTO").unwrap_or_else(|_| {
            panic!(
                "BELLROCK_MOTO is not set. `tests/run` starts moto and sets it; by hand: \
                 python3 -m venv V && V/bin/pip install 'moto[server]' && V/bin/moto_server -H 127.0.0.1 -p 5555 & \
                 then BELLROCK_MOTO=http://127.0.0.1:5555 cargo test --test moto --test moto_e2e"
            )
        });
        Self { url, region, http: reqwest::Client::builder().no_proxy().build().expect("a client without certificates to load") }
    }

    /// Answers its ARN.
    pub async fn create_target_group(&self, name: &str) -> String {
        let vpcs = self.ask("ec2", "2016-11-15", "DescribeVpcs", &[]).await;
        let vpc = between(&vpcs, "<vpcId>", "</vpcId>");
        let fields = [("Name", name), ("Protocol", "HTTP"), ("Port", "8080"), ("VpcId", &vpc)];
        let made = self.ask("elasticloadbalancing", "2015-12-01", "CreateTargetGroup", &fields).await;
        between(&made, "<TargetGroupArn>", "</TargetGroupArn>")
    }

    pub async fn create_classic(&self, name: &str) {
        let zone = format!("{}a", self.region);
        let fields = [
            ("LoadBalancerName", name),
            ("Listeners.member.1.Protocol", "http"),
            ("Listeners.member.1.LoadBalancerPort", "80"),
            ("Listeners.member.1.InstancePort", "8080"),
            ("AvailabilityZones.member.1", &zone),
        ];
        self.ask("elasticloadbalancing", "2012-06-01", "CreateLoadBalancer", &fields).await;
    }

    pub async fn create_group(&self, name: &GroupName, min: u32, desired: u32, max: u32, team: &str, more: &[(&str, &str)]) {
        let configuration = [("LaunchConfigurationName", name.as_str()), ("ImageId", "ami-12c6146b"), ("InstanceType", "t3.micro")];
        self.ask("autoscaling", "2011-01-01", "CreateLaunchConfiguration", &configuration).await;
        let zone = format!("{}a", self.region);
        let sizes = [min, desired, max].map(|size| size.to_string());
        let mut fields = vec![
            ("AutoScalingGroupName", name.as_str()),
            ("LaunchConfigurationName", name.as_str()),
            ("AvailabilityZones.member.1", &zone),
            ("MinSize", &sizes[0]),
            ("DesiredCapacity", &sizes[1]),
            ("MaxSize", &sizes[2]),
            ("Tags.member.1.ResourceId", name.as_str()),
            ("Tags.member.1.ResourceType", "auto-scaling-group"),
            ("Tags.member.1.Key", "team"),
            ("Tags.member.1.Value", team),
            ("Tags.member.1.PropagateAtLaunch", "false"),
        ];
        fields.extend(more);
        self.ask("autoscaling", "2011-01-01", "CreateAutoScalingGroup", &fields).await;
    }

    /// One Query request. moto checks no signature, but reads service and region from where one would be.
    pub async fn ask(&self, service: &str, version: &str, action: &str, fields: &[(&str, &str)]) -> String {
        let scope =
            format!("AWS4-HMAC-SHA256 Credential=testing/20260101/{}/{service}/aws4_request, SignedHeaders=host, Signature=0", self.region);
        let mut form = vec![("Action", action), ("Version", version)];
        form.extend(fields);
        let answer = self.http.post(&self.url).header("authorization", scope).form(&form).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("moto at {} does not answer: {error}", self.url));
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        assert!(status.is_success() || text.contains("AlreadyExists"), "{action}: {status} {text}");
        text
    }
}

/// A name that another run on the same moto has not used.
pub fn unique(name: &str) -> String {
    format!("{name}{}", std::process::id())
}

pub fn between(text: &str, start: &str, end: &str) -> String {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no {start} in {text}"));
    rest.split_once(end).unwrap_or_else(|| panic!("no {end} in {text}")).0.to_owned()
}
