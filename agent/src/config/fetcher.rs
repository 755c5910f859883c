//! Flags of the fetcher.

use crate::containerizer::fetch::cache::Cache;
use crate::containerizer::fetch::{Fetcher, Settings, read_authorities};
use crate::{duration, size};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Clone, Debug, clap::Args)]
pub struct FetcherFlags {
    /// Most bytes that fetched files are kept in for the next task that wants them; 0B: none are kept
    #[arg(long, env = "MESOS_FETCHER_CACHE_SIZE", default_value = "2GB",
          value_parser = size::parse_bytes, value_name = "BYTES")]
    pub fetcher_cache_size: u64,

    /// Where they are kept; emptied of them when the agent starts [default: "fetch" in the work directory]
    #[arg(long, env = "MESOS_FETCHER_CACHE_DIR")]
    pub fetcher_cache_dir: Option<PathBuf>,

    /// A fetch during which nothing arrives for so long has failed
    #[arg(long, env = "MESOS_FETCHER_STALL_TIMEOUT", default_value = "1mins",
          value_parser = duration::parse_ms, value_name = "DURATION")]
    pub fetcher_stall_timeout: u64,

    /// Most bytes that may come out of one archive
    #[arg(long, env = "INGOT_FETCHER_EXTRACT_MAX", default_value = "32GB",
          value_parser = size::parse_bytes, value_name = "BYTES")]
    pub fetcher_extract_max: u64,

    /// PEM file of authorities whose certificates are trusted beside those that the machine trusts
    #[arg(long, env = "INGOT_FETCHER_CA_FILE")]
    pub fetcher_ca_file: Option<PathBuf>,
}

impl FetcherFlags {
    fn cache_folder(&self, work_dir: &Path) -> PathBuf {
        self.fetcher_cache_dir.clone().unwrap_or_else(|| work_dir.join("fetch"))
    }

    /// The fetcher as it is wanted; starts the cache's thread.
    ///
    /// # Errors
    /// Names the flag that cannot be followed, and why.
    pub(crate) fn fetcher(&self, work_dir: &Path) -> Result<Fetcher, String> {
        let file = self.fetcher_ca_file.as_deref();
        let authorities = file.map(|path| {
            read_authorities(path).map_err(|why| format!("--fetcher-ca-file {}: {why}", path.display()))
        });
        let cache = (self.fetcher_cache_size > 0).then(|| {
            Cache::start(self.cache_folder(work_dir), self.fetcher_cache_size)
                .map_err(|error| format!("start the fetcher's cache: {error}"))
        });
        let settings = Settings {
            stall_max: Duration::from_millis(self.fetcher_stall_timeout),
            extract_bytes_max: self.fetcher_extract_max,
            authorities: authorities.transpose()?.unwrap_or_default(),
        };
        Ok(Fetcher::new(settings, cache.transpose()?))
    }

    pub(super) fn shown(&self, work_dir: &Path, flags: &mut BTreeMap<&'static str, String>) {
        flags.extend([
            ("fetcher_cache_dir", self.cache_folder(work_dir).display().to_string()),
            ("fetcher_cache_size", size::show_bytes(self.fetcher_cache_size)),
            ("fetcher_extract_max", size::show_bytes(self.fetcher_extract_max)),
            ("fetcher_stall_timeout", duration::show_ms(self.fetcher_stall_timeout)),
        ]);
        if let Some(path) = &self.fetcher_ca_file {
            flags.insert("fetcher_ca_file", path.display().to_string());
        }
    }
}
