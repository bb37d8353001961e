//! AWS's Query protocol as Auto Scaling, both load balancing APIs and STS speak it, and EC2's dialect of it: pairs in, XML out.
//!
//! What must stay true: names and nesting are AWS's own (botocore 1.44.5, `service-2.json`), so that an unmodified client reads an answer.
//! Input is hostile: depth and list indices are bounded, and what cannot be read is a `ValidationError`, never a panic.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fmt::Write;

use quick_xml::escape::escape;

use crate::cloud::sim::ApiError;

/// Deepest dotted name that is taken apart; AWS's own reach six.
const MAX_DEPTH: usize = 12;

/// Parameters of one call, as the tree that their dotted names spell.
#[derive(Debug, Default)]
pub(super) struct Params {
    value: Option<String>,
    below: BTreeMap<String, Params>,
}

impl Params {
    /// Builds the tree. Of a name that is given twice the last counts.
    pub(super) fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, ApiError> {
        let mut root = Self::default();
        for (name, value) in pairs {
            if name.split('.').count() > MAX_DEPTH {
                return Err(ApiError::validation(format!("{name}: nested too deeply")));
            }
            let leaf = name.split('.').fold(&mut root, |node, part| node.below.entry(part.to_owned()).or_default());
            leaf.value = Some(value);
        }
        Ok(root)
    }

    /// The text of a parameter; an empty one counts as absent.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.below.get(name)?.value.as_deref().filter(|v| !v.is_empty())
    }

    /// The text of a parameter that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.text(name).ok_or_else(|| {
            let field = lower_first(name);
            ApiError::validation(format!(
                "1 validation error detected: Value null at '{field}' failed to satisfy constraint: Member must not be null"
            ))
        })
    }

    /// A whole number, where there is one.
    pub(super) fn number<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>, ApiError> {
        self.text(name).map(|v| v.parse().map_err(|_| malformed(format!("{name}: {v} is not a number in range")))).transpose()
    }

    /// `true` or `false`, where there is one.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.text(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(malformed(format!("{name}: {other} must be true or false"))),
        }
    }

    /// A structure, where there is one.
    pub(super) fn below(&self, name: &str) -> Option<&Params> {
        self.below.get(name)
    }

    /// The members of a list in the order of their numbers: `Name.member.N` or, as EC2 writes it, `Name.N`. Empty when absent or empty.
    pub(super) fn list(&self, name: &str) -> Vec<&Params> {
        let Some(list) = self.below.get(name) else { return Vec::new() };
        let members = list.below.get("member").unwrap_or(list);
        let mut numbered: Vec<(u32, &Params)> = members.below.iter().filter_map(|(n, p)| Some((n.parse().ok()?, p))).collect();
        numbered.sort_by_key(|(n, _)| *n);
        numbered.into_iter().map(|(_, p)| p).collect()
    }

    /// The members of a list of texts.
    pub(super) fn texts(&self, name: &str) -> Vec<&str> {
        self.list(name).into_iter().filter_map(|p| p.value.as_deref()).collect()
    }

    /// The same, owned.
    pub(super) fn owned(&self, name: &str) -> Vec<String> {
        self.texts(name).into_iter().map(str::to_owned).collect()
    }
}

fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// XML under construction. A missing value leaves no element, as AWS does it.
#[derive(Debug)]
pub(super) struct Xml {
    out: String,
    member: &'static str,
}

impl Xml {
    /// For the services whose lists hold `member`s.
    pub(super) fn query() -> Self {
        Self { out: String::new(), member: "member" }
    }

    /// For EC2, whose lists hold `item`s.
    pub(super) fn ec2() -> Self {
        Self { out: String::new(), member: "item" }
    }

    /// An element with a text.
    pub(super) fn text(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.open(name);
        let text = value.to_string();
        self.out.push_str(&escape_text(&text));
        self.close(name)
    }

