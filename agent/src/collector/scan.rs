//! Finds what earlier lives of the agent, and earlier agents in the same work directory, have left there.

use super::item::Item;
use crate::checkpoint::layout::{self, Meta};
use crate::node::effect::Run;
use model::id::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId, check_id};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Everything that could be deleted, if nobody needs it, and when it was last changed; `None` where that cannot be seen.
/// `current`: whose checkpoint the agent lives by.
pub(super) fn scan(work_dir: &Path, current: Option<&AgentId>) -> BTreeMap<Item, Option<SystemTime>> {
    let mut found = BTreeMap::new();
    let sandboxes = layout::sandboxes(work_dir);
    for agent in folders(&sandboxes) {
        let agent_id = AgentId::new(&agent);
        runs(&sandboxes.join(agent), &agent_id, false, &mut found);
    }
    let meta = Meta::of(work_dir);
    for agent in folders(meta.agents()) {
        let agent_id = AgentId::new(&agent);
        let folder = meta.agent(&agent_id);
        if current == Some(&agent_id) {
            // A run whose sandbox is gone has its checkpoint all the same.
            runs(&folder, &agent_id, true, &mut found);
        } else {
            let changed = newest(&[folder.clone(), folder.join("frameworks")]);
            found.insert(Item::Tree(folder), changed);
        }
    }
    found
}

/// Below one agent's folder, of sandboxes or of checkpoints: the same names lie in both. Only the latter have tasks.
fn runs(agent: &Path, agent_id: &AgentId, is_meta: bool, found: &mut BTreeMap<Item, Option<SystemTime>>) {
    let mut branch = |path: &Path| {
        found.insert(Item::Branch(path.to_owned()), newest(&[path.to_owned()]));
    };
    let frameworks = agent.join("frameworks");
    let framework_names = folders(&frameworks);
    if framework_names.is_empty() {
        return branch(&frameworks);
    }
    let mut runs = Vec::new();
    for framework in framework_names {
        let executors = frameworks.join(&framework).join("executors");
        let executor_names = folders(&executors);
        if executor_names.is_empty() {
            branch(&executors);
        }
        for executor in executor_names {
            let folder = executors.join(&executor).join("runs");
            let containers = folders(&folder);
            if containers.is_empty() {
                branch(&folder);
            }
            for container in containers {
                let path = folder.join(&container);
                let changed = newest(&[path.join("stdout"), path.join("stderr"), path.clone()]);
                let run = Run {
                    framework_id: FrameworkId::new(&framework),
                    executor_id: ExecutorId::new(&executor),
                    container_id: ContainerId::new(&container),
                };
                if is_meta {
                    runs.extend(tasks(&path, agent_id, &run));
                }
                runs.push((Item::Run { agent_id: agent_id.clone(), run }, changed));
            }
        }
    }
    for (item, changed) in runs {
        // Of sandbox and checkpoint, whichever was changed last.
        let entry = found.entry(item).or_insert(changed);
        *entry = (*entry).max(changed);
    }
}

/// Those that a checkpoint has of a run.
fn tasks(run_folder: &Path, agent_id: &AgentId, run: &Run) -> Vec<(Item, Option<SystemTime>)> {
    let folder = run_folder.join("tasks");
    // A sandbox may have a folder of that name: it is the task's own, and none of these files is in it.
    let names = folders(&folder).into_iter().map(|name| (folder.join(&name), name));
    let task = |(path, name): (PathBuf, String)| {
        let (agent_id, run, task_id) = (agent_id.clone(), run.clone(), TaskId::new(&name));
        let changed = newest(&[path.join(layout::TASK_INFO), path.join(layout::TASK_UPDATES)]);
        (Item::Task { agent_id, run, task_id }, changed)
    };
    names.map(task).collect()
}

/// Names of the folders in one that can be ids; none where it cannot be read.
fn folders(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| check_id(name).is_ok()).collect()
}

/// A task that only writes to its output changes no folder.
fn newest(paths: &[PathBuf]) -> Option<SystemTime> {
    paths.iter().filter_map(|path| path.symlink_metadata().ok()?.modified().ok()).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn at(path: &Path, seconds: u64) {
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        std::fs::File::open(path).and_then(|file| file.set_modified(time)).expect("it is there");
    }

    #[test]
    fn runs_are_found_with_their_age_and_what_is_empty_too() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let work = folder.path();
        let run = |root: &str, agent: &str, rest: &str| {
            let path = work.join(root).join("slaves").join(agent).join("frameworks").join(rest);
            std::fs::create_dir_all(&path).expect("mkdir");
            path
        };
        let sandbox = run("", "S1", "F/executors/e/runs/c1");
        std::fs::write(sandbox.join("stdout"), "").expect("write");
        std::os::unix::fs::symlink("c1", sandbox.with_file_name("latest")).expect("link");
        at(&sandbox.join("stdout"), 300);
        at(&sandbox, 200);
        at(&run("meta", "S1", "F/executors/e/runs/c1"), 100);
        at(&run("meta", "S1", "F/executors/e/runs/c2"), 400);
        let task = run("meta", "S1", "F/executors/e/runs/c2/tasks/t");
        std::fs::write(task.join(layout::TASK_UPDATES), "").expect("write");
        at(&task.join(layout::TASK_UPDATES), 350);
        at(task.parent().and_then(Path::parent).expect("the run"), 400);
        // A sandbox may hold anything.
        run("", "S1", "F/executors/e/runs/c1/tasks/t");
        at(&sandbox, 200);
        run("", "S0", "G/executors/x/runs");
        run("meta", "S0", "G");
        let found = scan(work, Some(&AgentId::new("S1")));
        let agent_id = AgentId::new("S1");
        let of = |container: &str| Run {
            framework_id: FrameworkId::new("F"),
            executor_id: ExecutorId::new("e"),
            container_id: ContainerId::new(container),
        };
        let item = |container: &str| Item::Run { agent_id: agent_id.clone(), run: of(container) };
        let seconds = |item: &Item| {
            found[item].expect("it can be seen").duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
        };
        assert_eq!((seconds(&item("c1")), seconds(&item("c2"))), (300, 400));
        let task = Item::Task { agent_id: agent_id.clone(), run: of("c2"), task_id: TaskId::new("t") };
        assert_eq!(seconds(&task), 350);
        let old = Item::Tree(work.join("meta/slaves/S0"));
        let empty = Item::Branch(work.join("slaves/S0/frameworks/G/executors/x/runs"));
        let names: Vec<_> = found.keys().collect();
        assert_eq!(names, [&item("c1"), &item("c2"), &task, &old, &empty]);
        // An agent that has no past yet lives by no checkpoint.
        assert!(scan(work, None).contains_key(&Item::Tree(work.join("meta/slaves/S1"))));
    }
}
