//! Archives as people make them, and as nobody should.

use super::super::beneath::Sandbox;
use super::*;
use ::tar::{Builder, EntryType, Header};
use std::os::unix::fs::MetadataExt;

/// A sandbox, and beside it what must stay as it is.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["sandbox", "outside"] {
            std::fs::create_dir(folder.path().join(name)).expect("mkdir");
        }
        std::fs::write(folder.path().join("outside/precious"), "precious").expect("write");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("sandbox").join(name)
    }

    fn extract_up_to(&self, archive: Archive, content: &[u8], bytes_max: u64) -> Result<(), String> {
        let file = self.folder.path().join("archive");
        std::fs::write(&file, content).expect("write");
        let file = File::open(file).expect("it was just written");
        let mut sandbox = Sandbox::open(&self.folder.path().join("sandbox")).expect("a folder");
        let (_waiting, stop) = tokio::sync::watch::channel(());
        let name = Path::new("unzipped");
        let result = extract(archive, &file, &mut sandbox, Some(name), bytes_max, &Stop(stop));
        self.look_outside();
        result.map_err(|error| crate::containerizer::service::message(&error))
    }

    fn extract(&self, archive: Archive, content: &[u8]) -> Result<(), String> {
        self.extract_up_to(archive, content, 1 << 30)
    }

    fn look_outside(&self) {
        let outside = self.folder.path().join("outside");
        let names: Vec<_> = std::fs::read_dir(&outside)
            .expect("a folder")
            .map(|e| e.expect("readable").file_name())
            .collect();
        assert_eq!(names, ["precious"]);
        let precious = outside.join("precious");
        assert_eq!(std::fs::read_to_string(&precious).expect("text"), "precious");
        assert_eq!(precious.metadata().expect("there").nlink(), 1);
        let beside: Vec<_> = std::fs::read_dir(self.folder.path()).expect("a folder").collect();
        assert_eq!(beside.len(), 3, "{beside:?}");
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect(name)
    }

    fn mode(&self, name: &str) -> u32 {
        self.path(name).symlink_metadata().expect(name).mode() & 0o7777
    }
}

/// Writes names and links as they are given: `Builder` itself would refuse the bad ones.
fn header(kind: EntryType, name: &[u8], link: &[u8], mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(1_000_000_000);
    header.set_size(size);
    header.set_cksum();
    header
}

/// Members: kind, name, link, mode, content.
type Member<'a> = (EntryType, &'a str, &'a str, u32, &'a str);

fn tar(members: &[Member<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, link, mode, content) in members {
        let header = header(*kind, name.as_bytes(), link.as_bytes(), *mode, content.len() as u64);
        builder.append(&header, content.as_bytes()).expect("into memory");
    }
    builder.into_inner().expect("into memory")
}

const FILE: EntryType = EntryType::Regular;
const FOLDER: EntryType = EntryType::Directory;
const SYMLINK: EntryType = EntryType::Symlink;
const HARDLINK: EntryType = EntryType::Link;

fn usual() -> Vec<u8> {
    tar(&[
        (FOLDER, "./", "", 0o755, ""),
        (FOLDER, "app/", "", 0o555, ""),
        (FILE, "app/run", "", 0o6775, "#!/bin/sh\n"),
        (FILE, "./app/data/deep.txt", "", 0o600, "deep"),
        (SYMLINK, "app/data/link", "../run", 0o777, ""),
        (HARDLINK, "copy", "app/run", 0, ""),
    ])
}

fn check_usual(world: &World) {
    assert_eq!(world.text("app/run"), "#!/bin/sh\n");
    assert_eq!(world.text("app/data/deep.txt"), "deep");
    assert_eq!(world.text("app/data/link"), "#!/bin/sh\n");
    assert_eq!(world.text("copy"), "#!/bin/sh\n");
    assert_eq!((world.mode("app/run"), world.mode("app/data/deep.txt")), (0o755, 0o600));
    assert_eq!(world.path("app/run").metadata().expect("there").mtime(), 1_000_000_000);
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).expect("into memory");
    encoder.finish().expect("into memory")
}

fn bzip2(content: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(content).expect("into memory");
    encoder.finish().expect("into memory")
}

