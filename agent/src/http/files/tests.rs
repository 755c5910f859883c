//! Files over HTTP: what a real Mesos was heard to answer, and tasks that want out of their sandboxes.

use super::Done;
use super::job::READ_BYTES_MAX;
use crate::http::fixture::Scene;
use api::legacy::Reply;
use api::media::JSON;
use api::v1::agent::Response;
use bytes::Bytes;
use nix::sys::stat::Mode;
use serde_json::{Value, json};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// What must never be seen.
const SECRET: &str = "the secret";

/// An agent's work directory with one sandbox in it, and a secret beside it.
struct Place {
    scene: Scene,
    scratch: tempfile::TempDir,
    sandbox: PathBuf,
}

impl Place {
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a directory");
        let mut scene = Scene::recorded();
        // Not every path leads there without a link, on every machine.
        scene.work_dir = scratch.path().canonicalize().expect("it is there").join("work");
        let runs =
            scene.work_dir.join("slaves").join(scene.agent_id.as_str()).join("frameworks/F/executors/E/runs");
        let sandbox = runs.join("C");
        std::fs::create_dir_all(&sandbox).expect("created");
        symlink("C", runs.join("latest")).expect("linked");
        std::fs::write(scratch.path().join("secret"), SECRET).expect("written");
        std::fs::write(runs.join("secret"), SECRET).expect("written");
        // A later run, whose name begins like this one's.
        std::fs::create_dir(runs.join("C2")).expect("created");
        std::fs::write(runs.join("C2/secret"), SECRET).expect("written");
        Self { scene, scratch, sandbox }
    }

    fn write(&self, name: &str, contents: &[u8]) {
        std::fs::write(self.sandbox.join(name), contents).expect("written");
    }

    fn link(&self, to: impl AsRef<Path>, name: &str) {
        symlink(to, self.sandbox.join(name)).expect("linked");
    }

    /// `what` of a file of the sandbox, or of a path from the root.
    fn ask(&self, what: &str, path: impl AsRef<Path>, more: &str) -> Done {
        let path = self.sandbox.join(path);
        let path = client_escaped(path.to_str().expect("text"));
        let request = http::Request::get(format!("/files/{what}?path={path}{more}"));
        self.scene.ask(request.body(Bytes::new()).expect("a request"))
    }

    fn reply(&self, what: &str, path: impl AsRef<Path>, more: &str) -> Reply {
        match self.ask(what, path, more) {
            Done::Reply(reply) => reply,
            Done::Download(file) => panic!("{file:?}"),
        }
    }

    fn read(&self, path: impl AsRef<Path>, more: &str) -> Value {
        let reply = self.reply("read", path, more);
        assert_eq!((reply.status, reply.content_type), (200, Some(JSON)), "{reply:?}");
        serde_json::from_slice(&reply.body).expect("a document")
    }

    fn browse(&self, path: impl AsRef<Path>) -> Vec<Value> {
        let reply = self.reply("browse", path, "");
        assert_eq!((reply.status, reply.content_type), (200, Some(JSON)), "{reply:?}");
        serde_json::from_slice(&reply.body).expect("a document")
    }

    fn call(&self, body: &Value) -> Reply {
        let request = http::Request::post("/api/v1").header("content-type", JSON);
        match self.scene.ask(request.body(body.to_string().into()).expect("a request")) {
            Done::Reply(reply) => reply,
            Done::Download(file) => panic!("{file:?}"),
        }
    }
}

fn client_escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn text(reply: &Reply) -> &str {
    std::str::from_utf8(&reply.body).expect("text")
}