    /// An element with a text, or none at all.
    pub(super) fn maybe(&mut self, name: &str, value: Option<impl Display>) -> &mut Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// An element with elements.
    pub(super) fn nest(&mut self, name: &str, inside: impl FnOnce(&mut Self)) -> &mut Self {
        self.open(name);
        inside(self);
        self.close(name)
    }

    /// A list of structures; an empty one is an empty element.
    pub(super) fn list<T>(&mut self, name: &str, items: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut Self, T)) -> &mut Self {
        let member = self.member;
        self.nest(name, |x| {
            for item in items {
                x.nest(member, |x| each(x, item));
            }
        })
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, name: &str, items: impl IntoIterator<Item = impl Display>) -> &mut Self {
        let member = self.member;
        self.nest(name, |x| {
            for item in items {
                x.text(member, item);
            }
        })
    }

    fn open(&mut self, name: &str) -> &mut Self {
        write!(self.out, "<{name}>").expect("a String takes everything");
        self
    }

    fn close(&mut self, name: &str) -> &mut Self {
        write!(self.out, "</{name}>").expect("a String takes everything");
        self
    }
}

/// Escaped for XML 1.0, which has no way to write most control characters: those are dropped.
fn escape_text(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_unwritable) {
        let kept: String = text.chars().filter(|c| !is_unwritable(*c)).collect();
        return Cow::Owned(escape(kept.as_str()).into_owned());
    }
    escape(text)
}

fn is_unwritable(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r')
}

/// A service's way of wrapping what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// EC2 Auto Scaling.
    AutoScaling,
    /// Application and network load balancers.
    ElbV2,
    /// Classic load balancers.
    Elb,
    /// EC2.
    Ec2,
    /// Security tokens.
    Sts,
    /// Permissions.
    Iam,
}

impl Service {
    /// The service whose API has this version: the one parameter that tells them apart when all share an address.
    pub(super) fn of_version(version: &str) -> Option<Self> {
        match version {
            "2011-01-01" => Some(Self::AutoScaling),
            "2015-12-01" => Some(Self::ElbV2),
            "2012-06-01" => Some(Self::Elb),
            "2016-11-15" => Some(Self::Ec2),
            "2011-06-15" => Some(Self::Sts),
            "2010-05-08" => Some(Self::Iam),
            _ => None,
        }
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::AutoScaling => "http://autoscaling.amazonaws.com/doc/2011-01-01/",
            Self::ElbV2 => "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
            Self::Elb => "http://elasticloadbalancing.amazonaws.com/doc/2012-06-01/",
            Self::Ec2 => "http://ec2.amazonaws.com/doc/2016-11-15/",
            Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
            Self::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
        }
    }

    /// An empty body in this service's dialect.
    pub(super) fn xml(self) -> Xml {
        match self {
            Self::Ec2 => Xml::ec2(),
            Self::AutoScaling | Self::ElbV2 | Self::Elb | Self::Sts | Self::Iam => Xml::query(),
        }
    }

    /// The document of a call that went well.
    pub(super) fn answer(self, action: &str, request_id: &str, body: &Xml) -> String {
        let (ns, body) = (self.namespace(), &body.out);
        match self {
            Self::Ec2 => {
                format!("{HEAD}<{action}Response xmlns=\"{ns}\"><requestId>{request_id}</requestId>{body}</{action}Response>")
            }
            Self::AutoScaling | Self::ElbV2 | Self::Elb | Self::Sts | Self::Iam => format!(
                "{HEAD}<{action}Response xmlns=\"{ns}\"><{action}Result>{body}</{action}Result>\
                 <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
            ),
        }
    }

    /// The document of a call that failed.
    pub(super) fn error(self, request_id: &str, failure: &ApiError) -> String {
        let (code, message) = (escape_text(failure.code), escape_text(&failure.message));
        match self {
            Self::Ec2 => format!(
                "{HEAD}<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>\
                 <RequestID>{request_id}</RequestID></Response>"
            ),
            Self::AutoScaling | Self::ElbV2 | Self::Elb | Self::Sts | Self::Iam => {
                let side = if failure.status < 500 { "Sender" } else { "Receiver" };
                let ns = self.namespace();
                format!(
                    "{HEAD}<ErrorResponse xmlns=\"{ns}\"><Error><Type>{side}</Type><Code>{code}</Code><Message>{message}</Message></Error>\
                     <RequestId>{request_id}</RequestId></ErrorResponse>"
                )
            }
        }
    }
}

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// The service has no such action, or the simulated region does not.
pub(super) fn unknown_action(action: &str) -> ApiError {
    ApiError::new("InvalidAction", format!("Could not find operation {action} in the simulated region"))
}

