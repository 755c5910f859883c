//! A real ZooKeeper, one server on loopback, for as long as a test lasts.

use crate::PATIENCE;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// As Debian's package has it.
const CLASSES: &str = "/usr/share/java/zookeeper.jar";
/// Nobody listens there. Below the ports that the kernel gives to connections: other tests make thousands of these while
/// the JVM starts.
fn free_address() -> SocketAddr {
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], fastrand::u16(20_000..32_000)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Milliseconds. Sessions last two of these at least.
pub(crate) const TICK_MS: u64 = 500;

pub(crate) struct Zookeeper {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Zookeeper {
    /// `None`, and said why, on a machine without one.
    pub(crate) fn start(test: &str) -> Option<Self> {
        if !Path::new(CLASSES).exists() || Command::new("java").arg("-version").output().is_err() {
            assert_ne!(
                std::env::var("REQUIRE").as_deref(),
                Ok("all"),
                "{test} needs ZooKeeper (REQUIRE=all)"
            );
            // Past the test runner's capture, which would swallow it.
            let _ = writeln!(std::io::stderr(), "SKIP {test}: no ZooKeeper here (Debian: zookeeper)");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let free = free_address();
        let data = folder.path().join("data");
        let settings = format!(
            "tickTime={TICK_MS}\ndataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\n\
             admin.enableServer=false\n4lw.commands.whitelist=ruok\n",
            data.display(),
            free.port()
        );
        let file = folder.path().join("zoo.cfg");
        std::fs::write(&file, settings).expect("written");
        let child = Command::new("java")
            .args(["-Xmx256m", "-cp", CLASSES, "org.apache.zookeeper.server.quorum.QuorumPeerMain"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("java was there a moment ago");
        let zookeeper = Self { child, address: free, _folder: folder };
        crate::until("ZooKeeper answers", || zookeeper.is_ok());
        Some(zookeeper)
    }

    fn is_ok(&self) -> bool {
        let ask = || {
            let mut stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"ruok")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            std::io::Result::Ok(answer)
        };
        ask().is_ok_and(|answer| answer == "imok")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("zk://{}/{path}", self.address)
    }
}

impl Drop for Zookeeper {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait().is_ok_and(|it| it.is_none()) && Instant::now() < end {
            std::thread::yield_now();
        }
    }
}
