@0x9f07c2b4d6a8135e;
# The usage report: what every container of one agent used, once a second. Read in place by the master.

struct UsageReport {
  sequence @0 :UInt64;
  # Counts from one with the agent's process, so that a lost report can be told.
  timestampUs @1 :UInt64;
  # Wall clock of the agent when the figures were read.
  node @2 :Row;
  containers @3 :List(ContainerUsage);
}

struct Row {
  figures @0 :List(UInt64);
  # In the order of model::usage, where new figures are added at the end only. From an older agent there are fewer, and
  # what is missing is zero; from a newer one there are more, and nobody looks at them.
  sources @1 :UInt64;
  # Who tells each group of figures: three bits a group, the first group lowest. 0 none, 1 /proc, 2 cgroup files,
  # 3 BPF; anything else is from a newer agent and read as none.
}

struct ContainerUsage {
  containerId @0 :Text;
  frameworkId @1 :Text;
  executorId @2 :Text;
  tasks @3 :List(Text);
  isFinal @4 :Bool;
  usage @5 :Row;
}