fn malformed(message: String) -> ApiError {
    ApiError::new("MalformedInput", message)
}

/// One page of a longer list.
#[derive(Debug)]
pub(super) struct Page<T> {
    /// What the page shows.
    pub(super) items: Vec<T>,
    /// Where the next one starts; `None` after the last.
    pub(super) next: Option<String>,
}

/// Limits and names of a paged call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paging {
    /// Parameter with the page's size.
    pub(super) size: &'static str,
    /// Parameter with the token.
    pub(super) token: &'static str,
    /// Size when none is asked for.
    pub(super) default: usize,
    /// Largest size; more is refused.
    pub(super) max: usize,
}

impl Paging {
    /// EC2 Auto Scaling: `MaxRecords` 50, at most 100 (emulators.md §1.1, draining.md §4.6).
    pub(super) const RECORDS: Self = Self { size: "MaxRecords", token: "NextToken", default: 50, max: 100 };
    /// Both load balancing APIs: `PageSize` up to 400.
    pub(super) const MARKER: Self = Self { size: "PageSize", token: "Marker", default: 400, max: 400 };
    /// EC2: `MaxResults` up to 1000.
    pub(super) const RESULTS: Self = Self { size: "MaxResults", token: "NextToken", default: 1000, max: 1000 };

    /// Cuts the page that is asked for. Tokens are positions, opaque to the client.
    pub(super) fn cut<T>(self, params: &Params, items: Vec<T>) -> Result<Page<T>, ApiError> {
        let size = params.number::<usize>(self.size)?.unwrap_or(self.default);
        if size == 0 || size > self.max {
            let (field, bound) = (lower_first(self.size), if size == 0 { "greater than or equal to 1".into() } else { self.at_most() });
            return Err(ApiError::validation(format!(
                "1 validation error detected: Value '{size}' at '{field}' failed to satisfy constraint: Member must have value {bound}"
            )));
        }
        let start = match params.text(self.token) {
            None => 0,
            Some(token) => token
                .strip_prefix("page-")
                .and_then(|n| n.parse::<usize>().ok())
                .ok_or_else(|| ApiError::new("InvalidNextToken", "The token is not valid"))?,
        };
        let total = items.len();
        let items: Vec<T> = items.into_iter().skip(start).take(size).collect();
        let end = start.saturating_add(items.len());
        Ok(Page { items, next: (end < total).then(|| format!("page-{end}")) })
    }

