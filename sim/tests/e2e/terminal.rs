//! `ingot exec -it` on a terminal: keys, size, what comes out, how it ends, and a terminal that is afterwards what it was.
//! script(1) makes the terminal and carries keys to it; it is on every Debian and Fedora.

use std::process::Stdio;

use api::v1::TaskState::TaskRunning;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::support::{Framework, PATIENCE, Target, command_task, programs, skip};

/// A program on a terminal of its own.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    seen: String,
}

impl Terminal {
    fn open(line: &str, target: &Target) -> Self {
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--flush", "--command", line, "/dev/null"]);
        command.env("INGOT_MASTER", target.master.to_string()).env("SHELL", "/bin/sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (keys, screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, keys, screen, seen: String::new() }
    }

    async fn until(&mut self, wanted: &str) {
        let mut block = [0; 1024];
        while !self.seen.contains(wanted) {
            let read = tokio::time::timeout(PATIENCE, self.screen.read(&mut block)).await;
            let count = read.unwrap_or_else(|_| panic!("never {wanted:?} in {:?}", self.seen)).unwrap();
            assert!(count > 0, "over before {wanted:?}: {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&block[..count]));
        }
    }

    async fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).await.unwrap();
    }

    /// Its exit code.
    async fn end(mut self) -> Option<i32> {
        self.until("terminal restored").await;
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap().code()
    }
}

#[tokio::test]
async fn a_command_beside_a_task_has_our_terminal() {
    let test = "a_command_beside_a_task_has_our_terminal";
    let has = |program: &str| std::process::Command::new(program).arg("--version").output().is_ok();
    if !has("script") || !has("stty") {
        return skip(test, "no script(1) or no stty(1)");
    }
    let target = Target::start().await;
    let mut framework = Framework::subscribe(&target, None).await;
    let offer = framework.offer().await;
    let task = command_task("shown", &offer.agent_id, "sleep 1000");
    framework.calls.launch(vec![offer.id], vec![task], 0.0).await.unwrap();
    while framework.update("shown").await.state() != TaskRunning {}
    let ingot = programs().join("ingot").display().to_string();
    let on_terminal = |command: &str| {
        let line = format!(
            "stty rows 33 cols 77; was=$(stty -g); {ingot} exec -it shown -- '{command}'; code=$?; \
             [ \"$was\" = \"$(stty -g)\" ] && echo terminal restored; exit $code"
        );
        Terminal::open(&line, &target)
    };

    let mut terminal = on_terminal("test -t 0 && test -t 1 && stty size; read line; echo got $line; exit 7");
    terminal.until("33 77").await;
    terminal.press("two words\r").await;
    // What was typed is shown by the command's terminal, and not by ours as well.
    terminal.until("two words\r\ngot two words").await;
    assert_eq!(terminal.seen.matches("two words").count(), 2, "{:?}", terminal.seen);
    assert_eq!(terminal.end().await, Some(7));

    // Ctrl-C is a key of the command's, not of ours.
    let mut terminal = on_terminal("echo ready; exec sleep 1000");
    terminal.until("ready").await;
    terminal.press("\u{3}").await;
    assert_eq!(terminal.end().await, Some(130));
    framework.calls.teardown().await.unwrap();
}
