//! The graph of a pipeline's stages: what is wrong with it, its levels, and its picture as text. Linear in stages and arrows.

use std::collections::HashMap;
use std::collections::HashSet;
use std::fmt::Write;

/// Arrows named in one line of the picture; a fork of two thousand is told by its number.
const NAMED: usize = 6;

/// A stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Names it.
    pub ref_id: String,
    /// Its type.
    pub kind: String,
    /// For people.
    pub name: String,
    /// Stages it waits for, by reference id.
    pub requisites: Vec<String>,
}

/// What is wrong with a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Two stages have one reference id.
    Duplicate {
        /// Place of the second.
        at: usize,
        /// Place of the first.
        first: usize,
    },
    /// A stage waits for one that is not there.
    Missing {
        /// Its place.
        at: usize,
        /// Place among its requisites.
        requisite: usize,
    },
    /// Stages wait for each other.
    Cycle(
        /// Their places, each one waiting for the next, and the last for the first.
        Vec<usize>,
    ),
}

/// A graph without faults.
#[derive(Clone, Debug)]
pub struct Graph {
    nodes: Vec<Node>,
    downstream: Vec<Vec<usize>>,
    /// Places by level: a stage is one level below the lowest that it waits for.
    levels: Vec<Vec<usize>>,
}

impl Graph {
    /// The graph of these stages, or everything that is wrong with it. A requisite listed twice counts once.
    pub fn new(nodes: Vec<Node>) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::with_capacity(nodes.len());
        for (at, node) in nodes.iter().enumerate() {
            match places.get(node.ref_id.as_str()) {
                Some(first) => faults.push(Fault::Duplicate { at, first: *first }),
                None => drop(places.insert(&node.ref_id, at)),
            }
        }
        let mut upstream: Vec<Vec<usize>> = Vec::with_capacity(nodes.len());
        for (at, node) in nodes.iter().enumerate() {
            let mut seen = HashSet::new();
            let mut above = Vec::new();
            for (requisite, ref_id) in node.requisites.iter().enumerate() {
                match places.get(ref_id.as_str()) {
                    None => faults.push(Fault::Missing { at, requisite }),
                    Some(place) if seen.insert(*place) => above.push(*place),
                    Some(_) => {}
                }
            }
            upstream.push(above);
        }
        let mut downstream = vec![Vec::new(); nodes.len()];
        for (at, above) in upstream.iter().enumerate() {
            above.iter().for_each(|place| downstream[*place].push(at));
        }
        let levels = levels(&upstream, &downstream);
        faults.extend(cycles(&upstream, &levels).into_iter().map(Fault::Cycle));
        if faults.is_empty() { Ok(Self { nodes, downstream, levels }) } else { Err(faults) }
    }

    /// The stages, in the order of the document.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Places of the stages by level; those of one level may run side by side.
    pub fn levels(&self) -> &[Vec<usize>] {
        &self.levels
    }

    /// Places of the stages that wait for this one.
    pub fn downstream(&self, at: usize) -> &[usize] {
        &self.downstream[at]
    }

    /// The picture: one line a stage, by level, with what it waits for and `remark` of its place.
    pub fn text(&self, remark: impl Fn(usize) -> Option<String>) -> String {
        let mut text = String::new();
        let width = self.nodes.iter().map(|node| node.ref_id.chars().count() + title(node).chars().count()).max().unwrap_or(0).min(60);
        for (level, places) in self.levels.iter().enumerate() {
            for (nth, at) in places.iter().enumerate() {
                let node = &self.nodes[*at];
                let lead = if nth == 0 { format!("{:>3}.", level + 1) } else { "    ".into() };
                let label = format!("[{}] {}", node.ref_id, title(node));
                let mut notes = Vec::new();
                if !node.requisites.is_empty() {
                    notes.push(format!("after {}{}", some(&node.requisites), if node.requisites.len() > 1 { " (join)" } else { "" }));
                }
                if self.downstream[*at].len() > 1 {
                    notes.push(format!("forks to {}", self.downstream[*at].len()));
                }
                notes.extend(remark(*at));
                let line = format!("{lead} {label:<0$}  {notes}", width + 3, notes = notes.join("; "));
                let _ = writeln!(text, "{}", line.trim_end());
            }
        }
        text
    }
}

fn title(node: &Node) -> String {
    if node.name == node.kind { node.kind.clone() } else { format!("{} ({})", node.name, node.kind) }
}

fn some(refs: &[String]) -> String {
    let named = refs.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if refs.len() > NAMED { format!("{named} and {} more", refs.len() - NAMED) } else { named }
}

/// Places by level, without those that are in a cycle or below one.
fn levels(upstream: &[Vec<usize>], downstream: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut open: Vec<usize> = upstream.iter().map(Vec::len).collect();
    let mut level: Vec<usize> = (0..upstream.len()).filter(|at| open[*at] == 0).collect();
    let mut levels = Vec::new();
    while !level.is_empty() {
        let mut next = Vec::new();
        for below in level.iter().flat_map(|at| &downstream[*at]) {
            open[*below] -= 1;
            if open[*below] == 0 {
                next.push(*below);
            }
        }
        next.sort_unstable();
        levels.push(std::mem::replace(&mut level, next));
    }
    levels
}

/// Cycles, one of each knot at least: from every stage without a level upwards, until a stage comes again.
fn cycles(upstream: &[Vec<usize>], levels: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut settled = vec![false; upstream.len()];
    levels.iter().flatten().for_each(|at| settled[*at] = true);
    let mut cycles = Vec::new();
    for start in 0..upstream.len() {
        let mut path = Vec::new();
        let mut position = HashMap::new();
        let mut at = start;
        while !settled[at] {
            if let Some(first) = position.insert(at, path.len()) {
                cycles.push(path.split_off(first));
                break;
            }
            path.push(at);
            let Some(above) = upstream[at].iter().find(|above| !settled[**above] || position.contains_key(*above)) else { break };
            at = *above;
        }
        position.into_keys().for_each(|at| settled[at] = true);
    }
    cycles
}
