//! Folders and files of the machine or of the sandbox that appear elsewhere in a container, from `Volume`.

use std::path::{Component, Path, PathBuf};

use api::v1;
use api::v1::mount_propagation::Mode as Propagation;
use api::v1::volume::Mode;
use api::v1::volume::source::Type;
use api::v1::volume::source::sandbox_path::Type as SandboxType;

use super::asked::cannot;
use super::confinement::{Source, Target, Volume};
use crate::containerizer::plan::PlanError;

const TARGET: &str = "container.volumes.container_path";

/// Of a container that is in no other.
pub(super) fn given(volumes: &[v1::Volume]) -> Result<Vec<Volume>, PlanError> {
    let given = of_nested(volumes)?;
    if given.iter().any(|volume| matches!(volume.source, Source::Parent(_))) {
        let why = "PARENT is for containers that have one";
        return Err(cannot("container.volumes.source.sandbox_path.type", why));
    }
    Ok(given)
}

pub fn of_nested(volumes: &[v1::Volume]) -> Result<Vec<Volume>, PlanError> {
    volumes.iter().map(volume).collect()
}

fn volume(volume: &v1::Volume) -> Result<Volume, PlanError> {
    if volume.image.is_some() {
        return Err(PlanError::Unsupported { field: "container.volumes.image" });
    }
    let target = PathBuf::from(clean(&volume.container_path, TARGET)?);
    let target = if target.is_absolute() { Target::Absolute(target) } else { Target::Sandbox(target) };
    if target == Target::Absolute("/".into()) || target == Target::Sandbox(PathBuf::new()) {
        return Err(cannot(TARGET, format!("'{}' would hide everything", volume.container_path)));
    }
    let read_only = match volume.mode() {
        Mode::Ro => true,
        Mode::Rw => false,
    };
    Ok(Volume { source: source(volume)?, target, read_only })
}

fn source(volume: &v1::Volume) -> Result<Source, PlanError> {
    let Some(source) = &volume.source else {
        const FIELD: &str = "container.volumes.host_path";
        let Some(path) = &volume.host_path else { return Err(cannot(FIELD, "it is missing")) };
        let path = PathBuf::from(clean(path, FIELD)?);
        return Ok(if path.is_absolute() { Source::Machine(path) } else { Source::Sandbox(path) });
    };
    if volume.host_path.is_some() {
        return Err(cannot("container.volumes.host_path", "source is there as well"));
    }
    match (source.r#type(), &source.host_path, &source.sandbox_path) {
        (Type::HostPath, Some(host), _) => {
            const FIELD: &str = "container.volumes.source.host_path.path";
            let propagation = host.mount_propagation.as_ref().map(v1::MountPropagation::mode);
            if propagation == Some(Propagation::Bidirectional) {
                let field = "container.volumes.source.host_path.mount_propagation BIDIRECTIONAL";
                return Err(PlanError::Unsupported { field });
            }
            let path = PathBuf::from(clean(&host.path, FIELD)?);
            if !path.is_absolute() {
                return Err(cannot(FIELD, format!("'{}' is not absolute", host.path)));
            }
            Ok(Source::Machine(path))
        }
        (Type::SandboxPath, _, Some(sandbox)) => {
            const FIELD: &str = "container.volumes.source.sandbox_path.path";
            let path = PathBuf::from(clean(&sandbox.path, FIELD)?);
            if path.is_absolute() {
                return Err(cannot(FIELD, format!("'{}' is absolute", sandbox.path)));
            }
            Ok(match sandbox.r#type() {
                SandboxType::Parent => Source::Parent(path),
                SandboxType::Self_ | SandboxType::Unknown => Source::Sandbox(path),
            })
        }
        (Type::HostPath, None, _) => Err(cannot("container.volumes.source.host_path", "it is missing")),
        (Type::SandboxPath, _, None) => Err(cannot("container.volumes.source.sandbox_path", "it is missing")),
        (kind, ..) => {
            Err(cannot("container.volumes.source.type", format!("{} is not supported", kind.as_str_name())))
        }
    }
}

/// Without `.`, double slashes, and one at the end.
fn clean(path: &str, field: &'static str) -> Result<String, PlanError> {
    if path.is_empty() {
        return Err(cannot(field, "it is empty"));
    }
    if path.contains('\0') {
        return Err(PlanError::Nul { field });
    }
    let components = Path::new(path).components().filter(|part| *part != Component::CurDir);
    let mut clean = PathBuf::new();
    for component in components {
        if component == Component::ParentDir {
            return Err(cannot(field, format!("'{path}' has '..' in it")));
        }
        clean.push(component);
    }
    Ok(clean.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::v1::volume::source::{HostPath, SandboxPath};

    fn asked(container_path: &str, host_path: Option<&str>) -> v1::Volume {
        let (container_path, host_path) = (container_path.to_owned(), host_path.map(str::to_owned));
        v1::Volume { container_path, host_path, mode: Mode::Ro as i32, ..v1::Volume::default() }
    }

    fn sourced(source: v1::volume::Source) -> v1::Volume {
        v1::Volume { source: Some(source), ..asked("data", None) }
    }

    fn told(volume: &v1::Volume) -> String {
        super::given(std::slice::from_ref(volume)).expect_err("a refusal").to_string()
    }

    #[test]
    fn places_are_the_machines_or_the_sandboxs() {
        let check = |asked: &v1::Volume, source, target| {
            assert_eq!(volume(asked), Ok(Volume { source, target, read_only: true }));
        };
        let machine = |path: &str| Source::Machine(path.into());
        check(&asked("/data", Some("/srv//data/")), machine("/srv/data"), Target::Absolute("/data".into()));
        check(&asked("./data", Some("a/b")), Source::Sandbox("a/b".into()), Target::Sandbox("data".into()));
        let host_path = Some(HostPath { path: "/srv".to_owned(), mount_propagation: None });
        let source =
            v1::volume::Source { r#type: Some(Type::HostPath as i32), host_path, ..Default::default() };
        check(&sourced(source), machine("/srv"), Target::Sandbox("data".into()));
        let own = Some(SandboxPath { r#type: Some(SandboxType::Self_ as i32), path: "own".to_owned() });
        let source = v1::volume::Source {
            r#type: Some(Type::SandboxPath as i32),
            sandbox_path: own,
            ..Default::default()
        };
        check(&sourced(source), Source::Sandbox("own".into()), Target::Sandbox("data".into()));
    }

    #[test]
    fn what_leads_out_or_is_of_another_kind_is_refused_by_name() {
        let begin = "container.volumes.";
        for (asked, expect) in [
            (asked("../data", Some("/srv")), "container_path cannot be had: '../data' has '..' in it"),
            (asked("/a/../..", Some("/srv")), "container_path cannot be had: '/a/../..' has '..' in it"),
            (asked("/", Some("/srv")), "container_path cannot be had: '/' would hide everything"),
            (asked("./", Some("/srv")), "container_path cannot be had: './' would hide everything"),
            (asked("a", Some("../b")), "host_path cannot be had: '../b' has '..' in it"),
            (asked("a", None), "host_path cannot be had: it is missing"),
        ] {
            assert_eq!(told(&asked), format!("{begin}{expect}"));
        }
        for kind in [Type::Secret, Type::DockerVolume, Type::CsiVolume] {
            let source = v1::volume::Source { r#type: Some(kind as i32), ..Default::default() };
            let expect = format!("{begin}source.type cannot be had: {} is not supported", kind.as_str_name());
            assert_eq!(told(&sourced(source)), expect);
        }
    }
}
