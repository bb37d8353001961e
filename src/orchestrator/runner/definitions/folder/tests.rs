use serde_json::json;

use super::*;
use crate::host::clock::VirtualClock;
use crate::orchestrator::runner::definitions::from_files::FromFiles;
use crate::orchestrator::store::SaveError;
use crate::orchestrator::store::Store;
use crate::orchestrator::store::model::ModelStore;

struct Rig {
    dir: tempfile::TempDir,
    folder: Arc<Folder>,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = Arc::new(Folder::new(dir.path(), Arc::new(Registry::standard())));
        Self { dir, folder }
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // A new file in its place, as deployments do it: its stamp differs however coarse the clock of the disk is.
        let fresh = path.with_extension("fresh");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, path).unwrap();
    }

    fn look(&self) -> Arc<Found> {
        self.folder.look();
        self.folder.found()
    }
}

fn pipeline(name: &str, wait: &str) -> String {
    format!(r#"{{"application": "shop", "name": "{name}", "stages": [{{"refId": "1", "type": "wait", "waitTime": {wait}}}]}}"#)
}

fn names(found: &Found) -> Vec<&str> {
    found.definitions.iter().map(|found| found.name.as_str()).collect()
}

fn told(found: &Found) -> Vec<String> {
    found.problems.iter().map(FileProblem::to_string).collect()
}

#[test]
fn json_and_yaml_at_any_depth_are_pipelines_and_what_is_hidden_is_not() {
    let rig = Rig::new();
    rig.write("b.json", &pipeline("b", "1"));
    rig.write("shop/main/a.yaml", "application: shop\nname: a\nid: own\nstages:\n  - {refId: '1', type: wait, waitTime: 5}\n");
    rig.write("..data/c.json", &pipeline("c", "1"));
    rig.write("README.md", "no pipeline");
    let found = rig.look();
    assert_eq!((names(&found), told(&found)), (vec!["a", "b"], vec![]));
    let [a, b] = &found.definitions[..] else { panic!() };
    assert_eq!((a.id.as_str(), a.by.as_str(), &a.document["stages"][0]["waitTime"]), ("own", "file shop/main/a.yaml", &json!(5)));
    assert_eq!((b.id.as_str(), &b.document["id"]), (id("shop", "b").as_str(), &json!(id("shop", "b"))));
    let again = Rig::new();
    again.write("elsewhere.json", &pipeline("b", "2"));
    assert_eq!(again.look().definitions[0].id, b.id, "the id is that of the name, wherever the file is");
    std::os::unix::fs::symlink(rig.dir.path().join("..data/c.json"), rig.dir.path().join("c.json")).unwrap();
    assert_eq!(names(&rig.look()), ["a", "b", "c"], "a link to a file is followed");
}

#[test]
fn triggers_of_a_file_keep_their_ids_wherever_they_stand_in_it() {
    let rig = Rig::new();
    let ids = |triggers: Value| {
        let file = json!({"application": "shop", "name": "a", "stages": [], "triggers": triggers}).to_string();
        rig.write("a.json", &file);
        let found = rig.look();
        let triggers = found.definitions[0].document["triggers"].as_array().unwrap().clone();
        triggers.iter().map(|trigger| trigger["id"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let (two, three) = (json!({"type": "cron", "cronExpression": "H H 2 * * ?"}), json!({"type": "cron", "cronExpression": "H H 3 * * ?"}));
    let first = ids(json!([two, three]));
    assert!(first[0] != first[1] && !first.contains(&String::new()), "{first:?}");
    assert_eq!(ids(json!([three, two])), [first[1].clone(), first[0].clone()]);
}

#[test]
fn all_that_is_wrong_is_told_at_once_with_file_and_place() {
    let rig = Rig::new();
    rig.write("a.json", r#"{"application": "shop", "stages": [{"refId": "1", "type": "what"}, {"refId": "1", "type": "wait"}]}"#);
    rig.write("b.json", "{");
    rig.write("c.yaml", "a: [");
    rig.write("d.json", &pipeline("fine", "1"));
    rig.write("e.json", &pipeline("fine", "1"));
    rig.write("f.json", r#"{"application": "shop\n", "name": "f", "stages": []}"#);
    let found = rig.look();
    assert_eq!(names(&found), ["fine"]);
    let told = told(&found);
    for part in
        ["a.json: /stages/0/type", "a.json: /stages/1/refId", "a.json: /name: is missing", "b.json: ", "c.yaml: ", "f.json: /application"]
    {
        assert!(told.iter().any(|line| line.starts_with(part)), "{part} in {told:#?}");
    }
    assert!(told.iter().any(|line| line.starts_with("e.json: ") && line.contains("d.json is this pipeline already")), "{told:#?}");
    let at_once: Vec<String> = problems(rig.dir.path(), &rig.folder.registry).unwrap().iter().map(FileProblem::to_string).collect();
    assert_eq!(at_once, told, "a check says the same as a look");
}

#[test]
fn a_broken_file_keeps_what_it_held_and_a_lost_directory_keeps_all() {
    let rig = Rig::new();
    rig.write("sub/a.json", &pipeline("a", "1"));
    rig.write("b.json", &pipeline("b", "1"));
    let first = rig.look();
    assert_eq!((rig.look().generation, names(&first)), (first.generation, vec!["a", "b"]), "nothing changed");
    rig.write("sub/a.json", &pipeline("a", "\"x\""));
    let broken = rig.look();
    assert_eq!(broken.definitions, first.definitions);
    assert!(broken.problems[0].kept && told(&broken)[0].contains("what it held before is in force"), "{:?}", told(&broken));
    rig.write("sub/a.json", &pipeline("a", "7"));
    let mended = rig.look();
    assert_eq!((&mended.definitions[0].document["stages"][0]["waitTime"], told(&mended)), (&json!(7), vec![]));
    assert!(mended.generation > broken.generation && broken.generation > first.generation);
    fs::remove_file(rig.dir.path().join("b.json")).unwrap();
    assert_eq!(names(&rig.look()), ["a"], "a file that is gone takes its pipeline along");
    let away = rig.dir.path().with_extension("away");
    fs::rename(rig.dir.path(), &away).unwrap();
    let lost = rig.look();
    assert_eq!(names(&lost), ["a"]);
    assert!(told(&lost)[0].contains("cannot be read") && lost.problems[0].kept, "{:?}", told(&lost));
    fs::rename(&away, rig.dir.path()).unwrap();
    assert_eq!(told(&rig.look()), Vec::<String>::new());
}

#[tokio::test]
async fn a_store_with_files_takes_no_saves_and_is_a_store_for_all_else() {
    let rig = Rig::new();
    for name in ["c", "a", "b"] {
        rig.write(&format!("{name}.json"), &pipeline(name, "1"));
    }
    rig.folder.look();
    let clock = Arc::new(VirtualClock::start(Timestamp(0)));
    let below = Arc::new(ModelStore::new(clock));
    let store = FromFiles::new(below.clone(), rig.folder.clone());
    let all = store.definitions(None, None, 10).await.unwrap();
    assert_eq!(all.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    let page = store.definitions(Some("shop"), Some(&all[0].id), 1).await.unwrap();
    assert_eq!(page, all[1..2]);
    assert!(store.definitions(Some("other"), None, 10).await.unwrap().is_empty());
    assert!(store.definitions(None, Some("gone"), 10).await.unwrap().is_empty());
    assert_eq!(store.definition_named("shop", "b").await.unwrap().as_ref(), Some(&all[1]));
    assert_eq!(store.definition(&all[1].id, Some(1)).await.unwrap().as_ref(), Some(&all[1]));
    assert_eq!(store.definition(&all[1].id, Some(2)).await.unwrap(), None);
    assert_eq!(store.definition_history(&all[1].id, 5).await.unwrap(), all[1..2]);
    let refused = store.save_definition(all[0].clone(), None).await.unwrap_err();
    assert!(matches!(&refused, SaveError::ReadOnly(at) if *at == rig.dir.path().display().to_string()), "{refused}");
    assert!(below.definitions(None, None, 10).await.unwrap().is_empty());
    let mark = store.mark(crate::orchestrator::store::DEFINITIONS_MARK).await.unwrap();
    rig.write("a.json", &pipeline("a", "2"));
    rig.folder.look();
    assert_ne!(store.mark(crate::orchestrator::store::DEFINITIONS_MARK).await.unwrap(), mark, "others hear of a change as of a save");
    store.set_mark("other", "x").await.unwrap();
    assert_eq!(below.mark("other").await.unwrap().as_deref(), Some("x"));
}
