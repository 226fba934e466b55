//! Writes the golden repositories anew. Only for a format that is not released yet, or for a new
//! directory beside those that are.

use std::error::Error;

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    repo_tests::golden::write().await
}
