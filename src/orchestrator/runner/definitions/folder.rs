//! Definitions from a directory, which a repository or a deployment writes and nobody else: `*.json`, `*.yaml` and `*.yml`, one pipeline a file.
//!
//! What must stay true: every file is checked as a save is, and all that is wrong with any is told, with its place; a file that is broken leaves in force
//! what it held before, for as long as this process lives; a directory that cannot be read changes nothing. Files, their sizes and the depth are bounded.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use aws_lc_rs::digest;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;
use tracing::info;

use crate::model::Timestamp;
use crate::orchestrator::engine::definition;
use crate::orchestrator::engine::definition::Rules;
use crate::orchestrator::engine::definition::triggers;
use crate::orchestrator::engine::problem::Problem;
use crate::orchestrator::engine::stage::Registry;
use crate::orchestrator::store::DefinitionVersion;

/// Between two looks at the directory; a signal makes it look at once.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Most files that are read, and how deep.
const MAX_FILES: usize = 10_000;
const MAX_DEPTH: usize = 8;
/// Longest id, application and name, in bytes.
const NAME_LIMIT: usize = 256;

/// Something wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileProblem {
    /// The file, under the directory; empty when the directory itself is to blame.
    pub file: PathBuf,
    /// What is wrong, and where in the document.
    #[serde(flatten)]
    pub problem: Problem,
    /// What the file held before is in force.
    pub kept: bool,
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.as_os_str().is_empty() {
            return f.write_str(&self.problem.message);
        }
        write!(f, "{}: {}", self.file.display(), self.problem)?;
        if self.kept { f.write_str("; what it held before is in force") } else { Ok(()) }
    }
}

/// What is in force.
#[derive(Debug, Default)]
pub struct Found {
    /// By application and name.
    pub definitions: Vec<DefinitionVersion>,
    /// All that is wrong, by file.
    pub problems: Vec<FileProblem>,
    /// Grows with every change.
    pub generation: u64,
}

/// A directory of definitions.
pub struct Folder {
    path: PathBuf,
    registry: Arc<Registry>,
    read: Mutex<BTreeMap<PathBuf, Entry>>,
    found: watch::Sender<Arc<Found>>,
}

/// A file as it was when it was read last.
#[derive(Clone, Debug)]
struct Entry {
    stamp: Stamp,
    good: Option<DefinitionVersion>,
    problems: Vec<Problem>,
}

/// Differs when the content may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed_ns: i128,
    modified_ms: i64,
}

impl Folder {
    /// Nothing is in force until the first look.
    pub fn new(path: impl Into<PathBuf>, registry: Arc<Registry>) -> Self {
        Self { path: path.into(), registry, read: Mutex::default(), found: watch::channel(Arc::default()).0 }
    }

    /// Where the files are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in force.
    pub fn found(&self) -> Arc<Found> {
        Arc::clone(&self.found.borrow())
    }

    /// Looks at the directory, and reads what changed. Blocks while it does.
    pub fn look(&self) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.found();
        let (definitions, problems) = match walk(&self.path) {
            Ok(files) => {
                *read = files.into_iter().map(|(file, stamp)| self.entry(&read, file, stamp)).collect();
                combine(&read)
            }
            Err(error) => {
                let message = format!("{} cannot be read: {error}", self.path.display());
                let problem = FileProblem { file: PathBuf::new(), problem: Problem::error("", message), kept: !read.is_empty() };
                (before.definitions.clone(), vec![problem])
            }
        };
        let (changed, worse) = (definitions != before.definitions, problems != before.problems);
        for problem in problems.iter().filter(|problem| !before.problems.contains(problem)) {
            error!(directory = %self.path.display(), %problem, "a pipeline in a file is not in order (runbooks/definitions-broken.md)");
        }
        if changed || before.generation == 0 {
            info!(directory = %self.path.display(), pipelines = definitions.len(), broken = problems.len(), "pipelines were read from files");
        }
        if changed || worse || before.generation == 0 {
            self.found.send_replace(Arc::new(Found { definitions, problems, generation: before.generation + 1 }));
        }
    }

    /// Looks again when a file changed or `again` says so, until `stop`.
    pub async fn keep(self: Arc<Self>, mut again: watch::Receiver<u64>, stop: CancellationToken) {
        loop {
            // Safe to cancel: a change that is not seen now is seen by the next look.
            tokio::select! {
                () = stop.cancelled() => return,
                // An error means that nobody can ask any more; the files still change.
                Ok(()) = again.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let folder = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || folder.look()).await.is_err() {
                error!("a look at the pipelines in files broke off; what is in force stays (runbooks/engine-defect.md)");
            }
        }
    }

    fn entry(&self, read: &BTreeMap<PathBuf, Entry>, file: PathBuf, stamp: Stamp) -> (PathBuf, Entry) {
        let before = read.get(&file);
        if let Some(before) = before.filter(|before| before.stamp == stamp) {
            return (file, before.clone());
        }
        let entry = match open(&self.path, &file, stamp, &self.registry) {
            Ok(good) => Entry { stamp, good: Some(good), problems: Vec::new() },
            Err(problems) => Entry { stamp, good: before.and_then(|before| before.good.clone()), problems },
        };
        (file, entry)
    }
}