#[test]
fn a_file_is_read_in_parts() {
    let place = Place::new();
    place.write("stdout", b"line one\n");
    for (more, expect) in [
        ("&offset=0", json!({"data": "line one\n", "offset": 0})),
        ("&offset=5&length=3", json!({"data": "one", "offset": 5})),
        ("&offset=5&length=-1", json!({"data": "one\n", "offset": 5})),
        ("&offset=5&length=0", json!({"data": "", "offset": 5})),
        ("&offset=100&length=3", json!({"data": "", "offset": 100})),
        // Only the size.
        ("", json!({"data": "", "offset": 9})),
        ("&offset=-1&length=0", json!({"data": "", "offset": 9})),
        ("&length=4", json!({"data": "", "offset": 9})),
    ] {
        assert_eq!(place.read("stdout", more), expect, "{more}");
        assert_eq!(place.read("stdout/", more), expect, "a last / changes nothing");
    }
    let latest = Path::new("/frameworks/F/executors/E/runs/latest/stdout");
    assert_eq!(place.read(latest, "&offset=5"), json!({"data": "one\n", "offset": 5}));
    let latest = place.sandbox.with_file_name("latest").join("stdout");
    assert_eq!(place.read(latest, "&offset=5"), json!({"data": "one\n", "offset": 5}));
    let script = place.reply("read", "stdout", "&offset=5&jsonp=f");
    assert_eq!(
        (script.content_type, text(&script)),
        (Some("text/javascript"), "f({\"data\":\"one\\n\",\"offset\":5})")
    );
    for (more, expect) in [
        ("&offset=abc", "Failed to parse offset: Failed to convert 'abc' to number.\n"),
        ("&offset=-5", "Negative offset provided: -5.\n"),
        ("&offset=0&length=-7", "Negative length provided: -7.\n"),
        ("&offset=0&length=x", "Failed to parse length: Failed to convert 'x' to number.\n"),
    ] {
        let reply = place.reply("read", "stdout", more);
        assert_eq!((reply.status, text(&reply)), (400, expect), "{more}");
    }
}

#[test]
fn one_answer_holds_no_more_than_16_pages_and_bytes_that_are_no_text_do_not_spoil_it() {
    let place = Place::new();
    place.write("big", &vec![b'x'; 100_000]);
    let got = place.read("big", "&offset=10");
    assert_eq!(got["data"].as_str().map(str::len), usize::try_from(READ_BYTES_MAX).ok());
    let got = place.read("big", "&offset=99990&length=100000");
    assert_eq!(got["data"], "x".repeat(10));
    place.write("bytes", b"a\xc3b\x01\"\\");
    assert_eq!(place.read("bytes", "&offset=0")["data"], "a\u{fffd}b\u{1}\"\\");
    let path = place.sandbox.join("bytes");
    let got =
        place.call(&json!({"type": "READ_FILE", "read_file": {"path": path, "offset": 1, "length": 2}}));
    assert_eq!(text(&got), "{\"type\":\"READ_FILE\",\"read_file\":{\"size\":6,\"data\":\"w2I=\"}}");
}

#[test]
fn a_directory_is_listed_as_ls_would() {
    let place = Place::new();
    place.write("stdout", b"hi\n");
    std::fs::create_dir(place.sandbox.join("d")).expect("created");
    place.link("stdout", "in");
    place.link(place.sandbox.join("stdout"), "absolute");
    place.link("/nonexistent", "gone");
    place.link("nonexistent", "gone too");
    place.link("/etc/passwd", "out");
    place.link("../secret", "beside");
    nix::unistd::mkfifo(&place.sandbox.join("pipe"), Mode::S_IRUSR).expect("made");
    let listed = place.browse("");
    let name = |entry: &Value| -> String {
        let path = entry["path"].as_str().expect("a path");
        let name = path.strip_prefix(place.sandbox.to_str().expect("text")).expect("where it was asked for");
        name.trim_start_matches('/').to_owned()
    };
    let names: Vec<String> = listed.iter().map(name).collect();
    // `gone` leads out, and whether there is anything is not told; `gone too` leads nowhere, and is not there.
    assert_eq!(names, ["absolute", "beside", "d", "gone", "in", "out", "pipe", "stdout"]);
    let of = |wanted: &str| &listed[names.iter().position(|name| name == wanted).expect("listed")];
    for (name, kind) in
        [("absolute", '-'), ("beside", 'l'), ("d", 'd'), ("in", '-'), ("out", 'l'), ("pipe", 'p')]
    {
        assert!(of(name)["mode"].as_str().expect("a mode").starts_with(kind), "{}", of(name));
    }
    assert_eq!((&of("in")["size"], &of("beside")["size"]), (&json!(3), &json!("../secret".len())));
    let stdout = of("stdout").as_object().expect("an object");
    let keys: Vec<_> = stdout.keys().map(String::as_str).collect();
    assert_eq!(keys, ["gid", "mode", "mtime", "nlink", "path", "size", "uid"]);
    assert!(stdout["mtime"].is_f64() && stdout["nlink"].is_u64());
    assert_eq!(
        place.browse("./d/../"),
        listed.iter().map(|entry| with_path(entry, "./d/..", &place)).collect::<Vec<_>>()
    );
    assert_eq!(place.browse("stdout"), [json!(null); 0], "of a file there is nothing to list");
    let listed = place.call(&json!({"type": "LIST_FILES", "list_files": {"path": place.sandbox}}));
    let listed: Response = api::json::from_slice(&listed.body).expect("a response");
    let infos = listed.list_files.expect("a list").file_infos;
    let stdout = infos.iter().find(|info| info.path.ends_with("/stdout")).expect("listed");
    assert_eq!((stdout.size, stdout.mode.map(|mode| mode & 0o170_000)), (Some(3), Some(0o100_000)));
}

