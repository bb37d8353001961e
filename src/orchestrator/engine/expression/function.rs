//! The `#functions`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Map;
use serde_json::Number;
use serde_json::Value;

use super::Datum;
use super::address;
use super::datum::Style;
use super::derived;
use super::error::Problem;
use super::error::cut;
use super::eval::Machine;
use super::java;
use super::java::Thing;
use super::limit;
use super::template;

/// Calls a function; an error when there is none of this name for so many arguments.
pub fn call<'a>(machine: &Machine<'a, '_>, name: &str, arguments: &[Datum<'a>]) -> Result<Datum<'a>, Problem> {
    let function = Function { machine, name };
    let found = match arguments {
        [] => function.of_none()?,
        [one] => function.of_one(one)?,
        _ => None,
    };
    match found.map_or_else(|| function.of_many(arguments), |found| Ok(Some(found)))? {
        Some(found) => Ok(found),
        None => {
            let name = format!("#{}", cut(name, limit::QUOTE));
            Err(Problem::NoMethod { name, arguments: arguments.len(), on: "an expression" })
        }
    }
}

struct Function<'m, 'a, 'b> {
    machine: &'m Machine<'a, 'b>,
    name: &'m str,
}

impl<'a> Function<'_, 'a, '_> {
    fn fail(&self, why: impl Into<String>) -> Problem {
        Problem::Function { name: self.name.to_owned(), why: why.into() }
    }

