//! Output that is rotated: no line of it is lost or doubled, whoever is killed; a flood stays within its bounds and takes
//! nobody else's turn.

use crate::agent::{Agent, Place, until};
use crate::master::{Master, Session, command, framework};
use model::task::TaskState;
use std::path::{Path, PathBuf};

const SIZE_BYTES: u64 = 16 << 10;

fn flags(files: u32) -> Vec<String> {
    vec![
        "--container-logger=rotating".to_owned(),
        format!("--container-logger-max-stdout-size={SIZE_BYTES}B"),
        format!("--container-logger-max-stdout-files={files}"),
    ]
}

fn place(files: u32) -> Place {
    let flags = flags(files);
    Place::new(&flags.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The sandbox of a task that runs.
fn run(agent: &Agent, session: &mut Session, task_id: &str, shell: &str) -> PathBuf {
    session.run(&framework(true), command(task_id, shell));
    let told = session.follow(task_id, TaskState::Running);
    agent.sandbox(told.last().unwrap().container.as_ref().unwrap().container_id.as_str())
}

/// The files of stdout, from the oldest to the newest.
fn files(sandbox: &Path) -> Vec<String> {
    let older =
        || (1..1000).map(|number| sandbox.join(format!("stdout.{number}"))).take_while(|it| it.exists());
    loop {
        let mut all: Vec<_> = std::iter::once(sandbox.join("stdout")).chain(older()).collect();
        all.reverse();
        match all.iter().map(std::fs::read_to_string).collect::<Result<_, _>>() {
            Ok(files) => return files,
            // Rotated between the two looks.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Where the logger finds what it is to write.
fn tickets(place: &Place) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place.work_dir().join("logger")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}

/// All that was printed is in the files when the logger has done with the container.
fn until_written(place: &Place) {
    until("all output is written", || tickets(place).is_empty());
}

/// The logger of this place, as its lock says.
fn logger(place: &Place) -> Option<i32> {
    use nix::fcntl::{FcntlArg, fcntl};
    let file = std::fs::File::options().write(true).open(place.work_dir().join("logger/lock")).ok()?;
    let mut lock = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as nix::libc::c_short,
        l_whence: nix::libc::SEEK_SET as nix::libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_GETLK(&mut lock)).unwrap();
    (lock.l_type != nix::libc::F_UNLCK as nix::libc::c_short).then_some(lock.l_pid)
}

/// Numbered lines, as many as there are in `0..count`, each once and in order, none cut between files.
#[track_caller]
fn check_lines(sandbox: &Path, count: u32) {
    let files = files(sandbox);
    assert!(files.len() > 3, "{} files are no rotation", files.len());
    for file in &files {
        assert!(file.len() as u64 <= SIZE_BYTES && file.ends_with('\n'), "a file of {} bytes", file.len());
    }
    let printed = files.concat();
    let mut lines = printed.lines();
    for number in 0..count {
        assert_eq!(lines.next(), Some(&*format!("line {number}")));
    }
    assert_eq!(lines.next(), None);
}

/// Prints numbered lines, a part of them, then waits for a file, and prints the rest.
fn in_two_parts(place: &Place, count: u32) -> (String, PathBuf) {
    let (half, go) = (count / 2, place.work_dir().join("go"));
    let print = |from: u32, to: u32| format!("seq -f 'line %.0f' {from} {}", to - 1);
    let wait = format!("while [ ! -e {} ]; do sleep 0.01; done", go.display());
    (format!("{}; {wait}; {}", print(0, half), print(half, count)), go)
}

#[test]
fn no_line_is_lost_at_a_rotation() {
    let (place, master) = (place(999), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    // Written in pieces of all sizes, most of which end within a line.
    let sandbox =
        run(&agent, &mut session, "t", "seq -f 'line %.0f' 0 99999 | dd bs=777 status=none; echo err >&2");
    session.follow("t", TaskState::Finished);
    until_written(&place);
    check_lines(&sandbox, 100_000);
    assert_eq!(std::fs::read_to_string(sandbox.join("stderr")).unwrap(), "err\n");
}

#[test]
fn no_line_is_lost_when_the_agent_is_killed_and_comes_back() {
    const COUNT: u32 = 40_000;
    let (place, master) = (place(999), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let (shell, go) = in_two_parts(&place, COUNT);
    let sandbox = run(&agent, &mut session, "t", &shell);
    until("there is a logger", || logger(&place).is_some());
    let first = logger(&place).unwrap();
    agent.kill();
    // Now: without an agent the task goes on printing, and is not kept waiting.
    std::fs::write(&go, "").unwrap();
    until("it prints without an agent", || files(&sandbox).concat().contains("line 30000\n"));
    assert_eq!(logger(&place), Some(first), "the same one goes on");
    let (_agent, mut session) = place.start(&master);
    session.register();
    session.follow("t", TaskState::Finished);
    until_written(&place);
    check_lines(&sandbox, COUNT);
    until("another one has taken over", || logger(&place).is_some_and(|pid| pid != first));
}

#[test]
fn no_line_is_lost_when_the_logger_is_killed() {
    const COUNT: u32 = 200_000;
    let (place, master) = (place(999), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let go = place.work_dir().join("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.01; done", go.display());
    let sandbox = run(&agent, &mut session, "t", &format!("seq -f 'line %.0f' 0 {}; {wait}", COUNT - 1));
    let mut killed = 0;
    // As often as it comes back while there is something to write.
    while killed < 20 && !tickets(&place).is_empty() {
        let Some(pid) = logger(&place) else { continue };
        if nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).is_ok() {
            killed += 1;
            until("it is gone", || logger(&place) != Some(pid));
        }
        if files(&sandbox).concat().contains(&format!("line {}\n", COUNT - 1)) {
            break;
        }
    }
    assert!(killed > 0);
    std::fs::write(&go, "").unwrap();
    session.follow("t", TaskState::Finished);
    until_written(&place);
    check_lines(&sandbox, COUNT);
}

#[test]
fn a_flood_stays_within_its_bounds_and_takes_nobodys_turn() {
    let (place, master) = (place(3), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let flooded = run(&agent, &mut session, "flood", "exec yes 'a line of a flood'");
    // Beside it, somebody else's lines arrive; and nobody holds more of the disk than was said.
    for number in 0..5 {
        let task = format!("t{number}");
        let sandbox = run(&agent, &mut session, &task, &format!("echo hello {number}; sleep 1000"));
        until("its line is there", || files(&sandbox).concat() == format!("hello {number}\n"));
        let names = std::fs::read_dir(&flooded).unwrap().map(|entry| entry.unwrap());
        let names = names.filter(|entry| entry.file_name().to_string_lossy().contains("stdout"));
        let bytes: u64 = names.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum();
        // The one that is being made beside the four.
        assert!(bytes <= 5 * SIZE_BYTES, "{bytes}");
        session.kill(&task, Some(0));
        session.follow(&task, TaskState::Killed);
    }
    session.kill("flood", Some(0));
    session.follow("flood", TaskState::Killed);
    until_written(&place);
    assert_eq!(files(&flooded).len(), 4);
}

#[test]
fn a_task_may_want_other_sizes_and_print_by_name() {
    let (place, master) = (place(3), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let shell = "seq 10000; echo by its name > /dev/stdout; echo by its name >> /dev/stderr";
    let mut task = command("t", shell);
    let mut info: ::api::v1::TaskInfo = ::api::protobuf::decode(&task.body.0).unwrap();
    let variable = |name: &str, value: &str| ::api::v1::environment::Variable {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..Default::default()
    };
    let variables = vec![variable("CONTAINER_LOGGER_MAX_STDOUT_SIZE", "1MB")];
    info.command.as_mut().unwrap().environment = Some(::api::v1::Environment { variables });
    task.body = model::body::Body(::api::protobuf::encode(&info));
    session.run(&framework(true), task);
    let told = session.follow("t", TaskState::Running);
    let sandbox = agent.sandbox(told.last().unwrap().container.as_ref().unwrap().container_id.as_str());
    session.follow("t", TaskState::Finished);
    until_written(&place);
    let [stdout] = &files(&sandbox)[..] else { panic!("it was rotated") };
    assert!(stdout.ends_with("9999\n10000\nby its name\n"));
    assert_eq!(std::fs::read_to_string(sandbox.join("stderr")).unwrap(), "by its name\n");
    // Read over HTTP as a plain file is.
    let path = format!("/files/read?path={}&offset=0&length=4", sandbox.join("stdout").display());
    assert_eq!(agent.get(&path).json()["data"], "1\n2\n");
}
