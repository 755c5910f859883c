@0x9f07c2b4d6a8135e;
# The usage report: what a node and each of its containers used, once a second. The master copies the figures from where
# the message lies into its table, column by column; it looks at names only when they are new to the session.

struct UsageReport {
  sequence @0 :UInt64;
  # Counts from one with the agent's process, so that a lost report can be told.
  timestampUs @1 :UInt64;
  # Wall clock of the agent when the figures were read.
  node @2 :Rows;
  # One row.
  layout @3 :UInt64;
  # Number of the arrangement of `containers`; a new one when a row is given to another container, or a task began or
  # ended there. 0: nothing is said of running containers.
  members @4 :List(Member);
  # Whose the rows are. Left out when the session's last report had the same layout.
  containers @5 :Rows;
  # The containers that run. A container keeps its row; rows of containers that are gone are zero and have no source
  # until others take them.
  over @6 :List(Member);
  overFigures @7 :Rows;
  # Containers whose last process has exited, and their last figures. They stand on their own: a container that is over
  # may have been in no layout.
}

struct Rows {
  count @0 :UInt32;
  told @1 :UInt64;
  # Which figures are in some row not zero, a bit a figure, lowest first, in the order of model::usage, where new ones are
  # added at the end only. What is not told is zero.
  toldBeyond @2 :UInt64;
  # The same of the 65th figure and those after it.
  words @3 :Data;
  # The rows by eights, the last of them by what is left; each such part is columns of 64-bit little-endian words, a word
  # a row. The first says who tells each group of figures, three bits a group, the
  # first group lowest: 0 none, 1 /proc, 2 cgroup files, 3 BPF; anything else is from a newer agent and read as none. Then
  # comes one for each figure that is told, in order. What stands behind the last part is for newer masters.
}

struct Member {
  containerId @0 :Text;
  # Empty: nobody's row.
  frameworkId @1 :Text;
  executorId @2 :Text;
  tasks @3 :List(Text);
  # Those that ran in it since the report before.
}