/// What is in force of these, and what is wrong. Of two that want the same place the first by path has it.
fn combine(read: &BTreeMap<PathBuf, Entry>) -> (Vec<DefinitionVersion>, Vec<FileProblem>) {
    let (mut ids, mut names) = (BTreeMap::new(), BTreeMap::new());
    let (mut definitions, mut problems) = (Vec::new(), Vec::new());
    for (file, entry) in read {
        let told = |problem: &Problem| FileProblem { file: file.clone(), problem: problem.clone(), kept: entry.good.is_some() };
        problems.extend(entry.problems.iter().map(told));
        let Some(good) = &entry.good else { continue };
        let name = (good.application.as_str(), good.name.as_str());
        let taken = ids.get(good.id.as_str()).map(|by| ("/id", by)).or_else(|| names.get(&name).map(|by| ("/name", by)));
        if let Some((path, by)) = taken {
            let by: &PathBuf = by;
            let problem = Problem::error(path, format!("{} is this pipeline already", by.display()));
            problems.push(FileProblem { file: file.clone(), problem: problem.help("one of them has to go"), kept: false });
            continue;
        }
        ids.insert(good.id.as_str(), file.clone());
        names.insert(name, file.clone());
        definitions.push(good.clone());
    }
    definitions.sort_by(|a, b| (&a.application, &a.name).cmp(&(&b.application, &b.name)));
    (definitions, problems)
}

/// Everything wrong with the files of a directory, read once.
///
/// # Errors
/// The directory cannot be read.
pub fn problems(path: &Path, registry: &Arc<Registry>) -> io::Result<Vec<FileProblem>> {
    walk(path)?;
    let folder = Folder::new(path, Arc::clone(registry));
    let read = walk(path)?.into_iter().map(|(file, stamp)| folder.entry(&BTreeMap::new(), file, stamp)).collect();
    Ok(combine(&read).1)
}

/// The files under a directory, with what tells a change. Names that begin with a dot are passed over: they are the tools'.
///
/// # Errors
/// The directory, or one in it, cannot be read; or there is no end to it.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(walk(path)?.into_iter().map(|(file, _)| path.join(file)).collect())
}

fn walk(root: &Path) -> io::Result<Vec<(PathBuf, Stamp)>> {
    let mut found = Vec::new();
    let mut folders = vec![(PathBuf::new(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let file = folder.join(&name);
            // A link to a file is followed, as deployments make them; one to a directory could lead anywhere.
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if depth >= MAX_DEPTH {
                    return Err(io::Error::other(format!("{} is more than {MAX_DEPTH} directories deep", file.display())));
                }
                folders.push((file, depth + 1));
                continue;
            }
            if !is_pipeline(&file) {
                continue;
            }
            let there = match fs::metadata(root.join(&file)) {
                Ok(there) if there.is_file() => there,
                Ok(_) => continue,
                // It went while we looked.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            if found.len() >= MAX_FILES {
                return Err(io::Error::other(format!("there are more than {MAX_FILES} files")));
            }
            let nanos = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
            let stamp = Stamp {
                device: there.dev(),
                inode: there.ino(),
                size: there.size(),
                changed_ns: nanos(there.ctime(), there.ctime_nsec()),
                modified_ms: there.mtime() * 1000 + there.mtime_nsec() / 1_000_000,
            };
            found.push((file, stamp));
        }
    }
    Ok(found)
}

/// By its ending.
pub fn is_pipeline(file: &Path) -> bool {
    is_yaml(file) || file.extension().is_some_and(|ending| ending == "json")
}

fn is_yaml(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ending == "yaml" || ending == "yml")
}

/// The document of a file as JSON: YAML, by its ending, is turned into it.
///
/// # Errors
/// It is no YAML, or one that no JSON says.
pub fn as_json(file: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, Problem> {
    if !is_yaml(file) || bytes.len() > definition::MAX_BYTES {
        return Ok(bytes);
    }
    let document: Value = serde_yaml_ng::from_slice(&bytes).map_err(|e| Problem::error("", format!("is no YAML document: {e}")))?;
    Ok(document.to_string().into_bytes())
}

fn open(root: &Path, file: &Path, stamp: Stamp, registry: &Registry) -> Result<DefinitionVersion, Vec<Problem>> {
    let unread = |e: io::Error| vec![Problem::error("", format!("cannot be read: {e}"))];
    let mut bytes = Vec::new();
    let source = fs::File::open(root.join(file)).map_err(unread)?;
    // One byte more than is allowed, so that too much is noticed.
    source.take(definition::MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unread)?;
    let bytes = as_json(file, bytes).map_err(|problem| vec![problem])?;
    let checked = definition::check(&bytes, Rules::of(registry));
    let mut problems: Vec<Problem> = checked.problems.into_iter().filter(Problem::is_error).collect();
    let mut document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let mut text = |key: &str| {
        let text = document.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        if text.len() > NAME_LIMIT || text.chars().any(char::is_control) {
            problems.push(Problem::error(format!("/{key}"), format!("is not one line of 1 to {NAME_LIMIT} bytes")));
        } else if text.is_empty() && key != "id" && document.is_object() {
            problems.push(Problem::error(format!("/{key}"), "is missing").help("it is what the pipeline is found by"));
        }
        text
    };
    let (application, name, given) = (text("application"), text("name"), text("id"));
    if !problems.is_empty() {
        return Err(problems);
    }
    let id = if given.is_empty() { id(&application, &name) } else { given };
    document["id"] = Value::from(id.clone());
    if let Some(document) = document.as_object_mut() {
        triggers::name_them(document);
    }
    let by = format!("file {}", file.display());
    Ok(DefinitionVersion { id, application, name, version: 1, by, at: Timestamp(stamp.modified_ms), deleted: false, document })
}

/// The id of a pipeline that has none of its own: the same on every instance and for ever.
fn id(application: &str, name: &str) -> String {
    let digest = digest::digest(&digest::SHA256, format!("{application}\0{name}").as_bytes());
    digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
