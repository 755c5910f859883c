//! How much of what a container prints is kept: by the operator's flags, and by the variables of a task that wants it
//! otherwise. Names and sizes are those of Mesos' LogrotateContainerLogger. Decides.

use std::collections::BTreeMap;

use crate::size::parse_bytes;

/// Of one of the two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Of a file, in which the newest stands.
    pub size_max_bytes: u64,
    /// Older files, `NAME.1` being the newest of them.
    pub files_max: u32,
}

/// Smaller files would be rotated more than written.
pub const SIZE_MIN_BYTES: u64 = 4096;
/// A rotation renames each.
pub const FILES_MAX: u32 = 1000;

impl Default for Keep {
    fn default() -> Self {
        Self { size_max_bytes: 10 << 20, files_max: 4 }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub stdout: Keep,
    pub stderr: Keep,
}

/// What a task's variables ask for and cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("{name}: {why}")]
    Value { name: String, why: String },
    #[error("{name} is not a setting of the container logger")]
    Unknown { name: String },
}

/// Before the names of a task's own settings.
const PREFIX: &str = "CONTAINER_LOGGER_";

impl Settings {
    /// With what the container's variables say.
    pub fn with(mut self, environment: &BTreeMap<String, String>) -> Result<Self, SettingsError> {
        for (name, value) in environment {
            let Some(setting) = name.strip_prefix(PREFIX) else { continue };
            let bad = |why| SettingsError::Value { name: name.clone(), why };
            let keep = if setting.contains("STDERR") { &mut self.stderr } else { &mut self.stdout };
            match setting {
                "MAX_STDOUT_SIZE" | "MAX_STDERR_SIZE" => {
                    keep.size_max_bytes = parse_size(value).map_err(bad)?;
                }
                "MAX_STDOUT_FILES" | "MAX_STDERR_FILES" => {
                    keep.files_max = parse_files(value).map_err(bad)?;
                }
                "LOGROTATE_STDOUT_OPTIONS" | "LOGROTATE_STDERR_OPTIONS" => {
                    keep.files_max = parse_options(value).map_err(bad)?.unwrap_or(keep.files_max);
                }
                _ => return Err(SettingsError::Unknown { name: name.clone() }),
            }
        }
        Ok(self)
    }
}

pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    match parse_bytes(text)? {
        bytes @ SIZE_MIN_BYTES.. => Ok(bytes),
        _ => Err(format!("expected {SIZE_MIN_BYTES}B or more")),
    }
}

pub(crate) fn parse_files(text: &str) -> Result<u32, String> {
    let files = text.trim().parse().ok().filter(|files| *files <= FILES_MAX);
    files.ok_or_else(|| format!("expected a number from 0 to {FILES_MAX}"))
}

/// Of logrotate's language, as Mesos' users write it, what says how many files there are to be.
fn parse_options(text: &str) -> Result<Option<u32>, String> {
    let mut files = None;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.split_once(char::is_whitespace) {
            Some(("rotate", count)) => files = Some(parse_files(count)?),
            _ => return Err(format!("'{line}' is not supported, only 'rotate NUMBER' is")),
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::default().with(&environment.collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_task_may_want_it_otherwise() {
        let usual = Settings::default();
        assert_eq!(with(&[("PATH", "/bin"), ("LOGGER", "x")]), Ok(usual));
        let own = with(&[
            ("CONTAINER_LOGGER_MAX_STDOUT_SIZE", "1MB"),
            ("CONTAINER_LOGGER_LOGROTATE_STDOUT_OPTIONS", "rotate 9\n"),
            ("CONTAINER_LOGGER_MAX_STDERR_FILES", "0"),
        ]);
        let stdout = Keep { size_max_bytes: 1 << 20, files_max: 9 };
        assert_eq!(own, Ok(Settings { stdout, stderr: Keep { files_max: 0, ..usual.stderr } }));
    }

    #[test]
    fn what_it_cannot_have_is_refused_by_name() {
        let check = |name: &str, value: &str, expect: &str| {
            assert_eq!(with(&[(name, value)]), Err(format!("{name}{expect}")));
        };
        check("CONTAINER_LOGGER_MAX_STDOUT_SIZE", "1KB", ": expected 4096B or more");
        check("CONTAINER_LOGGER_MAX_STDERR_FILES", "-1", ": expected a number from 0 to 1000");
        let unsupported = ": 'compress' is not supported, only 'rotate NUMBER' is";
        check("CONTAINER_LOGGER_LOGROTATE_STDERR_OPTIONS", "rotate 1\n compress", unsupported);
        check("CONTAINER_LOGGER_DESTINATION", "x", " is not a setting of the container logger");
    }
}