fn zstd(content: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
}

/// By the machine's own `xz`, which is a compressor that others use too.
fn xz(content: &[u8]) -> Option<Vec<u8>> {
    use std::process::{Command, Stdio};
    let mut command = Command::new("xz");
    let child = command.args(["-9", "-c"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.ok()?;
    child.stdin.take().expect("piped").write_all(content).expect("it reads");
    Some(child.wait_with_output().expect("it ends").stdout)
}

#[test]
fn every_compression_is_seen_whatever_the_name_says() {
    let skipped = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zstd(&usual())].concat();
    let halves = usual();
    let (first, second) = halves.split_at(700);
    let mut all = vec![
        ("tar", usual()),
        ("gzip", gzip(&usual())),
        ("two gzip members", [gzip(first), gzip(second)].concat()),
        ("bzip2", bzip2(&usual())),
        ("zstd", zstd(&usual())),
        ("two zstd frames", [zstd(first), zstd(second)].concat()),
        ("a skippable zstd frame", skipped),
    ];
    match xz(&usual()) {
        Some(content) => all.push(("xz", content)),
        None => println!("skipped: xz, which this machine does not have"),
    }
    for (name, content) in all {
        let world = World::new();
        world.extract(Archive::Tar, &content).expect(name);
        check_usual(&world);
    }
}

/// What is refused, what is said about it, and what the sandbox may hold afterwards.
#[test]
fn hostile_members_are_refused_by_name() {
    let evil = "evil";
    let long_way = "x/../../outside/precious";
    let cases: [(&[Member<'_>], &str); 15] = [
        (&[(FILE, "/etc/evil", "", 0o644, evil)], "member '/etc/evil': its name is absolute"),
        (&[(FILE, "../outside/evil", "", 0o644, evil)], "member '../outside/evil': its name has '..' in it"),
        (&[(FILE, long_way, "", 0o644, evil)], "its name has '..' in it"),
        (&[(FOLDER, "../outside/evil/", "", 0o755, "")], "its name has '..' in it"),
        (&[(SYMLINK, "a", "/etc/passwd", 0, "")], "member 'a': it is a link that leads out of the sandbox"),
        (&[(SYMLINK, "a", "../outside", 0, "")], "it is a link that leads out of the sandbox"),
        (&[(SYMLINK, "b/a", "../../outside", 0, "")], "it is a link that leads out of the sandbox"),
        // `up` leads to the sandbox itself, so that `up/..` would be its parent.
        (
            &[(SYMLINK, "up", ".", 0, ""), (SYMLINK, "a", "up/..", 0, "")],
            "member 'a': it is a link that leads",
        ),
        (&[(HARDLINK, "a", "/etc/passwd", 0, "")], "member '/etc/passwd': its name is absolute"),
        (&[(HARDLINK, "a", "../outside/precious", 0, "")], "its name has '..' in it"),
        (&[(HARDLINK, "a", "none", 0, "")], "member 'a': cannot be written: No such file or directory"),
        (&[(EntryType::Char, "a", "", 0o666, "")], "member 'a': it is a device"),
        (&[(EntryType::Block, "a", "", 0o666, "")], "member 'a': it is a device"),
        (&[(EntryType::Fifo, "a", "", 0o666, "")], "member 'a': it is a named pipe"),
        (
            &[(FILE, "a", "", 0o644, evil), (FOLDER, "a/", "", 0o755, "")],
            "member 'a': cannot be written: Not a directory",
        ),
    ];
    for (members, expect) in cases {
        let world = World::new();
        let told = world.extract(Archive::Tar, &tar(members)).expect_err(expect);
        assert!(told.contains(expect), "{told}");
        assert!(!world.path("a").exists() || members.len() > 1, "{expect}");
    }
}

#[test]
fn nothing_is_written_through_a_link() {
    let world = World::new();
    // Planted by whatever came before: the archive alone cannot make such a link.
    std::os::unix::fs::symlink(world.folder.path().join("outside"), world.path("out")).expect("link");
    let through = tar(&[(FILE, "out/evil", "", 0o644, "evil")]);
    let told = world.extract(Archive::Tar, &through).expect_err("a link");
    assert!(
        told.contains("member 'out/evil': cannot be written: Too many levels of symbolic links"),
        "{told}"
    );
    let hard = tar(&[(HARDLINK, "mine", "out/precious", 0, "")]);
    assert!(world.extract(Archive::Tar, &hard).expect_err("a link").contains("Too many levels"));
    // Even one that stays inside is not gone through.
    let inside = tar(&[
        (FOLDER, "real/", "", 0o755, ""),
        (SYMLINK, "l", "real", 0, ""),
        (FILE, "l/x", "", 0o644, "x"),
    ]);
    assert!(world.extract(Archive::Tar, &inside).expect_err("a link").contains("member 'l/x'"));
    assert!(!world.path("real/x").exists());
}

#[test]
fn a_member_takes_the_place_of_a_link_and_of_a_second_name() {
    let world = World::new();
    let precious = world.folder.path().join("outside/precious");
    std::os::unix::fs::symlink(&precious, world.path("link")).expect("link");
    std::fs::write(world.path("one"), "one").expect("write");
    std::fs::hard_link(world.path("one"), world.path("two")).expect("link");
    let members = tar(&[(FILE, "link", "", 0o644, "new"), (FILE, "two", "", 0o644, "new")]);
    world.extract(Archive::Tar, &members).expect("it can be");
    assert!(world.path("link").symlink_metadata().expect("there").is_file());
    assert_eq!(
        (world.text("link"), world.text("one"), world.text("two")),
        ("new".into(), "one".into(), "new".into())
    );
}

#[test]
fn a_bomb_is_stopped_by_what_comes_out_of_it() {
    let zeroes = vec![0; 10 << 20];
    let mut content = header(FILE, b"bomb", b"", 0o644, zeroes.len() as u64).as_bytes().to_vec();
    content.extend(&zeroes);
    let bomb = gzip(&content);
    assert!(bomb.len() < 100 << 10);
    let world = World::new();
    let told = world.extract_up_to(Archive::Tar, &bomb, 1 << 20).expect_err("too much");
    assert_eq!(told, "more than 1048576 bytes come out of it (--fetcher-extract-max)");
    assert!(world.path("bomb").metadata().expect("begun").len() <= 1 << 20);
    let told = world.extract_up_to(Archive::Gzip, &gzip(&zeroes), 1 << 20).expect_err("too much");
    assert_eq!(told, "more than 1048576 bytes come out of it (--fetcher-extract-max)");
    // Content that no member has: a folder's, which is skipped.
    let mut skipped = header(FOLDER, b"f/", b"", 0o755, zeroes.len() as u64).as_bytes().to_vec();
    skipped.extend(&zeroes);
    let told = world.extract_up_to(Archive::Tar, &gzip(&skipped), 1 << 20).expect_err("too much");
    assert_eq!(told, "more than 1048576 bytes come out of it (--fetcher-extract-max)");
}

#[test]
fn a_name_without_end_does_not_fill_memory() {
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let mut content = header(kind, b"././@LongLink", b"", 0o644, 64 << 20).as_bytes().to_vec();
        content.resize(content.len() + (8 << 20), b'a');
        let told = World::new().extract(Archive::Tar, &gzip(&content)).expect_err("too long");
        assert!(told.contains("a member has more than 1 MiB of headers"), "{told}");
    }
}

#[test]
fn a_damaged_archive_says_so() {
    for content in [gzip(&usual())[..200].to_vec(), usual()[..900].to_vec(), vec![1; 2000]] {
        let told = World::new().extract(Archive::Tar, &content).expect_err("damaged");
        assert!(told.starts_with("the archive cannot be read: "), "{told}");
    }
    let told = World::new().extract(Archive::Zip, b"no zip file").expect_err("damaged");
    assert!(told.starts_with("the archive cannot be read: "), "{told}");
}

#[test]
fn a_gzipped_file_is_unpacked() {
    let world = World::new();
    world.extract(Archive::Gzip, &gzip(b"content")).expect("it can be");
    assert_eq!((world.text("unzipped"), world.mode("unzipped")), ("content".to_owned(), 0o644));
}

fn zip(members: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut writer = ::zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    for (name, mode, content) in members {
        let options = ::zip::write::SimpleFileOptions::default()
            .compression_method(::zip::CompressionMethod::Deflated)
            .unix_permissions(*mode & 0o777);
        if mode & libc::S_IFMT == libc::S_IFLNK {
            let target = std::str::from_utf8(content).expect("text");
            writer.add_symlink(*name, target, options).expect("into memory");
        } else if name.ends_with('/') {
            writer.add_directory(*name, options).expect("into memory");
        } else {
            writer.start_file(*name, options).expect("into memory");
            writer.write_all(content).expect("into memory");
        }
    }
    writer.finish().expect("into memory").into_inner()
}

#[test]
fn zip_files_are_unpacked() {
    let world = World::new();
    let content = zip(&[
        ("app/", 0o755, b""),
        ("app/run", 0o755, b"#!/bin/sh\n"),
        ("app/data/deep.txt", 0o644, b"deep"),
        ("app/link", libc::S_IFLNK | 0o777, b"data/deep.txt"),
    ]);
    world.extract(Archive::Zip, &content).expect("it can be");
    assert_eq!((world.text("app/run"), world.text("app/link")), ("#!/bin/sh\n".into(), "deep".into()));
    assert_eq!((world.mode("app/run"), world.mode("app/data/deep.txt")), (0o755, 0o644));
}

#[test]
fn hostile_zip_files_are_refused() {
    let check = |content: &[u8], expect: &str| {
        let told = World::new().extract_up_to(Archive::Zip, content, 1 << 20).expect_err(expect);
        assert!(told.contains(expect), "{told}");
    };
    let link = libc::S_IFLNK | 0o777;
    check(&zip(&[("a", link, b"/etc/passwd")]), "member 'a': it is a link that leads out of the sandbox");
    check(&zip(&[("a", link, b"../outside")]), "it is a link that leads out of the sandbox");
    check(&zip(&[("a", 0o644, &vec![0; 2 << 20])]), "more than 1048576 bytes come out of it");
    // The writer would not write such names.
    let renamed = |to: &str| {
        let from = "a".repeat(to.len());
        let mut content = zip(&[(&from, 0o644, b"evil")]);
        let places: Vec<_> = content
            .windows(from.len())
            .enumerate()
            .filter(|(_, w)| *w == from.as_bytes())
            .map(|(at, _)| at)
            .collect();
        places.iter().for_each(|at| content[*at..at + to.len()].copy_from_slice(to.as_bytes()));
        content
    };
    check(&renamed("../outside/evil"), "its name has '..' in it");
    check(&renamed("/outside/evil/it"), "its name is absolute");
}

#[test]
fn a_table_of_contents_without_end_is_not_read() {
    // 100 MiB of it, says the end; so long a file is a hole.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.zip");
    let mut file = File::create_new(&path).expect("it is new");
    file.set_len(200 << 20).expect("a hole");
    file.seek(SeekFrom::End(0)).expect("a file");
    let mut end = b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff".to_vec();
    end.extend((100u32 << 20).to_le_bytes());
    end.extend(0u32.to_le_bytes());
    end.extend([0, 0]);
    file.write_all(&end).expect("write");
    let (_waiting, stop) = tokio::sync::watch::channel(());
    let file = File::open(&path).expect("it is there");
    let mut sandbox = Sandbox::open(folder.path()).expect("a folder");
    let error = extract(Archive::Zip, &file, &mut sandbox, None, 1 << 30, &Stop(stop)).expect_err("too many");
    assert!(matches!(error, ExtractError::TooMany), "{error}");
}

#[test]
fn what_nobody_waits_for_ends() {
    let world = World::new();
    let file = world.folder.path().join("archive");
    std::fs::write(&file, usual()).expect("write");
    let (waiting, stop) = tokio::sync::watch::channel(());
    drop(waiting);
    let mut sandbox = Sandbox::open(&world.folder.path().join("sandbox")).expect("a folder");
    let file = File::open(file).expect("it is there");
    let error = extract(Archive::Tar, &file, &mut sandbox, None, 1 << 30, &Stop(stop)).expect_err("ended");
    assert!(matches!(error, ExtractError::Read(_)), "{error}");
    assert!(!world.path("app").exists());
}
