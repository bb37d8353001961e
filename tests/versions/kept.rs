//! What another Bellrock left, put where today's finds it: the files in `0df7544/`, with only the names of places changed.

use std::path::Path;

use serde_json::Value;

/// A file that the previous version wrote, with these names of the place it was written in exchanged for ours.
pub fn previous(file: &str, here: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/versions/0df7544").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    here.iter().fold(text, |text, (from, to)| text.replace(from, to))
}

/// Where the jobs of `redis.json` put what they have to tell.
pub const WORLD: &str = "/tmp/previous/world";

/// What two agents left in Redis when they were killed.
pub struct Store {
    pub json: Value,
}

impl Store {
    /// With the instance that owned things named so, and jobs that write into this folder.
    pub fn of(owner: &str, world: &Path) -> Self {
        let text = previous("redis.json", &[("i-220e58ba1fdbc1bbe", owner), (WORLD, &world.display().to_string())]);
        Self { json: serde_json::from_str(&text).expect("JSON") }
    }

    /// The id of one of its executions.
    pub fn execution(&self, name: &str) -> &str {
        self.json["executions"][name].as_str().expect("one of those in redis.json")
    }

    /// The key of one of its executions.
    pub fn key(&self, name: &str) -> String {
        format!("pipeline:{}", self.execution(name))
    }

    /// Where the API has one of its executions.
    pub fn path(&self, name: &str) -> String {
        format!("/pipelines/{}", self.execution(name))
    }

    /// Puts it all into an empty server.
    pub fn put(&self, redis: &mut redis::Connection) {
        put(&self.json["keys"], redis);
    }

    /// Leaves what the owner had on its disk: its session, and a job that ended while no agent was there.
    pub fn put_state(&self, state: &Path, world: &Path) {
        let owner = self.json["owner"].as_str().expect("an instance");
        let here = [("i-220e58ba1fdbc1bbe", owner), (WORLD, &world.display().to_string())];
        let job = state.join("jobs").join(self.json["job"].as_str().expect("a folder's name"));
        std::fs::create_dir_all(&job).expect("a directory of our own");
        let put = |to: &Path, text: &str| std::fs::write(to, text).expect("a directory of our own");
        put(&state.join("engine-session.json"), &previous("engine-session.json", &here));
        for file in ["job.json", "pid", "result.json", "stdout"] {
            put(&job.join(file), &previous(&format!("job/{file}"), &here));
        }
        put(&job.join("lock"), "");
    }
}

/// Puts keys, with their types, into a server.
pub fn put(keys: &Value, redis: &mut redis::Connection) {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    for (key, typed) in keys.as_object().expect("keys") {
        let (kind, content) = typed.as_object().and_then(|typed| typed.iter().next()).expect("a type");
        let (command, args): (&str, Vec<String>) = match kind.as_str() {
            "hash" => ("HSET", content.as_object().expect("fields").iter().flat_map(|(name, value)| [name.clone(), text(value)]).collect()),
            "zset" => ("ZADD", content.as_array().expect("pairs").iter().flat_map(|pair| [text(&pair[1]), text(&pair[0])]).collect()),
            "set" => ("SADD", content.as_array().expect("members").iter().map(text).collect()),
            "list" => ("RPUSH", content.as_array().expect("members").iter().map(text).collect()),
            other => {
                assert_eq!(other, "string");
                ("SET", vec![text(content)])
            }
        };
        redis::cmd(command).arg(key).arg(args).exec(redis).expect("a server of our own");
    }
}

/// Every field of `part` is in `whole`, and is the same there.
pub fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part.iter().all(|(name, value)| whole.get(name).is_some_and(|w| holds(w, value))),
        (whole, part) => whole == part,
    }
}
