//! The fetcher as a whole: files from disk and from servers that the test plays, through the cache and around it.

use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

fn uri(value: &str) -> Uri {
    Uri { value: value.to_owned(), ..Uri::default() }
}

fn cached(value: &str) -> Uri {
    Uri { cache: Some(true), ..uri(value) }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

async fn fetch(uris: &[Uri], sandbox: &Path) -> Result<(), FetchError> {
    fetch_by(&Fetcher::new(Settings::default(), None), uris, sandbox).await
}

async fn fetch_by(fetcher: &Fetcher, uris: &[Uri], sandbox: &Path) -> Result<(), FetchError> {
    fetcher.fetch(Request { uris, sandbox, user: None, identity: None, stderr: None }).await
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
            found.push((
                name,
                String::from_utf8_lossy(&std::fs::read(path).expect("readable")).into_owned(),
                mode,
            ));
        }
    }
    found.sort();
    found
}

fn text(error: &FetchError) -> String {
    crate::containerizer::service::message(error)
}

fn tgz() -> Vec<u8> {
    let mut builder =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(4);
    builder.append_data(&mut header, "bin/run", &b"text"[..]).expect("into memory");
    builder.into_inner().expect("into memory").finish().expect("into memory")
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
    block_on(fetch(&uris, &sandbox)).expect("it can be fetched");
    let file = |name: &str| (name.to_owned(), "text".to_owned(), 0o755);
    assert_eq!(contents(&sandbox), [file("a/b/c"), file("a/run"), file("source")]);
}

#[test]
fn a_source_that_is_missing_or_no_file_is_an_error_which_the_sandbox_tells_too() {
    let sandbox = tempfile::tempdir().expect("a temporary folder");
    let fetch = |value: &str| {
        let stderr = File::create(sandbox.path().join("stderr")).expect("a file");
        let fetcher = Fetcher::new(Settings::default(), None);
        let (uris, stderr) = ([uri(value)], Some(stderr));
        let request = Request { uris: &uris, sandbox: sandbox.path(), user: None, identity: None, stderr };
        let told = text(&block_on(fetcher.fetch(request)).expect_err(value));
        let read = std::fs::read_to_string(sandbox.path().join("stderr")).expect("text");
        assert_eq!(read, format!("Failed to {told}\n"));
        told
    };
    assert_eq!(
        fetch("/no/such/file"),
        "fetch '/no/such/file': read it: No such file or directory (os error 2)"
    );
    assert_eq!(fetch("/etc"), "fetch '/etc': it is not a file");
    assert!(fetch("ftp://host/a").starts_with("fetch 'ftp://host/a': scheme 'ftp' is not supported"));
    // A named pipe, with nobody at its other end.
    let pipe = sandbox.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    let pipe = pipe.display().to_string();
    assert_eq!(fetch(&pipe), format!("fetch '{pipe}': it is not a file"));
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
        let error = block_on(fetch(&[uri], &sandbox)).expect_err("a link");
        let expect = format!("fetch '/etc/hostname': write {path} in the sandbox");
        assert_eq!(error.to_string(), expect);
    }
    assert!(contents(&outside).is_empty());
}

#[test]
fn an_archive_is_extracted_beside_itself() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (source, sandbox) = (folder.path().join("a.tgz"), folder.path().join("sandbox"));
    std::fs::create_dir(&sandbox).expect("mkdir");
    std::fs::write(&source, tgz()).expect("write");
    let value = source.display().to_string();
    let named = Uri { output_file: Some("sub/b.tgz".to_owned()), ..uri(&value) };
    let whole = Uri { output_file: Some("c.tgz".to_owned()), extract: Some(false), ..uri(&value) };
    block_on(fetch(&[named, whole], &sandbox)).expect("it can be fetched");
    let found = contents(&sandbox);
    let names: Vec<_> = found.iter().map(|(name, ..)| name.as_str()).collect();
    // What comes out lies in the sandbox itself, as in Mesos, wherever the archive does.
    assert_eq!(names, ["bin/run", "c.tgz", "sub/b.tgz"]);
    assert_eq!(found[0], ("bin/run".to_owned(), "text".to_owned(), 0o755));
    std::fs::write(&source, "no archive").expect("write");
    let error = block_on(fetch(&[uri(&value)], &sandbox)).expect_err("no archive");
    assert!(text(&error).starts_with(&format!("fetch '{value}': extract it: the archive cannot be read: ")));
}

#[test]
fn a_checksum_is_held_against_what_came() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (source, sandbox) = (folder.path().join("a"), folder.path().join("sandbox"));
    std::fs::create_dir(&sandbox).expect("mkdir");
    std::fs::write(&source, "abc").expect("write");
    // FIPS 180-2, appendices B.1 and C.1.
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let sha512 = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                  2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    let value = source.display().to_string();
    for good in [format!("{value}#sha256={sha256}"), format!("{value}#SHA512={}", sha512.to_uppercase())] {
        block_on(fetch(&[uri(&good)], &sandbox)).expect("it is what was meant");
        assert_eq!(contents(&sandbox).len(), 1);
    }
    let cache = Cache::start(folder.path().join("cache"), 1000).expect("a thread");
    let fetcher = Fetcher::new(Settings::default(), Some(cache));
    let bad = format!("{value}#sha256={}", "0".repeat(64));
    for uri in [uri(&bad), cached(&bad)] {
        let error = block_on(fetch_by(&fetcher, &[uri], &sandbox)).expect_err("it is not what was meant");
        assert_eq!(error.to_string(), format!("fetch '{bad}': its sha256 is {sha256}"));
    }
}

