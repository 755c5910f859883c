//! Files of sandboxes, and the log: `/files/browse`, `/files/read`, `/files/download`, LIST_FILES and READ_FILE, in the
//! words and numbers of Mesos (`src/files/files.cpp`). Requests are read here; [`Job::run`] looks at the disk.

mod job;
mod list;
mod open;
mod place;
mod types;

#[cfg(test)]
mod tests;

pub use job::{Done, Download, Job};

use super::{Answer, Facts};
use api::legacy::{Query, Reply};
use api::media::Encoding;
use api::refusal::Refusal;
use job::What;
use place::Place;

/// Answers `/files/<what>`.
pub(super) fn answer(what: &str, query: &Query, facts: &Facts<'_>) -> Answer {
    let what = match what {
        "browse" => Ok(What::Browse),
        "read" => read_query(query),
        "download" => Ok(What::Download),
        _ => return Answer::Reply(Reply::refused(&Refusal::NotFound)),
    };
    let path = query.get("path").filter(|path| !path.is_empty());
    match (path, what) {
        (None, _) => Answer::Reply(Reply::bad("Expecting 'path=value' in query.\n")),
        (_, Err(why)) => Answer::Reply(Reply::bad(&why)),
        (Some(path), Ok(what)) => job(path, what, Some(query), facts),
    }
}

/// LIST_FILES
pub(super) fn list(path: &str, encoding: Encoding, facts: &Facts<'_>) -> Answer {
    job(path, What::List(encoding), None, facts)
}

/// READ_FILE
pub(super) fn read(
    path: &str,
    offset: u64,
    length: Option<u64>,
    encoding: Encoding,
    facts: &Facts<'_>,
) -> Answer {
    job(path, What::ReadFile { offset, length, encoding }, None, facts)
}

fn job(path: &str, what: What, query: Option<&Query>, facts: &Facts<'_>) -> Answer {
    let asked = path.trim_end_matches('/');
    match Place::of(asked, facts) {
        Some(place) => Answer::File(Job {
            asked: asked.to_owned(),
            place,
            what,
            query: query.cloned().unwrap_or_default(),
        }),
        None => Answer::Reply(job::not_found(&what)),
    }
}

fn read_query(query: &Query) -> Result<What, String> {
    let (offset, length) = (number(query, "offset")?, number(query, "length")?);
    Ok(What::Read { offset, length })
}

/// `None` where it is not given, or -1, which means the same.
fn number(query: &Query, name: &str) -> Result<Option<u64>, String> {
    let Some(text) = query.get(name) else { return Ok(None) };
    match text.parse::<i64>() {
        Err(_) => Err(format!("Failed to parse {name}: Failed to convert '{text}' to number.\n")),
        Ok(-1) => Ok(None),
        Ok(value) => {
            u64::try_from(value).map(Some).map_err(|_| format!("Negative {name} provided: {value}.\n"))
        }
    }
}
