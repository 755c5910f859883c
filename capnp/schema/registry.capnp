@0xb7c1f2a6d0934e51;
# What a master keeps for the master after it. One object is one message, under a key of its own.

using Common = import "common.capnp";

struct Record {
  version @0 :UInt16;
  union {
    agent @1 :Agent;
    # Under "agent/ID".
    quota @2 :Quota;
    # Under "quota/ROLE".
    weight @3 :UInt64;
    # Under "weight/ROLE", thousandths.
    machine @4 :Machine;
    # Under "machine/IP/HOSTNAME": it is in the maintenance schedule.
  }
}

struct Agent {
  union {
    admitted @0 :Common.AgentInfo;
    unreachable @1 :UInt64;
    gone @2 :UInt64;
    # Since when: microseconds since 1970.
  }
  isDeactivated @3 :Bool;
  drain @4 :Drain;
  # Null: it is not drained.
}

struct Drain {
  isDrained @0 :Bool;
  marksGone @1 :Bool;
  hasGrace @2 :Bool;
  maxGraceNs @3 :UInt64;
  started @4 :UInt64;
  # When its agent was last told to, microseconds since 1970; 0: it has not been.
}

struct Quota {
  guarantees @0 :List(Amount);
  limits @1 :List(Amount);
}

struct Amount {
  name @0 :Text;
  milli @1 :UInt64;
}

struct Machine {
  window @0 :UInt32;
  place @1 :UInt32;
  # Where it stands in the schedule as it was set.
  startNs @2 :Int64;
  # Since 1970.
  hasDuration @3 :Bool;
  durationNs @4 :UInt64;
  isDown @5 :Bool;
}
