//! Commands of `runbooks/rollback.md`, in the order in which a person pastes them.

use std::collections::BTreeMap;

const PAGE: &str = include_str!("../../runbooks/rollback.md");

/// All shell blocks of the part without Bellrock as one script. A comment `<!-- steps 2 to 5 -->` stands for those steps again.
pub fn script() -> String {
    read().0
}

/// The steps before the switch, and then the way back.
pub fn undone() -> String {
    let (script, steps) = read();
    let (_, undo) = PAGE.split_once("\n```sh undo\n").expect("there is a way back");
    let (block, then) = undo.split_once("```\n").expect("it ends");
    assert!(then.trim_start().starts_with("<!-- undo: step 10 -->") && !script.contains(block));
    let numbers = (1..=7).chain([10]);
    let mut text: Vec<&str> = numbers.map(|n: u32| steps[&n].as_str()).collect();
    text.insert(7, block);
    format!("set -euo pipefail\n{}", text.concat())
}

fn read() -> (String, BTreeMap<u32, String>) {
    let (_, by_hand) = PAGE.split_once("\n## Without Bellrock\n").expect("the page has that part");
    let mut steps: BTreeMap<u32, String> = BTreeMap::new();
    let mut script = "set -euo pipefail\n".to_owned();
    let mut step = None;
    let mut lines = by_hand.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("### ") {
            step = title.split('.').next().and_then(|number| number.parse().ok());
        } else if line == "```sh" {
            let block: String = lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
            script += &block;
            steps.entry(step.unwrap_or_default()).or_default().push_str(&block);
        } else if let Some(again) = line.strip_prefix("<!-- step").and_then(|rest| rest.strip_suffix(" -->")) {
            let numbers: Vec<u32> = again.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
            let (first, last) = (*numbers.first().expect("a step"), *numbers.last().expect("a step"));
            (first..=last).for_each(|n| script += steps.get(&n).unwrap_or_else(|| panic!("no step {n} before")));
        }
    }
    assert!(steps.len() > 8, "steps have gone missing: {:?}", steps.keys());
    (script, steps)
}
