//! The thread's work, on folders as an agent leaves them.

use super::*;
use crate::node::effect::Run;
use model::id::{ContainerId, ExecutorId, FrameworkId};

fn run(container: &str) -> Item {
    let run = Run {
        framework_id: FrameworkId::new("F"),
        executor_id: ExecutorId::new("e"),
        container_id: ContainerId::new(container),
    };
    Item::Run { agent_id: AgentId::new("S"), run }
}

fn runs(work_dir: &Path) -> PathBuf {
    work_dir.join("slaves/S/frameworks/F/executors/e/runs")
}

fn meta_runs(work_dir: &Path) -> PathBuf {
    work_dir.join("meta/slaves/S/frameworks/F/executors/e/runs")
}

/// Two runs, with all that belongs to them.
fn two_runs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for container in ["c1", "c2"] {
        let sandbox = runs(folder.path()).join(container);
        std::fs::create_dir_all(sandbox.join("data")).expect("mkdir");
        std::fs::write(sandbox.join("stdout"), "").expect("write");
        let meta = meta_runs(folder.path()).join(container);
        std::fs::create_dir_all(meta.join("tasks/t")).expect("mkdir");
        std::fs::write(meta.join(layout::EXECUTOR_INFO), "").expect("write");
    }
    std::os::unix::fs::symlink("c2", runs(folder.path()).join("latest")).expect("link");
    folder
}

#[test]
fn a_run_goes_with_its_checkpoint_and_its_neighbour_stays() {
    let folder = two_runs();
    let work = folder.path();
    assert!(remove(work, &run("c1")));
    assert!(!runs(work).join("c1").exists() && !meta_runs(work).join("c1").exists());
    assert!(runs(work).join("c2/stdout").exists() && meta_runs(work).join("c2").exists());
    prune(&runs(work), &work.join("slaves"));
    assert!(runs(work).join("latest/stdout").exists());
    assert!(remove(work, &run("c2")));
    prune(&runs(work), &work.join("slaves"));
    assert!(work.join("slaves").exists() && !work.join("slaves/S").exists());
}

#[test]
fn a_task_of_a_run_that_goes_on_goes_alone() {
    let folder = two_runs();
    let work = folder.path();
    let Item::Run { agent_id, run } = run("c1") else { panic!("a run") };
    assert!(remove(work, &Item::Task { agent_id, run, task_id: model::id::TaskId::new("t") }));
    let tasks = meta_runs(work).join("c1/tasks");
    assert!(tasks.exists() && !tasks.join("t").exists());
    assert!(meta_runs(work).join("c1").join(layout::EXECUTOR_INFO).exists());
}

#[test]
fn what_is_marked_is_new() {
    let folder = two_runs();
    let work = folder.path();
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000);
    for path in [runs(work).join("c1"), runs(work).join("c1/stdout"), meta_runs(work).join("c1")] {
        std::fs::File::open(path).and_then(|file| file.set_modified(long_ago)).expect("it is there");
    }
    let age_ms = || match carry_out(work, Job::Scan { current: Some(AgentId::new("S")) }) {
        Some(Report::Found(found)) => found[&run("c1")],
        other => panic!("{other:?}"),
    };
    assert!(age_ms() > 1_000_000_000_000);
    assert!(carry_out(work, Job::Mark(run("c1"))).is_none());
    assert!(age_ms() < 3_600_000);
}

#[test]
fn the_disk_is_seen() {
    let disk = measure(Path::new("/")).expect("there is one");
    assert!(disk.total >= disk.used && disk.total > 0);
    assert_eq!(measure(Path::new("/no/such/folder")), None);
}
