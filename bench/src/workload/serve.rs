//! Both ends of the oversubscription bench's tasks: who answers requests, and who wants all the CPUs on order. They call the
//! bench, so that no port has to be agreed on.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Answers a byte by a byte, after some work, until the bench hangs up.
pub(super) fn serve(to: SocketAddrV4, work: Duration) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    let mut byte = [0];
    while stream.read(&mut byte)? > 0 {
        super::spin(work);
        stream.write_all(&byte)?;
    }
    Ok(())
}

/// Four threads a CPU that never wait, from `1` to `0`.
pub(super) fn burst(to: SocketAddrV4) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(to)?;
    let threads = std::thread::available_parallelism()?.get() * 4;
    let mut byte = [0];
    while stream.read(&mut byte)? > 0 {
        if byte != *b"1" {
            continue;
        }
        // Written here, read by the threads; nothing else is published by it.
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        super::spin(Duration::from_millis(1));
                    }
                });
            }
            while byte != *b"0" && stream.read(&mut byte).is_ok_and(|count| count > 0) {}
            is_over.store(true, Ordering::Relaxed);
        });
    }
    Ok(())
}
