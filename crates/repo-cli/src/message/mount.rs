//! Messages about mounts.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

/// A mount that can be used now.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "mounted")]
pub(crate) struct MountMessage {
    pub(crate) target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<String>,
}

impl Display for MountMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { target, .. } = self;
        write!(f, "mounted on {target}; `umount` or Ctrl-C ends it")
    }
}