/// Answers each connection with the next of these, after reading one request; returns the requests.
async fn serve(listener: &TcpListener, answers: &[Vec<u8>]) -> Vec<String> {
    let mut asked = Vec::new();
    for answer in answers {
        let (mut stream, _) = listener.accept().await.expect("accept");
        asked.push(answer_one(&mut stream, answer).await);
    }
    asked
}

async fn answer_one(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), answer: &[u8]) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.expect("a whole request"));
    }
    stream.write_all(answer).await.expect("write");
    stream.shutdown().await.expect("all is said");
    String::from_utf8_lossy(&request).into_owned()
}

fn first_lines(asked: &[String]) -> Vec<&str> {
    asked.iter().map(|request| request.lines().next().unwrap_or_default()).collect()
}

fn ok(body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend(body);
    answer
}

/// Fetches `path` from a server that gives these answers.
fn fetch_from(answers: &[&str], sandbox: &Path) -> (Result<(), FetchError>, Vec<String>) {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let answers: Vec<_> =
            answers.iter().map(|a| a.replace("SERVER", &address.to_string()).into_bytes()).collect();
        let uris = [uri(&format!("http://me:pass@{address}/d/f?v=1"))];
        tokio::join!(fetch(&uris, sandbox), serve(&listener, &answers))
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
    assert_eq!(first_lines(&asked), ["GET /d/f?v=1 HTTP/1.1", "GET /other HTTP/1.1", "GET /third HTTP/1.1"]);
    assert_eq!(contents(sandbox.path()), [("f?v=1".to_owned(), "abcde".to_owned(), 0o644)]);
    let has = |request: &String, what: &str| request.to_lowercase().contains(what);
    assert!(has(&asked[0], "authorization: basic bwu6cgfzcw==") && !has(&asked[0], "pass"));
    // Another server, even if it has the same name for us, is not told the password.
    assert!(has(&asked[1], "authorization") && !has(&asked[2], "authorization"), "{asked:?}");
}

#[test]
fn redirections_end() {
    let sandbox = tempfile::tempdir().expect("a temporary folder");
    let round = "HTTP/1.1 302 Found\r\nLocation: /round\r\nContent-Length: 0\r\n\r\n";
    let (result, asked) = fetch_from(&[round; 11], sandbox.path());
    assert!(result.expect_err("no end").to_string().ends_with("more than 10 redirections"));
    assert_eq!(asked.len(), 11);
}

#[test]
fn http_that_fails_says_how() {
    let sandbox = tempfile::tempdir().expect("a temporary folder");
    let check = |answer: &str, expect: &str| {
        let (result, _) = fetch_from(&[answer], sandbox.path());
        let error = result.expect_err(expect).to_string();
        assert!(error.contains(expect) && !error.contains("pass"), "{error}");
    };
    check("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "received HTTP return code 404");
    check("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "the answer broke off");
    let ftp = "HTTP/1.1 302 Found\r\nLocation: ftp://SERVER/x\r\nContent-Length: 0\r\n\r\n";
    check(ftp, "redirected to scheme 'ftp', which is not supported");
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
    let sandbox = tempfile::tempdir().expect("a temporary folder");
    let settings = Settings { stall_max: Duration::from_millis(50), ..Settings::default() };
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let uris = [uri(&format!("http://{}/f", listener.local_addr().expect("bound")))];
        let fetched = fetch_by(&Fetcher::new(settings, None), &uris, sandbox.path()).await;
        let error = fetched.expect_err("nobody answers").to_string();
        assert!(error.ends_with("nothing arrived for 0.05 seconds"), "{error}");
    });
}

#[test]
fn a_dropped_fetch_ends() {
    let sandbox = tempfile::tempdir().expect("a temporary folder");
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let uris = [uri(&format!("http://{}/f", listener.local_addr().expect("bound")))];
        let fetch = fetch(&uris, sandbox.path());
        // It connects and waits for an answer that never comes.
        let (mut stream, _) = tokio::select! {
            _ = fetch => panic!("nobody answered"),
            connection = listener.accept() => connection.expect("accept"),
        };
        let mut request = Vec::new();
        stream.read_to_end(&mut request).await.expect("the fetcher closes its side");
    });
}

