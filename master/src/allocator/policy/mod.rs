//! Policies: by what rank roles, and the frameworks of a role, are served. The least rank comes first.

pub(super) mod drf;
