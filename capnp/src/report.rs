//! The usage report: built once by the agent, read in place by the master.
