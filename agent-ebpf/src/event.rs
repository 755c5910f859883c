//! What the ring buffer carries: one record a process that begins, becomes another program, ends, or is chosen by the
//! OOM killer.

/// Size of a record in the ring buffer, bytes.
pub const EVENT_BYTES: usize = size_of::<Event>();

/// What happened. The numbers are what the ring buffer carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EventKind {
    Fork = 1,
    Exec = 2,
    Exit = 3,
    /// The OOM killer chose this process; its [`EventKind::Exit`] follows.
    Oom = 4,
}

impl EventKind {
    pub const fn from_u32(value: u32) -> Option<Self> {
        match value {
            1 => Some(Self::Fork),
            2 => Some(Self::Exec),
            3 => Some(Self::Exit),
            4 => Some(Self::Oom),
            _ => None,
        }
    }
}

/// One event of one process (never of a thread).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds since boot, sleep included (`CLOCK_BOOTTIME`).
    pub time_ns: u64,
    /// The container's cgroup id, also where the process sits in a cgroup below it.
    pub container: u64,
    /// An [`EventKind`].
    pub kind: u32,
    /// Process id in the initial PID namespace.
    pub pid: u32,
    /// Of a fork, the parent's process id; otherwise 0.
    pub parent: u32,
    /// Of an exit, the status as `waitpid` gives it: `WIFEXITED` and friends apply. Otherwise 0.
    pub status: u32,
    /// The program's name as the kernel keeps it, zero-padded.
    pub command: [u8; 16],
}

const _: () = assert!(EVENT_BYTES == 48);

impl Event {
    /// Reads a record of the ring buffer. `None` if it is not one: a wrong size or an unknown kind.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; EVENT_BYTES] = bytes.try_into().ok()?;
        let event = Self {
            time_ns: u64::from_ne_bytes(part(bytes, 0)),
            container: u64::from_ne_bytes(part(bytes, 8)),
            kind: u32::from_ne_bytes(part(bytes, 16)),
            pid: u32::from_ne_bytes(part(bytes, 20)),
            parent: u32::from_ne_bytes(part(bytes, 24)),
            status: u32::from_ne_bytes(part(bytes, 28)),
            command: part(bytes, 32),
        };
        EventKind::from_u32(event.kind).map(|_| event)
    }

    /// The kind; `None` never comes out of [`Event::from_bytes`].
    pub const fn kind(&self) -> Option<EventKind> {
        EventKind::from_u32(self.kind)
    }

    /// The exit code, where the process ended by itself.
    pub const fn exit_code(&self) -> Option<u32> {
        if self.status & 0x7f == 0 { Some((self.status >> 8) & 0xff) } else { None }
    }

    /// The signal that ended the process, where one did.
    pub const fn signal(&self) -> Option<u32> {
        if self.status & 0x7f != 0 { Some(self.status & 0x7f) } else { None }
    }

    /// The program's name; what is not UTF-8 in it is cut off.
    pub fn command(&self) -> &str {
        let end = self.command.iter().position(|byte| *byte == 0).unwrap_or(self.command.len());
        let name = &self.command[..end];
        match str::from_utf8(name) {
            Ok(text) => text,
            Err(error) => str::from_utf8(&name[..error.valid_up_to()]).unwrap_or(""),
        }
    }
}

fn part<const N: usize>(bytes: &[u8; EVENT_BYTES], at: usize) -> [u8; N] {
    core::array::from_fn(|index| bytes[at + index])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(event: &Event) -> [u8; EVENT_BYTES] {
        let mut out = [0; EVENT_BYTES];
        out[0..8].copy_from_slice(&event.time_ns.to_ne_bytes());
        out[8..16].copy_from_slice(&event.container.to_ne_bytes());
        for (index, word) in [event.kind, event.pid, event.parent, event.status].into_iter().enumerate() {
            out[16 + 4 * index..20 + 4 * index].copy_from_slice(&word.to_ne_bytes());
        }
        out[32..].copy_from_slice(&event.command);
        out
    }

    #[test]
    fn a_record_reads_back() {
        let mut command = [0; 16];
        command[..4].copy_from_slice(b"true");
        let event = Event { time_ns: 7, container: 42, kind: 3, pid: 11, parent: 0, status: 3 << 8, command };
        let read = Event::from_bytes(&bytes(&event)).expect("a whole record");
        assert_eq!(read, event);
        assert_eq!((read.kind(), read.exit_code(), read.signal()), (Some(EventKind::Exit), Some(3), None));
        assert_eq!(read.command(), "true");
    }

    #[test]
    fn a_signal_is_no_exit_code() {
        let event = Event { kind: 3, status: 9 | 0x80, ..Event::default() };
        assert_eq!((event.exit_code(), event.signal()), (None, Some(9)));
    }

    #[test]
    fn what_is_not_a_record_is_refused() {
        assert_eq!(Event::from_bytes(&[0; EVENT_BYTES - 1]), None);
        assert_eq!(Event::from_bytes(&bytes(&Event { kind: 9, ..Event::default() })), None);
    }

    #[test]
    fn a_broken_name_is_cut() {
        let mut event = Event::default();
        event.command[..3].copy_from_slice(&[b'a', 0xff, b'b']);
        assert_eq!(event.command(), "a");
        event.command = [b'x'; 16];
        assert_eq!(event.command().len(), 16);
    }
}