fn with_path(entry: &Value, way: &str, place: &Place) -> Value {
    let (from, to) = (place.sandbox.to_str().expect("text"), place.sandbox.join(way));
    let path = entry["path"].as_str().expect("a path").replace(from, to.to_str().expect("text"));
    let mut entry = entry.clone();
    entry["path"] = path.into();
    entry
}

#[test]
fn a_file_is_downloaded_whole() {
    let place = Place::new();
    place.write("result.tar", b"contents");
    let Done::Download(mut file) = place.ask("download", "result.tar", "") else { panic!("refused") };
    assert_eq!((file.content_type, file.size), ("application/x-tar", 8));
    assert_eq!(file.disposition, "attachment; filename=result.tar");
    let mut contents = String::new();
    file.file.read_to_string(&mut contents).expect("readable");
    assert_eq!(contents, "contents");
    let reply = place.reply("download", "", "");
    assert_eq!((reply.status, text(&reply)), (400, "Cannot download a directory.\n"));
    let reply = place.reply("download", "missing", "");
    assert_eq!((reply.status, text(&reply)), (404, "404 Not Found."));
}

#[test]
fn what_is_not_there_or_no_file_is_told_as_mesos_tells_it() {
    let place = Place::new();
    place.write("stdout", b"hi\n");
    for path in
        ["missing", "stdout/x", "/etc/passwd", "/", "/slave/log", "/slave/log/x", "/frameworks/F/executors/E"]
    {
        for what in ["read", "browse"] {
            let reply = place.reply(what, path, "&offset=0");
            assert_eq!((reply.status, text(&reply)), (404, ""), "{what} {path}");
        }
        let path = place.sandbox.join(path);
        let reply = place.call(&json!({"type": "LIST_FILES", "list_files": {"path": path}}));
        assert_eq!((reply.status, text(&reply)), (404, ""), "{path:?}");
    }
    let reply = place.reply("read", "", "&offset=0");
    assert_eq!((reply.status, text(&reply)), (400, "Cannot read a directory.\n"));
    for what in ["read", "browse", "download"] {
        let reply = place.scene.get(&format!("/files/{what}?path="));
        assert_eq!((reply.status, text(&reply)), (400, "Expecting 'path=value' in query.\n"), "{what}");
    }
}

#[test]
fn the_log_has_a_path_of_its_own() {
    let mut place = Place::new();
    place.scene.log = Some(place.scratch.path().join("log"));
    assert_eq!(place.reply("read", "/slave/log", "&offset=0").status, 404, "it has not been begun");
    std::fs::write(place.scratch.path().join("log"), "said\n").expect("written");
    assert_eq!(place.read("/slave/log", "&offset=1"), json!({"data": "aid\n", "offset": 1}));
    assert_eq!(place.reply("read", "/slave/log/x", "&offset=0").status, 404);
    assert!(place.browse("/slave/log").is_empty());
}

