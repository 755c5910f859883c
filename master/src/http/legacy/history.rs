//! `/ingot/history`: what a container or a node used lately, the older the coarser. Ours: Mesos has nothing like it.

use super::tasks;
use crate::cluster::snapshot::Snapshot;
use crate::usage::{Row, Sample, Series};
use api::convert::time;
use api::legacy::each::Each;
use api::legacy::{Query, Reply};
use model::id::ContainerId;
use model::time::UnixTime;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Reads one figure of a sample.
type Of = fn(&Sample) -> Option<u64>;

const FIGURES: [(&str, Of); 4] = [
    ("cpu_ns", |it| it.cpu_ns),
    ("memory_bytes", |it| it.memory_bytes),
    ("network_bytes", |it| it.network_bytes),
    ("run_queue_ns", |it| it.run_queue_ns),
];

/// Whose history may be asked for.
const SUBJECTS: [&str; 3] = ["agent_id", "container_id", "task_id"];

/// The document, or what is wrong with the question.
pub(super) fn get(query: &Query, snapshot: &Snapshot) -> Reply {
    let named = SUBJECTS.map(|name| query.get(name).map(|value| (name, value)));
    let (subject, id) = match named.into_iter().flatten().collect::<Vec<_>>()[..] {
        [one] => one,
        ref all => {
            let count = all.len();
            return Reply::bad(&format!("Name one of {}, not {count} of them.\n", SUBJECTS.join(", ")));
        }
    };
    let figures = match asked(query) {
        Ok(figures) => figures,
        Err(why) => return Reply::bad(&why),
    };
    let history = match subject {
        "agent_id" => {
            let agent = snapshot.agents.iter().find(|agent| agent.id.as_str() == id);
            agent.map(|agent| agent.node.and_then(|row| snapshot.usage.node_history(row)))
        }
        _ => row(subject, id, query, snapshot).map(|row| row.and_then(|row| snapshot.usage.history(row))),
    };
    let Some(history) = history else {
        return Reply::text(404, format!("Nothing is known of {subject} '{id}'.\n"));
    };
    // None yet, or none any more: a container that is over has no history.
    let mut series: Vec<Series> = history.into_iter().flatten().collect();
    if let Some(text) = query.get("step_s") {
        if !STEPS.contains(&text) {
            return Reply::bad(&format!("step_s: '{text}' is none of {}.\n", STEPS.join(", ")));
        }
        series.retain(|series| series.step_s.to_string() == text);
    }
    Reply::json(&Document { subject, id, figures, series }, query)
}

/// Seconds a sample.
const STEPS: [&str; 3] = ["1", "15", "300"];

/// The figures that are wanted: all, unless some are named.
fn asked(query: &Query) -> Result<Vec<(&'static str, Of)>, String> {
    let Some(names) = query.get("figures") else { return Ok(FIGURES.to_vec()) };
    let find = |name: &str| {
        let known = FIGURES.iter().find(|(known, _)| *known == name).copied();
        known.ok_or_else(|| {
            format!("figures: '{name}' is none of {}.\n", FIGURES.map(|(name, _)| name).join(", "))
        })
    };
    names.split(',').map(find).collect()
}

/// Where the container's figures stand. The outer `None`: it is not known.
fn row(subject: &str, id: &str, query: &Query, snapshot: &Snapshot) -> Option<Option<Row>> {
    let frameworks = snapshot.frameworks.iter().chain(&snapshot.completed_frameworks);
    let mut frameworks = frameworks.filter(|view| query.admits("framework_id", view.id.as_str()));
    let is_it = |container: &Option<ContainerId>| container.as_ref().is_some_and(|it| it.as_str() == id);
    frameworks.find_map(|view| {
        let mut tasks = tasks::all(view);
        let task = tasks.find(|task| match subject {
            "task_id" => task.info.task_id.as_str() == id,
            _ => is_it(&task.container_id),
        });
        let executor = || view.executors.iter().find(|it| subject != "task_id" && is_it(&it.container_id));
        task.map(|task| task.usage).or_else(|| executor().map(|executor| executor.usage))
    })
}

struct Document<'a> {
    subject: &'static str,
    id: &'a str,
    figures: Vec<(&'static str, Of)>,
    series: Vec<Series>,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry(self.subject, self.id)?;
        let shown = |series| Shown { series, figures: &self.figures };
        map.serialize_entry("series", &Each(|| self.series.iter().map(shown)))?;
        map.end()
    }
}

/// One series: a column a figure, beside when each sample ends.
struct Shown<'a> {
    series: &'a Series,
    figures: &'a [(&'static str, Of)],
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Series { step_s, end, samples } = self.series;
        let mut map = serializer.serialize_map(Some(2 + self.figures.len()))?;
        map.serialize_entry("step_s", step_s)?;
        let before = |count: usize| end.0.saturating_sub(count as u64 * step_s * 1_000_000);
        let ends = || (0..samples.len()).rev().map(|count| time::seconds(UnixTime(before(count))));
        map.serialize_entry("timestamps", &Each(ends))?;
        for (name, of) in self.figures {
            map.serialize_entry(name, &Each(|| samples.iter().map(of)))?;
        }
        map.end()
    }
}