    fn at_most(self) -> String {
        format!("less than or equal to {}", self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params::from_pairs(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))).expect("fine")
    }

    #[test]
    fn lists_of_structures_and_of_texts_keep_their_numeric_order() {
        let p = params(&[
            ("Filters.member.10.Name", "z"),
            ("Filters.member.2.Name", "tag:a"),
            ("Filters.member.2.Values.member.1", "x"),
            ("Filters.member.2.Values.member.2", "y"),
            ("InstanceId.2", "i-2"),
            ("InstanceId.1", "i-1"),
        ]);
        let filters = p.list("Filters");
        assert_eq!(filters.iter().map(|f| f.text("Name")).collect::<Vec<_>>(), [Some("tag:a"), Some("z")]);
        assert_eq!(filters[0].texts("Values"), ["x", "y"]);
        assert_eq!(p.texts("InstanceId"), ["i-1", "i-2"], "EC2 writes no `member`");
    }

    #[test]
    fn an_empty_list_is_present_and_empty_and_an_absent_one_is_absent() {
        let p = params(&[("ScalingProcesses", "")]);
        assert!(p.below("ScalingProcesses").is_some() && p.texts("ScalingProcesses").is_empty());
        assert!(p.below("Filters").is_none() && p.texts("Filters").is_empty());
    }

    #[test]
    fn what_is_not_a_number_or_a_flag_is_refused_by_name() {
        let p = params(&[("MinSize", "-1"), ("HonorCooldown", "yes")]);
        assert_eq!(p.number::<u32>("MinSize").unwrap_err().code, "MalformedInput");
        assert!(p.flag("HonorCooldown").unwrap_err().message.contains("HonorCooldown"));
        assert_eq!(p.required("AutoScalingGroupName").unwrap_err().code, "ValidationError");
    }

    #[test]
    fn endless_nesting_is_refused() {
        assert!(Params::from_pairs([("a.".repeat(10_000), String::new())]).is_err());
    }

    #[test]
    fn an_answer_and_an_error_look_like_each_services_own() {
        let mut body = Service::AutoScaling.xml();
        body.list("Tags", ["a<b"], |x, key| {
            x.text("Key", key).maybe("Value", None::<&str>);
        });
        assert_eq!(
            Service::AutoScaling.answer("DescribeTags", "r-1", &body),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <DescribeTagsResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\"><DescribeTagsResult>\
             <Tags><member><Key>a&lt;b</Key></member></Tags></DescribeTagsResult>\
             <ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></DescribeTagsResponse>"
        );
        let failure = ApiError::validation("no \u{1}such & such");
        assert_eq!(
            Service::Elb.error("r-2", &failure),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <ErrorResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2012-06-01/\"><Error><Type>Sender</Type>\
             <Code>ValidationError</Code><Message>no such &amp; such</Message></Error><RequestId>r-2</RequestId></ErrorResponse>"
        );
        assert_eq!(
            Service::Ec2.error("r-3", &ApiError::new("InvalidInstanceID.NotFound", "gone")),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>InvalidInstanceID.NotFound</Code>\
             <Message>gone</Message></Error></Errors><RequestID>r-3</RequestID></Response>"
        );
        assert_eq!(
            Service::Ec2.answer("DescribeImages", "r-4", Service::Ec2.xml().texts("imagesSet", ["ami-1"])),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeImagesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
             <requestId>r-4</requestId><imagesSet><item>ami-1</item></imagesSet></DescribeImagesResponse>"
        );
    }

    #[test]
    fn pages_join_up_to_the_whole_and_too_large_a_page_is_refused() {
        let (mut seen, mut token) = (Vec::new(), None::<String>);
        loop {
            let mut pairs = vec![("MaxRecords".to_owned(), "3".to_owned())];
            pairs.extend(token.map(|t| ("NextToken".to_owned(), t)));
            let page = Paging::RECORDS.cut(&Params::from_pairs(pairs).expect("fine"), (0..8).collect()).expect("a page");
            seen.extend(page.items);
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..8).collect::<Vec<_>>());
        let refused = Paging::RECORDS.cut(&params(&[("MaxRecords", "101")]), vec![1]).unwrap_err();
        assert!(refused.code == "ValidationError" && refused.message.contains("less than or equal to 100"), "{refused}");
        assert_eq!(Paging::RECORDS.cut(&params(&[("NextToken", "x")]), vec![1]).unwrap_err().code, "InvalidNextToken");
        assert!(Paging::RECORDS.cut(&params(&[("NextToken", "page-99")]), vec![1]).expect("past the end").items.is_empty());
    }
}