#[test]
fn no_link_and_no_dots_lead_out() {
    let place = Place::new();
    place.write("stdout", b"in");
    std::fs::create_dir(place.sandbox.join("d")).expect("created");
    let secret = place.scratch.path().join("secret");
    place.link(&secret, "absolute");
    place.link("../secret", "beside");
    place.link("..", "up");
    place.link("/", "root");
    place.link("/proc/self/root", "magic");
    place.link("/proc/self/cwd/../../../../../../..", "magic2");
    place.link("up/up/up", "chain");
    place.link("loop", "loop");
    place.link(place.sandbox.with_file_name("C2/secret"), "sibling");
    place.link("../d/../../secret", "d/winding");
    let ways = [
        "absolute",
        "beside",
        "sibling",
        "up/secret",
        "chain/secret",
        "../secret",
        "d/../../secret",
        "d/winding",
        "d/./..//../secret",
        "root/etc/passwd",
        "magic/etc/passwd",
        "magic2/etc/passwd",
        "../../../../../../../../../../../../../../../../etc/passwd",
        "up/../../../../../../../../../../../../../../../etc/passwd",
        "loop",
    ];
    for way in ways {
        for what in ["read", "download", "browse"] {
            let reply = place.reply(what, way, "&offset=0");
            assert!(!text(&reply).contains(SECRET));
            let expect = format!("'{}' is inaccessible.\n", place.sandbox.join(way).display());
            assert_eq!((reply.status, text(&reply)), (400, &*expect), "{what} {way}");
        }
        let path = place.sandbox.join(way);
        let reply = place.call(&json!({"type": "READ_FILE", "read_file": {"path": path, "offset": 0}}));
        assert_eq!(reply.status, 400, "{way}");
    }
    // Others' sandboxes and what the agent keeps beside them are no sandbox's.
    let runs = place.sandbox.parent().expect("it is in one");
    for path in [
        runs.join("secret"),
        runs.to_owned(),
        place.scene.work_dir.join("meta"),
        place.scene.work_dir.clone(),
    ] {
        let reply = place.reply("read", &path, "&offset=0");
        assert!(matches!(reply.status, 400 | 404) && !text(&reply).contains(SECRET), "{path:?}: {reply:?}");
    }
}

#[test]
fn links_within_a_sandbox_are_followed() {
    let place = Place::new();
    std::fs::create_dir(place.sandbox.join("d")).expect("created");
    place.write("d/file", b"in");
    place.link("d/file", "relative");
    place.link(place.sandbox.join("d"), "absolute");
    place.link("../d/../relative", "d/winding");
    // Out and in again.
    place.link("..", "up");
    for way in ["up/C/relative", "relative", "absolute/file", "d/winding", "absolute/winding", "d/../d/file"]
    {
        assert_eq!(place.read(way, "&offset=0")["data"], "in", "{way}");
    }
    assert_eq!(place.browse("absolute").len(), 2);
}

/// Nobody may be made to wait for the other end of a pipe, or to act on a device.
#[test]
fn only_regular_files_are_opened() {
    let place = Place::new();
    nix::unistd::mkfifo(&place.sandbox.join("pipe"), Mode::S_IRUSR | Mode::S_IWUSR).expect("made");
    let _socket = std::os::unix::net::UnixListener::bind(place.sandbox.join("socket")).expect("bound");
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for name in ["pipe", "socket"] {
            for (what, verb) in [("read", "read"), ("download", "download")] {
                let reply = place.reply(what, name, "&offset=0");
                let expect = format!("Cannot {verb} what is not a regular file.\n");
                let got = (reply.status, text(&reply).to_owned());
                done.send((got, (400, expect))).expect("somebody waits");
            }
        }
    });
    for _ in 0..4 {
        let patience = std::time::Duration::from_secs(30);
        let (got, expect) = wait.recv_timeout(patience).expect("an answer, and not a hold-up or a panic");
        assert_eq!(got, expect);
    }
}

/// A task that swaps a directory for a link while it is looked at.
#[test]
fn swapping_what_is_looked_at_gains_nothing() {
    let place = Place::new();
    let (real, way) = (place.sandbox.join("real"), place.sandbox.join("way"));
    std::fs::create_dir(&real).expect("created");
    std::fs::write(real.join("secret"), "harmless").expect("written");
    // Two names for one thing to be exchanged in one step: a directory, and a link to where the secret is.
    symlink(place.sandbox.parent().expect("it is in one"), place.sandbox.join("out")).expect("linked");
    symlink("real", &way).expect("linked");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let fresh = place.sandbox.join("fresh");
            for target in ["out", "real"].iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                symlink(target, &fresh).expect("linked");
                std::fs::rename(&fresh, &way).expect("renamed");
            }
        });
        for _ in 0..3_000 {
            let reply = place.reply("read", "way/secret", "&offset=0");
            let body = text(&reply);
            let refused = matches!(reply.status, 400 | 500) && !body.contains(SECRET);
            assert!(refused || body.contains("harmless"), "{} {body}", reply.status);
        }
        stop.store(true, Ordering::Relaxed);
    });
}
