//! Brings the files that a command asks for into its sandbox: `CommandInfo.uris`.
//!
//! All of it happens on a thread that acts on files as the executor's user, so nobody gets a file that he may not read
//! himself, and what arrives is his. Nothing is ever written outside of the sandbox: names are resolved by the kernel
//! beneath its descriptor, through no link.
//!
//! Local files and plain `http` are fetched. `https`, archives to be extracted and other schemes are refused by name, not
//! left out. `cache` is accepted and means nothing: each fetch brings its own copy.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use api::v1::command_info::Uri;
use http_body_util::{BodyExt, Empty};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use tokio::sync::oneshot;

use crate::sys::SysError;
use crate::sys::identity::{Identity, assume_for_files};

/// Why a file could not be fetched. The task fails with it; what was fetched before stays in the sandbox.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("fetch '{uri}': {why}")]
    Refused { uri: String, why: String },
    #[error("fetch '{uri}': write {} in the sandbox", path.display())]
    Write { uri: String, path: PathBuf, source: io::Error },
    #[error("fetch '{uri}': read it")]
    Read { uri: String, source: io::Error },
    #[error("fetch '{uri}': {what}")]
    Http { uri: String, what: String },
    #[error("act as the executor's user")]
    Identity(#[source] SysError),
    #[error("start the fetcher")]
    Thread(#[source] io::Error),
}

/// No byte for this long, and the fetch has failed (Mesos' `--fetcher_stall_timeout`).
const STALL_MAX: Duration = Duration::from_secs(60);
const REDIRECTS_MAX: usize = 10;

/// Where one file comes from and where it goes, as far as its text tells.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    uri: String,
    source: Source,
    /// Relative to the sandbox, of plain names only.
    target: PathBuf,
    is_executable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Http(http::Uri),
}