    fn of_none(&self) -> Result<Option<Datum<'a>>, Problem> {
        Ok(Some(match self.name {
            "currentStage" => self.machine.scope.current_stage().ok_or_else(|| self.fail("there is no current stage"))?,
            "currentUser" => self.machine.scope.user().unwrap_or("anonymous").into(),
            "resolvedArtifacts" => self.artifacts()?.into(),
            _ => return Ok(None),
        }))
    }

    fn of_one(&self, one: &Datum<'a>) -> Result<Option<Datum<'a>>, Problem> {
        Ok(Some(match self.name {
            "stage" => self.stage(one, &["name", "id"])?,
            "stageByRefId" => self.stage(one, &["refId"])?,
            "stageExists" => self.find(one, &["name", "id"], None)?.is_some().into(),
            "judgment" | "judgement" => {
                let stage = self.find(one, &["name", "id"], Some("manualJudgment"))?;
                let stage = stage.ok_or_else(|| self.no_stage(one))?;
                stage.field("context").and_then(|context| context.field("judgmentInput")).unwrap_or(Datum::NULL)
            }
            "toJson" => self.to_json(one)?,
            "doNotEval" => match one.as_str() {
                Some(text) if text.contains(template::OPEN) => Thing::Literal(text.to_owned()).into(),
                _ => one.clone(),
            },
            "readJson" => self.read_json(&self.text(one)?)?.into(),
            "readYaml" => self.read_yaml(&self.text(one)?)?.into_iter().next().unwrap_or_default().into(),
            "readAllYaml" => Value::Array(self.read_yaml(&self.text(one)?)?).into(),
            "fromUrl" => self.page(one)?.into(),
            "jsonFromUrl" => self.read_json(self.page(one)?)?.into(),
            "yamlFromUrl" => self.read_yaml(self.page(one)?)?.into_iter().next().unwrap_or_default().into(),
            "propertiesFromUrl" => {
                let page = self.page(one)?;
                self.machine.budget.room(page.len().saturating_mul(4))?;
                Value::Object(properties(page)).into()
            }
            "toInt" => {
                let text = self.text(one)?;
                text.parse::<i64>().map_err(|_| self.fail(format!("'{}' is no whole number", cut(&text, limit::QUOTE))))?.into()
            }
            "toFloat" => Datum::real(java::real(self.machine, one).map_err(|e| self.fail(e.to_string()))?)?,
            "toBoolean" => one.text(Style::Java).is_some_and(|text| text.eq_ignore_ascii_case("true")).into(),
            "toBase64" => STANDARD.encode(self.text(one)?).into(),
            "fromBase64" => {
                let bytes = STANDARD.decode(self.text(one)?).map_err(|e| self.fail(format!("this is not base64: {e}")))?;
                String::from_utf8_lossy(&bytes).into_owned().into()
            }
            "alphanumerical" => {
                let mut text = self.text(one)?;
                text.retain(|c| c.is_ascii_alphanumeric());
                text.into()
            }
            "triggerResolvedArtifact" => self.artifact("name", one)?,
            "triggerResolvedArtifactByType" => self.artifact("type", one)?,
            _ => return Ok(None),
        }))
    }

    fn of_many(&self, arguments: &[Datum<'a>]) -> Result<Option<Datum<'a>>, Problem> {
        Ok(Some(match (self.name, arguments) {
            ("deployedServerGroups", names) => {
                let spread: Vec<Datum<'a>> = names.iter().flat_map(|name| name.items().unwrap_or_else(|| vec![name.clone()])).collect();
                let names: Vec<&str> = spread.iter().filter_map(Datum::as_str).collect();
                derived::deployed(self.machine, &names)?
            }
            ("pipelineId", [name]) => self.pipeline_id(name, None)?,
            ("pipelineId" | "pipelineIdInApplication", [name, application]) => self.pipeline_id(name, Some(application))?,
            ("manifestLabelValue", [stage, kind, label]) => self.manifest_label(stage, kind, label)?,
            _ => return Ok(None),
        }))
    }

    /// The text of an argument; null has none.
    fn text(&self, value: &Datum<'_>) -> Result<String, Problem> {
        if value.is_null() {
            return Err(self.fail("a text is needed, not null"));
        }
        self.machine.text(value, Style::Java)
    }

    fn find(&self, wanted: &Datum<'_>, keys: &[&str], kind: Option<&str>) -> Result<Option<Datum<'a>>, Problem> {
        let wanted = self.text(wanted)?;
        for stage in self.machine.scope.stages() {
            self.machine.budget.work(1)?;
            let is = |key: &str, value: &str| stage.field(key).is_some_and(|f| f.as_str() == Some(value));
            if kind.is_none_or(|kind| is("type", kind)) && keys.iter().any(|key| is(key, &wanted)) {
                return Ok(Some(stage));
            }
        }
        Ok(None)
    }

    fn stage(&self, wanted: &Datum<'_>, keys: &[&str]) -> Result<Datum<'a>, Problem> {
        self.find(wanted, keys, None)?.ok_or_else(|| self.no_stage(wanted))
    }

    fn no_stage(&self, wanted: &Datum<'_>) -> Problem {
        let name = wanted.text(Style::Java).unwrap_or_default();
        self.fail(format!("there is no such stage: '{}'", cut(&name, limit::QUOTE)))
    }

    fn to_json(&self, value: &Datum<'a>) -> Result<Datum<'a>, Problem> {
        let literal = matches!(value, Datum::Thing(thing) if matches!(thing.as_ref(), Thing::Literal(_)));
        // Quotes and escapes at most double what is paid for here.
        self.machine.budget.room(value.weight().saturating_mul(2))?;
        let json = value.clone().into_value(self.machine.budget)?.to_string();
        if literal {
            return Ok(Thing::Literal(json).into());
        }
        if json.contains(template::OPEN) {
            return Err(self.fail("result for toJson cannot contain an expression"));
        }
        Ok(json.into())
    }

    /// Pays for what reading a text as data can make of it: every separator may be a node.
    fn read_costs(&self, text: &str) -> Result<(), Problem> {
        let nodes = text.bytes().filter(|b| matches!(b, b',' | b':' | b'[' | b'{' | b'\n')).count();
        self.machine.budget.room(text.len() + nodes.saturating_mul(32))?;
        self.machine.budget.work(nodes / 16)
    }

    fn read_json(&self, text: &str) -> Result<Value, Problem> {
        self.read_costs(text)?;
        serde_json::from_str(text).map_err(|e| self.fail(format!("this is not JSON: {e}")))
    }

    fn read_yaml(&self, text: &str) -> Result<Vec<Value>, Problem> {
        /// Aliases multiply: a text with any has to be small.
        const WITH_ALIASES: usize = 16 << 10;
        /// The reader's own limit of nesting. It finds out only after all of the text, in time that grows with the square of the depth.
        const NESTED: usize = 128;
        self.read_costs(text)?;
        // This reader is slower than JSON's by an order of magnitude.
        self.machine.budget.work(text.len() / 8)?;
        if text.len() > WITH_ALIASES && text.contains('&') && text.contains('*') {
            return Err(self.fail("so long a YAML text must not have aliases"));
        }
        if bracket_depth(text) > NESTED || text.lines().any(|line| compact_depth(line) > NESTED) {
            return Err(self.fail("the YAML text is nested too deep"));
        }
        let documents = serde_yaml_ng::Deserializer::from_str(text).map(serde_yaml_ng::Value::deserialize);
        documents.map(|read| read.map_err(|e| self.fail(format!("this is not YAML: {e}"))).and_then(|yaml| self.json_of(yaml))).collect()
    }

    fn json_of(&self, yaml: serde_yaml_ng::Value) -> Result<Value, Problem> {
        self.machine.budget.room(32)?;
        Ok(match yaml {
            serde_yaml_ng::Value::Null => Value::Null,
            serde_yaml_ng::Value::Bool(b) => Value::Bool(b),
            serde_yaml_ng::Value::Number(n) => n
                .as_i64()
                .map(Number::from)
                .or_else(|| n.as_u64().map(Number::from))
                .or_else(|| Number::from_f64(n.as_f64()?))
                .map_or(Value::Null, Value::Number),
            serde_yaml_ng::Value::String(text) => {
                self.machine.budget.room(text.len())?;
                Value::String(text)
            }
            serde_yaml_ng::Value::Sequence(items) => {
                Value::Array(items.into_iter().map(|item| self.json_of(item)).collect::<Result<_, _>>()?)
            }
            serde_yaml_ng::Value::Mapping(entries) => {
                let mut map = Map::new();
                for (key, value) in entries {
                    let key = Datum::from(self.json_of(key)?).text(Style::Java).map(|text| text.into_owned()).unwrap_or_default();
                    map.insert(key, self.json_of(value)?);
                }
                Value::Object(map)
            }
            serde_yaml_ng::Value::Tagged(tagged) => self.json_of(tagged.value)?,
        })
    }

    /// A page that was fetched; else it is asked for.
    fn page(&self, url: &Datum<'_>) -> Result<&'a str, Problem> {
        let url = self.text(url)?;
        address::check(&url).map_err(|refusal| self.fail(refusal.to_string()))?;
        self.fetched(url)
    }

    /// What came of asking for this address, or a need to ask.
    fn fetched(&self, url: String) -> Result<&'a str, Problem> {
        match self.machine.scope.fetched(&url) {
            None => Err(Problem::Needs(url)),
            Some(Err(why)) => Err(self.fail(cut(why, limit::QUOTE))),
            Some(Ok(page)) => Ok(page),
        }
    }

    /// The artifacts the trigger was resolved to.
    fn artifacts(&self) -> Result<Vec<Datum<'a>>, Problem> {
        let trigger = self.machine.scope.root("trigger").ok_or_else(|| self.fail("there is no trigger"))?;
        let expected = trigger.field("resolvedExpectedArtifacts").and_then(|list| list.items()).unwrap_or_default();
        Ok(expected.iter().filter_map(|one| one.field("boundArtifact")).filter(|bound| !bound.is_null()).collect())
    }

    fn artifact(&self, key: &str, wanted: &Datum<'_>) -> Result<Datum<'a>, Problem> {
        let wanted = self.text(wanted)?;
        let found = self.artifacts()?.into_iter().find(|one| one.field(key).is_some_and(|f| f.as_str() == Some(&wanted)));
        found.ok_or_else(|| self.fail(format!("the trigger has no artifact of {key} '{}'", cut(&wanted, limit::QUOTE))))
    }

    fn pipeline_id(&self, name: &Datum<'_>, application: Option<&Datum<'_>>) -> Result<Datum<'a>, Problem> {
        let name = self.text(name)?;
        let own = || self.machine.scope.root("execution")?.field("application");
        let application = match application {
            Some(application) => self.text(application)?,
            None => self.text(&own().ok_or_else(|| self.fail("the execution names no application"))?)?,
        };
        let address = address::of_pipeline(&application, &name).ok_or_else(|| self.fail("an application's name holds no slash"))?;
        Ok(self.fetched(address)?.into())
    }

    /// A label of the pods of a manifest that a stage deployed.
    fn manifest_label(&self, stage: &Datum<'_>, kind: &Datum<'_>, label: &Datum<'_>) -> Result<Datum<'a>, Problem> {
        let (kind, label) = (self.text(kind)?, self.text(label)?);
        if kind != "Deployment" && kind != "ReplicaSet" {
            return Err(self.fail("the kind has to be Deployment or ReplicaSet"));
        }
        let stage = self.find(stage, &["name", "id"], Some("deployManifest"))?;
        let stage = stage.ok_or_else(|| self.fail("there is no deployManifest stage of this name"))?;
        let manifests = stage.field("context").and_then(|context| context.field("manifests")?.items()).unwrap_or_default();
        let manifest = manifests.into_iter().find(|m| m.field("kind").is_some_and(|k| k.as_str() == Some(&kind)));
        let path = ["spec", "template", "metadata", "labels", label.as_str()];
        let found = manifest.and_then(|manifest| path.iter().try_fold(manifest, |at, key| at.field(key)));
        found.ok_or_else(|| self.fail("there is no such manifest or label"))
    }
}

/// Most brackets that are open at a time; those within quotes count too.
fn bracket_depth(text: &str) -> usize {
    let depths = text.bytes().scan(0_usize, |depth, byte| {
        match byte {
            b'[' | b'{' => *depth += 1,
            b']' | b'}' => *depth = depth.saturating_sub(1),
            _ => {}
        }
        Some(*depth)
    });
    depths.max().unwrap_or_default()
}

/// Levels that one line of YAML opens by `- ` and `? ` at its start.
fn compact_depth(line: &str) -> usize {
    let mut rest = line.trim_start();
    let mut depth = 0;
    while let Some(inner) = rest.strip_prefix("- ").or_else(|| rest.strip_prefix("? ")) {
        rest = inner.trim_start();
        depth += 1;
    }
    depth
}

/// Java's properties: `key=value`, `key: value` or `key value` a line; `#` and `!` begin remarks; a backslash at the end goes on in the next line.
fn properties(text: &str) -> Map<String, Value> {
    let mut map = Map::new();
    let mut lines = text.lines();
    while let Some(first) = lines.next() {
        let mut line = first.trim_start().to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        while line.len() % 2 != line.trim_end_matches('\\').len() % 2 {
            line.pop();
            match lines.next() {
                Some(more) => line.push_str(more.trim_start()),
                None => break,
            }
        }
        let end = line.char_indices().scan(false, |escaped, (at, c)| {
            let ends = !*escaped && (c == '=' || c == ':' || c.is_whitespace());
            *escaped = c == '\\' && !*escaped;
            Some((at, ends))
        });
        let end = end.into_iter().find(|(_, ends)| *ends).map_or(line.len(), |(at, _)| at);
        let value = line[end..].trim_start();
        let value = value.strip_prefix(['=', ':']).unwrap_or(value).trim_start();
        map.insert(unescaped(&line[..end]), Value::String(unescaped(value)));
    }
    map
}

fn unescaped(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(c) = letters.next() {
        if c != '\\' {
            made.push(c);
            continue;
        }
        match letters.next() {
            Some('n') => made.push('\n'),
            Some('t') => made.push('\t'),
            Some('r') => made.push('\r'),
            Some('u') => {
                let code: String = letters.by_ref().take(4).collect();
                made.extend(u32::from_str_radix(&code, 16).ok().and_then(char::from_u32));
            }
            Some(other) => made.push(other),
            None => {}
        }
    }
    made
}
