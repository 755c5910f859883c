@0x9f07c2b4d6a8135e;
# The usage report: what every container of one agent used, once a second. Read in place by the master.

struct UsageReport {
  sequence @0 :UInt64;
  # Counts from one with the agent's process, so that a lost report can be told.
  timestampUs @1 :UInt64;
  # Wall clock of the agent when the figures were read.
  node @2 :NodeUsage;
  containers @3 :List(ContainerUsage);
}

struct NodeUsage {
  cpuNs @0 :UInt64;
  # Busy time of all its CPUs since it booted.
  cpusMilli @1 :UInt64;
  memoryTotalBytes @2 :UInt64;
  memoryAvailableBytes @3 :UInt64;
  load1Milli @4 :UInt64;
  load5Milli @5 :UInt64;
  load15Milli @6 :UInt64;
}

struct ContainerUsage {
  containerId @0 :Text;
  frameworkId @1 :Text;
  executorId @2 :Text;
  tasks @3 :List(Text);
  isFinal @4 :Bool;
  cpuSource @5 :Source;
  memorySource @6 :Source;
  networkSource @7 :Source;

  cpuNs @8 :UInt64;
  cpuUserNs @9 :UInt64;
  cpuSystemNs @10 :UInt64;
  switchesVoluntary @11 :UInt64;
  switchesInvoluntary @12 :UInt64;
  throttledPeriods @13 :UInt64;
  throttledNs @14 :UInt64;
  memoryCurrentBytes @15 :UInt64;
  memoryPeakBytes @16 :UInt64;
  memoryAnonBytes @17 :UInt64;
  memoryFileBytes @18 :UInt64;
  oomKills @19 :UInt64;
  netRxBytes @20 :UInt64;
  netRxPackets @21 :UInt64;
  netTxBytes @22 :UInt64;
  netTxPackets @23 :UInt64;
  processes @24 :UInt32;
  threads @25 :UInt32;
  forks @26 :UInt64;
  exits @27 :UInt64;
}

enum Source {
  none @0;
  proc @1;
  cgroup @2;
  bpf @3;
}