/// Fetches all, in order. Dropping the future stops the thread at its next block of data.
pub(super) async fn fetch(uris: &[Uri], sandbox: &Path, user: Option<Identity>) -> Result<(), FetchError> {
    // All are checked before the first is fetched.
    let items = uris.iter().map(item).collect::<Result<Vec<_>, _>>()?;
    let sandbox = sandbox.to_owned();
    let (mut reply, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name("fetcher".to_owned());
    let work = move || {
        let result = fetch_all(&items, &sandbox, user.as_ref(), &mut reply);
        let _ = reply.send(result);
    };
    thread.spawn(work).map_err(FetchError::Thread)?;
    answer.await.expect("the fetcher answers before it ends")
}

type Reply = oneshot::Sender<Result<(), FetchError>>;

fn fetch_all(
    items: &[Item],
    sandbox: &Path,
    user: Option<&Identity>,
    reply: &mut Reply,
) -> Result<(), FetchError> {
    if let Some(user) = user {
        assume_for_files(user).map_err(FetchError::Identity)?;
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(FetchError::Thread)?;
    runtime.block_on(async {
        tokio::select! {
            result = async {
                for item in items {
                    fetch_one(item, sandbox).await?;
                }
                Ok(())
            } => result,
            // Nobody waits any more; the answer goes nowhere.
            () = reply.closed() => Ok(()),
        }
    })
}

async fn fetch_one(item: &Item, sandbox: &Path) -> Result<(), FetchError> {
    let write_error = |source| FetchError::Write { uri: item.uri.clone(), path: item.target.clone(), source };
    let mut target = create(sandbox, &item.target).map_err(write_error)?;
    let mode = match &item.source {
        Source::File(path) => copy(item, path, &mut target).await?,
        Source::Http(uri) => {
            download(item, uri, &mut target).await?;
            0o644
        }
    };
    let mode = if item.is_executable { 0o755 } else { mode };
    target.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(write_error)
}

/// What a URI asks for, or why it cannot be had.
fn item(uri: &Uri) -> Result<Item, FetchError> {
    let text = uri.value.trim_start();
    let refused = |why: &str| FetchError::Refused { uri: uri.value.clone(), why: why.to_owned() };
    if text.contains(['\\', '\'', '\0']) {
        return Err(refused("Illegal characters in URI"));
    }
    let (source, name) = match text.split_once("://") {
        None if text.starts_with('/') => (Source::File(text.into()), text),
        None => return Err(refused("a path must be absolute")),
        Some(("file", rest)) => match rest.strip_prefix("localhost").unwrap_or(rest) {
            path if path.starts_with('/') => (Source::File(path.into()), path),
            _ => return Err(refused("File URI only supports absolute paths")),
        },
        Some(("http", rest)) => {
            if rest.split_once('/').is_none_or(|(_, path)| path.is_empty()) {
                return Err(refused("Malformed URI (missing path)"));
            }
            (Source::Http(text.parse().map_err(|_| refused("Malformed URI"))?), rest)
        }
        Some((scheme, _)) => return Err(refused(&format!("scheme '{scheme}' is not supported"))),
    };
    let target = match &uri.output_file {
        Some(path) => {
            plain_path(path).ok_or_else(|| refused("output_file must be within the sandbox directory"))?
        }
        None => {
            let name = name.rsplit('/').next().unwrap_or_default();
            plain_path(name).ok_or_else(|| refused("it names no file"))?
        }
    };
    let is_executable = uri.executable();
    // An executable is never extracted, by Mesos' rule; `extract` is true where it is not said.
    if uri.extract() && !is_executable && is_archive(&target) {
        return Err(refused(
            "extract: archives are not extracted yet; set it to false to have the archive itself",
        ));
    }
    Ok(Item { uri: uri.value.clone(), source, target, is_executable })
}

/// The path, if it is relative, not empty, and goes only downwards.
fn plain_path(path: &str) -> Option<PathBuf> {
    let parts: Vec<_> = Path::new(path).components().filter(|part| *part != Component::CurDir).collect();
    let is_plain = !parts.is_empty() && parts.iter().all(|part| matches!(part, Component::Normal(_)));
    // A trailing slash names a folder, and a NUL no file at all.
    (is_plain && !path.ends_with('/') && !path.contains('\0')).then(|| parts.into_iter().collect())
}

/// By the names that Mesos goes by.
fn is_archive(path: &Path) -> bool {
    const SUFFIXES: [&str; 9] =
        [".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".zip", ".gz"];
    let name = path.to_string_lossy();
    SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// Opens a file of the sandbox for writing, making the folders on the way. The kernel refuses every link and every step
/// out, whatever was planted in the sandbox meanwhile.
fn create(sandbox: &Path, target: &Path) -> io::Result<File> {
    let beneath = || OpenHow::new().resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let mut folder: OwnedFd = File::open(sandbox)?.into();
    for part in target.parent().into_iter().flat_map(Path::components) {
        match nix::sys::stat::mkdirat(folder.as_fd(), part.as_os_str(), Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let how = beneath().flags(OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
        folder = openat2(folder.as_fd(), part.as_os_str(), how)?;
    }
    let name = target.file_name().expect("a plain path ends in a name");
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
    let how = beneath().flags(flags).mode(Mode::from_bits_truncate(0o600));
    Ok(openat2(folder.as_fd(), name, how)?.into())
}

/// Copies a file and returns the mode that the copy gets: the original's, less what umask 022 takes.
async fn copy(item: &Item, path: &Path, target: &mut File) -> Result<u32, FetchError> {
    let read_error = |source| FetchError::Read { uri: item.uri.clone(), source };
    let mut source = File::open(path).map_err(read_error)?;
    let metadata = source.metadata().map_err(read_error)?;
    if !metadata.is_file() {
        return Err(FetchError::Refused { uri: item.uri.clone(), why: "it is not a file".to_owned() });
    }
    let mut block = vec![0; 1 << 20];
    loop {
        match source.read(&mut block).map_err(read_error)? {
            0 => return Ok(metadata.mode() & 0o755 | 0o600),
            length => write(item, target, &block[..length])?,
        }
        // Where a dropped future is noticed.
        tokio::task::yield_now().await;
    }
}

fn write(item: &Item, target: &mut File, block: &[u8]) -> Result<(), FetchError> {
    target.write_all(block).map_err(|source| FetchError::Write {
        uri: item.uri.clone(),
        path: item.target.clone(),
        source,
    })
}

async fn download(item: &Item, uri: &http::Uri, target: &mut File) -> Result<(), FetchError> {
    let failed = |what: String| FetchError::Http { uri: item.uri.clone(), what };
    let mut uri = uri.clone();
    for _ in 0..=REDIRECTS_MAX {
        let response = unstalled(get(&uri)).await.and_then(|r| r).map_err(failed)?;
        let status = response.status();
        if status.is_redirection()
            && let Some(location) = response.headers().get(http::header::LOCATION)
        {
            let location = location.to_str().map_err(|_| failed("a redirection to nowhere".to_owned()))?;
            uri = redirected(&uri, location).map_err(failed)?;
            continue;
        }
        if status != http::StatusCode::OK {
            return Err(failed(format!("received HTTP return code {}", status.as_u16())));
        }
        let mut body = response.into_body();
        while let Some(frame) = unstalled(body.frame()).await.map_err(failed)? {
            let frame = frame.map_err(|error| failed(format!("the answer broke off: {error}")))?;
            if let Some(block) = frame.data_ref() {
                write(item, target, block)?;
            }
        }
        return Ok(());
    }
    Err(failed(format!("more than {REDIRECTS_MAX} redirections")))
}

async fn unstalled<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let waited = tokio::time::timeout(STALL_MAX, work).await;
    waited.map_err(|_| format!("nothing arrived for {} seconds", STALL_MAX.as_secs()))
}

async fn get(uri: &http::Uri) -> Result<http::Response<hyper::body::Incoming>, String> {
    let text = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    let authority = uri.authority().ok_or("it names no host")?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let address = (host, authority.port_u16().unwrap_or(80));
    let stream = tokio::net::TcpStream::connect(address).await.map_err(|e| text("connect", &e))?;
    let stream = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(stream).await.map_err(|e| text("connect", &e))?;
    // Ends with the answer, which is the only one on this connection.
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = http::Request::get(path)
        .header(http::header::HOST, authority.as_str())
        .header(http::header::USER_AGENT, "ingot-agent")
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|e| text("ask", &e))?;
    sender.send_request(request).await.map_err(|e| text("ask", &e))
}

/// Where a redirection leads: another URL, or another path of the same host.
fn redirected(from: &http::Uri, location: &str) -> Result<http::Uri, String> {
    let to: http::Uri = location.parse().map_err(|_| "a redirection to nowhere".to_owned())?;
    match (to.scheme_str(), to.path().starts_with('/')) {
        (Some("http"), _) => Ok(to),
        (Some(scheme), _) => Err(format!("redirected to scheme '{scheme}', which is not supported")),
        (None, true) => {
            let mut parts = to.into_parts();
            parts.scheme = from.scheme().cloned();
            parts.authority = parts.authority.or_else(|| from.authority().cloned());
            http::Uri::from_parts(parts).map_err(|_| "a redirection to nowhere".to_owned())
        }
        (None, false) => Err("a redirection to a relative path".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn uri(value: &str) -> Uri {
        Uri { value: value.to_owned(), ..Uri::default() }
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(work)
    }

    /// The sandbox after the fetch: each file's path, text and mode.
    fn contents(sandbox: &Path) -> Vec<(String, String, u32)> {
        let mut found = Vec::new();
        let mut folders = vec![sandbox.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("readable") {
                let path = entry.expect("readable").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix(sandbox).expect("below").display().to_string();
                let mode = path.metadata().expect("there").mode() & 0o7777;
                found.push((name, std::fs::read_to_string(path).expect("text"), mode));
            }
        }
        found.sort();
        found
    }

    fn text(error: &FetchError) -> String {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}")
    }

    #[test]
    fn names_come_from_the_uri_or_from_output_file() {
        let check = |uri: &Uri, expect: &str| assert_eq!(item(uri).expect(expect).target, Path::new(expect));
        check(&uri("/data/a.txt"), "a.txt");
        check(&uri(" file:///data/a.txt"), "a.txt");
        check(&uri("file://localhost/data/a.txt"), "a.txt");
        check(&uri("http://host:80/x/y?z=1"), "y?z=1");
        check(&Uri { output_file: Some("lib/x/a.jar".to_owned()), ..uri("/data/a.txt") }, "lib/x/a.jar");
        check(&Uri { output_file: Some("./a".to_owned()), ..uri("/data/a.txt") }, "a");
        check(&Uri { extract: Some(false), ..uri("/data/a.tar.gz") }, "a.tar.gz");
        check(&Uri { executable: Some(true), ..uri("/data/a.gz") }, "a.gz");
    }

    #[test]
    fn what_cannot_be_fetched_is_refused_by_name() {
        let check = |uri: &Uri, why: &str| {
            let error = item(uri).expect_err(why);
            assert_eq!(error.to_string(), format!("fetch '{}': {why}", uri.value));
        };
        let outside = "output_file must be within the sandbox directory";
        for path in ["/etc/passwd", "../x", "a/../../x", "a/..", "", ".", "a/", "a\0b"] {
            check(&Uri { output_file: Some(path.to_owned()), ..uri("/data/a") }, outside);
        }
        check(&uri("/data/"), "it names no file");
        check(&uri("/data/.."), "it names no file");
        check(&uri("http://host"), "Malformed URI (missing path)");
        check(&uri("http://host/"), "Malformed URI (missing path)");
        check(&uri("http://host/a/"), "it names no file");
        check(&uri("http://ho st/a"), "Malformed URI");
        check(&uri("data/a"), "a path must be absolute");
        check(&uri("file://data/a"), "File URI only supports absolute paths");
        check(&uri("/data/it's"), "Illegal characters in URI");
        check(&uri("https://host/a"), "scheme 'https' is not supported");
        check(&uri("hdfs://host/a"), "scheme 'hdfs' is not supported");
        let archive = "extract: archives are not extracted yet; set it to false to have the archive itself";
        check(&uri("http://host/a.tgz"), archive);
        check(&Uri { extract: Some(true), ..uri("/data/a.zip") }, archive);
    }

    #[test]
    fn local_files_are_copied_with_their_mode_into_folders_on_the_way() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (source, sandbox) = (folder.path().join("source"), folder.path().join("sandbox"));
        std::fs::create_dir(&sandbox).expect("mkdir");
        std::fs::write(&source, "text").expect("write");
        std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o4777)).expect("chmod");
        let value = format!("file://{}", source.display());
        let uris = [
            Uri { output_file: Some("a/b/c".to_owned()), ..uri(&value) },
            Uri { output_file: Some("a/run".to_owned()), executable: Some(true), ..uri(&value) },
            uri(&value),
            // Once more over the first: fetched again, not appended.
            uri(&value),
        ];
        block_on(fetch(&uris, &sandbox, None)).expect("it can be fetched");
        let file = |name: &str| (name.to_owned(), "text".to_owned(), 0o755);
        assert_eq!(contents(&sandbox), [file("a/b/c"), file("a/run"), file("source")]);
    }

    #[test]
    fn a_source_that_is_missing_or_no_file_is_an_error() {
        let sandbox = tempfile::tempdir().expect("a temporary folder");
        let fetch = |value: &str| block_on(fetch(&[uri(value)], sandbox.path(), None)).expect_err(value);
        let missing = fetch("/no/such/file");
        assert_eq!(text(&missing), "fetch '/no/such/file': read it: No such file or directory (os error 2)");
        assert_eq!(text(&fetch("/etc")), "fetch '/etc': it is not a file");
    }

    #[test]
    fn a_link_in_the_sandbox_leads_nowhere() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (sandbox, outside) = (folder.path().join("sandbox"), folder.path().join("outside"));
        for path in [&sandbox, &outside] {
            std::fs::create_dir(path).expect("mkdir");
        }
        std::os::unix::fs::symlink(&outside, sandbox.join("folder")).expect("link");
        std::os::unix::fs::symlink(outside.join("file"), sandbox.join("file")).expect("link");
        for path in ["folder/x", "file"] {
            let uri = Uri { output_file: Some(path.to_owned()), ..uri("/etc/hostname") };
            let error = block_on(fetch(&[uri], &sandbox, None)).expect_err("a link");
            let expect = format!("fetch '/etc/hostname': write {path} in the sandbox");
            assert_eq!(error.to_string(), expect);
        }
        assert!(contents(&outside).is_empty());
    }

    /// Answers each connection with the next of these, after reading one request; returns the requests' first lines.
    async fn serve(listener: tokio::net::TcpListener, answers: Vec<String>) -> Vec<String> {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("accept");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.expect("a whole request"));
            }
            stream.write_all(answer.as_bytes()).await.expect("write");
            asked.push(String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned());
        }
        asked
    }

    /// Fetches `path` from a server that gives these answers.
    fn fetch_from(answers: &[&str], sandbox: &Path) -> (Result<(), FetchError>, Vec<String>) {
        block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("bound");
            let answers = answers.iter().map(|a| a.replace("SERVER", &address.to_string())).collect();
            let server = tokio::spawn(serve(listener, answers));
            let result = fetch(&[uri(&format!("http://{address}/d/f?v=1"))], sandbox, None).await;
            (result, server.await.expect("the server saw every request"))
        })
    }

    #[test]
    fn http_is_followed_through_redirections() {
        let sandbox = tempfile::tempdir().expect("a temporary folder");
        let answers = [
            "HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 301 Moved\r\nLocation: http://SERVER/third\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        ];
        let (result, asked) = fetch_from(&answers, sandbox.path());
        result.expect("it can be fetched");
        assert_eq!(asked, ["GET /d/f?v=1 HTTP/1.1", "GET /other HTTP/1.1", "GET /third HTTP/1.1"]);
        assert_eq!(contents(sandbox.path()), [("f?v=1".to_owned(), "abcde".to_owned(), 0o644)]);
    }

    #[test]
    fn http_that_fails_says_how() {
        let sandbox = tempfile::tempdir().expect("a temporary folder");
        let check = |answer: &str, expect: &str| {
            let (result, _) = fetch_from(&[answer], sandbox.path());
            let error = result.expect_err(expect).to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "received HTTP return code 404");
        check("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "the answer broke off");
        let https = "HTTP/1.1 302 Found\r\nLocation: https://SERVER/x\r\nContent-Length: 0\r\n\r\n";
        check(https, "redirected to scheme 'https', which is not supported");
    }

    #[test]
    fn a_dropped_fetch_ends() {
        let sandbox = tempfile::tempdir().expect("a temporary folder");
        block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let uri = uri(&format!("http://{}/f", listener.local_addr().expect("bound")));
            let uris = [uri];
            let fetch = fetch(&uris, sandbox.path(), None);
            // It connects and waits for an answer that never comes.
            let (mut stream, _) = tokio::select! {
                _ = fetch => panic!("nobody answered"),
                connection = listener.accept() => connection.expect("accept"),
            };
            let mut request = Vec::new();
            stream.read_to_end(&mut request).await.expect("the fetcher closes its side");
        });
    }
}
