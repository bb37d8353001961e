//! Pipeline definitions.

use super::*;
use crate::orchestrator::store::DEFINITIONS_MARK;
use crate::orchestrator::store::DefinitionVersion;
use crate::orchestrator::store::SaveError;

fn definition(id: &str, application: &str, name: &str) -> DefinitionVersion {
    DefinitionVersion {
        id: id.to_owned(),
        application: application.to_owned(),
        name: name.to_owned(),
        version: 0,
        by: "anna".to_owned(),
        at: Timestamp(0),
        deleted: false,
        document: json!({"name": name, "stages": [{"type": "wait", "waitTime": 1.5e300, "note": "ü\u{0}"}], "none": null, "empty": [], "object": {}}),
    }
}

async fn save(g: &Ground, d: DefinitionVersion, expected: Option<u64>) -> Result<DefinitionVersion, SaveError> {
    g.store.save_definition(d, expected).await
}

async fn saved(g: &Ground, id: &str, application: &str, name: &str) -> DefinitionVersion {
    save(g, definition(id, application, name), None).await.unwrap()
}

async fn names(g: &Ground, application: Option<&str>, after: Option<&str>, limit: usize) -> Vec<String> {
    g.other.definitions(application, after, limit).await.unwrap().into_iter().map(|d| d.id).collect()
}

pub async fn a_definition_is_read_back(g: &Ground) {
    let before = g.now().await;
    let given = definition("d-1", "a", "Deploy");
    let saved = save(g, given.clone(), Some(0)).await.unwrap();
    assert!(saved.at >= before, "by the store's clock");
    assert_eq!(saved, DefinitionVersion { version: 1, at: saved.at, ..given });
    assert_eq!(g.other.definition("d-1", None).await.unwrap(), Some(saved.clone()));
    assert_eq!(g.other.definition("d-1", Some(1)).await.unwrap(), Some(saved));
}

pub async fn versions_count_from_one(g: &Ground) {
    for version in 1..=3 {
        let saved = save(g, definition("d-1", "a", &format!("n{version}")), Some(version - 1)).await.unwrap();
        assert_eq!(saved.version, version);
    }
    assert_eq!(g.store.definition("d-1", Some(2)).await.unwrap().unwrap().name, "n2");
    assert_eq!(g.store.definition("d-1", None).await.unwrap().unwrap().name, "n3");
    assert_eq!(g.store.definition("d-1", Some(4)).await.unwrap(), None);
    assert_eq!(g.store.definition("d-1", Some(0)).await.unwrap(), None);
}

pub async fn each_save_changes_the_mark_and_a_refused_one_does_not(g: &Ground) {
    let mark = async || g.other.mark(DEFINITIONS_MARK).await.unwrap();
    let mut seen = vec![mark().await];
    for (id, name) in [("d-1", "a"), ("d-1", "a"), ("d-2", "b")] {
        saved(g, id, "shop", name).await;
        seen.push(mark().await);
    }
    save(g, DefinitionVersion { deleted: true, ..definition("d-2", "shop", "b") }, None).await.unwrap();
    seen.push(mark().await);
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "{seen:?}");
    assert_eq!(save(g, definition("d-1", "shop", "a"), Some(1)).await, Err(SaveError::Conflict(2)));
    assert_eq!(Some(&mark().await), seen.last());
}

pub async fn a_save_from_an_old_version_conflicts(g: &Ground) {
    saved(g, "d-1", "a", "Deploy").await;
    saved(g, "d-1", "a", "Deploy").await;
    assert_eq!(save(g, definition("d-1", "a", "Deploy"), Some(1)).await, Err(SaveError::Conflict(2)));
    assert_eq!(save(g, definition("d-2", "a", "Other"), Some(1)).await, Err(SaveError::Conflict(0)));
    assert_eq!(g.store.definition_history("d-1", 10).await.unwrap().len(), 2);
}

pub async fn a_new_one_does_not_replace_one_that_is_there(g: &Ground) {
    saved(g, "d-1", "a", "Deploy").await;
    assert_eq!(save(g, definition("d-1", "a", "Deploy"), Some(0)).await, Err(SaveError::Conflict(1)));
}

pub async fn a_save_without_expectation_replaces(g: &Ground) {
    saved(g, "d-1", "a", "Deploy").await;
    assert_eq!(saved(g, "d-1", "a", "Deploy").await.version, 2);
}

pub async fn a_name_is_taken_once_in_an_application(g: &Ground) {
    saved(g, "d-1", "a", "Deploy").await;
    assert_eq!(save(g, definition("d-2", "a", "Deploy"), None).await, Err(SaveError::NameTaken("d-1".to_owned())));
    assert_eq!(g.store.definition("d-2", None).await.unwrap(), None);
    saved(g, "d-2", "b", "Deploy").await;
}

