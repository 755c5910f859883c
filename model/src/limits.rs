//! Limits that both daemons hold to. Each says its unit and why it is what it is.

/// Longest id, in bytes: ids are directory names, and Linux allows 255 bytes in one.
pub const ID_BYTES_MAX: usize = 255;

/// Largest frame between agent and master, bytes of payload. A report of 1,000 containers is under 0.5 MiB; a task's
/// `data` is bounded by [`CALL_BYTES_MAX`], which must fit with what stands around it.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// Largest body of one API call, bytes.
pub const CALL_BYTES_MAX: usize = 32 << 20;

// A call that was accepted must be able to travel on to the agent in one frame.
const _: () = assert!(CALL_BYTES_MAX * 2 <= FRAME_BYTES_MAX);

/// Agents are pinged this often, milliseconds (Mesos' `--agent_ping_timeout`).
pub const AGENT_PING_INTERVAL_MS: u64 = 15_000;

/// An agent that has missed this many pings is unreachable (Mesos' `--max_agent_ping_timeouts`).
pub const AGENT_PINGS_MISSED_MAX: u32 = 5;

/// A new master waits so long for agents of the one before, milliseconds (Mesos' `--agent_reregister_timeout`).
pub const AGENT_REREGISTER_TIMEOUT_MS: u64 = 600_000;

/// Scheduler streams carry a HEARTBEAT this often, milliseconds.
pub const HEARTBEAT_INTERVAL_MS: u64 = 15_000;

/// An unacknowledged status update is sent again after this, milliseconds, then after twice as long each time...
pub const UPDATE_RETRY_FIRST_MS: u64 = 10_000;

/// ... but never later than this, milliseconds (Mesos: `STATUS_UPDATE_RETRY_INTERVAL_MAX`).
pub const UPDATE_RETRY_MAX_MS: u64 = 600_000;

/// How long an offer's refused resources stay away from who refused them when the call does not say, milliseconds.
pub const REFUSE_DEFAULT_MS: u64 = 5_000;
