//! Writes the golden repositories of one directory anew. Only for a format that is not released yet,
//! or for a new directory beside those that are.

use std::error::Error;

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("which directory?")?;
    repo_tests::golden::write(&directory).await
}
