//! GET /files/browse, /files/read, /files/download: sandboxes over HTTP, in the words and numbers of Mesos
//! (`src/files/files.cpp`).

use crate::executor_api::body::{self, Answer, answer};
use crate::executor_api::route::Query;
use crate::executor_api::sandbox::{self, Closed, Place};
use crate::runtime::Agent;
use api::refusal::Refusal;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::rc::Rc;

/// Largest part of a file in one answer, bytes (16 pages, as in Mesos).
const READ_BYTES_MAX: u64 = 16 * 4096;

/// Largest file that is handed out whole, bytes: it is held in memory meanwhile. Larger ones can be read in parts.
const DOWNLOAD_BYTES_MAX: u64 = 256 << 20;

pub(super) async fn browse(agent: &Rc<Agent>, query: &Query) -> Answer {
    let jsonp = query.get("jsonp").map(ToOwned::to_owned);
    in_place(agent, query, |place| {
        let directory = place.open()?;
        let metadata = directory.metadata()?;
        if !metadata.is_dir() {
            // As in Mesos, a file's listing is itself.
            return Ok(json!([entry(&place.asked, &metadata)]));
        }
        let mut entries = Vec::new();
        // Through the descriptor: what was opened is what is listed, whatever its name has come to mean since.
        for found in
            std::fs::read_dir(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&directory)))?
        {
            let found = found?;
            // A link is told as the link it is: its target may be outside.
            let Ok(metadata) = found.metadata() else { continue };
            let path = format!("{}/{}", place.asked, found.file_name().to_string_lossy());
            entries.push((path.clone(), entry(&path, &metadata)));
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Value::Array(entries.into_iter().map(|(_, entry)| entry).collect()))
    })
    .await
    .map_or_else(|answer| *answer, |listing| body::json(&listing, jsonp.as_deref()))
}

pub(super) async fn read(agent: &Rc<Agent>, query: &Query) -> Answer {
    let (offset, length) = match (number(query, "offset"), number(query, "length")) {
        (Ok(offset), Ok(length)) => (offset, length),
        (Err(why), _) | (_, Err(why)) => return body::refusal(&Refusal::Bad(why)),
    };
    let jsonp = query.get("jsonp").map(ToOwned::to_owned);
    in_place(agent, query, move |place| {
        let file = place.open()?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(Failed::Bad("Cannot read a directory.\n".to_owned()));
        }
        // Without an offset only the size is wanted.
        let Some(offset) = offset else { return Ok(json!({ "data": "", "offset": metadata.size() })) };
        let left = metadata.size().saturating_sub(offset);
        if left == 0 {
            return Ok(json!({ "data": "", "offset": offset }));
        }
        let data = read_part(&file, offset, length.unwrap_or(left).min(left).min(READ_BYTES_MAX))?;
        Ok(json!({ "data": String::from_utf8_lossy(&data), "offset": offset }))
    })
    .await
    .map_or_else(|answer| *answer, |part| body::json(&part, jsonp.as_deref()))
}

pub(super) async fn download(agent: &Rc<Agent>, query: &Query) -> Answer {
    let read = |place: &Place| {
        let file = place.open()?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(Failed::Bad("Cannot download a directory.\n".to_owned()));
        }
        if metadata.size() > DOWNLOAD_BYTES_MAX {
            let why = format!(
                "The file is larger than {DOWNLOAD_BYTES_MAX} bytes; read it in parts by /files/read.\n"
            );
            return Err(Failed::Bad(why));
        }
        Ok((place.name(), read_part(&file, 0, metadata.size())?))
    };
    match in_place(agent, query, read).await {
        Err(answer) => *answer,
        Ok((name, bytes)) => {
            let mut response = answer(StatusCode::OK, "application/octet-stream", bytes);
            let disposition = format!("attachment; filename={name}");
            if let Ok(value) = HeaderValue::from_str(&disposition) {
                response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
            }
            response
        }
    }
}

/// Why a file could not be looked at.
enum Failed {
    Closed(Closed),
    Bad(String),
    Io(io::Error),
}

impl From<Closed> for Failed {
    fn from(closed: Closed) -> Self {
        Self::Closed(closed)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Finds the place that `path` asks for and works on it, on a thread that may block.
async fn in_place<T: Send + 'static>(
    agent: &Rc<Agent>,
    query: &Query,
    work: impl FnOnce(&Place) -> Result<T, Failed> + Send + 'static,
) -> Result<T, Box<Answer>> {
    let Some(path) = query.get("path").filter(|path| !path.is_empty()) else {
        return Err(Box::new(body::refusal(&Refusal::Bad("Expecting 'path=value' in query.\n".to_owned()))));
    };
    let done = match sandbox::find(agent, path) {
        Ok(place) => {
            tokio::task::spawn_blocking(move || work(&place)).await.expect("looking at files does not panic")
        }
        Err(closed) => Err(closed.into()),
    };
    done.map_err(|failed| Box::new(refused(path, &failed)))
}

fn refused(path: &str, failed: &Failed) -> Answer {
    let told = |error: &dyn std::fmt::Display| {
        answer(
            StatusCode::INTERNAL_SERVER_ERROR,
            Refusal::CONTENT_TYPE,
            format!("Failed to open file at '{path}': {error}.\n"),
        )
    };
    match failed {
        Failed::Closed(Closed::NotFound) => body::refusal(&Refusal::NotFound),
        Failed::Closed(Closed::Outside) => {
            body::refusal(&Refusal::Bad(format!("'{path}' is inaccessible.\n")))
        }
        Failed::Closed(Closed::Failed(errno)) => told(errno),
        Failed::Bad(why) => body::refusal(&Refusal::Bad(why.clone())),
        Failed::Io(error) => told(error),
    }
}

fn read_part(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut data = vec![0; usize::try_from(length).expect("parts are small")];
    let mut filled = 0;
    while filled < data.len() {
        match file.read_at(&mut data[filled..], offset + u64::try_from(filled).expect("parts are small"))? {
            0 => break,
            count => filled += count,
        }
    }
    data.truncate(filled);
    Ok(data)
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

fn entry(path: &str, metadata: &Metadata) -> Value {
    let user = nix::unistd::User::from_uid(metadata.uid().into()).ok().flatten();
    let group = nix::unistd::Group::from_gid(metadata.gid().into()).ok().flatten();
    json!({
        "path": path,
        "mode": mode(metadata),
        "nlink": metadata.nlink(),
        "uid": user.map_or_else(|| metadata.uid().to_string(), |user| user.name),
        "gid": group.map_or_else(|| metadata.gid().to_string(), |group| group.name),
        "size": metadata.size(),
        "mtime": metadata.mtime() as f64 + metadata.mtime_nsec() as f64 / 1e9,
    })
}

/// `-rw-r--r--`
fn mode(metadata: &Metadata) -> String {
    let kind = match metadata.mode() & libc::S_IFMT {
        libc::S_IFDIR => 'd',
        libc::S_IFLNK => 'l',
        libc::S_IFCHR => 'c',
        libc::S_IFBLK => 'b',
        libc::S_IFIFO => 'p',
        libc::S_IFSOCK => 's',
        _ => '-',
    };
    let bits = metadata.permissions().mode();
    let rights = (0..9).rev().map(|at| if bits >> at & 1 == 1 { ['x', 'w', 'r'][at % 3] } else { '-' });
    std::iter::once(kind).chain(rights).collect()
}
