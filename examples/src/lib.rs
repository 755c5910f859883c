//! A framework that counts words, as a real one would be written: a scheduler that splits an input into shares of equal
//! bytes and launches a task for each, and an executor that counts one share and sends its answer back in framework
//! messages. Uses nothing of Ingot but the public v1 API; `wordcount` runs on a Mesos cluster just as well.
//!
//! ```text
//!   input tree -> share::list -> share::split -> job (decides) <-> scheduler (talks to the master)
//!                                                  ^  pieces of answers, acknowledged one by one
//!                                                  v
//!   share -> count::Tally -> answer::Outbox (decides) <-> executor (talks to the agent)
//! ```

pub mod answer;
pub mod codec;
pub mod count;
pub mod executor;
pub mod job;
pub mod report;
pub mod scheduler;
pub mod share;
