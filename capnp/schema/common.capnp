@0xd5c2a8f0b1e34971;
# What several messages speak of. Ids are text; amounts are thousandths; `body` is the complete encoded v1 message.

struct Value {
  union {
    scalarMilli @0 :UInt64;
    ranges @1 :List(Range);
    set @2 :List(Text);
  }
}

struct Range {
  # Both ends are in it.
  begin @0 :UInt64;
  end @1 :UInt64;
}

struct Label {
  key @0 :Text;
  value @1 :Text;
  hasValue @2 :Bool;
}

struct Reservation {
  role @0 :Text;
  isDynamic @1 :Bool;
  principal @2 :Text;
  # Empty: none.
  labels @3 :List(Label);
}

struct Disk {
  persistenceId @0 :Text;
  # Empty: not a volume.
  isIndivisible @1 :Bool;
  body @2 :Data;
}

struct Resource {
  name @0 :Text;
  value @1 :Value;
  allocationRole @2 :Text;
  # Empty: not allocated.
  reservations @3 :List(Reservation);
  disk @4 :Disk;
  # Null: none.
  isRevocable @5 :Bool;
  isShared @6 :Bool;
  providerId @7 :Text;
  # Empty: the agent's own.
}

struct FrameworkInfo {
  frameworkId @0 :Text;
  # Empty: none yet.
  name @1 :Text;
  user @2 :Text;
  roles @3 :List(Text);
  capabilities @4 :List(UInt32);
  # Mesos' numbers.
  failoverTimeoutNs @5 :UInt64;
  checkpoint @6 :Bool;
  hostname @7 :Text;
  webuiUrl @8 :Text;
  # Empty: none.
  principal @9 :Text;
  # Empty: none.
  body @10 :Data;
}

struct ExecutorInfo {
  executorId @0 :Text;
  frameworkId @1 :Text;
  # Empty: not said.
  name @2 :Text;
  hasName @3 :Bool;
  resources @4 :List(Resource);
  body @5 :Data;
  shutdownGraceNs @6 :UInt64;
  hasShutdownGrace @7 :Bool;
}

struct AgentInfo {
  hostname @0 :Text;
  address @1 :Text;
  # HOST:PORT, the host an IP address.
  total @2 :List(Resource);
  bootId @3 :Text;
  version @4 :Text;
  body @5 :Data;
}

struct TaskInfo {
  taskId @0 :Text;
  name @1 :Text;
  agentId @2 :Text;
  resources @3 :List(Resource);
  executor @4 :ExecutorInfo;
  # Null: a command task.
  killGraceNs @5 :UInt64;
  hasKillGrace @6 :Bool;
  body @7 :Data;
}

struct ContainerStatus {
  containerId @0 :Text;
  ip @1 :Text;
  executorPid @2 :UInt32;
  # Zero: not known.
}

struct TaskStatus {
  taskId @0 :Text;
  state @1 :UInt8;
  # Mesos' number.
  source @2 :UInt8;
  # Mesos' number plus one; zero: not said.
  reason @3 :UInt32;
  # Mesos' number plus one; zero: not said.
  message @4 :Text;
  # Null: none.
  agentId @5 :Text;
  # Empty: not said.
  executorId @6 :Text;
  # Empty: not said.
  timestampUs @7 :UInt64;
  updateId @8 :Data;
  # 16 bytes, or empty: needs no acknowledgement.
  healthy @9 :UInt8;
  # 0: not said, 1: no, 2: yes.
  data @10 :Data;
  # Null: none.
  container @11 :ContainerStatus;
  # Null: not known.
  body @12 :Data;
}
