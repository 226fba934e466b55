//! The programs that `tests/tools/install.sh` installs.

use std::path::{Path, PathBuf};

/// Path of an installed program, relative to the tools, as in `bin/weed`. Whether it is there is not
/// looked at.
pub(crate) fn place(program: &str) -> PathBuf {
    let tools = match std::env::var_os("REPO_TEST_TOOLS") {
        Some(tools) => tools.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/.tools"),
    };
    tools.join(program)
}

/// An installed program, relative to the tools, as in `bin/weed`.
///
/// # Panics
/// When it is missing: a test that needs it must not pass without it.
#[must_use]
#[track_caller]
pub fn tool(program: &str) -> PathBuf {
    let tool = place(program);
    let shown = tool.display();
    assert!(
        tool.is_file(),
        "{shown} is missing: run tests/tools/install.sh"
    );
    tool
}
