//! What the first run of an unfinished rollback was asked, for the run that goes on with it. Pure.
//!
//! What must stay true: what the person says now comes first, and that it is otherwise is told; where two clusters were asked different things
//! nobody guesses which.

use super::super::wishes::Wish;
use super::super::wishes::Wishes;
use super::Choice;
use super::Refusal;
use super::Request;

/// Puts into the request what it leaves open; a line for each that was found, and for each that is otherwise now.
pub(super) fn recover(request: &mut Request, choices: &[Choice<'_>]) -> Result<Vec<String>, Refusal> {
    if !request.resume {
        return Ok(Vec::new());
    }
    let mut all: Vec<(&str, Wishes)> = Vec::new();
    for choice in choices {
        for version in choice.held() {
            let group = &version.group;
            let wishes = Wishes::parse(&group.tags)
                .map_err(|problem| Refusal::RecordUnreadable { group: group.name.clone(), problem: problem.to_string() })?;
            all.extend(wishes.map(|wishes| (choice.cluster, wishes)));
        }
    }
    let Some((_, first)) = all.first().cloned() else {
        let unknown = (!choices.is_empty())
            .then(|| "how it was asked to go is not on record: what this command leaves out has its default".to_owned());
        return Ok(unknown.into_iter().collect());
    };
    let mut lines = Vec::new();
    for wish in Wish::ALL {
        let (was, now) = (first.text(wish), Wishes::of(request).text(wish));
        let other = all.iter().find(|(_, wishes)| wishes.text(wish) != was);
        match (request.said.contains(&wish), other) {
            (true, _) if was == now => {}
            (true, _) => lines.push(format!("{now}, as said now; it was begun with {was}")),
            (false, Some((cluster, wishes))) => {
                let (cluster, other) = ((*cluster).to_owned(), wishes.text(wish));
                return Err(Refusal::WishesDiffer { cluster, was, other });
            }
            (false, None) => {
                first.give(wish, request);
                if was != now {
                    lines.push(format!("{was}, as it was begun"));
                }
            }
        }
    }
    if all.iter().any(|(_, wishes)| wishes.notifies) && !request.notifies {
        request.notifies = true;
        lines.push("it told somebody elsewhere; the URL is a secret and on no tag: give it again with --notify".to_owned());
    }
    Ok(lines)
}
