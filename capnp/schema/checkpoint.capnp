@0xe83b61d05c7f4a92;
# What an agent keeps on disk, so that it knows its tasks when it comes back. Each file is one message.

using Common = import "common.capnp";

struct AgentFile {
  version @0 :UInt16;
  agentId @1 :Text;
  masterId @2 :Text;
  bootId @3 :Text;
  info @4 :Common.AgentInfo;
}

struct FrameworkFile {
  version @0 :UInt16;
  framework @1 :Common.FrameworkInfo;
}

struct ExecutorFile {
  version @0 :UInt16;
  executor @1 :Common.ExecutorInfo;
  isCommand @2 :Bool;
  containerId @3 :Text;
}

struct ProcessFile {
  # Which process is the container's first: a pid alone may be another's by now.
  version @0 :UInt16;
  pid @1 :UInt32;
  startTicks @2 :UInt64;
  # Field 22 of /proc/PID/stat.
  cgroup @3 :Text;
  # Directory, empty without one.
}

struct LimitsFile {
  # What an operator has set for a container while it ran.
  version @0 :UInt16;
  limits @1 :List(Limit);
  ioMax @2 :List(Text);
  # Lines of the kernel's file of that name.

  struct Limit {
    name @0 :Text;
    milli @1 :UInt64;
    # Thousandths; of no meaning without a limit.
    isUnlimited @2 :Bool;
  }
}

struct DrainFile {
  # Everything that runs on the agent is to be killed; the file goes when nothing is left.
  version @0 :UInt16;
  hasMaxGrace @1 :Bool;
  maxGraceNs @2 :UInt64;
  # Bounds the time that tasks have to end by themselves.
  marksGone @3 :Bool;
  startedUs @4 :UInt64;
  # When the agent was told, microseconds since 1970-01-01 UTC.
}

struct TaskFile {
  version @0 :UInt16;
  task @1 :Common.TaskInfo;
  group @2 :List(Text);
  # Ids of all tasks of its group, its own among them; empty: it came alone.
}

struct UpdateRecord {
  # One entry of a task's log of updates, length-prefixed as frames are.
  union {
    update @0 :Common.TaskStatus;
    acknowledged @1 :Data;
    # The update's id.
  }
}
