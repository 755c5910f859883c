//! A session with ZooKeeper, at a URL.

use crate::url::{ZookeeperUrl, list};
use std::time::Duration;
use zookeeper_client::{Acl, Acls, AuthId, Client, CreateMode, CreateOptions, Error, Permission};

/// Opens a session; its znodes are below `url.path`, which is made.
pub async fn open(url: &ZookeeperUrl, timeout: Duration) -> Result<Client, Error> {
    let mut connector = Client::connector().with_session_timeout(timeout);
    if let Some(credentials) = &url.credentials {
        connector = connector.with_auth("digest", credentials.as_bytes());
    }
    let client = connector.connect(&list(&url.servers)).await?;
    let acls = acls(url);
    client.mkdir(&url.path, &CreateMode::Persistent.with_acls(Acls::new(&acls))).await?;
    Ok(client)
}

/// Who may do what with our znodes: anybody may read; change them may, with credentials, who has the same.
pub fn acls(url: &ZookeeperUrl) -> Vec<Acl> {
    match url.credentials {
        None => vec![Acl::new(Permission::ALL, AuthId::anyone())],
        Some(_) => {
            vec![Acl::new(Permission::ALL, AuthId::authed()), Acl::new(Permission::READ, AuthId::anyone())]
        }
    }
}

pub fn options(mode: CreateMode, acls: &[Acl]) -> CreateOptions<'_> {
    mode.with_acls(Acls::new(acls))
}
