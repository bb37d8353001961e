use super::*;
use crate::decide::Drain;
use crate::decide::Progress;
use crate::decide::Reason;

fn state(version: u64) -> Durable {
    let reason = Reason::Operator { by: "ada".to_owned(), why: format!("try {version}") };
    let drain =
        Drain { reason, started: Timestamp(5), generation: 0, forced: false, unproven: false, progress: Progress::Draining, doomed: None };
    Durable { version, drain: Some(drain), ..Durable::default() }
}

fn own() -> InstanceId {
    InstanceId::from("i-0aaa")
}

#[test]
fn reads_back_the_last_state_and_tells_this_boot_from_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/journal.jsonl");
    let mut journal = FileJournal::new(&path);
    assert_eq!(journal.load(&own(), "boot-1").unwrap(), None);
    for version in 1..=3 {
        journal.save(&own(), "boot-1", Timestamp(9), &state(version)).unwrap();
    }
    assert_eq!(FileJournal::new(&path).load(&own(), "boot-1").unwrap(), Some((state(3), true)));
    assert_eq!(FileJournal::new(&path).load(&own(), "boot-2").unwrap(), Some((state(3), false)));
}

#[test]
fn a_file_cut_off_at_any_byte_reads_as_the_last_whole_record_and_takes_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let mut journal = FileJournal::new(&path);
    journal.save(&own(), "b", Timestamp(1), &state(1)).unwrap();
    let first = fs::read(&path).unwrap().len();
    journal.save(&own(), "b", Timestamp(2), &state(2)).unwrap();
    let whole = fs::read(&path).unwrap();
    for cut in first..whole.len() - 1 {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut journal = FileJournal::new(&path);
        assert_eq!(journal.load(&own(), "b").unwrap(), Some((state(1), true)), "cut at {cut}");
        journal.save(&own(), "b", Timestamp(3), &state(7)).unwrap();
        assert_eq!(FileJournal::new(&path).load(&own(), "b").unwrap(), Some((state(7), true)), "cut at {cut}");
    }
}

#[test]
fn a_journal_baked_into_an_image_is_set_aside_f20() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    FileJournal::new(&path).save(&InstanceId::from("i-0baker"), "b", Timestamp(1), &state(1)).unwrap();
    assert_eq!(FileJournal::new(&path).load(&own(), "b").unwrap(), None);
    assert!(folder.path().join("journal.jsonl.foreign-i-0baker").exists());
    assert!(!path.exists());
}

#[test]
fn does_not_grow_without_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let mut journal = FileJournal::new(&path);
    for version in 0..2000 {
        journal.save(&own(), "b", Timestamp(1), &state(version)).unwrap();
    }
    assert!(fs::metadata(&path).unwrap().len() < COMPACT_AT + 4096);
    assert_eq!(journal.load(&own(), "b").unwrap(), Some((state(1999), true)));
}

#[test]
fn a_journal_that_cannot_be_written_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let mut journal = FileJournal::new(folder.path().join("file/journal.jsonl"));
    assert!(journal.save(&own(), "b", Timestamp(1), &state(1)).is_err());
}

#[test]
fn a_journal_of_our_own_in_another_format_is_not_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    FileJournal::new(&path).save(&own(), "b", Timestamp(1), &state(1)).unwrap();
    let newer = fs::read_to_string(&path).unwrap().replace(&format!("\"format\":{FORMAT}"), "\"format\":99");
    fs::write(&path, &newer).unwrap();
    let error = FileJournal::new(&path).load(&own(), "b").unwrap_err();
    assert!(error.to_string().contains("99"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), newer, "it is left where it is");
}
