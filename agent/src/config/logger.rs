//! Flags of what becomes of containers' output.

use crate::logger::settings::{Keep, Settings, parse_files, parse_size};
use crate::size::show_bytes;
use clap::ValueEnum;
use std::collections::BTreeMap;

#[derive(Clone, Debug, clap::Args)]
pub struct LoggerFlags {
    /// What takes containers' output: files in their sandboxes that grow as they print, or files that are rotated by size
    #[arg(long, env = "MESOS_CONTAINER_LOGGER", value_enum, default_value_t = Kind::Sandbox)]
    pub container_logger: Kind,

    /// Size from which on a rotating stdout is rotated; a task may set it by CONTAINER_LOGGER_MAX_STDOUT_SIZE
    #[arg(long, env = "INGOT_CONTAINER_LOGGER_MAX_STDOUT_SIZE", default_value = "10MB", value_parser = parse_size,
          value_name = "BYTES")]
    pub container_logger_max_stdout_size: u64,

    /// The same of stderr
    #[arg(long, env = "INGOT_CONTAINER_LOGGER_MAX_STDERR_SIZE", default_value = "10MB", value_parser = parse_size,
          value_name = "BYTES")]
    pub container_logger_max_stderr_size: u64,

    /// How many older files there are of a rotating stdout; a task may set it by CONTAINER_LOGGER_MAX_STDOUT_FILES
    #[arg(long, env = "INGOT_CONTAINER_LOGGER_MAX_STDOUT_FILES", default_value = "4", value_parser = parse_files,
          value_name = "NUMBER")]
    pub container_logger_max_stdout_files: u32,

    /// The same of stderr
    #[arg(long, env = "INGOT_CONTAINER_LOGGER_MAX_STDERR_FILES", default_value = "4", value_parser = parse_files,
          value_name = "NUMBER")]
    pub container_logger_max_stderr_files: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Nobody is between a container and its files.
    Sandbox,
    #[value(alias = "org_apache_mesos_LogrotateContainerLogger")]
    Rotating,
}

impl LoggerFlags {
    /// `None`: there is no logger.
    pub(crate) fn settings(&self) -> Option<Settings> {
        let keep = |size_max_bytes, files_max| Keep { size_max_bytes, files_max };
        let settings = Settings {
            stdout: keep(self.container_logger_max_stdout_size, self.container_logger_max_stdout_files),
            stderr: keep(self.container_logger_max_stderr_size, self.container_logger_max_stderr_files),
        };
        (self.container_logger == Kind::Rotating).then_some(settings)
    }

    pub(super) fn shown(&self, flags: &mut BTreeMap<&'static str, String>) {
        let Some(Settings { stdout, stderr }) = self.settings() else {
            flags.insert("container_logger", "sandbox".to_owned());
            return;
        };
        flags.extend([
            ("container_logger", "rotating".to_owned()),
            ("container_logger_max_stdout_size", show_bytes(stdout.size_max_bytes)),
            ("container_logger_max_stderr_size", show_bytes(stderr.size_max_bytes)),
            ("container_logger_max_stdout_files", stdout.files_max.to_string()),
            ("container_logger_max_stderr_files", stderr.files_max.to_string()),
        ]);
    }
}
