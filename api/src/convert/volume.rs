//! Persistent volumes: what a resource's `DiskInfo` says of one, and the resource that it was made from. The texts are
//! Mesos' (src/master/validation.cpp, `validateDiskInfo` and `validatePersistentVolume`).

use std::sync::Arc;

use model::id::check_id;
use model::resources::{Disk, Resource, Resources};

use super::text;
use crate::protobuf;
use crate::v1::resource::DiskInfo;
use crate::v1::volume::Mode;

/// A folder of the agent's that outlives the tasks that use it, for one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Unique for its role on its agent.
    pub id: Arc<str>,
    /// Where tasks find it: below their sandbox unless it is absolute.
    pub container_path: String,
    pub read_only: bool,
}

/// `None`: the resource is no persistent volume, or one that nobody can have made.
pub fn of(resource: &Resource) -> Option<Volume> {
    let disk = resource.disk.as_ref()?;
    let info: DiskInfo = protobuf::decode(&disk.body).ok()?;
    let volume = info.volume?;
    Some(Volume {
        id: disk.persistence_id.clone()?,
        read_only: volume.mode() == Mode::Ro,
        container_path: volume.container_path,
    })
}

/// Why this is nothing that CREATE could make, or DESTROY take.
pub fn check(resource: &Resource) -> Result<(), String> {
    let Some(disk) = &resource.disk else {
        return Err(format!("Not a persistent volume: Resource {} does not have DiskInfo", resource.name));
    };
    let Some(id) = &disk.persistence_id else {
        return Err("Not a persistent volume: 'persistence' is not set in DiskInfo".to_owned());
    };
    if resource.is_revocable {
        return Err("Persistent volumes cannot be created from revocable resources".to_owned());
    }
    if resource.reservations.is_empty() {
        return Err("Persistent volumes cannot be created from unreserved resources".to_owned());
    }
    let info: DiskInfo = protobuf::decode(&disk.body).unwrap_or_default();
    let Some(volume) = &info.volume else {
        return Err("Expecting 'volume' to be set for persistent volume".to_owned());
    };
    if volume.host_path.is_some() {
        return Err("Expecting 'host_path' to be unset for persistent volume".to_owned());
    }
    if volume.mode() == Mode::Ro {
        return Err("Not a persistent volume: Read-only persistent volume not supported".to_owned());
    }
    if let Err(why) = check_id(id) {
        return Err(format!("Invalid persistence ID for persistent volume: {why}"));
    }
    // Mesos finds out when a task is launched.
    let path = std::path::Path::new(&volume.container_path);
    let is_plain = |part: std::path::Component<'_>| !matches!(part, std::path::Component::ParentDir);
    if volume.container_path.is_empty() || !path.components().all(is_plain) {
        return Err(format!("Invalid container path '{}' of a persistent volume", volume.container_path));
    }
    Ok(())
}

/// The same amount of disk, without the volume on it.
pub fn plain(resource: &Resource) -> Resource {
    let without = |disk: &Arc<Disk>| {
        let info: DiskInfo = protobuf::decode(&disk.body).unwrap_or_default();
        let info = DiskInfo { persistence: None, volume: None, ..info };
        let has_source = info.source.is_some();
        has_source.then(|| Arc::new(Disk { persistence_id: None, body: protobuf::encode(&info), ..**disk }))
    };
    Resource { disk: resource.disk.as_ref().and_then(without), is_shared: false, ..resource.clone() }
}

/// What an agent was given by its operator: without the reservations and volumes that were made since.
pub fn as_given(resources: &Resources) -> Resources {
    let undo = |part: &Resource| {
        let is_volume = part.disk.as_ref().is_some_and(|disk| disk.persistence_id.is_some());
        let mut part = if is_volume { plain(part) } else { part.clone() };
        part.reservations.retain(|reservation| !reservation.is_dynamic);
        part
    };
    resources.iter().map(undo).collect()
}

/// The folder of a volume, below that of all volumes: `roles/ROLE/ID`, as Mesos has them.
pub fn folder(resource: &Resource) -> Option<std::path::PathBuf> {
    let (role, id) = (resource.reserved_for()?, resource.disk.as_ref()?.persistence_id.as_ref()?);
    // A role's name may have slashes, which would put one role's volumes among another's.
    let role: Arc<str> = text(&role.as_str().replace('/', " "));
    Some(["roles", &role, id].iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::resources;
    use crate::v1;
    use crate::v1::resource::disk_info::Persistence;

    fn volume(id: &str, path: &str, mode: Mode) -> Resource {
        let part: Resource = "disk(eng/web):64"
            .parse::<model::resources::Resources>()
            .expect("resources")
            .into_iter()
            .next()
            .expect("one");
        let mut sent = resources::part_to_v1(&part, resources::Format::PLAIN);
        let volume = v1::Volume { container_path: path.to_owned(), mode: mode as i32, ..Default::default() };
        let persistence = Persistence { id: id.to_owned(), principal: None };
        sent.disk = Some(DiskInfo { persistence: Some(persistence), volume: Some(volume), source: None });
        resources::part_from_v1(&sent).expect("a resource")
    }

    #[test]
    fn a_volume_is_made_of_disk_and_becomes_disk_again() {
        let made = volume("data", "here", Mode::Rw);
        assert_eq!(check(&made), Ok(()));
        let Volume { id, container_path, read_only } = of(&made).expect("a volume");
        assert_eq!((&*id, &*container_path, read_only), ("data", "here", false));
        assert_eq!(plain(&made).disk, None);
        assert_eq!(of(&plain(&made)), None);
        assert_eq!(folder(&made).as_deref(), Some(std::path::Path::new("roles/eng web/data")));
    }

    #[test]
    fn what_is_no_volume_is_told_why() {
        let told = |resource: &Resource| check(resource).expect_err("a refusal");
        assert!(told(&plain(&volume("data", "here", Mode::Rw))).contains("does not have DiskInfo"));
        assert!(told(&volume("data", "here", Mode::Ro)).contains("Read-only"));
        assert!(told(&volume("a/b", "here", Mode::Rw)).contains("Invalid persistence ID"));
        assert!(told(&volume("data", "../there", Mode::Rw)).contains("Invalid container path '../there'"));
        let unreserved = Resource { reservations: Vec::new(), ..volume("data", "here", Mode::Rw) };
        assert!(told(&unreserved).contains("from unreserved resources"));
    }
}
