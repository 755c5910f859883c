//! What an image says of whoever runs on it, beside the container's root: what is nested in the container later, by another
//! life of the agent perhaps, finds what its task has found.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::config::Config;
use super::users::User;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub config: Config,
    /// Whom the image names as its user, by the image's own files.
    pub user: Option<User>,
}

/// The file's name in the container's folder.
const NAME: &str = "said";

/// Its content, as JSON: as much as there is a use for.
#[derive(Serialize, Deserialize)]
struct Note {
    env: Vec<(String, String)>,
    working_dir: Option<String>,
    /// `uid`, `gid`, groups.
    user: Option<(u32, u32, Vec<u32>)>,
}

impl Said {
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let Self { config, user } = self;
        let note = Note {
            env: config.env.clone(),
            working_dir: config.working_dir.clone(),
            user: user.clone().map(|it| (it.uid, it.gid, it.groups)),
        };
        std::fs::write(folder.join(NAME), serde_json::to_vec(&note)?)
    }

    /// `None`: it was not written, by an agent of before.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        let Note { env, working_dir, user } =
            serde_json::from_slice(&std::fs::read(folder.join(NAME)).ok()?).ok()?;
        let config = Config { env, working_dir, ..Config::default() };
        Some(Self { config, user: user.map(|(uid, gid, groups)| User { uid, gid, groups }) })
    }
}