pub async fn a_name_is_free_after_a_rename(g: &Ground) {
    saved(g, "d-1", "a", "Deploy").await;
    saved(g, "d-1", "a", "Release").await;
    saved(g, "d-2", "a", "Deploy").await;
    assert_eq!(names(g, Some("a"), None, 10).await, ["d-2", "d-1"]);
}

pub async fn a_name_is_free_after_a_removal(g: &Ground) {
    saved(g, "d-1", "a", "Deploy").await;
    save(g, DefinitionVersion { deleted: true, ..definition("d-1", "a", "Deploy") }, None).await.unwrap();
    saved(g, "d-2", "a", "Deploy").await;
    assert_eq!(save(g, definition("d-1", "a", "Deploy"), None).await, Err(SaveError::NameTaken("d-2".to_owned())));
    assert_eq!(saved(g, "d-1", "a", "Again").await.version, 3);
}

pub async fn it_is_found_by_name(g: &Ground) {
    saved(g, "d-1", "a", "Deploy").await;
    assert_eq!(g.store.definition_named("a", "Deploy").await.unwrap().unwrap().id, "d-1");
    saved(g, "d-1", "a", "Release").await;
    assert_eq!(g.store.definition_named("a", "Deploy").await.unwrap(), None);
    assert_eq!(g.store.definition_named("b", "Release").await.unwrap(), None);
    assert_eq!(g.other.definition_named("a", "Release").await.unwrap().unwrap().version, 2);
}

pub async fn a_removed_one_is_not_listed_and_keeps_its_history(g: &Ground) {
    saved(g, "d-1", "a", "Deploy").await;
    save(g, DefinitionVersion { deleted: true, ..definition("d-1", "a", "Deploy") }, Some(1)).await.unwrap();
    assert!(names(g, None, None, 10).await.is_empty());
    assert_eq!(g.store.definition_named("a", "Deploy").await.unwrap(), None);
    let history = g.store.definition_history("d-1", 10).await.unwrap();
    assert_eq!(history.iter().map(|d| d.deleted).collect::<Vec<_>>(), [true, false]);
    assert!(g.store.definition("d-1", None).await.unwrap().unwrap().deleted);
}

pub async fn they_are_listed_by_application_and_name(g: &Ground) {
    for (id, application, name) in [("d-1", "b", "x"), ("d-2", "a", "z"), ("d-3", "a", "y"), ("d-4", "ab", "a"), ("d-5", "a", "Y")] {
        saved(g, id, application, name).await;
    }
    assert_eq!(names(g, None, None, 10).await, ["d-5", "d-3", "d-2", "d-4", "d-1"]);
    assert_eq!(names(g, Some("a"), None, 10).await, ["d-5", "d-3", "d-2"]);
    assert_eq!(names(g, None, None, 2).await, ["d-5", "d-3"]);
    assert_eq!(names(g, None, Some("d-3"), 2).await, ["d-2", "d-4"]);
    assert_eq!(names(g, Some("a"), Some("d-2"), 2).await, Vec::<String>::new());
    assert_eq!(names(g, None, Some("nobody"), 2).await, Vec::<String>::new());
}

pub async fn history_is_newest_first(g: &Ground) {
    for n in 1..=4 {
        saved(g, "d-1", "a", &format!("n{n}")).await;
    }
    let versions: Vec<u64> = g.store.definition_history("d-1", 3).await.unwrap().iter().map(|d| d.version).collect();
    assert_eq!(versions, [4, 3, 2]);
}

pub async fn what_nobody_saved_is_none(g: &Ground) {
    assert_eq!(g.store.definition("d-1", None).await.unwrap(), None);
    assert_eq!(g.store.definition_named("a", "Deploy").await.unwrap(), None);
    assert!(g.store.definition_history("d-1", 10).await.unwrap().is_empty());
    assert!(names(g, None, None, 10).await.is_empty());
}

pub async fn names_with_control_characters_are_refused(g: &Ground) {
    for (id, application, name) in [("d\0", "a", "n"), ("d", "a\u{1}", "n"), ("d", "a", "n\n"), ("d", "a", "\u{7f}")] {
        let refused = save(g, definition(id, application, name), None).await;
        assert!(matches!(refused, Err(SaveError::Store(StoreError::Refused(_)))), "{refused:?}");
    }
    assert!(names(g, None, None, 10).await.is_empty());
    saved(g, "d", "a", "Bäckerei \u{1F950}").await;
}
