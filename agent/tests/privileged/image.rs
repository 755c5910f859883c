//! Images made by a test, as Docker or an OCI tool would write them.

use std::io::Write;
use std::path::Path;

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

/// A layer's tar file under way.
pub struct Layer(tar::Builder<Vec<u8>>);

/// A layer as it is kept, compressed or not, and the digest of what is in it.
#[derive(Clone)]
pub struct Packed {
    pub bytes: Vec<u8>,
    pub diff_id: String,
    pub media_type: &'static str,
}

pub const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";
pub const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

pub fn hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Layer {
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// Whatever the name, which the crate itself would not write if it led out.
    pub fn entry(mut self, kind: tar::EntryType, name: &str, mode: u32, link: &str, content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        let fields = header.as_ustar_mut().expect("it is ustar");
        fields.name[..name.len()].copy_from_slice(name.as_bytes());
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub fn folder(self, name: &str, mode: u32) -> Self {
        self.entry(tar::EntryType::Directory, name, mode, "", b"")
    }

    pub fn file(self, name: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.entry(tar::EntryType::Regular, name, mode, "", content.as_ref())
    }

    pub fn symlink(self, name: &str, to: &str) -> Self {
        self.entry(tar::EntryType::Symlink, name, 0o777, to, b"")
    }

    pub fn hardlink(self, name: &str, to: &str) -> Self {
        self.entry(tar::EntryType::Link, name, 0o644, to, b"")
    }

    /// A file of another owner.
    pub fn owned(mut self, name: &str, mode: u32, uid: u64, gid: u64) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_size(0);
        self.0.append_data(&mut header, name, &b""[..]).unwrap();
        self
    }

    pub fn plain(self) -> Packed {
        let bytes = self.0.into_inner().unwrap();
        Packed { diff_id: format!("sha256:{}", hex(&bytes)), bytes, media_type: PLAIN }
    }

    pub fn gzip(self) -> Packed {
        let Packed { bytes, diff_id, .. } = self.plain();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        Packed { bytes: encoder.finish().unwrap(), diff_id, media_type: GZIP }
    }
}

/// An image's configuration document. `config`: its part of the same name.
pub fn configuration(config: &Value, layers: &[Packed]) -> Vec<u8> {
    let diff_ids: Vec<&str> = layers.iter().map(|layer| &*layer.diff_id).collect();
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let document = json!({
        "architecture": arch, "os": "linux", "config": config,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    serde_json::to_vec(&document).unwrap()
}

/// Writes an OCI layout, whose only image is called `tag`.
pub fn layout(folder: &Path, tag: &str, config: &Value, layers: &[Packed]) {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8], media_type: &str| {
        std::fs::write(blobs.join(hex(bytes)), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": format!("sha256:{}", hex(bytes)), "size": bytes.len() })
    };
    let config = put(&configuration(config, layers), "application/vnd.oci.image.config.v1+json");
    let layers: Vec<Value> = layers.iter().map(|layer| put(&layer.bytes, layer.media_type)).collect();
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
    let mut entry =
        put(&serde_json::to_vec(&manifest).unwrap(), "application/vnd.oci.image.manifest.v1+json");
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    std::fs::write(folder.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
}

/// Writes what `docker save` did for long: `manifest.json`, and a folder for each layer.
pub fn save(file: &Path, name: &str, config: &Value, layers: &[Packed]) {
    let document = configuration(config, layers);
    let config_name = format!("{}.json", hex(&document));
    let mut archive = tar::Builder::new(std::fs::File::create(file).unwrap());
    let mut put = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes).unwrap();
    };
    let names: Vec<String> = (0..layers.len()).map(|number| format!("layer{number}/layer.tar")).collect();
    for (name, layer) in names.iter().zip(layers) {
        put(name, &layer.bytes);
    }
    put(&config_name, &document);
    let manifest = json!([{ "Config": config_name, "RepoTags": [name], "Layers": names }]);
    put("manifest.json", &serde_json::to_vec(&manifest).unwrap());
    archive.finish().unwrap();
}

/// Three layers: a shell with its links, files that are taken away again, and what hides a folder.
pub fn busybox() -> Vec<Packed> {
    let program = std::fs::read(crate::needs::program("busybox").unwrap()).unwrap();
    let mut base = Layer::new().folder("./", 0o755).folder("bin/", 0o755).file("bin/busybox", 0o755, program);
    for name in ["sh", "cat", "echo", "id", "ls", "pwd", "sleep", "env", "stat", "touch", "true", "false"] {
        base = base.symlink(&format!("bin/{name}"), "busybox");
    }
    let base = base
        .folder("tmp/", 0o1777)
        .folder("etc/", 0o755)
        .file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nweb:x:1234:2345::/:/bin/sh\n")
        .file("etc/group", 0o644, "root:x:0:\nweb:x:2345:\nlogs:x:3456:web\n")
        .file("etc/gone", 0o644, "lower")
        .folder("opt/", 0o755)
        .folder("opt/hidden/", 0o755)
        .file("opt/hidden/lower", 0o644, "lower");
    let middle =
        Layer::new().folder("etc/", 0o755).file("etc/.wh.gone", 0o644, "").file("etc/new", 0o640, "new");
    let top = Layer::new()
        .folder("opt/", 0o755)
        .folder("opt/hidden/", 0o750)
        .file("opt/hidden/.wh..wh..opq", 0o644, "")
        .file("opt/hidden/upper", 0o644, "upper")
        .folder("srv/", 0o755);
    vec![base.gzip(), middle.plain(), top.gzip()]
}