/// A server's key and certificate, and the file in which its authority is trusted.
fn authority(folder: &Path) -> (Arc<rustls::ServerConfig>, PathBuf) {
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().expect("randomness");
    let ca = params.self_signed(&ca_key).expect("a certificate");
    let path = folder.join("ca.pem");
    std::fs::write(&path, ca.pem()).expect("write");
    let issuer = rcgen::Issuer::from_params(&params, &ca_key);
    let key = rcgen::KeyPair::generate().expect("randomness");
    let names = vec!["127.0.0.1".to_owned()];
    let params = rcgen::CertificateParams::new(names).expect("an address");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        );
    (Arc::new(config.expect("a good key")), path)
}

#[test]
fn https_trusts_whom_it_is_told_to_and_nobody_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sandbox = folder.path().join("sandbox");
    std::fs::create_dir(&sandbox).expect("mkdir");
    let (server, path) = authority(folder.path());
    let authorities = read_authorities(&path).expect("it was just written");
    let trusting = Fetcher::new(Settings { authorities, ..Settings::default() }, None);
    // Trusts somebody else of the same name.
    let (_, path) = authority(folder.path());
    let authorities = read_authorities(&path).expect("it was just written");
    let suspicious = Fetcher::new(Settings { authorities, ..Settings::default() }, None);
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let uris = [uri(&format!("https://{}/f", listener.local_addr().expect("bound")))];
        let acceptor = tokio_rustls::TlsAcceptor::from(server);
        let served = async {
            let (stream, _) = listener.accept().await.expect("accept");
            let mut stream = acceptor.accept(stream).await.expect("it trusts us");
            answer_one(&mut stream, &ok(b"text")).await
        };
        let (fetched, _) = tokio::join!(fetch_by(&trusting, &uris, &sandbox), served);
        fetched.expect("it can be fetched");
        assert_eq!(contents(&sandbox), [("f".to_owned(), "text".to_owned(), 0o644)]);
        let served = async {
            let (stream, _) = listener.accept().await.expect("accept");
            assert!(acceptor.accept(stream).await.is_err());
        };
        let (fetched, ()) = tokio::join!(fetch_by(&suspicious, &uris, &sandbox), served);
        let error = fetched.expect_err("an unknown authority").to_string();
        assert!(error.contains("TLS: invalid peer certificate: "), "{error}");
    });
}

#[test]
fn what_many_want_is_downloaded_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cache = Cache::start(folder.path().join("cache"), 1 << 20).expect("a thread");
    let fetcher = Fetcher::new(Settings::default(), Some(cache));
    let sandboxes = [1, 2, 3].map(|number| folder.path().join(format!("sandbox{number}")));
    sandboxes.iter().for_each(|sandbox| std::fs::create_dir(sandbox).expect("mkdir"));
    let [first, second, third] = &sandboxes;
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let value = format!("http://{}/a.tgz", listener.local_addr().expect("bound"));
        let extracted = [cached(&value)];
        let whole = [Uri { extract: Some(false), ..cached(&value) }];
        let answers = [ok(&tgz())];
        let (one, two, asked) = tokio::join!(
            fetch_by(&fetcher, &extracted, first),
            fetch_by(&fetcher, &whole, second),
            serve(&listener, &answers),
        );
        one.and(two).expect("both can be fetched");
        assert_eq!(asked.len(), 1);
        // Nobody answers any more.
        drop(listener);
        let run = Uri { executable: Some(true), output_file: Some("x/run".to_owned()), ..cached(&value) };
        fetch_by(&fetcher, &[run], third).await.expect("from the cache");
    });
    // Of an archive from the cache there is only what comes out of it.
    assert_eq!(contents(first), [("bin/run".to_owned(), "text".to_owned(), 0o755)]);
    assert_eq!(std::fs::read(second.join("a.tgz")).expect("fetched"), tgz());
    assert_eq!(std::fs::read(third.join("x/run")).expect("fetched"), tgz());
    assert_eq!(third.join("x/run").metadata().expect("there").mode() & 0o777, 0o755);
    assert_eq!(fetcher.cache().expect("it has one").used_bytes(), tgz().len() as u64);
}

#[test]
fn what_the_cache_cannot_hold_is_fetched_without_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (source, sandbox) = (folder.path().join("source"), folder.path().join("sandbox"));
    std::fs::create_dir(&sandbox).expect("mkdir");
    std::fs::write(&source, "a text that is too long").expect("write");
    let cache = Cache::start(folder.path().join("cache"), 10).expect("a thread");
    let fetcher = Fetcher::new(Settings::default(), Some(cache));
    let uris = [cached(&source.display().to_string())];
    block_on(fetch_by(&fetcher, &uris, &sandbox)).expect("it can be fetched");
    assert_eq!(contents(&sandbox)[0].1, "a text that is too long");
    block_on(async {
        // Nor is what turns out to be too long only as it comes.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let uris = [cached(&format!("http://{}/f", listener.local_addr().expect("bound")))];
        let answer = b"HTTP/1.1 200 OK\r\n\r\nno length is told".to_vec();
        let answers = [answer.clone(), answer];
        let (fetched, _) = tokio::join!(fetch_by(&fetcher, &uris, &sandbox), serve(&listener, &answers));
        fetched.expect("it can be fetched");
    });
    assert_eq!(std::fs::read_to_string(sandbox.join("f")).expect("fetched"), "no length is told");
}
