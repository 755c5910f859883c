//! Persistent volumes, as the master has an agent make them: kept from task to task, and gone when they are destroyed.

use crate::agent::{Place, until};
use crate::master::{Introduction, Master, Session, command, framework};
use crate::needs::{self, Need};
use ::api::v1;
use model::resources::Resources;
use model::task::{TaskInfo, TaskState};
use wire::message::ToAgent;

/// Disk that eng has reserved, with a volume on it.
fn volume() -> v1::Resource {
    let reservation = v1::resource::ReservationInfo {
        r#type: Some(v1::resource::reservation_info::Type::Dynamic as i32),
        role: Some("eng".to_owned()),
        ..v1::resource::ReservationInfo::default()
    };
    let volume = v1::Volume {
        container_path: "data".to_owned(),
        mode: v1::volume::Mode::Rw as i32,
        ..v1::Volume::default()
    };
    let persistence = v1::resource::disk_info::Persistence { id: "db".to_owned(), principal: None };
    let disk = v1::resource::DiskInfo { persistence: Some(persistence), volume: Some(volume), source: None };
    v1::Resource {
        name: "disk".to_owned(),
        r#type: v1::value::Type::Scalar.into(),
        scalar: Some(v1::value::Scalar { value: 64.0 }),
        reservations: vec![reservation],
        disk: Some(disk),
        ..v1::Resource::default()
    }
}

/// What an agent of 4 CPUs, 1024 MiB and as much disk has with it.
fn with_volume() -> Resources {
    let mut total: Resources = "cpus:4;mem:1024;disk:960;ports:[31000-32000]".parse().unwrap();
    total.add(&::api::convert::resources::from_v1(&[volume()]).unwrap());
    total
}

fn on_volume(id: &str, line: &str) -> TaskInfo {
    let mut info = ::api::convert::task::to_v1(&command(id, line)).unwrap();
    let allocation = Some(v1::resource::AllocationInfo { role: Some("eng".to_owned()) });
    info.resources.push(v1::Resource { allocation_info: allocation, ..volume() });
    ::api::convert::task::from_v1(&info).unwrap()
}

fn finish(session: &mut Session, task: TaskInfo) {
    let id = task.task_id.to_string();
    session.run(&framework(true), task);
    loop {
        // One of a task before may come again, whose acknowledgement the killed agent had no time to write down.
        let status = session.update();
        session.acknowledge(&status);
        let is_its = status.task_id.as_str() == id;
        assert!(
            !is_its || matches!(status.state, TaskState::Starting | TaskState::Running | TaskState::Finished),
            "{status:?}"
        );
        if is_its && status.state == TaskState::Finished {
            return;
        }
    }
}

fn a_volume_outlives_tasks_and_agents(flags: &[&str]) {
    let (place, master) = (Place::new(flags), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    session.say(&ToAgent::UpdateTotal { total: with_volume() });
    finish(&mut session, on_volume("writes", "echo kept > data/file; cp data/file data/more"));
    let folder = place.work_dir().join("volumes/roles/eng/db");
    assert_eq!(std::fs::read_to_string(folder.join("file")).unwrap(), "kept\n");
    agent.kill();
    drop(session);
    let (_agent, mut session) = place.start(&master);
    let Introduction::Again(told) = &session.introduction else { panic!("it knows its id") };
    assert_eq!(told.info.total, with_volume(), "what is reserved is the agent's to remember");
    session.register();
    finish(&mut session, on_volume("reads", "cmp data/file data/more && rm data/more"));
    session.say(&ToAgent::UpdateTotal {
        total: "cpus:4;mem:1024;disk:1024;ports:[31000-32000]".parse().unwrap(),
    });
    until("the volume is gone", || !folder.exists());
    session.say(&ToAgent::UpdateTotal { total: with_volume() });
    finish(&mut session, on_volume("finds nothing", "[ -z \"$(ls data)\" ]"));
}

#[test]
fn a_volume_is_found_by_a_link() {
    a_volume_outlives_tasks_and_agents(&["--isolation=filesystem/posix"]);
}

#[test]
fn a_volume_is_mounted() {
    if !needs::met("a_volume_is_mounted", &[Need::Root]) {
        return;
    }
    a_volume_outlives_tasks_and_agents(&["--isolation=filesystem/linux", "--switch-user=true"]);
}
