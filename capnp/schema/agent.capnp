@0xc4e1907fa35b2d68;
# What an agent and a master say to each other. The menu with its rules: src/message.rs.

using Common = import "common.capnp";
using Report = import "report.capnp";

struct ToMaster {
  union {
    register @0 :Common.AgentInfo;
    reregister @1 :Reregister;
    update @2 :Update;
    executorMessage @3 :Message;
    executorExited @4 :ExecutorExited;
    pong @5 :UInt64;
    unregister @6 :Void;
    usage @7 :Report.UsageReport;
    oversubscribed @8 :List(Common.Resource);
  }
}

struct Reregister {
  agentId @0 :Text;
  info @1 :Common.AgentInfo;
  frameworks @2 :List(Common.FrameworkInfo);
  executors @3 :List(RunningExecutor);
  tasks @4 :List(RunningTask);
  oversubscribed @5 :List(Common.Resource);
}

struct RunningExecutor {
  frameworkId @0 :Text;
  executor @1 :Common.ExecutorInfo;
  containerId @2 :Text;
  isCommand @3 :Bool;
}

struct RunningTask {
  frameworkId @0 :Text;
  task @1 :Common.TaskInfo;
  latestState @2 :UInt8;
  hasPending @3 :Bool;
  pendingState @4 :UInt8;
  pendingUpdateId @5 :Data;
  statuses @6 :List(Common.TaskStatus);
}

struct Update {
  frameworkId @0 :Text;
  status @1 :Common.TaskStatus;
  latestState @2 :UInt8;
}

struct Message {
  frameworkId @0 :Text;
  executorId @1 :Text;
  data @2 :Data;
}

struct ExecutorExited {
  frameworkId @0 :Text;
  executorId @1 :Text;
  containerId @2 :Text;
  waitStatus @3 :Int32;
  hasWaitStatus @4 :Bool;
}

struct ToAgent {
  union {
    registered @0 :Registered;
    refused @1 :Text;
    run @2 :Run;
    kill @3 :Kill;
    acknowledge @4 :Acknowledge;
    schedulerMessage @5 :Message;
    shutdownExecutor @6 :ExecutorRef;
    shutdownFramework @7 :Text;
    updateFramework @8 :Common.FrameworkInfo;
    updateTotal @9 :List(Common.Resource);
    ping @10 :UInt64;
    runGroup @11 :RunGroup;
    drain @12 :Drain;
  }
}

struct Drain {
  # Everything that runs there is to be killed.
  hasMaxGrace @0 :Bool;
  maxGraceNs @1 :UInt64;
  # Bounds the time that tasks have to end by themselves.
  marksGone @2 :Bool;
}

struct Registered {
  agentId @0 :Text;
  masterId @1 :Text;
  pingTimeoutMs @2 :UInt64;
  reconcile @3 :List(TaskRef);
}

struct TaskRef {
  frameworkId @0 :Text;
  taskId @1 :Text;
}

struct ExecutorRef {
  frameworkId @0 :Text;
  executorId @1 :Text;
}

struct Run {
  framework @0 :Common.FrameworkInfo;
  task @1 :Common.TaskInfo;
  startsExecutor @2 :Bool;
}

struct RunGroup {
  framework @0 :Common.FrameworkInfo;
  tasks @1 :List(Common.TaskInfo);
  # At least one; all name the same executor.
  startsExecutor @2 :Bool;
}

struct Kill {
  frameworkId @0 :Text;
  taskId @1 :Text;
  graceNs @2 :UInt64;
  hasGrace @3 :Bool;
}

struct Acknowledge {
  frameworkId @0 :Text;
  taskId @1 :Text;
  updateId @2 :Data;
}
